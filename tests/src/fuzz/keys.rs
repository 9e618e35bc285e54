//! Keys that come from elsewhere, and public halves of keys.

use std::sync::LazyLock;

use hub_crypto::asymmetric::{self, PrivateKey, encode};
use hub_crypto::{KeyFormat, Secret, TransportForm, import, transport as form};
use hub_model::algorithm::{ALGORITHMS, Hash, Kind};

use super::choose;
use super::ciphertext::FILL;

const FORMATS: [KeyFormat; 3] = [KeyFormat::Raw, KeyFormat::Pkcs8, KeyFormat::Jwk];

/// The first byte is the algorithm, the second the format.
pub(super) fn private_key(data: &[u8]) {
    let Some((row, data)) = choose(data, ALGORITHMS) else { return };
    let Some((format, data)) = choose(data, &FORMATS) else { return };
    let Ok(secret) = import::parse(row.algorithm, *format, data) else { return };
    // What was taken is a key: it goes out and comes in again as the same.
    let written = import::serialize(row.algorithm, &secret, *format).expect("a key that was taken");
    let again = import::parse(row.algorithm, *format, written.expose_secret()).expect("our own");
    assert_eq!(again.expose_secret(), secret.expose_secret());
}

/// The first byte is the algorithm.
pub(super) fn public_key(data: &[u8]) {
    let Some((row, data)) = choose(data, ALGORITHMS) else { return };
    let mut found = vec![asymmetric::public_key(row.kind, data)];
    if let Ok(text) = std::str::from_utf8(data) {
        found.push(encode::public_from_pem(row.kind, text));
        if let Ok(jwk) = serde_json::from_str(text) {
            found.push(encode::public_from_jwk(row.kind, &jwk));
        }
    }
    for key in found.into_iter().flatten() {
        let again = asymmetric::public_key(row.kind, &key.spki()).expect("our own");
        assert_eq!(again.raw(), key.raw());
        assert_eq!(encode::thumbprint(&*again), encode::thumbprint(&*key));
    }
}

/// A key for tests, made for this and used for nothing else.
const RSA: &[u8] = include_bytes!("../../../fuzz/seeds/rsa-3072.test.pkcs8");

static WRAPPING: LazyLock<[(TransportForm, Box<dyn PrivateKey>); 2]> = LazyLock::new(|| {
    let rsa = Kind::RsaOaep { bits: 3072, hash: Hash::Sha256 };
    let der = encode::private_from_pkcs8(rsa, RSA).expect("the file is a key");
    let seed = Secret::fill(32, |slot| slot.fill(FILL)).expect("room in the arena");
    let key = |kind, secret| asymmetric::private_key(kind, secret).expect("a key");
    [
        (TransportForm::RsaOaepAesKwp, key(rsa, &der)),
        (TransportForm::X25519MlKem768AesKwp, key(Kind::Hybrid, &seed)),
    ]
});

/// The first byte is the form, the second the algorithm of the key inside.
pub(super) fn transport(data: &[u8]) {
    let Some((&which, data)) = data.split_first() else { return };
    let Some((row, data)) = choose(data, ALGORITHMS) else { return };
    let [rsa, hybrid] = &*WRAPPING;
    let (kind, key) = if which % 2 == 0 { rsa } else { hybrid };
    if let Ok(bytes) = form::unwrap(*kind, &**key, data, row.algorithm) {
        for format in FORMATS {
            drop(import::parse(row.algorithm, format, bytes.expose_secret()));
        }
    }
}
