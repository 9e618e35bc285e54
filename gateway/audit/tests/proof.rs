//! Proofs that a log gives of itself verify against its signed checkpoints.

#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "tests")]

mod common;

use std::pin::Pin;
use std::task::Poll;

use common::{append, log};
use hub_audit::merkle::{self, leaf_hash};
use hub_audit::tile::Tile;
use hub_audit::{Error, Log, proof};
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
    let root = |size: usize| fold(&leaves[..size]);
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
        let grown = log.consistency(from, to).await.unwrap();
        assert_eq!((grown.old, grown.new, &grown.hashes), (old, new, &hashes));
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

async fn pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}

/// Whoever reads aside holds up no worker, and another registration is not held up either.
#[tokio::test]
async fn one_registration_reads_aside_once_at_a_time() {
    let log = log().await;
    append(&log, 3).await;
    let [one, other] =
        [hub_model::RegistrationId::generate(), hub_model::RegistrationId::generate()];
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let held = log.aside(one, async move |_: Log| {
        wait.recv().unwrap();
        Ok(1)
    });
    let mut held = Box::pin(held);
    // On the one worker of this test: were the work done on it, this would never come back.
    assert!(pending(&mut held).await);
    let mut second = Box::pin(log.aside(one, async move |_: Log| Ok(2)));
    assert!(pending(&mut second).await);
    let entry = log.aside(other, async move |log: Log| log.entry(2).await).await;
    assert_eq!(entry.unwrap(), log.recent_entry(2));
    assert!(pending(&mut second).await);
    go.send(()).unwrap();
    assert_eq!((held.await.unwrap(), second.await.unwrap()), (1, 2));
}

/// Every tile of every checkpoint's tree by its definition in C2SP tlog-tiles.
#[tokio::test]
async fn tiles_are_those_of_the_definition() {
    let log = log().await;
    for size in [1, 255, 256, 257, 600] {
        append(&log, size - log.appender().position().audit.size).await;
        log.checkpoint(Timestamp::from_micros(1)).unwrap();
        let mut leaves = Vec::new();
        for seq in 0..size {
            leaves.push(leaf_hash(&log.entry(seq).await.unwrap().unwrap()));
        }
        let mut row = leaves.clone();
        for level in 0..3 {
            for (index, tile) in row.chunks(256).enumerate() {
                for width in [1, tile.len().div_ceil(2), tile.len()] {
                    let name = match width {
                        256 => format!("{level}/{index:03}"),
                        _ => format!("{level}/{index:03}.p/{width}"),
                    };
                    let found = log.tile(Tile::parse(&name).unwrap()).await.unwrap();
                    assert_eq!(found, Some(tile[..width].as_flattened().to_vec()), "{name}");
                }
                if tile.len() < 255 {
                    let name = format!("{level}/{index:03}.p/{}", tile.len() + 1);
                    assert_eq!(log.tile(Tile::parse(&name).unwrap()).await.unwrap(), None);
                }
            }
            let next = format!("{level}/{:03}.p/1", row.len().div_ceil(256));
            assert_eq!(log.tile(Tile::parse(&next).unwrap()).await.unwrap(), None, "{next}");
            row = row.as_chunks::<256>().0.iter().map(|tile| fold(tile)).collect();
        }
        for (index, tile) in leaves.chunks(256).enumerate() {
            let width =
                if tile.len() == 256 { String::new() } else { format!(".p/{}", tile.len()) };
            let name = format!("entries/{index:03}{width}");
            let bytes = log.tile(Tile::parse(&name).unwrap()).await.unwrap().unwrap();
            let mut rest = &bytes[..];
            for leaf in tile {
                let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                assert_eq!(leaf_hash(&rest[2..2 + length]), *leaf);
                rest = &rest[2 + length..];
            }
            assert!(rest.is_empty());
        }
    }
}

fn fold(leaves: &[merkle::Hash]) -> merkle::Hash {
    let mut frontier = Vec::new();
    for (at, leaf) in leaves.iter().enumerate() {
        merkle::push(&mut frontier, at as u64, *leaf);
    }
    merkle::root(&frontier)
}
