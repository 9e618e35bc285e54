//! What an operation of the classic asymmetric families costs with either provider, beside
//! `openssl speed` of the same run: `cargo run --release -p hub-crypto --example asymmetric`.
//! Ratios on one machine, above 1 where the hub is faster; not figures of the product.

use std::collections::HashMap;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use hub_crypto::Error;
use hub_crypto::asymmetric::{Message, PrivateKey, generate, private_key_by};
use hub_crypto::provider::Provider;
use hub_model::algorithm::{Curve, Hash, Kind};

const PROVIDERS: [Provider; 2] = [Provider::RustCrypto, Provider::AwsLc];

/// Nanoseconds of an operation of OpenSSL, by its name and bits.
type Baseline = HashMap<String, f64>;

fn main() -> Result<(), Error> {
    let baseline = openssl();
    println!("{:36} {:>12} {:>12} {:>8}", "operation and provider", "ns", "openssl ns", "ratio");
    let hash = Hash::Sha256;
    for bits in [2048, 3072, 4096] {
        let kinds = [
            Kind::RsaPss { bits, hash },
            Kind::RsaPkcs1 { bits, hash },
            Kind::RsaOaep { bits, hash },
        ];
        let secret = generate(Kind::RsaPss { bits, hash })?;
        for kind in kinds {
            for provider in PROVIDERS {
                let key = private_key_by(provider, kind, &secret)?;
                measure(&baseline, &name(kind), &format!("rsa{bits}"), provider, &*key)?;
            }
        }
    }
    for (kind, row) in [
        (Kind::Ecdsa(Curve::P256), "ecdsa256"),
        (Kind::Ecdsa(Curve::P384), "ecdsa384"),
        (Kind::Ecdsa(Curve::P521), "ecdsa521"),
        (Kind::Ecdsa(Curve::Secp256k1), "ecdsa-secp256k1"),
        (Kind::Ed25519, "eddsa253"),
        (Kind::Ecdh(Curve::P256), "ecdh256"),
        (Kind::X25519, "ecdh253"),
    ] {
        let secret = generate(kind)?;
        for provider in PROVIDERS {
            let key = private_key_by(provider, kind, &secret)?;
            measure(&baseline, &name(kind), row, provider, &*key)?;
        }
    }
    Ok(())
}

/// Every operation that the key has.
fn measure(
    baseline: &Baseline,
    name: &str,
    row: &str,
    provider: Provider,
    key: &dyn PrivateKey,
) -> Result<(), Error> {
    let public = key.public();
    let message = Message::Whole(b"a message of some thirty-two bytes");
    if let Ok(signature) = key.sign(message) {
        public.verify(message, &signature)?;
        let (sign, verify) = (format!("{row} private"), format!("{row} public"));
        report(baseline, &format!("{name} sign"), &sign, provider, || key.sign(black_box(message)));
        report(baseline, &format!("{name} verify"), &verify, provider, || {
            public.verify(message, black_box(&signature))
        });
    }
    if let Ok(ciphertext) = public.encrypt(&[7; 32], b"") {
        key.decrypt(&ciphertext, b"")?;
        let (decrypt, encrypt) = (format!("{row} private"), format!("{row} public"));
        report(baseline, &format!("{name} decrypt"), &decrypt, provider, || {
            key.decrypt(black_box(&ciphertext), b"")
        });
        report(baseline, &format!("{name} encrypt"), &encrypt, provider, || {
            public.encrypt(black_box(&[7; 32]), b"")
        });
    }
    let peer = public.raw();
    if key.agree(&peer).is_ok() {
        let agree = format!("{row} private");
        report(baseline, &format!("{name} agree"), &agree, provider, || {
            key.agree(black_box(&peer))
        });
    }
    Ok(())
}

fn name(kind: Kind) -> String {
    let row = hub_model::algorithm::ALGORITHMS.iter().find(|row| row.kind == kind);
    row.map_or_else(|| format!("{kind:?}"), |row| row.name.to_owned())
}

/// The fastest of 31 rounds of about 5 ms, or of one operation if that takes longer: `openssl speed`
/// counts the processor's time, so rounds that others interrupted must not count here.
fn report<T>(
    baseline: &Baseline,
    name: &str,
    row: &str,
    provider: Provider,
    mut step: impl FnMut() -> T,
) {
    let start = Instant::now();
    let mut probes = 0u32;
    while start.elapsed().as_millis() < 5 {
        black_box(step());
        probes += 1;
    }
    let fastest = (0..31)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..probes {
                black_box(step());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(probes)
        })
        .fold(f64::INFINITY, f64::min);
    let name = format!("{name} {provider:?}");
    match baseline.get(row) {
        Some(theirs) => {
            println!("{name:36} {fastest:>12.0} {theirs:>12.0} {:>8.2}", theirs / fastest);
        }
        None => println!("{name:36} {fastest:>12.0} {:>12} {:>8}", "-", "-"),
    }
}

/// Runs `openssl speed` and reads its machine-readable lines, which give operations per second;
/// without the program, nothing.
fn openssl() -> Baseline {
    let output = Command::new("openssl")
        .args(["speed", "-mr", "-seconds", "1", "rsa2048", "rsa3072", "rsa4096", "ecdsap256"])
        .args(["ecdsap384", "ecdsap521", "ecdhp256", "ecdhx25519", "ed25519"])
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let mut baseline = Baseline::new();
    for line in text.unwrap_or_default().lines() {
        let fields: Vec<_> = line.split(':').collect();
        let (family, bits, rates) = match fields.as_slice() {
            ["+F2", _, bits, rates @ ..] => ("rsa", bits, rates),
            ["+F4", _, bits, rates @ ..] => ("ecdsa", bits, rates),
            // Its second number is the inverse of the first.
            ["+F5", _, bits, rate, _] => ("ecdh", bits, std::slice::from_ref(rate)),
            ["+F6", _, bits, _, rates @ ..] => ("eddsa", bits, rates),
            _ => continue,
        };
        for (rate, half) in rates.iter().zip(["private", "public"]) {
            if let Ok(rate) = rate.parse::<f64>() {
                baseline.insert(format!("{family}{bits} {half}"), 1e9 / rate);
            }
        }
    }
    baseline
}
