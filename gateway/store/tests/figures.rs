//! Figures, not assertions: `cargo test --release -p hub-store --test figures -- --ignored
//! --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail loudly"
)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{batch_path, keys, path, store};
use hub_store::{
    AuditHead, Backend, Cache, Changes, FjallBackend, MemoryBackend, Staged, Store, Writer,
    block_on,
};

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what:48} p50 {:>10.1?} p99 {:>10.1?}", at(50), at(99));
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn members(writer: &mut Writer, count: u64, changing: bool, round: u64) -> Duration {
    let value = "x".repeat(400);
    let start = Instant::now();
    block_on(async {
        let mut group = writer.begin();
        for member in 0..count {
            let mut changes = Changes::new();
            if changing {
                let at = path(&format!("k/{}", (round * count + member) % 20_000));
                changes.put(&at, &value).unwrap();
            }
            assert!(matches!(group.stage(&changes).await.unwrap(), Staged::Done(_)));
        }
        let batch = Some((batch_path(round), vec![7; 500 * count as usize]));
        group
            .commit(
                batch.as_ref().map(|(path, bytes)| (path.clone(), bytes.as_slice())),
                AuditHead::default(),
            )
            .await
            .unwrap();
    });
    start.elapsed()
}

#[test]
#[ignore = "measures"]
fn figures() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = dir.path().join("store");
    let keys = keys();
    let before = resident();
    let start = Instant::now();
    let backend = Arc::new(FjallBackend::create(&place).unwrap());
    println!("create: {:?}, resident + {} KiB", start.elapsed(), resident() - before);
    let mut writer =
        block_on(Writer::open(Store::new(backend.clone(), keys.clone()), "n")).unwrap();
    let mut round = 0;
    let mut run = |what: &str, count, changing, rounds| {
        let mut times = Vec::new();
        for _ in 0..rounds {
            round += 1;
            times.push(members(&mut writer, count, changing, round));
        }
        report(what, times);
    };
    run("commit, 1 member, 1 record", 1, true, 2000);
    run("commit, 1 member, audit only", 1, false, 2000);
    run("commit, 64 members, 1 record each", 64, true, 400);
    run("commit, 64 members, audit only", 64, false, 400);
    println!("on disk: {} KiB", backend.size_on_disk().unwrap() / 1024);

    let store = Store::new(backend.clone(), keys.clone());
    let mut times = Vec::new();
    for n in 0..20_000 {
        let at = path(&format!("k/{n}"));
        let start = Instant::now();
        block_on(store.read::<String>(&at)).unwrap();
        times.push(start.elapsed());
    }
    report("read, open and decode a record of 400 B", times);
    let start = Instant::now();
    let found = block_on(store.verify_digest("n", &mut |_| ())).unwrap();
    println!("verify_digest: {} records in {:?}", found.records, start.elapsed());
    let start = Instant::now();
    block_on(backend.purge()).unwrap();
    println!("purge: {:?}, resident {} KiB", start.elapsed(), resident());
    drop((store, writer, backend));
    let start = Instant::now();
    let backend = FjallBackend::open(&place).unwrap();
    println!("open: {:?}, resident {} KiB in all", start.elapsed(), resident());
    drop(backend);

    cache();
}

fn key(n: u64) -> [u8; 16] {
    u128::from(n).to_be_bytes()
}

fn cache() {
    let store = store(Arc::new(MemoryBackend::new()));
    let cache: Cache<[u8; 16], u64> = Cache::new("figures", 10_000);
    for n in 0..1000u64 {
        let mut stamp = store.stamp();
        stamp.watch(&path(&format!("k/{n}"))).watch(&path(&format!("r/{n}")));
        cache.insert(key(n), Arc::new(1), stamp);
    }
    let keys: Vec<[u8; 16]> = (0..1000).map(key).collect();
    let rounds = 3_000_000u32;
    let start = Instant::now();
    let mut sum = 0;
    for key in keys.iter().cycle().take(rounds as usize) {
        sum += *cache.get(key).unwrap();
    }
    println!("cache get, 2 paths watched: {:?} ({sum})", start.elapsed() / rounds);
    let bare: moka::sync::Cache<[u8; 16], Arc<u64>> = moka::sync::Cache::new(10_000);
    for key in &keys {
        bare.insert(*key, Arc::new(1));
    }
    let start = Instant::now();
    for key in keys.iter().cycle().take(rounds as usize) {
        sum += *bare.get(key).unwrap();
    }
    println!("moka alone: {:?} ({sum})", start.elapsed() / rounds);
}
