//! The promises of dates by plugins, held against answers, failures and clocks of every kind.

use proptest::prelude::*;

use super::*;
use crate::extend::{FailureKind, FailurePolicy, PluginFailure, RotationAnswer};
use crate::usage::Tally;
use crate::{Algorithm, KeyVersion, RegistrationId};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

fn policy(json: &str) -> RotationPolicy {
    serde_json::from_str(json).unwrap()
}

fn at(days: i64) -> Timestamp {
    Timestamp::from_micros(days * DAY)
}

const CALENDAR: &str =
    r#"{"schedule":{"plugin":"calendar","minInterval":"P7D","maxInterval":"P90D"}}"#;

fn key(json: &str) -> Key {
    let (registration, id) = (RegistrationId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let name = "orders".parse().unwrap();
    let mut key = Key::new(registration, id, name, Algorithm::Aes256Gcm, None, at(0));
    key.rotation = Some(policy(json));
    key
}

#[derive(Clone, Debug)]
enum Said {
    Answer(RotationAnswer),
    Failure(FailurePolicy),
}

fn trap() -> PluginFailure {
    PluginFailure::new(FailureKind::Trap, "unreachable")
}

fn ask(key: &Key, said: &Said, usage: &UsageCounters, now: Timestamp) -> Planned {
    let (schedule, before, facts) = key.by_plugin(None).unwrap();
    let on_failure = match said {
        Said::Answer(_) => FailurePolicy::FailClosed,
        Said::Failure(policy) => *policy,
    };
    let asking = Asking {
        schedule,
        version: key.primary,
        facts: &facts,
        usage,
        before,
        digest: None,
        settings: 0,
        on_failure: Some(on_failure),
        now,
    };
    match said {
        Said::Answer(answer) => asking.answered(answer),
        Said::Failure(_) => asking.failed(&trap()),
    }
}

fn rotate(key: &mut Key, now: Timestamp) {
    key.primary += 1;
    key.versions.push(KeyVersion::new(key.primary, now));
}

#[test]
fn what_no_plugin_could_mean_is_refused_with_its_member() {
    for (members, pointer, word) in [
        (r#""minInterval":"PT59M","maxInterval":"P1Y""#, "schedule/minInterval", "one hour"),
        (r#""minInterval":"P1D","maxInterval":"P10Y1D""#, "schedule/maxInterval", "ten years"),
        (r#""minInterval":"P2Y","maxInterval":"P1Y""#, "schedule/minInterval", "longer"),
        (r#""minInterval":"P30D","maxInterval":"P1M""#, "schedule/minInterval", "longer"),
        (
            r#""minInterval":"P1D","maxInterval":"P1Y","parameters":{"a b":""}"#,
            "schedule/parameters",
            "not a name",
        ),
        (
            r#""minInterval":"P1D","maxInterval":"P1Y","parameters":{"a":"\u0007"}"#,
            "schedule/parameters",
            "control",
        ),
    ] {
        let policy = policy(&format!(r#"{{"schedule":{{"plugin":"calendar",{members}}}}}"#));
        match policy.validate(at(0)) {
            Err(Error::Rotation { pointer: at, detail }) => {
                assert_eq!(at, pointer, "{members}");
                assert!(detail.contains(word), "{members}: {detail}");
            }
            other => panic!("{members}: {other:?}"),
        }
    }
    let mut many = policy(CALENDAR);
    many.validate(at(0)).unwrap();
    let Some(Schedule::Plugin(it)) = &mut many.schedule else { panic!() };
    it.parameters = (0..32).map(|n| (format!("p{n}").into(), "x".repeat(1024).into())).collect();
    many.validate(at(0)).unwrap();
    let Some(Schedule::Plugin(it)) = &mut many.schedule else { panic!() };
    it.parameters.insert("one-more".into(), "".into());
    assert!(many.validate(at(0)).is_err());
    let jitter = RotationPolicy { jitter: Some("PT1H".parse().unwrap()), ..policy(CALENDAR) };
    assert!(jitter.validate(at(0)).is_err());
    for good in [r#""P1M","maxInterval":"P1M""#, r#""PT1H","maxInterval":"P10Y""#] {
        let json = format!(r#"{{"schedule":{{"plugin":"calendar","minInterval":{good}}}}}"#);
        policy(&json).validate(at(0)).unwrap();
    }
}

#[test]
fn answers_count_within_the_bounds_and_for_one_version() {
    let mut key = key(CALENDAR);
    assert_eq!((key.next_rotation(None), key.ask_at(None)), (None, Some(at(0))));
    let none = UsageCounters::default();
    for (answer, date) in [
        (RotationAnswer::At(at(30)), 30),
        (RotationAnswer::At(at(-5)), 7),
        (RotationAnswer::At(Timestamp::MAX), 90),
        (RotationAnswer::Now("weak".into()), 7),
        (RotationAnswer::AskAgain(at(2)), 90),
    ] {
        key.planned = Some(ask(&key, &Said::Answer(answer.clone()), &none, at(1)));
        assert_eq!(key.next_rotation(None), Some(at(date)), "{answer:?}");
    }
    assert_eq!(key.ask_at(None), Some(at(2)));
    // Later than the pause, and not after the date at which the key is rotated anyhow.
    for (again, date) in
        [(at(1), at(1).plus(std::time::Duration::from_secs(60))), (at(999), at(90))]
    {
        let said = Said::Answer(RotationAnswer::AskAgain(again));
        key.planned = Some(ask(&key, &said, &none, at(1)));
        assert_eq!(key.ask_at(None), Some(date));
    }
    let now = Said::Answer(RotationAnswer::Now("weak\n\u{7}".repeat(60).into()));
    key.planned = Some(ask(&key, &now, &none, at(20)));
    assert_eq!(key.next_rotation(None), Some(at(20)));
    let reason = key.planned.as_ref().unwrap().reason.clone().unwrap();
    assert!(reason.chars().count() == 128 && !reason.chars().any(char::is_control));
    let facts = key.rotation_facts().unwrap();
    let policy_now = key.rotation.clone().unwrap();
    assert_eq!(due(&policy_now, &facts, &none, at(20)), Some(Reason::Plugin));
    // Other bounds, other parameters, another version: asked anew.
    let json = serde_json::to_string(&key).unwrap();
    assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), key);
    let other = Key { rotation: Some(policy(&CALENDAR.replace("P7D", "P8D"))), ..key.clone() };
    assert_eq!((other.next_rotation(None), other.ask_at(None)), (None, Some(at(0))));
    rotate(&mut key, at(20));
    assert_eq!((key.next_rotation(None), key.ask_at(None)), (None, Some(at(20))));
    // Not by a plugin any more: what it said says nothing.
    key.rotation = Some(policy(r#"{"schedule":{"period":"P30D"}}"#));
    assert_eq!((key.next_rotation(None), key.ask_at(None)), (Some(at(50)), None));
}

#[test]
fn failures_follow_their_policy() {
    let none = UsageCounters::default();
    let minutes = |plan: &Planned| plan.ask_at.unwrap().since(plan.asked).as_secs();
    let mut key = key(CALENDAR);
    let mut waits = Vec::new();
    for _ in 0..8 {
        key.planned = Some(ask(&key, &Said::Failure(FailurePolicy::FailClosed), &none, at(1)));
        waits.push(minutes(key.planned.as_ref().unwrap()));
    }
    assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
    assert_eq!(key.next_rotation(None), None);
    key.planned = Some(ask(&key, &Said::Failure(FailurePolicy::FallBack), &none, at(1)));
    assert_eq!(key.next_rotation(None), Some(at(90)));
    // An answer ends the row of failures; a date that was given stands through others.
    let given = Said::Answer(RotationAnswer::At(at(40)));
    key.planned = Some(ask(&key, &given, &none, at(2)));
    assert_eq!(key.planned.as_ref().unwrap().failures, 0);
    for policy in [FailurePolicy::FailClosed, FailurePolicy::FallBack, FailurePolicy::Retry] {
        key.planned = Some(ask(&key, &Said::Failure(policy), &none, at(3)));
        assert_eq!(key.next_rotation(None), Some(at(40)), "{policy:?}");
    }
    // Retry: soon at first, holding on to the bound of an earlier answer, then as fail-closed.
    let again = Said::Answer(RotationAnswer::AskAgain(at(5)));
    key.planned = Some(ask(&key, &again, &none, at(4)));
    let mut waits = Vec::new();
    for _ in 0..7 {
        key.planned = Some(ask(&key, &Said::Failure(FailurePolicy::Retry), &none, at(5)));
        let planned = key.planned.as_ref().unwrap();
        waits.push((minutes(planned), planned.bounded));
    }
    let soon = [5, 10, 20, 40, 80].map(|seconds| (seconds, true));
    assert_eq!(waits[..5], soon);
    assert_eq!(waits[5..], [(60, false), (120, false)]);
    // `maxAge` is not the plugin's to fail.
    let aged = format!("{},\"maxAge\":\"P60D\"}}", &CALENDAR[..CALENDAR.len() - 1]);
    key.rotation = Some(policy(&aged));
    key.planned = Some(ask(&key, &Said::Failure(FailurePolicy::FailClosed), &none, at(5)));
    assert_eq!(key.next_rotation(None), Some(at(60)));
    // A plugin that is not there any more cannot say what is done; its last word stands.
    let (schedule, before, facts) = key.by_plugin(None).unwrap();
    let asking = Asking {
        schedule,
        version: key.primary,
        facts: &facts,
        usage: &none,
        before,
        digest: None,
        settings: 0,
        on_failure: None,
        now: at(6),
    };
    assert_eq!(asking.failed(&trap()).on_failure, FailurePolicy::FailClosed);
}

#[test]
fn a_plugin_that_never_decides_is_asked_less_and_less() {
    let none = UsageCounters::default();
    let minute = std::time::Duration::from_secs(60);
    let mut key = key(CALENDAR);
    let mut now = at(1);
    let mut soon = |key: &mut Key| {
        let said = Said::Answer(RotationAnswer::AskAgain(now.plus(minute)));
        key.planned = Some(ask(key, &said, &none, now));
        let next = key.ask_at(None).unwrap();
        let wait = next.since(now).as_secs() / 60;
        now = next;
        wait
    };
    let waits: Vec<u64> = (0..8).map(|_| soon(&mut key)).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    let json = serde_json::to_string(&key).unwrap();
    assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), key);
    // A failure between two is no way out; a version of its own is, and so is a time far off.
    key.planned = Some(ask(&key, &Said::Failure(FailurePolicy::Retry), &none, at(2)));
    assert_eq!(soon(&mut key), 60);
    let later = Said::Answer(RotationAnswer::AskAgain(at(9)));
    key.planned = Some(ask(&key, &later, &none, at(3)));
    assert_eq!((key.ask_at(None), soon(&mut key)), (Some(at(9)), 1));
    assert_eq!(soon(&mut key), 2);
    rotate(&mut key, at(10));
    assert_eq!(soon(&mut key), 1);
    // Overdue, as keys are that may have no more versions: never at once.
    let asked = ask(&key, &later, &none, at(500));
    assert_eq!(asked.ask_at, Some(at(500).plus(minute)));
}

#[test]
fn a_plugin_uses_up_half_of_the_versions_at_most() {
    let none = UsageCounters::default();
    let mut key = key(CALENDAR);
    for _ in 0..crate::rotation::PLUGIN_VERSIONS - 2 {
        rotate(&mut key, at(1));
    }
    let now = Said::Answer(RotationAnswer::Now("again".into()));
    key.planned = Some(ask(&key, &now, &none, at(20)));
    assert_eq!(key.next_rotation(None), Some(at(20)));
    rotate(&mut key, at(20));
    key.planned = Some(ask(&key, &now, &none, at(40)));
    assert_eq!((key.next_rotation(None), key.ask_at(None)), (Some(at(110)), None), "maxInterval");
    let facts = key.rotation_facts().unwrap();
    let policy_now = key.rotation.clone().unwrap();
    assert_eq!(due(&policy_now, &facts, &none, at(109)), None);
    assert_eq!(due(&policy_now, &facts, &none, at(110)), Some(Reason::MaxInterval));
}

#[test]
fn use_asks_when_it_has_grown_notably() {
    let key = key(CALENDAR);
    let used = |operations, bytes| UsageCounters {
        protect: Tally { operations, bytes },
        ..UsageCounters::default()
    };
    let again = Said::Answer(RotationAnswer::AskAgain(at(50)));
    let planned = ask(&key, &again, &used(5000, 10), at(1));
    let soon = at(1).plus(std::time::Duration::from_secs(299));
    let later = at(1).plus(std::time::Duration::from_secs(300));
    assert!(!planned.outgrown(&used(9999, 1_000_000), later));
    assert!(planned.outgrown(&used(10_000, 0), later));
    assert!(planned.outgrown(&used(0, 2_000_000), later));
    assert!(!planned.outgrown(&used(10_000, 0), soon));
    // A date that was given is not asked about again.
    let given = ask(&key, &Said::Answer(RotationAnswer::At(at(50))), &used(0, 0), at(1));
    assert!(!given.outgrown(&used(u64::MAX, u64::MAX), at(70)));
}

fn said() -> impl Strategy<Value = Said> {
    let date = prop_oneof![Just(i64::MIN), Just(i64::MAX), -4000 * DAY..8000 * DAY];
    let date = date.prop_map(Timestamp::from_micros);
    prop_oneof![
        date.clone().prop_map(|date| Said::Answer(RotationAnswer::At(date))),
        date.prop_map(|date| Said::Answer(RotationAnswer::AskAgain(date))),
        Just(Said::Answer(RotationAnswer::Now("because".into()))),
        proptest::sample::select(vec![
            FailurePolicy::FailClosed,
            FailurePolicy::FallBack,
            FailurePolicy::Retry,
        ])
        .prop_map(Said::Failure),
    ]
}

#[derive(Clone, Debug)]
enum Happening {
    /// The clock shows this.
    Clock(i64),
    /// The plugin, should it be asked, says this.
    Says(Said),
    /// The record is written and read back, as on another start.
    Restart,
    /// Somebody rotates.
    ByHand,
}

proptest! {
    /// Whatever is answered and whatever the clock does: a version rotates once, never closer to
    /// the rotation before than the least interval (by the clock of the hub), and a plan is at
    /// every moment within its bounds.
    #[test]
    fn a_plugin_never_rotates_twice_nor_beyond_its_bounds(
        happenings in proptest::collection::vec(
            prop_oneof![
                (0i64..6000 * DAY).prop_map(Happening::Clock),
                (0i64..6000 * DAY).prop_map(Happening::Clock),
                said().prop_map(Happening::Says),
                said().prop_map(Happening::Says),
                Just(Happening::Restart),
                Just(Happening::ByHand),
            ],
            1..80,
        ),
        (min, max) in proptest::sample::select(vec![
            ("PT1H", "P10Y"), ("P7D", "P90D"), ("P1M", "P1M"), ("P1Y", "P5Y"),
        ]),
    ) {
        let json = format!(
            r#"{{"schedule":{{"plugin":"calendar","minInterval":"{min}","maxInterval":"{max}"}}}}"#
        );
        let mut key = key(&json);
        key.rotation.as_ref().unwrap().validate(at(0)).unwrap();
        let (mut now, mut says) = (at(0), Said::Failure(FailurePolicy::FailClosed));
        let none = UsageCounters::default();
        for happening in happenings {
            match happening {
                Happening::Clock(to) => now = Timestamp::from_micros(to),
                Happening::Says(said) => says = said,
                Happening::Restart => {
                    let json = serde_json::to_string(&key).unwrap();
                    prop_assert_eq!(&serde_json::from_str::<Key>(&json).unwrap(), &key);
                }
                Happening::ByHand => rotate(&mut key, now),
            }
            // The hub looks as often as it likes.
            let mut rotations = 0;
            for _ in 0..4 {
                if key.ask_at(None).is_some_and(|date| date <= now) {
                    key.planned = Some(ask(&key, &says, &none, now));
                }
                let facts = key.rotation_facts().unwrap();
                let policy = key.rotation.clone().unwrap();
                let Some(Schedule::Plugin(it)) = &policy.schedule else { panic!() };
                let (least, most) = (it.earliest(facts.last_rotation), it.latest(facts.last_rotation));
                if let Some(date) = key.next_rotation(None) {
                    prop_assert!(least <= date && date <= most);
                    prop_assert!(date > facts.last_rotation);
                }
                if let Some(reason) = due(&policy, &facts, &none, now) {
                    prop_assert!(matches!(reason, Reason::Plugin | Reason::MaxInterval));
                    prop_assert!(now >= least, "before the least interval was over");
                    rotate(&mut key, now);
                    rotations += 1;
                    let facts = key.rotation_facts().unwrap();
                    prop_assert_eq!(due(&policy, &facts, &none, now), None);
                }
            }
            prop_assert!(rotations <= 1, "rotated twice");
        }
    }
}
