//! Runs every fuzz target for a while on stable Rust: seeds, then what a seeded mutator makes of
//! them. `CONTRIBUTING.md` says how libFuzzer runs the same targets for as long as one likes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cipher_hub_tests::fuzz::mutate::Mutator;
use cipher_hub_tests::fuzz::{TARGETS, Target, target};
use hub_crypto::asymmetric::{self, encode};
use hub_crypto::stream::StreamSealer;
use hub_crypto::{KeyFormat, Keyring, Material, Secret, TransportForm, import, transport};
use hub_model::algorithm::{ALGORITHMS, Hash, Kind};
use hub_model::{Algorithm, EncryptionContext, KeyId, RegistrationId};

/// Longer than any input may take, on a busy machine in a dev build.
const SLOW: Duration = Duration::from_secs(5);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let folder = root().join("seeds").join(target.name);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no seeds", target.name);
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Gives one input, and says which it was should it fail.
fn give(target: &Target, input: &[u8]) {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(outcome.is_ok(), "{} fails on {hex}", target.name);
    assert!(begun.elapsed() < SLOW, "{} takes {:?} for {hex}", target.name, begun.elapsed());
}

fn fuzz(name: &str, factor: u32) {
    let target = target(name).unwrap();
    let seeds = seeds(target);
    for seed in &seeds {
        give(target, seed);
    }
    for nothing in [&b""[..], b"\0", b"\xff", &[0; 4096], &[0xff; 4096]] {
        give(target, nothing);
    }
    let mut mutator = Mutator::new(0x0c1f_4e27_2026_1125 + u64::from(factor));
    for _ in 0..target.inputs * factor {
        give(target, &mutator.next(&seeds));
    }
}

macro_rules! runs {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name), 1); })*

        #[test]
        fn every_target_runs_and_has_its_harness() {
            let here = [$(stringify!($name)),*];
            let all: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(all, here);
            let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
            for name in all {
                let file = root().join(format!("fuzz_targets/{name}.rs"));
                let text = std::fs::read_to_string(file).unwrap();
                assert!(text.contains(&format!("\"{name}\"")), "{name} runs another target");
                assert!(manifest.contains(&format!("fuzz_targets/{name}.rs")));
            }
        }
    };
}

runs! {
    envelope stream keywrap transport private_key public_key api_key token jwks bodies words
    rotation audit_proof checkpoint audit_export archive kdf_plan
}

/// A hundred times as long: `cargo test -p cipher-hub-tests --test fuzz -- --ignored long`.
#[test]
#[ignore = "takes a quarter of an hour"]
fn long() {
    for target in TARGETS {
        fuzz(target.name, 100);
    }
}

#[test]
fn the_mutator_is_seeded_and_reaches_far() {
    let seeds = vec![b"hello world".to_vec(), vec![0; 64]];
    let (mut one, mut two) = (Mutator::new(7), Mutator::new(7));
    let made: Vec<_> = (0..1000).map(|_| one.next(&seeds)).collect();
    assert!(made.iter().all(|input| *input == two.next(&seeds)));
    let distinct: std::collections::BTreeSet<_> = made.iter().collect();
    assert!(distinct.len() > 800, "{}", distinct.len());
    assert!(made.iter().any(|input| input.len() > 80) && made.iter().any(|input| input.len() < 8));
}

/// Seeds have to be right, or everything is refused at the door and nothing behind it is tried.
#[test]
fn the_seeds_that_should_open_do() {
    let context = EncryptionContext::default().canonical();
    for seed in seeds(target("envelope").unwrap()) {
        let text = String::from_utf8(seed).unwrap();
        let envelope = hub_crypto::Envelope::parse(&text).unwrap();
        let algorithm = Algorithm::from_suite(envelope.header().suite).unwrap();
        assert_eq!(keyring(algorithm).open(&envelope, &context).unwrap().expose_secret(), b"seed");
    }
    let mut taken = std::collections::BTreeSet::new();
    for seed in seeds(target("private_key").unwrap()) {
        let row = &ALGORITHMS[usize::from(seed[0])];
        let format = [KeyFormat::Raw, KeyFormat::Pkcs8, KeyFormat::Jwk][usize::from(seed[1])];
        import::parse(row.algorithm, format, &seed[2..]).unwrap();
        taken.insert(row.name);
    }
    assert!(taken.len() > 30, "{taken:?}");
}

const KEY: KeyId = KeyId::from_bytes([2; 16]);
const REGISTRATION: RegistrationId = RegistrationId::from_bytes([1; 16]);

fn material(algorithm: Algorithm) -> Material {
    let len = algorithm.row().secret_len.unwrap();
    Material::from_secret(algorithm, Secret::copy_from(&vec![0x5a; len]).unwrap()).unwrap()
}

fn keyring(algorithm: Algorithm) -> Keyring {
    let mut keyring = Keyring::new(KEY, REGISTRATION, algorithm, 1);
    keyring.insert(1, material(algorithm));
    keyring
}

/// Bytes of a key that are not all the same, as those of a weak key would be.
fn secret(algorithm: Algorithm, rsa: &[u8]) -> Secret {
    match algorithm.row().secret_len {
        Some(len) => {
            let bytes: Vec<u8> = (1..=len).map(|i| u8::try_from(i).unwrap()).collect();
            Secret::copy_from(&bytes).unwrap()
        }
        None => Secret::copy_from(rsa).unwrap(),
    }
}

/// Writes the seeds anew: `cargo test -p cipher-hub-tests --test fuzz -- --ignored write_seeds`.
/// Those of targets that read texts are written by hand and left alone.
#[test]
#[ignore = "writes into the source tree"]
fn write_seeds() {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root().join("seeds").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    let context = EncryptionContext::default().canonical();
    for row in ALGORITHMS {
        if let Kind::Aead(suite) = row.kind {
            let text = keyring(row.algorithm).seal(&context, b"seed").unwrap();
            write("envelope", &format!("suite-{suite}"), text.as_bytes());
        }
    }
    for (algorithm, len) in [(Algorithm::Aes256Gcm, 5), (Algorithm::ChaCha20Poly1305, 0)] {
        let material = material(algorithm);
        let (header, mut sealer) =
            StreamSealer::new(&material, KEY, 1, REGISTRATION, &context).unwrap();
        let mut sealed = [&[1u8][..], &header].concat();
        sealer.push(&vec![7; len], &mut sealed).unwrap();
        sealer.finish(&mut sealed).unwrap();
        write("stream", &format!("{}-{len}", algorithm.name().to_lowercase()), &sealed);
    }
    let id = hub_model::CredentialId::from_bytes([4; 16]);
    let key = hub_auth::api_key::ApiKey::generate(id).1;
    write("api_key", "key", key.expose_secret().as_bytes());
    let signer = hub_crypto::SigningKey::generate().unwrap();
    let origin = hub_audit::checkpoint::origin(hub_model::HubId::from_bytes([3; 16]));
    let verifier = hub_audit::checkpoint::verifier_key(&origin, &signer.public());
    write("checkpoint", "verifier", verifier.as_bytes());
    for len in [1, 8, 32, 100] {
        let wrapped = hub_crypto::keywrap::wrap(&[0x5a; 32], &vec![7; len]).unwrap();
        write("keywrap", &format!("{len}-bytes"), &wrapped);
    }

    let kind = Kind::RsaOaep { bits: 3072, hash: Hash::Sha256 };
    // By `openssl genpkey`; the library holds it too.
    let file = root().join("seeds/rsa-3072.test.pkcs8");
    let rsa = encode::private_from_pkcs8(kind, &std::fs::read(&file).unwrap()).unwrap();
    let rsa = rsa.expose_secret();
    for (at, row) in ALGORITHMS.iter().enumerate() {
        if row.name.contains("RSA") && !row.name.ends_with("3072_SHA256") {
            continue;
        }
        let (at, secret) = (u8::try_from(at).unwrap(), secret(row.algorithm, rsa));
        let name = row.name.to_lowercase();
        let formats = [KeyFormat::Raw, KeyFormat::Pkcs8, KeyFormat::Jwk];
        for (number, format) in (0u8..).zip(formats) {
            if let Ok(written) = import::serialize(row.algorithm, &secret, format) {
                let seed = [&[at, number][..], written.expose_secret()].concat();
                write("private_key", &format!("{name}-{number}"), &seed);
            }
        }
        if !row.algorithm.is_asymmetric() {
            continue;
        }
        let public = asymmetric::private_key(row.kind, &secret).unwrap().public();
        let spki = public.spki();
        write("public_key", &format!("{name}-spki"), &[&[at][..], &spki].concat());
        write("public_key", &format!("{name}-raw"), &[&[at][..], &public.raw()].concat());
        let pem = encode::pem(encode::PUBLIC_LABEL, &spki);
        write("public_key", &format!("{name}-pem"), &[&[at][..], pem.as_bytes()].concat());
        let members: std::collections::BTreeMap<_, _> = public.jwk().into_iter().collect();
        let jwk = serde_json::to_vec(&members).unwrap();
        write("public_key", &format!("{name}-jwk"), &[&[at][..], &jwk].concat());
    }

    let oaep = asymmetric::private_key(kind, &Secret::copy_from(rsa).unwrap()).unwrap().public();
    let seed = Secret::copy_from(&[0x5a; 32]).unwrap();
    let hybrid = asymmetric::private_key(Kind::Hybrid, &seed).unwrap().public();
    let forms =
        [(TransportForm::RsaOaepAesKwp, &*oaep), (TransportForm::X25519MlKem768AesKwp, &*hybrid)];
    for (number, (form, public)) in (0u8..).zip(forms) {
        for algorithm in [Algorithm::Aes256Gcm, Algorithm::Ed25519] {
            let at = ALGORITHMS.iter().position(|row| row.algorithm == algorithm).unwrap();
            let body = transport::wrap(form, public, &[7; 32], algorithm).unwrap();
            let seed = [&[number, u8::try_from(at).unwrap()][..], &body].concat();
            write("transport", &format!("{number}-{}", algorithm.name().to_lowercase()), &seed);
        }
    }
}
