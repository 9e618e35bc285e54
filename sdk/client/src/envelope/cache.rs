//! Branch keys as they are remembered: bounded in number, age, messages and bytes, fetched by one
//! caller at a time, and erased when they are let go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hub_model::SecretBytes;

use super::EnvelopeError;

/// A branch key. Its bytes are erased with the last user of it.
#[derive(Debug)]
pub(super) struct BranchKey {
    pub(super) key: SecretBytes,
    /// As the hub encrypted it.
    pub(super) ciphertext: Box<str>,
    /// In steady time.
    since: Duration,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// How long and for how much a branch key serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) age: Duration,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) branches: usize,
}

impl BranchKey {
    pub(super) fn new(key: SecretBytes, ciphertext: Box<str>, now: Duration) -> Self {
        let (messages, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { key, ciphertext, since: now, messages, bytes }
    }

    fn is_over(&self, bounds: &Bounds, now: Duration) -> bool {
        now.saturating_sub(self.since) >= bounds.age
    }

    /// Takes a message of so many bytes out of what is left; false when it does not fit.
    pub(super) fn take(&self, bounds: &Bounds, bytes: u64) -> bool {
        let relaxed = Ordering::Relaxed;
        let room = |used: u64| (used < bounds.messages).then(|| used + 1);
        // A first message may be larger than the bound by itself: it has to be under some key.
        let fits =
            |used: u64| used.checked_add(bytes).filter(|sum| used == 0 || *sum <= bounds.bytes);
        self.messages.fetch_update(relaxed, relaxed, room).is_ok()
            && self.bytes.fetch_update(relaxed, relaxed, fits).is_ok()
    }

    /// Whether three quarters of a bound are reached: time to ask for the next one.
    fn is_ageing(&self, bounds: &Bounds, now: Duration) -> bool {
        let most = |used: u64, bound: u64| used >= bound - bound / 4;
        now.saturating_sub(self.since) >= bounds.age - bounds.age / 4
            || most(self.messages.load(Ordering::Relaxed), bounds.messages)
            || most(self.bytes.load(Ordering::Relaxed), bounds.bytes)
    }
}

/// The place of one branch key: whoever holds `turn` fetches it.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) turn: tokio::sync::Mutex<()>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    branch: Option<Arc<BranchKey>>,
    /// When it was last asked for.
    used: u64,
    /// How often fetching has failed, and how the last time.
    failures: u64,
    failure: Option<EnvelopeError>,
    /// Not before this is the next one asked for ahead of time.
    retry: Duration,
}

/// What a place has for a message.
#[derive(Debug)]
pub(super) enum Found {
    Fresh(Arc<BranchKey>),
    /// Good, but the next one should be fetched.
    Ageing(Arc<BranchKey>),
    /// Nothing; so many fetches have failed before.
    Nothing(u64),
}

impl Place {
    /// A branch key with room for so many bytes.
    pub(super) fn find(&self, bounds: &Bounds, now: Duration, bytes: u64) -> Found {
        let kept = lock(&self.kept);
        match &kept.branch {
            Some(branch) if !branch.is_over(bounds, now) && branch.take(bounds, bytes) => {
                let branch = Arc::clone(branch);
                if branch.is_ageing(bounds, now) && now >= kept.retry {
                    Found::Ageing(branch)
                } else {
                    Found::Fresh(branch)
                }
            }
            _ => Found::Nothing(kept.failures),
        }
    }

    pub(super) fn put(&self, branch: &Arc<BranchKey>) {
        lock(&self.kept).branch = Some(Arc::clone(branch));
    }

    /// Notes that fetching failed.
    pub(super) fn put_failure(&self, failure: &EnvelopeError) {
        let mut kept = lock(&self.kept);
        kept.failures += 1;
        kept.failure = Some(failure.clone());
    }

    /// Notes that fetching ahead of time failed: not tried again before `retry`. It is no failure
    /// for those who wait for a key that has room for them: less patience was had with it.
    pub(super) fn put_off(&self, retry: Duration) {
        lock(&self.kept).retry = retry;
    }

    /// How a fetch failed since so many had failed: whoever waited for it shares its fate, so that
    /// a hub that does not answer is not waited for by one caller after the other.
    pub(super) fn failed_since(&self, failures: u64) -> Option<EnvelopeError> {
        let kept = lock(&self.kept);
        kept.failure.clone().filter(|_| kept.failures != failures)
    }
}

/// Places by what they are for.
#[derive(Debug, Default)]
pub(super) struct Cache {
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    by_id: HashMap<[u8; 32], Arc<Place>>,
    clock: u64,
}

impl Cache {
    /// The place of this id. Where it is new, whatever is over is let go, and the one that was not
    /// used for longest when there is no room.
    pub(super) fn place(&self, id: [u8; 32], bounds: &Bounds, now: Duration) -> Arc<Place> {
        let mut places = lock(&self.places);
        places.clock += 1;
        let used = places.clock;
        if !places.by_id.contains_key(&id) {
            places.by_id.retain(|_, place| {
                let kept = lock(&place.kept);
                // Without a key it is being fetched, or the fetch failed.
                match &kept.branch {
                    Some(branch) => !branch.is_over(bounds, now),
                    None => Arc::strong_count(place) > 1,
                }
            });
            while places.by_id.len() >= bounds.branches.max(1) {
                let last = |(_, place): &(&[u8; 32], &Arc<Place>)| lock(&place.kept).used;
                let Some(oldest) = places.by_id.iter().min_by_key(last).map(|(id, _)| *id) else {
                    break;
                };
                places.by_id.remove(&oldest);
            }
        }
        let place = Arc::clone(places.by_id.entry(id).or_default());
        lock(&place.kept).used = used;
        place
    }

    /// Lets everything go.
    pub(super) fn clear(&self) {
        lock(&self.places).by_id.clear();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.places).by_id.len()
    }
}

/// Nothing panics while a lock is held; what is inside is whole either way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { age: Duration::from_secs(100), messages: 8, bytes: 1000, branches: 3 };

    fn key(now: Duration) -> Arc<BranchKey> {
        Arc::new(BranchKey::new(SecretBytes::new(vec![1; 32]), "ch1:1:AA==".into(), now))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_branch_key_ends_with_its_age_its_messages_and_its_bytes() {
        let place = Place::default();
        let find = |seconds, bytes| place.find(&BOUNDS, at(seconds), bytes);
        assert!(matches!(find(0, 1), Found::Nothing(0)));
        place.put(&key(at(0)));
        assert!(matches!(find(74, 1), Found::Fresh(_)));
        assert!(matches!(find(75, 1), Found::Ageing(_)));
        assert!(matches!(find(99, 1), Found::Ageing(_)));
        assert!(matches!(find(100, 1), Found::Nothing(_)));

        place.put(&key(at(0)));
        for _ in 0..5 {
            assert!(matches!(find(0, 0), Found::Fresh(_)));
        }
        for _ in 5..8 {
            assert!(matches!(find(0, 0), Found::Ageing(_)));
        }
        assert!(matches!(find(0, 0), Found::Nothing(_)));

        place.put(&key(at(0)));
        assert!(matches!(find(0, 700), Found::Fresh(_)));
        assert!(matches!(find(0, 301), Found::Nothing(_)));
        assert!(matches!(find(0, 300), Found::Ageing(_)));
        // Alone, a large one has to be somewhere.
        place.put(&key(at(0)));
        assert!(matches!(find(0, 5000), Found::Ageing(_)));
        assert!(matches!(find(0, 1), Found::Nothing(_)));
    }

    #[test]
    fn after_a_failure_the_next_one_is_not_asked_for_at_once() {
        let place = Place::default();
        place.put(&key(at(0)));
        let failure = EnvelopeError::BranchKey("x");
        assert!(place.failed_since(0).is_none());
        place.put_off(at(90));
        assert!(place.failed_since(0).is_none(), "whoever waits asks by itself");
        place.put_failure(&failure);
        assert!(place.failed_since(0).is_some() && place.failed_since(1).is_none());
        assert!(matches!(place.find(&BOUNDS, at(80), 1), Found::Fresh(_)));
        assert!(matches!(place.find(&BOUNDS, at(90), 1), Found::Ageing(_)));
    }

    #[test]
    fn places_are_bounded_and_those_that_are_over_go_first() {
        let cache = Cache::default();
        let put = |id: u8, seconds| {
            let place = cache.place([id; 32], &BOUNDS, at(seconds));
            place.put(&key(at(seconds)));
        };
        let has = |id: u8, seconds| {
            let place = cache.place([id; 32], &BOUNDS, at(seconds));
            matches!(place.find(&BOUNDS, at(seconds), 0), Found::Fresh(_) | Found::Ageing(_))
        };
        (1..=3).for_each(|id| put(id, 0));
        assert!(has(1, 1));
        put(4, 1);
        // The second was not used for longest.
        assert!(has(1, 1) && has(3, 1) && has(4, 1));
        assert_eq!(cache.len(), 3);
        put(5, 100);
        // Those of the beginning are over.
        assert_eq!(cache.len(), 2);
        assert!(has(4, 100) && has(5, 100));
        cache.clear();
        assert_eq!(cache.len(), 0);
    }
}
