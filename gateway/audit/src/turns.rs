//! Turns at work that blocks a thread: few at once, and one at a time for each registration that
//! asks, so that no tenant takes the turns of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hub_model::RegistrationId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// Turns taken at once.
const AT_ONCE: usize = 4;
/// Registrations remembered before those are looked for that have nothing in work any more.
const MANY: usize = 256;

/// Who works, and who waits.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    each: Mutex<HashMap<RegistrationId, Weak<Semaphore>>>,
}

/// A turn; others have theirs when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _all: OwnedSemaphorePermit,
    _own: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), each: Mutex::default() }
    }
}

impl Turns {
    /// Waits for a turn. Those who ask for the same registration wait for each other first, so that
    /// before anybody there is one of each other registration at most.
    pub(crate) async fn turn(&self, asker: Option<RegistrationId>) -> Result<Turn, Error> {
        let closed = |_| Error::Unavailable("the process is stopping".to_owned());
        let own = match asker {
            Some(asker) => Some(self.own(asker).acquire_owned().await.map_err(closed)?),
            None => None,
        };
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(closed)?;
        Ok(Turn { _all: all, _own: own })
    }

    fn own(&self, asker: RegistrationId) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = each.get(&asker).and_then(Weak::upgrade) {
            return found;
        }
        if each.len() >= MANY {
            each.retain(|_, own| own.strong_count() > 0);
        }
        let own = Arc::new(Semaphore::new(1));
        each.insert(asker, Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn now<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_registration_has_one_turn_and_leaves_the_others_theirs() {
        let turns = Turns::default();
        let [one, two]: [RegistrationId; 2] =
            [RegistrationId::generate(), RegistrationId::generate()];
        let held = now(turns.turn(Some(one))).unwrap().unwrap();
        assert!(now(turns.turn(Some(one))).is_none());
        let other = now(turns.turn(Some(two))).unwrap().unwrap();
        let hub: Vec<_> = (0..2).map(|_| now(turns.turn(None)).unwrap().unwrap()).collect();
        assert!(now(turns.turn(None)).is_none(), "four at once");
        drop((other, hub));
        assert!(now(turns.turn(Some(one))).is_none());
        drop(held);
        assert!(now(turns.turn(Some(one))).is_some());
    }

    #[test]
    fn registrations_with_nothing_in_work_are_forgotten() {
        let turns = Turns::default();
        for _ in 0..3 * MANY {
            drop(now(turns.turn(Some(RegistrationId::generate()))));
        }
        assert!(turns.each.lock().unwrap().len() <= MANY);
    }
}
