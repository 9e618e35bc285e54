//! The hashes of the perfect subtrees of 256 entries and more of the whole log, so that a proof
//! reads at most a few hundred entries however long the log is: 32 bytes for each 256 entries,
//! and as much again for the levels above.
//!
//! All of it can be made again from the entries and none of it is trusted: [`Tree::agrees`] holds
//! it against the log's frontier, and whatever is answered was verified before.

pub(crate) mod file;
mod keep;
mod prove;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::merkle::{Hash, node_hash};
use crate::proof::{Node, subtrees};

/// The binary logarithm of the entries below the smallest subtree that is kept.
pub(crate) const LEVEL: u8 = 8;
/// How many entries that are.
pub const WIDTH: u64 = 1 << LEVEL;

/// The kept hashes of one log.
#[derive(Debug, Default)]
pub struct Tree {
    /// The subtrees of 256 entries, of 512, and so on, each complete as far as it goes.
    levels: RwLock<Vec<Vec<Hash>>>,
    /// Rung when a check failed: everything is made again.
    pub(crate) spoiled: tokio::sync::Notify,
    /// How often everything was made again.
    pub(crate) rebuilds: AtomicU64,
}

impl Tree {
    fn read<T>(&self, with: impl FnOnce(&[Vec<Hash>]) -> T) -> T {
        with(&self.levels.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many subtrees of 256 entries are known.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.read(|levels| levels.first().map_or(0, Vec::len) as u64)
    }

    /// How often everything was made again, since the start.
    #[must_use]
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the hashes of the next subtrees of 256 entries.
    pub(crate) fn extend(&self, hashes: &[Hash]) {
        let mut levels = self.levels.write().unwrap_or_else(PoisonError::into_inner);
        for hash in hashes {
            let mut carried = *hash;
            for level in 0.. {
                if level == levels.len() {
                    levels.push(Vec::new());
                }
                let Some(row) = levels.get_mut(level) else { break };
                row.push(carried);
                // INVARIANT: of each full pair, and of nothing else, the level above has the hash.
                let ([.., [left, right]], []) = row.as_chunks::<2>() else { break };
                carried = node_hash(left, right);
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.levels.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The hash of a subtree of 256 entries or more, if it is known.
    pub(crate) fn get(&self, node: Node) -> Option<Hash> {
        let level = usize::from(node.level.checked_sub(LEVEL)?);
        let index = usize::try_from(node.index).ok()?;
        self.read(|levels| levels.get(level)?.get(index).copied())
    }

    /// Whether what is known is what the log's frontier says, as far as both go.
    pub(crate) fn agrees(&self, size: u64, frontier: &[Hash]) -> bool {
        let whole = 0..size & !(WIDTH - 1);
        subtrees(whole)
            .into_iter()
            .zip(frontier)
            .all(|(node, wanted)| self.get(node).is_none_or(|found| found == *wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{self, leaf_hash};

    #[test]
    fn levels_are_those_of_the_tree_and_a_changed_hash_is_seen() {
        let leaves: Vec<Hash> = (0u32..3000).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let mut frontier = Vec::new();
        for (at, leaf) in leaves.iter().enumerate() {
            merkle::push(&mut frontier, at as u64, *leaf);
        }
        let fold = |leaves: &[Hash]| {
            let mut frontier = Vec::new();
            for (at, leaf) in leaves.iter().enumerate() {
                merkle::push(&mut frontier, at as u64, *leaf);
            }
            merkle::root(&frontier)
        };
        let tiles: Vec<Hash> = leaves.as_chunks::<256>().0.iter().map(|tile| fold(tile)).collect();
        assert_eq!(tiles.len(), 11);
        let tree = Tree::default();
        for tile in &tiles {
            tree.extend(std::slice::from_ref(tile));
            assert!(tree.agrees(3000, &frontier));
        }
        assert_eq!(tree.get(Node { level: 11, index: 0 }), Some(fold(&leaves[..2048])));
        assert_eq!(tree.get(Node { level: 9, index: 4 }), Some(fold(&leaves[2048..2560])));
        assert_eq!(tree.get(Node { level: 9, index: 5 }), None);
        for at in 0..tiles.len() {
            let mut spoiled = tiles.clone();
            spoiled[at][0] ^= 1;
            let tree = Tree::default();
            tree.extend(&spoiled);
            assert!(!tree.agrees(3000, &frontier), "tile {at}");
        }
    }
}
