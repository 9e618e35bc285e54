//! Operations on the hub itself: its audit trail, its decisions, its status.

mod archive;
mod audit;
mod explain;
mod status;
mod suppose;
mod unblock;

pub use archive::{ArchiveAudit, ListArchives};
pub use audit::ReadAudit;
pub use explain::Explain;
pub use status::{Status, StatusFacts, Whoami};
pub use unblock::Unblock;
