//! ChaCha20-Poly1305 (RFC 8439 §2.8).

use chacha20poly1305::ChaCha20Poly1305 as Cipher;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};

use super::{Aead, KEY_LEN, LoadedAead, NONCE_LEN, TAG_LEN};

/// ChaCha20-Poly1305, by RustCrypto.
#[derive(Clone, Copy, Debug)]
pub struct ChaCha20Poly1305;

/// INVARIANT: the feature `zeroize` erases the key schedule when it is dropped.
struct Loaded(Cipher);

impl Aead for ChaCha20Poly1305 {
    fn seal(
        &self,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        Loaded(Cipher::new(key.into())).seal(nonce, aad, buffer)
    }

    fn open(
        &self,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()> {
        Loaded(Cipher::new(key.into())).open(nonce, aad, input, output, tag)
    }

    fn load(&self, key: &[u8; KEY_LEN]) -> Option<Box<dyn LoadedAead>> {
        Some(Box::new(Loaded(Cipher::new(key.into()))))
    }
}

impl LoadedAead for Loaded {
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        self.0.encrypt_inout_detached(nonce.into(), aad, buffer.into()).ok().map(Into::into)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()> {
        let buffer = InOutBuf::new(input, output).ok()?;
        self.0.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_promises() {
        super::super::tests::keeps_the_promises_of_aead(&ChaCha20Poly1305);
    }
}
