//! Signatures of plugins: Ed25519 (RFC 8032) over the digest, by any number of signers, each in a
//! section of its own at the end of the file. Keys are files that `openssl genpkey` makes.

use std::fmt;

use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use hub_model::extend::PluginDigest;
use hub_model::{Name, Timestamp};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{Package, PackageError};

/// Before the digest in what is signed, so that no signature of another use is one of a plugin.
const LABEL: &[u8] = b"cipher-hub/v1/plugin\0";
/// Before the bytes of a public key in its text form, and before a signature in its section.
const KIND: &str = "ed25519";

/// A key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not the text of a public key.
    #[error("a public key is `ed25519:` and 32 bytes in base64")]
    Public,
    /// A public key under which anyone can sign.
    #[error("the public key is one of the weak ones")]
    Weak,
    /// Not a private key.
    #[error(
        "a private key is an Ed25519 key in PKCS#8, PEM (`openssl genpkey -algorithm ed25519`)"
    )]
    Private,
}

/// A signature as it is in the file: whose, says the file. Nothing is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    key_id: Box<str>,
    bytes: [u8; 64],
}

impl Signature {
    /// By whom: first 16 hexadecimal digits of the SHA-256 of the public key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Signs a digest.
    pub(super) fn make(key: &SigningKey, digest: &PluginDigest) -> Self {
        let bytes = key.sign(&signed_bytes(digest)).to_bytes();
        Self { key_id: key_id(&key.verifying_key()).into(), bytes }
    }

    /// Reads the content of a section. There is one spelling.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        let mut parts = text.split(' ');
        let (kind, key_id, base64) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if kind != KIND || key_id.len() != 16 || !key_id.chars().all(digits) {
            return None;
        }
        let bytes = base64_simd::STANDARD.decode_to_vec(base64).ok()?.try_into().ok()?;
        let read = Self { key_id: key_id.into(), bytes };
        (read.to_string() == text).then_some(read)
    }

    fn is_by(&self, key: &VerifyingKey, digest: &PluginDigest) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.bytes);
        key.verify_strict(&signed_bytes(digest), &signature).is_ok()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base64 = base64_simd::STANDARD.encode_to_string(self.bytes);
        write!(f, "{KIND} {} {base64}", self.key_id)
    }
}

fn signed_bytes(digest: &PluginDigest) -> Vec<u8> {
    [LABEL, &digest.0].concat()
}

/// Whom the operator trusts, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// What the operator calls them.
    pub name: Name,
    /// Their key.
    pub key: VerifyingKey,
    /// From when a plugin of theirs may be installed.
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub not_after: Option<Timestamp>,
}

impl Signer {
    fn covers(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|from| from <= now)
            && self.not_after.is_none_or(|until| now <= until)
    }
}

/// All whom the operator trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// In any order. A key may occur more than once, with other periods.
    pub signers: Vec<Signer>,
}

impl Trust {
    /// Who of the trusted signed this, with a signer whose period holds `now`: the moment the
    /// plugin is installed, also later on.
    ///
    /// # Errors
    /// [`PackageError::Unsigned`], [`PackageError::BadSignature`], [`PackageError::OutOfPeriod`],
    /// [`PackageError::Untrusted`]: the most telling.
    pub fn verify(&self, package: &Package, now: Timestamp) -> Result<&Signer, PackageError> {
        if package.signatures().is_empty() {
            return Err(PackageError::Unsigned);
        }
        let mut why = PackageError::Untrusted;
        for signature in package.signatures() {
            let named = |signer: &&Signer| key_id(&signer.key) == *signature.key_id;
            for signer in self.signers.iter().filter(named) {
                if !signature.is_by(&signer.key, &package.digest()) {
                    why = PackageError::BadSignature(signer.name.clone());
                } else if signer.covers(now) {
                    return Ok(signer);
                } else if why == PackageError::Untrusted {
                    why = PackageError::OutOfPeriod(signer.name.clone());
                }
            }
        }
        Err(why)
    }
}

/// How signatures name a key: the first 16 hexadecimal digits of its SHA-256.
#[must_use]
pub fn key_id(key: &VerifyingKey) -> String {
    let hash = Sha256::digest(key.as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The text form of a public key.
#[must_use]
pub fn show_public_key(key: &VerifyingKey) -> String {
    format!("{KIND}:{}", base64_simd::STANDARD.encode_to_string(key.as_bytes()))
}

/// Reads the text form of a public key.
///
/// # Errors
/// [`KeyError::Public`], [`KeyError::Weak`].
pub fn parse_public_key(text: &str) -> Result<VerifyingKey, KeyError> {
    let base64 = text.strip_prefix(KIND).and_then(|rest| rest.strip_prefix(':'));
    let bytes = base64.and_then(|base64| base64_simd::STANDARD.decode_to_vec(base64).ok());
    let bytes: [u8; 32] = bytes.and_then(|b| b.try_into().ok()).ok_or(KeyError::Public)?;
    let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Public)?;
    if key.is_weak() { Err(KeyError::Weak) } else { Ok(key) }
}

/// Reads a private key from the text of its file: PKCS#8 in PEM.
///
/// # Errors
/// [`KeyError::Private`].
pub fn read_signing_key(pem: &str) -> Result<SigningKey, KeyError> {
    SigningKey::from_pkcs8_pem(pem.trim()).map_err(|_| KeyError::Private)
}

/// The text of a private key's file, as `openssl genpkey -algorithm ed25519` writes it.
///
/// # Errors
/// [`KeyError::Private`]; not for any key there is.
pub fn write_signing_key(key: &SigningKey) -> Result<String, KeyError> {
    // Without the public key: with it the file would be one of a version that OpenSSL refuses.
    let pair = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let pem = pair.to_pkcs8_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF);
    pem.map(|pem| pem.to_string()).map_err(|_| KeyError::Private)
}
