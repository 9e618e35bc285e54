//! Bodies of keys and versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::present;
use super::profile::UsedProfile;
use crate::key::DESTROY_WAIT_DAYS;
use crate::{
    Algorithm, Error, Key, KeyId, KeyState, KeyVersion, Name, Origin, Period, ProfilePin, Purpose,
    RotationPolicy, Tags, Timestamp, UsageCounters, VersionState,
};

/// Creates a key.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateKey {
    /// Its name, unique in the registration.
    pub name: Name,
    /// Its algorithm; `AES_256_GCM` when absent. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Whether its material may leave the hub; `false` when absent. Never changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exportable: bool,
    /// Its rotation policy; that of the registration when absent, and none when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationPolicy>,
    /// When it becomes active; at once when absent or past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_time: Option<Timestamp>,
}

impl CreateKey {
    /// A key of this name with every default.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self {
            name,
            algorithm: None,
            tags: Tags::default(),
            exportable: false,
            rotation: None,
            activation_time: None,
        }
    }
}

/// Changes a key (RFC 7396 merge patch).
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchKey {
    /// Tags to set, or to remove with null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
    /// A new rotation policy as a whole; null for that of the registration.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RotationPolicy>)]
    pub rotation: Option<Option<RotationPolicy>>,
    /// Versions below this number neither decrypt nor verify from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub min_decrypt_version: Option<u32>,
}

/// Schedules the destruction of a key or a version. Until then it is unusable, and the destruction
/// can be cancelled.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleDestroy {
    /// The waiting period: 30 days when absent, 7 days at least, 365 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Period>,
}

impl ScheduleDestroy {
    /// The waiting period, with its default, within its limits.
    ///
    /// # Errors
    /// [`Error::DestroyWait`].
    pub fn wait(&self) -> Result<Period, Error> {
        let wait = self.after.unwrap_or(Period::days(DESTROY_WAIT_DAYS));
        // By its shortest length, so that `P1Y` is within a year even when that is a leap year.
        let limits = Period::days(7).at_least()..=Period::days(365).at_least();
        if !limits.contains(&wait.at_least()) {
            return Err(Error::DestroyWait);
        }
        Ok(wait)
    }
}

/// Marks a key or a version as known to others. This cannot be taken back.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarkCompromised {}

/// A key as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    /// Its immutable id.
    pub uid: KeyId,
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub purpose: Purpose,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its state.
    pub state: KeyState,
    /// Number of the version that protects new data.
    pub primary_version: u32,
    /// How many versions there are.
    pub versions: u32,
    /// Versions below this number neither decrypt nor verify.
    #[serde(default = "first")]
    pub min_decrypt_version: u32,
    /// Where the material of its first version comes from.
    #[serde(default)]
    pub origin: Origin,
    /// By which profile of which plugin its first version was derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_by: Option<UsedProfile>,
    /// Profiles of plugins that something was derived by from it: with the same input they give the
    /// same bytes for ever, and these digests stay installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profile_pins: Vec<ProfilePin>,
    /// Whether its material may leave the hub.
    #[serde(default)]
    pub exportable: bool,
    /// The rotation policy in force, be it its own or that of its registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationPolicy>,
    /// When it is rotated next by time; a past date is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Timestamp>,
    /// When a pending key becomes active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_time: Option<Timestamp>,
    /// When it is to be destroyed; once destroyed, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy_time: Option<Timestamp>,
    /// Labels.
    pub tags: Tags,
    /// When it was created.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

const fn first() -> u32 {
    1
}

impl KeyView {
    /// A key, with the default rotation policy of its registration.
    #[must_use]
    pub fn new(key: &Key, registration: Option<&RotationPolicy>) -> Self {
        Self {
            uid: key.id,
            name: key.name.clone(),
            purpose: key.purpose(),
            algorithm: key.algorithm,
            state: key.state,
            primary_version: key.primary,
            versions: u32::try_from(key.versions.len()).unwrap_or(u32::MAX),
            min_decrypt_version: key.min_decrypt_version,
            origin: key.origin,
            derived_by: key.derived_by.as_ref().map(UsedProfile::from),
            profile_pins: key.profile_pins.clone(),
            exportable: key.exportable,
            rotation: key.rotation.as_ref().or(registration).cloned(),
            next_rotation_time: key.next_rotation(registration),
            activation_time: key.not_before.filter(|_| key.state == KeyState::Pending),
            destroy_time: key.destroy_at,
            tags: key.tags.clone(),
            create_time: key.created,
            update_time: key.updated,
        }
    }
}

impl From<&Key> for KeyView {
    fn from(key: &Key) -> Self {
        Self::new(key, None)
    }
}

/// A version as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// Its number, from 1.
    pub version: u32,
    /// Its own state; what it may do is what the stricter of this and the key's allows.
    pub state: VersionState,
    /// Whether it protects new data.
    pub primary: bool,
    /// Where its material comes from.
    #[serde(default)]
    pub origin: Origin,
    /// When it was created.
    pub create_time: Timestamp,
    /// When it first became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activate_time: Option<Timestamp>,
    /// When it ended protecting for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivate_time: Option<Timestamp>,
    /// When it was marked as compromised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromise_time: Option<Timestamp>,
    /// When it is to be destroyed; once destroyed, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy_time: Option<Timestamp>,
    /// How much it was used; after a crash up to a block more than that. Where versions are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageCounters>,
    /// Whether data may still be protected under it that the primary version should protect: it is
    /// not primary, has protected something, and can still be read. Where versions are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_rewrap: Option<bool>,
}

impl VersionView {
    /// One version of a key.
    #[must_use]
    pub fn new(key: &Key, version: &KeyVersion) -> Self {
        Self {
            version: version.number,
            state: version.state,
            primary: version.number == key.primary,
            origin: version.origin,
            create_time: version.created,
            activate_time: version.activated,
            deactivate_time: version.deactivated,
            compromise_time: version.compromised,
            destroy_time: version.destroy_at,
            usage: None,
            needs_rewrap: None,
        }
    }

    /// With how much it was used.
    #[must_use]
    pub fn used(mut self, usage: UsageCounters) -> Self {
        let protected = usage.protect.operations > 0;
        self.needs_rewrap =
            Some(!self.primary && protected && self.state != VersionState::Destroyed);
        self.usage = Some(usage);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RegistrationId, Step};

    #[test]
    fn a_patch_tells_absent_from_null() {
        let read = |json| serde_json::from_str::<PatchKey>(json).unwrap();
        assert_eq!(read("{}").rotation, None);
        assert_eq!(read(r#"{"rotation":null}"#).rotation, Some(None));
        let set = read(r#"{"rotation":{"maxOperations":3},"minDecryptVersion":2}"#);
        assert_eq!(set.rotation.unwrap().unwrap().max_operations, Some(3));
        assert_eq!(set.min_decrypt_version, Some(2));
        assert!(serde_json::from_str::<PatchKey>(r#"{"exportable":true}"#).is_err());
    }

    #[test]
    fn the_waiting_period_is_7_to_365_days() {
        let wait = |json: &str| serde_json::from_str::<ScheduleDestroy>(json).unwrap().wait();
        assert_eq!(wait("{}"), Ok(Period::days(30)));
        assert_eq!(wait(r#"{"after":"P7D"}"#), Ok(Period::days(7)));
        assert!(wait(r#"{"after":"P1W"}"#).is_ok());
        assert!(wait(r#"{"after":"P1Y"}"#).is_ok());
        for bad in ["P6D", "PT167H", "PT0S", "P366D", "P13M", "P100Y"] {
            assert_eq!(wait(&format!(r#"{{"after":"{bad}"}}"#)), Err(Error::DestroyWait), "{bad}");
        }
    }

    #[test]
    fn views_show_the_policy_and_the_dates_in_force() {
        let at = |days: i64| Timestamp::from_micros(days * 86_400_000_000);
        let (registration, id) = (RegistrationId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
        let name: Name = "orders".parse().unwrap();
        let algorithm = Algorithm::Aes256Gcm;
        let mut key = Key::new(registration, id, name, algorithm, Some(at(5)), at(0));
        let default = serde_json::from_str(r#"{"schedule":{"period":"P30D"}}"#).unwrap();
        let view = KeyView::new(&key, Some(&default));
        assert_eq!((view.state, view.activation_time), (KeyState::Pending, Some(at(5))));
        assert_eq!((view.rotation.as_ref(), view.next_rotation_time), (Some(&default), None));
        key.step(Step::Activate, at(6)).unwrap();
        let view = KeyView::new(&key, Some(&default));
        assert_eq!((view.activation_time, view.next_rotation_time), (None, Some(at(36))));
        key.schedule_destroy(Period::days(7), at(8)).unwrap();
        assert_eq!(KeyView::from(&key).destroy_time, Some(at(15)));
        let json = serde_json::to_value(VersionView::new(&key, &key.versions[0])).unwrap();
        assert_eq!(json["origin"], "generated");
        assert_eq!(json.get("destroyTime"), None);
    }
}
