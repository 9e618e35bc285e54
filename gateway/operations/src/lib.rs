//! What the hub can do. One operation a file; each plans, and [`Hub::perform`] finds the target,
//! asks policy, lets it plan, and commits changes and audit entry together before anything is
//! answered. Knows no HTTP.

mod abreast;
pub mod access;
mod archiving;
pub mod bootstrap;
mod error;
mod guard;
mod heavy;
mod hub;
mod idempotency;
pub mod jobs;
pub mod key;
pub mod operation;
pub mod page;
pub mod participant;
mod perform;
mod pins;
mod plan;
pub mod plugin;
pub mod policy;
mod refer;
pub mod registration;
pub mod system;
pub mod token;
mod usage;

pub use abreast::{abreast, all};
pub use archiving::ArchiveSettings;
pub use error::{Error, Failure};
pub use guard::{Guard, Left};
pub use hub::{CacheSizes, HotKey, Hub, Parts};
pub use operation::{Idempotency, Keeps, Meta, Operation};
pub use page::PageRequest;
pub use perform::Done;
pub use pins::Pinned;
pub use plan::Plan;
pub use refer::Ref;

/// A merge patch that leaves tags beyond their limits.
pub(crate) fn invalid_tags(error: hub_model::Error) -> Error {
    Error::Invalid { pointer: "/tags", detail: error.to_string() }
}
