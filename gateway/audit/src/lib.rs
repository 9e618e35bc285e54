//! What happened, provably: every outcome is an entry, appended together with the change it
//! describes in one durable transaction, chained by hash and covered by signed checkpoints.

pub mod appender;
mod batch;
pub mod checkpoint;
pub mod encode;
mod error;
pub mod export;
pub mod follow;
mod inbox;
pub mod keyed;
pub mod log;
pub mod merkle;
pub mod verify;

pub use appender::{Appender, Receipt};
pub use error::Error;
pub use follow::{Committed, Follower};
pub use inbox::Lane;
pub use keyed::Keyed;
pub use log::Log;
