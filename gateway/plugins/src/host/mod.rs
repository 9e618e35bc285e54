//! The host: compiles components, holds them to their limits, and asks them.
//!
//! Guests get an instance of their own for each call and nothing else: no WASI, no clock, no
//! randomness, no file. What they may call is what their manifest names and this host grants.

mod aside;
mod bindings;
mod cache;
mod call;
mod checks;
mod code;
mod engine;
mod errors;
mod guest;
mod inspect;
mod lane;
mod limits;
mod lines;
mod load;
mod outbound;
mod places;
mod scan;
mod stats;
#[cfg(feature = "testing")]
pub mod testing;
mod ticker;
mod worlds;

pub use call::Called;
pub use checks::LoadError;
pub use engine::{CacheConfig, Engine, EngineConfig, HostError};
pub use inspect::{Inspected, MemoryNeed};
pub use limits::Limits;
pub use lines::LogLevel;
pub use load::{Loaded, Settings};
pub use outbound::{Outbound, OutboundRequest, OutboundResponse, SendError, Sending};
pub use stats::Stats;
pub use worlds::{
    CalendarFacts, Delivery, KdfContext, KdfPlugin, KeyFacts, PolicyFacts, RotationPlugin,
    RotationRequest, SinkBatch, SinkEntry, SinkOutcome, SinkPlugin, TransitionFacts, VersionFacts,
};
