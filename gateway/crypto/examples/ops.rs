//! What one operation costs: `cargo run --release -p hub-crypto --example ops [WORD]` (only lines
//! whose name holds the word). Medians of many rounds; ratios on one machine, not figures of the
//! product. Bare ciphers are to be compared with
//!
//! ```text
//! openssl speed -evp aes-256-gcm -aead -bytes 1024        (likewise chacha20-poly1305)
//! openssl speed -hmac sha256 -bytes 1024
//! ```

use std::hint::black_box;
use std::time::Instant;

use hub_crypto::aead::{Aead, aes_256_gcm, aes_256_gcm_siv, chacha20_poly1305};
use hub_crypto::kdf::{self, Derivation, argon2id, pbkdf2};
use hub_crypto::provider::{self, Provider};
use hub_crypto::stream::{SecretBuffer, StreamOpener, StreamSealer};
use hub_crypto::{
    Envelope, Error, HmacKey, Kek, Keyring, Material, RecordKey, Result, SigningKey, hash, keywrap,
    mac,
};
use hub_model::algorithm::ALGORITHMS;
use hub_model::{Algorithm, KeyId, RegistrationId};

const CONTEXT: &[u8] = b"\0\x01\0\x06tenant\0\0\0\x02eu";
const SIZES: [usize; 3] = [32, 1024, 65_536];

fn main() -> Result<()> {
    for chosen in [Provider::RustCrypto, Provider::AwsLc] {
        provider::set(chosen);
        println!("# {chosen:?}");
        bare()?;
        suites()?;
        streams()?;
    }
    provider::set(Provider::Auto);
    println!("# whatever the provider");
    macs_and_wraps()?;
    derivations()?;
    hub_s_own()?;
    println!("arena: {:?}", hub_arena::status());
    Ok(())
}

/// The ciphers alone: with the key loaded for each message, and with it loaded before.
fn bare() -> Result<()> {
    let ciphers: [(&str, &dyn Aead); 3] = [
        ("AES-256-GCM", aes_256_gcm()),
        ("AES-256-GCM-SIV", aes_256_gcm_siv()),
        ("ChaCha20-Poly1305", chacha20_poly1305()),
    ];
    let (key, nonce, aad) = ([1; 32], [2; 12], [3; 80]);
    for (name, cipher) in ciphers {
        let loaded = cipher.load(&key).ok_or(Error::WrongUse)?;
        for len in SIZES {
            let mut buffer = vec![7; len];
            report(&format!("{name} seal {len}"), || {
                cipher.seal(&key, &nonce, &aad, black_box(&mut buffer))
            });
            report(&format!("{name} seal loaded {len}"), || {
                loaded.seal(&nonce, &aad, black_box(&mut buffer))
            });
            let tag = cipher.seal(&key, &nonce, &aad, &mut buffer).ok_or(Error::WrongUse)?;
            let mut out = vec![0; len];
            report(&format!("{name} open {len}"), || {
                cipher.open(&key, &nonce, &aad, black_box(&buffer), &mut out, &tag)
            });
        }
    }
    Ok(())
}

/// Messages as callers get them.
fn suites() -> Result<()> {
    for row in ALGORITHMS.iter().filter(|row| row.algorithm.suite().is_some()) {
        let (key, registration) = (KeyId::generate(), RegistrationId::generate());
        let mut ring = Keyring::new(key, registration, row.algorithm, 1);
        ring.insert(1, Material::generate(row.algorithm)?);
        for len in SIZES {
            let plaintext = vec![7; len];
            let text = ring.seal(CONTEXT, &plaintext)?;
            let envelope = Envelope::parse(&text)?;
            let name = row.name;
            report(&format!("{name} seal {len}"), || ring.seal(CONTEXT, black_box(&plaintext)));
            report(&format!("{name} parse {len}"), || Envelope::parse(black_box(&text)));
            report(&format!("{name} open {len}"), || ring.open(black_box(&envelope), CONTEXT));
        }
    }
    Ok(())
}

/// A body of 1 MiB, pushed in pieces of 16 KiB and at once; 16 chunks each.
fn streams() -> Result<()> {
    let plaintext = vec![7; 1 << 20];
    for algorithm in [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305] {
        let (key, registration) = (KeyId::generate(), RegistrationId::generate());
        let material = Material::generate(algorithm)?;
        for piece in [16_384, 1 << 20] {
            let mut out = Vec::with_capacity(plaintext.len() + 1024);
            let seal = |out: &mut Vec<u8>| {
                out.clear();
                let (header, mut sealer) =
                    StreamSealer::new(&material, key, 1, registration, CONTEXT)?;
                plaintext.chunks(piece).try_for_each(|bytes| sealer.push(bytes, out))?;
                sealer.finish(out)?;
                Ok::<_, Error>(header)
            };
            let name = algorithm.name();
            report(&format!("{name} stream seal 1 MiB by {piece}"), || seal(&mut out));
            let header = seal(&mut out)?;
            let mut opened = SecretBuffer::with_capacity(plaintext.len());
            report(&format!("{name} stream open 1 MiB by {piece}"), || {
                opened.clear();
                let mut opener = StreamOpener::new(&material, &header, key, registration, CONTEXT)?;
                out.chunks(piece).try_for_each(|bytes| opener.push(bytes, &mut opened))?;
                opener.finish(&mut opened)
            });
        }
    }
    Ok(())
}

fn macs_and_wraps() -> Result<()> {
    for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha384, Algorithm::HmacSha512] {
        let (material, name) = (Material::generate(algorithm)?, algorithm.name());
        for len in SIZES {
            let message = vec![7; len];
            report(&format!("{name} {len}"), || mac::compute(&material, black_box(&message)));
            let tag = mac::compute(&material, &message)?;
            report(&format!("{name} verify {len}"), || {
                mac::verify(&material, black_box(&message), &tag)
            });
        }
    }
    for len in SIZES {
        let message = vec![7; len];
        report(&format!("SHA-256 {len}"), || hash::sha256(black_box(&message)));
    }
    for len in [32, 1024] {
        let secret = vec![7; len];
        report(&format!("AES_256_KWP wrap {len}"), || keywrap::wrap(&[1; 32], black_box(&secret)));
        let wrapped = keywrap::wrap(&[1; 32], &secret)?;
        report(&format!("AES_256_KWP unwrap {len}"), || {
            keywrap::unwrap(&[1; 32], black_box(&wrapped))
        });
    }
    Ok(())
}

fn derivations() -> Result<()> {
    let (password, salt) = (&b"correct horse"[..], &[7; 16][..]);
    let iterations = pbkdf2::DEFAULT_ITERATIONS;
    let hkdf = Derivation::Hkdf { salt, info: b"info" };
    let stretched = Derivation::Pbkdf2 { password, salt, iterations };
    let hard = Derivation::Argon2id { password, salt, cost: argon2id::Cost::default() };
    for (algorithm, from, lens) in [
        (Algorithm::HkdfSha256, hkdf, &[32, 1024][..]),
        (Algorithm::HkdfSha384, hkdf, &[32, 1024]),
        (Algorithm::HkdfSha512, hkdf, &[32, 1024]),
        (Algorithm::Pbkdf2Sha256, stretched, &[32]),
        (Algorithm::Pbkdf2Sha512, stretched, &[32]),
        (Algorithm::Argon2id, hard, &[32]),
    ] {
        let (material, name) = (Material::generate(algorithm)?, algorithm.name());
        for len in lens {
            report(&format!("{name} to {len}"), || kdf::derive(&material, black_box(&from), *len));
        }
    }
    Ok(())
}

/// What the hub seals and signs for itself.
fn hub_s_own() -> Result<()> {
    let record = RecordKey::generate()?;
    let sealed = record.seal(b"registration/x/key/y", &[7; 512]);
    report("record seal 512", || record.seal(b"registration/x/key/y", black_box(&[7; 512])));
    report("record open 512", || record.open(b"registration/x/key/y", black_box(&sealed)));
    let mac = HmacKey::generate()?;
    report("hmac 64", || mac.tag(&[black_box(&[7; 64])]));
    let signer = SigningKey::generate()?;
    report("ed25519 sign", || signer.sign(black_box(b"checkpoint")));
    report("kek generate and drop", || Kek::generate(1));
    Ok(())
}

/// Median of 41 rounds of about 2 ms; of 5 rounds of one step where a step takes longer.
fn report<T>(name: &str, mut step: impl FnMut() -> T) {
    let mut words = std::env::args().skip(1);
    if words.next().is_some_and(|word| !name.contains(&word)) {
        return;
    }
    let start = Instant::now();
    let mut probes = 0u32;
    while start.elapsed().as_millis() < 5 {
        black_box(step());
        probes += 1;
    }
    let per_round = (probes / 2).max(1);
    let count = if start.elapsed().as_millis() > 20 { 5 } else { 41 };
    let mut rounds: Vec<f64> = (0..count)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..per_round {
                black_box(step());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(per_round)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:44} {:>12.0} ns", rounds.get(count / 2).copied().unwrap_or_default());
}
