//! The Merkle tree of the log (RFC 6962 §2.1), kept as its frontier: the roots of the complete
//! subtrees, largest first. Appending costs one or two hashes; the root is a fold over at most 64.

use hub_crypto::hash::sha256_parts;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The leaf hash: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256_parts(&[&[0], entry])
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256_parts(&[&[1], left, right])
}

/// The root of the empty tree: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    sha256_parts(&[])
}

/// Takes the tree of `size` leaves with this frontier to `size + 1` leaves.
pub fn push(frontier: &mut Vec<Hash>, size: u64, leaf: Hash) {
    let mut hash = leaf;
    // INVARIANT: one frontier entry per one-bit of `size`; trailing ones merge like a carry.
    for _ in 0..size.trailing_ones() {
        if let Some(left) = frontier.pop() {
            hash = node_hash(&left, &hash);
        }
    }
    frontier.push(hash);
}

/// The root over all leaves.
#[must_use]
pub fn root(frontier: &[Hash]) -> Hash {
    let mut subtrees = frontier.iter().rev();
    let Some(last) = subtrees.next() else { return empty_root() };
    subtrees.fold(*last, |right, left| node_hash(left, &right))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recursive definition of RFC 6962 §2.1, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => empty_root(),
            1 => leaves[0],
            n => {
                let k = n.next_power_of_two() / 2;
                node_hash(&by_definition(&leaves[..k]), &by_definition(&leaves[k..]))
            }
        }
    }

    #[test]
    fn the_frontier_agrees_with_the_definition() {
        let leaves: Vec<Hash> = (0u32..300).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let mut frontier = Vec::new();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(root(&frontier), by_definition(&leaves[..size]), "{size} leaves");
            push(&mut frontier, size as u64, *leaf);
            assert_eq!(frontier.len(), (size + 1).count_ones() as usize);
        }
    }
}
