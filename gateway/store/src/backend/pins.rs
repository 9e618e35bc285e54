//! Old revisions an embedded engine still holds for scans of several pages: few, and not for long.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Revision;

const MAX_PINS: usize = 32;
const MAX_AGE: Duration = Duration::from_secs(20);

/// Snapshots by revision, the least recently used going first.
pub(super) struct Pins<S>(Mutex<Vec<Pin<S>>>);

struct Pin<S> {
    revision: Revision,
    used: Instant,
    snapshot: S,
}

impl<S: Clone> Pins<S> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Keeps a snapshot for later pages.
    pub(super) fn keep(&self, revision: Revision, snapshot: S) {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|pin| pin.used.elapsed() < MAX_AGE && pin.revision != revision);
        if pins.len() >= MAX_PINS
            && let Some(oldest) =
                pins.iter().enumerate().min_by_key(|(_, pin)| pin.used).map(|(index, _)| index)
        {
            pins.swap_remove(oldest);
        }
        pins.push(Pin { revision, used: Instant::now(), snapshot });
    }

    /// A snapshot kept before.
    pub(super) fn find(&self, revision: Revision) -> Option<S> {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pin = pins.iter_mut().find(|pin| pin.revision == revision)?;
        pin.used = Instant::now();
        Some(pin.snapshot.clone())
    }

    /// Lets go of one.
    pub(super) fn let_go(&self, revision: Revision) {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|pin| pin.revision != revision);
    }

    /// Lets go of what nobody has asked for in a while.
    pub(super) fn expire(&self) {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|pin| pin.used.elapsed() < MAX_AGE);
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
