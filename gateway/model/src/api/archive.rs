//! Bodies of the archives of the audit log.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Asks for archives of old entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArchiveAudit {
    /// Entries from before this moment, which is not in the future.
    pub before: Timestamp,
}

/// What is being archived, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchivePlan {
    /// Entries from before this moment.
    pub before: Timestamp,
    /// The first entry that is in no archive yet.
    pub first: u64,
    /// How many entries, about: the last few await a checkpoint.
    pub entries: u64,
    /// Their bytes, by a sample.
    pub approximate_bytes: u64,
    /// How many archives.
    pub archives: u64,
}

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveView {
    /// The name of the file in the folder of archives.
    pub file: String,
    /// Its first entry.
    pub first: u64,
    /// Its last entry.
    pub last: u64,
    /// How many entries.
    pub entries: u64,
    /// The size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// The time of the oldest entry.
    pub from: Timestamp,
    /// The time of the newest entry.
    pub until: Timestamp,
    /// When it was made.
    pub create_time: Timestamp,
    /// `sound` (read through), `present` (there, not read through since the start), `missing` or
    /// `damaged`.
    pub state: String,
    /// When it was read through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_time: Option<Timestamp>,
    /// Which part of it is damaged, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The archives of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveList {
    /// The archives, oldest first.
    pub items: Vec<ArchiveView>,
    /// The first entry that is in no archive.
    pub end: u64,
    /// The folder they lie in.
    pub folder: String,
    /// How long entries stay in the store at least, in seconds; absent when they are archived only
    /// when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<u64>,
    /// Entries from before this moment were asked for and are being archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<Timestamp>,
    /// Why archiving does not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
