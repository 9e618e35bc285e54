//! The cache never yields a value made from what a commit has replaced, and lets go at once.

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
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Random, commit, path, put, store};
use hub_store::{Cache, Changes, MemoryBackend, Path, Store, Writer, block_on};

/// Where a reader begins to watch a path. Only one of them is right.
#[derive(Clone, Copy, PartialEq)]
enum Watch {
    BeforeReading,
    AfterReading,
}

/// Readers fill the cache and use it while one writer commits; counts values that were older than
/// a commit which had returned before they were asked for.
fn violations(watch: Watch, duration: Duration) -> (u64, u64) {
    const PATHS: usize = 6;
    const READERS: u64 = 4;
    let store = store(Arc::new(MemoryBackend::new()));
    let mut writer = block_on(Writer::open(store.clone(), "node")).unwrap();
    let paths: Vec<Path> = (0..PATHS).map(|n| path(&format!("k/{n}"))).collect();
    for path in &paths {
        put(&mut writer, path.as_str(), 0);
    }
    // The newest value of each path whose commit has returned.
    let floors: Vec<AtomicU64> = (0..PATHS).map(|_| AtomicU64::new(0)).collect();
    // A value is made from two records, one key per ordered pair.
    let cache: Cache<(usize, usize), (u64, u64)> = Cache::new("test", 1000);
    let (stop, bad, hits) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));

    let load = |key: (usize, usize), random: &mut Random| -> (u64, u64) {
        let mut stamp = store.stamp();
        let read = |n: usize| block_on(store.read::<u64>(&paths[n])).unwrap().unwrap().value;
        if watch == Watch::BeforeReading {
            stamp.watch(&paths[key.0]).watch(&paths[key.1]);
        }
        let first = read(key.0);
        pause(random);
        let value = (first, read(key.1));
        pause(random);
        if watch == Watch::AfterReading {
            stamp.watch(&paths[key.0]).watch(&paths[key.1]);
        }
        cache.insert(key, Arc::new(value), stamp);
        value
    };
    std::thread::scope(|scope| {
        for seed in 0..READERS {
            let (stop, bad, hits, floors, cache, load) =
                (&stop, &bad, &hits, &floors, &cache, &load);
            scope.spawn(move || {
                let mut random = Random(seed);
                while !stop.load(Ordering::Relaxed) {
                    let key = (random.below(6) as usize, random.below(6) as usize);
                    let floor = [key.0, key.1].map(|n| floors[n].load(Ordering::SeqCst));
                    let found = cache.get(&key);
                    let value = match found {
                        Some(value) => {
                            hits.fetch_add(1, Ordering::Relaxed);
                            *value
                        }
                        None => load(key, &mut random),
                    };
                    if value.0 < floor[0] || value.1 < floor[1] {
                        bad.fetch_add(1, Ordering::Relaxed);
                    }
                    if random.below(500) == 0 {
                        cache.sweep();
                    }
                }
            });
        }
        let mut random = Random(99);
        let start = Instant::now();
        let mut number = 0;
        while start.elapsed() < duration {
            number += 1;
            let mut changes = Changes::new();
            let first = random.below(PATHS as u64) as usize;
            changes.put(&paths[first], &number).unwrap();
            let second = random.below(PATHS as u64) as usize;
            if second != first {
                changes.put(&paths[second], &number).unwrap();
            }
            commit(&mut writer, &changes);
            floors[first].store(number, Ordering::SeqCst);
            if second != first {
                floors[second].store(number, Ordering::SeqCst);
            }
            // Now and then long enough for the cache to be full of current values.
            if random.below(20) == 0 {
                std::thread::sleep(Duration::from_micros(random.below(300)));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    (bad.into_inner(), hits.into_inner())
}

fn pause(random: &mut Random) {
    match random.below(8) {
        0 => std::thread::yield_now(),
        1 => std::thread::sleep(Duration::from_micros(random.below(50))),
        _ => {}
    }
}

#[test]
fn no_value_outlives_the_commit_that_replaced_it() {
    let (bad, hits) = violations(Watch::BeforeReading, Duration::from_secs(4));
    assert_eq!(bad, 0);
    assert!(hits > 1000, "only {hits} hits: the test tested nothing");
}

#[test]
fn the_test_above_would_notice() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        if violations(Watch::AfterReading, Duration::from_millis(500)).0 > 0 {
            return;
        }
    }
    panic!("a cache that watches too late was not found out");
}

/// Counts those alive.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Arc<Self> {
        count.fetch_add(1, Ordering::SeqCst);
        Arc::new(Self(count))
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn world() -> (Store, Writer) {
    let store = store(Arc::new(MemoryBackend::new()));
    let writer = block_on(Writer::open(store.clone(), "node")).unwrap();
    (store, writer)
}

fn stamp(store: &Store, on: &str) -> hub_store::Stamp {
    let mut stamp = store.stamp();
    stamp.watch(&path(on));
    stamp
}

/// A world in which a change of `k/1` or `k/2` makes no other of these paths stale.
/// Counters are shared by chance (4,096 of them, a hash with a key of the process), one time in forty here.
fn world_without_neighbours(count: u32) -> (Store, Writer) {
    for _ in 0..1000 {
        let (store, writer) = world();
        let stamps: Vec<_> = (0..count).map(|n| stamp(&store, &format!("k/{n}"))).collect();
        store.invalidate(&path("k/1"));
        store.invalidate(&path("k/2"));
        if stamps.iter().filter(|stamp| !stamp.is_current()).count() == 2 {
            return (store, writer);
        }
    }
    panic!("every change makes others stale");
}

#[test]
fn values_are_dropped_when_they_are_let_go() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    let alive = || ALIVE.load(Ordering::SeqCst);
    let (store, mut writer) = world_without_neighbours(50);
    let cache: Cache<String, Counted<'static>> = Cache::new("test", 100);
    let fill = |count: u32| {
        for n in 0..count {
            cache.insert(format!("{n}"), Counted::new(&ALIVE), stamp(&store, &format!("k/{n}")));
        }
    };
    // By capacity.
    fill(1000);
    assert!(cache.len() <= 100);
    assert!(alive() <= 100, "{} alive", alive());
    cache.invalidate_all();
    assert_eq!((alive(), cache.len()), (0, 0));
    // By a commit, found by asking or by sweeping.
    fill(50);
    put(&mut writer, "k/1", 1);
    put(&mut writer, "k/2", 1);
    assert!(cache.get("1").is_none());
    assert!(cache.get("3").is_some());
    assert_eq!(alive(), 49);
    assert_eq!(cache.sweep(), 1);
    assert_eq!(alive(), 48);
    // By replacing, by key, and all at once; who uses one keeps it.
    cache.insert("3".to_owned(), Counted::new(&ALIVE), stamp(&store, "k/3"));
    assert_eq!(alive(), 48);
    cache.invalidate("3");
    assert_eq!(alive(), 47);
    let used = cache.get("4").unwrap();
    store.invalidate_all();
    assert_eq!(cache.sweep(), 47);
    assert_eq!(alive(), 1);
    drop(used);
    assert_eq!(alive(), 0);
}

#[test]
fn a_stale_value_is_not_kept() {
    let (store, mut writer) = world();
    let cache: Cache<u32, u32> = Cache::weighted("test", 10);
    let early = stamp(&store, "k/1");
    put(&mut writer, "k/1", 1);
    cache.insert(1, Arc::new(1), early);
    assert!(cache.get(&1).is_none() && cache.is_empty());
    // A path where nothing is can be watched, too, and a deletion is a change.
    let absent = stamp(&store, "k/2");
    cache.insert_weighted(2, Arc::new(2), absent, 5);
    assert_eq!(cache.get(&2).as_deref(), Some(&2));
    put(&mut writer, "k/2", 1);
    assert!(cache.get(&2).is_none());
    cache.insert(2, Arc::new(2), stamp(&store, "k/2"));
    let mut changes = Changes::new();
    changes.delete(&path("k/2"));
    commit(&mut writer, &changes);
    assert!(cache.get(&2).is_none());
    // What is heavier than the cache does not stay.
    cache.insert_weighted(3, Arc::new(3), store.stamp(), 11);
    assert!(cache.is_empty() && cache.get(&3).is_none());
}
