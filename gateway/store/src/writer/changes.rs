//! What an operation wants to change.

use std::fmt;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::backend::{Check, Revision};
use crate::{Error, Path, record};

/// Checks that must hold, and records to put and delete then. Each path at most once among the
/// checks and once among puts and deletes.
#[derive(Default)]
pub struct Changes {
    pub(super) checks: Vec<Check>,
    pub(super) puts: Vec<(Path, Plain)>,
    pub(super) deletes: Vec<Path>,
    // Audit batches of a writer that lie in an archive.
    pub(super) archived: Vec<Path>,
}

/// What is put.
pub(super) enum Plain {
    /// To be sealed by the barrier.
    Record(Zeroizing<Vec<u8>>),
    /// Sealed otherwise, and stored as it is.
    Wrapped(Vec<u8>),
}

impl Plain {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Record(bytes) => bytes.len(),
            Self::Wrapped(bytes) => bytes.len(),
        }
    }
}

impl Changes {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that nothing lies at `path`.
    pub fn check_absent(&mut self, path: &Path) -> &mut Self {
        self.checks.push(Check::Absent(path.clone()));
        self
    }

    /// Requires that what lies at `path` was written by `revision`.
    pub fn check_revision(&mut self, path: &Path, revision: Revision) -> &mut Self {
        self.checks.push(Check::Revision(path.clone(), revision));
        self
    }

    /// Puts a record.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub fn put<T: Serialize + ?Sized>(
        &mut self,
        path: &Path,
        value: &T,
    ) -> Result<&mut Self, Error> {
        let bytes = record::encode(value)?;
        Ok(self.put_bytes(path, bytes))
    }

    /// Puts record bytes, to be read with [`Store::read_bytes`](crate::Store::read_bytes).
    pub fn put_bytes(&mut self, path: &Path, bytes: Zeroizing<Vec<u8>>) -> &mut Self {
        self.puts.push((path.clone(), Plain::Record(bytes)));
        self
    }

    /// Puts bytes that the barrier does not seal, because the keys of the barrier are in them: the
    /// wrapped root key and keyring. To be read from the engine itself. The state digest covers
    /// them as it covers records.
    pub fn put_wrapped(&mut self, path: &Path, bytes: Vec<u8>) -> &mut Self {
        self.puts.push((path.clone(), Plain::Wrapped(bytes)));
        self
    }

    /// Leaves nothing at `path`.
    pub fn delete(&mut self, path: &Path) -> &mut Self {
        self.deletes.push(path.clone());
        self
    }

    /// Leaves no audit batch at `path`, because it lies in an archive. What is under `w/` is deleted
    /// in no other way, and never put by changes. It is not looked for: whoever deletes batches of
    /// an archive has read them before, and to read them again would hold up every commit.
    pub fn delete_archived(&mut self, path: &Path) -> &mut Self {
        self.archived.push(path.clone());
        self
    }

    /// Whether there is nothing to check and nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
            && self.puts.is_empty()
            && self.deletes.is_empty()
            && self.archived.is_empty()
    }

    /// The paths checked or written, those that are both twice.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.checks.iter().map(Check::path).chain(self.written())
    }

    /// The paths put or deleted.
    pub fn written(&self) -> impl Iterator<Item = &Path> {
        self.puts.iter().map(|(path, _)| path).chain(&self.deletes).chain(&self.archived)
    }

    /// The checks, in order of adding.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let puts: Vec<&Path> = self.puts.iter().map(|(path, _)| path).collect();
        f.debug_struct("Changes")
            .field("checks", &self.checks)
            .field("puts", &puts)
            .field("deletes", &self.deletes)
            .field("archived", &self.archived)
            .finish()
    }
}
