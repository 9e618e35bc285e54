//! A log over a store in memory, as the server opens one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each binary uses a part")]

use std::sync::Arc;

use hub_audit::Log;
use hub_audit::log::OnRollback;
use hub_crypto::SystemKeys;
use hub_model::entry::{AuditEntry, Decision, Outcome, Subject};
use hub_model::principal::PeerAddress;
use hub_model::{HubId, Timestamp};
use hub_store::{Changes, MemoryBackend, Store, Writer};

pub(crate) async fn log() -> Log {
    log_with_keys().await.0
}

/// With the keys that it signs with.
pub(crate) async fn log_with_keys() -> (Log, Arc<SystemKeys>) {
    let parts = parts();
    (open(&parts).await, parts.1)
}

/// What outlives a log.
pub(crate) fn parts() -> (Store, Arc<SystemKeys>) {
    let keys = Arc::new(SystemKeys::generate().unwrap());
    (Store::new(Arc::new(MemoryBackend::new()), Arc::clone(&keys)), keys)
}

/// A log over what an earlier one has left.
pub(crate) async fn open((store, keys): &(Store, Arc<SystemKeys>)) -> Log {
    let writer = Writer::open(store.clone(), "main").await.unwrap();
    let hub = HubId::from_bytes([7; 16]);
    let keys = Arc::clone(keys);
    Log::open(store.clone(), writer, "main", keys, hub, None, OnRollback::Refuse).await.unwrap()
}

/// An entry that says nothing but a detail.
pub(crate) fn entry(detail: &str) -> AuditEntry {
    AuditEntry {
        time: Timestamp::from_micros(1_795_000_000_000_000),
        principal: None,
        address: PeerAddress::Unix,
        action: "system.start",
        subject: Subject { detail: Some(detail.into()), ..Subject::default() },
        decision: Decision::None,
        decided: None,
        policies: Arc::default(),
        revision: "".into(),
        outcome: Outcome::OK,
        latency: None,
        operation: None,
        context: None,
        request: "-".into(),
        trace: None,
        dry_run: false,
        count: 1,
    }
}

/// Appends entries named by their place.
pub(crate) async fn append(log: &Log, count: u64) {
    for _ in 0..count {
        let at = log.appender().position().audit.size;
        let _receipt =
            log.appender().append(&entry(&format!("entry {at}")), Changes::new()).await.unwrap();
    }
}
