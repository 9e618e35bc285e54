//! What happened, provably: every outcome is an entry, appended together with the change it
//! describes in one durable transaction, chained by hash and covered by signed checkpoints.

pub mod appender;
pub mod archive;
mod batch;
pub mod checkpoint;
pub mod checkpoint_history;
pub mod cosignature;
pub mod encode;
mod error;
pub mod export;
pub mod follow;
#[cfg(test)]
mod frozen;
mod inbox;
pub mod index;
pub mod keyed;
pub mod log;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod relay;
pub mod tile;
pub mod tree;
mod turns;
pub mod verify;
pub mod witness;
pub mod witness_proof;

pub use appender::{Appender, Receipt};
pub use error::Error;
pub use follow::{Committed, Follower};
pub use inbox::Lane;
pub use keyed::Keyed;
pub use log::Log;
