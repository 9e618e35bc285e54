//! Operations on the hub itself: its audit trail, its decisions, its status.

mod audit;
mod audit_query;
mod explain;
mod status;
mod suppose;
mod unblock;

pub use audit::ReadAudit;
pub use audit_query::{AuditQuestion, Named, ReadRegistrationAudit};
pub use explain::Explain;
pub use status::{Status, StatusFacts, Whoami};
pub use unblock::Unblock;
