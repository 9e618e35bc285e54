//! Bodies of keys and versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Algorithm, Key, KeyId, KeyState, KeyVersion, Name, Purpose, Tags, Timestamp, VersionState,
};

/// Creates a key.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateKey {
    /// Its name, unique in the registration.
    pub name: Name,
    /// Its algorithm; `AES_256_GCM` when absent. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// Changes a key (RFC 7396 merge patch).
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchKey {
    /// Tags to set, or to remove with null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
}

/// A key as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    /// Its immutable id.
    pub uid: KeyId,
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub purpose: Purpose,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its state.
    pub state: KeyState,
    /// Number of the version that protects new data.
    pub primary_version: u32,
    /// How many versions there are.
    pub versions: u32,
    /// Labels.
    pub tags: Tags,
    /// When it was created.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

impl From<&Key> for KeyView {
    fn from(key: &Key) -> Self {
        Self {
            uid: key.id,
            name: key.name.clone(),
            purpose: key.purpose(),
            algorithm: key.algorithm,
            state: key.state,
            primary_version: key.primary,
            versions: u32::try_from(key.versions.len()).unwrap_or(u32::MAX),
            tags: key.tags.clone(),
            create_time: key.created,
            update_time: key.updated,
        }
    }
}

/// A version as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// Its number, from 1.
    pub version: u32,
    /// Its state.
    pub state: VersionState,
    /// Whether it protects new data.
    pub primary: bool,
    /// When it was created.
    pub create_time: Timestamp,
}

impl VersionView {
    /// One version of a key.
    #[must_use]
    pub fn new(key: &Key, version: &KeyVersion) -> Self {
        Self {
            version: version.number,
            state: version.state,
            primary: version.number == key.primary,
            create_time: version.created,
        }
    }
}
