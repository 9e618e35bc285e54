//! The side that decrypts.

use std::fmt;

use hub_model::{KeyId, RegistrationId};

use super::{CHUNK_LEN, Chunks, SEALED_CHUNK_LEN, SecretBuffer, StreamHeader, cut, derive, suite};
use crate::aead::TAG_LEN;
use crate::committing::COMMITMENT_LEN;
use crate::{Error, Material, Result, mac};

/// Decrypts one stream. Only what [`StreamOpener::finish`] has confirmed is the whole of it: who
/// uses plaintext before that must be able to take it back.
pub struct StreamOpener {
    pub(super) chunks: Chunks,
    /// Ciphertext that came but is not known to be, or not to be, the last chunk.
    buffer: Vec<u8>,
    /// Whether a chunk was refused. INVARIANT: nothing opens after that.
    failed: bool,
}

impl StreamOpener {
    /// Starts to decrypt the stream with this header ([`super::HEADER_LEN`] bytes). `key` and
    /// `registration` are those the caller was authorized for; `material` is of the version that
    /// [`StreamHeader::parse`] names.
    ///
    /// # Errors
    /// [`Error::Open`], whatever the cause; [`Error::Arena`].
    pub fn new(
        material: &Material,
        header: &[u8],
        key: KeyId,
        registration: RegistrationId,
        context: &[u8],
    ) -> Result<Self> {
        let parsed = StreamHeader::parse(header).map_err(|_| Error::Open)?;
        let (suite, aead) = suite(material.algorithm()).ok_or(Error::Open)?;
        if parsed.key != key || parsed.suite != suite {
            return Err(Error::Open);
        }
        let (salted, commitment) =
            header.split_last_chunk::<COMMITMENT_LEN>().ok_or(Error::Open)?;
        let okm = derive(material, salted, registration, context)?;
        if !mac::ct_eq(&*okm.second, commitment) {
            return Err(Error::Open);
        }
        let chunks = Chunks::new(aead, &okm)?;
        Ok(Self { chunks, buffer: Vec::with_capacity(SEALED_CHUNK_LEN), failed: false })
    }

    /// Decrypts more of what follows the header, and appends to `out` the plaintext of every chunk
    /// that is whole and right.
    ///
    /// # Errors
    /// [`Error::Open`], now and for every later call. What `out` got before is of right chunks.
    pub fn push(&mut self, bytes: &[u8], out: &mut SecretBuffer) -> Result<()> {
        self.check(|opener| {
            let ready = bytes.len().saturating_add(opener.buffer.len()) / SEALED_CHUNK_LEN;
            out.reserve(ready.saturating_mul(CHUNK_LEN));
            let chunks = &mut opener.chunks;
            cut(&mut opener.buffer, SEALED_CHUNK_LEN, bytes, |chunk| {
                open(chunks, chunk, false, out)
            })
        })
    }

    /// Decrypts the last chunk. Only now is the stream known to be whole.
    ///
    /// # Errors
    /// [`Error::Open`] also when the stream was cut off.
    pub fn finish(mut self, out: &mut SecretBuffer) -> Result<()> {
        self.check(|opener| open(&mut opener.chunks, &opener.buffer, true, out))
    }

    fn check(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::Open);
        }
        step(self)?;
        self.failed = false;
        Ok(())
    }
}

fn open(chunks: &mut Chunks, chunk: &[u8], last: bool, out: &mut SecretBuffer) -> Result<()> {
    let (body, tag) = chunk.split_last_chunk::<TAG_LEN>().ok_or(Error::Open)?;
    // An empty chunk is the whole of an empty stream, or nothing: one spelling only.
    if body.is_empty() && chunks.next > 0 {
        return Err(Error::Open);
    }
    let nonce = chunks.nonce(last).ok_or(Error::Open)?;
    out.append(body.len(), |slot| {
        chunks.cipher.open(&nonce, &[], body, slot, tag).ok_or(Error::Open)
    })
}

impl fmt::Debug for StreamOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamOpener(chunk {}, [secret])", self.chunks.next)
    }
}
