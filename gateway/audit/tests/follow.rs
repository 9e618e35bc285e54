//! Followers see every durable entry once and in order, from memory and from the store alike.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod common;

use common::{append, entry, log};
use hub_audit::merkle::leaf_hash;
use hub_audit::{Committed, Log};
use hub_store::Changes;

fn check(group: &Committed, from: u64) -> u64 {
    let mut next = from;
    for (seq, bytes, leaf) in group.entries(from) {
        assert_eq!(seq, next);
        assert_eq!(*leaf, leaf_hash(bytes));
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(text.contains(&format!("\"seq\":{seq},")), "{text}");
        next += 1;
    }
    assert_eq!(next, group.end());
    next
}

async fn drain(log: &Log, from: u64) -> u64 {
    let mut follower = log.follow(from);
    let mut next = from;
    while let Some(group) = follower.try_next().await.unwrap() {
        next = check(&group, next);
        assert_eq!(follower.position(), next);
    }
    assert_eq!(follower.lag(), 0);
    next
}

#[tokio::test]
async fn every_beginning_gives_the_rest() {
    let log = log().await;
    append(&log, 40).await;
    for from in 0..=40 {
        assert_eq!(drain(&log, from).await, 40);
    }
}

#[tokio::test]
async fn what_memory_no_longer_holds_comes_from_the_store() {
    let log = log().await;
    // About 15 KiB each: the first ones are pushed out of memory.
    let long = "x".repeat(14 * 1024);
    for _ in 0..400 {
        let _receipt = log.appender().append(&entry(&long), Changes::new()).await.unwrap();
    }
    assert_eq!(drain(&log, 0).await, 400);
    assert_eq!(drain(&log, 7).await, 400);
}

#[tokio::test]
async fn whoever_waits_is_woken() {
    let log = log().await;
    let mut follower = log.follow(0);
    let waiting = async move {
        let mut next = 0;
        while next < 100 {
            let group = follower.next().await.unwrap();
            next = check(&group, next);
        }
        next
    };
    let (seen, ()) = tokio::join!(waiting, append(&log, 100));
    assert_eq!(seen, 100);
}
