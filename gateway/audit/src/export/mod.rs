//! Exports: entries of the log as files that prove themselves, in four forms, under a signed
//! manifest. What travels and what lies on disk is in `docs/formats/audit-export.md`.

mod blocks;
mod maker;
mod manifest;
mod render;
pub mod sparse;

use hub_crypto::SigningKey;
use hub_model::Timestamp;

use crate::checkpoint::{Checkpoint, verifier_key};
use crate::merkle::Hash;
use crate::{Error, Log};

pub use blocks::{Unpacked, Unpacker};
pub use maker::{Exporter, Spec};
pub use manifest::{FileFacts, MAX_MANIFEST, Manifest, manifest_name};
pub use render::Renderer;

/// The signed note that says what the export holds.
pub const MANIFEST: &str = "manifest";
/// The checkpoint that the export stands under.
pub const CHECKPOINT: &str = "checkpoint";
/// The hashes of what is not shown.
pub const PROOF: &str = "proof.jsonl";
/// The keys, by the hub's word.
pub const VERIFIER_KEYS: &str = "verifier-keys";
/// Checkpoints over the entries of rotations, put there by the client: notes one behind the other.
/// The manifest does not name it; what counts in it is signed by keys the verifier trusts.
pub const ROTATIONS: &str = "rotations";
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
    ///
    /// Checkpoint and manifest must verify under one key, although the signing key may change
    /// meanwhile: it is chosen here, among those that have signed the checkpoint.
    #[must_use]
    pub fn export(&self, spec: Spec) -> Option<Exporter> {
        let (signed, signing) = (self.latest()?, self.keys().checkpoint_keys());
        let has_signed = |key: &&SigningKey| {
            Checkpoint::open(&signed.note, self.origin(), &key.public()).is_ok()
        };
        let signer = signing.signing().find(has_signed)?.public();
        let keys = signing.signing().map(|key| verifier_key(self.origin(), &key.public()));
        let (keys, writer) = (keys.collect(), self.appender().writer());
        Some(Exporter::new(spec, signed, keys, writer).signed_by(signer))
    }

    /// Ends an export: signs its manifest. The rest of the stream, and the SHA-256 of the manifest.
    ///
    /// # Errors
    /// As [`Exporter::finish`]; [`Error::SigningKeyGone`] when the key of the beginning signs no
    /// more.
    pub fn finish_export(
        &self,
        exporter: Exporter,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Hash), Error> {
        let signing = self.keys().checkpoint_keys();
        let chosen = exporter.signer().map(|key| key.to_bytes());
        let key = signing
            .signing()
            .find(|key| chosen.is_none_or(|chosen| key.public().to_bytes() == chosen))
            .ok_or(Error::SigningKeyGone)?;
        exporter.finish(key, now)
    }
}
