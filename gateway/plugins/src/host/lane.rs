//! The time of a call. Calls that outlive a tick give way at every tick; where there are more of them
//! than threads, the time meanwhile is put down to the others. What is spent waiting for answers from
//! outside is not the call's own time either.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How many times its limit a call may take where others like it run in between.
const MAX_STRETCH: u32 = 4;

/// A call of a plugin that is held to be endless rests so long after every tick: a fiftieth of the
/// time is its own.
const REST: Duration = Duration::from_millis(49);

/// Counts the calls that outlive a tick.
#[derive(Clone, Debug)]
pub(super) struct Lanes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Calls that run at once.
    size: usize,
    /// Calls that have outlived a tick.
    long: AtomicUsize,
}

impl Lanes {
    /// So many run at once.
    pub(super) fn new(size: usize) -> Self {
        Self(Arc::new(Shared { size, long: AtomicUsize::new(0) }))
    }

    /// A call begins that may take so long, and `rests` where it is held to be endless.
    pub(super) fn lane(&self, time: Duration, rests: bool) -> Arc<Lane> {
        Arc::new(Lane {
            lanes: Arc::clone(&self.0),
            begun: Instant::now(),
            time,
            rests,
            long: AtomicBool::new(false),
            outside: AtomicU64::new(0),
            behind: AtomicU64::new(0),
        })
    }
}

/// One call's time, and its standing among the others.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Shared>,
    begun: Instant,
    time: Duration,
    rests: bool,
    long: AtomicBool,
    /// Spent waiting for answers from outside, in nanoseconds.
    outside: AtomicU64,
    /// During which others of its kind ran, in nanoseconds.
    behind: AtomicU64,
}

impl Lane {
    /// When the call's own time is over: neither what it waited for answers from outside nor what
    /// others of its kind ran meanwhile is its own.
    pub(super) fn deadline(&self) -> Instant {
        let behind = Duration::from_nanos(self.behind.load(Ordering::Relaxed));
        (self.begun + self.outside() + self.time + behind).min(self.end())
    }

    /// When the call is over however long others ran: its caller waits too.
    pub(super) fn end(&self) -> Instant {
        self.begun + self.outside() + self.time.saturating_mul(MAX_STRETCH)
    }

    /// Waits for something outside, while the call's own time stands still. Gives how long it was.
    pub(super) async fn while_outside<F: Future>(&self, what: F) -> (F::Output, Duration) {
        let left = Instant::now();
        let answer = what.await;
        let waited = left.elapsed();
        self.outside.fetch_add(nanos(waited), Ordering::Relaxed);
        (answer, waited)
    }

    /// Comes when the call is over by this much, whether anything of it runs or not. For calls that
    /// wait for nothing outside.
    pub(super) async fn overdue(&self, by: Duration) {
        loop {
            let over = self.deadline() + by;
            if Instant::now() >= over {
                return;
            }
            tokio::time::sleep_until(over).await;
        }
    }

    /// Lets others run.
    pub(super) async fn give_way(&self) {
        if !self.long.swap(true, Ordering::Relaxed) {
            self.lanes.long.fetch_add(1, Ordering::Relaxed);
        }
        let left = Instant::now();
        if self.rests {
            tokio::time::sleep_until((left + REST).min(self.deadline())).await;
            return;
        }
        // Wakes after the driver has been looked at: where the call still runs beside sockets, it does
        // not delay them either.
        tokio::task::yield_now().await;
        self.was_behind(left);
    }

    /// The call runs again, or for the first time.
    pub(super) fn was_behind(&self, since: Instant) {
        if self.lanes.long.load(Ordering::Relaxed) > self.lanes.size {
            self.behind.fetch_add(nanos(since.elapsed()), Ordering::Relaxed);
        }
    }

    /// When it was asked for.
    pub(super) const fn begun(&self) -> Instant {
        self.begun
    }

    /// Whether it rests after every tick.
    pub(super) const fn rests(&self) -> bool {
        self.rests
    }

    /// Whether it has outlived a tick.
    pub(super) fn is_long(&self) -> bool {
        self.long.load(Ordering::Relaxed)
    }

    fn outside(&self) -> Duration {
        Duration::from_nanos(self.outside.load(Ordering::Relaxed))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.is_long() {
            self.lanes.long.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(50);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_do_meanwhile_counts_where_there_are_more_calls_than_threads() {
        let lanes = Lanes::new(1);
        let begun = Instant::now();
        let (first, second) = (lanes.lane(TIME, false), lanes.lane(TIME, false));
        let busy = |millis| tokio::time::advance(ms(millis));
        assert!(!first.is_long());
        // Alone with what else the hub does: its time goes on.
        tokio::join!(first.give_way(), busy(5));
        assert_eq!(first.deadline(), begun + TIME);
        assert!(first.is_long() && !second.is_long());
        second.give_way().await;
        tokio::join!(first.give_way(), busy(5));
        assert_eq!(first.deadline(), begun + TIME + ms(5));
        // So much and no more.
        tokio::join!(first.give_way(), busy(500));
        assert_eq!(first.deadline(), begun + 4 * TIME);
        drop((first, second));
        assert_eq!(lanes.0.long.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_overdue_though_nothing_of_it_runs() {
        let lane = Lanes::new(1).lane(TIME, false);
        lane.overdue(ms(5)).await;
        assert_eq!(lane.begun().elapsed(), ms(55));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_spent_outside_is_not_its_own_and_rests_are() {
        let lanes = Lanes::new(1);
        let lane = lanes.lane(TIME, false);
        let ((), waited) = lane.while_outside(tokio::time::sleep(ms(1_000))).await;
        assert_eq!(waited, ms(1_000));
        assert_eq!(lane.deadline(), lane.begun() + TIME + ms(1_000));
        let lane = lanes.lane(TIME, true);
        lane.give_way().await;
        assert_eq!(lane.begun().elapsed(), REST);
        // Not beyond its end.
        lane.give_way().await;
        assert_eq!(lane.begun().elapsed(), TIME);
        assert_eq!(lane.deadline(), lane.begun() + TIME);
    }
}
