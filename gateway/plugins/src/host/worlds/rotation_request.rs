//! What a rotation schedule is asked, as plain values: made from a key's record, or read from a case
//! (`cipher-hub plugin test`).

use std::collections::BTreeMap;
use std::time::Duration;

use hub_model::extend::{Parameters, RotationBounds, RotationQuestion};
use hub_model::{Key, KeyState, KeyVersion, Timestamp, UsageCounters};
use serde::{Deserialize, Serialize};

use super::super::bindings::rotation::exports::cipher_hub::plugin::rotation as wire;
use super::{duration_millis, fields, json, millis};

/// Versions that a question holds.
const MAX_VERSIONS: usize = 16;

/// What a rotation schedule is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotationRequest {
    /// The key.
    pub key: KeyFacts,
    /// The policy.
    pub policy: PolicyFacts,
    /// The clock of the zone. Absent: that of the parameter `zone`, or UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<CalendarFacts>,
    /// When the primary version became primary.
    #[serde(with = "json::time")]
    pub last_rotation: Timestamp,
    /// The time of the hub.
    #[serde(with = "json::time")]
    pub now: Timestamp,
}

/// A key without anything secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyFacts {
    /// `key_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `reg_…`
    pub registration: String,
    /// As in the API: `AES_256_GCM`.
    pub algorithm: String,
    /// As in the API: `encrypt`.
    pub purpose: String,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Number of the primary version.
    pub primary: u32,
    /// Newest first; at most 16.
    pub versions: Vec<VersionFacts>,
}

/// A version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionFacts {
    /// Its number.
    pub number: u32,
    /// Its state, as in the API.
    pub state: KeyState,
    /// When it was made.
    #[serde(with = "json::time")]
    pub created_at: Timestamp,
    /// When it became primary, where that is known.
    #[serde(default, with = "json::some_time", skip_serializing_if = "Option::is_none")]
    pub primary_since: Option<Timestamp>,
    /// Operations that protected data.
    #[serde(default)]
    pub protect_operations: u64,
    /// Bytes that were protected.
    #[serde(default)]
    pub protect_bytes: u64,
    /// Operations that processed protected data.
    #[serde(default)]
    pub process_operations: u64,
}

/// Bounds and parameters of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFacts {
    /// The least time between two rotations.
    #[serde(with = "json::length")]
    pub min_interval: Duration,
    /// The most.
    #[serde(with = "json::length")]
    pub max_interval: Duration,
    /// For the plugin.
    #[serde(default)]
    pub parameters: Parameters,
}

/// The clock of a time zone over some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CalendarFacts {
    /// Its name.
    pub zone: String,
    /// Seconds east of UTC at the last rotation.
    pub offset_seconds: i32,
    /// Ascending, at most 64.
    #[serde(default)]
    pub transitions: Vec<TransitionFacts>,
}

/// A change of a zone's distance from UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransitionFacts {
    /// When.
    #[serde(with = "json::time")]
    pub at: Timestamp,
    /// Seconds east of UTC from then on.
    pub offset_seconds: i32,
}

impl RotationRequest {
    /// The request that asks this question.
    #[must_use]
    pub fn of(question: &RotationQuestion<'_>) -> Self {
        Self {
            key: KeyFacts::of(question.key, question.usage),
            policy: PolicyFacts::of(question.policy),
            calendar: None,
            last_rotation: question.last_rotation,
            now: question.now,
        }
    }
}

impl KeyFacts {
    fn of(key: &Key, usage: &BTreeMap<u32, UsageCounters>) -> Self {
        let mut versions: Vec<&KeyVersion> = key.versions.iter().collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.number));
        versions.truncate(MAX_VERSIONS);
        let since = |number| if number == key.primary { key.primary_since } else { None };
        let facts = |version: &KeyVersion| {
            let used = usage.get(&version.number).copied().unwrap_or_default();
            VersionFacts {
                number: version.number,
                state: version.state,
                created_at: version.created,
                primary_since: since(version.number),
                protect_operations: used.protect.operations,
                protect_bytes: used.protect.bytes,
                process_operations: used.process.operations,
            }
        };
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            registration: key.registration.to_string(),
            algorithm: key.algorithm.to_string(),
            purpose: key.purpose().name().to_owned(),
            tags: key.tags.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            primary: key.primary,
            versions: versions.into_iter().map(facts).collect(),
        }
    }

    fn wire(&self) -> wire::KeyInfo {
        let version = |version: &VersionFacts| wire::VersionInfo {
            number: version.number,
            state: state(version.state),
            created_at: millis(version.created_at),
            primary_since: version.primary_since.map(millis),
            protect_operations: version.protect_operations,
            protect_bytes: version.protect_bytes,
            process_operations: version.process_operations,
        };
        wire::KeyInfo {
            id: self.id.clone(),
            name: self.name.clone(),
            registration: self.registration.clone(),
            algorithm: self.algorithm.clone(),
            purpose: self.purpose.clone(),
            tags: fields(&self.tags),
            primary: self.primary,
            versions: self.versions.iter().take(MAX_VERSIONS).map(version).collect(),
        }
    }
}

impl PolicyFacts {
    pub(super) fn of(bounds: &RotationBounds) -> Self {
        Self {
            min_interval: bounds.min_interval,
            max_interval: bounds.max_interval,
            parameters: bounds.parameters.clone(),
        }
    }

    pub(super) fn wire(&self) -> wire::Policy {
        wire::Policy {
            min_interval: duration_millis(self.min_interval),
            max_interval: duration_millis(self.max_interval),
            parameters: fields(&self.parameters),
        }
    }
}

/// The request in the contract's words.
pub(super) fn wire(request: &RotationRequest, calendar: &CalendarFacts) -> wire::Request {
    let transition = |change: &TransitionFacts| wire::Transition {
        at: millis(change.at),
        offset_seconds: change.offset_seconds,
    };
    wire::Request {
        key: request.key.wire(),
        policy: request.policy.wire(),
        calendar: wire::Calendar {
            zone: calendar.zone.clone(),
            offset_seconds: calendar.offset_seconds,
            transitions: calendar.transitions.iter().take(64).map(transition).collect(),
        },
        last_rotation: millis(request.last_rotation),
        now: millis(request.now),
    }
}

const fn state(state: KeyState) -> wire::VersionState {
    match state {
        KeyState::Pending => wire::VersionState::PreActivation,
        KeyState::Active => wire::VersionState::Active,
        KeyState::Suspended => wire::VersionState::Suspended,
        KeyState::Deactivated => wire::VersionState::Deactivated,
        KeyState::Compromised => wire::VersionState::Compromised,
        KeyState::DestroyScheduled => wire::VersionState::DestroyScheduled,
        KeyState::Destroyed => wire::VersionState::Destroyed,
    }
}
