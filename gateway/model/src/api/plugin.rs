//! Bodies of the catalogue of plugins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::present;
use crate::extend::{FailurePolicy, PluginDigest};
use crate::{Name, ParticipantId, RegistrationId, Timestamp};

/// Whether a plugin answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PluginState {
    /// It answers.
    InService,
    /// It is disabled: nothing asks it.
    Disabled,
    /// A version is installed, and none is active.
    Installed,
    /// Its active version cannot be used; `problem` says why. What was in service before stays,
    /// where there was anything.
    Failed,
}

/// Limits of a call. What is absent is not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginLimits {
    /// All linear memories together, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 65536)]
    pub memory_bytes: Option<u64>,
    /// Time, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub time_micros: Option<u64>,
    /// Fuel: about one for an instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub fuel: Option<u64>,
    /// Calls of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<u32>,
}

/// A setting or parameter that a plugin takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginSetting {
    /// Which texts are good, in words.
    pub takes: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether it must be given.
    pub required: bool,
    /// What holds where nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A version that is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginVersion {
    /// SHA-256 of its file without signatures, in hexadecimal digits.
    #[schema(value_type = String, example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub digest: PluginDigest,
    /// As its manifest says.
    pub version: String,
    /// Whom of the trusted signers it is by; absent for one that nobody signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Name>)]
    pub signer: Option<Name>,
    /// Bytes of its file.
    pub bytes: u64,
    /// When it was installed.
    pub install_time: Timestamp,
    /// By whom; absent when it was found in the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub installed_by: Option<ParticipantId>,
}

/// What a plugin has cost since it was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginStats {
    /// Calls, with those that failed.
    pub calls: u64,
    /// Failures by kind.
    pub failures: BTreeMap<String, u64>,
    /// Fuel of all calls.
    pub fuel: u64,
    /// Time of all calls, in microseconds.
    pub time_micros: u64,
    /// The most memory that one call held, in bytes.
    pub memory_peak_bytes: u64,
    /// The most time by which one call outlived its limit before it was stopped, in microseconds.
    #[serde(default)]
    pub overrun_micros: u64,
    /// Lines of the log that were dropped.
    pub log_lines_dropped: u64,
}

/// How a plugin fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginHealth {
    /// What it is called.
    #[schema(value_type = Name)]
    pub name: Name,
    /// Whether it answers.
    pub state: PluginState,
    /// Why its active version cannot be used; or, of KDF profiles, another one that keys may derive
    /// by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The version that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Calls since it was loaded.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
}

/// A plugin of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginView {
    /// What it is called.
    #[schema(value_type = Name)]
    pub name: Name,
    /// What it is for: `rotation-schedule`, `kdf-profile` or `audit-sink`.
    pub world: String,
    /// Whether it answers.
    pub state: PluginState,
    /// Why its active version cannot be used; or, of KDF profiles, another one that keys may derive
    /// by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Digest of the active version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub active: Option<PluginDigest>,
    /// The active version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Digest of the version that was active before: what `:rollback` goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub previous: Option<PluginDigest>,
    /// What it does, as its manifest says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it may call.
    pub capabilities: Vec<String>,
    /// Settings in effect: those of the configuration, those set here, defaults.
    pub config: BTreeMap<String, String>,
    /// Which settings it takes.
    pub config_schema: BTreeMap<String, PluginSetting>,
    /// What rotation policies and requests may say to it.
    pub parameters_schema: BTreeMap<String, PluginSetting>,
    /// What is done when it gives no answer.
    pub failure: FailurePolicy,
    /// Limits of a call in effect.
    pub limits: PluginLimits,
    /// Registrations it serves; absent when it serves all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub registrations: Option<Vec<RegistrationId>>,
    /// Versions installed, oldest first.
    pub versions: Vec<PluginVersion>,
    /// What it has cost since it was loaded.
    pub stats: PluginStats,
}

/// Changes a plugin (RFC 7396 merge patch). What the configuration says of it stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchPlugin {
    /// Enables or disables it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Makes an installed version the active one, by its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub active: Option<PluginDigest>,
    /// Settings to set, or to remove with null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<BTreeMap<String, Option<String>>>,
    /// What is done when it gives no answer; null for what its manifest says.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FailurePolicy>)]
    pub failure: Option<Option<FailurePolicy>>,
    /// Limits of a call as a whole; null for what its manifest says. The ceilings of the
    /// configuration hold in any case.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PluginLimits>)]
    pub limits: Option<Option<PluginLimits>>,
    /// Names or ids of the registrations it serves; null for all.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub registrations: Option<Option<Vec<String>>>,
}
