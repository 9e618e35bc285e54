//! The log as a whole: opened against its checkpoint, read by sequence, checkpointed.

mod opening;
mod reading;
mod signing;

use std::path::Path as FilePath;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hub_crypto::SystemKeys;
use hub_store::Store;

use crate::archive::Archives;
use crate::checkpoint::Checkpoint;
use crate::checkpoint_history::History;
use crate::tree::Tree;
use crate::turns::Turns;
use crate::{Appender, Follower};

/// What to do when store and checkpoint disagree at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRollback {
    /// Refuse to start.
    #[default]
    Refuse,
    /// Go on with what the store holds. An operator has decided so.
    Accept,
}

/// The log of one writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    store: Store,
    appender: Appender,
    keys: Arc<SystemKeys>,
    origin: Arc<str>,
    file: Option<Arc<FilePath>>,
    latest: Arc<ArcSwapOption<Signed>>,
    /// The newest that carries cosignatures.
    cosigned: Arc<ArcSwapOption<Signed>>,
    history: Arc<History>,
    /// For how long the signing key before signs beside the active one.
    key_overlap: Duration,
    /// One checkpoint at a time: of two the smaller must not end up in the file.
    signing: Arc<Mutex<Signing>>,
    accepted: Option<Arc<str>>,
    tree: Arc<Tree>,
    /// Rung with every checkpoint.
    signed: Arc<tokio::sync::Notify>,
    archives: Option<Archives>,
    /// Of those who read it aside.
    turns: Arc<Turns>,
}

/// What the last checkpoint leaves for the next.
#[derive(Debug, Default)]
struct Signing {
    /// Of the key that signed last.
    epoch: Option<u32>,
    /// Other keys sign, and no note by them is in the history yet.
    owed: bool,
}

/// A checkpoint and its note.
#[derive(Debug)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

impl Log {
    /// The same log, with its older checkpoints kept there.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { history: Arc::new(history), ..self }
    }

    /// The same log, whose signing key goes on signing for this long after a rotation.
    #[must_use]
    pub fn with_key_overlap(self, key_overlap: Duration) -> Self {
        Self { key_overlap, ..self }
    }

    /// For how long the signing key before signs beside the active one.
    #[must_use]
    pub const fn key_overlap(&self) -> Duration {
        self.key_overlap
    }

    /// Checkpoints of the last 400 days.
    #[must_use]
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Whose log: the first line of its checkpoints.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The newest checkpoint that carries cosignatures of witnesses.
    #[must_use]
    pub fn cosigned(&self) -> Option<Arc<Signed>> {
        self.cosigned.load_full()
    }

    /// What was wrong with the store when it was opened all the same. Belongs into the log.
    #[must_use]
    pub fn accepted(&self) -> Option<&str> {
        self.accepted.as_deref()
    }

    /// The kept hashes of its Merkle tree.
    #[must_use]
    pub const fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// The way to append.
    #[must_use]
    pub const fn appender(&self) -> &Appender {
        &self.appender
    }

    /// The store it lies in.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// The hub's own keys.
    pub(crate) const fn keys(&self) -> &Arc<SystemKeys> {
        &self.keys
    }

    /// The archives of this log, where it was opened with a folder of them.
    #[must_use]
    pub const fn archives(&self) -> Option<&Archives> {
        self.archives.as_ref()
    }

    /// Works through the log from this entry on, and goes on with what is appended.
    #[must_use]
    pub fn follow(&self, from: u64) -> Follower {
        Follower::new(self.clone(), from)
    }
}
