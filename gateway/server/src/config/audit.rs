//! `audit`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use hub_audit::keyed::Field;
use serde::{Deserialize, Serialize};

use super::{SinkConfig, WitnessConfig, at_least_one, units};

/// `audit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Time between signed checkpoints while entries arrive.
    #[serde(with = "units::duration")]
    pub checkpoint_interval: Duration,
    /// The newest checkpoint, best kept on another disk than the store.
    pub checkpoint_file: PathBuf,
    /// A checkpoint also after this many entries, looked at five times a second; 0 is never.
    pub checkpoint_entries: u64,
    /// For how long the signing key before signs beside a new one.
    #[serde(with = "units::duration")]
    pub key_overlap: Duration,
    /// Who cosigns checkpoints.
    pub witnesses: Vec<WitnessConfig>,
    /// Time between submissions to witnesses while entries arrive.
    #[serde(with = "units::duration")]
    pub witness_interval: Duration,
    /// Free disk space below which requests are refused, so that none goes unlogged.
    #[serde(with = "units::size64")]
    pub low_space_mark: u64,
    /// How long entries stay in the store before they go into archives; `None` is for ever.
    #[serde(with = "units::duration_or_never")]
    pub retention: Option<Duration>,
    /// Where archives lie.
    pub archive_dir: PathBuf,
    /// Entries of one archive, about.
    pub archive_entries: NonZeroU32,
    /// Fields of entries that are recorded as keyed hashes: `address`, `context`, `identity`.
    #[serde(deserialize_with = "units::one_or_many_words")]
    pub keyed: Vec<Field>,
    /// Where entries are sent besides.
    pub sinks: Vec<SinkConfig>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_file: PathBuf::new(),
            checkpoint_entries: 1000,
            key_overlap: Duration::from_secs(7 * 86_400),
            witnesses: Vec::new(),
            witness_interval: Duration::from_secs(10),
            low_space_mark: 64 * 1024 * 1024,
            retention: None,
            archive_dir: PathBuf::new(),
            archive_entries: at_least_one(100_000),
            keyed: Vec::new(),
            sinks: Vec::new(),
        }
    }
}
