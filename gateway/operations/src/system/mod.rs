//! Operations on the hub itself: its audit trail, its decisions, its status.

mod audit;
mod explain;
mod export;
mod status;
mod suppose;
mod unblock;

pub use audit::ReadAudit;
pub use explain::Explain;
pub use export::{Export, ExportAudit, ExportBegun, Exports, Selection};
pub use status::{Status, StatusFacts, Whoami};
pub use unblock::Unblock;
