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
    /// Entries the index of the audit log has seen.
    #[serde(default)]
    pub audit_indexed: u64,
    /// Blocks of 16,384 entries that queries look through one by one, because the index of them is
    /// not read yet or is being made.
    #[serde(default)]
    pub audit_index_pending: u64,
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
    /// Where audit entries are sent besides being stored.
    #[serde(default)]
    pub sinks: Vec<SinkView>,
    /// Plugins, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<super::plugin::PluginHealth>,
}

/// How a sink of the audit log fares.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SinkView {
    /// Its name in the configuration.
    pub name: String,
    /// `file`, `stdout`, `syslog`, `webhook` or `otlp`.
    pub kind: String,
    /// `required` or `best-effort`.
    pub mode: String,
    /// The sequence after the last entry it has taken.
    pub reached: u64,
    /// Entries it has not taken yet.
    pub waiting: u64,
    /// Age of the oldest of them, in seconds.
    pub waiting_seconds: u64,
    /// Entries it has missed since the start of the process.
    pub dropped: u64,
    /// Deliveries that failed since the start of the process.
    pub failures: u64,
    /// Whether new work is refused because of it.
    pub refusing: bool,
    /// Why the last delivery failed, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
