//! Sinks that lag into an archive which cannot be read: nothing hangs, and what is missed is named.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{append, entry};
use hub_audit::Log;
use hub_audit::archive::{ArchiveRecord, Archiver, Goal};
use hub_audit::log::OnRollback;
use hub_audit::relay::{Batch, Progress, Relay, Settings, Sink, SinkError, Start, Wanted, Work};
use hub_crypto::SystemKeys;
use hub_model::entry::AuditEntry;
use hub_model::{HubId, Timestamp};
use hub_store::{MemoryBackend, Store, Writer};

const THEN: i64 = 1_795_000_000_000_000;

type Got = Arc<Mutex<Vec<u64>>>;

struct Taking(Got);

impl Sink for Taking {
    fn accept<'a>(&'a mut self, batch: &'a Batch) -> Work<'a, Result<u64, SinkError>> {
        self.0.lock().unwrap().extend(batch.entries().map(|entry| entry.seq));
        Box::pin(std::future::ready(Ok(batch.end())))
    }
}

/// A log whose oldest entries are in archives alone, and are not in memory.
async fn archived(folder: &Path) -> (Log, Vec<ArchiveRecord>) {
    let keys = Arc::new(SystemKeys::generate().unwrap());
    let store = Store::new(Arc::new(MemoryBackend::new()), Arc::clone(&keys));
    let hub = HubId::from_bytes([7; 16]);
    let open = || async {
        let writer = Writer::open(store.clone(), "main").await.unwrap();
        let (store, keys) = (store.clone(), Arc::clone(&keys));
        let (file, archives) = (Some(folder.join("checkpoint")), Some(folder.join("archive")));
        let refuse = OnRollback::Refuse;
        Log::open_archived(store, writer, "main", keys, hub, file, refuse, archives).await.unwrap()
    };
    let log = open().await;
    append(&log, 100).await;
    let now = Timestamp::from_micros(THEN + 9);
    let later = Timestamp::from_micros(THEN + 1);
    let goal = || Goal { before: later, partial_before: later };
    let told =
        |action: &'static str, detail: String| AuditEntry { action, time: now, ..entry(&detail) };
    log.checkpoint(now).unwrap();
    let archiver = Archiver::new(&log, hub, 32).unwrap();
    let mut made = Vec::new();
    while let Some(record) = archiver.make(goal(), now, &|| true).unwrap() {
        archiver.record(record.clone(), &told).await.unwrap();
        made.push(record);
        log.checkpoint(now).unwrap();
        let _pruned = archiver.prune(1000, now, &told, &|| true).await.unwrap();
    }
    log.checkpoint(now).unwrap();
    log.appender().close().await;
    (open().await, made)
}

fn settings(cursor: PathBuf, backlog: Option<u64>) -> Settings {
    Settings {
        name: "test".into(),
        start: Start::Beginning,
        wanted: Wanted::default(),
        batch: 4096,
        timeout: Duration::from_secs(5),
        backlog,
        cursor: Some(cursor),
    }
}

struct Running {
    got: Got,
    progress: Arc<Progress>,
    stop: Arc<tokio::sync::Notify>,
    task: tokio::task::JoinHandle<()>,
}

async fn run(log: &Log, settings: Settings) -> Running {
    let got = Got::default();
    let relay = Relay::new(log.clone(), Box::new(Taking(Arc::clone(&got))), settings).await;
    let relay = relay.unwrap();
    let (progress, stop) = (relay.progress(), Arc::new(tokio::sync::Notify::new()));
    let asked = Arc::clone(&stop);
    let stopped = async move { asked.notified().await };
    let task = tokio::spawn(relay.run(stopped, Duration::from_millis(300)));
    Running { got, progress, stop, task }
}

impl Running {
    async fn until(&self, done: impl Fn(&Progress) -> bool) {
        let waiting = async {
            while !done(&self.progress) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
    }

    async fn stop(self) -> Vec<u64> {
        self.stop.notify_one();
        self.task.await.unwrap();
        self.got.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_required_sink_names_the_archive_it_waits_for_and_goes_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (log, made) = archived(dir.path()).await;
    let (size, lost) = (log.appender().position().audit.size, &made[1]);
    let path = dir.path().join("archive").join(&lost.file);
    let away = dir.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    let running = run(&log, settings(dir.path().join("cursor"), None)).await;
    running.until(|progress| progress.failures() > 5).await;
    let problem = running.progress.failing().unwrap();
    assert!(problem.contains(&lost.file) && problem.contains("is missing"), "{problem}");
    assert_eq!(running.progress.reached(), lost.first, "what lies before it was delivered");
    assert_eq!(running.progress.dropped(), 0);
    std::fs::rename(&away, &path).unwrap();
    running.until(|progress| progress.reached() == size).await;
    assert_eq!(running.stop().await, (0..size).collect::<Vec<_>>());
}

#[tokio::test]
async fn best_effort_goes_on_behind_the_archive_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let (log, made) = archived(dir.path()).await;
    let (size, lost) = (log.appender().position().audit.size, &made[1]);
    std::fs::write(dir.path().join("archive").join(&lost.file), "damaged").unwrap();
    let cursor = dir.path().join("cursor");
    let running = run(&log, settings(cursor.clone(), Some(100_000))).await;
    running.until(|progress| progress.reached() == size).await;
    assert_eq!(running.progress.dropped(), lost.entries);
    assert_eq!(running.progress.untold(), lost.entries);
    let there = (0..size).filter(|seq| !(lost.first..lost.end()).contains(seq));
    assert_eq!(running.stop().await, there.collect::<Vec<_>>());
    let again = run(&log, settings(cursor, Some(100_000))).await;
    assert_eq!((again.progress.reached(), again.progress.untold()), (size, lost.entries));
}

#[tokio::test]
async fn a_cursor_in_a_lost_archive_or_behind_it_is_no_reason_not_to_start() {
    let dir = tempfile::tempdir().unwrap();
    let (log, made) = archived(dir.path()).await;
    let lost = &made[1];
    std::fs::remove_file(dir.path().join("archive").join(&lost.file)).unwrap();
    let cursor = dir.path().join("cursor");
    let begins = |next: u64, leaf: String| {
        let text = format!("cipher-hub sink cursor 1\n{next}\n{leaf}\n");
        hub_store::durable_file::write_atomic(&cursor, text.as_bytes(), 0o600).unwrap();
        let sink = Box::new(Taking(Got::default()));
        let relay = Relay::new(log.clone(), sink, settings(cursor.clone(), None));
        async { relay.await.unwrap().progress().reached() }
    };
    let within = lost.first + 5;
    assert_eq!(begins(within, "0".repeat(64)).await, within);
    // The store knows the last hash of each archive.
    assert_eq!(begins(lost.end(), lost.chain.clone()).await, lost.end());
    assert_eq!(begins(lost.end(), "0".repeat(64)).await, 0, "of another log");
}
