//! Bodies of the audit trail and of policy explanations.

use serde::{Deserialize, Serialize};

use crate::{AuthMethod, EncryptionContext, Timestamp};

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
    /// Entries, oldest first unless asked otherwise.
    pub items: Vec<AuditRecord>,
    /// Where to go on: there may be more entries that fit, also after a page without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
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

/// Asks why a past decision fell as it did (`decisionId` alone), or how one would fall that nobody
/// asks for (`participant` and `action`, and what else the request would be).
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Explain {
    /// As in a 403 problem document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    /// Who would ask, as `registration/name`; either part can be a uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// For what, such as `keys.decrypt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The registration it would be asked in, or that the key is in; the participant's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
    /// The key, where the action is one of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The encryption context; empty when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_context: Option<EncryptionContext>,
    /// Bytes of plaintext, ciphertext or message; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
    /// The caller's IP address, or `unix`; `127.0.0.1` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// How the caller would authenticate; by API key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<AuthMethod>,
    /// Whether over TLS; true when absent, but for `unix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// Whether with a client certificate; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutual_tls: Option<bool>,
    /// The SPIFFE id in that certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// When; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Under which policy revision; the active one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
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
    /// The decision; none for one that nobody asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
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
    /// For one that nobody asked for and that is denied: what would have to change, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// What went wrong in evaluation, by policy; any of it denies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// The audit entry of the decision; none for one that nobody asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<AuditRecord>,
}
