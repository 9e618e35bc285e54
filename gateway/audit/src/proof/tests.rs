#![expect(clippy::cast_possible_truncation, reason = "small trees")]

use super::*;
use crate::merkle::leaf_hash;

/// `MTH(D[n])` of RFC 6962 §2.1, word for word.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 => merkle::empty_root(),
        1 => leaves[0],
        n => {
            let k = n.next_power_of_two() / 2;
            node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
        }
    }
}

/// `PATH(m, D[n])` of RFC 6962 §2.1.1, word for word.
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    let n = leaves.len();
    if n == 1 {
        return Vec::new();
    }
    let k = n.next_power_of_two() / 2;
    if m < k {
        [path(m, &leaves[..k]), vec![mth(&leaves[k..])]].concat()
    } else {
        [path(m - k, &leaves[k..]), vec![mth(&leaves[..k])]].concat()
    }
}

/// `SUBPROOF(m, D[n], b)` of RFC 6962 §2.1.2, word for word.
fn subproof(m: usize, leaves: &[Hash], b: bool) -> Vec<Hash> {
    let n = leaves.len();
    if m == n {
        return if b { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = n.next_power_of_two() / 2;
    if m <= k {
        [subproof(m, &leaves[..k], b), vec![mth(&leaves[k..])]].concat()
    } else {
        [subproof(m - k, &leaves[k..], false), vec![mth(&leaves[..k])]].concat()
    }
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// Hashes of perfect subtrees by the definition.
fn of(leaves: &[Hash]) -> impl FnMut(Node) -> Result<Hash, Refused> {
    |node| {
        let Range { start, end } = node.entries();
        Ok(mth(leaves.get(start as usize..end as usize).ok_or(Refused::Bounds)?))
    }
}

/// Proofs that differ from a good one in one place.
fn spoiled(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut found = Vec::new();
    for at in 0..proof.len() {
        let mut flipped = proof.to_vec();
        flipped[at][at % 32] ^= 1 << (at % 8);
        found.push(flipped);
        let mut dropped = proof.to_vec();
        dropped.remove(at);
        found.push(dropped);
        let mut doubled = proof.to_vec();
        doubled.insert(at, proof[at]);
        found.push(doubled);
        if at > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(at - 1, at);
            found.push(swapped);
        }
    }
    for more in [[0; 32], merkle::empty_root()] {
        found.push([proof, &[more]].concat());
        found.push([&[more], proof].concat());
    }
    found
}

#[test]
fn inclusion_is_the_definition_and_nothing_else_passes() {
    let all = leaves(130);
    for size in 1..=all.len() {
        let tree = &all[..size];
        let root = mth(tree);
        for index in 0..size {
            let proof = inclusion(index as u64, size as u64, of(tree)).unwrap();
            assert_eq!(proof, path(index, tree), "{index} of {size}");
            let check = |leaf: &Hash, index: usize, proof: &[Hash], root: &Hash| {
                verify_inclusion(leaf, index as u64, size as u64, proof, root)
            };
            assert_eq!(check(&tree[index], index, &proof, &root), Ok(()));
            for bad in spoiled(&proof) {
                assert!(check(&tree[index], index, &bad, &root).is_err(), "{index} of {size}");
            }
            assert!(check(&all[(index + 1) % all.len()], index, &proof, &root).is_err());
            assert_eq!(check(&tree[index], index, &proof, &[7; 32]), Err(Refused::Root));
            for other in (0..size).filter(|other| *other != index) {
                assert!(check(&tree[index], other, &proof, &root).is_err(), "{index} as {other}");
            }
            assert_eq!(check(&tree[index], size, &proof, &root), Err(Refused::Bounds));
        }
    }
}

#[test]
fn consistency_is_the_definition_and_nothing_else_passes() {
    let all = leaves(130);
    let roots: Vec<Hash> = (0..=all.len()).map(|size| mth(&all[..size])).collect();
    for new in 0..=all.len() {
        for old in 0..=new {
            let proof = consistency(old as u64, new as u64, of(&all)).unwrap();
            if old > 0 {
                assert_eq!(proof, subproof(old, &all[..new], true), "{old} to {new}");
            } else {
                assert_eq!(proof, Vec::<Hash>::new());
            }
            let check = |old: usize, old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
                verify_consistency(old as u64, old_root, new as u64, new_root, proof)
            };
            assert_eq!(check(old, &roots[old], &roots[new], &proof), Ok(()), "{old} to {new}");
            for bad in spoiled(&proof) {
                assert!(check(old, &roots[old], &roots[new], &bad).is_err(), "{old} to {new}");
            }
            assert!(check(old, &[7; 32], &roots[new], &proof).is_err(), "{old} to {new}");
            // Every tree goes on from the empty one: only there the new root is not looked at.
            let free = old == 0 && new > 0;
            assert_eq!(check(old, &roots[old], &[7; 32], &proof).is_ok(), free, "{old} to {new}");
            assert_eq!(check(new + 1, &roots[old], &roots[new], &proof), Err(Refused::Bounds));
            for other in (1..=new).filter(|other| *other != old) {
                let outcome = check(other, &roots[old], &roots[new], &proof);
                assert!(outcome.is_err(), "{old} as {other} to {new}");
            }
        }
    }
}

#[test]
fn ranges_hold_and_nothing_else_passes() {
    let all = leaves(40);
    let size = all.len() as u64;
    let root = mth(&all);
    for first in 0..=all.len() {
        for end in first..=all.len() {
            let front = frontier(first as u64, of(&all)).unwrap();
            let proof = consistency(end as u64, size, of(&all)).unwrap();
            let (at, part) = (first as u64, &all[first..end]);
            assert_eq!(verify_range(at, &front, part, size, &root, &proof), Ok(()));
            // A stretch that ends at 0 says nothing, and binds nothing.
            if end == 0 {
                continue;
            }
            for bad in spoiled(&front) {
                assert!(verify_range(at, &bad, part, size, &root, &proof).is_err());
            }
            for bad in spoiled(&proof) {
                assert!(verify_range(at, &front, part, size, &root, &bad).is_err());
            }
            for bad in spoiled(part) {
                assert!(verify_range(at, &front, &bad, size, &root, &proof).is_err());
            }
            assert!(verify_range(at + 1, &front, part, size, &root, &proof).is_err());
        }
    }
}

/// A tree of any size whose leaves are all alike: each perfect subtree has one hash a level.
fn alike(node: Node) -> Result<Hash, Refused> {
    Ok((0..node.level).fold([3; 32], |hash, _| node_hash(&hash, &hash)))
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let mixed = *state ^ (*state >> 29);
    mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (mixed >> 32)
}

#[test]
fn proofs_of_very_large_trees_hold() {
    let mut state = 5;
    let edges = [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1, (1 << 40) - 1];
    let sizes = edges.into_iter().chain((0..300).map(|_| random(&mut state)));
    for size in sizes.collect::<Vec<_>>() {
        let size = size.max(1) >> (random(&mut state) % 40);
        let size = size.max(1);
        let index = random(&mut state) % size;
        let root = merkle::root(&frontier(size, alike).unwrap());
        let proof = inclusion(index, size, alike).unwrap();
        assert!(proof.len() <= 64);
        assert_eq!(verify_inclusion(&[3; 32], index, size, &proof, &root), Ok(()));
        for bad in spoiled(&proof) {
            // Swapping equal hashes changes nothing.
            if bad != proof {
                assert!(verify_inclusion(&[3; 32], index, size, &bad, &root).is_err());
            }
        }
        let old = index + 1;
        let old_root = merkle::root(&frontier(old, alike).unwrap());
        let proof = consistency(old, size, alike).unwrap();
        assert!(proof.len() <= MAX_HASHES);
        assert_eq!(verify_consistency(old, &old_root, size, &root, &proof), Ok(()));
        for bad in spoiled(&proof) {
            if bad != proof {
                assert!(verify_consistency(old, &old_root, size, &root, &bad).is_err());
            }
        }
    }
}

#[test]
fn subtrees_cover_a_stretch_without_gaps() {
    let mut state = 9;
    for _ in 0..2000 {
        let (a, b) = (random(&mut state) >> 8, random(&mut state) >> 8);
        let (start, end) = (a.min(b), a.max(b));
        let mut next = start;
        for node in subtrees(start..end) {
            assert_eq!(node.entries().start, next);
            next = node.entries().end;
        }
        assert_eq!(next, end);
    }
}
