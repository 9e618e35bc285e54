//! Work that keeps a processor busy for milliseconds to seconds: RSA private operations and
//! generation, derivation from passwords, post-quantum generation and signatures. It runs on
//! threads of its own, as many at once as there are processors, and a quarter of them (and one) for
//! any registration: the connections go on, and no registration takes the place of all others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hub_model::RegistrationId;
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

/// Nothing panics while a lock is held except an allocation failure; the map is whole either way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

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
}
