//! The barrier: every record is sealed on its way to the engine and opened on its way back, bound
//! to its path. What does not open is never served.

use std::sync::Arc;

use hub_crypto::SystemKeys;
use zeroize::Zeroizing;

use crate::digest::StateDigest;
use crate::{Error, Path};

/// What sealing adds to a record, in bytes.
pub(crate) const OVERHEAD: usize = hub_crypto::record::OVERHEAD;

#[derive(Debug, Clone)]
pub(crate) struct Barrier(Arc<SystemKeys>);

impl Barrier {
    pub(crate) const fn new(keys: Arc<SystemKeys>) -> Self {
        Self(keys)
    }

    pub(crate) fn seal(&self, path: &Path, plaintext: &[u8]) -> Vec<u8> {
        self.0.record().seal(path.as_bytes(), plaintext)
    }

    pub(crate) fn open(&self, path: &Path, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.0
            .record()
            .open(path.as_bytes(), sealed)
            .map_err(|_| Error::Tampered { path: path.clone() })
    }

    /// What a record contributes to the state digest.
    pub(crate) fn term(&self, path: &Path, sealed: &[u8]) -> StateDigest {
        StateDigest::from_bytes(self.0.digest().tag(&[path.as_bytes(), &[0], sealed]))
    }
}
