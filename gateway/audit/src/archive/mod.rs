//! Archives: old entries in sealed files of their own, outside the store. A file holds whole batch
//! records as they lay in the store, and what an outsider needs to hold them against checkpoints
//! without opening them: leaf hashes, chain, frontier, a signed summary
//! (`docs/formats/audit-archive.md`).
//!
//! INVARIANT: a batch is deleted from the store only after the file that holds it was synced, read
//! back, compared with the store and entered into the store's list of archives. An entry is
//! therefore in the store, or in a verified archive, or in both, whenever the process ends.

mod check;
mod file;
mod format;
mod make;
mod set;
mod work;

pub use check::{Examined, Key, continues, examine};
pub use file::{Archive, Damage};
pub use format::{Section, Summary};
pub use make::Bounds;
pub use set::{ArchiveRecord, Archives, Held, State};
pub use work::{Archiver, Goal, Step, Survey};
