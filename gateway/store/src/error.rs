//! What can be wrong with the store.

use std::path::PathBuf;

use crate::backend::{MAX_BYTES, MAX_PARTS, Revision};
use crate::path::Path;

/// A failure of the store. No variant carries record contents.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path outside 1 to 255 characters of `a-z 0-9 _ / . -`, or with an empty segment.
    #[error("`{0}` is not a valid store path")]
    Path(String),
    /// A transaction with more checks, puts and deletes than every engine can commit atomically.
    #[error("a transaction may hold at most {MAX_PARTS} parts")]
    TooManyParts,
    /// A transaction with more bytes than every engine can commit atomically.
    #[error("a transaction may hold at most {MAX_BYTES} bytes")]
    TooLarge,
    /// One transaction checks or writes a path twice.
    #[error("path {0:?} occurs twice in one transaction")]
    Duplicate(Path),
    /// A record that does not open under its path: edited, moved or sealed by another hub.
    #[error("record {path:?} does not open: the store was changed from outside")]
    Tampered {
        /// Where the record lies.
        path: Path,
    },
    /// A record that opened but is not of the form expected.
    #[error("record {path:?} has an unexpected form: {reason}")]
    Malformed {
        /// Where the record lies.
        path: Path,
        /// What was unexpected; never record contents.
        reason: String,
    },
    /// A value that could not be turned into a record.
    #[error("a value cannot be written as a record: {0}")]
    Encode(String),
    /// A record that could not be sealed.
    #[error("a record cannot be sealed: {0}")]
    Seal(String),
    /// The engine no longer holds the revision a scan was pinned to; begin the scan again.
    #[error("revision {} is no longer held for scanning", .0.0)]
    RevisionGone(Revision),
    /// Another process has the store open.
    #[error("the store at `{}` is in use by another process", .0.display())]
    Locked(PathBuf),
    /// There is something where a store should be created.
    #[error("`{}` already exists", .0.display())]
    Exists(PathBuf),
    /// There is no store where one should be opened.
    #[error("there is no store at `{}`", .0.display())]
    Missing(PathBuf),
    /// The engine's files are damaged or incomplete.
    #[error("the store at `{}` is damaged: {reason}", .path.display())]
    Damaged {
        /// The store directory.
        path: PathBuf,
        /// What the engine or we found.
        reason: String,
    },
    /// A file that others may read, where only the owner should.
    #[error("`{}` is accessible to others (mode {mode:03o})", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file operation failed.
    #[error("cannot {what} `{}`", .path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The engine failed to read.
    #[error("the storage engine failed: {0}")]
    Engine(String),
    /// An earlier write failed; nothing more is accepted until the process restarts.
    #[error("the store takes no more writes since an earlier failure: {0}")]
    Poisoned(String),
    /// The writer's head was written by somebody else.
    #[error("the head of writer `{0}` was changed by another process")]
    Superseded(String),
}

impl Error {
    /// Wraps an I/O error with what was attempted.
    pub(crate) fn io(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}
