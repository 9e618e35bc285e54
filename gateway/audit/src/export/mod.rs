//! Exports: entries of the log as files that prove themselves, in four forms, under a signed
//! manifest. What travels and what lies on disk is in `docs/formats/audit-export.md`.

mod blocks;
mod maker;
mod manifest;
mod render;
pub mod sparse;

use hub_model::Timestamp;

use crate::merkle::Hash;
use crate::{Error, Log};

pub use blocks::{Unpacked, Unpacker};
pub use maker::{Exporter, Spec};
pub use manifest::{FileFacts, MAX_MANIFEST, Manifest, manifest_name};

/// The signed note that says what the export holds.
pub const MANIFEST: &str = "manifest";
/// The checkpoint that the export stands under.
pub const CHECKPOINT: &str = "checkpoint";
/// The hashes of what is not shown.
pub const PROOF: &str = "proof.jsonl";
/// The keys, by the hub's word.
pub const VERIFIER_KEYS: &str = "verifier-keys";
/// How to verify, for people.
pub const README: &str = "README.txt";

/// The form of exported entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The stored bytes, one entry a line: the only form that can be held against the log itself.
    Jsonl,
    /// Comma-separated values (RFC 4180).
    Csv,
    /// ArcSight Common Event Format, version 0.
    Cef,
    /// Open Cybersecurity Schema Framework, one event a line.
    Ocsf,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Jsonl, Self::Csv, Self::Cef, Self::Ocsf];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Cef => "cef",
            Self::Ocsf => "ocsf",
        }
    }

    /// The format of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The file the entries lie in.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Jsonl => "entries.jsonl",
            Self::Csv => "entries.csv",
            Self::Cef => "entries.cef",
            Self::Ocsf => "entries.ocsf.jsonl",
        }
    }

    /// Whether the entries are the bytes that the log's hashes are over.
    #[must_use]
    pub const fn proves(self) -> bool {
        matches!(self, Self::Jsonl)
    }
}

impl Log {
    /// Begins an export under the newest checkpoint; `None` before the first one.
    #[must_use]
    pub fn export(&self, spec: Spec) -> Option<Exporter> {
        let (signed, keys) = (self.latest()?, vec![self.verifier_key()]);
        Some(Exporter::new(spec, signed, keys, self.appender().writer()))
    }

    /// Ends an export: signs its manifest. The rest of the stream, and the SHA-256 of the manifest.
    ///
    /// # Errors
    /// As [`Exporter::finish`].
    pub fn finish_export(
        &self,
        exporter: Exporter,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Hash), Error> {
        exporter.finish(self.keys().checkpoint_keys().active(), now)
    }
}
