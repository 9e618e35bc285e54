//! Samples of suites 3 to 6, streams, derivation and key wrap. `tests/interop/symmetric.py` checks
//! the same files with another implementation.

use super::*;
use crate::kdf::{self, Derivation, argon2id::Cost};
use crate::keywrap;
use crate::stream::{SecretBuffer, StreamOpener, StreamSealer};

fn ciphertexts() -> Vec<Ciphertext> {
    let pairs = [("tenant", "eu"), ("a", "é")];
    [
        Algorithm::XChaCha20Poly1305,
        Algorithm::Aes256GcmSiv,
        Algorithm::Aes256Siv,
        Algorithm::Aes256GcmRaw,
    ]
    .into_iter()
    .flat_map(|algorithm| {
        let name = format!("suite {}", algorithm.suite().unwrap());
        [
            Ciphertext::new(&name, algorithm, &pairs, b"attack at dawn, with more than a block"),
            Ciphertext::new(&format!("{name}, all empty"), algorithm, &[], b""),
        ]
    })
    .collect()
}

/// The plaintext is `len` bytes, byte i being i modulo 251. Long streams are kept as their digest.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Stream {
    name: String,
    algorithm: Algorithm,
    material: String,
    key: String,
    registration: String,
    version: u32,
    context_bytes: String,
    salt: String,
    len: usize,
    stream: Option<String>,
    sha256: String,
}

impl Stream {
    fn new(name: &str, algorithm: Algorithm, len: usize) -> Self {
        let (key, registration) = (b"key uid 16 bytes", b"registration uid");
        let context = EncryptionContext::new([("tenant".to_owned(), "eu".to_owned())].into());
        let (context, secret) = (context.unwrap().canonical(), material(algorithm));
        let plaintext: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let material = Material::from_secret(algorithm, super::secret(&secret)).unwrap();
        let (key_id, owner) = (KeyId::from_bytes(*key), RegistrationId::from_bytes(*registration));
        let (header, mut sealer) =
            StreamSealer::with_salt(&material, key_id, 258, owner, &context, &SALT).unwrap();
        let mut stream = header.to_vec();
        sealer.push(&plaintext, &mut stream).unwrap();
        sealer.finish(&mut stream).unwrap();

        let (header, body) = stream.split_at(header.len());
        let mut opened = SecretBuffer::new();
        let mut opener = StreamOpener::new(&material, header, key_id, owner, &context).unwrap();
        opener.push(body, &mut opened).unwrap();
        opener.finish(&mut opened).unwrap();
        assert_eq!(opened.expose_secret(), plaintext);
        Self {
            name: name.to_owned(),
            algorithm,
            material: hex(&secret),
            key: hex(key),
            registration: hex(registration),
            version: 258,
            context_bytes: hex(&context),
            salt: hex(&SALT),
            len,
            stream: (len < 100).then(|| hex(&stream)),
            sha256: hex(&crate::hash::sha256(&stream)),
        }
    }
}

fn streams() -> Vec<Stream> {
    vec![
        Stream::new("suite 16, empty", Algorithm::Aes256Gcm, 0),
        Stream::new("suite 16, short", Algorithm::Aes256Gcm, 20),
        Stream::new("suite 16, exactly two chunks", Algorithm::Aes256Gcm, 131_072),
        Stream::new("suite 16, two chunks and a bit", Algorithm::Aes256Gcm, 131_073),
        Stream::new("suite 17, short", Algorithm::ChaCha20Poly1305, 20),
        Stream::new("suite 17, two chunks and a bit", Algorithm::ChaCha20Poly1305, 131_073),
    ]
}

/// Members that do not apply are absent.
#[derive(Serialize, Deserialize, PartialEq, Debug, Default)]
struct Derived {
    name: String,
    key: String,
    salt: String,
    info: Option<String>,
    password: Option<String>,
    iterations: Option<u32>,
    memory_kib: Option<u32>,
    passes: Option<u32>,
    lanes: Option<u32>,
    out: String,
}

impl Derived {
    fn new(algorithm: Algorithm, from: &Derivation<'_>, len: usize) -> Self {
        let key = material(algorithm);
        let material = Material::from_secret(algorithm, secret(&key)).unwrap();
        let out = kdf::derive(&material, from, len).unwrap();
        let mut made = Self {
            name: algorithm.name().to_owned(),
            key: hex(&key),
            out: hex(out.expose_secret()),
            ..Self::default()
        };
        match *from {
            Derivation::Hkdf { salt, info } => {
                (made.salt, made.info) = (hex(salt), Some(hex(info)));
            }
            Derivation::Pbkdf2 { password, salt, iterations } => {
                (made.salt, made.password) = (hex(salt), Some(hex(password)));
                made.iterations = Some(iterations);
            }
            Derivation::Argon2id { password, salt, cost } => {
                (made.salt, made.password) = (hex(salt), Some(hex(password)));
                (made.memory_kib, made.passes) = (Some(cost.memory_kib), Some(cost.passes));
                made.lanes = Some(cost.lanes);
            }
        }
        made
    }
}

fn derived() -> Vec<Derived> {
    let (password, salt) = (&b"correct horse"[..], &SALT[..]);
    let hkdf = Derivation::Hkdf { salt, info: b"what it is for" };
    let bare = Derivation::Hkdf { salt: b"", info: b"" };
    let stretched = Derivation::Pbkdf2 { password, salt, iterations: 600_000 };
    let small = Cost { memory_kib: 19 * 1024, passes: 2, lanes: 2 };
    vec![
        Derived::new(Algorithm::HkdfSha256, &hkdf, 32),
        Derived::new(Algorithm::HkdfSha256, &bare, 100),
        Derived::new(Algorithm::HkdfSha384, &hkdf, 100),
        Derived::new(Algorithm::HkdfSha512, &hkdf, 1024),
        Derived::new(Algorithm::Pbkdf2Sha256, &stretched, 32),
        Derived::new(Algorithm::Pbkdf2Sha512, &stretched, 65),
        Derived::new(
            Algorithm::Argon2id,
            &Derivation::Argon2id { password, salt, cost: Cost::default() },
            32,
        ),
        Derived::new(
            Algorithm::Argon2id,
            &Derivation::Argon2id { password, salt, cost: small },
            100,
        ),
    ]
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct KeyWrapped {
    kek: String,
    secret: String,
    wrapped: String,
}

fn key_wrapped() -> Vec<KeyWrapped> {
    [1, 8, 20, 32]
        .map(|len| {
            let wrapped = keywrap::wrap(&SECRET, &SALT.repeat(2)[..len]).unwrap();
            let unwrapped = keywrap::unwrap(&SECRET, &wrapped).unwrap();
            KeyWrapped {
                kek: hex(&SECRET),
                secret: hex(unwrapped.expose_secret()),
                wrapped: hex(&wrapped),
            }
        })
        .into()
}

#[test]
fn ciphertexts_under_the_key_itself_are_frozen() {
    let samples: Vec<Ciphertext> = read("ciphertext-direct.json");
    assert_eq!(samples.len(), ciphertexts().len());
    samples.iter().for_each(Ciphertext::check);
}

#[test]
fn streams_derivations_and_wrapped_keys_are_frozen() {
    assert_eq!(read::<Vec<Stream>>("stream.json"), streams());
    assert_eq!(read::<Vec<Derived>>("derivation.json"), derived());
    assert_eq!(read::<Vec<KeyWrapped>>("keywrap.json"), key_wrapped());
}

pub(super) fn write(put: impl Fn(&str, serde_json::Result<String>)) {
    put("ciphertext-direct.json", serde_json::to_string_pretty(&ciphertexts()));
    put("stream.json", serde_json::to_string_pretty(&streams()));
    put("derivation.json", serde_json::to_string_pretty(&derived()));
    put("keywrap.json", serde_json::to_string_pretty(&key_wrapped()));
}
