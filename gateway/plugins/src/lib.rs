//! Plugins: WebAssembly components of the package `cipher-hub:plugin` (`wit/`), written by people
//! whom nobody needs to trust. No key byte is in reach of this crate.

mod host;
mod package;

pub use ed25519_dalek::{SigningKey, VerifyingKey};
#[cfg(feature = "testing")]
pub use host::testing;
pub use host::{
    CacheConfig, CalendarFacts, Called, Delivery, Engine, EngineConfig, HostError, Inspected,
    KdfContext, KdfPlugin, KeyFacts, Limits, LoadError, Loaded, LogLevel, MemoryNeed, Outbound,
    OutboundRequest, OutboundResponse, PolicyFacts, RotationPlugin, RotationRequest, SendError,
    Sending, Settings, SinkBatch, SinkEntry, SinkOutcome, SinkPlugin, Stats, TransitionFacts,
    VersionFacts,
};
pub use package::{
    Capability, KeyError, LimitsWanted, Manifest, Package, PackageError, Schema, Setting,
    SettingError, SettingKind, Signature, Signer, SizeLimits, Trust, Version, World, key_id,
    parse_public_key, read_signing_key, show_public_key, write_signing_key,
};
