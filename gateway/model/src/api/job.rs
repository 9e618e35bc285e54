//! Bodies of wrapped data keys that the hub keeps, and of long operations.

use serde::{Deserialize, Serialize};

use crate::{EncryptionContext, KeyId, Name, OperationId, Timestamp};

/// Keeps a wrapped data key with the hub: what `:generateDataKey` gave as `ciphertext`.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutDataKey {
    /// Its name, unique under the key.
    pub name: Name,
    /// The data key, wrapped under this key.
    pub ciphertext: String,
    /// The pairs it was generated with.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
}

/// A wrapped data key that the hub keeps. `:decrypt` with `ciphertext` and `context` opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptDataKey {
    /// Its name.
    pub name: Name,
    /// The data key, wrapped.
    pub ciphertext: String,
    /// The version it is wrapped under.
    pub version: u32,
    /// The pairs it is bound to.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// When it was first kept.
    pub create_time: Timestamp,
    /// When it was wrapped as it is now.
    pub update_time: Timestamp,
}

/// How a long operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OperationState {
    /// It is being worked on, or will be.
    Running,
    /// All of it is done.
    Succeeded,
    /// It stopped, or some of it could not be done; it can be resumed.
    Failed,
    /// It was cancelled; it can be resumed.
    Cancelled,
}

impl OperationState {
    /// Whether nothing more happens by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// How far a long operation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Items that have been looked at.
    pub done: u64,
    /// Items there were when it began.
    pub total: u64,
    /// Of those looked at, the ones that could not be done.
    pub failed: u64,
    /// Items a second, on average since it began or was resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u64>,
    /// Seconds until the end at that speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
}

/// An item that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// Which data key.
    pub data_key: Name,
    /// The stable word for why.
    pub code: String,
}

/// A long operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationView {
    /// Its id.
    pub uid: OperationId,
    /// The verb: `keys.migrate`.
    pub kind: String,
    /// The key it works on.
    pub key: KeyId,
    /// How it stands.
    pub state: OperationState,
    /// How far it is.
    pub progress: Progress,
    /// Why it stopped: the stable word of a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Items that could not be done, 100 at most; `progress.failed` counts all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<ItemFailure>,
    /// When it was asked for.
    pub create_time: Timestamp,
    /// When it last got further.
    pub update_time: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
}
