//! AES-256-GCM-SIV (RFC 8452): a repeated nonce shows that messages are equal, and nothing else.

use aes_gcm_siv::Aes256GcmSiv as Cipher;
use aes_gcm_siv::aead::inout::InOutBuf;
use aes_gcm_siv::aead::{AeadInOut as _, KeyInit as _};

use super::{Aad, Aead, Direct, KEY_LEN, LoadedAead, NONCE_LEN, TAG_LEN, aes_256_gcm_siv};

/// AES-256-GCM-SIV, by RustCrypto.
#[derive(Clone, Copy, Debug)]
pub struct Aes256GcmSiv;

/// INVARIANT: the feature `zeroize` erases the key schedule when it is dropped.
struct Loaded(Cipher);

impl Aead for Aes256GcmSiv {
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
        let outcome = self.0.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into());
        if outcome.is_err() {
            // The crate decrypts first and encrypts again; what it leaves behind is the input.
            output.fill(0);
        }
        outcome.ok()
    }
}

/// Suite 4: AES-256-GCM-SIV under the key itself, by the provider in force.
#[derive(Clone, Copy, Debug)]
pub struct Suite4;

impl Direct for Suite4 {
    fn nonce_len(&self) -> usize {
        NONCE_LEN
    }

    fn seal(
        &self,
        key: &[u8],
        nonce: &[u8],
        aad: Aad<'_>,
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        aes_256_gcm_siv().seal(key.try_into().ok()?, nonce.try_into().ok()?, aad.whole, buffer)
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
        let (key, nonce) = (key.try_into().ok()?, nonce.try_into().ok()?);
        aes_256_gcm_siv().open(key, nonce, aad.whole, input, output, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_promises() {
        super::super::tests::keeps_the_promises_of_aead(&Aes256GcmSiv);
        super::super::tests::keeps_the_promises_of_direct(&Suite4, 32);
    }
}
