//! What a plugin said about the next rotation of a key, kept with the key: the plugin advises, the
//! hub rotates. Everything here is a function of what is stored and of the answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PluginSchedule, RotationFacts};
use crate::extend::{FailurePolicy, PluginDigest, PluginFailure, RotationAnswer};
use crate::usage::Tally;
use crate::{Name, Timestamp, UsageCounters};

/// A plugin that wants to be asked again is, but not sooner than this; doubled with each answer in
/// a row that asks for it within [`MOST_BACKOFF`]. Each writes an entry and a record, whoever's key
/// it is.
const PAUSE: Duration = Duration::from_secs(60);
/// How long after an answer use alone may have the plugin asked again.
const PAUSE_OF_USE: Duration = Duration::from_secs(300);
/// Growth of use below this is not notable.
const NOTABLE: Tally = Tally { operations: 1000, bytes: 1 << 20 };
/// How long after the first failure in a row the plugin is asked again; doubled with each.
const BACKOFF: Duration = Duration::from_secs(60);
/// The most of it.
const MOST_BACKOFF: Duration = Duration::from_secs(3600);
/// So often a plugin with [`FailurePolicy::Retry`] is asked again soon.
const RETRIES: u32 = 5;
/// How soon at first; doubled with each.
const RETRY: Duration = Duration::from_secs(5);
/// Most characters of a reason.
const LONGEST_REASON: usize = 128;

/// The answer of a plugin about one key, or that it gave none.
///
/// INVARIANT: it is about one primary version, one last rotation and one schedule, and counts for
/// nothing else. A rotation, whoever makes it, therefore ends it, and so does another policy. What
/// is done when the plugin does not answer is about the schedule alone ([`Self::spent`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// Who was asked.
    pub plugin: Name,
    /// Which code answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<PluginDigest>,
    /// Under which settings: [`crate::extend::RotationSchedule::settings`].
    #[serde(default, skip_serializing_if = "none")]
    pub settings: u64,
    /// When it was asked.
    pub asked: Timestamp,
    /// The primary version it is about.
    pub version: u32,
    /// The last rotation it is about.
    pub last_rotation: Timestamp,
    /// The schedule it is about: [`PluginSchedule::fingerprint`].
    pub schedule: u64,
    /// The date the plugin gave, within the bounds. It stands until the rotation, or until another
    /// answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_at: Option<Timestamp>,
    /// Why, where the plugin said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
    /// Whether `maxInterval` rotates the key while the plugin has given no date.
    #[serde(default)]
    pub bounded: bool,
    /// When it is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_at: Option<Timestamp>,
    /// What the primary version must have protected for the plugin to be asked before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_from: Option<Tally>,
    /// How often in a row it wanted to be asked again soon.
    #[serde(default, skip_serializing_if = "none")]
    pub undecided: u64,
    /// How often in a row it gave no answer.
    #[serde(default)]
    pub failures: u32,
    /// What the last failure was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Box<str>>,
    /// What is done then.
    #[serde(default)]
    pub on_failure: FailurePolicy,
}

/// The part of [`Planned`] that dates follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// [`Planned::schedule`].
    pub schedule: u64,
    /// [`Planned::rotate_at`].
    pub rotate_at: Option<Timestamp>,
    /// [`Planned::bounded`].
    pub bounded: bool,
}

/// Whom an answer is of, and when it came.
#[derive(Clone, Debug)]
pub struct Asking<'a> {
    /// What the policy says.
    pub schedule: &'a PluginSchedule,
    /// The primary version's number.
    pub version: u32,
    /// What else dates follow from.
    pub facts: &'a RotationFacts,
    /// How much the primary version was used.
    pub usage: &'a UsageCounters,
    /// What was known before, if it counts still.
    pub before: Option<&'a Planned>,
    /// Which code was asked; none when there is none.
    pub digest: Option<PluginDigest>,
    /// Under which settings it was asked.
    pub settings: u64,
    /// What is done when it gives no answer, where somebody could be asked that.
    pub on_failure: Option<FailurePolicy>,
    /// When it was asked.
    pub now: Timestamp,
}

impl Asking<'_> {
    /// An answer came.
    #[must_use]
    pub fn answered(&self, answer: &RotationAnswer) -> Planned {
        let last = self.facts.last_rotation;
        let base = Planned { bounded: true, ..self.base() };
        match answer {
            RotationAnswer::At(date) => {
                Planned { rotate_at: Some(self.schedule.within(*date, last)), ..base }
            }
            RotationAnswer::Now(reason) => Planned {
                rotate_at: Some(self.schedule.within(self.now, last)),
                reason: Some(clean(reason)),
                ..base
            },
            RotationAnswer::AskAgain(date) => {
                let undecided = match date.since(self.now) < MOST_BACKOFF {
                    true => self.undecided().saturating_add(1),
                    false => 0,
                };
                let times = u32::try_from(undecided).unwrap_or(u32::MAX);
                // At the latest date the key is rotated, and the plugin asked about the next. Where
                // that cannot be, for want of versions, the date is past: a pause all the same.
                let date = (*date)
                    .max(self.now.plus(doubled(PAUSE, times)))
                    .min(self.schedule.latest(last))
                    .max(self.now.plus(PAUSE));
                let used = self.usage.protect;
                let more =
                    |used: u64, least: u64| used.saturating_mul(2).max(used.saturating_add(least));
                let ask_from = Tally {
                    operations: more(used.operations, NOTABLE.operations),
                    bytes: more(used.bytes, NOTABLE.bytes),
                };
                Planned { ask_at: Some(date), ask_from: Some(ask_from), undecided, ..base }
            }
        }
    }

    /// No answer came. A date that was given before stands.
    #[must_use]
    pub fn failed(&self, failure: &PluginFailure) -> Planned {
        let base = self.base();
        let failures = self.before.map_or(0, |before| before.failures).saturating_add(1);
        let retries = base.on_failure == FailurePolicy::Retry && failures <= RETRIES;
        let before = self.before.is_some_and(|before| before.bounded);
        let (wait, bounded) = match base.on_failure {
            FailurePolicy::Retry if retries => (doubled(RETRY, failures), before),
            FailurePolicy::Retry => (doubled(BACKOFF, failures - RETRIES), false),
            FailurePolicy::FailClosed => (doubled(BACKOFF, failures), false),
            FailurePolicy::FallBack => (doubled(BACKOFF, failures), true),
        };
        Planned {
            rotate_at: self.before.and_then(|before| before.rotate_at),
            reason: self.before.and_then(|before| before.reason.clone()),
            bounded,
            ask_at: Some(self.now.plus(wait)),
            undecided: self.before.map_or(0, |before| before.undecided),
            failures,
            failure: Some(failure.kind.name().into()),
            ..base
        }
    }

    /// How often in a row the same code under the same settings wanted to be asked again soon.
    fn undecided(&self) -> u64 {
        let same = |before: &&Planned| {
            before.failures > 0
                || (before.digest == self.digest && before.settings == self.settings)
        };
        self.before.filter(same).map_or(0, |before| before.undecided)
    }

    fn base(&self) -> Planned {
        Planned {
            plugin: self.schedule.plugin.clone(),
            digest: self.digest,
            settings: self.settings,
            asked: self.now,
            version: self.version,
            last_rotation: self.facts.last_rotation,
            schedule: self.schedule.fingerprint(),
            rotate_at: None,
            reason: None,
            bounded: false,
            ask_at: None,
            ask_from: None,
            undecided: 0,
            failures: 0,
            failure: None,
            on_failure: self
                .on_failure
                .or_else(|| self.before.map(|before| before.on_failure))
                .unwrap_or_default(),
        }
    }
}

/// `least`, doubled with each failure after the first.
fn doubled(least: Duration, failures: u32) -> Duration {
    let times = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    least.saturating_mul(times).min(MOST_BACKOFF)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn none(count: &u64) -> bool {
    *count == 0
}

fn clean(reason: &str) -> Box<str> {
    reason.chars().take(LONGEST_REASON).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Planned {
    /// What is left of it when it counts for nothing any more but its schedule is still in force:
    /// what is done when the plugin does not answer. One that is gone cannot be asked for that.
    #[must_use]
    pub fn spent(self) -> Self {
        Self {
            // Versions begin at 1.
            version: 0,
            rotate_at: None,
            reason: None,
            bounded: false,
            ask_at: None,
            ask_from: None,
            undecided: 0,
            failures: 0,
            failure: None,
            ..self
        }
    }

    /// Whether other code, or the same under other settings, would be asked now. Where none was,
    /// the last failure has a date to ask again.
    #[must_use]
    pub fn is_of_other(&self, digest: PluginDigest, settings: u64) -> bool {
        self.digest.is_some_and(|asked| asked != digest || self.settings != settings)
    }

    /// What dates follow from.
    #[must_use]
    pub const fn plan(&self) -> Plan {
        Plan { schedule: self.schedule, rotate_at: self.rotate_at, bounded: self.bounded }
    }

    /// Whether use alone asks for another answer: the plugin has not decided, and the primary
    /// version has been used notably more since, and it was not asked a moment ago.
    #[must_use]
    pub fn outgrown(&self, usage: &UsageCounters, now: Timestamp) -> bool {
        let used = usage.protect;
        self.ask_from
            .is_some_and(|from| used.operations >= from.operations || used.bytes >= from.bytes)
            && now >= self.asked.plus(PAUSE_OF_USE)
    }
}

impl Plan {
    /// The same without the date of the plugin: `maxInterval` counts.
    pub(crate) const fn undated(self) -> Self {
        Self { rotate_at: None, ..self }
    }

    /// The date that counts, and whether the plugin gave it; `None` while there is none.
    pub(super) fn date(
        &self,
        schedule: &PluginSchedule,
        last: Timestamp,
    ) -> Option<(Timestamp, bool)> {
        if self.schedule != schedule.fingerprint() {
            return None;
        }
        match self.rotate_at {
            Some(date) => Some((schedule.within(date, last), true)),
            None => self.bounded.then(|| (schedule.latest(last), false)),
        }
    }
}
