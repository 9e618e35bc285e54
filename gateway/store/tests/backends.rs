//! The shared suite on every engine, random operations compared with the reference, reopening.

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

use common::{commit, keys, path, put};
use hub_store::testing::{Expect, FaultyBackend, Step, compare, everything, suite};
use hub_store::{
    AuditHead, Backend, Changes, Commit, Error, FjallBackend, MemoryBackend, Store, Txn, View,
    Writer, block_on,
};
use proptest::prelude::*;

#[test]
fn memory_passes_the_suite() {
    block_on(suite(async || Arc::new(MemoryBackend::new()) as Arc<dyn Backend>));
}

#[test]
fn fjall_passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    block_on(suite(async || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let place = dir.path().join(number.to_string());
        Arc::new(FjallBackend::create(&place).unwrap()) as Arc<dyn Backend>
    }));
}

#[test]
fn the_faulty_wrapper_passes_the_suite_while_it_does_not_fail() {
    block_on(suite(async || {
        let inner = Arc::new(MemoryBackend::new());
        Arc::new(FaultyBackend::sound(inner).shared()) as Arc<dyn Backend>
    }));
}

#[test]
fn a_failed_commit_is_the_last() {
    for written in [false, true] {
        let inner: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let faulty = if written {
            FaultyBackend::failing_after(Arc::clone(&inner), 2)
        } else {
            FaultyBackend::failing_before(Arc::clone(&inner), 2)
        };
        let attempt = |name: &str| {
            let mut txn = Txn::new();
            txn.put(path(name), vec![1]).unwrap();
            block_on(faulty.commit(txn))
        };
        assert!(matches!(attempt("a").unwrap(), Commit::Committed(_)));
        assert!(matches!(attempt("b").unwrap(), Commit::Committed(_)));
        assert!(matches!(attempt("c").unwrap(), Commit::Unknown(_)));
        assert!(matches!(attempt("d"), Err(Error::Poisoned(_))));
        assert_eq!(block_on(inner.get(&path("c"))).unwrap().is_some(), written);
        assert_eq!(block_on(inner.get(&path("d"))).unwrap(), None);
    }
}

#[test]
fn reopening_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (place, keys) = (dir.path().join("store"), keys());
    let (before, identity) = {
        let backend = Arc::new(FjallBackend::create(&place).unwrap());
        let identity = backend.identity();
        let mut writer =
            block_on(Writer::open(Store::new(backend.clone(), keys.clone()), "node")).unwrap();
        for n in 0..300 {
            put(&mut writer, &format!("k/{}", n % 70), n);
            if n == 100 || n == 200 {
                backend.flush_tables().unwrap();
            }
        }
        let mut changes = Changes::new();
        changes.delete(&path("k/5"));
        commit(&mut writer, &changes);
        (block_on(everything(&*backend, "", 10)), identity)
    };
    for clean in [false, true, true] {
        let backend = Arc::new(FjallBackend::open(&place).unwrap());
        assert_eq!(backend.stopped_cleanly(), clean);
        assert_eq!(backend.identity(), identity);
        assert_eq!(block_on(everything(&*backend, "", 1000)), before);
        let store = Store::new(backend.clone(), keys.clone());
        let report = block_on(store.verify_digest("node", &mut |_| ())).unwrap();
        assert!(report.is_sound());
        assert_eq!((report.records, report.head.commits), (69, 301));
        assert_eq!(block_on(backend.head()).unwrap(), report.at);
        block_on(backend.close()).unwrap();
    }
    // Revisions go on where they were.
    let backend = Arc::new(FjallBackend::open(&place).unwrap());
    let head = block_on(backend.head()).unwrap();
    let mut writer = block_on(Writer::open(Store::new(backend.clone(), keys), "node")).unwrap();
    let revision = block_on(writer.begin().commit(None, AuditHead::default())).unwrap();
    assert_eq!(revision.0, head.0 + 1);
}

#[test]
fn one_process_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("deep/store");
    assert!(matches!(FjallBackend::open(&place), Err(Error::Missing(_))));
    let open = FjallBackend::open_or_create(&place).unwrap();
    assert!(matches!(FjallBackend::open(&place), Err(Error::Locked(_))));
    assert!(matches!(FjallBackend::create(&place), Err(Error::Exists(_))));
    drop(open);
    drop(FjallBackend::open_or_create(&place).unwrap());
    // Nothing is left beside it.
    assert_eq!(std::fs::read_dir(dir.path().join("deep")).unwrap().count(), 1);
}

#[test]
fn an_interrupted_beginning_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(".store.new-1");
    std::fs::create_dir_all(left.join("keyspaces/1")).unwrap();
    std::fs::write(left.join("version"), b"FJL").unwrap();
    drop(FjallBackend::open_or_create(&dir.path().join("store")).unwrap());
    assert!(!left.exists());
}

#[test]
fn files_missing_from_a_store_are_not_replaced() {
    for name in ["version", "keyspaces/1", "keyspaces/2", "keyspaces/3", "keyspaces", "0.jnl"] {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("store");
        drop(FjallBackend::create(&place).unwrap());
        let victim = place.join(name);
        if victim.is_dir() {
            std::fs::remove_dir_all(victim).unwrap();
        } else {
            std::fs::remove_file(victim).unwrap();
        }
        assert!(FjallBackend::open(&place).is_err(), "{name}");
        assert!(FjallBackend::open_or_create(&place).is_err(), "{name}");
    }
}

/// The engine underneath, for tests of what others leave there.
fn raw(place: &std::path::Path) -> (fjall::Database, [fjall::Keyspace; 3]) {
    let db = fjall::Database::builder(place).open().unwrap();
    let keyspace = |name| db.keyspace(name, Default::default).unwrap();
    let keyspaces = [keyspace("records"), keyspace("log"), keyspace("heads")];
    (db, keyspaces)
}

fn store_with_a_log(place: &std::path::Path) {
    let backend = FjallBackend::create(place).unwrap();
    for n in 1..=9 {
        let mut txn = Txn::new();
        txn.put(path("w/node/head"), vec![n]).unwrap();
        txn.put(path(&format!("w/node/b/{n:016x}")), vec![n; 3]).unwrap();
        txn.put(path("k/one"), vec![n]).unwrap();
        assert!(matches!(block_on(backend.commit(txn)).unwrap(), Commit::Committed(_)));
    }
    block_on(backend.close()).unwrap();
}

#[test]
fn heads_move_out_of_the_logs_of_older_stores() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    store_with_a_log(&place);
    let before = block_on(everything(&FjallBackend::open(&place).unwrap(), "", 100));
    // As stores were made before there was a keyspace for heads.
    let (db, [_, log, heads]) = raw(&place);
    for key in [&b"w/node/head"[..], b"\0revision"] {
        log.insert(key, heads.get(key).unwrap().unwrap()).unwrap();
    }
    db.delete_keyspace(heads).unwrap();
    drop((log, db));
    for _ in 0..2 {
        let backend = FjallBackend::open(&place).unwrap();
        assert_eq!(block_on(everything(&backend, "", 100)), before);
        assert_eq!(block_on(everything(&backend, "w/", 3)).len(), 10);
        block_on(backend.close()).unwrap();
    }
}

#[test]
fn a_log_of_another_time_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let edits: [fn(&[fjall::Keyspace; 3]); 4] = [
        |[_, log, _]| log.remove("w/node/b/0000000000000009").unwrap(),
        |[_, log, _]| log.insert("w/node/b/0000000000000009", [0; 11]).unwrap(),
        |[_, _, heads]| heads.remove("\0newest").unwrap(),
        |[records, _, _]| records.insert("\0revision", 8u64.to_be_bytes()).unwrap(),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let place = dir.path().join(number.to_string());
        store_with_a_log(&place);
        let (db, keyspaces) = raw(&place);
        edit(&keyspaces);
        drop((keyspaces, db));
        let opened = FjallBackend::open(&place);
        assert!(matches!(opened, Err(Error::Damaged { .. })), "edit {number}: {opened:?}");
    }
}

#[test]
fn purged_values_are_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    let backend = FjallBackend::create(&place).unwrap();
    let mark = |n: u32| format!("canary-{n:05}").into_bytes().repeat(9);
    let write = |n: u32, value: Option<Vec<u8>>| {
        let mut txn = Txn::new();
        match value {
            Some(value) => txn.put(path(&format!("v/{n}")), value).unwrap(),
            None => txn.delete(path(&format!("v/{n}"))).unwrap(),
        };
        assert!(matches!(block_on(backend.commit(txn)).unwrap(), Commit::Committed(_)));
    };
    for n in 0..400 {
        write(n, Some(mark(n)));
        if n == 100 || n == 200 {
            backend.flush_tables().unwrap();
        }
    }
    // A scan that was begun and never ended pins the values.
    assert!(block_on(backend.scan("v/", None, 5, View::Hold)).unwrap().more);
    for n in 0..400 {
        // One kept, one replaced, two deleted.
        match n % 4 {
            0 => {}
            1 => write(n, Some(b"replaced".to_vec())),
            _ => write(n, None),
        }
    }
    let before = block_on(everything(&backend, "", 100));
    for _ in 0..2 {
        assert!(found(&place).len() >= 100);
        block_on(backend.purge()).unwrap();
        assert_eq!(found(&place), (0..400).filter(|n| n % 4 == 0).collect::<Vec<u32>>());
        assert_eq!(block_on(everything(&backend, "", 100)), before);
    }
    drop(backend);
    let backend = FjallBackend::open(&place).unwrap();
    assert_eq!(block_on(everything(&backend, "", 100)), before);
}

/// The engine writes a file for each version of a keyspace and keeps, with each that a snapshot may
/// ask for, the memtable of that time.
fn versions(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.fold(0, |count, entry| {
        let name = entry.file_name().into_string().unwrap();
        let version = name.strip_prefix('v').is_some_and(|n| n.parse::<u64>().is_ok());
        let inside = if entry.path().is_dir() { versions(&entry.path()) } else { 0 };
        count + usize::from(version) + inside
    })
}

#[test]
fn everyday_pages_keep_nothing_in_memory_and_held_ones_do_until_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    let backend = FjallBackend::create(&place).unwrap();
    let work = |view: View| {
        let page = block_on(backend.scan("v/", None, 1, view)).unwrap();
        for n in 0..20 {
            let mut txn = Txn::new();
            txn.put(path(&format!("v/{n}")), vec![7; 1000]).unwrap();
            assert!(matches!(block_on(backend.commit(txn)).unwrap(), Commit::Committed(_)));
            let page = block_on(backend.scan("v/", None, 1, View::Now)).unwrap();
            assert_eq!(page.more, n > 0 || view == View::Hold);
            backend.flush_tables().unwrap();
        }
        (page.at, versions(&place))
    };
    let (_, everyday) = work(View::Now);
    assert!(everyday < 15, "{everyday}");
    let (at, held) = work(View::Hold);
    assert!(held >= 20, "{held}");
    backend.let_go(at);
    let (_, after) = work(View::Hold);
    assert!(after < held + 10, "{after} after {held}");
}

/// The numbers of the canaries in the files under a directory.
fn found(dir: &std::path::Path) -> Vec<u32> {
    let mut numbers = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            numbers.extend(found(&path));
            continue;
        }
        let bytes = std::fs::read(path).unwrap();
        let mut rest = &bytes[..];
        while let Some(at) = rest.iter().position(|byte| *byte == b'c') {
            rest = &rest[at..];
            if rest.starts_with(b"canary-") && rest.len() >= 12 {
                let digits = std::str::from_utf8(&rest[7..12]).unwrap();
                numbers.insert(digits.parse().unwrap());
            }
            rest = &rest[1..];
        }
    }
    numbers.into_iter().collect()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expect = prop_oneof![
        1 => Just(Expect::Absent),
        4 => Just(Expect::Current),
        1 => Just(Expect::Stale)
    ];
    let value = proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..50));
    let step = prop_oneof![
        3 => (
            proptest::collection::vec((any::<u8>(), expect), 0..3),
            proptest::collection::vec((any::<u8>(), value), 0..6),
        )
            .prop_map(|(checks, writes)| Step::Commit(checks, writes)),
        1 => any::<u8>().prop_map(Step::Get),
        1 => (any::<u8>(), 1usize..20).prop_map(|(n, limit)| Step::Scan(n, limit)),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn fjall_answers_as_memory_does(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let backend = FjallBackend::create(&dir.path().join("store")).unwrap();
        block_on(compare(&backend, &steps));
    }

    #[test]
    fn memory_answers_as_memory_does(steps in steps()) {
        block_on(compare(&MemoryBackend::new(), &steps));
    }
}

#[test]
fn space_of_archived_batches_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let backend = FjallBackend::create(&dir.path().join("store")).unwrap();
    let batch = |n: u64| path(&format!("w/node/b/{n:016x}"));
    block_on(async {
        for n in 0..200u64 {
            let mut txn = Txn::new();
            let noise = vec![u8::try_from(n).unwrap(); 100_000];
            txn.put(batch(n), noise).unwrap();
            backend.commit(txn).await.unwrap();
        }
        backend.flush_tables().unwrap();
        let full = tables(dir.path());
        for first in (0..190).step_by(95) {
            let mut txn = Txn::new();
            (first..first + 95).for_each(|n| {
                txn.delete(batch(n)).unwrap();
            });
            backend.commit(txn).await.unwrap();
        }
        backend.reclaim_log().await.unwrap();
        let left = tables(dir.path());
        assert!(left * 4 < full, "{left} of {full} bytes are left");
        let page = backend.scan("w/", None, 1000, View::Now).await.unwrap();
        assert_eq!(page.entries.len(), 10);
    });
    drop(backend);
    let backend = FjallBackend::open(&dir.path().join("store")).unwrap();
    let page = block_on(backend.scan("w/", None, 1000, View::Now)).unwrap();
    assert_eq!(page.entries.len(), 10);
}

/// Bytes of everything but journals.
fn tables(dir: &std::path::Path) -> u64 {
    let mut bytes = 0;
    for found in std::fs::read_dir(dir).unwrap() {
        let found = found.unwrap();
        let facts = found.metadata().unwrap();
        bytes += match facts.is_dir() {
            true => tables(&found.path()),
            false if found.path().extension().is_some_and(|e| e == "jnl") => 0,
            false => facts.len(),
        };
    }
    bytes
}
