//! What an engine must do: [`Backend`]. It sees only sealed bytes and is trusted with nothing but
//! atomicity, durability and honest revisions of what it was given last.
//!
//! INVARIANT: a commit that answered [`Commit::Committed`] is on stable storage and visible to
//! every later read; after a failed write an engine accepts no other (`notes/security.md` §9).

pub mod fjall;
pub mod memory;
mod pins;
mod txn;
mod watch;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::{Error, Path};

pub use txn::{Check, MAX_BYTES, MAX_PARTS, Txn, Write};
pub use watch::{Changes, Watch, WatchEvent};

/// A future of a backend. Those of embedded engines are ready at the first poll, having done their
/// work on the polling thread.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The number of a committed transaction; every value carries that of the one which wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// Durable and visible, under this revision.
    Committed(Revision),
    /// Nothing happened, because the check at this index (in order of adding) does not hold.
    Conflict(usize),
    /// It may or may not have happened; to be resolved by reading, never by blind repetition.
    Unknown(String),
}

/// One stored value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies.
    pub path: Path,
    /// The stored bytes, sealed.
    pub value: Vec<u8>,
    /// The transaction that wrote it.
    pub revision: Revision,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{} ({} bytes)", self.path, self.revision.0, self.value.len())
    }
}

/// A page of a scan, in order of path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision at which the page was read; one that was held can be given to the next call.
    pub at: Revision,
    /// Whether more entries follow the last one.
    pub more: bool,
}

/// What a scan looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// What is there now.
    Now,
    /// What is there now, and the revision is held for a while: the pages after it can be read [at
    /// it](View::At). Everything that is written meanwhile stays in memory: not for everyday reads.
    Hold,
    /// The revision of a page that was read with [`View::Hold`].
    At(Revision),
}

/// A storage engine.
///
/// `get` and `scan` see every transaction that has answered `Committed`. A page is consistent in
/// itself; pages that name the same revision are consistent with one another. An engine holds a
/// bounded number of old revisions for a bounded time and answers [`Error::RevisionGone`] beyond.
pub trait Backend: Send + Sync + fmt::Debug {
    /// The value at `path`, if there is one.
    fn get<'a>(&'a self, path: &'a Path) -> Boxed<'a, Result<Option<Entry>, Error>>;

    /// Entries whose path starts with `prefix`, in order, after `after`; at most `limit` (0 means
    /// none) and about 1 MiB of them.
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Path>,
        limit: usize,
        view: View,
    ) -> Boxed<'a, Result<Page, Error>>;

    /// Lets go of a revision that was held, before its time is over.
    fn let_go(&self, _at: Revision) {}

    /// Applies all of `txn` if every check holds, or nothing. An error means that nothing happened
    /// and that nothing was tried.
    fn commit(&self, txn: Txn) -> Boxed<'_, Result<Commit, Error>>;

    /// Follows the changes under `prefix` from now on.
    fn watch(&self, prefix: &str) -> Watch;

    /// A revision at least as new as every commit that ended before the call began.
    fn head(&self) -> Boxed<'_, Result<Revision, Error>>;

    /// Whose data this is: unlike in every other store.
    fn identity(&self) -> [u8; 16];

    /// What a commit has reached when it is answered, in words for an operator.
    fn durability(&self) -> &'static str;

    /// Whether nobody outside this value can commit while it is open, so that what was read
    /// through it stays true until it commits.
    fn is_exclusive(&self) -> bool;

    /// Whether the engine was closed properly when it was last open.
    fn stopped_cleanly(&self) -> bool;

    /// Bytes taken on disk.
    ///
    /// # Errors
    /// [`Error::Io`] when the files cannot be looked at.
    fn size_on_disk(&self) -> Result<u64, Error>;

    /// Makes sure that values replaced or deleted before are in none of the engine's files, as far
    /// as it can. Long (a second or so, 64 MiB written); commits go on meanwhile, but pinned scans
    /// end with [`Error::RevisionGone`].
    fn purge(&self) -> Boxed<'_, Result<(), Error>>;

    /// Gives the space of deleted audit batches back to the file system, as far as it can. Long on
    /// a large log, which is written anew; commits and scans go on meanwhile.
    fn reclaim_log(&self) -> Boxed<'_, Result<(), Error>> {
        ready(|| Ok(()))
    }

    /// Makes everything durable and takes no more commits. Files are let go when the value is
    /// dropped.
    fn close(&self) -> Boxed<'_, Result<(), Error>>;
}

/// A page never carries more than about this many bytes of values.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;

/// Wraps work that is done at the first poll.
pub(crate) fn ready<'a, T, F: FnOnce() -> T + Send + 'a>(work: F) -> Boxed<'a, T> {
    Box::pin(async move { work() })
}
