//! Sealed records on an untrusted engine.
//!
//! [`Store`] reads: it opens every record through the barrier, so that a wrong value is never
//! served. [`Writer`] commits: changes, the audit batch that describes them and the writer's head
//! in one durable transaction. [`Cache`] keeps what was made from records and knows when it is
//! stale. A [`Backend`] is the engine underneath.
//!
//! Futures of embedded engines do their work when polled: hot reads are memory reads and may be
//! awaited anywhere; opening, long scans, [`Store::verify_digest`] and commits belong where blocking
//! is allowed.

pub mod backend;
mod barrier;
mod cache;
mod digest;
pub mod durable_file;
mod error;
mod generations;
mod head;
pub mod layout;
mod path;
pub mod record;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;
mod wait;
mod writer;

pub use backend::fjall::FjallBackend;
pub use backend::memory::MemoryBackend;
pub use backend::{Backend, Check, Commit, Entry, Page, Revision, Txn, View, Watch, WatchEvent};
pub use cache::Cache;
pub use digest::StateDigest;
pub use error::Error;
pub use generations::Stamp;
pub use head::{AuditHead, Head};
pub use path::{MAX_PATH, Path, WRITER_PREFIX, batches};
pub use store::{RecordPage, Store, Versioned};
pub use verify::DigestReport;
pub use wait::block_on;
pub use writer::{Changes, CommitError, Group, MAX_BATCH, StageError, Staged, Writer};
