//! Operations on the hub itself: its audit trail, its decisions, its status.

mod archive;
mod audit;
mod audit_query;
mod checkpoints;
mod explain;
mod export;
mod receipt;
mod signing_keys;
mod status;
mod suppose;
mod tiles;
mod unblock;

pub use archive::{ArchiveAudit, ListArchives};
pub use audit::ReadAudit;
pub use audit_query::{AuditQuestion, Named, ReadRegistrationAudit};
pub use checkpoints::{GetCheckpoint, ListCheckpoints, WhichCheckpoint};
pub use explain::Explain;
pub use export::{Export, ExportAudit, ExportBegun, ExportRegistrationAudit, Exports, Selection};
pub use receipt::{
    Asked, Consistency, HubReceipt, OwnReceipt, RegistrationReceipt, Right, Standing,
};
pub use signing_keys::{ListSigningKeys, RotateSigningKey};
pub use status::{Status, StatusFacts, Whoami};
pub use tiles::{ReadCheckpoint, ReadTile};
pub use unblock::Unblock;
