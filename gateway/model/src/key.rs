//! Facts about keys. Never material.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, KeyId, KeyState, Name, RegistrationId, Tags, Timestamp, VersionState};

/// What a key is for. A key has one purpose for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Encrypt and decrypt data.
    Encrypt,
    /// Sign and verify.
    Sign,
    /// Compute and verify message authentication codes.
    Mac,
    /// Wrap and unwrap other keys.
    Wrap,
    /// Derive other keys.
    Derive,
    /// Agree on a secret with a peer's public key.
    Agree,
    /// Encapsulate and decapsulate a secret (KEM).
    Encapsulate,
}

impl Purpose {
    /// The word on the wire and in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Sign => "sign",
            Self::Mac => "mac",
            Self::Wrap => "wrap",
            Self::Derive => "derive",
            Self::Agree => "agree",
            Self::Encapsulate => "encapsulate",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key: its facts and the list of its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Its immutable id.
    pub id: KeyId,
    /// The registration it belongs to.
    pub registration: RegistrationId,
    /// Its name within the registration.
    pub name: Name,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its state.
    pub state: KeyState,
    /// Number of the version that protects new data.
    pub primary: u32,
    /// Whether material may ever leave the hub. Fixed at creation.
    pub exportable: bool,
    /// Labels.
    pub tags: Tags,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Counts changes; the ETag.
    pub generation: u64,
    /// Every version, ascending by number.
    pub versions: Vec<KeyVersion>,
}

impl Key {
    /// The purpose, which follows from the algorithm.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.algorithm.row().purpose
    }

    /// The facts of one version.
    #[must_use]
    pub fn version(&self, number: u32) -> Option<&KeyVersion> {
        self.versions
            .binary_search_by_key(&number, |v| v.number)
            .ok()
            .and_then(|i| self.versions.get(i))
    }
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyVersion {
    /// Its number, from 1.
    pub number: u32,
    /// Its state.
    pub state: VersionState,
    /// When it was created.
    pub created: Timestamp,
}
