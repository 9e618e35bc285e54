//! How fast an export's entries are verified: `cargo run --release -p hub-audit --example
//! verify_speed -- 2000000`. One thread; says entries and bytes a second, and what SHA-256 alone
//! costs for the same bytes, twice as a verifier of a whole export hashes them twice.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example")]

use std::io::{BufWriter, Write as _};
use std::time::Instant;

use hub_audit::encode::hex;
use hub_audit::merkle::leaf_hash;
use hub_audit::verify::offline;
use hub_crypto::hash::RunningSha256;

fn main() {
    let count: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(500_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("entries.jsonl");
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    let (mut prev, mut bytes) = ([0; 32], 0u64);
    for seq in 0..count {
        let entry = format!(
            "{{\"action\":\"keys.encrypt\",\"address\":\"127.0.0.1\",\"caller\":\
             \"apikey:ptc_01jd8r0000000000000000000a\",\"callerRegistration\":\
             \"reg_01jd8r0000000000000000000a\",\"context\":{{\"order\":\"{seq}\"}},\"credential\":\
             \"crd_01jd8r0000000000000000000a\",\"decision\":\"allow\",\"entities\":[7,8,9],\"key\":\
             \"key_01jd8r0000000000000000000a\",\"latency\":\"1ms\",\"outcome\":\"ok\",\
             \"payloadBytes\":1024,\"policies\":[\"role.app\"],\"prev\":\"{}\",\"registration\":\
             \"reg_01jd8r0000000000000000000a\",\"request\":\"01931a2b-3c4d\",\"revision\":\
             \"0011aabb0011aabb\",\"seq\":{seq},\"time\":\"2026-11-26T05:00:00.123456Z\",\"tls\":true,\
             \"v\":1,\"version\":2,\"writer\":\"main\"}}",
            hex(&prev)
        );
        prev = leaf_hash(entry.as_bytes());
        writeln!(file, "{entry}").unwrap();
        bytes += entry.len() as u64 + 1;
    }
    file.flush().unwrap();
    let started = Instant::now();
    let proven = offline::bare(&path, Vec::new(), true, &mut |_| {}).unwrap();
    let took = started.elapsed().as_secs_f64();
    let mut hash = RunningSha256::default();
    let piece = vec![0x55; 64 * 1024];
    let started = Instant::now();
    (0..bytes / 65_536).for_each(|_| hash.update(&piece));
    let hashing = started.elapsed().as_secs_f64() * 2.0;
    std::hint::black_box(hash.finish());
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let (entries, bytes) = (proven.entries as f64, bytes as f64);
    println!(
        "{:.0} entries/s, {:.0} MB/s, {:.0} bytes an entry; SHA-256 alone, twice: {:.0} % of it",
        entries / took,
        bytes / took / 1e6,
        bytes / entries,
        hashing / took * 100.0
    );
}
