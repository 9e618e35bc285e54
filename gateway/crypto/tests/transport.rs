//! Transport forms against another implementation: RSA-OAEP and AES-KWP of AWS-LC.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use hub_crypto::asymmetric::{self, PrivateKey, PublicKey};
use hub_crypto::transport::{MAX_KEY, unwrap, wrap};
use hub_crypto::{Error, Result, Secret, TransportForm};
use hub_model::algorithm::Kind;
use hub_model::{Algorithm, SecretBytes};
use pkcs8::der::Decode as _;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use proptest::prelude::*;

const RSA: TransportForm = TransportForm::RsaOaepAesKwp;
const HYBRID: TransportForm = TransportForm::X25519MlKem768AesKwp;
const ALGORITHM: Algorithm = Algorithm::Aes256Gcm;

/// An RSA key of AWS-LC behind our traits.
struct Rsa(PrivateDecryptingKey);

struct RsaPublic(PublicEncryptingKey);

impl Rsa {
    fn generate(size: KeySize) -> Self {
        Self(PrivateDecryptingKey::generate(size).unwrap())
    }
}

impl PrivateKey for Rsa {
    fn public(&self) -> Arc<dyn PublicKey> {
        Arc::new(RsaPublic(self.0.public_key()))
    }

    fn decrypt(&self, ciphertext: &[u8], label: &[u8]) -> Result<SecretBytes> {
        let key = OaepPrivateDecryptingKey::new(self.0.clone()).unwrap();
        let mut buffer = vec![0; key.min_output_size()];
        let plain = key
            .decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut buffer, Some(label))
            .map_err(|_| Error::Open)?;
        Ok(SecretBytes::new(plain.to_vec()))
    }
}

impl PublicKey for RsaPublic {
    fn raw(&self) -> Vec<u8> {
        let spki = self.spki();
        let spki = SubjectPublicKeyInfoRef::from_der(&spki).unwrap();
        spki.subject_public_key.as_bytes().unwrap().to_vec()
    }

    fn spki(&self) -> Vec<u8> {
        self.0.as_der().unwrap().as_ref().to_vec()
    }

    fn jwk(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn encrypt(&self, plaintext: &[u8], label: &[u8]) -> Result<Vec<u8>> {
        let key = OaepPublicEncryptingKey::new(self.0.clone()).unwrap();
        let mut buffer = vec![0; key.ciphertext_size()];
        let out = key
            .encrypt(&OAEP_SHA256_MGF1SHA256, plaintext, &mut buffer, Some(label))
            .map_err(|_| Error::TooLongFor(key.max_plaintext_size(&OAEP_SHA256_MGF1SHA256)))?;
        Ok(out.to_vec())
    }
}

fn hybrid() -> Box<dyn PrivateKey> {
    let secret = asymmetric::generate(Kind::Hybrid).unwrap();
    asymmetric::private_key(Kind::Hybrid, &secret).unwrap()
}

#[test]
fn the_rsa_form_is_the_layout_of_the_clouds() {
    for (size, len) in [(KeySize::Rsa2048, 256), (KeySize::Rsa3072, 384), (KeySize::Rsa4096, 512)] {
        let key = Rsa::generate(size);
        let body = wrap(RSA, &*key.public(), b"thirty-two bytes of key material", ALGORITHM);
        let body = body.unwrap();
        assert_eq!(body.len(), len + 40);
        let (head, wrapped) = body.split_at(len);
        let kek = key.decrypt(head, b"").unwrap();
        let kek = AesKek::new(&AES_256, kek.expose_secret()).unwrap();
        let mut buffer = vec![0; 64];
        let found = kek.unwrap_with_padding(wrapped, &mut buffer).unwrap();
        assert_eq!(found, b"thirty-two bytes of key material");

        // And what another made, opens here.
        let kek = [3; 32];
        let mut foreign = key.public().encrypt(&kek, b"").unwrap();
        let kek = AesKek::new(&AES_256, &kek).unwrap();
        foreign
            .extend_from_slice(kek.wrap_with_padding(b"seventeen bytes..", &mut buffer).unwrap());
        let opened = unwrap(RSA, &key, &foreign, ALGORITHM).unwrap();
        assert_eq!(opened.expose_secret(), b"seventeen bytes..");
    }
}

#[test]
fn moduli_beyond_the_bounds_are_refused() {
    let key = Rsa::generate(KeySize::Rsa8192);
    let outcome = wrap(RSA, &*key.public(), b"key", ALGORITHM);
    assert!(matches!(outcome, Err(Error::WrongUse)));
    assert!(matches!(unwrap(RSA, &key, &[0; 1064], ALGORITHM), Err(Error::Open)));
}

#[test]
fn what_is_inside_the_rsa_ciphertext_must_be_an_aes_256_key() {
    let key = Rsa::generate(KeySize::Rsa2048);
    let mut buffer = vec![0; 64];
    for (kek, label) in [(&[3; 16][..], &b""[..]), (&[3; 32], b"label")] {
        let mut body = key.public().encrypt(kek, label).unwrap();
        let kek: Vec<u8> = kek.iter().copied().cycle().take(32).collect();
        let kek = AesKek::new(&AES_256, &kek).unwrap();
        body.extend_from_slice(kek.wrap_with_padding(b"key bytes", &mut buffer).unwrap());
        assert!(matches!(unwrap(RSA, &key, &body, ALGORITHM), Err(Error::Open)));
    }
}

#[test]
fn every_length_travels() {
    let (rsa, hybrid) = (Rsa::generate(KeySize::Rsa2048), hybrid());
    for (form, key) in [(RSA, &rsa as &dyn PrivateKey), (HYBRID, &*hybrid)] {
        for len in [1, 8, 32, 64, 85, 2375, MAX_KEY] {
            let secret: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let body = wrap(form, &*key.public(), &secret, ALGORITHM).unwrap();
            let again = wrap(form, &*key.public(), &secret, ALGORITHM).unwrap();
            assert_ne!(body, again);
            let opened = unwrap(form, key, &body, ALGORITHM).unwrap();
            assert_eq!(opened.expose_secret(), secret);
        }
        let public = key.public();
        assert!(matches!(wrap(form, &*public, &[], ALGORITHM), Err(Error::Parameter(_))));
        let mut body = wrap(form, &*public, &[1; MAX_KEY], ALGORITHM).unwrap();
        body.extend_from_slice(&[0; 8]);
        assert!(matches!(unwrap(form, key, &body, ALGORITHM), Err(Error::Open)));
        let long = wrap(form, &*public, &[1; MAX_KEY + 1], ALGORITHM);
        assert!(matches!(long, Err(Error::TooLongFor(MAX_KEY))));
    }
}

#[test]
fn another_key_form_or_algorithm_does_not_open() {
    let (rsa, key, other) = (Rsa::generate(KeySize::Rsa2048), hybrid(), hybrid());
    let body = wrap(HYBRID, &*key.public(), &[7; 32], ALGORITHM).unwrap();
    assert!(unwrap(HYBRID, &*key, &body, ALGORITHM).is_ok());
    for outcome in [
        unwrap(HYBRID, &*other, &body, ALGORITHM),
        unwrap(HYBRID, &*key, &body, Algorithm::ChaCha20Poly1305),
        unwrap(RSA, &*key, &body, ALGORITHM),
        unwrap(HYBRID, &rsa, &body, ALGORITHM),
        unwrap(RSA, &rsa, &body, ALGORITHM),
    ] {
        assert!(matches!(outcome, Err(Error::Open)));
    }
    let ml_kem = Kind::MlKem(768);
    let plain = asymmetric::private_key(ml_kem, &asymmetric::generate(ml_kem).unwrap()).unwrap();
    for (form, public) in [(RSA, key.public()), (HYBRID, plain.public()), (HYBRID, rsa.public())] {
        let outcome = wrap(form, &*public, &[7; 32], ALGORITHM);
        assert!(matches!(outcome, Err(Error::WrongUse)));
    }
}

/// `tests/formats/transport.json`: the hybrid body was made here, the RSA one in Python.
#[test]
fn frozen_bodies_open() {
    let bytes = |value: &serde_json::Value| -> Vec<u8> {
        let text = value.as_str().unwrap();
        let digits = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/formats/transport.json");
    let samples: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let samples = samples.as_array().unwrap();
    assert_eq!(samples.len(), 2);
    for sample in samples {
        let form: TransportForm = sample["form"].as_str().unwrap().parse().unwrap();
        let travels: Algorithm = sample["travels"].as_str().unwrap().parse().unwrap();
        let key: Box<dyn PrivateKey> = match form {
            RSA => {
                Box::new(Rsa(PrivateDecryptingKey::from_pkcs8(&bytes(&sample["pkcs8"])).unwrap()))
            }
            HYBRID => {
                let seed = Secret::copy_from(&bytes(&sample["seed"])).unwrap();
                asymmetric::private_key(Kind::Hybrid, &seed).unwrap()
            }
        };
        let opened = unwrap(form, &*key, &bytes(&sample["body"]), travels).unwrap();
        assert_eq!(opened.expose_secret(), bytes(&sample["key"]));
    }
}

#[test]
fn names_come_back() {
    for form in TransportForm::ALL {
        assert_eq!(form.name().parse::<TransportForm>().unwrap(), form);
    }
    assert!("RSA".parse::<TransportForm>().is_err());
}

/// A form, its transport key and what was wrapped for it.
type Body = (TransportForm, Box<dyn PrivateKey>, Vec<u8>);

/// One body of each form, made once.
fn bodies() -> &'static [Body; 2] {
    static BODIES: LazyLock<[Body; 2]> = LazyLock::new(|| {
        let keys: [(_, Box<dyn PrivateKey>); 2] =
            [(RSA, Box::new(Rsa::generate(KeySize::Rsa2048))), (HYBRID, hybrid())];
        keys.map(|(form, key)| {
            let body = wrap(form, &*key.public(), &[7; 37], ALGORITHM).unwrap();
            (form, key, body)
        })
    });
    &BODIES
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_flipped_bit_is_found(which in 0..2_usize, at in any::<proptest::sample::Index>()) {
        let (form, key, body) = &bodies()[which];
        let bit = at.index(body.len() * 8);
        let mut bad = body.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(matches!(unwrap(*form, &**key, &bad, ALGORITHM), Err(Error::Open)));
    }

    #[test]
    fn other_bytes_are_refused(
        which in 0..2_usize,
        len in 0..1400_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..1400),
    ) {
        let (form, key, body) = &bodies()[which];
        prop_assert!(matches!(unwrap(*form, &**key, &bytes, ALGORITHM), Err(Error::Open)));
        if len != body.len() {
            let mut cut = body.clone();
            cut.resize(len, 0);
            prop_assert!(matches!(unwrap(*form, &**key, &cut, ALGORITHM), Err(Error::Open)));
        }
    }
}
