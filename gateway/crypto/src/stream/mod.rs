//! Bodies of any size in constant memory, under keys of suites 1 and 2 (`docs/formats/stream.md`).
//!
//! A stream is a header like that of a message, then chunks of 64 KiB of plaintext, each with a tag
//! (the STREAM construction: Hoang, Reyhanitabar, Rogaway, Vizár 2015, §6). What must stay true:
//! plaintext of a chunk comes out only when its tag was right; nothing but the whole stream, in
//! order, ends well; every failure is [`Error::Open`], and nothing follows one.

mod buffer;
mod opener;
mod sealer;

use hub_model::{Algorithm, KeyId, RegistrationId};

pub use self::buffer::SecretBuffer;
pub use self::opener::StreamOpener;
pub use self::sealer::StreamSealer;
use crate::aead::{Aead, LoadedAead, NONCE_LEN, TAG_LEN, aes_256_gcm, aws_lc, chacha20_poly1305};
use crate::committing::{COMMITMENT_LEN, SALT_LEN};
use crate::envelope::{self, HEAD_LEN, Header};
use crate::provider::{self, Provider};
use crate::{Error, Material, Result, mac};

/// Bytes of the header.
pub const HEADER_LEN: usize = HEAD_LEN + SALT_LEN + COMMITMENT_LEN;
/// Bytes of plaintext of every chunk but the last.
pub const CHUNK_LEN: usize = 65_536;
/// The most chunks one stream has.
pub const MAX_CHUNKS: u64 = 1 << 32;

/// Bytes of a chunk as sent.
const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
/// Salt of the extract step; another one than that of messages, so that no key serves both.
const LABEL: &[u8] = b"cipher-hub/v1/stream";

/// What a stream says about itself. Not authenticated before it has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// 16 for keys of AES_256_GCM, 17 for those of CHACHA20_POLY1305.
    pub suite: u8,
    /// The key it was made with.
    pub key: KeyId,
    /// The version of that key.
    pub version: u32,
}

impl StreamHeader {
    /// Reads the first [`HEADER_LEN`] bytes of a stream, to find the key by.
    ///
    /// # Errors
    /// [`Error::Malformed`], which to callers from outside is the same as [`Error::Open`].
    pub fn parse(header: &[u8]) -> Result<Self> {
        if header.len() != HEADER_LEN {
            return Err(Error::Malformed("wrong length"));
        }
        let head = header.first_chunk().ok_or(Error::Malformed("too short"))?;
        let (Header { suite, key, version }, length) = envelope::parse_head(head)?;
        if !matches!(suite, 16 | 17) {
            return Err(Error::Malformed("unknown suite"));
        }
        if usize::from(length) != HEADER_LEN || version == 0 {
            return Err(Error::Malformed("wrong length or version"));
        }
        Ok(Self { suite, key, version })
    }
}

/// The suite of streams under keys of the algorithm, and its chunk cipher.
fn suite(algorithm: Algorithm) -> Option<(u8, &'static dyn Aead)> {
    match algorithm {
        Algorithm::Aes256Gcm => Some((16, aes_256_gcm_chunks())),
        Algorithm::ChaCha20Poly1305 => Some((17, chacha20_poly1305())),
        _ => None,
    }
}

/// AES-256-GCM for chunks: other than for messages, `Auto` is aws-lc. RustCrypto's is as fast as
/// OpenSSL 3.0 at 1 KiB, but at 64 KiB it reaches 0.63 of it, short of the 0.8 that is the goal;
/// aws-lc reaches 2.3 (`docs/adr/0013-providers.md`).
fn aes_256_gcm_chunks() -> &'static dyn Aead {
    match provider::current() {
        Provider::Auto => &aws_lc::AES_256_GCM,
        Provider::RustCrypto | Provider::AwsLc => aes_256_gcm(),
    }
}

/// Key and commitment of the stream with this beginning of a header: head ‖ salt.
fn derive(
    material: &Material,
    salted: &[u8],
    registration: RegistrationId,
    context: &[u8],
) -> Result<mac::Okm> {
    let prk = mac::extract(LABEL, material.secret())?;
    let binding = envelope::binding(registration, context);
    Ok(mac::expand64(prk.expose_secret(), &[salted, &binding]))
}

/// The chunk cipher and the number of the chunk it is at.
struct Chunks {
    cipher: Box<dyn LoadedAead>,
    next: u64,
}

impl Chunks {
    fn new(aead: &dyn Aead, okm: &mac::Okm) -> Result<Self> {
        // INVARIANT: fails only when there is no memory.
        let cipher = aead.load(&okm.first).ok_or(Error::WrongUse)?;
        Ok(Self { cipher, next: 0 })
    }

    /// The nonce of the next chunk: u88 number, big endian ‖ whether it is the last. `None` when
    /// there have been as many chunks as there may be.
    fn nonce(&mut self, last: bool) -> Option<[u8; NONCE_LEN]> {
        let number = self.next;
        self.next = number.checked_add(1).filter(|next| *next <= MAX_CHUNKS)?;
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        Some([0, 0, 0, a, b, c, d, e, f, g, h, u8::from(last)])
    }
}

/// Cuts what is pushed into pieces of `buffer`'s capacity, `size`. A piece is handed out only once
/// more bytes follow it, so that what is left at the end is the last chunk. Whole pieces inside
/// `input` are not copied.
///
/// INVARIANT: `buffer` never grows beyond the capacity it was made with.
fn cut(
    buffer: &mut Vec<u8>,
    size: usize,
    mut input: &[u8],
    mut piece: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    while !input.is_empty() {
        if buffer.len() == size {
            piece(buffer)?;
            buffer.clear();
        }
        let room = size - buffer.len();
        match input.split_at_checked(room) {
            Some((whole, rest)) if room == size && !rest.is_empty() => {
                piece(whole)?;
                input = rest;
            }
            Some((part, rest)) => {
                buffer.extend_from_slice(part);
                input = rest;
            }
            None => {
                buffer.extend_from_slice(input);
                input = &[];
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
