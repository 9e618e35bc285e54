//! Groups: what is staged, what is refused, what a commit leaves behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail loudly"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{batch_path, commit, keys, path, put, store};
use hub_store::testing::FaultyBackend;
use hub_store::{
    AuditHead, Backend, Changes, CommitError, Error, FjallBackend, MAX_BATCH, MemoryBackend, Path,
    Revision, StageError, Staged, StateDigest, Store, Txn, View, Writer, block_on,
};
use proptest::prelude::*;

fn world() -> (Store, Writer) {
    open(Arc::new(MemoryBackend::new()))
}

fn open(backend: Arc<dyn Backend>) -> (Store, Writer) {
    let store = store(backend);
    let writer = block_on(Writer::open(store.clone(), "node")).unwrap();
    (store, writer)
}

fn change(at: &str, value: u64) -> Changes {
    let mut changes = Changes::new();
    changes.put(&path(at), &value).unwrap();
    changes
}

fn read(store: &Store, at: &str) -> Option<u64> {
    block_on(store.read::<u64>(&path(at))).unwrap().map(|found| found.value)
}

fn assert_sound(store: &Store) -> hub_store::DigestReport {
    let report = block_on(store.verify_digest("node", &mut |_| ())).unwrap();
    assert!(report.is_sound());
    report
}

#[test]
fn a_group_is_one_transaction() {
    let (store, mut writer) = world();
    assert_eq!(writer.head().digest, [0; 32]);
    let audit = AuditHead { size: 3, chain: [9; 32], frontier: vec![[1; 32], [2; 32]] };
    let digests = block_on(async {
        let mut group = writer.begin();
        let first = group.stage(&change("k/1", 1)).await.unwrap();
        let none = group.stage(&Changes::new()).await.unwrap();
        let second = group.stage(&change("k/2", 2)).await.unwrap();
        assert_eq!(group.members(), 3);
        assert_eq!(none, Staged::Done(None));
        group.commit(Some((batch_path(1), b"entries")), audit.clone()).await.unwrap();
        (first, second)
    });
    let (Staged::Done(Some(first)), Staged::Done(Some(second))) = digests else { panic!() };
    assert_ne!(first, second);
    assert_eq!(writer.head().digest, second);
    assert_eq!((writer.head().commits, &writer.head().audit), (1, &audit));
    let head = block_on(store.head("node")).unwrap().unwrap();
    assert_eq!(&head.value, writer.head());
    for at in ["k/1", "k/2"] {
        assert_eq!(
            block_on(store.read::<u64>(&path(at))).unwrap().unwrap().revision,
            head.revision
        );
    }
    let batch = block_on(store.read_bytes(&batch_path(1))).unwrap().unwrap();
    assert_eq!((batch.value.as_slice(), batch.revision), (b"entries".as_slice(), head.revision));
    assert_eq!(assert_sound(&store).records, 2);
    // Another writer of that name goes on from here.
    let again = block_on(Writer::open(store, "node")).unwrap();
    assert_eq!(again.head(), writer.head());
}

#[test]
fn refused_members_leave_the_group_as_it_was() {
    let (store, mut writer) = world();
    put(&mut writer, "k/1", 1);
    let now = block_on(store.read::<u64>(&path("k/1"))).unwrap().unwrap().revision;
    block_on(async {
        let mut group = writer.begin();
        assert!(matches!(group.stage(&change("k/2", 2)).await.unwrap(), Staged::Done(_)));

        let mut absent = change("k/9", 9);
        absent.check_absent(&path("k/3")).check_absent(&path("k/1"));
        assert_eq!(group.stage(&absent).await.unwrap(), Staged::Conflict(1));
        let mut stale = change("k/9", 9);
        stale.check_revision(&path("k/1"), Revision(now.0 + 1));
        assert_eq!(group.stage(&stale).await.unwrap(), Staged::Conflict(0));

        // A path of the group, whether written or only looked at.
        assert_eq!(group.stage(&change("k/2", 3)).await.unwrap(), Staged::Full);
        let mut looks = change("k/9", 9);
        looks.check_absent(&path("k/2"));
        assert_eq!(group.stage(&looks).await.unwrap(), Staged::Full);

        let mut twice = change("k/9", 9);
        twice.delete(&path("k/9"));
        let outcome = group.stage(&twice).await;
        assert!(matches!(outcome, Err(StageError::Store(Error::Duplicate(_)))));
        let outcome = group.stage(&change("w/node/head", 9)).await;
        assert!(matches!(outcome, Err(StageError::Reserved(_))));

        let mut good = change("k/1", 11);
        good.check_revision(&path("k/1"), now);
        assert!(matches!(group.stage(&good).await.unwrap(), Staged::Done(Some(_))));
        assert_eq!(group.members(), 2);
        group.commit(None, AuditHead::default()).await.unwrap();
    });
    assert_eq!(["k/1", "k/2", "k/9"].map(|at| read(&store, at)), [Some(11), Some(2), None]);
    assert_sound(&store);
}

#[test]
fn batches_go_by_their_own_way_only_and_leave_the_digest_alone() {
    let (store, mut writer) = world();
    put(&mut writer, "k/1", 1);
    let batch = path("w/node/b/0000000000000000");
    block_on(async {
        let group = writer.begin();
        group.commit(Some((batch.clone(), b"batch")), AuditHead::default()).await.unwrap();
        let digest = writer.head().digest;
        let mut group = writer.begin();
        for refused in [
            Changes::new().delete(&batch),
            Changes::new().delete_archived(&path("k/1")),
            Changes::new().delete_archived(&path("w/node/head")),
            Changes::new().delete_archived(&path("w/other/b/0000000000000000")),
        ] {
            let outcome = group.stage(refused).await;
            assert!(matches!(outcome, Err(StageError::Reserved(_))), "{outcome:?}");
        }
        let outcome = group.stage(&change("w/node/b/0000000000000001", 1)).await;
        assert!(matches!(outcome, Err(StageError::Reserved(_))));
        let mut twice = Changes::new();
        twice.delete_archived(&batch).delete_archived(&batch);
        let outcome = group.stage(&twice).await;
        assert!(matches!(outcome, Err(StageError::Store(Error::Duplicate(_)))));
        let mut many = Changes::new();
        (0..98).for_each(|n| {
            many.delete_archived(&path(&format!("w/node/b/{n:016x}")));
        });
        assert!(matches!(group.stage(&many).await, Err(StageError::TooLarge)));
        let mut gone = Changes::new();
        // What is not there is no reason to refuse: a crash may have been between.
        gone.delete_archived(&batch).delete_archived(&path("w/node/b/00000000000000ff"));
        assert!(matches!(group.stage(&gone).await, Ok(Staged::Done(Some(_)))));
        group.commit(None, AuditHead::default()).await.unwrap();
        assert_eq!(writer.head().digest, digest);
        assert!(store.read_bytes(&batch).await.unwrap().is_none());
    });
    assert_sound(&store);
}

#[test]
fn a_dropped_group_never_was() {
    let (store, mut writer) = world();
    put(&mut writer, "k/1", 1);
    let before = writer.head().clone();
    block_on(async {
        let mut group = writer.begin();
        group.stage(&change("k/1", 2)).await.unwrap();
    });
    assert_eq!(writer.head(), &before);
    put(&mut writer, "k/2", 2);
    assert_eq!((read(&store, "k/1"), read(&store, "k/2")), (Some(1), Some(2)));
    assert_sound(&store);
}

#[test]
fn a_group_has_room_for_the_largest_batch_and_no_more() {
    for exclusive in [true, false] {
        let inner: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let faulty = FaultyBackend::sound(inner);
        let (store, mut writer) = open(Arc::new(if exclusive { faulty } else { faulty.shared() }));
        let value = "x".repeat(5000);
        let mut staged = 0;
        block_on(async {
            let mut group = writer.begin();
            loop {
                let mut changes = Changes::new();
                let at = path(&format!("k/{staged}"));
                changes.put(&at, &value).unwrap().check_absent(&at);
                match group.stage(&changes).await.unwrap() {
                    Staged::Done(_) => staged += 1,
                    Staged::Full => break,
                    Staged::Conflict(_) => panic!(),
                }
            }
            let audit = AuditHead { frontier: vec![[1; 32]; 64], ..AuditHead::default() };
            group.commit(Some((batch_path(1), &vec![1; MAX_BATCH])), audit).await.unwrap();
        });
        assert_eq!(staged, if exclusive { 97 } else { 48 });
        assert_eq!(assert_sound(&store).records, staged);
        // Few, but large: bytes are counted as well.
        let value = "x".repeat(100_000);
        let outcomes = block_on(async {
            let mut group = writer.begin();
            let mut outcomes = Vec::new();
            for n in 0..6 {
                let mut changes = Changes::new();
                changes.put(&path(&format!("l/{n}")), &value).unwrap();
                outcomes.push(matches!(group.stage(&changes).await.unwrap(), Staged::Done(_)));
            }
            let batch = vec![1; MAX_BATCH];
            group.commit(Some((batch_path(2), &batch)), AuditHead::default()).await.unwrap();
            outcomes
        });
        assert_eq!(outcomes, [true, true, true, true, true, false]);
        // What no transaction can hold is refused, not put off for ever.
        let mut changes = Changes::new();
        changes.put(&path("l/9"), &"x".repeat(600_000)).unwrap();
        let outcome = block_on(writer.begin().stage(&changes));
        assert!(matches!(outcome, Err(StageError::TooLarge)));
        let mut changes = Changes::new();
        for n in 0..98 {
            changes.delete(&path(&format!("k/{n}")));
        }
        let outcome = block_on(writer.begin().stage(&changes));
        assert!(matches!(outcome, Err(StageError::TooLarge)));
        let batch = vec![1; MAX_BATCH + 1];
        let batch = Some((batch_path(3), batch.as_slice()));
        let outcome = block_on(writer.begin().commit(batch, AuditHead::default()));
        assert!(matches!(outcome, Err(CommitError::Failed(Error::TooLarge))));
        put(&mut writer, "k/1", 1);
        assert_sound(&store);
    }
}

#[test]
fn a_conflict_at_commit_names_the_member() {
    let inner: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let (store, mut writer) = open(Arc::new(FaultyBackend::sound(Arc::clone(&inner)).shared()));
    put(&mut writer, "k/1", 1);
    let behind = |at: &str| {
        let mut txn = Txn::new();
        txn.put(path(at), vec![0; 200]).unwrap();
        block_on(inner.commit(txn)).unwrap();
    };
    let before = writer.head().clone();
    let outcome = block_on(async {
        let mut group = writer.begin();
        group.stage(&change("k/2", 2)).await.unwrap();
        let mut second = change("k/3", 3);
        let revision = inner.get(&path("k/1")).await.unwrap().unwrap().revision;
        second.check_revision(&path("k/1"), revision);
        group.stage(&second).await.unwrap();
        // Another node is faster.
        behind("k/1");
        group.commit(None, AuditHead::default()).await
    });
    assert!(matches!(outcome, Err(CommitError::Conflict { member: 1 })));
    assert_eq!(writer.head(), &before);
    // A path replaced without a check of its own is checked as well: the digest depends on it.
    let outcome = block_on(async {
        let mut group = writer.begin();
        group.stage(&change("k/4", 4)).await.unwrap();
        behind("k/4");
        group.commit(None, AuditHead::default()).await
    });
    assert!(matches!(outcome, Err(CommitError::Conflict { member: 0 })));
    put(&mut writer, "k/5", 5);
    assert_eq!(read(&store, "k/5"), Some(5));
    // Somebody else writing this writer's head is the end.
    let mut other = block_on(Writer::open(store.clone(), "node")).unwrap();
    put(&mut other, "k/6", 6);
    let outcome = block_on(writer.begin().commit(None, AuditHead::default()));
    assert!(matches!(outcome, Err(CommitError::Failed(Error::Superseded(_)))));
    let outcome = block_on(writer.begin().stage(&change("k/7", 7)));
    assert!(matches!(outcome, Err(StageError::Store(Error::Poisoned(_)))));
}

#[test]
fn after_an_unknown_outcome_nothing_is_committed() {
    for written in [false, true] {
        let inner: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let keys = keys();
        let faulty = if written {
            FaultyBackend::failing_after(Arc::clone(&inner), 1)
        } else {
            FaultyBackend::failing_before(Arc::clone(&inner), 1)
        };
        let shaky = Store::new(Arc::new(faulty), keys.clone());
        let mut writer = block_on(Writer::open(shaky.clone(), "node")).unwrap();
        put(&mut writer, "k/1", 1);
        let mut stamp = shaky.stamp();
        stamp.watch(&path("k/1"));
        let outcome = block_on(async {
            let mut group = writer.begin();
            group.stage(&change("k/1", 2)).await.unwrap();
            group.commit(None, AuditHead::default()).await
        });
        assert!(matches!(outcome, Err(CommitError::Unknown(_))));
        // It may have happened: nothing made from the old record is current.
        assert!(!stamp.is_current());
        let outcome = block_on(writer.begin().stage(&change("k/2", 2)));
        assert!(matches!(outcome, Err(StageError::Store(Error::Poisoned(_)))));
        let outcome = block_on(writer.begin().commit(None, AuditHead::default()));
        assert!(matches!(outcome, Err(CommitError::Failed(Error::Poisoned(_)))));
        // After a restart the store is whole, either way.
        let store = Store::new(inner, keys);
        let mut writer = block_on(Writer::open(store.clone(), "node")).unwrap();
        assert_eq!(read(&store, "k/1"), Some(if written { 2 } else { 1 }));
        assert_sound(&store);
        put(&mut writer, "k/3", 3);
        assert_sound(&store);
    }
}

#[test]
fn an_abandoned_commit_stops_the_writer() {
    let (store, mut writer) = world();
    let mut group = writer.begin();
    block_on(group.stage(&change("k/1", 1))).unwrap();
    // Never polled: nothing happened, and the writer goes on.
    drop(group.commit(None, AuditHead::default()));
    put(&mut writer, "k/2", 2);
    assert_sound(&store);
}

#[test]
fn wrapped_bytes_are_stored_as_they_are_and_summed_up() {
    let (store, mut writer) = world();
    let mut changes = Changes::new();
    changes.put_wrapped(&path("m/root"), b"wrapped".to_vec());
    commit(&mut writer, &changes);
    let entry = block_on(store.backend().get(&path("m/root"))).unwrap().unwrap();
    assert_eq!(entry.value, b"wrapped");
    let outcome = block_on(store.read_bytes(&path("m/root")));
    assert!(matches!(outcome, Err(Error::Tampered { .. })));
    assert_eq!(assert_sound(&store).records, 1);
}

#[test]
fn typed_pages() {
    let (store, mut writer) = world();
    for n in 0..25 {
        put(&mut writer, &format!("k/{n:02}"), n);
    }
    let first = block_on(store.scan_at::<u64>("k/", None, 10, View::Hold)).unwrap();
    assert!(first.more);
    put(&mut writer, "k/15", 99);
    let after = first.records.last().unwrap().0.clone();
    let rest = block_on(store.scan_at::<u64>("k/", Some(&after), 100, View::At(first.at))).unwrap();
    let values: Vec<u64> =
        first.records.iter().chain(&rest.records).map(|(_, found)| found.value).collect();
    assert_eq!(values, (0..25).collect::<Vec<u64>>());
    assert!(matches!(block_on(store.read::<String>(&path("k/15"))), Err(Error::Malformed { .. })));
}

#[test]
fn the_digest_is_verified_over_many_pages_and_a_long_log() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Arc::new(FjallBackend::create(&dir.path().join("store")).unwrap());
    let (store, mut writer) = open(backend);
    for n in 0..30u64 {
        block_on(async {
            let mut group = writer.begin();
            for m in 0..90 {
                let first = ["a", "v", "w-", "x", "z"][(m % 5) as usize];
                group.stage(&change(&format!("{first}/{n}/{m}"), m)).await.unwrap();
            }
            group.commit(Some((batch_path(n), &[1; 10])), AuditHead::default()).await.unwrap();
        });
    }
    let mut seen = Vec::new();
    let report = block_on(store.verify_digest("node", &mut |records| seen.push(records))).unwrap();
    assert!(report.is_sound());
    assert_eq!((report.records, report.head.commits), (2700, 30));
    assert!(seen.len() >= 3 && seen.is_sorted() && seen.last() == Some(&2700));
}

#[test]
fn the_digest_is_verified_while_commits_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let fjall: Arc<dyn Backend> =
        Arc::new(FjallBackend::create(&dir.path().join("store")).unwrap());
    for backend in [fjall, Arc::new(MemoryBackend::new())] {
        let (store, mut writer) = open(backend);
        for n in 0..30u64 {
            block_on(async {
                let mut group = writer.begin();
                for m in 0..90 {
                    group.stage(&change(&format!("k/{n}/{m}"), m)).await.unwrap();
                }
                group.commit(None, AuditHead::default()).await.unwrap();
            });
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    put(&mut writer, &format!("k/{}/{}", n % 30, n % 97), n);
                }
            });
            let mut revisions = Vec::new();
            for _ in 0..20 {
                revisions.push(assert_sound(&store).at);
            }
            assert!(revisions.is_sorted() && revisions.first() < revisions.last());
            stop.store(true, Ordering::Relaxed);
        });
    }
}

/// A member: what it puts and deletes, by number of path.
type Member = Vec<(u8, Option<u64>)>;

fn members() -> impl Strategy<Value = Vec<Vec<Member>>> {
    let write = (0u8..20, proptest::option::weighted(0.7, any::<u64>()));
    let member = proptest::collection::vec(write, 0..4);
    proptest::collection::vec(proptest::collection::vec(member, 0..5), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_history_leaves_what_it_says_and_the_digest_of_it(groups in members()) {
        let (store, mut writer) = world();
        let mut expected: BTreeMap<Path, u64> = BTreeMap::new();
        for members in groups {
            block_on(async {
                let mut pending: Vec<&Member> = members.iter().collect();
                while !pending.is_empty() {
                    let mut group = writer.begin();
                    let mut later = Vec::new();
                    for member in pending {
                        let mut changes = Changes::new();
                        let mut after = expected.clone();
                        for (number, value) in member {
                            let at = path(&format!("k/{number}"));
                            if changes.written().any(|seen| *seen == at) { continue }
                            match value {
                                Some(value) => {
                                    changes.put(&at, value).unwrap();
                                    after.insert(at, *value);
                                }
                                None => {
                                    changes.delete(&at);
                                    after.remove(&at);
                                }
                            }
                        }
                        match group.stage(&changes).await.unwrap() {
                            Staged::Done(_) => expected = after,
                            Staged::Full => later.push(member),
                            Staged::Conflict(_) => panic!(),
                        }
                    }
                    group.commit(None, AuditHead::default()).await.unwrap();
                    pending = later;
                }
            });
        }
        let found = block_on(store.scan::<u64>("k/", None, 1000)).unwrap();
        let found: BTreeMap<Path, u64> =
            found.records.into_iter().map(|(at, found)| (at, found.value)).collect();
        prop_assert_eq!(&found, &expected);
        let report = block_on(store.verify_digest("node", &mut |_| ())).unwrap();
        prop_assert!(report.is_sound());
        prop_assert_eq!(expected.is_empty(), report.computed == StateDigest::EMPTY.to_bytes());
    }
}

#[test]
fn a_digest_scan_overtaken_by_a_purge_begins_again() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let store = common::store(Arc::clone(&backend));
    let mut writer = block_on(Writer::open(store.clone(), "node")).unwrap();
    for n in 0..1001 {
        put(&mut writer, &format!("k/{n:04}"), n);
    }
    let mut purges = 0;
    let mut overtake = |_| {
        if purges < 2 {
            purges += 1;
            block_on(backend.purge()).unwrap();
        }
    };
    let report = block_on(store.verify_digest("node", &mut overtake)).unwrap();
    assert!(report.is_sound());
    assert_eq!((report.records, purges), (1001, 2));
}
