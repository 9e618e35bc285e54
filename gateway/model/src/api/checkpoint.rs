//! Bodies of checkpoints, the keys that sign them, and witnesses.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A signed checkpoint of the audit log. What counts is `note`: verify its signature, and read
/// what it says; the other members say the same for the eye.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointView {
    /// How many entries it covers.
    pub size: u64,
    /// The Merkle root over them, in hex.
    pub root: String,
    /// When it was made.
    pub time: Timestamp,
    /// The C2SP signed note, with the cosignatures of witnesses.
    pub note: String,
    /// Who cosigned, by their own word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<String>,
}

/// The keys that sign or signed checkpoints.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeys {
    /// Oldest first; the last one is the active one.
    pub items: Vec<SigningKeyView>,
}

/// A key that signs or signed checkpoints.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeyView {
    /// The verifier key, as C2SP vkey.
    pub verifier_key: String,
    /// `active`, `overlap` (signs beside the active one) or `retired`.
    pub state: String,
    /// The entry that names it, written while the key before signed; 0 for the first key.
    pub first_sequence: u64,
    /// The entry after which it signs no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sequence: Option<u64>,
    /// When it became the active one; absent for the first key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<Timestamp>,
    /// During an overlap: when it signs no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_end_time: Option<Timestamp>,
}

/// A rotation of the key that signs checkpoints.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotatedSigningKey {
    /// The new verifier key, as C2SP vkey. Give it to whoever verifies.
    pub verifier_key: String,
    /// The one before, which signs beside it until the end of the overlap.
    pub previous_verifier_key: String,
    /// When the one before is erased.
    pub overlap_end_time: Timestamp,
}

/// A witness of the audit log, as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WitnessView {
    /// Its name in the configuration.
    pub name: String,
    /// How many entries it has cosigned; 0 when none yet.
    pub size: u64,
    /// When it cosigned last, by its clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// What is wrong, when the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
