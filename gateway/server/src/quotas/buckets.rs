//! Token buckets, many windows to a bucket, in bounded memory.
//!
//! Each window is a GCRA cell: the instant at which its bucket would be full again (its theoretical
//! arrival time), so that a bucket is four numbers and nothing has to be refilled. All windows of a
//! rule are asked and charged under one lock: either each of them gives, or none is charged. That,
//! the bound on memory and a clock of the tests' own are what governor's limiters do not offer;
//! the gates by address and participant, which need none of it, stay with governor (ADR 20).

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hub_model::quota::{MAX_WINDOWS, QuotaWindow, RegistrationQuotas};
use hub_model::{Registration, RegistrationId};

use crate::throttle::Source;

const SHARDS: usize = 64;
/// Buckets that are not full, of the configuration's rules and again of all registrations' own. A
/// bucket takes some hundred bytes.
const MOST: usize = 131_072;
/// Buckets of the own rules of one registration.
const MOST_OF_ONE: usize = 4096;
/// Buckets of its own rules that a registration may have however many the others have.
const RESERVED: usize = 64;
/// Nanoseconds between two searches of a crowded shard for buckets that are full again.
const PAUSE: u64 = 1_000_000_000;

/// Who or what a bucket is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A source.
    Source(Source),
    /// A participant, registration or key.
    Id([u8; 16]),
    /// Those for whom there was no room: they share one bucket a rule, and every own rule is of one
    /// registration.
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

/// Every bucket of every rule of the configuration.
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
        if !shard.has_room_for(&key, self.most, now) {
            // There are no more of these than rules.
            key.subject = Subject::Others;
            drop(shard);
            let Some(mut shared) = self.shard(&key) else {
                return Ok(Taken { window: 0, remaining: 0, reset: 0 });
            };
            return shared.charge(key, windows, now);
        }
        shard.charge(key, windows, now)
    }

    fn shard(&self, key: &BucketKey) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(place(&self.hasher, key)).map(lock)
    }

    /// Buckets that are not known to be full.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).cells.len()).sum()
    }

    /// Forgets buckets that are full again.
    pub(super) fn shed(&self, now: u64) {
        for shard in &self.shards {
            lock(shard).shed(now);
        }
    }
}

impl Shard {
    fn forget_full(&mut self, now: u64) {
        self.searched = now;
        self.cells.retain(|_, cells| cells.iter().any(|full| *full > now));
    }

    fn shed(&mut self, now: u64) {
        self.forget_full(now);
        if self.cells.capacity() > 64 && self.cells.capacity() / 4 > self.cells.len() {
            self.cells.shrink_to_fit();
        }
    }

    /// Whether a bucket is there or has room, if need be after a search, which is not done at every
    /// request.
    fn has_room_for(&mut self, key: &BucketKey, most: usize, now: u64) -> bool {
        if self.cells.len() < most || self.cells.contains_key(key) {
            return true;
        }
        if now.saturating_sub(self.searched) >= PAUSE {
            self.forget_full(now);
        }
        self.cells.len() < most
    }

    /// What was refused leaves no bucket behind.
    fn charge(
        &mut self,
        key: BucketKey,
        windows: &[QuotaWindow],
        now: u64,
    ) -> Result<Taken, Empty> {
        let mut cells = self.cells.get(&key).copied().unwrap_or_default();
        let taken = charge(&mut cells, windows, now)?;
        self.cells.insert(key, cells);
        Ok(taken)
    }
}

/// The buckets of one registration's own rules.
#[derive(Debug, Default)]
struct Table {
    /// Of the registration when the buckets of rules that are gone were last dropped.
    generation: u64,
    buckets: Shard,
}

/// The buckets of the rules that registrations carry, a table for each: whoever fills theirs, by
/// many subjects and long windows, takes no room from anybody else.
#[derive(Debug)]
pub(super) struct OwnBuckets {
    shards: Box<[Mutex<HashMap<RegistrationId, Table>>]>,
    hasher: RandomState,
    /// Buckets in all tables.
    count: AtomicUsize,
    most: usize,
    of_one: usize,
}

impl OwnBuckets {
    pub(super) fn new() -> Self {
        Self::with_most(MOST, MOST_OF_ONE)
    }

    fn with_most(most: usize, of_one: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), count: AtomicUsize::new(0), most, of_one }
    }

    /// Takes one out of every window of a bucket, or of none.
    pub(super) fn take(
        &self,
        registration: &Registration,
        mut key: BucketKey,
        windows: &[QuotaWindow],
        now: u64,
    ) -> Result<Taken, Empty> {
        let Some(mut shard) = self.shard(registration.id) else {
            return Ok(Taken { window: 0, remaining: 0, reset: 0 });
        };
        let table = shard.entry(registration.id).or_default();
        let before = table.buckets.cells.len();
        table.keep_rules_of(registration);
        let scarce = self.count.load(Ordering::Relaxed) >= self.most;
        let most = if scarce { RESERVED.min(self.of_one) } else { self.of_one };
        if !table.buckets.has_room_for(&key, most, now) {
            key.subject = Subject::Others;
        }
        let taken = table.buckets.charge(key, windows, now);
        self.recount(before, table.buckets.cells.len());
        taken
    }

    /// Drops the buckets of a registration that has no rules any more.
    pub(super) fn forget(&self, registration: &Registration) {
        if self.len() == 0 {
            return;
        }
        let Some(mut shard) = self.shard(registration.id) else { return };
        if let Some(table) = shard.get_mut(&registration.id) {
            let before = table.buckets.cells.len();
            table.keep_rules_of(registration);
            self.recount(before, table.buckets.cells.len());
        }
    }

    fn shard(&self, id: RegistrationId) -> Option<MutexGuard<'_, HashMap<RegistrationId, Table>>> {
        self.shards.get(place(&self.hasher, &id)).map(lock)
    }

    /// Asked while the shard is locked, so that nothing is taken away before it was added.
    fn recount(&self, before: usize, after: usize) {
        if before != after {
            self.count.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Buckets that are not known to be full.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Forgets buckets that are full again.
    pub(super) fn shed(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, table| {
                let before = table.buckets.cells.len();
                table.buckets.shed(now);
                self.recount(before, table.buckets.cells.len());
                !table.buckets.cells.is_empty()
            });
        }
    }
}

impl Table {
    /// Drops the buckets of rules that a newer state of the registration does not have.
    fn keep_rules_of(&mut self, registration: &Registration) {
        if registration.generation <= self.generation {
            return;
        }
        self.generation = registration.generation;
        let quotas = registration.quotas.as_deref();
        let has = |quotas: &RegistrationQuotas, number| {
            quotas.rules.iter().chain(&quotas.bounds).any(|kept| kept.number == number)
        };
        self.buckets.cells.retain(|key, _| quotas.is_some_and(|quotas| has(quotas, key.rule)));
    }
}

fn place(hasher: &RandomState, of: &impl Hash) -> usize {
    usize::try_from(hasher.hash_one(of) % 64).unwrap_or(0)
}

/// Nothing panics while a lock is held except an allocation failure; the map is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    use hub_model::quota::KeptQuota;
    use hub_model::{Environment, Tags, Timestamp};

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
        let subject = |n| subject(1, n);
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
    fn registration(generation: u64, numbers: &[u64]) -> Registration {
        let rule = |number: &u64| {
            let rule = serde_json::json!({"name": "rule", "per": "participant",
                "limits": [{"requests": 1, "windowSeconds": 86_400}]});
            KeptQuota { number: *number, rule: serde_json::from_value(rule).unwrap() }
        };
        let rules = numbers.iter().map(rule).collect();
        let time = Timestamp::from_micros(0);
        Registration {
            id: RegistrationId::generate(),
            name: "shop".parse().unwrap(),
            description: String::new(),
            environment: Environment::Dev,
            frozen: false,
            frozen_by_hub: false,
            tags: Tags::default(),
            created: time,
            updated: time,
            generation,
            rotation: None,
            quotas: Some(Box::new(RegistrationQuotas { bounds: Vec::new(), rules })),
        }
    }

    fn subject(rule: u64, n: u32) -> BucketKey {
        BucketKey { rule, subject: Subject::Source(Source::V4(n)) }
    }

    #[test]
    fn a_registration_at_its_cap_moves_no_subject_of_another_into_a_shared_bucket() {
        let own = OwnBuckets::with_most(2050, 1024);
        let windows = [window(1, 86_400, None)];
        let greedy: Vec<_> = (1..=3).map(|number| registration(1, &[number])).collect();
        for (number, greedy) in (1..).zip(&greedy) {
            let passed =
                (0..10_000).filter(|n| own.take(greedy, subject(number, *n), &windows, 1).is_ok());
            // Beyond their cap, or their reserve when the tables are full, they share one.
            let most = if number < 3 { 1024 } else { RESERVED };
            assert_eq!(passed.count(), most + 1);
        }
        assert_eq!(own.len(), 2 * 1025 + RESERVED + 1);
        let other = registration(1, &[4]);
        for n in 0..60 {
            assert!(own.take(&other, subject(4, n), &windows, 1).is_ok(), "{n}");
            assert!(own.take(&other, subject(4, n), &windows, 1).is_err(), "{n}");
        }
        own.shed(2 * 86_400 * SECOND);
        assert_eq!(own.len(), 0);
        assert!(own.shards.iter().all(|shard| lock(shard).is_empty()));
    }

    #[test]
    fn buckets_of_replaced_rules_are_dropped_and_those_of_kept_rules_are_not() {
        let own = OwnBuckets::new();
        let windows = [window(1, 86_400, None)];
        let mut shop = registration(1, &[1, 2]);
        for number in [1, 2] {
            for n in 0..100 {
                assert!(own.take(&shop, subject(number, n), &windows, 1).is_ok());
            }
        }
        shop = Registration { id: shop.id, ..registration(2, &[2, 3]) };
        assert!(own.take(&shop, subject(2, 0), &windows, 1).is_err(), "the rule goes on");
        assert_eq!(own.len(), 100);
        // A state that was read before the change brings nothing back by itself.
        own.forget(&Registration { quotas: None, generation: 1, ..shop.clone() });
        assert_eq!(own.len(), 100);
        own.forget(&Registration { quotas: None, generation: 3, ..shop });
        assert_eq!(own.len(), 0);
    }
}
