//! How calls that take long share the machine: each gives way at every tick, and only half of the
//! processors ever run such calls at once. A loop costs its neighbours a tick, never a thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Places for calls that outlive a tick.
#[derive(Clone, Debug)]
pub(super) struct Lanes(Arc<Semaphore>);

impl Lanes {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }

    pub(super) fn lane(&self) -> Arc<Lane> {
        Arc::new(Lane { lanes: Arc::clone(&self.0), held: Mutex::new(None) })
    }
}

/// One call's place, once it has one.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Semaphore>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Lane {
    /// Lets others run, then waits for a place. Without one at the deadline the call goes on: its
    /// next tick ends it.
    pub(super) async fn give_way(&self, deadline: Instant) {
        self.leave();
        // Wakes after the driver has been looked at, so that a loop does not delay sockets either.
        tokio::task::yield_now().await;
        if let Ok(Ok(place)) = timeout_at(deadline, Arc::clone(&self.lanes).acquire_owned()).await {
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        }
    }

    /// Leaves the place, before waiting for something else.
    pub(super) fn leave(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
