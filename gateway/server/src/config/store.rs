//! `store`, `cache` and `seal`: where keys lie, what is kept of them in memory, and what wraps them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::units;

/// `store`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Which engine.
    pub engine: StoreEngine,
    /// Where the engine keeps its files.
    pub path: PathBuf,
}

/// A storage engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum StoreEngine {
    /// The embedded engine.
    #[default]
    Fjall,
    /// In memory: everything is gone at the end.
    Memory,
}

units::words! { StoreEngine:
    Fjall = "fjall",
    Memory = "memory",
}

/// `cache`: entries kept, not bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Keyrings.
    pub keys: u64,
    /// Credentials.
    pub credentials: u64,
    /// Policy decisions.
    pub decisions: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { keys: 10_000, credentials: 10_000, decisions: 100_000 }
    }
}

/// `seal`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SealConfig {
    /// What wraps the root key.
    pub kind: SealKind,
    /// The key file of `key-file`.
    pub key_file: PathBuf,
    /// The seal file: slots, no secret.
    pub file: PathBuf,
}

/// What wraps the root key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum SealKind {
    /// A key in a file.
    #[default]
    KeyFile,
}

units::words! { SealKind:
    KeyFile = "key-file",
}
