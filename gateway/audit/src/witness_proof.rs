//! Consistency proofs (RFC 6962 §2.1.2) for witnesses: made from the frontier that a witness has
//! seen and the entries since, in one pass over those, whatever the log's length; and verified.

use crate::merkle::{self, Hash};
use crate::{Error, Log, proof};

/// Most hashes of a proof (C2SP tlog-witness).
pub const MAX_PROOF: usize = 63;

/// A tree as far as it has been folded: its size and frontier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// How many leaves.
    pub size: u64,
    /// The roots of its complete subtrees, largest first.
    pub frontier: Vec<Hash>,
}

impl Folded {
    /// Takes one more leaf.
    pub fn push(&mut self, leaf: Hash) {
        merkle::push(&mut self.frontier, self.size, leaf);
        self.size += 1;
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        merkle::root(&self.frontier)
    }

    /// Whether the frontier has one hash for each one-bit of the size.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        u64::from(self.size.count_ones()) == self.frontier.len() as u64
    }

    /// The hash of a complete subtree of the frontier.
    fn subtree(&self, start: u64, end: u64) -> Option<Hash> {
        let mut at = 0_u64;
        for (bit, hash) in bits(self.size).zip(&self.frontier) {
            let next = at.checked_add(bit)?;
            if (at, next) == (start, end) {
                return Some(*hash);
            }
            at = next;
        }
        None
    }

    /// Goes on to this size with the log's entries.
    ///
    /// # Errors
    /// When entries cannot be read.
    pub async fn fold_to(&mut self, log: &Log, size: u64) -> Result<(), Error> {
        self.prove_to(log, size).await.map(drop)
    }

    /// Goes on to this size, and proves that the tree then is one that the tree now is the
    /// beginning of.
    ///
    /// # Errors
    /// When entries cannot be read, or there are not as many.
    pub async fn prove_to(&mut self, log: &Log, size: u64) -> Result<Vec<Hash>, Error> {
        let begin = self.clone();
        let wanted = ranges(begin.size, size);
        let mut parts: Vec<Folded> = vec![Folded::default(); wanted.len()];
        let mut follower = log.follow(begin.size);
        while self.size < size {
            let from = self.size;
            let group = follower.try_next().await?.ok_or(Error::Missing(from))?;
            for (seq, _, leaf) in group.entries(from) {
                if seq >= size {
                    break;
                }
                self.push(*leaf);
                let covers = |(start, end): &(u64, u64)| *start <= seq && seq < *end;
                for (_, part) in wanted.iter().zip(&mut parts).filter(|(range, _)| covers(range)) {
                    part.push(*leaf);
                }
            }
        }
        let mut proof = Vec::with_capacity(wanted.len());
        for ((start, end), part) in wanted.into_iter().zip(parts) {
            let hash = if start < begin.size {
                begin.subtree(start, end).ok_or(Error::Missing(start))?
            } else {
                part.root()
            };
            proof.push(hash);
        }
        Ok(proof)
    }
}

/// The one-bits of a size, largest first: the sizes of the frontier's subtrees.
fn bits(size: u64) -> impl Iterator<Item = u64> {
    (0..u64::BITS).rev().map(|bit| 1_u64 << bit).filter(move |bit| size & bit != 0)
}

/// The ranges of leaves whose hashes are the proof from `old` to `size`, in its order. Those that
/// begin before `old` are subtrees of its frontier; the others lie behind it as a whole.
fn ranges(old: u64, size: u64) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    if old == 0 || old >= size {
        return found;
    }
    let (mut old, mut start, mut end, mut whole) = (old, 0_u64, size, true);
    // From the root downwards; the proof is written from below.
    while old != end - start {
        let half = (end - start).next_power_of_two() / 2;
        if old <= half {
            found.push((start + half, end));
            end = start + half;
        } else {
            found.push((start, start + half));
            (old, start, whole) = (old - half, start + half, false);
        }
    }
    if !whole {
        found.push((start, end));
    }
    found.reverse();
    found
}

/// Whether the tree of `size` leaves goes on from the tree of `old` leaves: as
/// [`proof::verify_consistency`], for who needs no reason.
#[must_use]
pub fn is_consistent(
    (old, old_root): (u64, &Hash),
    (size, root): (u64, &Hash),
    proof: &[Hash],
) -> bool {
    proof::verify_consistency(old, old_root, size, root, proof).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SUBPROOF of RFC 6962 §2.1.2, word for word.
    fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        let root = |leaves: &[Hash]| {
            let mut tree = Folded::default();
            leaves.iter().for_each(|leaf| tree.push(*leaf));
            tree.root()
        };
        if old == leaves.len() {
            return if whole { Vec::new() } else { vec![root(leaves)] };
        }
        let half = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(half);
        if old <= half {
            let mut proof = subproof(old, left, whole);
            proof.push(root(right));
            proof
        } else {
            let mut proof = subproof(old - half, right, false);
            proof.push(root(left));
            proof
        }
    }

    #[test]
    fn proofs_are_those_of_the_definition_and_verify() {
        let leaves: Vec<Hash> = (0u32..70).map(|i| merkle::leaf_hash(&i.to_be_bytes())).collect();
        let mut trees = vec![Folded::default()];
        for leaf in &leaves {
            let mut next = trees.last().unwrap().clone();
            next.push(*leaf);
            trees.push(next);
        }
        for old in 1..leaves.len() {
            for size in old + 1..=leaves.len() {
                let expected = subproof(old, &leaves[..size], true);
                let begin = &trees[old];
                let made: Vec<Hash> = ranges(old as u64, size as u64)
                    .into_iter()
                    .map(|(start, end)| {
                        if start < old as u64 {
                            return begin.subtree(start, end).unwrap();
                        }
                        let mut part = Folded::default();
                        let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
                        leaves[range].iter().for_each(|leaf| part.push(*leaf));
                        part.root()
                    })
                    .collect();
                assert_eq!(made, expected, "{old} to {size}");
                let (before, after) = (begin.root(), trees[size].root());
                let sizes = |old: usize, size: usize| (old as u64, size as u64);
                let (m, n) = sizes(old, size);
                assert!(is_consistent((m, &before), (n, &after), &made), "{old} to {size}");
                assert!(!is_consistent((m, &after), (n, &after), &made));
                assert!(!is_consistent((m, &before), (n, &before), &made));
                for at in 0..made.len() {
                    let mut wrong = made.clone();
                    wrong[at][0] ^= 1;
                    assert!(!is_consistent((m, &before), (n, &after), &wrong));
                    wrong.remove(at);
                    assert!(!is_consistent((m, &before), (n, &after), &wrong));
                }
                let mut longer = made.clone();
                longer.push([0; 32]);
                assert!(!is_consistent((m, &before), (n, &after), &longer));
            }
        }
    }
}
