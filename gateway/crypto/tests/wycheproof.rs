//! Project Wycheproof (`tests/vectors/README.md`): everything offered here is run; what is not
//! offered is skipped by name and counted; a run of nothing fails.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail loudly"
)]

use std::collections::BTreeMap;
use std::path::Path;

use hub_crypto::aead::aes_gcm::Aes256Gcm;
use hub_crypto::aead::aes_gcm_siv::Aes256GcmSiv;
use hub_crypto::aead::aes_siv::Aes256Siv;
use hub_crypto::aead::chacha20_poly1305::ChaCha20Poly1305;
use hub_crypto::aead::xchacha20_poly1305::XChaCha20Poly1305;
use hub_crypto::aead::{Aead, aws_lc};
use hub_crypto::{VerifyingKey, conformance, ct_eq, keywrap};
use hub_model::algorithm::Hash;
use serde_json::Value;

/// What one case came to.
enum Outcome {
    /// Accepted or refused.
    Ran(bool),
    Skipped(String),
}

/// Runs every case of a file; `case` gets the group and the test. `least` is how many must run.
fn run(file: &str, least: usize, case: impl Fn(&Value, &Value) -> Outcome) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/wycheproof");
    let text = std::fs::read(path.join(file)).unwrap();
    let vectors: Value = serde_json::from_slice(&text).unwrap();
    let (mut ran, mut failed) = (0, Vec::new());
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    for group in vectors["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let expected = match test["result"].as_str().unwrap() {
                "valid" => true,
                "invalid" => false,
                other => panic!("{file}: no decision was made about `{other}`"),
            };
            match case(group, test) {
                Outcome::Ran(accepted) => {
                    ran += 1;
                    if accepted != expected {
                        failed.push(test["tcId"].clone());
                    }
                }
                Outcome::Skipped(reason) => *skipped.entry(reason).or_default() += 1,
            }
        }
    }
    println!("{file}: {ran} run, {skipped:?} skipped, {} failed", failed.len());
    assert!(failed.is_empty(), "{file}: {failed:?}");
    let total = ran + skipped.values().sum::<usize>();
    assert_eq!(Some(total as u64), vectors["numberOfTests"].as_u64());
    assert!(ran >= least, "{file}: only {ran} cases were run");
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// Why a group of AEAD cases is passed over, if it is.
fn unoffered(group: &Value, sizes: &[(&str, u64)]) -> Option<Outcome> {
    sizes.iter().find_map(|(name, offered)| {
        let size = group[*name].as_u64().unwrap();
        (size != *offered).then(|| Outcome::Skipped(format!("{name} {size}")))
    })
}

/// A function that seals in place and one that opens, of one cipher.
type SealWith<'a> = &'a dyn Fn(&[u8], &[u8], &[u8], &mut [u8]) -> [u8; 16];
type OpenWith<'a> = &'a dyn Fn(&[u8], &[u8], &[u8], &[u8], &mut [u8], &[u8; 16]) -> Option<()>;

fn run_aead(test: &Value, seal: SealWith<'_>, open: OpenWith<'_>) -> Outcome {
    let (key, nonce, aad) = (hex(&test["key"]), hex(&test["iv"]), hex(&test["aad"]));
    let (message, ciphertext) = (hex(&test["msg"]), hex(&test["ct"]));
    let tag = hex(&test["tag"]).try_into().unwrap();
    let mut opened = vec![0; ciphertext.len()];
    let accepted = open(&key, &nonce, &aad, &ciphertext, &mut opened, &tag).is_some();
    if test["result"] == "valid" {
        let mut buffer = message.clone();
        let sealed = seal(&key, &nonce, &aad, &mut buffer);
        assert_eq!((buffer, sealed), (ciphertext, tag), "{}", test["tcId"]);
        return Outcome::Ran(accepted && opened == message);
    }
    assert!(accepted || opened.iter().all(|byte| *byte == 0), "{}", test["tcId"]);
    Outcome::Ran(accepted)
}

fn aead(cipher: &dyn Aead, group: &Value, test: &Value) -> Outcome {
    unoffered(group, &[("keySize", 256), ("ivSize", 96), ("tagSize", 128)]).unwrap_or_else(|| {
        run_aead(
            test,
            &|key, nonce, aad, buffer| {
                cipher
                    .seal(key.try_into().unwrap(), nonce.try_into().unwrap(), aad, buffer)
                    .unwrap()
            },
            &|key, nonce, aad, input, output, tag| {
                let (key, nonce) = (key.try_into().unwrap(), nonce.try_into().unwrap());
                cipher.open(key, nonce, aad, input, output, tag)
            },
        )
    })
}

#[test]
fn aes_gcm() {
    for cipher in [&Aes256Gcm as &dyn Aead, &aws_lc::AES_256_GCM] {
        run("aes_gcm_test.json", 66, |group, test| aead(cipher, group, test));
    }
}

#[test]
fn aes_gcm_siv() {
    for cipher in [&Aes256GcmSiv as &dyn Aead, &aws_lc::AES_256_GCM_SIV] {
        run("aes_gcm_siv_test.json", 103, |group, test| aead(cipher, group, test));
    }
}

#[test]
fn chacha20_poly1305() {
    for cipher in [&ChaCha20Poly1305 as &dyn Aead, &aws_lc::CHACHA20_POLY1305] {
        run("chacha20_poly1305_test.json", 316, |group, test| aead(cipher, group, test));
    }
}

#[test]
fn xchacha20_poly1305() {
    let cipher = XChaCha20Poly1305;
    for inner in [&ChaCha20Poly1305 as &dyn Aead, &aws_lc::CHACHA20_POLY1305] {
        run("xchacha20_poly1305_test.json", 306, |group, test| {
            let sizes = [("keySize", 256), ("ivSize", 192), ("tagSize", 128)];
            unoffered(group, &sizes).unwrap_or_else(|| {
                run_aead(
                    test,
                    &|key, nonce, aad, buffer| {
                        let (key, nonce) = (key.try_into().unwrap(), nonce.try_into().unwrap());
                        cipher.seal_with(inner, key, nonce, aad, buffer).unwrap()
                    },
                    &|key, nonce, aad, input, output, tag| {
                        let (key, nonce) = (key.try_into().unwrap(), nonce.try_into().unwrap());
                        cipher.open_with(inner, key, nonce, aad, input, output, tag)
                    },
                )
            })
        });
    }
}

/// RFC 5297 puts the synthetic IV first.
#[test]
fn aes_siv() {
    run("aes_siv_cmac_test.json", 147, |group, test| {
        if let Some(skipped) = unoffered(group, &[("keySize", 512)]) {
            return skipped;
        }
        let key = hex(&test["key"]).try_into().unwrap();
        let (aad, message, whole) = (hex(&test["aad"]), hex(&test["msg"]), hex(&test["ct"]));
        let (iv, ciphertext) = whole.split_first_chunk().unwrap();
        let mut opened = vec![0; ciphertext.len()];
        let outcome = Aes256Siv.open_vector(&key, &[&aad], ciphertext, &mut opened, iv);
        if test["result"] == "valid" {
            let mut buffer = message.clone();
            let sealed = Aes256Siv.seal_vector(&key, &[&aad], &mut buffer).unwrap();
            assert_eq!((&buffer[..], &sealed), (ciphertext, iv), "{}", test["tcId"]);
            return Outcome::Ran(outcome.is_some() && opened == message);
        }
        Outcome::Ran(outcome.is_some())
    });
}

#[test]
fn aes_kwp() {
    run("aes_kwp_test.json", 94, |group, test| {
        if let Some(skipped) = unoffered(group, &[("keySize", 256)]) {
            return skipped;
        }
        let key = hex(&test["key"]).try_into().unwrap();
        let (message, wrapped) = (hex(&test["msg"]), hex(&test["ct"]));
        let outcome = keywrap::unwrap(&key, &wrapped);
        if test["result"] == "valid" {
            assert_eq!(keywrap::wrap(&key, &message).unwrap(), wrapped, "{}", test["tcId"]);
            return Outcome::Ran(outcome.is_ok_and(|secret| secret.expose_secret() == message));
        }
        Outcome::Ran(outcome.is_ok())
    });
}

#[test]
fn hkdf() {
    for (file, hash, least) in [
        ("hkdf_sha256_test.json", Hash::Sha256, 86),
        ("hkdf_sha384_test.json", Hash::Sha384, 83),
        ("hkdf_sha512_test.json", Hash::Sha512, 83),
    ] {
        run(file, least, |_, test| {
            let size = usize::try_from(test["size"].as_u64().unwrap()).unwrap();
            let (salt, key, info) = (hex(&test["salt"]), hex(&test["ikm"]), hex(&test["info"]));
            let okm = conformance::hkdf(hash, &salt, &key, &info, size);
            Outcome::Ran(okm.is_ok_and(|okm| okm == hex(&test["okm"])))
        });
    }
}

/// What the hub's own formats use: always 64 bytes, of which shorter outputs are the beginnings.
#[test]
fn hkdf_sha256_of_64_bytes() {
    run("hkdf_sha256_test.json", 75, |_, test| {
        let size = usize::try_from(test["size"].as_u64().unwrap()).unwrap();
        if size > 64 {
            return Outcome::Skipped("more than 64 bytes of output".to_owned());
        }
        let (salt, material, info) = (hex(&test["salt"]), hex(&test["ikm"]), hex(&test["info"]));
        let okm = conformance::hkdf_sha256(&salt, &material, &info).unwrap();
        Outcome::Ran(okm[..size] == hex(&test["okm"]))
    });
}

/// Groups with shortened tags are run against the beginning: cutting is not offered, but the
/// computation below it is the same.
#[test]
fn hmac() {
    for (file, hash) in [
        ("hmac_sha256_test.json", Hash::Sha256),
        ("hmac_sha384_test.json", Hash::Sha384),
        ("hmac_sha512_test.json", Hash::Sha512),
    ] {
        run(file, 174, |group, test| {
            let len = usize::try_from(group["tagSize"].as_u64().unwrap()).unwrap() / 8;
            let (key, message, expected) =
                (hex(&test["key"]), hex(&test["msg"]), hex(&test["tag"]));
            let tag = conformance::hmac(hash, &key, &message).unwrap();
            if hash == Hash::Sha256 {
                assert_eq!(tag, conformance::hmac_sha256(&key, &message));
            }
            Outcome::Ran(ct_eq(&tag[..len], &expected))
        });
    }
}

/// PBKDF2 itself: without pepper and with fewer iterations than callers may ask for.
#[test]
fn pbkdf2() {
    for (file, hash, least) in [
        ("pbkdf2_hmacsha256_test.json", Hash::Sha256, 60),
        ("pbkdf2_hmacsha512_test.json", Hash::Sha512, 58),
    ] {
        run(file, least, |_, test| {
            let number = |name: &str| test[name].as_u64().unwrap();
            let (password, salt) = (hex(&test["password"]), hex(&test["salt"]));
            let iterations = number("iterationCount").try_into().unwrap();
            let len = number("dkLen").try_into().unwrap();
            let out = conformance::pbkdf2(hash, &password, &salt, iterations, len).unwrap();
            Outcome::Ran(out == hex(&test["dk"]))
        });
    }
}

#[test]
fn ed25519() {
    run("ed25519_test.json", 151, |group, test| {
        let key = hex(&group["publicKey"]["pk"]).try_into().unwrap();
        let key = VerifyingKey::from_bytes(&key).unwrap();
        Outcome::Ran(key.verify(&hex(&test["msg"]), &hex(&test["sig"])).is_ok())
    });
}
