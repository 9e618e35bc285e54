//! States of keys and versions after NIST SP 800-57 part 1 rev. 5 §7, the one table of steps
//! between them, and what each state allows.
//!
//! A key and each of its versions has a state; both use the same words and the same table. What a
//! version may do is what the stricter of the two allows ([`effective`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Timestamp};

/// The state of a key over all its versions, or of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeyState {
    /// Created, not yet usable (pre-activation, §7.1).
    Pending,
    /// Protects and processes (§7.2).
    Active,
    /// Neither protects nor processes, until resumed (§7.3).
    Suspended,
    /// Processes what it protected before; protects nothing new (§7.4).
    Deactivated,
    /// Known to others: processes nothing without an explicit policy (§7.5).
    Compromised,
    /// Its material is there, unused, until a date or until the destruction is cancelled.
    DestroyScheduled,
    /// Its material is gone (§7.6).
    Destroyed,
}

/// The state of one version of a key: the words and the table of [`KeyState`].
pub type VersionState = KeyState;

/// What can be done to the state of a key or a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Makes it usable for the first time.
    Activate,
    /// Takes it out of use for a while.
    Suspend,
    /// Puts it back into use.
    Resume,
    /// Ends protecting for ever.
    Deactivate,
    /// Notes that others know it.
    MarkCompromised,
    /// Starts the waiting period before destruction.
    ScheduleDestroy,
    /// Ends the waiting period without destruction.
    CancelDestroy,
    /// Erases the material.
    Destroy,
}

/// Every step there is, as (from, step, to). A pair that is not listed is refused.
pub const TRANSITIONS: &[(KeyState, Step, KeyState)] = {
    use KeyState as S;
    &[
        (S::Pending, Step::Activate, S::Active),
        (S::Pending, Step::MarkCompromised, S::Compromised),
        (S::Pending, Step::ScheduleDestroy, S::DestroyScheduled),
        (S::Active, Step::Suspend, S::Suspended),
        (S::Active, Step::Deactivate, S::Deactivated),
        (S::Active, Step::MarkCompromised, S::Compromised),
        (S::Active, Step::ScheduleDestroy, S::DestroyScheduled),
        (S::Suspended, Step::Resume, S::Active),
        (S::Suspended, Step::Deactivate, S::Deactivated),
        (S::Suspended, Step::MarkCompromised, S::Compromised),
        (S::Suspended, Step::ScheduleDestroy, S::DestroyScheduled),
        (S::Deactivated, Step::MarkCompromised, S::Compromised),
        (S::Deactivated, Step::ScheduleDestroy, S::DestroyScheduled),
        (S::Compromised, Step::ScheduleDestroy, S::DestroyScheduled),
        // It stays scheduled; the mark is remembered in the record and binds after a cancellation.
        (S::DestroyScheduled, Step::MarkCompromised, S::DestroyScheduled),
        (S::DestroyScheduled, Step::CancelDestroy, S::Suspended),
        (S::DestroyScheduled, Step::Destroy, S::Destroyed),
    ]
};

/// A step that the table does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is {state} cannot be {}", step.done())]
pub struct Refused {
    /// The state it is in.
    pub state: KeyState,
    /// The step asked for.
    pub step: Step,
}

/// The state after a step, by the table alone. Records go through [`Course::take`], which also
/// honours what happened before.
///
/// # Errors
/// [`Refused`] when the table does not list the step.
pub fn apply(state: KeyState, step: Step) -> Result<KeyState, Refused> {
    TRANSITIONS
        .iter()
        .find(|(from, by, _)| (*from, *by) == (state, step))
        .map(|(_, _, to)| *to)
        .ok_or(Refused { state, step })
}

/// What a version may do: the stricter of its key's state and its own. From mild to strict: active,
/// deactivated, compromised, suspended, pending, destroyScheduled, destroyed. Each allows nothing
/// that the one before it does not allow.
#[must_use]
pub const fn effective(key: KeyState, version: VersionState) -> KeyState {
    if key.strictness() >= version.strictness() { key } else { version }
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Active,
        Self::Suspended,
        Self::Deactivated,
        Self::Compromised,
        Self::DestroyScheduled,
        Self::Destroyed,
    ];

    /// The word on the wire and in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::DestroyScheduled => "destroyScheduled",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether new data may be protected (encrypt, sign, wrap).
    #[must_use]
    pub const fn protects(self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether data protected earlier may be processed (decrypt, verify, unwrap).
    #[must_use]
    pub const fn processes(self) -> bool {
        matches!(self, Self::Active | Self::Deactivated)
    }

    /// Whether data protected earlier may be processed where a policy explicitly allows the use of
    /// compromised keys, as for reading old data once more before it is protected anew.
    #[must_use]
    pub const fn processes_if_permitted(self) -> bool {
        matches!(self, Self::Active | Self::Deactivated | Self::Compromised)
    }

    /// Its place in the order of [`effective`], 0 being the mildest.
    const fn strictness(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Deactivated => 1,
            Self::Compromised => 2,
            Self::Suspended => 3,
            Self::Pending => 4,
            Self::DestroyScheduled => 5,
            Self::Destroyed => 6,
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 8] = [
        Self::Activate,
        Self::Suspend,
        Self::Resume,
        Self::Deactivate,
        Self::MarkCompromised,
        Self::ScheduleDestroy,
        Self::CancelDestroy,
        Self::Destroy,
    ];

    /// The word on the wire and in the audit trail.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Deactivate => "deactivate",
            Self::MarkCompromised => "markCompromised",
            Self::ScheduleDestroy => "scheduleDestroy",
            Self::CancelDestroy => "cancelDestroy",
            Self::Destroy => "destroy",
        }
    }

    /// How a refusal reads: "what is active cannot be resumed".
    const fn done(self) -> &'static str {
        match self {
            Self::Activate => "activated",
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Deactivate => "deactivated",
            Self::MarkCompromised => "marked as compromised",
            Self::ScheduleDestroy => "scheduled for destruction",
            Self::CancelDestroy => "saved from a destruction that is not scheduled",
            Self::Destroy => "destroyed",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of a record and the dates that bind it, borrowed from a key or a version.
///
/// INVARIANT: no path of steps leads from a compromised or deactivated record back to a milder
/// state, not even one through destroyScheduled and suspended, because the dates are never cleared.
#[derive(Debug)]
pub struct Course<'a> {
    /// Its state.
    pub state: &'a mut KeyState,
    /// The date before which resuming leads to pending, if it has never been active.
    pub not_before: Option<Timestamp>,
    /// When it first became active.
    pub activated: &'a mut Option<Timestamp>,
    /// When it ended protecting for ever.
    pub deactivated: &'a mut Option<Timestamp>,
    /// When it was marked as compromised.
    pub compromised: &'a mut Option<Timestamp>,
    /// When its material is to be erased; after destruction, when it was.
    pub destroy_at: &'a mut Option<Timestamp>,
}

impl Course<'_> {
    /// Takes a step and writes down when. `destroy_at` is the date [`Step::ScheduleDestroy`] sets.
    ///
    /// # Errors
    /// [`Error::Step`] when the table does not list the step; [`Error::TooEarly`] for destruction
    /// before its date. The record is unchanged then.
    pub fn take(self, step: Step, now: Timestamp, destroy_at: Timestamp) -> Result<(), Error> {
        let to = apply(*self.state, step)?;
        // A record without a date is never destroyed: cancel and schedule it anew.
        let date = self.destroy_at.unwrap_or(Timestamp::from_micros(i64::MAX));
        if step == Step::Destroy && now < date {
            return Err(Error::TooEarly(date));
        }
        match step {
            Step::Deactivate => *self.deactivated = self.deactivated.or(Some(now)),
            Step::MarkCompromised => *self.compromised = self.compromised.or(Some(now)),
            Step::ScheduleDestroy => *self.destroy_at = Some(destroy_at),
            Step::CancelDestroy => *self.destroy_at = None,
            Step::Destroy => *self.destroy_at = Some(now),
            Step::Activate | Step::Suspend | Step::Resume => {}
        }
        let waits = step == Step::Resume
            && self.activated.is_none()
            && self.not_before.is_some_and(|date| now < date);
        let floor = match (self.compromised.is_some(), self.deactivated.is_some(), waits) {
            (true, _, _) => KeyState::Compromised,
            (false, true, _) => KeyState::Deactivated,
            (false, false, true) => KeyState::Pending,
            (false, false, false) => KeyState::Active,
        };
        *self.state = effective(to, floor);
        if *self.state == KeyState::Active {
            *self.activated = self.activated.or(Some(now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    struct Record {
        state: KeyState,
        not_before: Option<Timestamp>,
        activated: Option<Timestamp>,
        deactivated: Option<Timestamp>,
        compromised: Option<Timestamp>,
        destroy_at: Option<Timestamp>,
    }

    impl Record {
        fn new(state: KeyState) -> Self {
            Self {
                state,
                not_before: None,
                activated: None,
                deactivated: None,
                compromised: None,
                destroy_at: None,
            }
        }

        fn take(&mut self, step: Step, now: i64) -> Result<(), Error> {
            let now = Timestamp::from_micros(now);
            let course = Course {
                state: &mut self.state,
                not_before: self.not_before,
                activated: &mut self.activated,
                deactivated: &mut self.deactivated,
                compromised: &mut self.compromised,
                destroy_at: &mut self.destroy_at,
            };
            course.take(step, now, Timestamp::from_micros(now.as_micros() + 7))
        }
    }

    #[test]
    fn every_pair_is_listed_once_or_refused() {
        let mut listed = 0;
        for state in KeyState::ALL {
            for step in Step::ALL {
                let rows: Vec<_> =
                    TRANSITIONS.iter().filter(|row| (row.0, row.1) == (state, step)).collect();
                assert!(rows.len() <= 1, "{state} {step} is listed twice");
                match rows.first() {
                    Some(row) => assert_eq!(apply(state, step), Ok(row.2)),
                    None => assert_eq!(apply(state, step), Err(Refused { state, step })),
                }
                listed += rows.len();
            }
        }
        assert_eq!(listed, TRANSITIONS.len());
        assert_eq!(TRANSITIONS.len(), 17);
    }

    #[test]
    fn the_documents_have_the_same_table() {
        let page = include_str!("../../../docs/lifecycle.md");
        let words = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let shown: Vec<Vec<String>> = page
            .lines()
            .skip_while(|line| !line.starts_with("| From |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(words)
            .collect();
        let listed: Vec<Vec<String>> = TRANSITIONS
            .iter()
            .map(|(from, step, to)| words(&format!("| {from} | {step} | {to} |")))
            .collect();
        assert_eq!(shown, listed);
    }

    #[test]
    fn the_rules_that_others_rely_on() {
        for (from, step, to) in TRANSITIONS {
            assert_ne!(*from, KeyState::Destroyed, "destroyed is final");
            if *to == KeyState::Destroyed {
                assert_eq!((*from, *step), (KeyState::DestroyScheduled, Step::Destroy));
            }
            if *from == KeyState::Compromised {
                assert_eq!(*step, Step::ScheduleDestroy);
            }
            if *from == KeyState::Deactivated {
                assert!(matches!(step, Step::ScheduleDestroy | Step::MarkCompromised));
            }
            if *step == Step::CancelDestroy {
                assert_eq!(*to, KeyState::Suspended);
            }
        }
        let reachable: BTreeSet<_> = TRANSITIONS.iter().map(|row| row.2.strictness()).collect();
        assert_eq!(reachable.len(), KeyState::ALL.len() - 1, "all but pending are reached");
    }

    #[test]
    fn strictness_is_an_order_of_permissions() {
        let ranks: BTreeSet<_> = KeyState::ALL.iter().map(|s| s.strictness()).collect();
        assert_eq!(ranks.len(), KeyState::ALL.len());
        for key in KeyState::ALL {
            assert!(!key.protects() || key.processes(), "{key}");
            assert!(!key.processes() || key.processes_if_permitted(), "{key}");
            for version in KeyState::ALL {
                let both = effective(key, version);
                assert_eq!(both, effective(version, key));
                for one in [key, version] {
                    assert!(one.protects() || !both.protects(), "{key} {version}");
                    assert!(one.processes() || !both.processes(), "{key} {version}");
                    assert!(one.processes_if_permitted() || !both.processes_if_permitted());
                }
            }
        }
    }

    #[test]
    fn words_are_the_same_stored_and_shown() {
        for state in KeyState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for step in Step::ALL {
            assert_eq!(serde_json::to_value(step).unwrap(), step.name());
        }
        let refused = apply(KeyState::Destroyed, Step::Resume).unwrap_err();
        assert_eq!(refused.to_string(), "what is destroyed cannot be resumed");
    }

    #[test]
    fn a_cancelled_destruction_does_not_launder() {
        let way = [Step::ScheduleDestroy, Step::CancelDestroy, Step::Resume];
        for (first, last) in [
            (Step::MarkCompromised, KeyState::Compromised),
            (Step::Deactivate, KeyState::Deactivated),
        ] {
            let mut record = Record::new(KeyState::Active);
            record.take(first, 1).unwrap();
            for step in way {
                record.take(step, 2).unwrap();
            }
            assert_eq!(record.state, last);
        }
        let mut record = Record::new(KeyState::Active);
        for step in [
            Step::ScheduleDestroy,
            Step::MarkCompromised,
            Step::CancelDestroy,
            Step::Deactivate, // would be milder than compromised
        ] {
            record.take(step, 3).unwrap();
        }
        assert_eq!(record.state, KeyState::Compromised);
    }

    #[test]
    fn resuming_does_not_jump_the_activation_date() {
        let mut record = Record::new(KeyState::Pending);
        record.not_before = Some(Timestamp::from_micros(100));
        let mut late = record.clone();
        for step in [Step::ScheduleDestroy, Step::CancelDestroy, Step::Resume] {
            record.take(step, 50).unwrap();
            late.take(step, 100).unwrap();
        }
        assert_eq!((record.state, record.activated), (KeyState::Pending, None));
        assert_eq!(late.state, KeyState::Active);
        assert_eq!(late.activated, Some(Timestamp::from_micros(100)));
    }

    #[test]
    fn destruction_waits_for_its_date() {
        let mut record = Record::new(KeyState::Active);
        record.take(Step::ScheduleDestroy, 10).unwrap();
        let early = record.take(Step::Destroy, 16).unwrap_err();
        assert_eq!(early, Error::TooEarly(Timestamp::from_micros(17)));
        assert_eq!(record.state, KeyState::DestroyScheduled);
        record.take(Step::Destroy, 17).unwrap();
        assert_eq!(record.state, KeyState::Destroyed);
    }

    proptest! {
        #[test]
        fn no_path_of_steps_makes_a_record_milder_than_it_was_marked(
            start in proptest::sample::select(KeyState::ALL.to_vec()),
            steps in proptest::collection::vec(
                (proptest::sample::select(Step::ALL.to_vec()), 0i64..20), 0..40,
            ),
        ) {
            let mut record = Record::new(start);
            let (mut marked, mut ended) = (false, false);
            let mut now = 0;
            for (step, passed) in steps {
                let before = record.clone();
                now += passed;
                let outcome = record.take(step, now);
                if outcome.is_err() {
                    prop_assert_eq!(record.state, before.state);
                } else {
                    marked |= step == Step::MarkCompromised;
                    ended |= step == Step::Deactivate;
                }
                if before.state == KeyState::Destroyed {
                    prop_assert!(outcome.is_err());
                }
                prop_assert!(!(marked && record.state.processes()));
                prop_assert!(!(ended && record.state.protects()));
                let scheduled = record.state == KeyState::DestroyScheduled;
                prop_assert!(!scheduled || start == KeyState::DestroyScheduled
                    || record.destroy_at.is_some());
            }
        }
    }
}
