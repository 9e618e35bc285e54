//! The ciphertext callers hold: `ch1:<version>:<base64>` (`docs/formats/ciphertext.md`).
//!
//! What must stay true: every bit of the header is bound into key, commitment and associated
//! data; one plaintext under one salt or nonce has exactly one spelling; every failed open is
//! [`Error::Open`]. Suites 1 and 2 are [`committing`], suites 3 to 6 are [`direct`].

use std::cell::RefCell;

use base64_simd::STANDARD;
use hub_model::{Algorithm, KeyId, RegistrationId, SecretBytes};

use crate::aead::{Suite, TAG_LEN};
use crate::committing::{self, OVERHEAD, Opening, SALT_LEN};
use crate::{Error, Material, Result, aead, direct, hash, random};

/// The most plaintext one message carries, in bytes.
pub const MAX_PLAINTEXT: usize = 65_536;

const PREFIX: &str = "ch1:";
const FORMAT: u8 = 1;
/// Header bytes before salt or nonce.
pub(crate) const HEAD_LEN: usize = 24;
/// The longest text: prefix, ten digits, colon, base64. [`OVERHEAD`] is that of the longest header.
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
/// ([`hub_model::EncryptionContext::canonical`]). Counting messages
/// ([`Algorithm::message_limit`]) is the caller's.
///
/// # Errors
/// [`Error::PlaintextTooLong`] above [`MAX_PLAINTEXT`]; [`Error::NoVersion`] for version 0;
/// [`Error::WrongUse`] when the algorithm makes no such ciphertexts.
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

/// A nonce is the beginning of the salt. INVARIANT: a salt other than from [`random`] occurs in
/// tests of the frozen samples only.
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
    let number = algorithm.suite().ok_or(Error::WrongUse)?;
    let suite = aead::suite(algorithm).ok_or(Error::WrongUse)?;
    let header_len = u8::try_from(header_len(suite)).map_err(|_| Error::WrongUse)?;
    let head = head(Header { suite: number, key, version }, header_len);
    thread_local! {
        // Holds nothing but the last ciphertext between calls.
        static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    match suite {
        Suite::Committing(aead) => {
            let (binding, prk) = (binding(registration, context), material.prk()?);
            Ok(BODY.with_borrow_mut(|body| {
                committing::seal_into(body, aead, prk, &head, salt, &binding, plaintext);
                text(version, body)
            }))
        }
        Suite::Direct(cipher) => {
            let nonce = salt.get(..cipher.nonce_len()).ok_or(Error::WrongUse)?;
            let secret = material.secret().expose_secret();
            let binding = [registration.as_bytes(), context];
            Ok(text(version, &direct::seal(cipher, secret, &head, nonce, binding, plaintext)?))
        }
    }
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
    let number = algorithm.suite().ok_or(Error::Open)?;
    if envelope.header != (Header { suite: number, key, version }) {
        return Err(Error::Open);
    }
    let mut plaintext = match aead::suite(algorithm).ok_or(Error::Open)? {
        Suite::Committing(aead) => {
            let binding = binding(registration, context);
            Opening::new(material.prk()?, HEAD_LEN, &binding, &envelope.body)?.into_vec(aead)?
        }
        Suite::Direct(cipher) => {
            let secret = material.secret().expose_secret();
            let binding = [registration.as_bytes(), context];
            direct::open(cipher, secret, HEAD_LEN, binding, &envelope.body)?
        }
    };
    Ok(SecretBytes::new(std::mem::take(&mut *plaintext)))
}

/// What binds a message of a C suite besides its header: registration uid ‖ SHA-256(context).
pub(crate) fn binding(registration: RegistrationId, context: &[u8]) -> [u8; 48] {
    let mut binding = [0; 48];
    let (uid, digest) = binding.split_at_mut(16);
    uid.copy_from_slice(registration.as_bytes());
    digest.copy_from_slice(&hash::sha256(context));
    binding
}

/// Bytes of the whole header.
fn header_len(suite: Suite) -> usize {
    HEAD_LEN + suite.variable_len()
}

/// The 24 header bytes before salt or nonce; `length` is that of the whole header.
pub(crate) fn head(header: Header, length: u8) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    let (fixed, rest) = head.split_at_mut(4);
    let (uid, version) = rest.split_at_mut(16);
    fixed.copy_from_slice(&[FORMAT, header.suite, 0, length]);
    uid.copy_from_slice(header.key.as_bytes());
    version.copy_from_slice(&header.version.to_be_bytes());
    head
}

/// The reverse of [`head`]: what the 24 bytes say, and the header length they give. Whether the
/// suite is known is for the caller.
pub(crate) fn parse_head(head: &[u8; HEAD_LEN]) -> Result<(Header, u8)> {
    let &[format, suite, flags, length, ref ids @ ..] = head;
    if format != FORMAT {
        return Err(Error::Malformed("unknown format"));
    }
    if flags != 0 {
        return Err(Error::Malformed("unknown flags"));
    }
    let (key, version) = ids.split_first_chunk::<16>().ok_or(Error::Malformed("too short"))?;
    let version = version.first_chunk::<4>().ok_or(Error::Malformed("too short"))?;
    let version = u32::from_be_bytes(*version);
    Ok((Header { suite, key: KeyId::from_bytes(*key), version }, length))
}

fn parse_header(body: &[u8]) -> Result<Header> {
    let head = body.first_chunk::<HEAD_LEN>().ok_or(Error::Malformed("too short"))?;
    let (header, length) = parse_head(head)?;
    let suite = Algorithm::from_suite(header.suite)
        .and_then(aead::suite)
        .ok_or(Error::Malformed("unknown suite"))?;
    let expected = header_len(suite);
    let rest = body.len().checked_sub(expected).ok_or(Error::Malformed("too short"))?;
    if usize::from(length) != expected || !(TAG_LEN..=TAG_LEN + MAX_PLAINTEXT).contains(&rest) {
        return Err(Error::Malformed("wrong length"));
    }
    Ok(header)
}

/// Decimal from 1, without sign or leading zeros.
fn parse_version(digits: &str) -> Option<u32> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| canonical)
}

/// One allocation, written once, with room for the JSON around it.
fn text(version: u32, body: &[u8]) -> String {
    let mut text = String::with_capacity(64 + body.len().div_ceil(3) * 4);
    text.push_str(PREFIX);
    text.push_str(&version.to_string());
    text.push(':');
    STANDARD.encode_append(body, &mut text);
    text
}

#[cfg(test)]
mod tests;
