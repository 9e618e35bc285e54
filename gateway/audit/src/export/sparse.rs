//! A tree of which only some leaves are shown: entries of an export, and for every gap between them
//! the hashes of the complete subtrees that lie in it (RFC 6962 §2.1). One pass over both gives the
//! root, so all entries of a range or of a filter are proven at once.

use crate::merkle::{self, Hash, node_hash};

/// The complete subtrees that cover the positions from `from` to before `to`, left to right, each
/// as large as its place allows: their levels.
pub fn cover(from: u64, to: u64) -> impl Iterator<Item = u32> {
    let mut at = from;
    std::iter::from_fn(move || {
        let left = to.checked_sub(at).filter(|left| *left > 0)?;
        let level = at.trailing_zeros().min(left.ilog2());
        at = at.checked_add(1u64.checked_shl(level)?)?;
        Some(level)
    })
}

/// Leaves that are not shown, one after the other.
#[derive(Debug)]
pub struct Gap {
    from: u64,
    next: u64,
    subtrees: Vec<(u32, Hash)>,
}

impl Gap {
    /// A gap that begins at this position.
    #[must_use]
    pub const fn new(from: u64) -> Self {
        Self { from, next: from, subtrees: Vec::new() }
    }

    /// Takes the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let (mut level, mut hash, at) = (0, leaf, self.next);
        self.next += 1;
        // A pair merges when the left one is as large and where such a pair may begin.
        while let Some((_, left)) = self.subtrees.pop_if(|(below, _)| {
            let size = 1u64 << level;
            *below == level && (at + 1).is_multiple_of(2 * size) && at + 1 - 2 * size >= self.from
        }) {
            hash = node_hash(&left, &hash);
            level += 1;
        }
        self.subtrees.push((level, hash));
    }

    /// Where it begins.
    #[must_use]
    pub const fn from(&self) -> u64 {
        self.from
    }

    /// Behind its last leaf.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.next
    }

    /// The hashes of the subtrees of [`cover`].
    pub fn hashes(&self) -> impl Iterator<Item = &Hash> {
        self.subtrees.iter().map(|(_, hash)| hash)
    }
}

/// A tree that grows by leaves and by complete subtrees.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    size: u64,
    frontier: Vec<Hash>,
}

impl Tree {
    /// How many leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        merkle::push(&mut self.frontier, self.size, leaf);
        self.size += 1;
    }

    /// Adds a complete subtree; false where none of this level can begin.
    #[must_use]
    pub fn push_subtree(&mut self, level: u32, hash: Hash) -> bool {
        let Some(leaves) = 1u64.checked_shl(level) else { return false };
        let (true, Some(size)) = (self.size.is_multiple_of(leaves), self.size.checked_add(leaves))
        else {
            return false;
        };
        // The same carry, some levels up.
        merkle::push(&mut self.frontier, self.size >> level, hash);
        self.size = size;
        true
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        merkle::root(&self.frontier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(index: u64) -> Hash {
        merkle::leaf_hash(&index.to_be_bytes())
    }

    #[test]
    fn every_choice_of_shown_leaves_gives_the_root() {
        for size in 0..=11u64 {
            let mut whole = Tree::default();
            (0..size).for_each(|index| whole.push(leaf(index)));
            for shown in 0..1u64 << size {
                let mut tree = Tree::default();
                let mut gap: Option<Gap> = None;
                for index in 0..=size {
                    let is_shown = index == size || shown >> index & 1 == 1;
                    if is_shown && let Some(gap) = gap.take() {
                        let levels: Vec<u32> = cover(gap.from(), gap.end()).collect();
                        assert_eq!(levels.len(), gap.hashes().count());
                        for (level, hash) in levels.into_iter().zip(gap.hashes()) {
                            assert!(tree.push_subtree(level, *hash));
                        }
                    }
                    if index < size && is_shown {
                        tree.push(leaf(index));
                    } else if index < size {
                        gap.get_or_insert_with(|| Gap::new(index)).push(leaf(index));
                    }
                }
                assert_eq!((tree.size(), tree.root()), (size, whole.root()), "{size} {shown:b}");
            }
        }
    }

    #[test]
    fn covers_of_far_places_end() {
        assert_eq!(cover(0, u64::MAX).count(), 64);
        assert_eq!(cover(5, 5).count(), 0);
        assert_eq!(cover(6, 5).count(), 0);
        assert_eq!(cover(1, 8).collect::<Vec<_>>(), [0, 1, 2]);
        let mut tree = Tree::default();
        assert!(!tree.push_subtree(64, [0; 32]));
        tree.push([0; 32]);
        assert!(!tree.push_subtree(1, [0; 32]));
    }
}
