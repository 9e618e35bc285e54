//! Bodies of receipts and of proofs over the audit log.

use serde::{Deserialize, Serialize};

/// Proof that one entry is in the audit log (RFC 6962 §2.1.1), under a signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditReceipt {
    /// Position in the writer's log, from 0.
    pub seq: u64,
    /// The entry as stored: exactly what is hashed. Absent where the caller may know no more of an
    /// own request than its answer said: where policy refused it, or was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// The leaf hash, SHA-256(0x00 ‖ bytes), in hex (RFC 6962 §2.1).
    pub hash: String,
    /// How many entries the checkpoint covers.
    pub size: u64,
    /// The hashes of the inclusion proof in hex, the sibling of the leaf first.
    pub proof: Vec<String>,
    /// The checkpoint: a C2SP signed note.
    pub checkpoint: String,
    /// The verifier key of checkpoints, as C2SP vkey, by the hub's word.
    pub verifier_key: String,
    /// The same as one C2SP tlog-proof, to be kept beside what it proves.
    pub tlog_proof: String,
}

/// The tree over the first entries of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditTree {
    /// How many entries.
    pub size: u64,
    /// The Merkle root over them, in hex.
    pub root: String,
}

/// Proof that the log at one size goes on from what it was at another (RFC 6962 §2.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditConsistency {
    /// The smaller tree.
    pub from: AuditTree,
    /// The larger tree.
    pub to: AuditTree,
    /// The hashes of the consistency proof, in hex; none from 0 and between equal sizes.
    pub proof: Vec<String>,
    /// The checkpoint over `to`, a C2SP signed note, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The verifier key of checkpoints, as C2SP vkey, by the hub's word.
    pub verifier_key: String,
}
