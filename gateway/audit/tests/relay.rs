//! Relays deliver every entry at least once and in order, whatever sinks and processes do.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{append, entry, log};
use hub_audit::relay::{Batch, Relay, Settings, Sink, SinkError, Start, Then, Wanted, Work};
use hub_audit::{Error, Log};
use hub_store::Changes;
use tokio::sync::Notify;

/// What a sink has got, and how it behaves.
#[derive(Default)]
struct Receiver {
    got: Mutex<Vec<u64>>,
    arrived: Notify,
    hangs: AtomicBool,
    fails: AtomicBool,
    then: Mutex<Then>,
    /// Calls that failed.
    failures: AtomicU64,
    /// Cursors to answer with, the last one first; the end of the batch when there is none.
    answers: Mutex<Vec<u64>>,
    safe: Mutex<Option<u64>>,
    /// Whatever comes together with one of these fails.
    refused: Mutex<Vec<u64>>,
}

struct Handed(Arc<Receiver>);

impl Sink for Handed {
    fn accept<'a>(&'a mut self, batch: &'a Batch) -> Work<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            if self.0.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.0.fails.load(Ordering::SeqCst) {
                self.0.failures.fetch_add(1, Ordering::SeqCst);
                self.0.arrived.notify_waiters();
                return Err(SinkError("no".to_owned()));
            }
            let refused = self.0.refused.lock().unwrap().clone();
            if batch.entries().any(|entry| refused.contains(&entry.seq)) {
                self.0.failures.fetch_add(1, Ordering::SeqCst);
                return Err(SinkError("one of them is refused".to_owned()));
            }
            let reached = self.0.answers.lock().unwrap().pop().unwrap_or(batch.end());
            let seqs = batch.entries().map(|entry| entry.seq).filter(|seq| *seq < reached);
            self.0.got.lock().unwrap().extend(seqs);
            self.0.arrived.notify_waiters();
            Ok(reached)
        })
    }

    fn then(&self) -> Then {
        *self.0.then.lock().unwrap()
    }

    fn safe(&self) -> Option<u64> {
        *self.0.safe.lock().unwrap()
    }
}

impl Receiver {
    /// Waits until the sequence has arrived.
    async fn until(&self, seq: u64) {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if self.got.lock().unwrap().contains(&seq) {
                return;
            }
            tokio::time::timeout(Duration::from_secs(20), arrived).await.unwrap();
        }
    }

    /// Waits until so many calls have failed.
    async fn until_failed(&self, count: u64) {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if self.failures.load(Ordering::SeqCst) >= count {
                return;
            }
            tokio::time::timeout(Duration::from_secs(20), arrived).await.unwrap();
        }
    }

    fn got(&self) -> Vec<u64> {
        self.got.lock().unwrap().clone()
    }
}

fn settings(cursor: Option<&Path>, start: Start) -> Settings {
    Settings {
        name: "test".into(),
        start,
        wanted: Wanted::default(),
        batch: 16,
        timeout: Duration::from_millis(200),
        backlog: None,
        cursor: cursor.map(Path::to_owned),
    }
}

struct Running {
    receiver: Arc<Receiver>,
    progress: Arc<hub_audit::relay::Progress>,
    stop: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

async fn run(log: &Log, settings: Settings) -> Running {
    run_with(log, settings, Arc::default()).await
}

async fn run_with(log: &Log, settings: Settings, receiver: Arc<Receiver>) -> Running {
    let sink = Box::new(Handed(Arc::clone(&receiver)));
    let relay = Relay::new(log.clone(), sink, settings).await.unwrap();
    let (progress, stop) = (relay.progress(), Arc::new(Notify::new()));
    let asked = Arc::clone(&stop);
    let stopped = async move { asked.notified().await };
    let task = tokio::spawn(relay.run(stopped, Duration::from_millis(300)));
    Running { receiver, progress, stop, task }
}

impl Running {
    async fn stop(self) -> Vec<u64> {
        self.stop.notify_one();
        self.task.await.unwrap();
        self.receiver.got()
    }

    /// As by kill -9: no cursor is written.
    async fn kill(self) -> Vec<u64> {
        self.task.abort();
        let _ = self.task.await;
        self.receiver.got()
    }
}

fn all(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[tokio::test]
async fn everything_arrives_in_order_and_a_stop_delivers_the_rest() {
    let log = log().await;
    append(&log, 100).await;
    let running = run(&log, settings(None, Start::Beginning)).await;
    running.receiver.until(99).await;
    append(&log, 50).await;
    assert_eq!(running.stop().await, all(0..150));
}

#[tokio::test]
async fn the_cursor_survives_and_a_new_sink_begins_at_the_end_it_first_saw() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test");
    let log = log().await;
    append(&log, 10).await;
    let killed = run(&log, settings(Some(&file), Start::End)).await;
    assert!(killed.kill().await.is_empty());
    append(&log, 10).await;
    let running = run(&log, settings(Some(&file), Start::End)).await;
    running.receiver.until(19).await;
    assert_eq!(running.stop().await, all(10..20), "what came since the first start, once");
    append(&log, 5).await;
    let running = run(&log, settings(Some(&file), Start::Beginning)).await;
    running.receiver.until(24).await;
    assert_eq!(running.stop().await, all(20..25));
}

#[tokio::test]
async fn cursors_of_other_logs_and_damaged_ones_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test");
    let write = |text: &str| hub_store::durable_file::write_atomic(&file, text.as_bytes(), 0o600);
    let log = log().await;
    append(&log, 10).await;
    let zeros = "0".repeat(64);
    for (text, begins) in [
        ("", 0),
        ("cipher-hub sink cursor 1\n9\n", 0),
        (&format!("cipher-hub sink cursor 1\n5\n{zeros}\n"), 0),
        (&format!("cipher-hub sink cursor 1\n0\n{zeros}\n"), 0),
        // An older store was put back.
        (&format!("cipher-hub sink cursor 1\n11\n{zeros}\n"), 10),
    ] {
        write(text).unwrap();
        let running = run(&log, settings(Some(&file), Start::End)).await;
        assert_eq!(running.progress.reached(), begins, "{text:?}");
        running.kill().await;
    }
    write("x").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let sink = Box::new(Handed(Arc::default()));
    let made = Relay::new(log.clone(), sink, settings(Some(&file), Start::End)).await;
    assert!(matches!(made, Err(Error::Store(_))), "a cursor others may write is refused");
}

#[tokio::test]
async fn what_a_sink_cannot_vouch_for_goes_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test");
    let log = log().await;
    append(&log, 10).await;
    let running = run(&log, settings(Some(&file), Start::Beginning)).await;
    *running.receiver.safe.lock().unwrap() = Some(7);
    running.receiver.until(9).await;
    running.stop().await;
    let again = run(&log, settings(Some(&file), Start::Beginning)).await;
    again.receiver.until(9).await;
    assert_eq!(again.stop().await, all(7..10));
}

#[tokio::test]
async fn partial_answers_and_steps_back_leave_no_gap() {
    let log = log().await;
    append(&log, 40).await;
    let receiver = Arc::new(Receiver::default());
    // The last one first: half of it, nothing, back to the third.
    receiver.answers.lock().unwrap().extend([3, 8, 8]);
    let running = run_with(&log, settings(None, Start::Beginning), receiver).await;
    running.receiver.until(39).await;
    let got = running.stop().await;
    assert_eq!(got, [all(0..8), all(3..40)].concat());
}

#[tokio::test]
async fn a_sink_that_fails_or_hangs_gets_everything_when_it_is_back() {
    let log = log().await;
    append(&log, 20).await;
    let receiver = Arc::new(Receiver::default());
    receiver.fails.store(true, Ordering::SeqCst);
    let running = run_with(&log, settings(None, Start::Beginning), receiver).await;
    while running.progress.failures() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.progress.failing().unwrap().as_str(), "no");
    running.receiver.fails.store(false, Ordering::SeqCst);
    running.receiver.hangs.store(true, Ordering::SeqCst);
    let failures = running.progress.failures();
    while running.progress.failures() <= failures + 1 {
        tokio::task::yield_now().await;
    }
    assert!(running.progress.failing().unwrap().contains("no answer within"));
    assert_eq!(running.progress.reached(), 0);
    running.receiver.hangs.store(false, Ordering::SeqCst);
    running.receiver.until(19).await;
    let progress = Arc::clone(&running.progress);
    assert_eq!(running.stop().await, all(0..20));
    assert_eq!((progress.failing(), progress.dropped(), progress.delivered()), (None, 0, 20));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_sink_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test");
    let log = log().await;
    append(&log, 3).await;
    let receiver = Arc::new(Receiver::default());
    receiver.hangs.store(true, Ordering::SeqCst);
    let running = run_with(&log, settings(Some(&file), Start::Beginning), receiver).await;
    let stopped = tokio::time::timeout(Duration::from_secs(10), running.stop()).await;
    assert!(stopped.unwrap().is_empty());
    let again = run(&log, settings(Some(&file), Start::End)).await;
    again.receiver.until(2).await;
    assert_eq!(again.stop().await, all(0..3));
}

#[tokio::test]
async fn best_effort_passes_over_the_oldest_and_counts_exactly() {
    let log = log().await;
    append(&log, 50).await;
    let bounded = Settings { backlog: Some(8), ..settings(None, Start::Beginning) };
    let running = run(&log, bounded).await;
    running.receiver.until(49).await;
    let progress = Arc::clone(&running.progress);
    assert_eq!(running.stop().await, all(42..50));
    assert_eq!(progress.dropped(), 42);
}

#[tokio::test]
async fn what_is_not_wanted_is_passed_over_without_a_count() {
    let log = log().await;
    append(&log, 5).await;
    let other = hub_model::entry::AuditEntry { action: "keys.encrypt", ..entry("x") };
    let _receipt = log.appender().append(&other, Changes::new()).await.unwrap();
    append(&log, 5).await;
    let wanted = Wanted { include: vec!["keys.".to_owned()], exclude: Vec::new() };
    let running = run(&log, Settings { wanted, ..settings(None, Start::Beginning) }).await;
    running.receiver.until(5).await;
    let progress = Arc::clone(&running.progress);
    assert_eq!(running.stop().await, [5]);
    assert_eq!((progress.reached(), progress.dropped(), progress.delivered()), (11, 0, 1));
}

#[tokio::test]
async fn what_is_passed_over_counts_where_it_is_wanted_only() {
    let log = log().await;
    for _ in 0..8 {
        append(&log, 5).await;
        let other = hub_model::entry::AuditEntry { action: "keys.encrypt", ..entry("x") };
        let _receipt = log.appender().append(&other, Changes::new()).await.unwrap();
    }
    let wanted = Wanted { include: vec!["keys.".to_owned()], exclude: Vec::new() };
    let bounded = Settings { wanted, backlog: Some(8), ..settings(None, Start::Beginning) };
    let running = run(&log, bounded).await;
    running.receiver.until(47).await;
    let progress = Arc::clone(&running.progress);
    assert_eq!(running.stop().await, [41, 47]);
    assert_eq!((progress.dropped(), progress.untold()), (6, 6), "every sixth of the first forty");
}

#[tokio::test]
async fn what_was_not_told_is_kept_with_the_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test");
    let log = log().await;
    append(&log, 50).await;
    let bounded = Settings { backlog: Some(8), ..settings(Some(&file), Start::Beginning) };
    let running = run(&log, bounded.clone()).await;
    running.receiver.until(49).await;
    running.progress.told(40);
    running.stop().await;
    let again = run(&log, bounded.clone()).await;
    assert_eq!((again.progress.dropped(), again.progress.untold()), (0, 2));
    again.progress.told(2);
    again.stop().await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert_eq!(run(&log, bounded).await.progress.untold(), 0);
}

#[tokio::test]
async fn a_log_closed_for_new_work_takes_what_had_begun() {
    let log = log().await;
    let appender = log.appender();
    appender.set_sinks_behind(true);
    let refused = appender.append(&entry("new"), Changes::new()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    let _receipt = appender.append_begun(&entry("begun"), Changes::new()).await.unwrap();
    appender.set_sinks_behind(false);
    append(&log, 1).await;
    assert_eq!(appender.position().audit.size, 2);
}

#[tokio::test]
async fn what_is_refused_for_good_is_passed_over_by_best_effort_alone() {
    let log = log().await;
    append(&log, 10).await;
    for (backlog, passes) in [(Some(1000), true), (None, false)] {
        let receiver = Arc::new(Receiver::default());
        receiver.fails.store(true, Ordering::SeqCst);
        *receiver.then.lock().unwrap() = Then::PassOver;
        let settings = Settings { backlog, batch: 4, ..settings(None, Start::Beginning) };
        let running = run_with(&log, settings, Arc::clone(&receiver)).await;
        receiver.until_failed(3).await;
        if passes {
            // One by one.
            while running.progress.reached() < 10 {
                tokio::task::yield_now().await;
            }
            assert_eq!((running.progress.dropped(), running.progress.untold()), (10, 10));
            assert_eq!(running.progress.delivered(), 0);
        } else {
            assert_eq!((running.progress.reached(), running.progress.dropped()), (0, 0));
        }
        receiver.fails.store(false, Ordering::SeqCst);
        append(&log, 1).await;
        let last = log.appender().position().audit.size - 1;
        receiver.until(last).await;
        let got = running.stop().await;
        assert_eq!(got.first(), Some(&if passes { last } else { 0 }), "{backlog:?}");
    }
}

#[tokio::test]
async fn an_entry_that_is_refused_takes_no_others_with_it() {
    let log = log().await;
    append(&log, 64).await;
    let receiver = Arc::new(Receiver::default());
    *receiver.then.lock().unwrap() = Then::PassOver;
    receiver.refused.lock().unwrap().extend([5, 6, 40]);
    let bounded = Settings { backlog: Some(1000), ..settings(None, Start::Beginning) };
    let running = run_with(&log, bounded, receiver).await;
    running.receiver.until(63).await;
    let progress = Arc::clone(&running.progress);
    let got = running.stop().await;
    let rest: Vec<u64> = all(0..64).into_iter().filter(|seq| ![5, 6, 40].contains(seq)).collect();
    assert_eq!(got, rest);
    assert_eq!((progress.dropped(), progress.untold(), progress.delivered()), (3, 3, 61));
}

#[tokio::test]
async fn a_sink_is_left_alone_as_long_as_it_asks() {
    let log = log().await;
    append(&log, 1).await;
    let receiver = Arc::new(Receiver::default());
    receiver.fails.store(true, Ordering::SeqCst);
    *receiver.then.lock().unwrap() = Then::After(Duration::from_secs(1));
    let running = run_with(&log, settings(None, Start::Beginning), Arc::clone(&receiver)).await;
    receiver.until_failed(1).await;
    let begun = std::time::Instant::now();
    receiver.until_failed(2).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    // A stop is not kept waiting.
    *receiver.then.lock().unwrap() = Then::After(Duration::from_secs(50));
    receiver.until_failed(3).await;
    let begun = std::time::Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
