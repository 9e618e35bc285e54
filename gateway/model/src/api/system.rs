//! Bodies of the hub itself.

use serde::{Deserialize, Serialize};

use crate::{HubId, Timestamp};

/// The hub's status, for operators.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The hub.
    pub hub: HubId,
    /// The program's version.
    pub version: String,
    /// Whether everything lives in memory only.
    pub dev: bool,
    /// When the process started.
    pub start_time: Timestamp,
    /// `unsealed`.
    pub seal: String,
    /// Kind of the seal slot in use.
    pub seal_kind: String,
    /// The engine: `fjall` or `memory`.
    pub store: String,
    /// Bytes the store takes on disk.
    pub store_bytes: u64,
    /// How secrets are held: `memfd_secret`, `locked` or `plain`.
    pub arena: String,
    /// Secrets held in memory.
    pub arena_secrets: u64,
    /// What computes where there are two implementations: `auto`, `rustcrypto` or `aws-lc`.
    #[serde(default)]
    pub crypto_provider: String,
    /// Which algorithms new keys may have: `any` or `fips-algorithms`. Selects algorithms; says
    /// nothing of a validated module.
    #[serde(default)]
    pub crypto_profile: String,
    /// Entries in the audit log.
    pub audit_size: u64,
    /// Entries covered by the newest checkpoint.
    pub checkpoint_size: u64,
    /// The active policy revision.
    pub policy_revision: String,
    /// How the last full scan of the store ended.
    pub integrity: String,
    /// What an operator should know: missing protections of the kernel, a seal beside its data.
    pub notices: Vec<String>,
    /// Who is refused for a while after unusual behaviour; the hundred that end last.
    #[serde(default)]
    pub blocks: Vec<super::quota::BlockView>,
    /// Witnesses of the audit log (`audit.witnesses`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<super::checkpoint::WitnessView>,
}
