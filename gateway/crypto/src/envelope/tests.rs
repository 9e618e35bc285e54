//! Negative test 2 of the security model (§12, CVE-2020-8897): one ciphertext crafted to open
//! under two keys. The attack is carried out in full on bare AES-256-GCM, which it breaks, and then
//! put into an envelope, which it does not.

use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};

use super::*;
use crate::Secret;
use crate::aead::Aead as _;
use crate::aead::aes_gcm::Aes256Gcm;
use crate::mac::{Okm, expand64};

const NONCE: [u8; 12] = [0; 12];

/// Multiplication in GF(2^128) as GHASH has it (NIST SP 800-38D §6.3).
fn mul(x: u128, y: u128) -> u128 {
    let (mut z, mut v) = (0, y);
    for i in (0..128).rev() {
        if x >> i & 1 == 1 {
            z ^= v;
        }
        v = (v >> 1) ^ (if v & 1 == 1 { 0xe1 << 120 } else { 0 });
    }
    z
}

/// x^(2^128 - 2).
fn invert(x: u128) -> u128 {
    let (mut square, mut out) = (x, 1 << 127);
    for _ in 1..128 {
        square = mul(square, square);
        out = mul(out, square);
    }
    out
}

fn aes(key: &[u8; 32], block: u128) -> u128 {
    let mut block = block.to_be_bytes().into();
    Aes256::new(key.into()).encrypt_block(&mut block);
    u128::from_be_bytes(block.into())
}

fn ghash(h: u128, blocks: &[u128]) -> u128 {
    blocks.iter().fold(0, |sum, block| mul(sum ^ block, h))
}

/// One block of ciphertext whose tag is right under both keys, for this associated data (whole
/// blocks).
fn two_key_ciphertext(keys: [&[u8; 32]; 2], aad: &[u8]) -> ([u8; 16], [u8; 16]) {
    let mut blocks: Vec<u128> =
        aad.as_chunks::<16>().0.iter().map(|block| u128::from_be_bytes(*block)).collect();
    let lengths = (aad.len() as u128 * 8) << 64 | 128;
    blocks.extend([0, lengths]);
    let [h1, h2] = keys.map(|key| aes(key, 0));
    // J0 = nonce ‖ 1; the tag is GHASH + E(J0), and the free block C adds C·H² to it.
    let [t1, t2] = [(keys[0], h1), (keys[1], h2)].map(|(key, h)| ghash(h, &blocks) ^ aes(key, 1));
    let free = mul(t1 ^ t2, invert(mul(h1, h1) ^ mul(h2, h2)));
    let tag = t1 ^ mul(free, mul(h1, h1));
    (free.to_be_bytes(), tag.to_be_bytes())
}

#[test]
fn field_arithmetic() {
    let x = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
    assert_eq!(mul(x, 1 << 127), x);
    assert_eq!(mul(x, invert(x)), 1 << 127);
}

#[test]
fn a_ciphertext_for_two_keys_opens_under_the_committed_one_only() {
    let (key, registration) = (KeyId::generate(), RegistrationId::generate());
    let materials = [1, 2].map(|byte| {
        let secret = Secret::copy_from(&[byte; 32]).unwrap();
        Material::from_secret(Algorithm::Aes256Gcm, secret).unwrap()
    });
    let head = head(Header { suite: 1, key, version: 1 }, 80);
    let salted = [&head[..], &[3; SALT_LEN]].concat();
    let binding = binding(registration, b"");
    let okms: [Okm; 2] =
        [0, 1].map(|i: usize| expand64(materials[i].prk().unwrap(), &[&salted, &binding]));
    for committed in [0, 1] {
        let header = [&salted[..], &okms[committed].second[..]].concat();
        let (block, tag) = two_key_ciphertext([&okms[0].first, &okms[1].first], &header);
        // Bare GCM takes it under either key.
        for okm in &okms {
            let mut out = [0; 16];
            assert!(Aes256Gcm.open(&okm.first, &NONCE, &header, &block, &mut out, &tag).is_some());
        }
        let body = [&header[..], &block, &tag].concat();
        let envelope = Envelope::parse(&text(1, &body)).unwrap();
        for (i, material) in materials.iter().enumerate() {
            let opened = open(material, &envelope, key, 1, registration, b"");
            if i == committed {
                assert!(opened.is_ok());
            } else {
                assert!(matches!(opened, Err(Error::Open)));
            }
        }
    }
}
