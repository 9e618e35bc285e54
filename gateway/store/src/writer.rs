//! The one place of this process that commits. Members (changes of one operation each) are staged
//! into a group; the group goes to the engine as one transaction with the audit batch that describes
//! them and the writer's new head.
//!
//! INVARIANT: every transaction carries the head with the digest of the state it leaves behind and a
//! check on the head it found; cached values are stale before a commit returns.

mod changes;
mod group;

use crate::backend::Revision;
use crate::head::Head;
use crate::{Error, Path, Store};

pub use changes::Changes;
pub use group::{CommitError, Group, MAX_BATCH, StageError, Staged};

/// The sole committer of this process.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    name: String,
    head_path: Path,
    head: Head,
    // The transaction that wrote the head; none before the first.
    head_revision: Option<Revision>,
    // Why nothing more is committed, once that is so.
    failed: Option<String>,
}

impl Writer {
    /// Goes on from the writer's head, or begins with an empty one.
    ///
    /// # Errors
    /// [`Error::Tampered`] or [`Error::Malformed`] for the head, or what the engine answers.
    pub async fn open(store: Store, name: &str) -> Result<Self, Error> {
        let head_path = Head::path(name)?;
        let found = store.head(name).await?;
        let head_revision = found.as_ref().map(|found| found.revision);
        let head = found.map(|found| found.value).unwrap_or_default();
        Ok(Self { store, name: name.to_owned(), head_path, head, head_revision, failed: None })
    }

    /// Where the writer stands.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The writer's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store written to.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Begins a group. Dropping it uncommitted leaves everything as it was.
    pub fn begin(&mut self) -> Group<'_> {
        Group::new(self)
    }
}
