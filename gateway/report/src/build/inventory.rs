//! Keys: inventory and rotation.

use std::collections::BTreeMap;
use std::time::Duration;

use hub_model::api::key::VersionView;
use hub_model::rotation::Schedule;
use hub_model::{KeyState, RotationPolicy, Timestamp};

use super::{Names, Options, word};
use crate::cryptoperiod::{KeyType, SOURCE, Source, TABLE};
use crate::document::{
    Count, Cryptoperiod, Inventory, InventoryKey, Late, OldVersion, Rotation, RotationKey,
    most_first,
};
use crate::facts::{Facts, KeyFacts};
use crate::strength::{self, Quantum};
use crate::trail::Trail;

const DAY: u64 = 86_400;

/// Whole days of a length of time.
pub(crate) fn days(length: Duration) -> u32 {
    u32::try_from(length.as_secs() / DAY).unwrap_or(u32::MAX)
}

/// The longest a rotation policy lets a version protect, where it says so in time.
fn of_policy(policy: &RotationPolicy) -> Option<u32> {
    let period = match &policy.schedule {
        Some(Schedule::Period(period)) => Some(period.at_most()),
        Some(Schedule::Plugin(it)) => Some(it.max_interval.at_most()),
        _ => None,
    };
    let greatest = policy.max_age.map(|age| age.at_most());
    // A part of a day counts as a day: nothing is overdue before its policy says so.
    let up = |length: Duration| days(length + Duration::from_secs(DAY - 1));
    [period, greatest].into_iter().flatten().map(up).min()
}

fn primary(key: &KeyFacts) -> Option<&VersionView> {
    key.versions.iter().find(|version| version.version == key.view.primary_version)
}

fn began(version: &VersionView) -> Timestamp {
    version.activate_time.unwrap_or(version.create_time)
}

/// Whether the key protects: whether a cryptoperiod runs.
fn protects(key: &KeyFacts) -> bool {
    key.view.state == KeyState::Active
        && primary(key).is_none_or(|version| version.state == KeyState::Active)
}

pub(crate) fn cryptoperiod(key: &KeyFacts, now: Timestamp, options: &Options) -> Cryptoperiod {
    let key_type = KeyType::of(key.view.algorithm);
    let (suggested, source) = options.cryptoperiods.of(key_type);
    let own = key.view.rotation.as_ref().and_then(of_policy);
    let (allowed, source) = own.map_or((suggested, source), |own| (own, Source::RotationPolicy));
    let since = primary(key).map_or(key.view.create_time, began);
    let used = if key.view.state == KeyState::Pending { 0 } else { days(now.since(since)) };
    let left = i64::from(allowed) - i64::from(used);
    Cryptoperiod {
        key_type,
        source,
        days: allowed,
        used_days: used,
        left_days: left,
        exceeded: left < 0 && protects(key),
        longer_than_table: key_type.row().is_some_and(|row| allowed > row.originator_days),
    }
}

/// The keys of the inventory.
pub(crate) fn keys(facts: &Facts, options: &Options) -> Vec<InventoryKey> {
    let mut all = Vec::new();
    for registration in &facts.registrations {
        let owners: Vec<_> = registration
            .people
            .iter()
            .filter(|person| person.roles.iter().any(|role| role == "owners"))
            .map(|person| format!("{}/{}", person.member.registration, person.member.name))
            .collect();
        for key in &registration.keys {
            all.push(one(key, &registration.name, &owners, facts.generated, options));
        }
    }
    all
}

fn one(
    key: &KeyFacts,
    registration: &str,
    owners: &[String],
    now: Timestamp,
    options: &Options,
) -> InventoryKey {
    let view = &key.view;
    let cryptoperiod = cryptoperiod(key, now, options);
    let row = view.algorithm.row();
    let old = || {
        key.versions.iter().filter(|version| {
            version.version != view.primary_version && version.state != KeyState::Destroyed
        })
    };
    // From the begin of its use on, as §5.3.5 counts.
    let whole = cryptoperiod
        .key_type
        .row()
        .and_then(|row| row.recipient_days.map(|more| more.saturating_add(cryptoperiod.days)));
    let past = old()
        .filter(|version| whole.is_some_and(|whole| days(now.since(began(version))) > whole))
        .map(|version| version.version)
        .collect();
    let usage = || key.versions.iter().filter_map(|version| version.usage);
    let sum = |of: fn(&hub_model::UsageCounters) -> u64| {
        usage().map(|usage| of(&usage)).fold(0, u64::saturating_add)
    };
    InventoryKey {
        uid: view.uid.to_string(),
        name: view.name.to_string(),
        registration: registration.to_owned(),
        algorithm: row.name.to_owned(),
        purpose: row.purpose.name().to_owned(),
        strength_bits: strength::bits(view.algorithm),
        quantum: strength::quantum(view.algorithm),
        approved: row.approved,
        state: word(&view.state),
        origin: word(&view.origin),
        exportable: view.exportable,
        primary_version: view.primary_version,
        versions: view.versions,
        old_versions: u32::try_from(old().count()).unwrap_or(u32::MAX),
        past_recipient_period: past,
        created: view.create_time,
        activated: primary(key).and_then(|version| version.activate_time),
        cryptoperiod,
        protected: sum(|usage| usage.protect.operations),
        processed: sum(|usage| usage.process.operations),
        last_use: usage().filter_map(|usage| usage.last_use).max(),
        owners: owners.to_vec(),
    }
}

pub(super) fn inventory(keys: Vec<InventoryKey>) -> Inventory {
    let (mut states, mut algorithms) = (BTreeMap::new(), BTreeMap::new());
    for key in &keys {
        *states.entry(key.state.clone()).or_default() += 1;
        *algorithms.entry(key.algorithm.clone()).or_default() += 1;
    }
    Inventory {
        by_state: by_state(&states),
        by_algorithm: most_first(&algorithms),
        quantum_vulnerable: count(&keys, |key| key.quantum == Quantum::Vulnerable),
        exceeded: count(&keys, |key| key.cryptoperiod.exceeded),
        keys,
        table: TABLE,
        table_source: SOURCE,
    }
}

/// States in the order of a key's life.
fn by_state(states: &BTreeMap<String, u64>) -> Vec<Count> {
    let order = [
        KeyState::Pending,
        KeyState::Active,
        KeyState::Suspended,
        KeyState::Deactivated,
        KeyState::Compromised,
        KeyState::DestroyScheduled,
        KeyState::Destroyed,
    ];
    order
        .iter()
        .map(word)
        .filter_map(|name| states.get(&name).map(|count| Count { name, count: *count }))
        .collect()
}

fn count<T>(items: &[T], which: impl Fn(&T) -> bool) -> u64 {
    u64::try_from(items.iter().filter(|item| which(item)).count()).unwrap_or(u64::MAX)
}

pub(super) fn rotation(
    facts: &Facts,
    trail: Option<&Trail>,
    options: &Options,
    names: &Names,
) -> Rotation {
    let mut done: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for rotation in trail.iter().flat_map(|trail| trail.rotations.iter()) {
        let Some(key) = &rotation.key else { continue };
        let (people, schedule) = done.entry(key).or_default();
        *(if rotation.by.is_some() { people } else { schedule }) += 1;
    }
    let (mut keys, mut protecting, mut without_date) = (Vec::new(), 0, 0);
    for registration in &facts.registrations {
        for key in registration.keys.iter().filter(|key| key.view.state != KeyState::Destroyed) {
            protecting += u64::from(protects(key));
            without_date += u64::from(protects(key) && key.view.next_rotation_time.is_none());
            let uid = key.view.uid.to_string();
            let (people, schedule) = done.get(uid.as_str()).copied().unwrap_or_default();
            keys.push(RotationKey {
                by_people: people,
                by_schedule: schedule,
                ..rotation_of(key, uid, &registration.name, facts.generated, options)
            });
        }
    }
    Rotation {
        protecting,
        without_date,
        overdue: count(&keys, |key| key.overdue),
        keys,
        done: trail.map(|trail| names.list(&trail.rotations)),
    }
}

fn rotation_of(
    key: &KeyFacts,
    uid: String,
    registration: &str,
    now: Timestamp,
    options: &Options,
) -> RotationKey {
    let view = &key.view;
    let period = cryptoperiod(key, now, options);
    let due = view.next_rotation_time;
    let mut reasons = Vec::new();
    if protects(key) && due.is_some_and(|due| due < now) {
        reasons.push("policy");
    }
    if period.exceeded {
        reasons.push("cryptoperiod");
    }
    let mut versions: Vec<_> = key.versions.iter().collect();
    versions.sort_by_key(|version| version.version);
    let replaced_late = versions
        .windows(2)
        .filter_map(|pair| match pair {
            [one, next] => {
                let active = days(next.create_time.since(began(one)));
                (active > period.days).then_some(Late { version: one.version, days: active })
            }
            _ => None,
        })
        .collect();
    let processes = |version: &&&VersionView| {
        version.version != view.primary_version
            && version.version >= view.min_decrypt_version
            && matches!(version.state, KeyState::Active | KeyState::Deactivated)
    };
    let still_processing = versions
        .iter()
        .filter(processes)
        .map(|version| OldVersion {
            version: version.version,
            state: word(&version.state),
            last_process: version.usage.and_then(|usage| usage.last_process),
            needs_rewrap: version.needs_rewrap.unwrap_or(false),
        })
        .collect();
    RotationKey {
        uid,
        name: view.name.to_string(),
        registration: registration.to_owned(),
        state: word(&view.state),
        policy: view.rotation.clone(),
        due,
        overdue: !reasons.is_empty(),
        reasons,
        last: primary(key).map(began),
        by_people: 0,
        by_schedule: 0,
        replaced_late,
        still_processing,
    }
}
