//! Work that keeps a processor busy for milliseconds to seconds: RSA private operations and
//! generation, derivation from passwords, post-quantum generation and signatures. It runs on
//! threads of its own, as many at once as there are processors, and a quarter of them (and one) for
//! any registration: the connections go on, and no registration takes the place of all others.
//!
//! Beside it the count of failed openings of RSA keys, which an attacker of paddings needs many of
//! (security model §4).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hub_model::RegistrationId;
use hub_model::algorithm::Kind;
use tokio::sync::Semaphore;

use crate::Error;

/// Where slow work is done.
#[derive(Debug)]
pub(crate) struct Heavy {
    all: Arc<Semaphore>,
    /// How many places one registration has.
    share: usize,
    registrations: Mutex<HashMap<RegistrationId, Weak<Semaphore>>>,
}

impl Heavy {
    /// As many places as processors.
    pub(crate) fn new() -> Self {
        Self::with_places(std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn with_places(places: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(places)),
            share: (places / 4 + 1).min(places),
            registrations: Mutex::default(),
        }
    }

    /// The places of a registration.
    fn places_of(&self, registration: RegistrationId) -> Arc<Semaphore> {
        let mut all = lock(&self.registrations);
        if let Some(places) = all.get(&registration).and_then(Weak::upgrade) {
            return places;
        }
        // Only those that work or wait are remembered.
        all.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.share));
        all.insert(registration, Arc::downgrade(&places));
        places
    }

    /// Waits for a place and does the work there. Work that has begun keeps its place until it is
    /// done, even when nobody waits for it any longer.
    ///
    /// # Errors
    /// [`Error::Crypto`] when the process is stopping.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        registration: RegistrationId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        // INVARIANT: the semaphores are never closed, and their order is always this one.
        let places = self.places_of(registration);
        let own = Arc::clone(&places).acquire_owned().await.ok();
        let any = Arc::clone(&self.all).acquire_owned().await.ok();
        let done = tokio::task::spawn_blocking(move || {
            let _held = (own, any, places);
            work()
        });
        match done.await {
            Ok(outcome) => Ok(outcome),
            // As if it had happened here: what catches panics sees it.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Error::Crypto(hub_crypto::Error::Random)),
        }
    }
}

/// Whether keys of the kind are slow to generate.
pub(crate) const fn is_slow_to_generate(kind: Kind) -> bool {
    is_rsa(kind) || matches!(kind, Kind::MlDsa(_) | Kind::MlKem(_) | Kind::Hybrid)
}

/// Whether keys of the kind are slow to sign with.
pub(crate) const fn is_slow_to_sign(kind: Kind) -> bool {
    is_rsa(kind) || matches!(kind, Kind::MlDsa(_))
}

/// Whether it is RSA, whose keys are checked when loaded and slow in every private operation.
pub(crate) const fn is_rsa(kind: Kind) -> bool {
    matches!(kind, Kind::RsaOaep { .. } | Kind::RsaPss { .. } | Kind::RsaPkcs1 { .. })
}

/// How many openings of one key may fail in a [`WINDOW`].
const MAX_FAILURES: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);
/// From how many keys on those whose window has passed are forgotten.
const SWEEP: usize = 1024;

/// Failed openings by the id of a key, or of an import job and its key.
#[derive(Debug, Default)]
pub(crate) struct OpenFailures(Mutex<HashMap<[u8; 16], (Instant, u32)>>);

impl OpenFailures {
    /// Refuses when too many have failed.
    pub(crate) fn check(&self, key: &[u8; 16], now: Instant) -> Result<(), Error> {
        let Some((since, count)) = lock(&self.0).get(key).copied() else { return Ok(()) };
        let left = WINDOW.saturating_sub(now.saturating_duration_since(since));
        if count < MAX_FAILURES || left.is_zero() {
            return Ok(());
        }
        Err(Error::OpeningsLimited { retry_after: left.as_secs() + 1 })
    }

    /// Counts one.
    pub(crate) fn count(&self, key: &[u8; 16], now: Instant) {
        let mut keys = lock(&self.0);
        let passed = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        if keys.len() >= SWEEP {
            keys.retain(|_, (since, _)| !passed(*since));
        }
        let entry = keys.entry(*key).or_insert((now, 0));
        if passed(entry.0) {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }
}

/// Nothing panics while a lock is held except an allocation failure; the map is whole either way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_registration_has_its_share_and_no_more() {
        let heavy = Heavy::with_places(8);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let one = RegistrationId::generate();
        let work = (0..12).map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            heavy.run(one, move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                now.fetch_sub(1, Ordering::SeqCst);
            })
        });
        assert!(join_all(work).await.into_iter().all(|outcome| outcome.is_ok()));
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(Heavy::with_places(1).share, 1);
        assert_eq!(heavy.places_of(RegistrationId::generate()).available_permits(), 3);
        assert_eq!(lock(&heavy.registrations).len(), 1);
    }

    #[test]
    fn the_hundred_and_first_failure_waits_for_the_next_minute() {
        let (failures, start) = (OpenFailures::default(), Instant::now());
        let (key, other) = (&[1; 16], &[2; 16]);
        for _ in 0..MAX_FAILURES {
            assert!(failures.check(key, start).is_ok());
            failures.count(key, start);
        }
        let limited = failures.check(key, start + Duration::from_secs(20));
        assert!(matches!(limited, Err(Error::OpeningsLimited { retry_after: 41 })));
        assert!(failures.check(other, start).is_ok());
        let later = start + WINDOW;
        assert!(failures.check(key, later).is_ok());
        failures.count(key, later);
        assert!(failures.check(key, later).is_ok());
    }
}
