//! Sealed records on an untrusted engine.

pub mod backend;
pub mod durable_file;
mod error;
mod path;

pub use backend::fjall::FjallBackend;
pub use backend::memory::MemoryBackend;
pub use backend::{Backend, Check, Commit, Entry, Page, Revision, Txn};
pub use error::Error;
pub use path::{MAX_PATH, Path, WRITER_PREFIX};
