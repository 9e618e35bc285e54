//! Operations on the hub itself: its audit trail, its decisions, its status.

mod audit;
mod checkpoints;
mod explain;
mod signing_keys;
mod status;
mod suppose;
mod unblock;

pub use audit::ReadAudit;
pub use checkpoints::{GetCheckpoint, ListCheckpoints, WhichCheckpoint};
pub use explain::Explain;
pub use signing_keys::{ListSigningKeys, RotateSigningKey};
pub use status::{Status, StatusFacts, Whoami};
pub use unblock::Unblock;
