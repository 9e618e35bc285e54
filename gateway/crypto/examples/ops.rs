//! What one operation costs: `cargo run --release -p hub-crypto --example ops`. Medians of many
//! rounds; ratios on one machine, not figures of the product.

use std::hint::black_box;
use std::time::Instant;

use hub_crypto::{Envelope, HmacKey, Kek, Keyring, Material, RecordKey, Result, SigningKey};
use hub_model::algorithm::ALGORITHMS;
use hub_model::{KeyId, RegistrationId};

fn main() -> Result<()> {
    let context = b"\0\x01\0\x06tenant\0\0\0\x02eu";
    for row in ALGORITHMS {
        let (key, registration) = (KeyId::generate(), RegistrationId::generate());
        let mut ring = Keyring::new(key, registration, row.algorithm, 1);
        ring.insert(1, Material::generate(row.algorithm)?);
        for len in [32, 1024, 65_536] {
            let plaintext = vec![7; len];
            let text = ring.seal(context, &plaintext)?;
            let envelope = Envelope::parse(&text)?;
            let name = row.name;
            report(&format!("{name} seal {len}"), || ring.seal(context, black_box(&plaintext)));
            report(&format!("{name} parse {len}"), || Envelope::parse(black_box(&text)));
            report(&format!("{name} open {len}"), || ring.open(black_box(&envelope), context));
        }
    }
    let record = RecordKey::generate()?;
    let sealed = record.seal(b"registration/x/key/y", &[7; 512]);
    report("record seal 512", || record.seal(b"registration/x/key/y", black_box(&[7; 512])));
    report("record open 512", || record.open(b"registration/x/key/y", black_box(&sealed)));
    let mac = HmacKey::generate()?;
    report("hmac 64", || mac.tag(&[black_box(&[7; 64])]));
    let signer = SigningKey::generate()?;
    report("ed25519 sign", || signer.sign(black_box(b"checkpoint")));
    report("kek generate and drop", || Kek::generate(1));
    println!("arena: {:?}", hub_arena::status());
    Ok(())
}

/// Median of 41 rounds of about 2 ms.
fn report<T>(name: &str, mut step: impl FnMut() -> T) {
    let start = Instant::now();
    let mut probes = 0u32;
    while start.elapsed().as_millis() < 5 {
        black_box(step());
        probes += 1;
    }
    let per_round = (probes / 2).max(1);
    let mut rounds: Vec<f64> = (0..41)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..per_round {
                black_box(step());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(per_round)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:32} {:>10.0} ns", rounds.get(20).copied().unwrap_or_default());
}
