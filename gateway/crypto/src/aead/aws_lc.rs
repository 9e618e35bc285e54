//! AES-256-GCM, AES-256-GCM-SIV and ChaCha20-Poly1305 by aws-lc-rs. They give and take the same
//! bytes as those of RustCrypto; what differs is speed.

use aws_lc_rs::aead;

use super::{Aead, KEY_LEN, LoadedAead, NONCE_LEN, TAG_LEN};

/// AES-256-GCM (NIST SP 800-38D).
pub const AES_256_GCM: AwsLc = AwsLc(&aead::AES_256_GCM);
/// AES-256-GCM-SIV (RFC 8452).
pub const AES_256_GCM_SIV: AwsLc = AwsLc(&aead::AES_256_GCM_SIV);
/// ChaCha20-Poly1305 (RFC 8439 §2.8).
pub const CHACHA20_POLY1305: AwsLc = AwsLc(&aead::CHACHA20_POLY1305);

/// A cipher of aws-lc-rs.
#[derive(Clone, Copy, Debug)]
pub struct AwsLc(&'static aead::Algorithm);

/// INVARIANT: lies in memory of AWS-LC's own allocator, which erases it when it is freed.
struct Loaded(aead::LessSafeKey);

impl AwsLc {
    fn loaded(self, key: &[u8; KEY_LEN]) -> Option<Loaded> {
        aead::UnboundKey::new(self.0, key).ok().map(aead::LessSafeKey::new).map(Loaded)
    }
}

impl Aead for AwsLc {
    fn seal(
        &self,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        self.loaded(key)?.seal(nonce, aad, buffer)
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
        self.loaded(key)?.open(nonce, aad, input, output, tag)
    }

    fn load(&self, key: &[u8; KEY_LEN]) -> Option<Box<dyn LoadedAead>> {
        Some(Box::new(self.loaded(key)?))
    }
}

impl LoadedAead for Loaded {
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        let (nonce, aad) = (aead::Nonce::assume_unique_for_key(*nonce), aead::Aad::from(aad));
        let tag = self.0.seal_in_place_separate_tag(nonce, aad, buffer).ok()?;
        tag.as_ref().try_into().ok()
    }

    fn seal_to(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        let (nonce, aad) = (aead::Nonce::assume_unique_for_key(*nonce), aead::Aad::from(aad));
        let mut tag = [0; TAG_LEN];
        self.0.seal_out_of_place_scatter(nonce, aad, input, output, &[], &mut tag).ok()?;
        Some(tag)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()> {
        let (nonce, aad) = (aead::Nonce::assume_unique_for_key(*nonce), aead::Aad::from(aad));
        let outcome = self.0.open_separate_gather(nonce, aad, input, tag, output);
        if outcome.is_err() {
            // AWS-LC does so itself; that is not part of what aws-lc-rs promises.
            output.fill(0);
        }
        outcome.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::aes_gcm::Aes256Gcm;
    use crate::aead::aes_gcm_siv::Aes256GcmSiv;
    use crate::aead::chacha20_poly1305::ChaCha20Poly1305;

    #[test]
    fn keep_their_promises() {
        for cipher in [AES_256_GCM, AES_256_GCM_SIV, CHACHA20_POLY1305] {
            super::super::tests::keeps_the_promises_of_aead(&cipher);
        }
    }

    #[test]
    fn give_the_bytes_of_rustcrypto() {
        let pairs: [(&dyn Aead, &dyn Aead); 3] = [
            (&AES_256_GCM, &Aes256Gcm),
            (&AES_256_GCM_SIV, &Aes256GcmSiv),
            (&CHACHA20_POLY1305, &ChaCha20Poly1305),
        ];
        for (ours, theirs) in pairs {
            for len in [0, 1, 15, 16, 17, 31, 33, 255, 256, 1023, 4096, 65_536] {
                let plain: Vec<u8> = (0..len).map(|i: usize| i.to_le_bytes()[0]).collect();
                let (mut a, mut b) = (plain.clone(), plain.clone());
                let aad = &plain[..len / 2];
                let tags = [
                    ours.seal(&[7; 32], &[8; 12], aad, &mut a).unwrap(),
                    theirs.seal(&[7; 32], &[8; 12], aad, &mut b).unwrap(),
                ];
                assert!(a == b && tags[0] == tags[1], "{len}");
                let mut out = vec![1; len];
                for cipher in [ours, theirs] {
                    let loaded = cipher.load(&[7; 32]).unwrap();
                    let tag = loaded.seal_to(&[8; 12], aad, &plain, &mut out).unwrap();
                    assert!(out == b && tag == tags[1], "{len}");
                    assert!(loaded.seal_to(&[8; 12], aad, &plain, &mut vec![0; len + 1]).is_none());
                }
                ours.open(&[7; 32], &[8; 12], aad, &b, &mut out, &tags[1]).unwrap();
                assert_eq!(out, plain);
            }
        }
    }
}
