//! An issuer with the keys it has now, and asking its source for newer ones.
//!
//! A token that names a key nobody knows makes the source be asked at once, since that is how
//! issuers rotate: but once in the cooldown, whatever is sent, and only a bounded number of requests
//! wait for the answer. Tokens of known keys wait for nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hub_crypto::jws::JwsAlgorithm;
use hub_model::Clock;
use tokio::sync::{Notify, Semaphore, watch};

use super::claims::Settings;
use super::keys::{KeySet, KeySetError};

/// How many requests wait for newer keys at once.
const WAITING: usize = 256;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// An issuer of tokens.
#[derive(Debug)]
pub struct Issuer {
    settings: Settings,
    keys: ArcSwap<KeySet>,
    asking: Asking,
}

/// Who asks for newer keys, and when somebody last did.
#[derive(Debug)]
struct Asking {
    wanted: Notify,
    rounds: watch::Sender<u64>,
    last: Mutex<Last>,
    waiting: Semaphore,
}

#[derive(Debug, Default)]
struct Last {
    /// In steady time.
    at: Option<Duration>,
    /// Whether an answer of the source is awaited.
    open: bool,
}

/// What a key set brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Whether it differs from the one before.
    pub changed: bool,
    /// How many keys can verify tokens.
    pub keys: usize,
    /// How many cannot.
    pub passed_over: usize,
}

impl Issuer {
    /// An issuer without keys yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let asking = Asking {
            wanted: Notify::new(),
            rounds: watch::Sender::new(0),
            // The first keys are on their way, where a source is asked for them.
            last: Mutex::new(Last { at: None, open: settings.cooldown.is_some() }),
            waiting: Semaphore::new(WAITING),
        };
        Self { settings, keys: ArcSwap::from_pointee(KeySet::empty()), asking }
    }

    /// What the configuration says of it.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many keys it has.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.load().len()
    }

    /// Takes these keys in place of those before. Tokens of a key that is gone are refused from
    /// now on.
    ///
    /// # Errors
    /// [`KeySetError`]; then the old ones stay.
    pub fn load(&self, bytes: &[u8]) -> Result<Loaded, KeySetError> {
        let set = KeySet::read(bytes)?;
        let (keys, passed_over) = (set.len(), set.passed_over());
        let changed = self.keys.load().digest() != set.digest();
        if changed {
            self.keys.store(Arc::new(set));
        }
        Ok(Loaded { changed, keys, passed_over })
    }

    /// Gives up its keys, which are too old to be believed.
    pub fn withdraw(&self) {
        self.keys.store(Arc::new(KeySet::empty()));
    }

    /// Waits until a token named a key that is not known. For the one who fetches.
    pub async fn wanted(&self) {
        self.asking.wanted.notified().await;
    }

    /// Says that the source is being asked.
    pub fn asking(&self) {
        self.last().open = true;
    }

    /// Lets those go on who wait for an answer of the source, whatever came.
    pub fn answered(&self) {
        self.last().open = false;
        self.asking.rounds.send_modify(|round| *round = round.wrapping_add(1));
    }

    pub(super) fn current(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Whether keys are the ones it has now.
    pub(super) fn has(&self, keys: &Arc<KeySet>) -> bool {
        Arc::ptr_eq(keys, &self.keys.load())
    }

    /// The keys that know this one, after asking the source if need be.
    pub(super) async fn knowing(
        &self,
        kid: Option<&str>,
        algorithm: JwsAlgorithm,
        clock: &dyn Clock,
    ) -> Option<Arc<KeySet>> {
        let keys = self.current();
        if keys.find(kid, algorithm).is_some() {
            return Some(keys);
        }
        // Without an id nothing says that it is a new key.
        let newer = |keys: &Arc<KeySet>| keys.find(kid, algorithm).is_some();
        if kid.is_some() || keys.is_empty() {
            // An answer that was on its way may be older than the key: then it is asked for.
            for _ in 0..2 {
                let joined = self.ask(clock.steady()).await;
                let keys = self.current();
                if newer(&keys) {
                    return Some(keys);
                }
                if !joined {
                    return None;
                }
            }
        }
        Some(self.current()).filter(newer)
    }

    /// Waits for an answer of the source; whether it was on its way already.
    async fn ask(&self, now: Duration) -> bool {
        let Some(cooldown) = self.settings.cooldown else { return false };
        // Before anything else, so that no answer is missed.
        let mut rounds = self.asking.rounds.subscribe();
        let joined = {
            let mut last = self.last();
            let cool = last.at.is_none_or(|at| now.saturating_sub(at) >= cooldown);
            if !last.open && cool {
                *last = Last { at: Some(now), open: true };
                self.asking.wanted.notify_one();
                false
            } else if last.open {
                true
            } else {
                return false;
            }
        };
        let Ok(_place) = self.asking.waiting.try_acquire() else { return false };
        let _ = tokio::time::timeout(PATIENCE, rounds.changed()).await;
        joined
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        // Whole after every statement.
        self.asking.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
