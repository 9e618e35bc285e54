//! Bodies of grants on keys.

use serde::{Deserialize, Serialize};

use super::participant::MemberView;
use crate::grant::words;
use crate::{Action, EncryptionContext, GrantId, KeyId, Timestamp};

/// Grants a participant some actions on a key.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateGrant {
    /// Who may: name or uid of a participant of the registration, or uid of one of `hub`.
    pub participant: String,
    /// What: uses and reads of keys, each by its name, such as `keys.decrypt`.
    #[serde(with = "words")]
    #[schema(value_type = Vec<String>, example = json!(["keys.decrypt"]))]
    pub actions: Vec<Action>,
    /// From when on it permits nothing; without it, it stays until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Timestamp>,
    /// Pairs the encryption context of a request must hold (at most 8, 512 bytes).
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// What it is for, for people (one line of at most 256 bytes).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A grant as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// Its immutable id. Its policy id is `grant.<uid>`.
    pub uid: GrantId,
    /// The key it is on.
    pub key: KeyId,
    /// Who may.
    pub participant: MemberView,
    /// What.
    #[serde(with = "words")]
    #[schema(value_type = Vec<String>)]
    pub actions: Vec<Action>,
    /// From when on it permits nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Timestamp>,
    /// Whether that has come.
    pub expired: bool,
    /// Pairs the encryption context of a request must hold.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was made.
    pub create_time: Timestamp,
}
