//! Encryption under RSA-OAEP keys. The text is `rsa1:<version>:<base64>`, and its base64 is what
//! RSAES-OAEP (RFC 8017 §7.1) gives, so that anybody with the public half can make it. The label is
//! the canonical encryption context, and empty when that is.

use std::time::Instant;

use hub_model::secret::{decode_base64, encode_base64};
use hub_model::{EncryptionContext, SecretBytes};

use super::uses::{load, refusal};
use crate::Error;
use crate::operation::{AtKey, Scene};

const PREFIX: &str = "rsa1:";
/// The longest text: prefix, ten digits, colon, and 512 bytes in base64.
const MAX_TEXT: usize = 5 + 10 + 1 + 684;

/// A well-formed ciphertext, not opened yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RsaCiphertext {
    version: u32,
    raw: Vec<u8>,
}

impl RsaCiphertext {
    /// Reads the text form, of which there is one spelling.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX).filter(|_| text.len() <= MAX_TEXT)?;
        let (digits, base64) = rest.split_once(':')?;
        let raw = decode_base64(base64).ok()?;
        let parsed = Self { version: digits.parse().ok()?, raw };
        (parsed.version > 0 && parsed.text() == text).then_some(parsed)
    }

    pub(super) const fn version(&self) -> u32 {
        self.version
    }

    fn text(&self) -> String {
        format!("{PREFIX}{}:{}", self.version, encode_base64(&self.raw))
    }
}

fn label(context: &EncryptionContext) -> Vec<u8> {
    if context.is_empty() { Vec::new() } else { context.canonical() }
}

/// Encrypts under the primary version's public half: fast, and nothing to hide.
pub(super) async fn seal(
    scene: &Scene<'_, AtKey>,
    context: &EncryptionContext,
    plaintext: &SecretBytes,
    pointer: &'static str,
) -> Result<String, Error> {
    let version = scene.place.hot.key.primary;
    let material = load(scene, version).await?.ok_or(Error::NoVersion(version))?;
    let public = material.private().map_err(|error| refusal(error, pointer))?.public();
    let raw = public
        .encrypt(plaintext.expose_secret(), &label(context))
        .map_err(|error| refusal(error, pointer))?;
    Ok(RsaCiphertext { version, raw }.text())
}

/// Decrypts, where slow work is done. Every failure is one error, and counted: more than a hundred
/// a minute, and the key opens nothing until the minute is over.
pub(super) async fn open(
    scene: &Scene<'_, AtKey>,
    given: Option<&RsaCiphertext>,
    context: &EncryptionContext,
) -> Result<SecretBytes, Error> {
    let (hub, key) = (scene.hub, &scene.place.hot.key);
    let id = key.id;
    hub.failures().check(id.as_bytes(), Instant::now())?;
    let version = given.map_or(0, RsaCiphertext::version);
    let material = if key.processes(version) { load(scene, version).await? } else { None };
    let opened = match (given, material) {
        (Some(given), Some(material)) => {
            let (raw, label) = (given.raw.clone(), label(context));
            let failures = std::sync::Arc::clone(hub.failures());
            let work = move || {
                // Others may have failed while this one waited.
                failures.check(id.as_bytes(), Instant::now())?;
                let opened = material.private().and_then(|key| key.decrypt(&raw, &label));
                if opened.is_err() {
                    failures.count(id.as_bytes(), Instant::now());
                }
                Ok::<_, Error>(opened.ok())
            };
            hub.heavy().run(key.registration, work).await??
        }
        _ => {
            hub.failures().count(id.as_bytes(), Instant::now());
            None
        }
    };
    opened.ok_or(Error::DecryptionFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        let one = RsaCiphertext { version: 12, raw: vec![7; 256] };
        assert_eq!(RsaCiphertext::parse(&one.text()), Some(one.clone()));
        assert!(one.text().starts_with("rsa1:12:BwcH"));
        let longest = RsaCiphertext { version: u32::MAX, raw: vec![0xff; 512] };
        assert_eq!(longest.text().len(), MAX_TEXT);
        assert_eq!(RsaCiphertext::parse(&longest.text()), Some(longest));
        for bad in [
            "",
            "rsa1:",
            "rsa1:1",
            "rsa1:0:AA==",
            "rsa1:01:AA==",
            "rsa1:+1:AA==",
            "rsa1:1:AA",
            "rsa1:1:AB==",
            "rsa1:1:__8=",
            "ch1:1:AA==",
            "rsa1:1:AA==\n",
            "rsa1:4294967296:AA==",
        ] {
            assert_eq!(RsaCiphertext::parse(bad), None, "{bad}");
        }
        let long = RsaCiphertext { version: 1, raw: vec![0; 523] };
        assert_eq!(RsaCiphertext::parse(&long.text()), None);
    }
}
