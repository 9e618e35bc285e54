//! The keys that sign checkpoints: the active one, and for a while after a rotation the one before,
//! so that verifiers have time to follow (`docs/formats/audit.md`).

use std::sync::Arc;
use std::time::Duration;

use hub_model::Timestamp;

use crate::{Result, SigningKey};

/// What checkpoints are signed with. Never changed: a rotation makes another.
#[derive(Clone, Debug)]
pub struct CheckpointKeys {
    active: Arc<SigningKey>,
    epoch: u32,
    previous: Option<Previous>,
}

/// The key before, while it still signs beside the active one.
#[derive(Clone, Debug)]
pub struct Previous {
    /// The key.
    pub key: Arc<SigningKey>,
    /// Its epoch.
    pub epoch: u32,
    /// When it signs no more, and is erased.
    pub until: Timestamp,
}

impl CheckpointKeys {
    /// One key.
    #[must_use]
    pub fn new(active: SigningKey, epoch: u32) -> Self {
        Self { active: Arc::new(active), epoch, previous: None }
    }

    /// Signs from the last rotation on.
    #[must_use]
    pub fn active(&self) -> &SigningKey {
        &self.active
    }

    /// The active key's epoch.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The key before, during an overlap.
    #[must_use]
    pub const fn previous(&self) -> Option<&Previous> {
        self.previous.as_ref()
    }

    /// Every key that signs, the active one first.
    pub fn signing(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&*self.active).chain(self.previous.iter().map(|previous| &*previous.key))
    }

    /// A fresh key becomes the active one; the active one signs beside it for the overlap. Whatever
    /// was before that is dropped.
    ///
    /// # Errors
    /// As [`SigningKey::generate`].
    pub fn rotated(&self, now: Timestamp, overlap: Duration) -> Result<Self> {
        let until = now.plus(overlap);
        let previous = Previous { key: Arc::clone(&self.active), epoch: self.epoch, until };
        Ok(Self {
            active: Arc::new(SigningKey::generate()?),
            epoch: self.epoch.saturating_add(1),
            previous: Some(previous),
        })
    }

    /// The active key with this one before it, or with none.
    #[must_use]
    pub fn with_previous(&self, previous: Option<Previous>) -> Self {
        Self { previous, ..self.clone() }
    }

    /// Whether the overlap is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.previous.as_ref().is_some_and(|previous| previous.until <= now)
    }
}
