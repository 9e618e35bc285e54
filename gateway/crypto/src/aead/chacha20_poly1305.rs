//! ChaCha20-Poly1305 (RFC 8439 §2.8).

use chacha20poly1305::ChaCha20Poly1305 as Cipher;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};

use super::{Aead, KEY_LEN, NONCE_LEN, TAG_LEN};

/// ChaCha20-Poly1305.
#[derive(Clone, Copy, Debug)]
pub struct ChaCha20Poly1305;

impl Aead for ChaCha20Poly1305 {
    fn seal(
        &self,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        // INVARIANT: the feature `zeroize` erases the key schedule when `cipher` is dropped.
        let cipher = Cipher::new(key.into());
        cipher.encrypt_inout_detached(nonce.into(), aad, buffer.into()).ok().map(Into::into)
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
        let cipher = Cipher::new(key.into());
        let buffer = InOutBuf::new(input, output).ok()?;
        cipher.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_tag_leaves_the_output_alone() {
        let mut buffer = *b"some plaintext";
        let tag = ChaCha20Poly1305.seal(&[1; 32], &[2; 12], b"aad", &mut buffer).unwrap();
        let mut output = [0; 14];
        ChaCha20Poly1305.open(&[1; 32], &[2; 12], b"aad", &buffer, &mut output, &tag).unwrap();
        assert_eq!(&output, b"some plaintext");
        let mut output = [0; 14];
        let refused = ChaCha20Poly1305.open(&[1; 32], &[2; 12], b"aae", &buffer, &mut output, &tag);
        assert!(refused.is_none() && output == [0; 14]);
    }
}
