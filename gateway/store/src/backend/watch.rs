//! Following what is committed.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Revision, Write};
use crate::Path;

/// How many transactions a slow follower may fall behind before it must read again.
const BACKLOG: usize = 256;

/// What one transaction changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Its revision.
    pub revision: Revision,
    /// The paths written, and whether they were deleted.
    pub paths: Vec<(Path, bool)>,
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// All changes of one transaction under the prefix, in order and without gaps.
    Changes(Changes),
    /// Changes were missed; whatever is known of the prefix must be read again.
    Resync,
}

/// A follower of one prefix.
#[derive(Debug)]
pub struct Watch {
    prefix: Box<str>,
    receiver: broadcast::Receiver<Arc<Changes>>,
}

impl Watch {
    /// The next event; `None` once the engine is gone.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(changes) => {
                    if let Some(event) = self.select(&changes) {
                        return Some(event);
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(WatchEvent::Resync),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// An event that has already arrived, without waiting.
    pub fn try_next(&mut self) -> Option<WatchEvent> {
        loop {
            match self.receiver.try_recv() {
                Ok(changes) => {
                    if let Some(event) = self.select(&changes) {
                        return Some(event);
                    }
                }
                Err(broadcast::error::TryRecvError::Lagged(_)) => return Some(WatchEvent::Resync),
                Err(_) => return None,
            }
        }
    }

    fn select(&self, changes: &Changes) -> Option<WatchEvent> {
        let under = |(path, _): &&(Path, bool)| path.as_str().starts_with(&*self.prefix);
        let paths: Vec<_> = changes.paths.iter().filter(under).cloned().collect();
        (!paths.is_empty())
            .then_some(WatchEvent::Changes(Changes { revision: changes.revision, paths }))
    }
}

/// The sending half, kept by embedded engines.
#[derive(Debug)]
pub(super) struct Feed(broadcast::Sender<Arc<Changes>>);

impl Feed {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    pub(super) fn follow(&self, prefix: &str) -> Watch {
        Watch { prefix: prefix.into(), receiver: self.0.subscribe() }
    }

    /// Tells the followers, if there are any.
    pub(super) fn publish(&self, revision: Revision, writes: &[Write]) {
        if self.0.receiver_count() == 0 {
            return;
        }
        let paths = writes
            .iter()
            .map(|write| (write.path().clone(), matches!(write, Write::Delete(_))))
            .collect();
        // An error only says that the last follower has just left.
        drop(self.0.send(Arc::new(Changes { revision, paths })));
    }
}
