//! Facts about keys. Never material.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::extend::FailurePolicy;
use crate::lifecycle::{Course, Step, effective};
use crate::rotation::{
    self, Due, Period, Planned, PluginSchedule, RotationFacts, RotationPolicy, Schedule,
};
use crate::{
    Algorithm, Error, Grant, KeyId, KeyState, Name, ProfilePin, RegistrationId, Tags, Timestamp,
    VersionState,
};

/// The waiting period before destruction where nothing else is said, in days.
pub const DESTROY_WAIT_DAYS: u16 = 30;

/// What a key is for. A key has one purpose for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Encrypt and decrypt data.
    Encrypt,
    /// Sign and verify.
    Sign,
    /// Compute and verify message authentication codes.
    Mac,
    /// Wrap and unwrap other keys.
    Wrap,
    /// Derive other keys.
    Derive,
    /// Agree on a secret with a peer's public key.
    Agree,
    /// Encapsulate and decapsulate a secret (KEM).
    Encapsulate,
}

impl Purpose {
    /// The word on the wire and in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Sign => "sign",
            Self::Mac => "mac",
            Self::Wrap => "wrap",
            Self::Derive => "derive",
            Self::Agree => "agree",
            Self::Encapsulate => "encapsulate",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where key material comes from.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Drawn by the hub.
    #[default]
    Generated,
    /// Made elsewhere and brought in.
    Imported,
    /// Derived from another key.
    Derived,
}

impl Origin {
    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Imported => "imported",
            Self::Derived => "derived",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key: its facts and the list of its versions.
///
/// Members that came later are read as their default where a stored record lacks them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Its immutable id.
    pub id: KeyId,
    /// The registration it belongs to.
    pub registration: RegistrationId,
    /// Its name within the registration.
    pub name: Name,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its state.
    pub state: KeyState,
    /// Number of the version that protects new data.
    pub primary: u32,
    /// Whether material may ever leave the hub. Fixed at creation.
    pub exportable: bool,
    /// Labels.
    pub tags: Tags,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Counts changes; the ETag.
    pub generation: u64,
    /// Every version, ascending by number.
    pub versions: Vec<KeyVersion>,
    /// Where the material of its first version comes from.
    #[serde(default)]
    pub origin: Origin,
    /// By which profile of which plugin its first version was derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_by: Option<ProfilePin>,
    /// Profiles that something was derived by from it, as they were then; at most
    /// [`MAX_PINS`](crate::pin::MAX_PINS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profile_pins: Vec<ProfilePin>,
    /// Its own rotation policy; without one, the default of its registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationPolicy>,
    /// Versions below this number neither decrypt nor verify.
    #[serde(default = "first")]
    pub min_decrypt_version: u32,
    /// When a pending key is to become active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When it first became active; where absent and not pending, when it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<Timestamp>,
    /// When it ended protecting for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivated: Option<Timestamp>,
    /// When it was marked as compromised. Never cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromised: Option<Timestamp>,
    /// When it is to be destroyed; once destroyed, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy_at: Option<Timestamp>,
    /// When an older version was made primary again; where absent, the primary never was another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_since: Option<Timestamp>,
    /// The date under which the hub looks at it again by itself: where its entry in the agenda is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agenda: Option<Timestamp>,
    /// What a plugin said about its next rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Planned>,
    /// What single participants may do with it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
}

const fn first() -> u32 {
    1
}

impl Key {
    /// A new key of this algorithm with one version of generated material: active now, or pending
    /// until `not_before`.
    #[must_use]
    pub fn new(
        registration: RegistrationId,
        id: KeyId,
        name: Name,
        algorithm: Algorithm,
        not_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let not_before = not_before.filter(|date| now < *date);
        let state = if not_before.is_some() { KeyState::Pending } else { KeyState::Active };
        Self {
            id,
            registration,
            name,
            algorithm,
            state,
            primary: 1,
            exportable: false,
            tags: Tags::default(),
            created: now,
            updated: now,
            generation: 1,
            versions: vec![KeyVersion::new(1, now)],
            origin: Origin::Generated,
            derived_by: None,
            profile_pins: Vec::new(),
            rotation: None,
            min_decrypt_version: 1,
            not_before,
            activated: (state == KeyState::Active).then_some(now),
            deactivated: None,
            compromised: None,
            destroy_at: None,
            primary_since: None,
            agenda: None,
            planned: None,
            grants: Vec::new(),
        }
    }

    /// The purpose, which follows from the algorithm.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.algorithm.row().purpose
    }

    /// The facts of one version.
    #[must_use]
    pub fn version(&self, number: u32) -> Option<&KeyVersion> {
        self.versions
            .binary_search_by_key(&number, |v| v.number)
            .ok()
            .and_then(|i| self.versions.get(i))
    }

    /// The facts of one version, to be changed.
    #[must_use]
    pub fn version_mut(&mut self, number: u32) -> Option<&mut KeyVersion> {
        self.versions
            .binary_search_by_key(&number, |v| v.number)
            .ok()
            .and_then(|i| self.versions.get_mut(i))
    }

    /// What a version may do: the stricter of the key's state and its own.
    #[must_use]
    pub fn effective_state(&self, number: u32) -> Option<KeyState> {
        self.version(number).map(|version| effective(self.state, version.state))
    }

    /// Whether a version may protect new data: only the primary, while it and the key are active.
    #[must_use]
    pub fn protects(&self, number: u32) -> bool {
        number == self.primary && self.effective_state(number).is_some_and(KeyState::protects)
    }

    /// Whether a version may process what it protected: not below the minimum, and as the states
    /// of version and key allow.
    #[must_use]
    pub fn processes(&self, number: u32) -> bool {
        number >= self.min_decrypt_version
            && self.effective_state(number).is_some_and(KeyState::processes)
    }

    /// As [`Self::processes`], where a policy explicitly allows the use of compromised keys.
    #[must_use]
    pub fn processes_if_permitted(&self, number: u32) -> bool {
        number >= self.min_decrypt_version
            && self.effective_state(number).is_some_and(KeyState::processes_if_permitted)
    }

    /// Takes a step of the lifecycle. [`Step::ScheduleDestroy`] sets the date after the default
    /// waiting period; [`Self::schedule_destroy`] sets another. `updated` and `generation` are the
    /// caller's.
    ///
    /// # Errors
    /// [`Error::Step`] and [`Error::TooEarly`]; the key is unchanged then.
    pub fn step(&mut self, step: Step, now: Timestamp) -> Result<(), Error> {
        self.course().take(step, now, end_of(Period::days(DESTROY_WAIT_DAYS), now))
    }

    /// Schedules destruction after this waiting period, whose limits are checked by
    /// [`ScheduleDestroy`](crate::api::key::ScheduleDestroy).
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn schedule_destroy(&mut self, wait: Period, now: Timestamp) -> Result<(), Error> {
        self.course().take(Step::ScheduleDestroy, now, end_of(wait, now))
    }

    /// The step that time alone asks for: activation once `not_before` has come, destruction once
    /// `destroy_at` has.
    #[must_use]
    pub fn due_step(&self, now: Timestamp) -> Option<Step> {
        due_step(self.state, self.not_before, self.destroy_at, now)
    }

    fn course(&mut self) -> Course<'_> {
        Course {
            state: &mut self.state,
            not_before: self.not_before,
            activated: &mut self.activated,
            deactivated: &mut self.deactivated,
            compromised: &mut self.compromised,
            destroy_at: &mut self.destroy_at,
        }
    }

    /// What the date of its next rotation follows from; `None` without a primary version.
    #[must_use]
    pub fn rotation_facts(&self) -> Option<RotationFacts> {
        let primary = self.version(self.primary)?;
        // A version made while the key was pending begins to age when the key becomes active.
        let begun = self.activated.unwrap_or(self.created);
        let last = primary.in_use_since().max(begun).max(self.primary_since.unwrap_or(begun));
        Some(RotationFacts {
            version_created: primary.created,
            last_rotation: last,
            seed: rotation::seed(self.id, primary.number),
            plan: self
                .planned
                .as_ref()
                .filter(|plan| plan.version == primary.number && plan.last_rotation == last)
                .map(Planned::plan)
                .map(|plan| match self.versions.len() < rotation::PLUGIN_VERSIONS {
                    true => plan,
                    false => plan.undated(),
                }),
        })
    }

    /// The date of its next rotation by time, under its own policy or its registration's. It lies
    /// in the past when the rotation is overdue; keys that are not active have none.
    #[must_use]
    pub fn next_rotation(&self, registration: Option<&RotationPolicy>) -> Option<Timestamp> {
        self.due_rotation(registration).map(|due| due.at)
    }

    /// The same, with what it comes from.
    #[must_use]
    pub fn due_rotation(&self, registration: Option<&RotationPolicy>) -> Option<Due> {
        let policy = self.rotation.as_ref().or(registration)?;
        let facts = self.rotation_facts().filter(|_| self.state == KeyState::Active)?;
        rotation::next_rotation(policy, &facts, facts.last_rotation)
    }

    /// The plugin that says when it is rotated, and what that has said of the primary version
    /// under this policy; `None` for keys that no plugin is asked about.
    #[must_use]
    pub fn by_plugin<'a>(
        &'a self,
        registration: Option<&'a RotationPolicy>,
    ) -> Option<(&'a PluginSchedule, Option<&'a Planned>, RotationFacts)> {
        let policy = self.rotation.as_ref().or(registration)?;
        let Some(Schedule::Plugin(schedule)) = &policy.schedule else { return None };
        let facts = self.rotation_facts().filter(|_| self.state == KeyState::Active)?;
        let fits = facts.plan.is_some_and(|plan| plan.schedule == schedule.fingerprint());
        Some((schedule, self.planned.as_ref().filter(|_| fits), facts))
    }

    /// What is done when the plugin of this schedule does not answer, as far as it has said so
    /// before, of whichever version.
    #[must_use]
    pub fn last_failure_policy(&self, schedule: &PluginSchedule) -> Option<FailurePolicy> {
        let planned = self.planned.as_ref()?;
        (planned.schedule == schedule.fingerprint()).then_some(planned.on_failure)
    }

    /// When the plugin is to be asked about it. Without an answer yet that is the last rotation:
    /// long past, and the same whenever it is looked at.
    #[must_use]
    pub fn ask_at(&self, registration: Option<&RotationPolicy>) -> Option<Timestamp> {
        match self.by_plugin(registration)? {
            (_, Some(planned), _) => planned.ask_at,
            (_, None, facts) => Some(facts.last_rotation),
        }
    }
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyVersion {
    /// Its number, from 1.
    pub number: u32,
    /// Its state.
    pub state: VersionState,
    /// When it was created.
    pub created: Timestamp,
    /// Where its material comes from.
    #[serde(default)]
    pub origin: Origin,
    /// When it first became active; where absent and not pending, when it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<Timestamp>,
    /// When it ended protecting for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivated: Option<Timestamp>,
    /// When it was marked as compromised. Never cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromised: Option<Timestamp>,
    /// When it is to be destroyed; once destroyed, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy_at: Option<Timestamp>,
}

impl KeyVersion {
    /// An active version of generated material.
    #[must_use]
    pub const fn new(number: u32, now: Timestamp) -> Self {
        Self {
            number,
            state: VersionState::Active,
            created: now,
            origin: Origin::Generated,
            activated: Some(now),
            deactivated: None,
            compromised: None,
            destroy_at: None,
        }
    }

    /// When it first became active, or was created where that is not known.
    #[must_use]
    pub fn in_use_since(&self) -> Timestamp {
        self.activated.unwrap_or(self.created)
    }

    /// Takes a step of the lifecycle, as [`Key::step`].
    ///
    /// # Errors
    /// [`Error::Step`] and [`Error::TooEarly`]; the version is unchanged then.
    pub fn step(&mut self, step: Step, now: Timestamp) -> Result<(), Error> {
        self.course().take(step, now, end_of(Period::days(DESTROY_WAIT_DAYS), now))
    }

    /// Schedules destruction after this waiting period, as [`Key::schedule_destroy`].
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn schedule_destroy(&mut self, wait: Period, now: Timestamp) -> Result<(), Error> {
        self.course().take(Step::ScheduleDestroy, now, end_of(wait, now))
    }

    /// The step that time alone asks for: destruction once `destroy_at` has come.
    #[must_use]
    pub fn due_step(&self, now: Timestamp) -> Option<Step> {
        due_step(self.state, None, self.destroy_at, now)
    }

    fn course(&mut self) -> Course<'_> {
        Course {
            state: &mut self.state,
            not_before: None,
            activated: &mut self.activated,
            deactivated: &mut self.deactivated,
            compromised: &mut self.compromised,
            destroy_at: &mut self.destroy_at,
        }
    }
}

/// The end of time when it lies beyond it: what never comes destroys nothing.
fn end_of(wait: Period, now: Timestamp) -> Timestamp {
    wait.after(now).unwrap_or(Timestamp::from_micros(i64::MAX))
}

fn due_step(
    state: KeyState,
    not_before: Option<Timestamp>,
    destroy_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Step> {
    let come = |date: Option<Timestamp>| date.is_some_and(|date| date <= now);
    match state {
        KeyState::Pending if come(not_before) => Some(Step::Activate),
        KeyState::DestroyScheduled if come(destroy_at) => Some(Step::Destroy),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + days * DAY)
    }

    fn key(not_before: Option<Timestamp>) -> Key {
        let (registration, id) = (RegistrationId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
        Key::new(
            registration,
            id,
            "orders".parse().unwrap(),
            Algorithm::Aes256Gcm,
            not_before,
            at(0),
        )
    }

    #[test]
    fn records_written_before_these_members_are_read() {
        let old = format!(
            r#"{{"id":"{}","registration":"{}","name":"orders","algorithm":"AES_256_GCM",
            "state":"active","primary":2,"exportable":false,"tags":{{}},
            "created":"2026-01-01T00:00:00.000000Z","updated":"2026-02-01T00:00:00.000000Z",
            "generation":2,"versions":[
            {{"number":1,"state":"destroyed","created":"2026-01-01T00:00:00.000000Z"}},
            {{"number":2,"state":"active","created":"2026-02-01T00:00:00.000000Z"}}]}}"#,
            KeyId::from_bytes([2; 16]),
            RegistrationId::from_bytes([1; 16]),
        );
        let key: Key = serde_json::from_str(&old).unwrap();
        assert_eq!((key.min_decrypt_version, key.origin), (1, Origin::Generated));
        assert_eq!((&key.rotation, key.not_before, key.destroy_at), (&None, None, None));
        assert_eq!(key.versions[0].state, VersionState::Destroyed);
        assert!(key.protects(2) && key.processes(2) && !key.processes(1));
        let facts = key.rotation_facts().unwrap();
        assert_eq!(facts.last_rotation, key.versions[1].created);
        let again: Key = serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap();
        assert_eq!(again, key);
    }

    #[test]
    fn a_new_record_is_read_back_whole() {
        let mut key = key(Some(at(3)));
        key.rotation = Some(
            serde_json::from_str(r#"{"schedule":{"period":"P30D"},"maxOperations":5}"#).unwrap(),
        );
        key.step(Step::MarkCompromised, at(1)).unwrap();
        key.step(Step::ScheduleDestroy, at(1)).unwrap();
        let json = serde_json::to_string(&key).unwrap();
        assert!(json.contains("\"state\":\"destroyScheduled\""));
        assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), key);
    }

    #[test]
    fn versions_do_what_both_states_and_the_minimum_allow() {
        let mut key = key(None);
        key.versions.push(KeyVersion::new(2, at(1)));
        key.primary = 2;
        assert!(key.protects(2) && !key.protects(1) && key.processes(1));
        assert!(!key.processes(3), "no such version");
        key.version_mut(1).unwrap().step(Step::Deactivate, at(2)).unwrap();
        assert!(key.processes(1));
        key.min_decrypt_version = 2;
        assert!(!key.processes(1) && key.processes(2));
        key.min_decrypt_version = 1;
        key.step(Step::MarkCompromised, at(3)).unwrap();
        assert!(!key.protects(2) && !key.processes(2) && key.processes_if_permitted(1));
        assert_eq!(key.effective_state(1), Some(KeyState::Compromised));
    }

    #[test]
    fn time_alone_activates_and_destroys() {
        let mut key = key(Some(at(3)));
        assert_eq!((key.state, key.due_step(at(2))), (KeyState::Pending, None));
        assert_eq!(key.due_step(at(3)), Some(Step::Activate));
        key.step(Step::Activate, at(4)).unwrap();
        assert_eq!(key.activated, Some(at(4)));
        assert_eq!(key.rotation_facts().unwrap().last_rotation, at(4));
        key.schedule_destroy(Period::days(7), at(5)).unwrap();
        assert_eq!(key.due_step(at(11)), None);
        assert_eq!(key.step(Step::Destroy, at(11)), Err(Error::TooEarly(at(12))));
        assert_eq!(key.due_step(at(12)), Some(Step::Destroy));
        key.step(Step::CancelDestroy, at(12)).unwrap();
        assert_eq!((key.state, key.destroy_at), (KeyState::Suspended, None));
        key.step(Step::Resume, at(13)).unwrap();
        assert_eq!((key.state, key.activated), (KeyState::Active, Some(at(4))));
    }

    #[test]
    fn a_date_that_has_passed_does_not_make_a_key_pending() {
        let key = key(Some(at(0)));
        assert_eq!((key.state, key.not_before), (KeyState::Active, None));
    }

    #[test]
    fn the_next_date_is_shown_for_active_keys_only() {
        let policy: RotationPolicy =
            serde_json::from_str(r#"{"schedule":{"period":"P30D"}}"#).unwrap();
        let mut key = key(None);
        assert_eq!(key.next_rotation(None), None);
        assert_eq!(key.next_rotation(Some(&policy)), Some(at(30)));
        key.rotation = Some(RotationPolicy::default());
        assert_eq!(key.next_rotation(Some(&policy)), None, "opted out");
        key.rotation = Some(policy);
        key.step(Step::Suspend, at(1)).unwrap();
        assert_eq!(key.next_rotation(None), None);
    }
}
