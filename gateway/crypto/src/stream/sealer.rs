//! The side that encrypts.

use std::fmt;

use hub_model::{KeyId, RegistrationId};
use zeroize::Zeroizing;

use super::{CHUNK_LEN, Chunks, HEADER_LEN, SEALED_CHUNK_LEN, cut, derive, suite};
use crate::aead::TAG_LEN;
use crate::committing::SALT_LEN;
use crate::envelope::{self, Header};
use crate::{Error, Material, Result, random};

/// Encrypts one stream. Holds its key and at most one chunk of plaintext, both erased when dropped.
/// A stream that was not finished does not open.
pub struct StreamSealer {
    pub(super) chunks: Chunks,
    /// INVARIANT: made with the capacity of a chunk and never grown; what is in it is overwritten
    /// or erased on drop.
    pub(super) buffer: Zeroizing<Vec<u8>>,
}

impl StreamSealer {
    /// Starts a stream bound to key, version, registration and context
    /// ([`hub_model::EncryptionContext::canonical`]). Gives its header, which goes first.
    ///
    /// # Errors
    /// [`Error::NoVersion`] for version 0; [`Error::WrongUse`] when the algorithm is neither
    /// AES_256_GCM nor CHACHA20_POLY1305; [`Error::Arena`].
    pub fn new(
        material: &Material,
        key: KeyId,
        version: u32,
        registration: RegistrationId,
        context: &[u8],
    ) -> Result<([u8; HEADER_LEN], Self)> {
        let mut salt = [0; SALT_LEN];
        random::fill(&mut salt);
        Self::with_salt(material, key, version, registration, context, &salt)
    }

    /// INVARIANT: a salt other than from [`random`] occurs in tests of the frozen samples only.
    pub(crate) fn with_salt(
        material: &Material,
        key: KeyId,
        version: u32,
        registration: RegistrationId,
        context: &[u8],
        salt: &[u8; SALT_LEN],
    ) -> Result<([u8; HEADER_LEN], Self)> {
        if version == 0 {
            return Err(Error::NoVersion(version));
        }
        let (suite, aead) = suite(material.algorithm()).ok_or(Error::WrongUse)?;
        let length = u8::try_from(HEADER_LEN).map_err(|_| Error::WrongUse)?;
        let head = envelope::head(Header { suite, key, version }, length);
        let mut header = [0; HEADER_LEN];
        let mut slots = header.iter_mut();
        slots.by_ref().zip(head.iter().chain(salt)).for_each(|(slot, byte)| *slot = *byte);
        let salted = [&head[..], salt].concat();
        let okm = derive(material, &salted, registration, context)?;
        if let Some(slot) = header.last_chunk_mut() {
            *slot = *okm.second;
        }
        let chunks = Chunks::new(aead, &okm)?;
        Ok((header, Self { chunks, buffer: Zeroizing::new(Vec::with_capacity(CHUNK_LEN)) }))
    }

    /// Encrypts more plaintext, and appends to `out` what is ready of it.
    ///
    /// # Errors
    /// [`Error::TooLongFor`] beyond [`super::MAX_CHUNKS`]; the stream then cannot be finished.
    pub fn push(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let ready = plaintext.len().saturating_add(self.buffer.len()) / CHUNK_LEN;
        out.reserve(ready.saturating_mul(SEALED_CHUNK_LEN));
        let chunks = &mut self.chunks;
        cut(&mut self.buffer, CHUNK_LEN, plaintext, |chunk| seal(chunks, chunk, false, out))
    }

    /// Ends the stream: appends its last chunk, which is empty only if the whole plaintext is.
    ///
    /// # Errors
    /// As [`StreamSealer::push`].
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        seal(&mut self.chunks, &self.buffer, true, out)
    }
}

fn seal(chunks: &mut Chunks, chunk: &[u8], last: bool, out: &mut Vec<u8>) -> Result<()> {
    let nonce = chunks.nonce(last).ok_or(Error::TooLongFor(usize::MAX))?;
    out.reserve(chunk.len() + TAG_LEN);
    let start = out.len();
    out.resize(start + chunk.len(), 0);
    let sealed = out.get_mut(start..).unwrap_or_default();
    // INVARIANT: a chunk is below the length that ciphers refuse. Should one refuse all the same,
    // no plaintext is left in the output.
    let Some(tag) = chunks.cipher.seal_to(&nonce, &[], chunk, sealed) else {
        out.truncate(start);
        return Err(Error::TooLongFor(CHUNK_LEN));
    };
    out.extend_from_slice(&tag);
    Ok(())
}

impl fmt::Debug for StreamSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamSealer(chunk {}, [secret])", self.chunks.next)
    }
}
