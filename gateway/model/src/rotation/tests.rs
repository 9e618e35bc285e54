//! The promises of the scheduler, held against schedules, clocks and faults of every kind.

use proptest::prelude::*;

use super::*;
use crate::usage::{Side, Tally};
use crate::{Algorithm, KeyVersion, RegistrationId};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

fn policy(json: &str) -> RotationPolicy {
    serde_json::from_str(json).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn facts(last: Timestamp, seed: u64) -> RotationFacts {
    RotationFacts { version_created: last, last_rotation: last, seed, plan: None }
}

fn used(operations: u64, bytes: u64) -> UsageCounters {
    UsageCounters { protect: Tally { operations, bytes }, ..UsageCounters::default() }
}

const POLICIES: &[&str] = &[
    r#"{"schedule":{"period":"PT1H"}}"#,
    r#"{"schedule":{"period":"P1M"},"jitter":"P1D"}"#,
    r#"{"schedule":{"period":"P90D"},"maxAge":"P60D","jitter":"P7D"}"#,
    r#"{"schedule":{"cron":"30 2 * * *","timeZone":"Europe/Zurich"}}"#,
    r#"{"schedule":{"cron":"30 2 * * sun","timeZone":"America/New_York"},"jitter":"PT6H"}"#,
    r#"{"schedule":{"cron":"@hourly","timeZone":"Australia/Lord_Howe"}}"#,
    r#"{"schedule":{"calendar":{"months":[3,10],"day":"last","time":"02:30",
        "timeZone":"Europe/Zurich"}},"jitter":"PT1H"}"#,
    r#"{"maxAge":"P1Y","jitter":"P30D"}"#,
];

#[test]
fn every_policy_of_these_tests_is_valid() {
    for json in POLICIES {
        let policy = policy(json);
        policy.validate(at("2026-01-10T00:00:00Z")).unwrap();
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<RotationPolicy>(&text).unwrap(), policy);
    }
    RotationPolicy::default().validate(at("2026-01-10T00:00:00Z")).unwrap();
}

#[test]
fn what_is_impossible_or_unwise_is_refused_with_its_member() {
    for (json, member, word) in [
        (r#"{"schedule":{"period":"PT59M"}}"#, "schedule/period", "one hour"),
        (r#"{"schedule":{"period":"P10Y1D"}}"#, "schedule/period", "ten years"),
        (r#"{"schedule":{"cron":"0,30 * * * *"}}"#, "schedule/cron", "once an hour"),
        (r#"{"schedule":{"cron":"0 0 30 2 *"}}"#, "schedule", "no date"),
        (r#"{"schedule":{"cron":"@daily","timeZone":"Mars/One"}}"#, "schedule", "Mars/One"),
        (r#"{"maxAge":"PT0S"}"#, "maxAge", "one hour"),
        (r#"{"maxOperations":0}"#, "maxOperations", "at least 1"),
        (r#"{"maxBytes":0}"#, "maxBytes", "at least 1"),
        (r#"{"jitter":"PT1H"}"#, "jitter", "no effect"),
        (r#"{"schedule":{"period":"P2D"},"jitter":"P1D"}"#, "jitter", "less than half"),
        (r#"{"schedule":{"period":"P9D"},"maxAge":"P2D","jitter":"P1D"}"#, "jitter", "86400 s"),
        (r#"{"schedule":{"cron":"@daily"},"jitter":"PT12H"}"#, "jitter", "43200 s"),
        (r#"{"schedule":{"cron":"0 1,3 * * *"},"jitter":"PT1H"}"#, "jitter", "3600 s"),
        (r#"{"retain":10001}"#, "retain", "10000"),
        (r#"{"gracePeriod":"P11Y"}"#, "gracePeriod", "ten years"),
    ] {
        match policy(json).validate(at("2026-01-10T00:00:00Z")) {
            Err(Error::Rotation { pointer, detail }) => {
                assert_eq!(pointer, member, "{json}");
                assert!(detail.contains(word), "{json}: {detail}");
            }
            other => panic!("{json}: {other:?}"),
        }
    }
    // 29 February 2104 is more than five years from here.
    let leap = policy(r#"{"schedule":{"cron":"0 0 29 2 *"}}"#);
    leap.validate(at("2026-01-10T00:00:00Z")).unwrap();
    assert!(leap.validate(at("2096-03-01T00:00:00Z")).is_err());
    for unknown in [r#"{"every":"P1D"}"#, r#"{"schedule":null,"max":1}"#, r#"{"retain":-1}"#] {
        assert!(serde_json::from_str::<RotationPolicy>(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn the_earlier_of_schedule_and_age_counts() {
    let both = policy(r#"{"schedule":{"period":"P90D"},"maxAge":"P30D"}"#);
    let last = at("2026-01-01T00:00:00Z");
    let due = next_rotation(&both, &facts(last, 0), last).unwrap();
    assert_eq!(due, Due { at: at("2026-01-31T00:00:00Z"), reason: Reason::Age, overdue: false });
    let on_time = next_rotation(&both, &facts(last, 0), due.at).unwrap();
    assert_eq!(on_time, Due { overdue: true, ..due });
    let equal = policy(r#"{"schedule":{"period":"P30D"},"maxAge":"P30D"}"#);
    assert_eq!(next_rotation(&equal, &facts(last, 0), last).unwrap().reason, Reason::Schedule);
    // A version made before it became primary ages from then on.
    let older = RotationFacts { version_created: at("2020-01-01T00:00:00Z"), ..facts(last, 0) };
    assert_eq!(next_rotation(&both, &older, last).unwrap().at, due.at);
    assert_eq!(next_rotation(&RotationPolicy::default(), &older, last), None);
}

#[test]
fn usage_counts_what_protects() {
    let limits = policy(r#"{"maxOperations":100,"maxBytes":1000}"#);
    let last = at("2026-01-01T00:00:00Z");
    let why = |usage: &UsageCounters| due(&limits, &facts(last, 0), usage, last);
    assert_eq!(why(&used(99, 999)), None);
    assert_eq!(why(&used(100, 0)), Some(Reason::Operations));
    assert_eq!(why(&used(0, 1000)), Some(Reason::Bytes));
    let mut read = used(99, 999);
    read.count(Side::Process, Tally { operations: 1_000_000, bytes: 1_000_000 }, last);
    assert_eq!(why(&read), None, "reading wears nothing out");
    let unlimited = RotationPolicy::default();
    assert_eq!(due(&unlimited, &facts(last, 0), &used(u64::MAX, u64::MAX), last), None);
}

#[test]
fn a_policy_of_the_key_replaces_the_default_as_a_whole() {
    let (key, default) = (policy(r#"{"maxBytes":5}"#), policy(r#"{"maxAge":"P1Y"}"#));
    let merge = RotationPolicy::or_default;
    assert_eq!(merge(Some(key.clone()), Some(default.clone())), Some(key));
    assert_eq!(merge(None, Some(default.clone())), Some(default.clone()));
    assert_eq!(
        merge(Some(RotationPolicy::default()), Some(default)),
        Some(RotationPolicy::default())
    );
    assert_eq!(merge(None, None), None);
}

#[test]
fn jitter_spreads_and_stays_the_same() {
    let spread = policy(r#"{"schedule":{"period":"P30D"},"jitter":"PT1H"}"#);
    let last = at("2026-01-01T00:00:00Z");
    let base = at("2026-01-31T00:00:00Z");
    let mut minutes = std::collections::BTreeSet::new();
    for n in 0..1000u16 {
        let mut id = [0x11; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let seed = seed(KeyId::from_bytes(id), 1);
        let due = next_rotation(&spread, &facts(last, seed), last).unwrap();
        let offset = due.at.since(base);
        assert!(base <= due.at && offset < HOUR);
        minutes.insert(offset.as_secs() / 60);
    }
    assert_eq!(minutes.len(), 60, "a thousand keys fill every minute of the hour");
    // Frozen: another hash would move the dates of stored keys.
    assert_eq!(seed(KeyId::from_bytes([0; 16]), 1), 0x1e43_ca9f_f012_c8fc);
    assert_ne!(seed(KeyId::from_bytes([0; 16]), 1), seed(KeyId::from_bytes([0; 16]), 2));
}

fn key_of(states: &[(KeyState, i64)]) -> Key {
    let (registration, id) = (RegistrationId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let name = "orders".parse().unwrap();
    let start = Timestamp::from_micros(0);
    let mut key = Key::new(registration, id, name, Algorithm::Aes256Gcm, None, start);
    key.versions = (1..)
        .zip(states)
        .map(|(number, (state, days))| KeyVersion {
            state: *state,
            ..KeyVersion::new(number, Timestamp::from_micros(days * DAY))
        })
        .collect();
    key.primary = key.versions.last().unwrap().number;
    key
}

#[test]
fn old_versions_are_deactivated_by_number_or_age() {
    use KeyState::{Active, Compromised};
    let key = key_of(&[(Active, 0), (Active, 10), (Compromised, 20), (Active, 30), (Active, 40)]);
    let past =
        |json, days: i64| past_retention(&policy(json), &key, Timestamp::from_micros(days * DAY));
    assert_eq!(past(r#"{"retain":0}"#, 40), [1, 2, 4]);
    assert_eq!(past(r#"{"retain":1}"#, 40), [1, 2]);
    assert_eq!(past(r#"{"retain":3}"#, 40), [0u32; 0]);
    // Version 1 was replaced on day 10, version 2 on day 20, version 4 on day 40.
    assert_eq!(past(r#"{"gracePeriod":"P20D"}"#, 39), [1]);
    assert_eq!(past(r#"{"gracePeriod":"P20D"}"#, 40), [1, 2]);
    assert_eq!(past(r#"{"gracePeriod":"P20D"}"#, 60), [1, 2, 4]);
    assert_eq!(past(r#"{"gracePeriod":"PT0S"}"#, 40), [1, 2, 4]);
    assert_eq!(past(r#"{"retain":1,"gracePeriod":"P25D"}"#, 45), [1, 2]);
    assert_eq!(past("{}", 9999), [0u32; 0]);
    // What comes after the primary is not old.
    let ahead = Key { primary: 2, ..key.clone() };
    let now = Timestamp::from_micros(99 * DAY);
    assert_eq!(past_retention(&policy(r#"{"retain":0}"#), &ahead, now), [1]);
}

/// A scheduler as the hub runs it: asks, rotates, and stores both in one step.
struct Scheduler {
    policy: RotationPolicy,
    facts: RotationFacts,
    rotations: Vec<Timestamp>,
}

impl Scheduler {
    fn new(json: &str, start: Timestamp, seed: u64) -> Self {
        Self { policy: policy(json), facts: facts(start, seed), rotations: Vec::new() }
    }

    fn tick(&mut self, now: Timestamp) -> bool {
        let due = due(&self.policy, &self.facts, &UsageCounters::default(), now).is_some();
        if due {
            // The seed of the next version.
            self.facts = facts(now, self.facts.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            self.rotations.push(now);
        }
        due
    }
}

fn policies() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(POLICIES.to_vec())
}

/// Some instant between 2001 and 2065.
fn instants() -> impl Strategy<Value = i64> {
    1_000_000_000 * SECOND..3_000_000_000 * SECOND
}

proptest! {
    #[test]
    fn the_date_does_not_depend_on_when_it_is_asked(
        json in policies(), start in instants(), seed: u64, a in instants(), b in instants(),
    ) {
        let (policy, facts) = (policy(json), facts(Timestamp::from_micros(start), seed));
        let ask = |now| next_rotation(&policy, &facts, Timestamp::from_micros(now)).unwrap();
        let (a, b) = (ask(a), ask(b));
        prop_assert_eq!((a.at, a.reason), (b.at, b.reason));
        prop_assert!(a.at > facts.last_rotation);
    }

    #[test]
    fn missed_runs_and_jumps_lead_to_one_rotation(
        json in policies(), start in instants(), seed: u64, jump in 0i64..3653 * DAY,
    ) {
        let start = Timestamp::from_micros(start);
        let mut it = Scheduler::new(json, start, seed);
        let date = next_rotation(&it.policy, &it.facts, start).unwrap().at;
        let now = Timestamp::from_micros(start.as_micros() + jump);
        prop_assert_eq!(it.tick(now), date <= now);
        for _ in 0..5 {
            prop_assert!(!it.tick(now), "rotated twice");
        }
        let next = next_rotation(&it.policy, &it.facts, now).unwrap();
        prop_assert!(next.at > now && !next.overdue);
    }

    #[test]
    fn a_clock_set_back_never_rotates_again(
        json in policies(), start in instants(), seed: u64, ahead in 0i64..3653 * DAY,
        back in proptest::collection::vec(0i64..7306 * DAY, 1..20),
    ) {
        let start = Timestamp::from_micros(start);
        let mut it = Scheduler::new(json, start, seed);
        let now = next_rotation(&it.policy, &it.facts, start).unwrap().at.as_micros() + ahead;
        prop_assert!(it.tick(Timestamp::from_micros(now)));
        for back in back {
            prop_assert!(!it.tick(Timestamp::from_micros(now - back)));
        }
        prop_assert_eq!(it.rotations.len(), 1);
    }

    #[test]
    fn a_wild_clock_rotates_at_most_once_for_each_date_it_passes(
        json in policies(), start in instants(), seed: u64,
        clock in proptest::collection::vec(instants(), 1..60),
    ) {
        let mut it = Scheduler::new(json, Timestamp::from_micros(start), seed);
        for now in clock {
            it.tick(Timestamp::from_micros(now));
        }
        // Rotations go forward even where the clock does not, each past a date after the last.
        prop_assert!(it.rotations.is_sorted());
        prop_assert!(it.rotations.windows(2).all(|pair| pair[0] < pair[1]));
    }

    /// A tick a minute over the day of a clock change: one rotation for each day of a daily
    /// schedule, whatever its time of day and the zone.
    #[test]
    fn each_day_has_one_rotation_across_clock_changes(
        hour in 0u8..24, minute in 0u8..60,
        (zone, start) in proptest::sample::select(vec![
            ("Europe/Zurich", "2026-03-27T11:00:00Z"),
            ("Europe/Zurich", "2026-10-23T10:00:00Z"),
            ("America/New_York", "2026-03-06T17:00:00Z"),
            ("America/New_York", "2026-10-30T16:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-03T01:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-02T01:30:00Z"),
        ]),
    ) {
        // From noon to noon, three days later, with the change in the middle.
        let json = format!(
            r#"{{"schedule":{{"cron":"{minute} {hour} * * *","timeZone":"{zone}"}}}}"#
        );
        let start = at(start);
        let mut it = Scheduler::new(&json, start, 0);
        let end = {
            let zone = it.policy.schedule.as_ref().unwrap().zone().unwrap().rules();
            let noon = zone.to_datetime(jiff::Timestamp::from_microsecond(start.as_micros()).unwrap());
            prop_assert_eq!(noon.time(), jiff::civil::Time::constant(12, 0, 0, 0));
            let noon = noon.checked_add(jiff::Span::new().days(3)).unwrap();
            zone.to_timestamp(noon).unwrap().as_microsecond()
        };
        let mut now = start.as_micros();
        while now <= end {
            it.tick(Timestamp::from_micros(now));
            now += 60 * SECOND;
        }
        prop_assert_eq!(it.rotations.len(), 3);
    }

    /// The bound on age holds with any schedule and jitter.
    #[test]
    fn no_version_gets_older_than_its_bound(
        schedule in proptest::sample::select(vec!["P1D", "P20D", "P90D"]),
        age in proptest::sample::select(vec!["P2D", "P30D"]),
        jitter in proptest::sample::select(vec!["PT0S", "PT1H", "PT11H"]),
        start in instants(), seed: u64,
    ) {
        let policy = policy(&format!(
            r#"{{"schedule":{{"period":"{schedule}"}},"maxAge":"{age}","jitter":"{jitter}"}}"#
        ));
        let start = Timestamp::from_micros(start);
        policy.validate(start).unwrap();
        let due = next_rotation(&policy, &facts(start, seed), start).unwrap();
        prop_assert!(due.at <= age.parse::<Period>().unwrap().after(start).unwrap());
    }
}
