//! How calls that take long share the machine: each gives way at every tick, and only half of the
//! processors ever run such calls at once. A loop costs its neighbours a tick, never a thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Places for calls that outlive a tick.
#[derive(Clone, Debug)]
pub(super) struct Lanes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Arc<Semaphore>,
    size: usize,
    /// Calls that have outlived a tick.
    long: AtomicUsize,
}

impl Lanes {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of((processors / 2).max(1))
    }

    fn of(size: usize) -> Self {
        let places = Arc::new(Semaphore::new(size));
        Self(Arc::new(Shared { places, size, long: AtomicUsize::new(0) }))
    }

    pub(super) fn lane(&self) -> Arc<Lane> {
        Arc::new(Lane { lanes: Arc::clone(&self.0), state: Mutex::default() })
    }
}

/// One call's place, once it has one.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether it has outlived a tick.
    long: bool,
    held: Option<OwnedSemaphorePermit>,
    waited: Duration,
}

impl Lane {
    /// Lets others run, then waits for a place, until `end`. Without one by then the call goes on:
    /// its next tick ends it.
    pub(super) async fn give_way(&self, end: Instant) {
        self.join();
        let left = Instant::now();
        // Wakes after the driver has been looked at, so that a loop does not delay sockets either.
        tokio::task::yield_now().await;
        // Where there are more such calls than lanes, what went by meanwhile was theirs, too: on one
        // processor they never meet at the semaphore.
        let shared = self.lanes.long.load(Ordering::Relaxed) > self.lanes.size;
        let begun = if shared { left } else { Instant::now() };
        let place = timeout_at(end, Arc::clone(&self.lanes.places).acquire_owned()).await;
        let mut state = self.state();
        state.held = place.ok().and_then(Result::ok);
        state.waited = state.waited.saturating_add(begun.elapsed());
    }

    /// Time spent waiting for a place: the neighbours' and not the call's own.
    pub(super) fn waited(&self) -> Duration {
        self.state().waited
    }

    /// Leaves the place, before waiting for something else.
    pub(super) fn leave(&self) {
        self.state().held = None;
    }

    /// Is one of those that outlive a tick, and holds no place.
    fn join(&self) {
        let mut state = self.state();
        state.held = None;
        if !std::mem::replace(&mut state.long, true) {
            self.lanes.long.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.state().long {
            self.lanes.long.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_place_is_counted_and_holding_one_is_not() {
        let lanes = Lanes::of(1);
        let (first, second) = (lanes.lane(), lanes.lane());
        let end = Instant::now() + Duration::from_secs(1);
        first.give_way(end).await;
        let held = async {
            // Until the second waits.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            tokio::time::advance(Duration::from_millis(30)).await;
            first.leave();
        };
        tokio::join!(second.give_way(end), held);
        assert_eq!(first.waited(), Duration::ZERO);
        assert_eq!(second.waited(), Duration::from_millis(30));
        // Nobody waits for longer than until the end.
        first.give_way(end).await;
        assert_eq!(Instant::now(), end);
        drop((first, second));
        assert_eq!(lanes.0.long.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_do_meanwhile_counts_where_lanes_are_not_free() {
        let lanes = Lanes::of(1);
        let (first, second) = (lanes.lane(), lanes.lane());
        let end = Instant::now() + Duration::from_secs(1);
        let busy = || tokio::time::advance(Duration::from_millis(5));
        // Alone with what else the hub does: its time goes on.
        tokio::join!(first.give_way(end), busy());
        assert_eq!(first.waited(), Duration::ZERO);
        first.leave();
        second.give_way(end).await;
        second.leave();
        tokio::join!(first.give_way(end), busy());
        assert_eq!(first.waited(), Duration::from_millis(5));
    }
}
