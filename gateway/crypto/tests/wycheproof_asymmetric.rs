//! Project Wycheproof (`tests/vectors/README.md`) for keys with a public half, each file with both
//! providers. Everything offered is run; what is not offered is skipped by name and counted; every
//! `acceptable` is decided here by its flag; a run of nothing fails.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail loudly"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_crypto::asymmetric::encode::{
    self, jws_algorithm, private_from_jwk, private_from_pkcs8, public_from_jwk, public_from_pem,
};
use hub_crypto::asymmetric::{Message, PublicKey, private_key_by, public_key_by, signature};
use hub_crypto::provider::Provider;
use hub_crypto::{Error, Secret};
use hub_model::algorithm::{ALGORITHMS, Curve, Hash, Kind};
use serde_json::Value;

/// What one case came to.
enum Outcome {
    /// Accepted or refused.
    Ran(bool),
    Skipped(String),
}

use Outcome::{Ran, Skipped};

/// Runs every case of a file with both providers; `least` is how many must run with each.
/// `acceptable` says what is expected of a case of that result, by its flags.
fn run(
    file: &str,
    least: usize,
    acceptable: impl Fn(&[&str]) -> bool,
    case: impl Fn(Provider, &Value, &Value) -> Outcome,
) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/wycheproof");
    let text = std::fs::read(path.join(file)).unwrap();
    let vectors: Value = serde_json::from_slice(&text).unwrap();
    for provider in [Provider::RustCrypto, Provider::AwsLc] {
        let (mut ran, mut failed) = (0, Vec::new());
        let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
        for group in vectors["testGroups"].as_array().unwrap() {
            for test in group["tests"].as_array().unwrap() {
                let expected = match test["result"].as_str().unwrap() {
                    "valid" => true,
                    "invalid" => false,
                    "acceptable" => {
                        let flags = test["flags"].as_array().unwrap();
                        let flags: Vec<_> = flags.iter().filter_map(Value::as_str).collect();
                        acceptable(&flags)
                    }
                    other => panic!("{file}: unknown result `{other}`"),
                };
                match case(provider, group, test) {
                    Ran(accepted) => {
                        ran += 1;
                        if accepted != expected {
                            failed.push((test["tcId"].clone(), test["comment"].clone()));
                        }
                    }
                    Skipped(reason) => *skipped.entry(reason).or_default() += 1,
                }
            }
        }
        println!("{file} {provider:?}: {ran} run, {skipped:?} skipped, {} failed", failed.len());
        assert!(failed.is_empty(), "{file} {provider:?}: {failed:?}");
        let total = ran + skipped.values().sum::<usize>();
        assert_eq!(Some(total as u64), vectors["numberOfTests"].as_u64());
        assert!(ran >= least, "{file}: only {ran} cases were run");
    }
}

/// For files without such cases.
fn none(flags: &[&str]) -> bool {
    panic!("no decision was made about {flags:?}")
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn sha(group: &Value) -> Option<Hash> {
    match group["sha"].as_str().unwrap() {
        "SHA-256" => Some(Hash::Sha256),
        "SHA-384" => Some(Hash::Sha384),
        "SHA-512" => Some(Hash::Sha512),
        _ => None,
    }
}

fn bits(group: &Value) -> u16 {
    u16::try_from(group["keySize"].as_u64().unwrap()).unwrap()
}

/// The group's public key, after every form of it that is there gave the same one.
fn public(provider: Provider, kind: Kind, group: &Value) -> Option<Arc<dyn PublicKey>> {
    let spki = hex(&group["publicKeyDer"]);
    let key = public_key_by(provider, kind, &spki).ok()?;
    assert_eq!(key.spki(), spki);
    let pem = public_from_pem(kind, group["publicKeyPem"].as_str().unwrap()).unwrap();
    assert_eq!(pem.spki(), spki);
    for name in ["publicKeyJwk", "keyJwk"] {
        if let Some(jwk) = group.get(name) {
            assert_eq!(public_from_jwk(kind, jwk).unwrap().spki(), spki, "{jwk}");
        }
    }
    Some(key)
}

fn verified(outcome: Result<(), Error>) -> bool {
    assert!(matches!(outcome, Ok(()) | Err(Error::Signature)), "{outcome:?}");
    outcome.is_ok()
}

fn ecdsa(curve: Curve, der: bool) -> impl Fn(Provider, &Value, &Value) -> Outcome {
    move |provider, group, test| {
        let key = public(provider, Kind::Ecdsa(curve), group).unwrap();
        let mut raw = hex(&test["sig"]);
        if der {
            match signature::from_der(curve, &raw) {
                Ok(converted) => raw = converted,
                Err(Error::Signature) => return Ran(false),
                Err(other) => panic!("{other}"),
            }
        }
        Ran(verified(key.verify(Message::Whole(&hex(&test["msg"])), &raw)))
    }
}

#[test]
fn ecdsa_p256() {
    run("ecdsa_secp256r1_sha256_test.json", 484, none, ecdsa(Curve::P256, true));
    run("ecdsa_secp256r1_sha256_p1363_test.json", 262, none, ecdsa(Curve::P256, false));
}

#[test]
fn ecdsa_p384() {
    run("ecdsa_secp384r1_sha384_test.json", 504, none, ecdsa(Curve::P384, true));
    run("ecdsa_secp384r1_sha384_p1363_test.json", 280, none, ecdsa(Curve::P384, false));
}

#[test]
fn ecdsa_p521() {
    run("ecdsa_secp521r1_sha512_test.json", 542, none, ecdsa(Curve::P521, true));
    run("ecdsa_secp521r1_sha512_p1363_test.json", 318, none, ecdsa(Curve::P521, false));
}

#[test]
fn ecdsa_secp256k1() {
    run("ecdsa_secp256k1_sha256_test.json", 476, none, ecdsa(Curve::Secp256k1, true));
    run("ecdsa_secp256k1_sha256_p1363_test.json", 252, none, ecdsa(Curve::Secp256k1, false));
}

#[test]
fn ed25519() {
    run("ed25519_test.json", 151, none, |provider, group, test| {
        let Some(key) = public(provider, Kind::Ed25519, group) else { return Ran(false) };
        Ran(verified(key.verify(Message::Whole(&hex(&test["msg"])), &hex(&test["sig"]))))
    });
}

/// The scalar of a file of ECDH, which writes integers of any length.
fn scalar(value: &Value) -> Secret {
    let bytes = hex(value);
    let significant = bytes.iter().position(|byte| *byte != 0).unwrap();
    let mut padded = vec![0; 32];
    padded[32 - (bytes.len() - significant)..].copy_from_slice(&bytes[significant..]);
    Secret::copy_from(&padded).unwrap()
}

fn agreed(outcome: Result<Secret, Error>, test: &Value) -> bool {
    match outcome {
        Ok(shared) => shared.expose_secret() == hex(&test["shared"]),
        Err(Error::PublicKey) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn ecdh_p256() {
    let compressed_points_are_taken = |flags: &[&str]| flags.contains(&"CompressedPoint");
    let file = "ecdh_secp256r1_ecpoint_test.json";
    run(file, 355, compressed_points_are_taken, |provider, _, test| {
        let kind = Kind::Ecdh(Curve::P256);
        let key = private_key_by(provider, kind, &scalar(&test["private"])).unwrap();
        Ran(agreed(key.agree(&hex(&test["public"])), test))
    });
}

#[test]
fn x25519() {
    // Points on the twist and other spellings are taken (RFC 7748 §5), an all-zero secret is not.
    let acceptable = |flags: &[&str]| !flags.contains(&"ZeroSharedSecret");
    run("x25519_test.json", 518, acceptable, |provider, _, test| {
        let secret = Secret::copy_from(&hex(&test["private"])).unwrap();
        let key = private_key_by(provider, Kind::X25519, &secret).unwrap();
        Ran(agreed(key.agree(&hex(&test["public"])), test))
    });
}

#[test]
fn rsa_oaep() {
    for (bits, hash) in [2048, 3072, 4096].into_iter().flat_map(|b| [(b, 256), (b, 512)]) {
        let file = format!("rsa_oaep_{bits}_sha{hash}_mgf1sha{hash}_test.json");
        run(&file, 33, none, |provider, group, test| {
            assert_eq!(group["sha"], group["mgfSha"]);
            let kind = Kind::RsaOaep { bits, hash: sha(group).unwrap() };
            let secret = private_from_pkcs8(kind, &hex(&group["privateKeyPkcs8"])).unwrap();
            if let Some(jwk) = group.get("privateKeyJwk") {
                let same = private_from_jwk(kind, jwk).unwrap();
                assert_eq!(same.expose_secret(), secret.expose_secret());
            }
            let key = private_key_by(provider, kind, &secret).unwrap();
            match key.decrypt(&hex(&test["ct"]), &hex(&test["label"])) {
                Ok(plaintext) => Ran(plaintext.expose_secret() == hex(&test["msg"])),
                Err(Error::Open) => Ran(false),
                Err(other) => panic!("{other}"),
            }
        });
    }
}

#[test]
fn rsa_pss() {
    for (bits, hash, salt) in [
        (2048, 256, 32),
        (2048, 384, 48),
        (3072, 256, 32),
        (4096, 256, 32),
        (4096, 384, 48),
        (4096, 512, 64),
    ] {
        let file = format!("rsa_pss_{bits}_sha{hash}_mgf1_{salt}_test.json");
        run(&file, 100, none, pss);
    }
}

/// Signatures with a salt of another length than the digest's: none verifies, but those that the
/// file calls wrong because their salt has the digest's length.
#[test]
fn rsa_pss_of_other_salts() {
    for file in ["rsa_pss_2048_sha256_mgf1_0_test.json", "rsa_pss_4096_sha512_mgf1_32_test.json"] {
        run(file, 100, none, |provider, group, test| {
            let Ran(accepted) = pss(provider, group, test) else { panic!("skipped") };
            let ours = format!("s_len changed to {}", sha(group).unwrap().len());
            assert_eq!(accepted, test["comment"] == *ours, "{}", test["tcId"]);
            Ran(test["result"] == "valid")
        });
    }
}

fn pss(provider: Provider, group: &Value, test: &Value) -> Outcome {
    assert_eq!(group["sha"], group["mgfSha"]);
    let kind = Kind::RsaPss { bits: bits(group), hash: sha(group).unwrap() };
    let key = public(provider, kind, group).unwrap();
    Ran(verified(key.verify(Message::Whole(&hex(&test["msg"])), &hex(&test["sig"]))))
}

/// The reason a group of RSA is skipped: its hash or its public exponent is not offered. That the
/// key is refused is checked.
fn not_offered(group: &Value, kind: impl Fn(u16, Hash) -> Kind) -> Result<Kind, Outcome> {
    let Some(hash) = sha(group) else {
        return Err(Skipped(format!("hash {}", group["sha"])));
    };
    let kind = kind(bits(group), hash);
    let key = if group["publicKey"].is_null() { &group["privateKey"] } else { &group["publicKey"] };
    let exponent = key["publicExponent"].as_str().unwrap();
    if exponent != "010001" {
        let spki = group.get("publicKeyDer").or(group.get("keyDer")).unwrap();
        let outcome = public_key_by(Provider::Auto, kind, &hex(spki));
        assert!(matches!(outcome, Err(Error::PublicKey)));
        if let Some(pkcs8) = group.get("privateKeyPkcs8") {
            assert!(matches!(private_from_pkcs8(kind, &hex(pkcs8)), Err(Error::PrivateKey)));
        }
        return Err(Skipped(format!("public exponent {exponent}")));
    }
    Ok(kind)
}

#[test]
fn rsa_pkcs1_verify() {
    for (bits, hash, least) in [
        (2048, 256, 240),
        (2048, 512, 240),
        (3072, 256, 240),
        (3072, 384, 240),
        (4096, 256, 240),
        (4096, 512, 240),
    ] {
        let file = format!("rsa_signature_{bits}_sha{hash}_test.json");
        // A digest without its NULL is another encoding (RFC 8017 §9.2, note 1).
        let acceptable = |flags: &[&str]| !flags.contains(&"MissingNull");
        run(&file, least, acceptable, |provider, group, test| {
            let kind = match not_offered(group, |bits, hash| Kind::RsaPkcs1 { bits, hash }) {
                Ok(kind) => kind,
                Err(skipped) => return skipped,
            };
            let key = public(provider, kind, group).unwrap();
            Ran(verified(key.verify(Message::Whole(&hex(&test["msg"])), &hex(&test["sig"]))))
        });
    }
}

#[test]
fn rsa_pkcs1_sign() {
    for (bits, least) in [(2048, 24), (3072, 24), (4096, 24)] {
        let file = format!("rsa_pkcs1_{bits}_sig_gen_test.json");
        run(&file, least, none_but_skipped, |provider, group, test| {
            let kind = match not_offered(group, |bits, hash| Kind::RsaPkcs1 { bits, hash }) {
                Ok(kind) => kind,
                Err(skipped) => return skipped,
            };
            let secret = private_from_pkcs8(kind, &hex(&group["privateKeyPkcs8"])).unwrap();
            if let Some(jwk) = group.get("privateKeyJwk") {
                let same = private_from_jwk(kind, jwk).unwrap();
                assert_eq!(same.expose_secret(), secret.expose_secret());
            }
            let key = private_key_by(provider, kind, &secret).unwrap();
            let message = hex(&test["msg"]);
            let signature = key.sign(Message::Whole(&message)).unwrap();
            key.public().verify(Message::Whole(&message), &signature).unwrap();
            Ran(signature == hex(&test["sig"]))
        });
    }
}

/// All such cases are of hashes or exponents that are skipped; one that ran would fail.
fn none_but_skipped(_: &[&str]) -> bool {
    false
}

/// The kind whose keys make signatures of this `alg`.
fn kind_of(alg: &str, bits: usize) -> Option<Kind> {
    ALGORITHMS.iter().map(|row| row.kind).find(|kind| {
        jws_algorithm(*kind) == Some(alg)
            && match kind {
                Kind::RsaPss { bits: own, .. } | Kind::RsaPkcs1 { bits: own, .. } => {
                    usize::from(*own) == bits
                }
                _ => true,
            }
    })
}

/// Checks a JWS in compact form (RFC 7515 §5.2) with what `hub-crypto` offers for it.
fn jws(provider: Provider, group: &Value, test: &Value) -> Outcome {
    let Some(private) = single(&group["private"]) else {
        return Skipped("sets of several keys".to_owned());
    };
    let jwk = if group["public"].is_null() { private } else { single(&group["public"]).unwrap() };
    if jwk["kty"] == "oct" {
        return Skipped("symmetric keys".to_owned());
    }
    if test["jws"].is_null() {
        return Skipped("encryption".to_owned());
    }
    if jwk["alg"] == "ES521" && jwk["crv"] == "P-521" {
        assert!(public_from_jwk(Kind::Ecdsa(Curve::P521), jwk).is_err());
        return Skipped("alg ES521, which is not registered".to_owned());
    }
    if test["comment"] == "Figure20" && jwk["alg"] == "PS256" {
        // RFC 7520 §4.2 signs with PS384; the file's key says that it is for PS256.
        let kind = Kind::RsaPss { bits: 2048, hash: Hash::Sha384 };
        assert!(public_from_jwk(kind, jwk).is_err());
        return Skipped("alg of the key is not that of the signature".to_owned());
    }
    let Some(text) = test["jws"].as_str() else { return Ran(false) };
    Ran(compact(provider, jwk, private, text).is_some())
}

/// The key itself, or the only one of a set.
fn single(jwk: &Value) -> Option<&Value> {
    match jwk["keys"].as_array() {
        None => Some(jwk),
        Some(keys) if keys.len() == 1 => keys.first(),
        Some(_) => None,
    }
}

fn compact(provider: Provider, jwk: &Value, private: &Value, text: &str) -> Option<()> {
    let [header, payload, signature] = text.split('.').collect::<Vec<_>>().try_into().ok()?;
    let decode = |part| URL_SAFE_NO_PAD.decode(part).ok();
    let fields: Value = serde_json::from_slice(&decode(header)?).ok()?;
    decode(payload)?;
    let modulus = jwk["n"].as_str().map_or(0, |n| decode(n).unwrap().len());
    let kind = kind_of(fields["alg"].as_str()?, 8 * modulus)?;
    let key = public_from_jwk(kind, jwk).ok()?;
    let key = public_key_by(provider, kind, &key.raw()).unwrap();
    if fields.get("crit").is_some() || fields.get("b64").is_some() {
        return None;
    }
    let secret = private_from_jwk(kind, private).unwrap();
    let own = private_key_by(provider, kind, &secret).unwrap();
    assert_eq!(encode::thumbprint(&*own.public()), encode::thumbprint(&*key));
    let signed = &text[..header.len() + 1 + payload.len()];
    verified(key.verify(Message::Whole(signed.as_bytes()), &decode(signature)?)).then_some(())
}

#[test]
fn json_web_signature() {
    run("json_web_signature_test.json", 300, none, jws);
}

#[test]
fn json_web_key() {
    run("json_web_key_test.json", 10, none, jws);
}

#[test]
fn json_web_crypto() {
    run("json_web_crypto_test.json", 28, none, jws);
}
