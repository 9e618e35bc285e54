//! Checkpoints of the audit log, and the keys that sign them.

use hub_model::api::checkpoint::{CheckpointView, RotatedSigningKey, SigningKeys};
use hub_model::api::page::Page;

use super::PageRequest;
use crate::call::{Call, Path};
use crate::{Client, Error};

fn checkpoints() -> Path {
    Path::new("/v1/audit/checkpoints")
}

fn signing_keys() -> Path {
    Path::new("/v1/audit/signing-keys")
}

/// Checkpoints. Whoever keeps one can prove later that nothing before it was changed.
impl Client {
    /// Reads a checkpoint: the one over this many entries, the `latest`, the newest that is
    /// `cosigned`, or, as `over-N`, the first that is kept of those that cover entry N.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn checkpoint(&self, which: &str) -> Result<CheckpointView, Error> {
        self.fetch(Call::read(checkpoints().item(which)?)).await
    }

    /// Lists the checkpoints that are kept: of each hour the newest, for 400 days, and the last kept
    /// by each key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn checkpoints(&self, page: &PageRequest) -> Result<Page<CheckpointView>, Error> {
        self.fetch(Call::read(page.on(checkpoints()))).await
    }

    /// Lists the keys that sign or signed checkpoints, oldest first.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn signing_keys(&self) -> Result<SigningKeys, Error> {
        self.fetch(Call::read(signing_keys())).await
    }

    /// Gives the audit log another key to sign checkpoints with.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn rotate_signing_key(&self) -> Result<RotatedSigningKey, Error> {
        self.fetch(Call::create(signing_keys().verb("rotate"))).await
    }
}
