//! Token buckets, many windows to a bucket, in bounded memory.
//!
//! Each window is a GCRA cell: the instant at which its bucket would be full again (its theoretical
//! arrival time), so that a bucket is four numbers and nothing has to be refilled. All windows of a
//! rule are asked and charged under one lock: either each of them gives, or none is charged. That,
//! the bound on memory and a clock of the tests' own are what governor's limiters do not offer;
//! the gates by address and participant, which need none of it, stay with governor (ADR 20).

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hub_model::quota::{MAX_WINDOWS, QuotaWindow};

use crate::throttle::Source;

const SHARDS: usize = 64;
/// Buckets that are not full, in all. A bucket takes some hundred bytes.
const MOST: usize = 131_072;
/// Nanoseconds between two searches of a crowded shard for buckets that are full again.
const PAUSE: u64 = 1_000_000_000;

/// Who or what a bucket is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A source.
    Source(Source),
    /// A participant, registration or key.
    Id([u8; 16]),
    /// Those for whom there was no room: they share one bucket a rule.
    Others,
}

/// Which bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BucketKey {
    pub(super) rule: u64,
    pub(super) subject: Subject,
}

/// When each window is full again, in nanoseconds.
type Cells = [u64; MAX_WINDOWS];

/// What is left of the window with the smallest part left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) window: usize,
    pub(super) remaining: u32,
    /// Nanoseconds until it is full.
    pub(super) reset: u64,
}

/// A window without room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Empty {
    pub(super) window: usize,
    /// Nanoseconds until there is room for one.
    pub(super) wait: u64,
    /// Nanoseconds until it is full.
    pub(super) reset: u64,
}

#[derive(Debug, Default)]
struct Shard {
    cells: HashMap<BucketKey, Cells>,
    searched: u64,
}

/// Every bucket of every rule.
#[derive(Debug)]
pub(super) struct Buckets {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    most: usize,
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self::with_most(MOST)
    }

    fn with_most(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), most: (most / SHARDS).max(1) }
    }

    /// Takes one out of every window of a bucket, or of none.
    pub(super) fn take(
        &self,
        mut key: BucketKey,
        windows: &[QuotaWindow],
        now: u64,
    ) -> Result<Taken, Empty> {
        let Some(mut shard) = self.shard(&key) else {
            return Ok(Taken { window: 0, remaining: 0, reset: 0 });
        };
        let mut cells = match shard.cells.get(&key) {
            Some(cells) => *cells,
            None => {
                if shard.cells.len() >= self.most && !shard.make_room(self.most, now) {
                    key.subject = Subject::Others;
                    drop(shard);
                    return self.take_shared(key, windows, now);
                }
                [0; MAX_WINDOWS]
            }
        };
        let taken = charge(&mut cells, windows, now)?;
        shard.cells.insert(key, cells);
        Ok(taken)
    }

    /// There are no more of these than rules.
    fn take_shared(
        &self,
        key: BucketKey,
        windows: &[QuotaWindow],
        now: u64,
    ) -> Result<Taken, Empty> {
        let Some(mut shard) = self.shard(&key) else {
            return Ok(Taken { window: 0, remaining: 0, reset: 0 });
        };
        let cells = shard.cells.entry(key).or_insert([0; MAX_WINDOWS]);
        charge(cells, windows, now)
    }

    fn shard(&self, key: &BucketKey) -> Option<MutexGuard<'_, Shard>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % 64).unwrap_or(0);
        let shard = self.shards.get(hash)?;
        // Nothing panics while a lock is held except an allocation failure; the map is whole.
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Buckets that are not known to be full.
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).cells.len()).sum()
    }

    /// Forgets buckets that are full again.
    pub(super) fn shed(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.forget_full(now);
            if shard.cells.capacity() > 64 && shard.cells.capacity() / 4 > shard.cells.len() {
                shard.cells.shrink_to_fit();
            }
        }
    }
}

impl Shard {
    fn forget_full(&mut self, now: u64) {
        self.searched = now;
        self.cells.retain(|_, cells| cells.iter().any(|full| *full > now));
    }

    /// Whether there is room for another after a search, which is not done at every request.
    fn make_room(&mut self, most: usize, now: u64) -> bool {
        if now.saturating_sub(self.searched) >= PAUSE {
            self.forget_full(now);
        }
        self.cells.len() < most
    }
}

/// Asks every window first, and charges when each has room.
fn charge(cells: &mut Cells, windows: &[QuotaWindow], now: u64) -> Result<Taken, Empty> {
    let mut after = *cells;
    let mut least = Taken { window: 0, remaining: u32::MAX, reset: 0 };
    let mut least_part = u64::MAX;
    for (at, (window, full)) in windows.iter().zip(after.iter_mut()).enumerate() {
        let interval = window.interval();
        let next = (*full).max(now).saturating_add(interval);
        let most = now.saturating_add(interval.saturating_mul(u64::from(window.burst())));
        if next > most {
            let reset = (*full).saturating_sub(now);
            return Err(Empty { window: at, wait: next - most, reset });
        }
        *full = next;
        let left = (most - next).checked_div(interval).unwrap_or(0);
        // The part in millionths tells small and large windows apart well enough.
        let part = left.saturating_mul(1_000_000) / u64::from(window.burst().max(1));
        if part < least_part {
            least_part = part;
            let remaining = u32::try_from(left).unwrap_or(u32::MAX);
            least = Taken { window: at, remaining, reset: next - now };
        }
    }
    *cells = after;
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn window(requests: u32, window_seconds: u32, burst: Option<u32>) -> QuotaWindow {
        QuotaWindow { requests, window_seconds, burst }
    }

    fn key(rule: u64, subject: u8) -> BucketKey {
        BucketKey { rule, subject: Subject::Id([subject; 16]) }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let buckets = Buckets::new();
        let windows = [window(10, 1, Some(3))];
        let take = |now| buckets.take(key(1, 1), &windows, now);
        let left: Vec<_> = (0..3).map(|_| take(0).unwrap().remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        assert_eq!(take(0), Err(Empty { window: 0, wait: SECOND / 10, reset: 3 * SECOND / 10 }));
        assert!(take(SECOND / 10 - 1).is_err());
        assert!(take(SECOND / 10).is_ok());
        assert!(take(SECOND / 10).is_err());
        assert!(buckets.take(key(1, 2), &windows, 0).is_ok(), "another subject");
        assert!(buckets.take(key(2, 1), &windows, 0).is_ok(), "another rule");
        for _ in 0..3 {
            assert!(take(100 * SECOND).is_ok(), "idle time fills it, and no more than that");
        }
        assert!(take(100 * SECOND).is_err());
    }

    #[test]
    fn what_one_window_refuses_takes_nothing_from_another() {
        let buckets = Buckets::new();
        let windows = [window(2, 1, None), window(4, 86_400, None)];
        let take = |now| buckets.take(key(1, 1), &windows, now);
        assert!(take(0).is_ok() && take(0).is_ok());
        for _ in 0..100 {
            assert_eq!(take(0).unwrap_err().window, 0, "the second is over, the day is not");
        }
        assert!(take(SECOND).is_ok() && take(SECOND).is_ok());
        let empty = take(2 * SECOND).unwrap_err();
        assert_eq!((empty.window, empty.wait / SECOND), (1, 86_400 / 4 - 2));
    }

    /// Against a bucket of whole tokens in exact arithmetic, over random lives.
    #[test]
    fn it_does_what_a_token_bucket_does() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for round in 0..200 {
            let (requests, seconds) =
                (1 + u32::try_from(random(50)).unwrap(), 1 + u32::try_from(random(100)).unwrap());
            let windows = [window(requests, seconds, Some(1 + u32::try_from(random(20)).unwrap()))];
            let (interval, burst) = (windows[0].interval(), u64::from(windows[0].burst()));
            let buckets = Buckets::new();
            let (mut now, mut level, mut last) = (0, burst * interval, 0);
            for step in 0..500 {
                now += random(interval * 3);
                level = (level + (now - last)).min(burst * interval);
                last = now;
                let expected = level >= interval;
                let taken = buckets.take(key(1, 1), &windows, now);
                assert_eq!(taken.is_ok(), expected, "round {round}, step {step}");
                if let Ok(taken) = taken {
                    level -= interval;
                    assert_eq!(u64::from(taken.remaining), level / interval);
                }
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_full_buckets_are_forgotten() {
        let buckets = Buckets::with_most(640);
        let windows = [window(1, 86_400, Some(2))];
        let subject = |n: u32| BucketKey { rule: 1, subject: Subject::Source(Source::V4(n)) };
        for n in 0..100_000 {
            let _ = buckets.take(subject(n), &windows, 1);
        }
        assert!(buckets.len() <= 640 + 1, "{}", buckets.len());
        // Those who came too late share a bucket, which is empty by now.
        let late = (0..100_000).filter(|n| buckets.take(subject(*n), &windows, 2).is_ok()).count();
        assert!((1..=640).contains(&late), "{late}");
        buckets.shed(4 * 86_400 * SECOND);
        assert_eq!(buckets.len(), 0);
        assert!(buckets.take(subject(99_999), &windows, 4 * 86_400 * SECOND).is_ok());
    }
}
