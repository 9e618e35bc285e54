//! Frozen samples of every format (`tests/formats/*.json`): today's code opens them, and makes the
//! same bytes from the same keys and salts. A sample that fails is a broken promise to whoever
//! stored such bytes; the way on is a new format number, never a new sample.

mod plans;
mod symmetric;

use std::collections::BTreeMap;
use std::path::PathBuf;

use hub_model::{Algorithm, EncryptionContext, HubId, KeyId, RegistrationId};
use serde::{Deserialize, Serialize};

use crate::envelope::{self, Envelope};
use crate::{Binding, Kek, Material, Origin, RecordKey, Secret, WrapPurpose};

const SALT: [u8; 24] = *b"a salt of 24 bytes here!";
const SECRET: [u8; 32] = *b"a secret of 32 bytes for samples";

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/formats").join(name)
}

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(sample(name)).unwrap()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn secret(bytes: &[u8]) -> Secret {
    Secret::copy_from(bytes).unwrap()
}

/// Key bytes for a sample: the secret, and itself backwards where one is not enough.
fn material(algorithm: Algorithm) -> Vec<u8> {
    let twice = SECRET.iter().chain(SECRET.iter().rev()).copied();
    twice.take(algorithm.row().secret_len.unwrap()).collect()
}

/// Bytes of salt or nonce.
fn salt_len(algorithm: Algorithm) -> usize {
    match algorithm.suite() {
        Some(4 | 6) => 12,
        Some(5) => 0,
        _ => 24,
    }
}

#[derive(Serialize, Deserialize)]
struct Ciphertext {
    name: String,
    algorithm: Algorithm,
    material: String,
    key: String,
    registration: String,
    version: u32,
    context: BTreeMap<String, String>,
    context_bytes: String,
    salt: String,
    plaintext: String,
    text: String,
}

impl Ciphertext {
    fn new(name: &str, algorithm: Algorithm, pairs: &[(&str, &str)], plaintext: &[u8]) -> Self {
        let context: BTreeMap<_, _> =
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let canonical = EncryptionContext::new(context.clone()).unwrap().canonical();
        let mut made = Self {
            name: name.to_owned(),
            algorithm,
            material: hex(&material(algorithm)),
            key: hex(b"key uid 16 bytes"),
            registration: hex(b"registration uid"),
            version: 258,
            context,
            context_bytes: hex(&canonical),
            salt: hex(&SALT[..salt_len(algorithm)]),
            plaintext: hex(plaintext),
            text: String::new(),
        };
        made.text = made.seal();
        made
    }

    fn parts(&self) -> (Material, KeyId, RegistrationId, Vec<u8>) {
        (
            Material::from_secret(self.algorithm, secret(&unhex(&self.material))).unwrap(),
            KeyId::from_bytes(unhex(&self.key).try_into().unwrap()),
            RegistrationId::from_bytes(unhex(&self.registration).try_into().unwrap()),
            EncryptionContext::new(self.context.clone()).unwrap().canonical(),
        )
    }

    fn seal(&self) -> String {
        let (material, key, registration, context) = self.parts();
        let (plaintext, mut salt) = (unhex(&self.plaintext), unhex(&self.salt));
        assert_eq!(salt.len(), salt_len(self.algorithm));
        salt.resize(SALT.len(), 0);
        let (version, salt) = (self.version, salt.try_into().unwrap());
        envelope::seal_with_salt(&material, key, version, registration, &context, &plaintext, &salt)
            .unwrap()
    }

    fn check(&self) {
        let (material, key, registration, context) = self.parts();
        assert_eq!(hex(&context), self.context_bytes, "{}", self.name);
        let envelope = Envelope::parse(&self.text).unwrap();
        let plaintext =
            envelope::open(&material, &envelope, key, self.version, registration, &context);
        assert_eq!(hex(plaintext.unwrap().expose_secret()), self.plaintext, "{}", self.name);
        assert_eq!(self.seal(), self.text, "{}", self.name);
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Wrapped {
    name: String,
    kek: String,
    epoch: u32,
    purpose: u8,
    hub: String,
    path: String,
    registration: Option<String>,
    key: Option<String>,
    version: u32,
    algorithm: Option<Algorithm>,
    origin: u8,
    exportable: bool,
    binding_bytes: String,
    salt: String,
    secret: String,
    wrapped: String,
}

impl Wrapped {
    fn new(name: &str, binding: &Binding<'_>) -> Self {
        let kek = Kek::from_secret(secret(&SECRET), 3).unwrap();
        let wrapped = kek.wrap_with_salt(binding, &[0x42; 32], &SALT);
        assert_eq!(kek.unwrap(binding, &wrapped).unwrap().expose_secret(), [0x42; 32]);
        assert_eq!(Kek::epoch_of(&wrapped).unwrap(), 3);
        Self {
            name: name.to_owned(),
            kek: hex(&SECRET),
            epoch: 3,
            purpose: binding.purpose as u8,
            hub: hex(binding.hub.as_bytes()),
            path: hex(binding.path),
            registration: binding.registration.map(|id| hex(id.as_bytes())),
            key: binding.key.map(|id| hex(id.as_bytes())),
            version: binding.version,
            algorithm: binding.algorithm,
            origin: binding.origin as u8,
            exportable: binding.exportable,
            binding_bytes: hex(&binding.canonical()),
            salt: hex(&SALT),
            secret: hex(&[0x42; 32]),
            wrapped: hex(&wrapped),
        }
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Record {
    record_key: String,
    epoch: u32,
    path: String,
    salt: String,
    plaintext: String,
    sealed: String,
}

fn ciphertexts() -> Vec<Ciphertext> {
    let pairs = [("tenant", "eu"), ("a", "é")];
    vec![
        Ciphertext::new("suite 1", Algorithm::Aes256Gcm, &pairs, b"attack at dawn"),
        Ciphertext::new("suite 1, all empty", Algorithm::Aes256Gcm, &[], b""),
        Ciphertext::new("suite 2", Algorithm::ChaCha20Poly1305, &pairs, b"attack at dawn"),
        Ciphertext::new("suite 2, all empty", Algorithm::ChaCha20Poly1305, &[], b""),
    ]
}

fn wraps() -> Vec<Wrapped> {
    let hub = HubId::from_bytes(*b"hub uid 16 bytes");
    let owner = RegistrationId::from_bytes(*b"registration uid");
    let kek = Binding::kek(hub, b"r/kek/5", owner, 5);
    let material = Binding {
        purpose: WrapPurpose::Material,
        path: b"r/k/2",
        key: Some(KeyId::from_bytes(*b"key uid 16 bytes")),
        version: 2,
        algorithm: Some(Algorithm::Aes256Gcm),
        origin: Origin::Imported,
        exportable: true,
        ..kek
    };
    let system = Binding::hub(WrapPurpose::SystemKeys, hub, b"system-keys");
    vec![
        Wrapped::new("material", &material),
        Wrapped::new("registration KEK", &kek),
        Wrapped::new("hub", &system),
    ]
}

fn records() -> Vec<Record> {
    let key = RecordKey::from_secret(secret(&SECRET), 4).unwrap();
    [(&b"registration/x"[..], &b"{\"a\":1}"[..]), (b"", b"")]
        .map(|(path, plaintext)| {
            let sealed = key.seal_with_salt(path, plaintext, &SALT);
            assert_eq!(**key.open(path, &sealed).unwrap(), *plaintext);
            Record {
                record_key: hex(&SECRET),
                epoch: 4,
                path: hex(path),
                salt: hex(&SALT),
                plaintext: hex(plaintext),
                sealed: hex(&sealed),
            }
        })
        .into()
}

#[test]
fn ciphertexts_are_frozen() {
    let samples: Vec<Ciphertext> = read("ciphertext.json");
    assert_eq!(samples.len(), ciphertexts().len());
    samples.iter().for_each(Ciphertext::check);
}

/// Made by `tests/interop/envelope.py`, which shares nothing with this code.
#[test]
fn ciphertexts_of_another_implementation_open() {
    let samples: Vec<Ciphertext> = read("ciphertext-python.json");
    assert!(!samples.is_empty());
    samples.iter().for_each(Ciphertext::check);
}

#[test]
fn wraps_and_records_are_frozen() {
    assert_eq!(read::<Vec<Wrapped>>("wrap.json"), wraps());
    assert_eq!(read::<Vec<Record>>("record.json"), records());
}

/// For a new format only: `cargo test -p hub-crypto write_samples -- --ignored`.
#[test]
#[ignore = "writes the samples; frozen ones are never written again"]
fn write_samples() {
    let put = |name: &str, text: serde_json::Result<String>| {
        let path = sample(name);
        if path.exists() {
            println!("{name} is frozen");
            return;
        }
        std::fs::write(path, text.unwrap() + "\n").unwrap();
    };
    put("ciphertext.json", serde_json::to_string_pretty(&ciphertexts()));
    put("wrap.json", serde_json::to_string_pretty(&wraps()));
    put("record.json", serde_json::to_string_pretty(&records()));
    plans::write(put);
    symmetric::write(put);
}
