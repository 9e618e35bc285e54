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

use hub_crypto::aead::Aead;
use hub_crypto::aead::aes_gcm::Aes256Gcm;
use hub_crypto::aead::chacha20_poly1305::ChaCha20Poly1305;
use hub_crypto::{VerifyingKey, conformance, ct_eq};
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

fn aead(cipher: &dyn Aead, group: &Value, test: &Value) -> Outcome {
    for (name, offered) in [("keySize", 256), ("ivSize", 96), ("tagSize", 128)] {
        let size = group[name].as_u64().unwrap();
        if size != offered {
            return Outcome::Skipped(format!("{name} {size}"));
        }
    }
    let (key, nonce) =
        (hex(&test["key"]).try_into().unwrap(), hex(&test["iv"]).try_into().unwrap());
    let (aad, message, ciphertext) = (hex(&test["aad"]), hex(&test["msg"]), hex(&test["ct"]));
    let tag = hex(&test["tag"]).try_into().unwrap();
    let mut opened = vec![0; ciphertext.len()];
    let accepted = cipher.open(&key, &nonce, &aad, &ciphertext, &mut opened, &tag).is_some();
    if test["result"] == "valid" {
        let mut buffer = message.clone();
        let sealed = cipher.seal(&key, &nonce, &aad, &mut buffer).unwrap();
        assert_eq!((buffer, sealed), (ciphertext, tag), "{}", test["tcId"]);
        return Outcome::Ran(accepted && opened == message);
    }
    Outcome::Ran(accepted)
}

#[test]
fn aes_gcm() {
    run("aes_gcm_test.json", 66, |group, test| aead(&Aes256Gcm, group, test));
}

#[test]
fn chacha20_poly1305() {
    run("chacha20_poly1305_test.json", 316, |group, test| aead(&ChaCha20Poly1305, group, test));
}

#[test]
fn hkdf_sha256() {
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

/// Groups with tags of 128 bits are run against the first half: cutting is not offered, but the
/// computation below it is the same.
#[test]
fn hmac_sha256() {
    run("hmac_sha256_test.json", 174, |group, test| {
        let len = usize::try_from(group["tagSize"].as_u64().unwrap()).unwrap() / 8;
        let tag = conformance::hmac_sha256(&hex(&test["key"]), &hex(&test["msg"]));
        Outcome::Ran(ct_eq(&tag[..len], &hex(&test["tag"])))
    });
}

#[test]
fn ed25519() {
    run("ed25519_test.json", 151, |group, test| {
        let key = hex(&group["publicKey"]["pk"]).try_into().unwrap();
        let key = VerifyingKey::from_bytes(&key).unwrap();
        Outcome::Ran(key.verify(&hex(&test["msg"]), &hex(&test["sig"])).is_ok())
    });
}
