//! Proofs that a log gives of itself verify against its signed checkpoints.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{append, log};
use hub_audit::merkle::{self, leaf_hash};
use hub_audit::{Error, proof};
use hub_model::Timestamp;

#[tokio::test]
async fn a_log_proves_its_entries_and_its_growth() {
    let log = log().await;
    append(&log, 600).await;
    log.checkpoint(Timestamp::from_micros(1)).unwrap();
    append(&log, 40).await;
    let signed = log.latest().unwrap();
    let mut leaves = Vec::new();
    for seq in 0..640 {
        leaves.push(leaf_hash(&log.entry(seq).await.unwrap().unwrap()));
    }
    let root = |size: usize| {
        let mut frontier = Vec::new();
        for (at, leaf) in leaves[..size].iter().enumerate() {
            merkle::push(&mut frontier, at as u64, *leaf);
        }
        merkle::root(&frontier)
    };
    assert_eq!(root(600), signed.checkpoint.root);
    for (seq, size) in [(0, 1), (0, 600), (255, 256), (256, 600), (599, 600), (639, 640), (3, 617)]
    {
        let hashes = log.inclusion_proof(seq, size).await.unwrap();
        let leaf = &leaves[seq as usize];
        proof::verify_inclusion(leaf, seq, size, &hashes, &root(size as usize)).unwrap();
    }
    for (from, to) in [(0, 0), (0, 600), (1, 600), (512, 640), (600, 600), (599, 601), (600, 640)] {
        let hashes = log.consistency_proof(from, to).await.unwrap();
        let (old, new) = (root(from as usize), root(to as usize));
        proof::verify_consistency(from, &old, to, &new, &hashes).unwrap();
        assert_eq!(log.root_at(to).await.unwrap(), new);
        let frontier = log.frontier_at(from).await.unwrap();
        let part = &leaves[from as usize..to as usize];
        proof::verify_range(from, &frontier, part, to, &new, &[]).unwrap();
    }
    assert!(matches!(log.inclusion_proof(640, 641).await, Err(Error::Beyond { .. })));
    assert!(matches!(log.inclusion_proof(7, 7).await, Err(Error::Beyond { .. })));
    assert!(matches!(log.consistency_proof(1, 641).await, Err(Error::Beyond { .. })));
}
