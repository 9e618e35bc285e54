//! The ciphertext callers hold: `ch1:<version>:<base64>` (`docs/formats/ciphertext.md`).
//!
//! What must stay true: every bit of the header is bound into key, commitment and associated
//! data; one plaintext under one salt has exactly one spelling; every failed open is
//! [`Error::Open`], with the commitment compared first and in constant time.

use base64_simd::STANDARD;
use hub_model::{Algorithm, KeyId, RegistrationId, SecretBytes};

use crate::committing::{self, OVERHEAD, Opening, SALT_LEN};
use crate::{Error, Material, Result, aead, hash, random};

/// The most plaintext one message carries, in bytes.
pub const MAX_PLAINTEXT: usize = 65_536;

const PREFIX: &str = "ch1:";
const FORMAT: u8 = 1;
/// Header bytes before the salt.
const HEAD_LEN: usize = 24;
/// Bytes of the whole header, as its fourth byte says.
const HEADER_LEN: u8 = 80;
/// The longest text: prefix, ten digits, colon, base64.
const MAX_TEXT: usize = 4 + 10 + 1 + (HEAD_LEN + OVERHEAD + MAX_PLAINTEXT).div_ceil(3) * 4;

/// What a ciphertext says about itself. Not authenticated before it has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the suite ([`hub_model::algorithm::AlgorithmRow::suite`]).
    pub suite: u8,
    /// The key it was made with.
    pub key: KeyId,
    /// The version of that key.
    pub version: u32,
}

/// A well-formed ciphertext, not opened yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    header: Header,
    /// Header, ciphertext and tag, as authenticated.
    body: Vec<u8>,
}

impl Envelope {
    /// Reads the text form. Accepts one spelling only: canonical padded base64, no leading zeros,
    /// no flags, known format and suite, header length exact, versions in agreement.
    ///
    /// # Errors
    /// [`Error::Malformed`], which to callers from outside is the same as [`Error::Open`].
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_TEXT {
            return Err(Error::Malformed("too long"));
        }
        let rest = text.strip_prefix(PREFIX).ok_or(Error::Malformed("no `ch1:` in front"))?;
        let (digits, base64) = rest.split_once(':').ok_or(Error::Malformed("no version"))?;
        let version = parse_version(digits).ok_or(Error::Malformed("not a version number"))?;
        let body = STANDARD.decode_to_vec(base64).map_err(|_| Error::Malformed("not base64"))?;
        let header = parse_header(&body)?;
        if header.version != version {
            return Err(Error::Malformed("two versions"));
        }
        Ok(Self { header, body })
    }

    /// What the ciphertext says about itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }
}

/// Encrypts under the material, bound to key, version, registration and context
/// ([`hub_model::EncryptionContext::canonical`]).
///
/// # Errors
/// [`Error::PlaintextTooLong`] above [`MAX_PLAINTEXT`]; [`Error::NoVersion`] for version 0.
pub fn seal(
    material: &Material,
    key: KeyId,
    version: u32,
    registration: RegistrationId,
    context: &[u8],
    plaintext: &[u8],
) -> Result<String> {
    let mut salt = [0; SALT_LEN];
    random::fill(&mut salt);
    seal_with_salt(material, key, version, registration, context, plaintext, &salt)
}

/// INVARIANT: a salt other than from [`random`] occurs in tests of the frozen samples only.
pub(crate) fn seal_with_salt(
    material: &Material,
    key: KeyId,
    version: u32,
    registration: RegistrationId,
    context: &[u8],
    plaintext: &[u8],
    salt: &[u8; SALT_LEN],
) -> Result<String> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(Error::PlaintextTooLong(plaintext.len()));
    }
    if version == 0 {
        // Versions count from 1; a text with 0 would never be read back.
        return Err(Error::NoVersion(version));
    }
    let algorithm = material.algorithm();
    let suite = algorithm.suite().ok_or(Error::WrongUse)?;
    let head = head(Header { suite, key, version });
    let binding = binding(registration, context);
    let aead = aead::suite(algorithm);
    let body = committing::seal(aead, material.prk(), &head, salt, &binding, plaintext);
    Ok(text(version, &body))
}

/// Decrypts. `key` and `registration` are those the caller was authorized for; an envelope that
/// names another key, or material of another algorithm, does not open.
///
/// # Errors
/// [`Error::Open`], whatever the cause.
pub fn open(
    material: &Material,
    envelope: &Envelope,
    key: KeyId,
    version: u32,
    registration: RegistrationId,
    context: &[u8],
) -> Result<SecretBytes> {
    let algorithm = material.algorithm();
    let suite = algorithm.suite().ok_or(Error::Open)?;
    if envelope.header != (Header { suite, key, version }) {
        return Err(Error::Open);
    }
    let binding = binding(registration, context);
    let opening = Opening::new(material.prk(), HEAD_LEN, &binding, &envelope.body)?;
    let mut plaintext = opening.into_vec(aead::suite(algorithm))?;
    Ok(SecretBytes::new(std::mem::take(&mut *plaintext)))
}

/// What binds a message besides its header: registration uid ‖ SHA-256(context).
fn binding(registration: RegistrationId, context: &[u8]) -> [u8; 48] {
    let mut binding = [0; 48];
    let (uid, digest) = binding.split_at_mut(16);
    uid.copy_from_slice(registration.as_bytes());
    digest.copy_from_slice(&hash::sha256(context));
    binding
}

/// The 24 header bytes before the salt.
fn head(header: Header) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    let (fixed, rest) = head.split_at_mut(4);
    let (uid, version) = rest.split_at_mut(16);
    fixed.copy_from_slice(&[FORMAT, header.suite, 0, HEADER_LEN]);
    uid.copy_from_slice(header.key.as_bytes());
    version.copy_from_slice(&header.version.to_be_bytes());
    head
}

fn parse_header(body: &[u8]) -> Result<Header> {
    let (head, rest) = body.split_first_chunk::<HEAD_LEN>().ok_or(Error::Malformed("too short"))?;
    let (&[format, suite, flags, length], ids) =
        head.split_first_chunk::<4>().ok_or(Error::Malformed("too short"))?;
    if format != FORMAT {
        return Err(Error::Malformed("unknown format"));
    }
    if Algorithm::from_suite(suite).is_none() {
        return Err(Error::Malformed("unknown suite"));
    }
    if flags != 0 {
        return Err(Error::Malformed("unknown flags"));
    }
    if length != HEADER_LEN || !(OVERHEAD..=OVERHEAD + MAX_PLAINTEXT).contains(&rest.len()) {
        return Err(Error::Malformed("wrong length"));
    }
    let (key, version) = ids.split_first_chunk::<16>().ok_or(Error::Malformed("too short"))?;
    let version = version.first_chunk::<4>().ok_or(Error::Malformed("too short"))?;
    let version = u32::from_be_bytes(*version);
    Ok(Header { suite, key: KeyId::from_bytes(*key), version })
}

/// Decimal from 1, without sign or leading zeros.
fn parse_version(digits: &str) -> Option<u32> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| canonical)
}

/// One allocation, written once.
fn text(version: u32, body: &[u8]) -> String {
    let mut text = String::with_capacity(16 + body.len().div_ceil(3) * 4);
    text.push_str(PREFIX);
    text.push_str(&version.to_string());
    text.push(':');
    STANDARD.encode_append(body, &mut text);
    text
}

#[cfg(test)]
mod tests;
