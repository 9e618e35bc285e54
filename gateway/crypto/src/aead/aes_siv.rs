//! AES-256-SIV with CMAC (RFC 5297): deterministic. The key has 64 bytes, the first half for S2V,
//! the second for CTR. The components of S2V are header, binding and plaintext, in this order; the
//! synthetic IV is the tag.

use aes_siv::KeyInit as _;
use aes_siv::aead::inout::InOutBuf;
use aes_siv::siv::Aes256Siv as Cipher;

use super::{Aad, Direct, TAG_LEN};

/// Bytes of a key: two AES-256 keys.
pub const KEY_LEN: usize = 64;

/// AES-256-SIV (the `AEAD_AES_SIV_CMAC_512` of RFC 5297 §6.3, without its nonce).
#[derive(Clone, Copy, Debug)]
pub struct Aes256Siv;

impl Aes256Siv {
    /// Encrypts the buffer in place under any components of associated data (RFC 5297 §2.4; at most
    /// 126) and gives the synthetic IV.
    #[must_use]
    pub fn seal_vector(
        &self,
        key: &[u8; KEY_LEN],
        components: &[&[u8]],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        // INVARIANT: with the feature `zeroize` of this crate, `aes` and `cmac`, keys are erased
        // when `cipher` is dropped.
        let mut cipher = Cipher::new(key.into());
        cipher.encrypt_inout_detached(components, buffer.into()).ok().map(Into::into)
    }

    /// The reverse, from `input` to `output`, which is all zeros when the synthetic IV is wrong.
    #[must_use]
    pub fn open_vector(
        &self,
        key: &[u8; KEY_LEN],
        components: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()> {
        let mut cipher = Cipher::new(key.into());
        let buffer = InOutBuf::new(input, output).ok()?;
        let outcome = cipher.decrypt_inout_detached(components, buffer, tag.into());
        if outcome.is_err() {
            // SIV decrypts before it can check; the crate encrypts again, which leaves the input.
            output.fill(0);
        }
        outcome.ok()
    }
}

impl Direct for Aes256Siv {
    fn nonce_len(&self) -> usize {
        0
    }

    fn seal(
        &self,
        key: &[u8],
        nonce: &[u8],
        aad: Aad<'_>,
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        let key = key.try_into().ok().filter(|_| nonce.is_empty())?;
        self.seal_vector(key, &aad.parts(), buffer)
    }

    fn open(
        &self,
        key: &[u8],
        nonce: &[u8],
        aad: Aad<'_>,
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()> {
        let key = key.try_into().ok().filter(|_| nonce.is_empty())?;
        self.open_vector(key, &aad.parts(), input, output, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_promises() {
        super::super::tests::keeps_the_promises_of_direct(&Aes256Siv, KEY_LEN);
    }

    #[test]
    fn the_cut_between_header_and_binding_counts() {
        let seal = |header_len| {
            let mut buffer = *b"plaintext";
            let aad = Aad { whole: b"headerbinding", header_len };
            let tag = Aes256Siv.seal(&[1; KEY_LEN], &[], aad, &mut buffer).unwrap();
            (buffer, tag)
        };
        assert_eq!(seal(6), seal(6));
        assert_ne!(seal(6), seal(7));
    }
}
