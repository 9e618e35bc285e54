//! The format of messages, byte for byte `docs/formats/envelope.md`. No I/O, no cache.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use hkdf::Hkdf;
use hub_model::{EncryptionContext, SecretBytes};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::EnvelopeError;

/// What a message begins with: the format, and the suite AES-256-GCM with HKDF-SHA-256.
const START: [u8; 6] = *b"che1\x01\0";
/// Bytes of a branch key.
pub(super) const KEY: usize = 32;
/// Bytes of a message's own salt.
pub(super) const SALT: usize = 32;
const COMMITMENT: usize = 32;
const TAG: usize = 16;
/// The most bytes of an encrypted branch key.
pub(super) const MAX_BRANCH: usize = 4096;
/// The most bytes of a plaintext.
pub const MAX_PLAINTEXT: usize = 1 << 30;
const LABEL: &[u8] = b"cipher-hub/v1/envelope";

/// A message, taken apart.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// The branch key as the hub encrypted it.
    pub(super) branch: &'a str,
    /// Everything before the commitment.
    salted: &'a [u8],
    salt: &'a [u8],
    commitment: &'a [u8],
    /// Everything before the ciphertext.
    header: &'a [u8],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG],
}

pub(super) fn parse(message: &[u8]) -> Result<Parsed<'_>, EnvelopeError> {
    const NOT: fn(&'static str) -> EnvelopeError = EnvelopeError::NotAMessage;
    let (start, rest) = message.split_at_checked(START.len()).ok_or(NOT("it is too short"))?;
    if start.get(..4) != START.get(..4) {
        return Err(NOT("it does not begin with `che1`"));
    }
    if start != START {
        return Err(NOT("its suite is not one of this version of the client"));
    }
    let (len, rest) = rest.split_first_chunk().ok_or(NOT("it is too short"))?;
    let len = usize::from(u16::from_be_bytes(*len));
    if !(1..=MAX_BRANCH).contains(&len) {
        return Err(NOT("its branch key has an impossible length"));
    }
    let (branch, rest) = rest.split_at_checked(len).ok_or(NOT("it is too short"))?;
    let visible = branch.iter().all(u8::is_ascii_graphic);
    let branch = std::str::from_utf8(branch).ok().filter(|_| visible);
    let branch = branch.ok_or(NOT("its branch key is not one of a hub"))?;
    let (salt, rest) = rest.split_at_checked(SALT).ok_or(NOT("it is too short"))?;
    let (commitment, rest) = rest.split_at_checked(COMMITMENT).ok_or(NOT("it is too short"))?;
    let (ciphertext, tag) = rest.split_last_chunk().ok_or(NOT("it is too short"))?;
    let salted = START.len() + 2 + len + SALT;
    Ok(Parsed {
        branch,
        salted: message.get(..salted).unwrap_or_default(),
        salt,
        commitment,
        header: message.get(..salted + COMMITMENT).unwrap_or_default(),
        ciphertext,
        tag,
    })
}

/// The key of one message and the commitment to it.
struct Keys(Zeroizing<[u8; 64]>);

impl Keys {
    fn derive(
        branch: &[u8],
        salt: &[u8],
        salted: &[u8],
        context: &EncryptionContext,
    ) -> Result<Self, EnvelopeError> {
        let mut okm = Zeroizing::new([0; 64]);
        let (head, context) = (Sha256::digest(salted), Sha256::digest(context.canonical()));
        Hkdf::<Sha256>::new(Some(salt), branch)
            .expand_multi_info(&[LABEL, &head, &context], okm.as_mut_slice())
            // 64 bytes are far below what HKDF can give.
            .map_err(|_| EnvelopeError::Open)?;
        Ok(Self(okm))
    }

    fn cipher(&self) -> Result<Aes256Gcm, EnvelopeError> {
        let key: &[u8; KEY] = self.0.first_chunk().ok_or(EnvelopeError::Open)?;
        Ok(Aes256Gcm::new(key.into()))
    }

    fn commitment(&self) -> &[u8] {
        self.0.get(KEY..).unwrap_or_default()
    }
}

/// Never twice under one key: each message has its own.
const NONCE: [u8; 12] = [0; 12];

/// Writes a message. The salt is fresh and random.
pub(super) fn seal(
    key: &SecretBytes,
    branch: &str,
    salt: &[u8; SALT],
    context: &EncryptionContext,
    plaintext: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(EnvelopeError::TooLong(plaintext.len()));
    }
    let len = u16::try_from(branch.len()).ok().filter(|len| usize::from(*len) <= MAX_BRANCH);
    let len = len.ok_or(EnvelopeError::BranchKey("it is too long"))?;
    let header = START.len() + 2 + branch.len() + SALT + COMMITMENT;
    let mut message = Vec::with_capacity(header + plaintext.len() + TAG);
    message.extend_from_slice(&START);
    message.extend_from_slice(&len.to_be_bytes());
    message.extend_from_slice(branch.as_bytes());
    message.extend_from_slice(salt);
    let keys = Keys::derive(key.expose_secret(), salt, &message, context)?;
    message.extend_from_slice(keys.commitment());
    message.extend_from_slice(plaintext);
    let (head, body) = message.split_at_mut_checked(header).ok_or(EnvelopeError::Open)?;
    let tag = keys
        .cipher()?
        .encrypt_inout_detached(&NONCE.into(), head, body.into())
        .map_err(|_| EnvelopeError::TooLong(plaintext.len()))?;
    message.extend_from_slice(&tag);
    Ok(message)
}

/// Opens a message. Every way in which it does not open is one error.
pub(super) fn open(
    key: &SecretBytes,
    message: &Parsed<'_>,
    context: &EncryptionContext,
) -> Result<SecretBytes, EnvelopeError> {
    let keys = Keys::derive(key.expose_secret(), message.salt, message.salted, context)?;
    if !bool::from(keys.commitment().ct_eq(message.commitment)) {
        return Err(EnvelopeError::Open);
    }
    let mut plaintext = Zeroizing::new(message.ciphertext.to_vec());
    keys.cipher()?
        .decrypt_inout_detached(
            &NONCE.into(),
            message.header,
            plaintext.as_mut_slice().into(),
            message.tag.into(),
        )
        .map_err(|_| EnvelopeError::Open)?;
    Ok(SecretBytes::new(std::mem::take(&mut *plaintext)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use serde::{Deserialize, Serialize};

    use super::*;

    /// A frozen sample; `tests/interop/client_envelope.py` makes and opens the same.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        branch_key: String,
        branch: String,
        context: BTreeMap<String, String>,
        salt: String,
        plaintext: String,
        message: String,
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        EncryptionContext::new(pairs.collect()).unwrap()
    }

    fn key() -> SecretBytes {
        SecretBytes::new((0..32).collect())
    }

    const BRANCH: &str = "ch1:7:AQEAUGtleSB1aWQ=";

    fn samples() -> Vec<Sample> {
        let salt = *b"a salt of thirty-two bytes, here";
        [
            (context(&[]), &b""[..]),
            (
                context(&[("tenant", "eu"), ("a", "é")]),
                &b"attack at dawn, with more than a block"[..],
            ),
        ]
        .into_iter()
        .map(|(context, plaintext)| {
            let message = seal(&key(), BRANCH, &salt, &context, plaintext).unwrap();
            let opened = open(&key(), &parse(&message).unwrap(), &context).unwrap();
            assert_eq!(opened.expose_secret(), plaintext);
            Sample {
                branch_key: hex(key().expose_secret()),
                branch: BRANCH.to_owned(),
                context: context.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                salt: hex(&salt),
                plaintext: hex(plaintext),
                message: hex(&message),
            }
        })
        .collect()
    }

    fn file() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/formats/envelope.json")
    }

    #[test]
    fn messages_are_frozen() {
        let frozen: Vec<Sample> = serde_json::from_slice(&std::fs::read(file()).unwrap()).unwrap();
        assert_eq!(frozen, samples());
    }

    /// For a new format only: `cargo test -p cipher-hub-client write_samples -- --ignored`.
    #[test]
    #[ignore = "writes the samples; frozen ones are never written again"]
    fn write_samples() {
        assert!(!file().exists(), "the samples are frozen");
        let text = serde_json::to_string_pretty(&samples()).unwrap();
        std::fs::write(file(), text + "\n").unwrap();
    }

    #[test]
    fn nothing_of_a_message_can_be_changed() {
        let (salt, context) = ([5; SALT], context(&[("a", "b")]));
        let message = seal(&key(), BRANCH, &salt, &context, b"plaintext").unwrap();
        assert_eq!(message.len(), 8 + BRANCH.len() + 32 + 32 + 9 + 16);
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1;
            match parse(&changed) {
                Ok(parsed) => {
                    let opened = open(&key(), &parsed, &context);
                    assert!(matches!(opened, Err(EnvelopeError::Open)), "{at}");
                }
                Err(error) => assert!(matches!(error, EnvelopeError::NotAMessage(_)), "{at}"),
            }
        }
        for len in 0..message.len() {
            let short = parse(&message[..len]);
            assert!(short.is_err() || open(&key(), &short.unwrap(), &context).is_err(), "{len}");
        }
        let parsed = parse(&message).unwrap();
        let other = SecretBytes::new(vec![1; 32]);
        assert!(open(&other, &parsed, &context).is_err());
        assert!(open(&key(), &parsed, &EncryptionContext::default()).is_err());
        assert!(open(&key(), &parsed, &context).is_ok());
    }

    #[test]
    fn what_is_no_message_is_told_from_what_does_not_open() {
        for (bytes, why) in [
            (&b""[..], "too short"),
            (b"chs1\x01\0\0\x01a", "che1"),
            (b"che1\x02\0\0\x01a", "suite"),
            (b"che1\x01\x01\0\x01a", "suite"),
            (b"che1\x01\0\0\0", "length"),
            (b"che1\x01\0\xff\xffa", "length"),
            (b"che1\x01\0\0\x02\xc3\xa9", "branch key"),
            (b"che1\x01\0\0\x01\n", "branch key"),
            (b"che1\x01\0\0\x01a", "too short"),
        ] {
            let said = parse(bytes).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
        let long = "a".repeat(MAX_BRANCH + 1);
        let refused = seal(&key(), &long, &[0; SALT], &EncryptionContext::default(), b"");
        assert!(matches!(refused, Err(EnvelopeError::BranchKey(_))));
    }
}
