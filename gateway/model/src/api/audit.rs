//! Bodies of the audit trail and of policy explanations.

use serde::{Deserialize, Serialize};

/// One entry as stored. `bytes` is exactly what is hashed: verify over it, never over a
/// re-serialisation.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Position in the writer's log, from 0.
    pub seq: u64,
    /// The leaf hash, SHA-256(0x00 ‖ bytes), in hex (RFC 6962 §2.1).
    pub hash: String,
    /// The entry: a JSON object, as text.
    pub bytes: String,
}

/// A run of entries and the newest signed checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// Entries, oldest first.
    pub items: Vec<AuditRecord>,
    /// How many entries the log holds.
    pub size: u64,
    /// The chain head over all of them, in hex.
    pub head: String,
    /// The newest checkpoint: a C2SP signed note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The verifier key of checkpoints, as C2SP vkey.
    pub verifier_key: String,
}

/// Asks why a past decision fell as it did.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Explain {
    /// As in a 403 problem document.
    pub decision_id: String,
}

/// One policy, as shown to administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// Its `@id`.
    pub id: String,
    /// Its `@title`.
    pub title: String,
    /// `permit` or `forbid`.
    pub effect: String,
    /// File and line.
    pub place: String,
    /// Its text.
    pub text: String,
}

/// Why a decision fell as it did.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The decision.
    pub decision_id: String,
    /// `allow` or `deny`.
    pub decision: String,
    /// In one sentence.
    pub summary: String,
    /// The policies that decided; none when nothing permitted the request.
    pub determining: Vec<PolicyView>,
    /// Where nothing permitted: the policies that could permit this action.
    pub candidates: Vec<PolicyView>,
    /// The roles the participant holds now.
    pub roles_now: Vec<String>,
    /// The policy revision that decided, and whether it is still the active one.
    pub revision: String,
    /// Whether that revision is active.
    pub revision_active: bool,
    /// The audit entry of the decision.
    pub entry: AuditRecord,
}
