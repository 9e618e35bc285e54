//! Stored bytes changed from outside, record by record: nothing wrong is served, nothing goes
//! unnoticed.

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

use common::{Random, commit, keys, path, put};
use hub_store::{
    Backend, Changes, Error, FjallBackend, MemoryBackend, Path, Store, Writer, block_on,
};

/// An engine whose bytes can be changed behind its back.
trait Editable: Backend {
    fn edit(&self, path: &Path, value: Option<Vec<u8>>);
}

impl Editable for MemoryBackend {
    fn edit(&self, path: &Path, value: Option<Vec<u8>>) {
        self.danger_edit(path, value).unwrap();
    }
}

impl Editable for FjallBackend {
    fn edit(&self, path: &Path, value: Option<Vec<u8>>) {
        self.danger_edit(path, value).unwrap();
    }
}

struct World<B> {
    backend: Arc<B>,
    store: Store,
    writer: Writer,
    paths: Vec<Path>,
    /// What each path held once, sealed.
    old: Vec<Vec<u8>>,
}

const RECORDS: u64 = 40;

fn world<B: Editable + 'static>(backend: B) -> World<B> {
    let backend = Arc::new(backend);
    let store = Store::new(backend.clone(), keys());
    let mut writer = block_on(Writer::open(store.clone(), "node")).unwrap();
    let paths: Vec<Path> = (0..RECORDS).map(|n| path(&format!("k/{n}"))).collect();
    for (n, path) in (0..).zip(&paths) {
        put(&mut writer, path.as_str(), n);
    }
    let old = paths.iter().map(|path| stored(&*backend, path)).collect();
    for (n, path) in (0..).zip(&paths) {
        put(&mut writer, path.as_str(), n + 1000);
    }
    World { backend, store, writer, paths, old }
}

fn stored(backend: &dyn Backend, path: &Path) -> Vec<u8> {
    block_on(backend.get(path)).unwrap().unwrap().value
}

fn sound(store: &Store) -> bool {
    block_on(store.verify_digest("node", &mut |_| ())).unwrap().is_sound()
}

/// Each kind of edit at random places; each is undone, so that the next one stands alone.
fn every_edit_is_noticed<B: Editable + 'static>(world: &mut World<B>, rounds: u64, seed: u64) {
    let mut random = Random(seed);
    assert!(sound(&world.store));
    for round in 0..rounds {
        let victim = random.below(RECORDS) as usize;
        let other = (victim + 1 + random.below(RECORDS - 1) as usize) % RECORDS as usize;
        let (at, from) = (&world.paths[victim], &world.paths[other]);
        let (good, foreign) = (stored(&*world.backend, at), stored(&*world.backend, from));
        let served = |at: &Path| block_on(world.store.read::<u64>(at));
        let tampered = |at: &Path| matches!(served(at), Err(Error::Tampered { .. }));
        match round % 6 {
            0 => {
                let mut bytes = good.clone();
                let bit = random.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
                world.backend.edit(at, Some(bytes));
                assert!(tampered(at), "bit {bit} of {at}");
            }
            1 => {
                let length = random.below(good.len() as u64) as usize;
                world.backend.edit(at, Some(good[..length].to_vec()));
                assert!(tampered(at), "cut to {length}");
            }
            2 => {
                world.backend.edit(at, Some(foreign.clone()));
                world.backend.edit(from, Some(good.clone()));
                assert!(tampered(at) && tampered(from), "swapped");
                assert!(!sound(&world.store));
                world.backend.edit(from, Some(foreign));
            }
            3 => {
                // It opens: only the digest knows.
                world.backend.edit(at, Some(world.old[victim].clone()));
                assert_eq!(served(at).unwrap().unwrap().value, victim as u64);
            }
            4 => {
                world.backend.edit(at, None);
                assert!(served(at).unwrap().is_none());
            }
            _ => {
                let new = path(&format!("k/{victim}x"));
                world.backend.edit(&new, Some(good.clone()));
                assert!(tampered(&new));
                assert!(!sound(&world.store), "added");
                world.backend.edit(&new, None);
                assert!(sound(&world.store));
                continue;
            }
        }
        assert!(!sound(&world.store), "round {round}");
        world.backend.edit(at, Some(good));
        assert!(sound(&world.store), "round {round} undone");
    }
}

#[test]
fn edits_in_memory() {
    every_edit_is_noticed(&mut world(MemoryBackend::new()), 3000, 1);
}

#[test]
fn edits_in_fjall() {
    let dir = tempfile::tempdir().unwrap();
    let backend = FjallBackend::create(&dir.path().join("store")).unwrap();
    let mut world = world(backend);
    world.backend.flush_tables().unwrap();
    every_edit_is_noticed(&mut world, 600, 2);
}

#[test]
fn an_edit_stays_noticed_after_the_record_is_written_again() {
    for replay in [false, true] {
        let mut world = world(MemoryBackend::new());
        let at = world.paths[3].clone();
        world.backend.edit(&at, replay.then(|| world.old[3].clone()));
        put(&mut world.writer, at.as_str(), 7);
        assert_eq!(block_on(world.store.read::<u64>(&at)).unwrap().unwrap().value, 7);
        assert!(!sound(&world.store));
        let mut changes = Changes::new();
        changes.delete(&at);
        commit(&mut world.writer, &changes);
        assert!(!sound(&world.store));
    }
}

#[test]
fn the_head_is_sealed_like_everything_else() {
    let mut world = world(MemoryBackend::new());
    let head = path("w/node/head");
    let good = stored(&*world.backend, &head);
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    world.backend.edit(&head, Some(bad));
    let outcome = block_on(world.store.verify_digest("node", &mut |_| ()));
    assert!(matches!(outcome, Err(Error::Tampered { .. })));
    let outcome = block_on(Writer::open(world.store.clone(), "node"));
    assert!(matches!(outcome, Err(Error::Tampered { .. })));
    // Another writer's head, a deleted and an old one.
    world.backend.edit(&head, Some(good.clone()));
    let mut other = block_on(Writer::open(world.store.clone(), "other")).unwrap();
    put(&mut other, "x", 1);
    world.backend.edit(&path("x"), None);
    assert!(sound(&world.store));
    world.backend.edit(&head, Some(stored(&*world.backend, &path("w/other/head"))));
    assert!(block_on(Writer::open(world.store.clone(), "node")).is_err());
    world.backend.edit(&head, None);
    assert!(!sound(&world.store));
    world.backend.edit(&head, Some(good.clone()));
    world.writer = block_on(Writer::open(world.store.clone(), "node")).unwrap();
    put(&mut world.writer, "k/1", 5);
    world.backend.edit(&head, Some(good));
    assert!(!sound(&world.store));
}

#[test]
fn a_page_with_a_wrong_record_is_not_served() {
    let world = world(MemoryBackend::new());
    let mut bytes = stored(&*world.backend, &world.paths[5]);
    bytes[10] ^= 4;
    world.backend.edit(&world.paths[5], Some(bytes));
    let outcome = block_on(world.store.scan::<u64>("k/", None, 100));
    assert!(matches!(outcome, Err(Error::Tampered { path }) if path == world.paths[5]));
}

#[test]
fn other_keys_open_nothing() {
    let world = world(MemoryBackend::new());
    let stranger = Store::new(world.backend.clone(), keys());
    let outcome = block_on(stranger.read::<u64>(&world.paths[0]));
    assert!(matches!(outcome, Err(Error::Tampered { .. })));
    assert!(block_on(Writer::open(stranger, "node")).is_err());
}
