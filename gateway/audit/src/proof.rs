//! Proofs over the Merkle tree of the log (RFC 6962 §2.1.1 and §2.1.2), and their verification
//! (RFC 9162 §2.1.3.2 and §2.1.4.2): that an entry is in the tree of a checkpoint, that one
//! checkpoint goes on from another, that consecutive entries lie where they should.
//!
//! Each hash of a proof is that of consecutive entries, and such a stretch is cut into perfect
//! subtrees ([`Node`]). Whoever makes proofs only says where hashes of perfect subtrees come from.
//! Verification is strict: every bound is looked at, and a proof has exactly the hashes it needs.

pub mod text;

use std::ops::Range;

use crate::merkle::{self, Hash, node_hash};

/// The most hashes a proof can have: one a level, and one more for consistency.
pub const MAX_HASHES: usize = 65;

/// A perfect subtree: the `2^level` entries from `index · 2^level` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// The binary logarithm of the number of entries; 0 for an entry.
    pub level: u8,
    /// Which subtree of its level, from the left.
    pub index: u64,
}

impl Node {
    /// The entries below.
    #[must_use]
    pub const fn entries(self) -> Range<u64> {
        let first = self.index << self.level;
        first..first + (1 << self.level)
    }
}

/// Why a proof is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A number that does not fit the tree.
    #[error("the entry or the sizes lie outside of the tree")]
    Bounds,
    /// Hashes are missing, or there are more than belong to a proof of these sizes.
    #[error("the proof has not the number of hashes that belong to it")]
    Length,
    /// It leads to another root.
    #[error("the proof does not lead to the root")]
    Root,
}

/// The largest power of two below `count`, which is two or more (RFC 6962 §2.1).
const fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

/// Cuts a stretch of entries into perfect subtrees, from the left. The Merkle tree hash of a
/// stretch that occurs in a proof, and of any that begins at 0, is [`merkle::root`] of their hashes.
#[must_use]
pub fn subtrees(entries: Range<u64>) -> Vec<Node> {
    let Range { mut start, end } = entries;
    let mut found = Vec::new();
    while start < end {
        // As large as it may be at this place, and as there are entries left.
        let fits = 63 - (end - start).leading_zeros();
        let level = start.trailing_zeros().min(fits);
        found.push(Node { level: u8::try_from(level).unwrap_or(0), index: start >> level });
        start += 1 << level;
    }
    found
}

/// The stretches whose hashes make up the inclusion proof of entry `index` in the tree of `size`
/// entries: `PATH(m, D[n])` of RFC 6962 §2.1.1, the sibling of the leaf first.
///
/// # Errors
/// [`Refused::Bounds`] when there is no such entry.
pub fn inclusion_stretches(index: u64, size: u64) -> Result<Vec<Range<u64>>, Refused> {
    if index >= size {
        return Err(Refused::Bounds);
    }
    let (mut low, mut high) = (0, size);
    let mut found = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            found.push(middle..high);
            high = middle;
        } else {
            found.push(low..middle);
            low = middle;
        }
    }
    found.reverse();
    Ok(found)
}

/// The stretches whose hashes make up the consistency proof between two sizes: `PROOF(m, D[n])` of
/// RFC 6962 §2.1.2. None between equal sizes and from the empty tree.
///
/// # Errors
/// [`Refused::Bounds`] when `old` is larger than `new`.
pub fn consistency_stretches(old: u64, new: u64) -> Result<Vec<Range<u64>>, Refused> {
    if old > new {
        return Err(Refused::Bounds);
    }
    let mut found = Vec::new();
    if old == 0 {
        return Ok(found);
    }
    // `whole`: the stretch begins at 0, so that its hash, at the end, is the old root itself.
    let (mut low, mut high, mut whole) = (0, new, true);
    while old < high {
        let middle = low + split(high - low);
        if old <= middle {
            found.push(middle..high);
            high = middle;
        } else {
            found.push(low..middle);
            (low, whole) = (middle, false);
        }
    }
    if !whole {
        found.push(low..high);
    }
    found.reverse();
    Ok(found)
}

/// The hashes of stretches, each folded from those of its perfect subtrees.
///
/// # Errors
/// The first one of `hash`.
pub fn fold<E>(
    stretches: Vec<Range<u64>>,
    mut hash: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let one = |stretch| {
        let hashes: Result<Vec<Hash>, E> = subtrees(stretch).into_iter().map(&mut hash).collect();
        Ok(merkle::root(&hashes?))
    };
    stretches.into_iter().map(one).collect()
}

/// The inclusion proof of entry `index` in the tree of `size` entries; `hash` gives the hashes of
/// perfect subtrees.
///
/// # Errors
/// [`Refused::Bounds`], or what `hash` fails with.
pub fn inclusion<E: From<Refused>>(
    index: u64,
    size: u64,
    hash: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    fold(inclusion_stretches(index, size)?, hash)
}

/// The consistency proof between two sizes; `hash` gives the hashes of perfect subtrees.
///
/// # Errors
/// [`Refused::Bounds`], or what `hash` fails with.
pub fn consistency<E: From<Refused>>(
    old: u64,
    new: u64,
    hash: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    fold(consistency_stretches(old, new)?, hash)
}

/// The frontier of the tree of `size` entries, which [`merkle::push`] goes on from and
/// [`merkle::root`] folds; `hash` gives the hashes of perfect subtrees.
///
/// # Errors
/// What `hash` fails with.
pub fn frontier<E>(size: u64, hash: impl FnMut(Node) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
    subtrees(0..size).into_iter().map(hash).collect()
}

/// Checks that the leaf is entry `index` of the tree of `size` entries with this root (RFC 9162
/// §2.1.3.2).
///
/// # Errors
/// [`Refused`].
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), Refused> {
    if index >= size {
        return Err(Refused::Bounds);
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(Refused::Length);
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            // The last node of a level without a sibling is its own parent.
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(Refused::Length);
    }
    if hash == *root { Ok(()) } else { Err(Refused::Root) }
}

/// Checks that the tree of `new_size` entries goes on from the one of `old_size` (RFC 9162
/// §2.1.4.2). Equal sizes need equal roots and no hash; so does the empty tree, whose root is known.
///
/// # Errors
/// [`Refused`].
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), Refused> {
    if old_size > new_size {
        return Err(Refused::Bounds);
    }
    let known = |size, root: &Hash| size != 0 || *root == merkle::empty_root();
    if !known(old_size, old_root) || !known(new_size, new_root) {
        return Err(Refused::Root);
    }
    if old_size == new_size || old_size == 0 {
        let same = old_size == 0 || old_root == new_root;
        return match (proof.is_empty(), same) {
            (true, true) => Ok(()),
            (true, false) => Err(Refused::Root),
            (false, _) => Err(Refused::Length),
        };
    }
    // A perfect old tree is a node of the new one: the proof begins with its root.
    let perfect = old_size.is_power_of_two().then_some(old_root);
    let mut hashes = perfect.into_iter().chain(proof);
    let Some(first) = hashes.next() else { return Err(Refused::Length) };
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old, mut new) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return Err(Refused::Length);
        }
        if at & 1 == 1 || at == last {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new = node_hash(&new, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(Refused::Length);
    }
    if old == *old_root && new == *new_root { Ok(()) } else { Err(Refused::Root) }
}

/// Checks that these leaves are the entries from `first` on in the tree of `size` entries with this
/// root: `frontier` is that of the tree of `first` entries, `proof` the consistency proof from the
/// end of the leaves to `size`. Who has too many leaves for a slice does the same by
/// [`merkle::push`] and [`verify_consistency`].
///
/// # Errors
/// [`Refused`].
pub fn verify_range(
    first: u64,
    frontier: &[Hash],
    leaves: &[Hash],
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), Refused> {
    let end = u64::try_from(leaves.len()).ok().and_then(|count| first.checked_add(count));
    let end = end.filter(|end| *end <= size).ok_or(Refused::Bounds)?;
    if frontier.len() != usize::try_from(first.count_ones()).unwrap_or(usize::MAX) {
        return Err(Refused::Length);
    }
    let mut frontier = frontier.to_vec();
    for (at, leaf) in (first..end).zip(leaves) {
        merkle::push(&mut frontier, at, *leaf);
    }
    verify_consistency(end, &merkle::root(&frontier), size, root, proof)
}

#[cfg(test)]
#[path = "proof/tests.rs"]
mod tests;
