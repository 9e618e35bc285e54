//! For tests, here and on the floors above: the suite every backend passes, operations compared
//! with [`MemoryBackend`], and a backend that fails on demand.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod faulty;
mod suite;

use std::collections::BTreeMap;

pub use faulty::FaultyBackend;
pub use suite::suite;

use crate::backend::{Backend, Check, Commit, Entry, Revision, Txn};
use crate::{MemoryBackend, Path, View};

/// One step of a comparison. Numbers name paths of a small set, so that steps meet.
#[derive(Debug, Clone)]
pub enum Step {
    /// Commit these checks and writes; a write without a value deletes.
    Commit(Vec<(u8, Expect)>, Vec<(u8, Option<Vec<u8>>)>),
    /// Read one path.
    Get(u8),
    /// Read a prefix in pages of this size.
    Scan(u8, usize),
}

/// What a step expects to find at a path.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// What is there.
    Current,
    /// The revision before the one that is there.
    Stale,
}

/// Runs the steps on `backend`, which must be fresh, and on a memory backend, and compares all
/// answers. Revisions are compared by equality of order, because engines count differently.
///
/// # Panics
/// When an answer differs.
pub async fn compare(backend: &dyn Backend, steps: &[Step]) {
    let reference = MemoryBackend::new();
    // From revisions of the engine to those of the reference.
    let mut same: BTreeMap<Revision, Revision> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Commit(checks, writes) => {
                let ours = transaction(backend, checks, writes).await;
                let theirs = transaction(&reference, checks, writes).await;
                match (backend.commit(ours).await.unwrap(), reference.commit(theirs).await.unwrap())
                {
                    (Commit::Committed(a), Commit::Committed(b)) => {
                        let newest = same.last_key_value().map(|(a, _)| *a);
                        assert!(newest.is_none_or(|newest| a > newest), "step {number}: {a:?}");
                        same.insert(a, b);
                    }
                    (a, b) => assert_eq!(a, b, "step {number}: {step:?}"),
                }
            }
            Step::Get(n) => {
                let path = numbered(*n);
                let ours = backend.get(&path).await.unwrap();
                let theirs = reference.get(&path).await.unwrap();
                assert_eq!(ours.map(|e| translate(e, &same)), theirs, "step {number}: {step:?}");
            }
            Step::Scan(n, limit) => {
                let prefix = prefix(*n);
                let ours = everything(backend, prefix, *limit).await;
                let ours: Vec<Entry> = ours.into_iter().map(|e| translate(e, &same)).collect();
                let theirs = everything(&reference, prefix, *limit).await;
                assert_eq!(ours, theirs, "step {number}: {step:?}");
            }
        }
    }
    let ours = everything(backend, "", 7).await;
    let ours: Vec<Entry> = ours.into_iter().map(|e| translate(e, &same)).collect();
    assert_eq!(ours, everything(&reference, "", 7).await, "at the end");
}

/// All entries under a prefix, in pages pinned to the first page's revision.
///
/// # Panics
/// When the engine fails.
pub async fn everything(backend: &dyn Backend, prefix: &str, limit: usize) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut view = View::Hold;
    loop {
        let after = all.last().map(|entry| entry.path.clone());
        let page = backend.scan(prefix, after.as_ref(), limit.max(1), view).await.unwrap();
        assert!(view == View::Hold || view == View::At(page.at), "the revision moved");
        view = View::At(page.at);
        all.extend(page.entries);
        if !page.more {
            return all;
        }
    }
}

async fn transaction(
    backend: &dyn Backend,
    checks: &[(u8, Expect)],
    writes: &[(u8, Option<Vec<u8>>)],
) -> Txn {
    let mut txn = Txn::new();
    for (n, expect) in checks {
        let path = numbered(*n);
        if txn.is_checked(&path) {
            continue;
        }
        let found = backend.get(&path).await.unwrap();
        let check = match (expect, found) {
            (Expect::Current, Some(entry)) => Check::Revision(path, entry.revision),
            (Expect::Stale, Some(entry)) => {
                Check::Revision(path, Revision(entry.revision.0.saturating_sub(1)))
            }
            (Expect::Stale, None) => Check::Revision(path, Revision(1)),
            (Expect::Absent, _) | (Expect::Current, None) => Check::Absent(path),
        };
        txn.check(check).unwrap();
    }
    for (n, value) in writes {
        let path = numbered(*n);
        if txn.is_written(&path) {
            continue;
        }
        match value {
            Some(value) => txn.put(path, value.clone()).unwrap(),
            None => txn.delete(path).unwrap(),
        };
    }
    txn
}

fn translate(mut entry: Entry, same: &BTreeMap<Revision, Revision>) -> Entry {
    let found = same.get(&entry.revision);
    entry.revision =
        *found.unwrap_or_else(|| panic!("{entry:?} is of no commit that was answered"));
    entry
}

// On both sides of the log's place in the order, and inside.
const PREFIXES: [&str; 8] = ["", "a", "a/", "w", "w/", "w/node", "x", "z"];
const NAMES: [&str; 8] = ["a", "a/b", "a.b", "w", "w-x", "w/node", "w0", "z/z"];

fn prefix(n: u8) -> &'static str {
    PREFIXES[usize::from(n) % PREFIXES.len()]
}

fn numbered(n: u8) -> Path {
    let (name, tail) = (NAMES[usize::from(n) % NAMES.len()], usize::from(n) / NAMES.len() % 4);
    let text = if tail == 0 { name.to_owned() } else { format!("{name}/{tail}") };
    Path::new(&text).unwrap()
}
