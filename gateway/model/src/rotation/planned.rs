//! What a plugin said about the next rotation of a key, kept with the key: the plugin advises, the
//! hub rotates. Everything here is a function of what is stored and of the answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PluginSchedule, RotationFacts};
use crate::extend::{FailurePolicy, PluginDigest, PluginFailure, RotationAnswer};
use crate::usage::Tally;
use crate::{Name, Timestamp, UsageCounters};

/// A plugin that wants to be asked again is, but not sooner than this.
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
/// nothing else. A rotation, whoever makes it, therefore ends it, and so does another policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// Who was asked.
    pub plugin: Name,
    /// Which code answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<PluginDigest>,
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
                // At the latest date the key is rotated, and the plugin asked about the next.
                let date = (*date).max(self.now.plus(PAUSE)).min(self.schedule.latest(last));
                let used = self.usage.protect;
                let more =
                    |used: u64, least: u64| used.saturating_mul(2).max(used.saturating_add(least));
                let ask_from = Tally {
                    operations: more(used.operations, NOTABLE.operations),
                    bytes: more(used.bytes, NOTABLE.bytes),
                };
                Planned { ask_at: Some(date), ask_from: Some(ask_from), ..base }
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
            failures,
            failure: Some(failure.kind.name().into()),
            ..base
        }
    }

    fn base(&self) -> Planned {
        Planned {
            plugin: self.schedule.plugin.clone(),
            digest: self.digest,
            asked: self.now,
            version: self.version,
            last_rotation: self.facts.last_rotation,
            schedule: self.schedule.fingerprint(),
            rotate_at: None,
            reason: None,
            bounded: false,
            ask_at: None,
            ask_from: None,
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

fn clean(reason: &str) -> Box<str> {
    reason.chars().take(LONGEST_REASON).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Planned {
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
