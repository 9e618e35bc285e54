//! The kept hashes of the tree: kept while the log grows, taken from the file at a start, and made
//! again whatever happens to the file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{append, log};
use hub_audit::{Log, proof};
use hub_model::Timestamp;

const ENTRIES: u64 = 1030;

/// Runs the background task until it has the hashes of this many runs of 256 entries.
async fn kept(log: &Log, path: Option<PathBuf>, runs: u64) {
    let reached = async {
        while log.tree().len() != runs {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = log.keep_tree(path) => panic!("the task ended"),
        () = reached => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("not reached"),
    }
}

async fn proves(log: &Log) {
    let signed = log.latest().unwrap();
    let (size, root) = (signed.checkpoint.size, signed.checkpoint.root);
    for seq in [0, 255, 256, 511, size - 1] {
        let leaf = hub_audit::merkle::leaf_hash(&log.entry(seq).await.unwrap().unwrap());
        let hashes = log.inclusion_proof(seq, size).await.unwrap();
        proof::verify_inclusion(&leaf, seq, size, &hashes, &root).unwrap();
    }
}

/// Runs the background task until the file is this.
async fn written(log: &Log, path: &Path, wanted: &dyn Fn(&[u8]) -> bool) {
    let reached = async {
        while !std::fs::read(path).is_ok_and(|found| wanted(&found)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = log.keep_tree(Some(path.to_owned())) => panic!("the task ended"),
        () = reached => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("not written"),
    }
}

#[tokio::test]
async fn the_tree_follows_the_log() {
    let log = log().await;
    append(&log, 300).await;
    kept(&log, None, 1).await;
    append(&log, 300).await;
    kept(&log, None, 2).await;
    log.checkpoint(Timestamp::from_micros(1)).unwrap();
    proves(&log).await;
    assert_eq!(log.tree().rebuilds(), 0);
}

#[tokio::test]
async fn whatever_happens_to_the_file_it_is_whole_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit/tree");
    let parts = common::parts();
    let log = common::open(&parts).await;
    append(&log, ENTRIES).await;
    written(&log, &path, &|found| found.len() == 5 * 32).await;
    let whole = std::fs::read(&path).unwrap();
    let mut spoiled: Vec<(&str, Option<Vec<u8>>)> = vec![
        ("untouched", Some(whole.clone())),
        ("removed", None),
        ("empty", Some(Vec::new())),
        ("short", Some(whole[..3 * 32].to_vec())),
        ("torn", Some(whole[..3 * 32 + 7].to_vec())),
        ("long", Some([&whole[..], &[7; 96]].concat())),
        ("another header", Some([&[9; 32], &whole[32..]].concat())),
        ("zeros", Some([&whole[..64], &[0; 96]].concat())),
    ];
    for at in [32, 63, 64, 100, 127, 159] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        // Short as well: nothing but the whole tree shows that this is wrong.
        spoiled.push(("flipped and short", Some(flipped[..128].to_vec())));
        spoiled.push(("flipped", Some(flipped)));
    }
    for (what, bytes) in spoiled {
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let log = common::open(&parts).await;
        log.checkpoint(Timestamp::from_micros(1)).unwrap();
        // Before the hashes are there, too.
        proves(&log).await;
        let tree = log.tree().clone();
        written(&log, &path, &|found| tree.len() == 4 && found == whole).await;
        proves(&log).await;
        let made_again = ["long", "zeros", "flipped", "flipped and short"].contains(&what);
        // What lies behind the cut of a short file was not damaged.
        if what != "flipped and short" {
            assert_eq!(log.tree().rebuilds() > 0, made_again, "{what}");
        }
    }
}
