//! The agenda: under which date the hub looks at a key again by itself. One entry a key, written
//! with its record, so that the sweep reads what is due and nothing else.

use hub_model::rotation::{Planned, Schedule};
use hub_model::{Key, KeyId, KeyState, Name, RegistrationId, RotationPolicy, Timestamp, rotation};
use hub_store::{Changes, layout};
use serde::{Deserialize, Serialize};

use crate::Error;

/// An entry: a key at a date, or, without a key, all keys of a registration at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// The date it lies under.
    pub(crate) at: Timestamp,
    /// Where.
    pub(crate) registration: RegistrationId,
    /// Which key; none when the registration's default policy has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<KeyId>,
    /// That at this date its rotation plugin is to be asked, and nothing else is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ask: Option<Ask>,
}

/// That a plugin is to be asked. Keys that wait for an answer are passed over by the sweep without
/// reading their records, however many they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ask {
    /// Which.
    pub(crate) plugin: Name,
    /// When something else is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) then: Option<Timestamp>,
}

/// Adds a new or changed key to the changes, with its place in the agenda.
///
/// INVARIANT: every change of a key record goes through here, so `key.agenda` says where its one
/// entry lies. Records from before the agenda are entered at the start of the hub.
pub(crate) fn put_key(
    changes: &mut Changes,
    key: &mut Key,
    default: Option<&RotationPolicy>,
    now: Timestamp,
) -> Result<(), Error> {
    let had = key.planned.is_some();
    let fits = key.by_plugin(default).is_some_and(|(_, planned, _)| planned.is_some());
    if !fits {
        // About another version or policy: it counts for nothing any more, but for what is done
        // when the same plugin does not answer.
        let policy = key.rotation.as_ref().or(default);
        let schedule = match policy.and_then(|policy| policy.schedule.as_ref()) {
            Some(Schedule::Plugin(schedule)) => Some(schedule.fingerprint()),
            _ => None,
        };
        let planned = key.planned.take().filter(|planned| Some(planned.schedule) == schedule);
        key.planned = planned.map(Planned::spent);
    }
    let (next, ask) = (next_date(key, default, now), ask(key, default, now));
    if next != key.agenda || ask.is_some() || had {
        if let Some(old) = key.agenda.filter(|old| next != Some(*old)) {
            changes.delete(&layout::agenda(old, key.registration, key.id));
        }
        if let Some(at) = next {
            let entry = Entry { at, registration: key.registration, key: Some(key.id), ask };
            changes.put(&layout::agenda(at, key.registration, key.id), &entry)?;
        }
        key.agenda = next;
    }
    changes.put(&layout::key(key.registration, key.id), key)?;
    Ok(())
}

/// Has all keys of a registration looked at, because its default rotation policy has changed.
pub(crate) fn put_replan(changes: &mut Changes, registration: RegistrationId) -> Result<(), Error> {
    let entry = Entry { at: Timestamp::from_micros(0), registration, key: None, ask: None };
    changes.put(&layout::agenda_of_all(registration), &entry)?;
    Ok(())
}

/// When time alone next asks for something: activation, destruction, rotation, the end of a grace
/// period, or that a plugin is asked about the rotation. `now` where something is due already that
/// has no date of its own.
pub(crate) fn next_date(
    key: &Key,
    default: Option<&RotationPolicy>,
    now: Timestamp,
) -> Option<Timestamp> {
    let dates = [act_date(key, default, now), key.ask_at(default)];
    dates.into_iter().flatten().min()
}

/// That at the next date a plugin is to be asked and nothing else is due.
fn ask(key: &Key, default: Option<&RotationPolicy>, now: Timestamp) -> Option<Ask> {
    let (at, then) = (key.ask_at(default)?, act_date(key, default, now));
    let (schedule, ..) = key.by_plugin(default)?;
    let first = then.is_none_or(|then| at < then);
    first.then(|| Ask { plugin: schedule.plugin.clone(), then })
}

/// When the hub next does something by itself, whomever it asks before.
fn act_date(key: &Key, default: Option<&RotationPolicy>, now: Timestamp) -> Option<Timestamp> {
    let scheduled =
        |state: KeyState, at: Option<Timestamp>| at.filter(|_| state == KeyState::DestroyScheduled);
    let activation = key.not_before.filter(|_| key.state == KeyState::Pending);
    let destruction = scheduled(key.state, key.destroy_at);
    let versions = key
        .versions
        .iter()
        .filter(|_| key.state != KeyState::Destroyed)
        .filter_map(|version| scheduled(version.state, version.destroy_at))
        .min();
    let dates = [activation, destruction, versions, rotation(key, default, now)];
    dates.into_iter().flatten().min()
}

fn rotation(key: &Key, default: Option<&RotationPolicy>, now: Timestamp) -> Option<Timestamp> {
    if key.state != KeyState::Active {
        return None;
    }
    let policy = key.rotation.as_ref().or(default)?;
    let past = !rotation::past_retention(policy, key, now).is_empty();
    let grace = policy.grace_period.and_then(|grace| {
        let older = key.versions.iter().zip(key.versions.iter().skip(1));
        older
            .filter(|(version, _)| {
                version.number < key.primary && version.state == KeyState::Active
            })
            .filter_map(|(_, next)| grace.after(next.in_use_since()))
            .min()
    });
    let dates = [key.next_rotation(default), grace, past.then_some(now)];
    dates.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub_model::{Algorithm, KeyVersion, Period, Step};

    fn at(days: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + days * 86_400_000_000)
    }

    #[test]
    fn the_nearest_date_counts_and_a_destroyed_key_has_none() {
        let (registration, id) = (RegistrationId::generate(), KeyId::generate());
        let name = "orders".parse().unwrap();
        let mut key = Key::new(registration, id, name, Algorithm::Aes256Gcm, Some(at(3)), at(0));
        assert_eq!(next_date(&key, None, at(0)), Some(at(3)));
        key.step(Step::Activate, at(3)).unwrap();
        assert_eq!(next_date(&key, None, at(3)), None);
        let policy: RotationPolicy =
            serde_json::from_str(r#"{"schedule":{"period":"P30D"},"gracePeriod":"P10D"}"#).unwrap();
        assert_eq!(next_date(&key, Some(&policy), at(3)), Some(at(33)));
        key.versions.push(KeyVersion::new(2, at(4)));
        key.primary = 2;
        assert_eq!(next_date(&key, Some(&policy), at(4)), Some(at(14)), "the grace of version 1");
        key.version_mut(1).unwrap().schedule_destroy(Period::days(7), at(4)).unwrap();
        assert_eq!(next_date(&key, Some(&policy), at(4)), Some(at(11)));
        key.schedule_destroy(Period::days(30), at(4)).unwrap();
        assert_eq!(next_date(&key, Some(&policy), at(4)), Some(at(11)));
        key.step(Step::Destroy, at(34)).unwrap();
        assert_eq!(next_date(&key, Some(&policy), at(34)), None);
    }

    #[test]
    fn the_entry_moves_with_the_date() {
        let (registration, id) = (RegistrationId::generate(), KeyId::generate());
        let name = "orders".parse().unwrap();
        let mut key = Key::new(registration, id, name, Algorithm::Aes256Gcm, None, at(0));
        let mut changes = Changes::new();
        put_key(&mut changes, &mut key, None, at(0)).unwrap();
        assert_eq!((key.agenda, changes.written().count()), (None, 1));
        key.schedule_destroy(Period::days(7), at(0)).unwrap();
        let mut changes = Changes::new();
        put_key(&mut changes, &mut key, None, at(0)).unwrap();
        assert_eq!((key.agenda, changes.written().count()), (Some(at(7)), 2));
        key.step(Step::CancelDestroy, at(1)).unwrap();
        let mut changes = Changes::new();
        put_key(&mut changes, &mut key, None, at(1)).unwrap();
        assert_eq!((key.agenda, changes.written().count()), (None, 2));
    }
}
