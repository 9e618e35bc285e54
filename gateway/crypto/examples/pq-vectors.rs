//! The post-quantum families and the transport form against others (`tests/interop/pq.py`):
//!
//! ```text
//! pq-vectors          prints vectors made here, as JSON
//! pq-vectors check    reads such vectors from standard input and checks them
//! ```
//! The keys are made for this and printed: never use one.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a tool of the tests fails loudly"
)]

use hub_crypto::asymmetric::{self, Message, PrivateKey};
use hub_crypto::import::{parse, serialize};
use hub_crypto::{KeyFormat, Result, Secret, TransportForm, transport};
use hub_model::Algorithm;
use serde_json::{Value, json};

const SIGN: [Algorithm; 3] = [Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87];
const ENCAPSULATE: [Algorithm; 4] =
    [Algorithm::MlKem512, Algorithm::MlKem768, Algorithm::MlKem1024, Algorithm::X25519MlKem768];

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("check") {
        let vectors: Vec<Value> = serde_json::from_reader(std::io::stdin()).expect("JSON");
        for vector in &vectors {
            check(vector)?;
        }
        println!("{} checked", vectors.len());
        return Ok(());
    }
    let mut vectors = Vec::new();
    for algorithm in SIGN {
        for message in [vec![], b"a message".to_vec(), vec![7; 5000]] {
            let (key, mut vector) = make(algorithm)?;
            vector["signature"] = hex(&key.sign(Message::Whole(&message))?);
            vector["message"] = hex(&message);
            vectors.push(vector);
        }
    }
    for algorithm in ENCAPSULATE {
        for flip in [None, Some(0), Some(700)] {
            let (key, mut vector) = make(algorithm)?;
            let (mut ciphertext, shared) = key.public().encapsulate()?;
            vector["shared"] = hex(shared.expose_secret());
            if let Some(at) = flip {
                // What implicit rejection gives (FIPS 203 §6.3).
                ciphertext[at] ^= 1;
                vector["shared"] = hex(key.decapsulate(&ciphertext)?.expose_secret());
            }
            vector["ciphertext"] = hex(&ciphertext);
            vectors.push(vector);
        }
    }
    let form = TransportForm::X25519MlKem768AesKwp;
    for len in [1, 32, 85] {
        let (key, mut vector) = make(Algorithm::X25519MlKem768)?;
        let (travels, secret) = (Algorithm::HmacSha256, vec![0xa5; len]);
        let body = transport::wrap(form, &*key.public(), &secret, travels)?;
        vector["body"] = hex(&body);
        vector["travels"] = travels.name().into();
        vector["key"] = hex(&secret);
        vectors.push(vector);
    }
    println!("{}", serde_json::to_string_pretty(&vectors).expect("JSON"));
    Ok(())
}

/// A fresh key in all its forms.
fn make(algorithm: Algorithm) -> Result<(Box<dyn PrivateKey>, Value)> {
    let kind = algorithm.row().kind;
    let seed = asymmetric::generate(kind)?;
    let key = asymmetric::private_key(kind, &seed)?;
    let jwk = serialize(algorithm, &seed, KeyFormat::Jwk)?;
    let vector = json!({
        "algorithm": algorithm.name(),
        "seed": hex(seed.expose_secret()),
        "public": hex(&key.public().raw()),
        "spki": hex(&key.public().spki()),
        "pkcs8": hex(serialize(algorithm, &seed, KeyFormat::Pkcs8)?.expose_secret()),
        "jwk": std::str::from_utf8(jwk.expose_secret()).expect("UTF-8"),
    });
    Ok((key, vector))
}

fn check(vector: &Value) -> Result<()> {
    let algorithm: Algorithm = vector["algorithm"].as_str().unwrap().parse().unwrap();
    let kind = algorithm.row().kind;
    let seed = Secret::copy_from(&bytes(&vector["seed"]))?;
    let key = asymmetric::private_key(kind, &seed)?;
    let public = bytes(&vector["public"]);
    assert_eq!(key.public().raw(), public, "public key");
    assert_eq!(asymmetric::public_key(kind, &bytes(&vector["spki"]))?.raw(), public, "SPKI");
    let read = parse(algorithm, KeyFormat::Pkcs8, &bytes(&vector["pkcs8"]))?;
    assert_eq!(read.expose_secret(), seed.expose_secret(), "PKCS #8");
    let jwk = vector["jwk"].as_str().unwrap();
    let read = parse(algorithm, KeyFormat::Jwk, jwk.as_bytes())?;
    assert_eq!(read.expose_secret(), seed.expose_secret(), "JWK");
    if vector.get("signature").is_some() {
        let message = bytes(&vector["message"]);
        key.public().verify(Message::Whole(&message), &bytes(&vector["signature"]))?;
    }
    if vector.get("ciphertext").is_some() {
        let shared = key.decapsulate(&bytes(&vector["ciphertext"]))?;
        assert_eq!(shared.expose_secret(), bytes(&vector["shared"]), "shared secret");
    }
    if vector.get("body").is_some() {
        let (form, travels) = (TransportForm::X25519MlKem768AesKwp, &vector["travels"]);
        let travels = travels.as_str().unwrap().parse().unwrap();
        let opened = transport::unwrap(form, &*key, &bytes(&vector["body"]), travels)?;
        assert_eq!(opened.expose_secret(), bytes(&vector["key"]), "key in transport");
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let text = hex.as_str().expect("hex");
    let digits = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digits).collect()
}
