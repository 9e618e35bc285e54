//! Where calls that take long run: on threads of their own that stand back, so that what a loop takes
//! is what the rest of the hub leaves.

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How far these threads stand back: one that always wants to run gets about a tenth of what one of
/// the hub's gets on the same processor. Enough for an honest call to come to its end, and for who
/// holds a lock to let go of it.
const NICE: i32 = 10;

/// How a plugin's last call for somebody went, and so how its next begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// Within a tick: where its caller is.
    #[default]
    Quick,
    /// Longer: aside, so that nobody else pays the first tick.
    Slow,
    /// Past its deadline, not long ago: aside, and resting after every tick.
    Endless,
}

/// After a deadline that was missed a plugin is held to be endless for so long. What it misses
/// meanwhile, for want of time of its own, adds nothing: then it is tried again.
const HELD_FOR: Duration = Duration::from_secs(5);

/// The pace of a plugin, by whom it answers: what one registration asks does not slow what another
/// does.
#[derive(Debug, Default)]
pub(super) struct Paces {
    /// Of those who are not quick, with the time that it is from.
    known: Mutex<HashMap<Box<str>, (Pace, Instant)>>,
    /// Whether there are any.
    some: AtomicBool,
}

/// So many are remembered; after that all begin anew.
const MAX_PACES: usize = 1_024;

/// Threads for calls that take long; started with the first such call.
#[derive(Debug)]
pub(super) struct Aside {
    threads: OnceLock<Option<Runtime>>,
    size: usize,
}

/// A call whose task ends with whoever waits for it.
struct Waiting<T>(JoinHandle<T>);

/// A call polled where timers and sockets are those of the place that it came from.
struct At<F>(Handle, F);

impl Paces {
    pub(super) fn of(&self, who: &str) -> Pace {
        if !self.some.load(Ordering::Relaxed) {
            return Pace::Quick;
        }
        match self.known().get(who) {
            Some((Pace::Endless, since)) if since.elapsed() >= HELD_FOR => Pace::Slow,
            found => found.map(|(pace, _)| *pace).unwrap_or_default(),
        }
    }

    /// How a call went. One that ends in time does not clear who missed a deadline just before.
    pub(super) fn set(&self, who: &str, pace: Pace) {
        if pace == Pace::Quick && !self.some.load(Ordering::Relaxed) {
            return;
        }
        let mut known = self.known();
        let held =
            matches!(known.get(who), Some((Pace::Endless, since)) if since.elapsed() < HELD_FOR);
        match pace {
            _ if held => {}
            Pace::Quick => {
                known.remove(who);
            }
            Pace::Slow | Pace::Endless => {
                if known.len() >= MAX_PACES {
                    known.clear();
                }
                known.insert(who.into(), (pace, Instant::now()));
            }
        }
        self.some.store(!known.is_empty(), Ordering::Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Box<str>, (Pace, Instant)>> {
        // Nothing panics while it is held except an allocation that fails; the map is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aside {
    /// Half as many threads as there are processors.
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads: OnceLock::new(), size: (processors / 2).max(1) }
    }

    /// How many such calls run at once.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Runs a call to its end on one of these threads; dropping this ends it.
    pub(super) async fn finish<F>(&self, call: F) -> F::Output
    where
        F: Future + Send + Unpin + 'static,
        F::Output: Send + 'static,
    {
        let threads = self.threads.get_or_init(|| start(self.size));
        let Some(threads) = threads else { return call.await };
        let mut waiting = Waiting(threads.spawn(At(Handle::current(), call).in_current_span()));
        match (&mut waiting.0).await {
            Ok(value) => value,
            // INVARIANT: nobody else ends the task, and the threads go with the engine, which every
            // call holds; what is left is a panic, which is the caller's as if it had run there.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // May happen on a thread of an executor, where nothing waits.
        if let Some(threads) = self.threads.take().flatten() {
            threads.shutdown_background();
        }
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<F: Future + Unpin> Future for At<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self(from, call) = &mut *self;
        let _from = from.enter();
        Pin::new(call).poll(cx)
    }
}

/// None where the system gives no threads: calls then stay where they are.
fn start(size: usize) -> Option<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(size).thread_name("plugin-calls").on_thread_start(stand_back);
    // Tokio panics where a thread cannot be made.
    let threads = catch_unwind(AssertUnwindSafe(|| builder.build().map_err(|e| e.to_string())))
        .unwrap_or_else(|_| Err("the system gives no threads".to_owned()));
    threads
        .inspect_err(|error| tracing::warn!(%error, "no threads for plugins that take long"))
        .ok()
}

/// Linux: lowers the calling thread alone.
fn stand_back() {
    let own = rustix::process::getpriority_process(None);
    let lowered = own.and_then(|own| {
        rustix::process::setpriority_process(None, own.saturating_add(NICE).min(19))
    });
    if let Err(error) = lowered {
        tracing::debug!(%error, "threads of plugins keep their priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pace_of_one_is_not_anothers() {
        let paces = Paces::default();
        assert_eq!(paces.of("reg_1"), Pace::Quick);
        paces.set("reg_1", Pace::Endless);
        paces.set("reg_2", Pace::Slow);
        assert_eq!(paces.of("reg_1"), Pace::Endless);
        assert_eq!((paces.of("reg_2"), paces.of("reg_3")), (Pace::Slow, Pace::Quick));
        paces.set("reg_2", Pace::Quick);
        assert_eq!(paces.of("reg_2"), Pace::Quick);
        // One that ends in time in between changes nothing; time does.
        paces.set("reg_1", Pace::Quick);
        tokio::time::advance(HELD_FOR / 2).await;
        assert_eq!(paces.of("reg_1"), Pace::Endless);
        // Nor does one that misses again: it had no time.
        paces.set("reg_1", Pace::Endless);
        tokio::time::advance(HELD_FOR / 2).await;
        assert_eq!(paces.of("reg_1"), Pace::Slow);
        paces.set("reg_1", Pace::Quick);
        assert_eq!(paces.of("reg_1"), Pace::Quick);
        assert!(!paces.some.load(Ordering::Relaxed));
        for at in 0..3 * MAX_PACES {
            paces.set(&at.to_string(), Pace::Slow);
            assert!(paces.known().len() <= MAX_PACES);
        }
    }

    /// The niceness of the calling thread, from `/proc`.
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn calls_that_take_long_run_on_threads_that_stand_back() {
        let aside = Aside::new();
        let own = niceness();
        assert_eq!(aside.finish(Box::pin(async { niceness() })).await, (own + NICE).min(19));
        assert_eq!(niceness(), own);
    }

    #[tokio::test]
    async fn a_call_ends_with_who_waits_for_it() {
        struct Tell(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.0.take().unwrap().send(()).unwrap();
            }
        }
        let aside = Aside::new();
        let (gone, told) = tokio::sync::oneshot::channel();
        let tell = Tell(Some(gone));
        let call = Box::pin(async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        });
        let waiting = tokio::time::timeout(Duration::from_millis(1), aside.finish(call));
        waiting.await.unwrap_err();
        told.await.unwrap();
    }

    #[tokio::test]
    #[should_panic(expected = "of the call's own")]
    async fn a_panic_is_the_callers() {
        let aside = Aside::new();
        aside.finish(Box::pin(async { panic!("of the call's own") })).await
    }
}
