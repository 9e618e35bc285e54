//! Carries entries to the outside: one relay a sink works through the log behind the requests, in
//! order, at least once, from a cursor that survives restarts.
//!
//! The log is the queue. A relay keeps one batch in memory, whatever happens to its sink, and reads
//! what it has missed again; no request waits for it, and what it holds back is not lost by a crash
//! because it was never anywhere else (`docs/adr/0026-sinks.md`).

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::{Error, Follower, Log};

mod batch;
mod cursor;
mod lag;

pub use batch::{Batch, Entry, Wanted, action_of};
pub use cursor::Start;
pub use lag::{Bounds, Lag, Waiting};

use cursor::Cursor;

/// Between two looks at the log, so that entries come many at a time.
const LINGER: Duration = Duration::from_millis(100);
/// Between two writings of a cursor, and between two looks at an idle sink.
const SECOND: Duration = Duration::from_secs(1);
/// The longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Between two log lines about the same failing sink.
const MINUTE: Duration = Duration::from_secs(60);
/// Entries looked at for one batch, wanted or not.
const LOOKED_AT: u64 = 4096;
/// Bytes of the entries of one batch, as lines.
const BATCH_BYTES: usize = 1024 * 1024;
/// The longest wait that a sink may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60);
/// How often an archive that cannot be read is tried before best effort passes over it.
const TRIES: u32 = 5;

/// What a sink does with a batch, boxed: sinks are of many kinds, plugins among them.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a sink did not take a batch. One line for operators: no payload, no credential.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// What is done after a call of [`Sink::accept`] that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The entries are handed over again, fewer at once, after a wait that grows.
    #[default]
    Again,
    /// The entries are handed over again, not before this long from now, within bounds.
    After(Duration),
    /// Among these entries is one that will never be taken. Fewer are handed over until it is found;
    /// best effort passes over that one alone, and counts it as missed. A required sink stays before
    /// it.
    PassOver,
}

/// Where entries go.
///
/// Calls are given up after a while: whatever a sink holds must then be as if it was closed.
pub trait Sink: Send {
    /// Takes entries and says which cursor it has reached: the sequence after the last entry that
    /// is delivered. Less than the end of the batch means that the rest is handed over again, less
    /// than its beginning that what came before is lost and must be repeated.
    fn accept<'a>(&'a mut self, batch: &'a Batch) -> Work<'a, Result<u64, SinkError>>;

    /// What is done now that a call of [`Self::accept`] has failed. Not asked when it was given up.
    fn then(&self) -> Then {
        Then::Again
    }

    /// Called about once a second while there is nothing to deliver. `Some` is a cursor to go back
    /// to, because what was taken turned out to be lost.
    fn check(&mut self) -> Work<'_, Result<Option<u64>, SinkError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Where another process would have to begin so that nothing is lost; `None` is the cursor
    /// reached.
    fn safe(&self) -> Option<u64> {
        None
    }

    /// Called once, at a clean stop.
    fn finish(&mut self) -> Work<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// How one sink is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub name: Arc<str>,
    /// Where it begins when it has no cursor.
    pub start: Start,
    /// What it wants.
    pub wanted: Wanted,
    /// Most entries handed over at once.
    pub batch: usize,
    /// How long it may take for them.
    pub timeout: Duration,
    /// Most entries that may wait; beyond them the oldest are passed over and counted. `None` is
    /// any number: a required sink.
    pub backlog: Option<u64>,
    /// Where its cursor lies; `None` where nothing survives a restart.
    pub cursor: Option<PathBuf>,
}

/// How a relay fares, for whoever looks from outside.
#[derive(Debug, Default)]
pub struct Progress {
    reached: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    untold: AtomicU64,
    failures: AtomicU64,
    failing: ArcSwapOption<String>,
}

impl Progress {
    /// The sequence after the last entry that is delivered.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    /// Entries delivered, repeated ones included.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Wanted entries passed over since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Wanted entries passed over that the log does not tell of yet, by earlier processes too. The
    /// cursor keeps it.
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.untold.load(Ordering::Acquire)
    }

    /// Takes note that the log tells of so many, durably.
    pub fn told(&self, count: u64) {
        let less = |untold: u64| Some(untold.saturating_sub(count));
        let _ = self.untold.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Goes on at another place, without so many wanted entries.
    fn pass_over(&self, to: u64, missed: u64) {
        self.dropped.fetch_add(missed, Ordering::Relaxed);
        self.untold.fetch_add(missed, Ordering::AcqRel);
        self.reached.store(to, Ordering::Release);
    }

    /// Deliveries that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Why the last delivery failed, until one succeeds.
    #[must_use]
    pub fn failing(&self) -> Option<Arc<String>> {
        self.failing.load_full()
    }
}

/// Carries the log to one sink.
pub struct Relay {
    log: Log,
    sink: Box<dyn Sink>,
    settings: Settings,
    wanted: Arc<Wanted>,
    follower: Follower,
    cursor: Cursor,
    kept: Instant,
    told: Option<Instant>,
    progress: Arc<Progress>,
    stop: Arc<Stop>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: AtomicBool,
    notify: Notify,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Relay {
    /// Finds out where to begin.
    ///
    /// # Errors
    /// When the cursor cannot be read or written. That entries cannot be read is no reason: it is
    /// told, here and in the progress.
    pub async fn new(log: Log, sink: Box<dyn Sink>, settings: Settings) -> Result<Self, Error> {
        let mut cursor = Cursor::new(settings.cursor.clone());
        let begin = cursor.begin(&log, settings.start).await?;
        if let Some(told) = begin.told {
            tracing::warn!(sink = &*settings.name, "{told}");
        }
        let progress = Arc::new(Progress::default());
        progress.reached.store(begin.at, Ordering::Release);
        progress.untold.store(begin.untold, Ordering::Release);
        Ok(Self {
            follower: log.follow(begin.at),
            wanted: Arc::new(settings.wanted.clone()),
            log,
            sink,
            settings,
            cursor,
            kept: Instant::now(),
            told: None,
            progress,
            stop: Arc::default(),
        })
    }

    /// How it fares.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Works until `stop` resolves, then delivers what is left, for as long as `patience` at most.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send, patience: Duration) {
        let asked = Arc::clone(&self.stop);
        let late = async move {
            stop.await;
            asked.asked.store(true, Ordering::Release);
            asked.notify.notify_one();
            tokio::time::sleep(patience).await;
        };
        let in_time = tokio::select! {
            () = self.work() => true,
            () = late => false,
        };
        if in_time {
            let _ = tokio::time::timeout(SECOND, self.sink.finish()).await;
        } else {
            let (sink, waiting) = (&*self.settings.name, self.follower_lag());
            tracing::warn!(
                sink,
                waiting,
                "a sink did not take everything in time; it goes on at the next start"
            );
        }
        self.keep().await;
    }

    async fn work(&mut self) {
        let (mut failed, mut unread) = (0_u32, 0_u32);
        let mut limit = self.settings.batch;
        loop {
            self.shed().await;
            let batch = match self.gather(limit).await {
                Ok(Some(batch)) => batch,
                Ok(None) => {
                    self.keep().await;
                    if self.stopping() {
                        return;
                    }
                    self.wait().await;
                    continue;
                }
                Err(error) => {
                    self.failed(&format!("the log cannot be read: {error}"));
                    unread += 1;
                    if unread >= TRIES && self.skip(&error) {
                        unread = 0;
                    } else {
                        self.back_off(unread).await;
                    }
                    continue;
                }
            };
            unread = 0;
            match self.deliver(&batch).await {
                Ok(reached) => {
                    let stuck = reached == batch.from();
                    failed = if stuck { failed + 1 } else { 0 };
                    // By steps: doubled, it would be too much for a slow receiver every other time.
                    let step = (self.settings.batch / 16).max(1);
                    limit = (limit + step).min(self.settings.batch);
                    self.reached(&batch, reached);
                    if stuck {
                        self.back_off(failed).await;
                    }
                }
                Err((error, then)) => {
                    self.failed(&error.0);
                    failed += 1;
                    match then {
                        // INVARIANT: nothing is passed over together with others. Who writes one
                        // entry that is refused must not make those of everybody else be missed.
                        // No wait: it would hold them back instead, until too many wait.
                        Then::PassOver if self.settings.backlog.is_some() => {
                            failed = 0;
                            match batch.len() {
                                0 | 1 => self.pass_over(&batch),
                                some => limit = some / 2,
                            }
                        }
                        Then::After(time) => self.rest(time, failed).await,
                        Then::Again | Then::PassOver => {
                            // Perhaps less goes through: the receiver may be slow, or one entry
                            // refused.
                            limit = (batch.len() / 2).max(1);
                            self.back_off(failed).await;
                        }
                    }
                }
            }
            if self.kept.elapsed() >= SECOND {
                self.keep().await;
            }
            let more = usize::try_from(self.follower_lag()).unwrap_or(usize::MAX) >= limit;
            if failed == 0 && !more && !self.stopping() {
                tokio::select! {
                    () = tokio::time::sleep(LINGER) => {}
                    () = self.stop.notify.notified() => {}
                }
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stop.asked.load(Ordering::Acquire)
    }

    fn follower_lag(&self) -> u64 {
        let size = self.log.appender().position().audit.size;
        size.saturating_sub(self.progress.reached())
    }

    /// Passes over the oldest entries where more wait than may. Where not all are wanted they are
    /// read, to count those that are.
    async fn shed(&mut self) {
        let Some(most) = self.settings.backlog else { return };
        let over = self.follower_lag().saturating_sub(most);
        let end = self.progress.reached() + over;
        if over > 0 && self.wanted.is_all() {
            self.progress.pass_over(end, over);
        }
        while self.progress.reached() < end {
            let from = self.progress.reached();
            self.follower.seek(from);
            let (to, missed) = match self.follower.try_next().await {
                Ok(Some(group)) => {
                    let to = group.end().min(end);
                    let entries = group.entries(from).take_while(|(seq, ..)| *seq < to);
                    let wanted = entries.filter(|(_, bytes, _)| self.wanted.takes(bytes)).count();
                    (to, wanted as u64)
                }
                // Whether they are wanted cannot be told: better some too many.
                Err(Error::Archive { last, .. }) => {
                    let to = last.saturating_add(1).clamp(from + 1, end);
                    (to, to - from)
                }
                // Whoever gathers a batch says so.
                Ok(None) | Err(_) => return,
            };
            self.progress.pass_over(to, missed);
        }
    }

    /// Passes over an archive that cannot be read, where that is allowed. A required sink stays
    /// before it, until it is back or an operator decides otherwise.
    fn skip(&self, error: &Error) -> bool {
        let (Error::Archive { last, .. }, Some(_)) = (error, self.settings.backlog) else {
            return false;
        };
        let from = self.progress.reached();
        let to = last.saturating_add(1).max(from + 1);
        self.progress.pass_over(to, to - from);
        let sink = &*self.settings.name;
        tracing::error!(sink, from, to, %error, "a best-effort sink goes on behind an archive");
        true
    }

    /// The next batch, or `None` when there is nothing.
    async fn gather(&mut self, limit: usize) -> Result<Option<Batch>, Error> {
        let from = self.progress.reached();
        self.follower.seek(from);
        let (mut groups, mut count, mut bytes) = (Vec::new(), 0, 0);
        loop {
            let group = match self.follower.try_next().await {
                Ok(Some(group)) => group,
                Ok(None) => break,
                Err(error) if groups.is_empty() => return Err(error),
                // What lies before it is delivered first.
                Err(_) => break,
            };
            for (_, entry, _) in group.entries(from) {
                bytes += entry.len();
                count += usize::from(self.wanted.takes(entry));
            }
            let looked_at = group.end() - from;
            groups.push(group);
            if count >= limit || bytes >= BATCH_BYTES || looked_at >= LOOKED_AT {
                break;
            }
        }
        let some = !groups.is_empty();
        Ok(some.then(|| Batch::new(groups, Arc::clone(&self.wanted), from, limit, BATCH_BYTES)))
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<u64, (SinkError, Then)> {
        if batch.is_empty() {
            return Ok(batch.end());
        }
        let timeout = self.settings.timeout;
        let work = tokio::time::timeout(timeout, self.sink.accept(batch)).await;
        match work {
            Ok(done) => done.map_err(|error| (error, self.sink.then())),
            Err(_) => Err((SinkError(format!("no answer within {timeout:?}")), Then::Again)),
        }
    }

    /// Passes over an entry that the receiver will never take.
    fn pass_over(&self, batch: &Batch) {
        let missed = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        self.progress.pass_over(batch.end(), missed);
        let (sink, from, to) = (&*self.settings.name, batch.from(), batch.end());
        tracing::error!(
            sink,
            from,
            to,
            missed,
            "a best-effort sink goes on without an entry that is refused"
        );
    }

    fn reached(&mut self, batch: &Batch, reached: u64) {
        let sink = &*self.settings.name;
        let reached = reached.min(batch.end());
        if reached < batch.from() {
            let from = batch.from();
            tracing::warn!(sink, from, to = reached, "what a sink had taken is delivered again");
        }
        let delivered = u64::try_from(batch.before(reached)).unwrap_or(u64::MAX);
        self.progress.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.progress.reached.store(reached, Ordering::Release);
        if delivered > 0 && self.progress.failing.swap(None).is_some() {
            self.told = None;
            tracing::info!(sink, reached, "a sink takes entries again");
        }
    }

    fn failed(&mut self, why: &str) {
        self.progress.failures.fetch_add(1, Ordering::Relaxed);
        self.progress.failing.store(Some(Arc::new(why.to_owned())));
        if self.told.is_none_or(|told| told.elapsed() >= MINUTE) {
            self.told = Some(Instant::now());
            let (sink, waiting) = (&*self.settings.name, self.follower_lag());
            tracing::warn!(sink, waiting, why, "a sink takes no entries; trying again");
        }
    }

    /// Waits for something to deliver, and looks after the sink meanwhile.
    async fn wait(&mut self) {
        self.follower.seek(self.progress.reached());
        tokio::select! {
            _ = self.follower.next() => {
                // More is on the way: one batch of many costs less than many of one.
                tokio::time::sleep(LINGER).await;
            }
            () = self.stop.notify.notified() => {}
            () = tokio::time::sleep(SECOND) => match self.check().await {
                Ok(None) => {}
                Ok(Some(back)) if back < self.progress.reached() => {
                    let sink = &*self.settings.name;
                    tracing::warn!(sink, to = back, "what a sink had taken is delivered again");
                    self.progress.reached.store(back, Ordering::Release);
                }
                Ok(Some(_)) => {}
                Err(error) => self.failed(&error.0),
            },
        }
    }

    async fn check(&mut self) -> Result<Option<u64>, SinkError> {
        let look = tokio::time::timeout(self.settings.timeout, self.sink.check()).await;
        look.unwrap_or(Ok(None))
    }

    /// Writes the cursor. A failure costs repetitions after a restart, nothing else.
    async fn keep(&mut self) {
        self.kept = Instant::now();
        let reached = self.progress.reached();
        let safe = self.sink.safe().map_or(reached, |safe| safe.min(reached));
        let untold = self.progress.untold();
        if let Err(error) = self.cursor.keep(&self.log, safe, untold).await {
            let sink = &*self.settings.name;
            tracing::warn!(sink, %error, "the cursor of a sink could not be written");
        }
    }

    /// Waits as long as a sink has asked for, and no shorter than after any failure.
    async fn rest(&mut self, time: Duration, failed: u32) {
        tokio::select! {
            () = tokio::time::sleep(time.min(LONGEST_ASKED)) => self.back_off(failed).await,
            () = self.stop.notify.notified() => {}
        }
    }

    /// Waits longer after each failure, by an amount nobody else waits.
    async fn back_off(&mut self, failed: u32) {
        let longest = LONGEST_WAIT.min(LINGER * 2_u32.saturating_pow(failed.min(10)));
        let mut random = [0; 2];
        hub_crypto::random::fill(&mut random);
        let share = f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX);
        tokio::select! {
            () = tokio::time::sleep(longest.mul_f64(0.5 + share / 2.0)) => {}
            () = self.stop.notify.notified() => {}
        }
    }
}
