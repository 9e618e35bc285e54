//! How cached values learn that they are stale: a fixed table of counters, one of which goes up for
//! every path that changes. Paths that share a counter make each other stale too often, never too
//! seldom.
//!
//! INVARIANT: a counter is read before the path is (by whoever makes a value), and raised after the
//! change is visible and before its commit returns (by the writer). So a value made from the old
//! record carries the old count, whatever the interleaving: either the count was read before it was
//! raised, or the record was read after the change was visible.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Path;

const SLOTS: usize = 4096;

pub(crate) struct Generations {
    slots: Box<[AtomicU64]>,
    // Keyed, so that nobody can choose paths that share a counter with a busy one.
    hasher: RandomState,
}

impl Generations {
    pub(crate) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, hasher: RandomState::new() }
    }

    pub(crate) fn bump(&self, path: &Path) {
        if let Some(slot) = self.slots.get(self.index(path)) {
            // SeqCst: a plain reading of the argument above, at no price where it matters.
            slot.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn bump_all(&self) {
        for slot in &self.slots {
            slot.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn index(&self, path: &Path) -> usize {
        let hash = self.hasher.hash_one(path.as_bytes());
        usize::try_from(hash % SLOTS as u64).unwrap_or(0)
    }

    fn now(&self, index: usize) -> u64 {
        self.slots.get(index).map_or(0, |slot| slot.load(Ordering::SeqCst))
    }
}

impl std::fmt::Debug for Generations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generations({SLOTS})")
    }
}

/// What a value is made from. Begin with [`Store::stamp`](crate::Store::stamp), call
/// [`Stamp::watch`] for each path **before** reading it, and give the stamp to
/// [`Cache::insert`](crate::Cache::insert) with the value made from what was read.
#[derive(Debug, Clone)]
pub struct Stamp {
    generations: Arc<Generations>,
    watched: Vec<(usize, u64)>,
}

impl Stamp {
    pub(crate) fn new(generations: Arc<Generations>) -> Self {
        Self { generations, watched: Vec::with_capacity(2) }
    }

    /// Makes the value stale once `path` changes, from now on. Also for paths where nothing is yet.
    pub fn watch(&mut self, path: &Path) -> &mut Self {
        let index = self.generations.index(path);
        // The first count stands: what was read after it may be older than a later one.
        if !self.watched.iter().any(|(seen, _)| *seen == index) {
            self.watched.push((index, self.generations.now(index)));
        }
        self
    }

    /// Whether nothing watched has changed since. A stamp that watches nothing is always current.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.watched.iter().all(|(index, count)| self.generations.now(*index) == *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_after_the_watch_shows() {
        let generations = Arc::new(Generations::new());
        let (a, b) = (Path::new("a").unwrap(), Path::new("b").unwrap());
        let mut stamp = Stamp::new(Arc::clone(&generations));
        stamp.watch(&a);
        assert!(stamp.is_current());
        generations.bump(&a);
        assert!(!stamp.is_current());
        // Watching again does not forget the change.
        stamp.watch(&a);
        assert!(!stamp.is_current());
        let mut stamp = Stamp::new(Arc::clone(&generations));
        stamp.watch(&b);
        generations.bump_all();
        assert!(!stamp.is_current());
    }
}
