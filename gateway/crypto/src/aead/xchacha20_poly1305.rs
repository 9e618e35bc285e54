//! Suite 3: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): ChaCha20-Poly1305 under a subkey that
//! HChaCha20 makes of the key and the first 16 bytes of the nonce (§2.3).

use chacha20::R20;
use zeroize::Zeroizing;

use super::{Aad, Aead, Direct, KEY_LEN, NONCE_LEN, TAG_LEN, chacha20_poly1305};

/// Bytes of a nonce.
pub const XNONCE_LEN: usize = 24;

/// XChaCha20-Poly1305, its inner ChaCha20-Poly1305 by the provider in force.
#[derive(Clone, Copy, Debug)]
pub struct XChaCha20Poly1305;

impl XChaCha20Poly1305 {
    /// As [`Direct::seal`], over a given ChaCha20-Poly1305.
    #[must_use]
    pub fn seal_with(
        &self,
        inner: &dyn Aead,
        key: &[u8; KEY_LEN],
        nonce: &[u8; XNONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        let (subkey, nonce) = subkey(key, nonce);
        inner.seal(&subkey, &nonce, aad, buffer)
    }

    /// As [`Direct::open`], over a given ChaCha20-Poly1305.
    #[must_use]
    pub fn open_with(
        &self,
        inner: &dyn Aead,
        key: &[u8; KEY_LEN],
        nonce: &[u8; XNONCE_LEN],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()> {
        let (subkey, nonce) = subkey(key, nonce);
        inner.open(&subkey, &nonce, aad, input, output, tag)
    }
}

/// HChaCha20 of the first 16 bytes; four zeros before the other eight (§2.3).
fn subkey(
    key: &[u8; KEY_LEN],
    nonce: &[u8; XNONCE_LEN],
) -> (Zeroizing<[u8; KEY_LEN]>, [u8; NONCE_LEN]) {
    let (mut front, mut inner) = ([0; 16], [0; NONCE_LEN]);
    let slots = front.iter_mut().chain(inner.iter_mut().skip(4));
    slots.zip(nonce).for_each(|(slot, byte)| *slot = *byte);
    (Zeroizing::new(chacha20::hchacha::<R20>(key.into(), &front.into()).into()), inner)
}

impl Direct for XChaCha20Poly1305 {
    fn nonce_len(&self) -> usize {
        XNONCE_LEN
    }

    fn seal(
        &self,
        key: &[u8],
        nonce: &[u8],
        aad: Aad<'_>,
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        let (key, nonce) = (key.try_into().ok()?, nonce.try_into().ok()?);
        self.seal_with(chacha20_poly1305(), key, nonce, aad.whole, buffer)
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
        self.open_with(chacha20_poly1305(), key, nonce, aad.whole, input, output, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_promises() {
        super::super::tests::keeps_the_promises_of_direct(&XChaCha20Poly1305, KEY_LEN);
    }
}
