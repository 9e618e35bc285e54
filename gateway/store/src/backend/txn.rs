//! A transaction: checks that must hold, and writes that then happen together.

use std::collections::HashSet;

use super::Revision;
use crate::{Error, Path};

/// The most checks, puts and deletes a transaction may hold, together.
pub const MAX_PARTS: usize = 100;

/// The most bytes of paths and values a transaction may hold.
pub const MAX_BYTES: usize = 1024 * 1024;

/// What must be true for a transaction to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Nothing lies at this path.
    Absent(Path),
    /// What lies at this path was written by this revision.
    Revision(Path, Revision),
}

impl Check {
    /// The path looked at.
    #[must_use]
    pub const fn path(&self) -> &Path {
        match self {
            Self::Absent(path) | Self::Revision(path, _) => path,
        }
    }

    /// Whether it holds, given the revision of what lies at the path.
    #[must_use]
    pub fn holds(&self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent(_) => found.is_none(),
            Self::Revision(_, wanted) => found == Some(*wanted),
        }
    }
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Lay these bytes at the path.
    Put(Path, Vec<u8>),
    /// Leave nothing at the path.
    Delete(Path),
}

impl Write {
    /// The path written.
    #[must_use]
    pub const fn path(&self) -> &Path {
        match self {
            Self::Put(path, _) | Self::Delete(path) => path,
        }
    }
}

/// Checks and writes, each path at most once among the checks and once among the writes, within
/// [`MAX_PARTS`] and [`MAX_BYTES`].
#[derive(Debug, Clone, Default)]
pub struct Txn {
    checks: Vec<Check>,
    writes: Vec<Write>,
    checked: HashSet<Path>,
    written: HashSet<Path>,
    bytes: usize,
}

impl Txn {
    /// An empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check.
    ///
    /// # Errors
    /// [`Error::TooManyParts`], [`Error::TooLarge`], or [`Error::Duplicate`] for a path checked
    /// before.
    pub fn check(&mut self, check: Check) -> Result<&mut Self, Error> {
        self.room(check.path().as_bytes().len())?;
        if !self.checked.insert(check.path().clone()) {
            return Err(Error::Duplicate(check.path().clone()));
        }
        self.bytes = self.bytes.saturating_add(check.path().as_bytes().len());
        self.checks.push(check);
        Ok(self)
    }

    /// Adds a write.
    ///
    /// # Errors
    /// [`Error::TooManyParts`], [`Error::TooLarge`], or [`Error::Duplicate`] for a path written
    /// before.
    pub fn write(&mut self, write: Write) -> Result<&mut Self, Error> {
        let size = write.path().as_bytes().len().saturating_add(match &write {
            Write::Put(_, value) => value.len(),
            Write::Delete(_) => 0,
        });
        self.room(size)?;
        if !self.written.insert(write.path().clone()) {
            return Err(Error::Duplicate(write.path().clone()));
        }
        self.bytes = self.bytes.saturating_add(size);
        self.writes.push(write);
        Ok(self)
    }

    /// Adds a put; see [`Txn::write`].
    ///
    /// # Errors
    /// As [`Txn::write`].
    pub fn put(&mut self, path: Path, value: Vec<u8>) -> Result<&mut Self, Error> {
        self.write(Write::Put(path, value))
    }

    /// Adds a delete; see [`Txn::write`].
    ///
    /// # Errors
    /// As [`Txn::write`].
    pub fn delete(&mut self, path: Path) -> Result<&mut Self, Error> {
        self.write(Write::Delete(path))
    }

    /// The checks, in order of adding.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The writes, in order of adding.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether the transaction writes this path.
    #[must_use]
    pub fn is_written(&self, path: &Path) -> bool {
        self.written.contains(path)
    }

    /// Whether the transaction checks this path.
    #[must_use]
    pub fn is_checked(&self, path: &Path) -> bool {
        self.checked.contains(path)
    }

    /// How many parts there are.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.checks.len().saturating_add(self.writes.len())
    }

    /// How many bytes the paths and values have.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes checks and writes apart, for an engine.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Check>, Vec<Write>) {
        (self.checks, self.writes)
    }

    fn room(&self, size: usize) -> Result<(), Error> {
        if self.parts() >= MAX_PARTS {
            return Err(Error::TooManyParts);
        }
        if self.bytes.saturating_add(size) > MAX_BYTES {
            return Err(Error::TooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::new(text).unwrap()
    }

    #[test]
    fn each_path_once_per_kind() {
        let mut txn = Txn::new();
        txn.check(Check::Absent(path("a"))).unwrap().put(path("a"), vec![1]).unwrap();
        assert!(matches!(txn.delete(path("a")), Err(Error::Duplicate(_))));
        assert!(matches!(
            txn.check(Check::Revision(path("a"), Revision(1))),
            Err(Error::Duplicate(_))
        ));
        assert_eq!(txn.parts(), 2);
    }

    #[test]
    fn limits_hold() {
        let mut txn = Txn::new();
        for n in 0..MAX_PARTS {
            txn.delete(path(&format!("p/{n}"))).unwrap();
        }
        assert!(matches!(txn.delete(path("q")), Err(Error::TooManyParts)));
        let mut txn = Txn::new();
        assert!(matches!(txn.put(path("a"), vec![0; MAX_BYTES]), Err(Error::TooLarge)));
        txn.put(path("a"), vec![0; MAX_BYTES - 1]).unwrap();
        assert_eq!(txn.bytes(), MAX_BYTES);
        assert!(matches!(txn.delete(path("b")), Err(Error::TooLarge)));
    }
}
