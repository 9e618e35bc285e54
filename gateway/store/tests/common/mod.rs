//! Shared by the test binaries.
#![allow(dead_code, reason = "each binary uses a part")]

use std::path::Path as FilePath;
use std::sync::Arc;

use hub_crypto::{RootKey, Secret, SystemKeys};
use hub_model::HubId;
use hub_store::{AuditHead, Backend, Changes, Path, Staged, Store, Writer, block_on};

pub(crate) fn path(text: &str) -> Path {
    Path::new(text).unwrap()
}

pub(crate) fn keys() -> Arc<SystemKeys> {
    Arc::new(SystemKeys::generate().unwrap())
}

pub(crate) fn store(backend: Arc<dyn Backend>) -> Store {
    Store::new(backend, keys())
}

fn root() -> RootKey {
    RootKey::from_secret(Secret::copy_from(&[7; 32]).unwrap(), 1).unwrap()
}

/// Leaves keys in a file, for a child process.
pub(crate) fn save_keys(file: &FilePath) -> Arc<SystemKeys> {
    let keys = keys();
    std::fs::write(file, keys.wrap(&root(), HubId::from_bytes([1; 16]))).unwrap();
    keys
}

pub(crate) fn load_keys(file: &FilePath) -> Arc<SystemKeys> {
    let wrapped = std::fs::read(file).unwrap();
    Arc::new(SystemKeys::unwrap(&root(), HubId::from_bytes([1; 16]), &wrapped).unwrap())
}

/// Stages and commits one member without an audit batch.
pub(crate) fn commit(writer: &mut Writer, changes: &Changes) {
    block_on(async {
        let mut group = writer.begin();
        assert!(matches!(group.stage(changes).await.unwrap(), Staged::Done(_)));
        group.commit(None, AuditHead::default()).await.unwrap();
    });
}

pub(crate) fn put(writer: &mut Writer, at: &str, value: u64) {
    let mut changes = Changes::new();
    changes.put(&path(at), &value).unwrap();
    commit(writer, &changes);
}

/// The next commit of a history that can be told from its number: record `k/<n mod slots>` is
/// `n`, the audit batch `w/node/e/<n>` is `entry n`, and the chain runs over the batches.
pub(crate) fn numbered_commit(writer: &mut Writer, slots: u64) -> u64 {
    let number = writer.head().commits + 1;
    let mut changes = Changes::new();
    changes.put(&path(&format!("k/{}", number % slots)), &number).unwrap();
    if number.is_multiple_of(7) {
        changes.delete(&path(&format!("k/{}", (number + 1) % slots)));
    }
    let batch = format!("entry {number}").into_bytes();
    let chain = chained(writer.head().audit.chain, &batch);
    let audit = AuditHead { size: number, chain, frontier: vec![] };
    block_on(async {
        let mut group = writer.begin();
        assert!(matches!(group.stage(&changes).await.unwrap(), Staged::Done(Some(_))));
        group.commit(Some((batch_path(number), &batch)), audit).await.unwrap();
    });
    number
}

/// What `numbered_commit` leaves in the records after this many commits.
pub(crate) fn expected_records(
    commits: u64,
    slots: u64,
) -> std::collections::BTreeMap<String, u64> {
    let mut records = std::collections::BTreeMap::new();
    for number in 1..=commits {
        if number.is_multiple_of(7) {
            records.remove(&format!("k/{}", (number + 1) % slots));
        }
        records.insert(format!("k/{}", number % slots), number);
    }
    records
}

pub(crate) fn batch_path(number: u64) -> Path {
    path(&format!("w/node/e/{number:020}"))
}

pub(crate) fn chained(chain: [u8; 32], batch: &[u8]) -> [u8; 32] {
    hub_crypto::hash::sha256_parts(&[&chain, batch])
}

/// A small generator, so that a seed names a run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
