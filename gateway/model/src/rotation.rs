//! When a key gets its next version: the policy, the date that follows from it, and what is due.
//!
//! Everything here is a function of what is stored: the date depends on the last rotation and never
//! on when it is asked for. Therefore missed dates lead to one rotation, a restart finds the same
//! date, and a clock that jumps forward or back rotates once or not at all (docs/lifecycle.md).

mod cron;
mod period;
mod planned;
mod plugin;
mod schedule;
mod zone;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use cron::Cron;
pub use period::Period;
pub use planned::{Asking, Plan, Planned};
pub use plugin::{PluginSchedule, fingerprint};
pub use schedule::{Calendar, Day, Schedule};
pub use zone::Zone;

use crate::usage::UsageCounters;
use crate::{Error, Key, KeyId, KeyState, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);

/// Ten years, leap days included.
const TEN_YEARS: Duration = Duration::from_secs(3660 * 86_400);

/// Within this time a schedule must have a date: five years, leap days included.
const FIRST_DATE: Duration = Duration::from_secs(1830 * 86_400);

/// Most old versions `retain` may ask for.
const MAX_RETAIN: u32 = 10_000;

/// When a key is rotated by itself, and what becomes of the versions before the primary. Without
/// members it never rotates by itself. Whichever limit is reached first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotationPolicy {
    /// When to rotate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Rotate after this many operations that protected data under the primary version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_operations: Option<u64>,
    /// Rotate after this many bytes were protected under the primary version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Rotate before the primary version is older than this, whatever the schedule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Period>,
    /// Spreads the dates of many keys: each version moves its date by a fixed part of this, later
    /// for `schedule`, earlier for `maxAge`. Less than half of either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Period>,
    /// How many versions before the primary stay active; older ones are deactivated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<u32>,
    /// How long after its successor became primary a version is deactivated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Period>,
}

/// What the date of the next rotation follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationFacts {
    /// When the primary version was created.
    pub version_created: Timestamp,
    /// When the primary version became primary.
    pub last_rotation: Timestamp,
    /// What the offset of `jitter` follows from: [`seed`].
    pub seed: u64,
    /// What a plugin said about this version since then, if anything.
    pub plan: Option<Plan>,
}

/// So many versions of a key the dates of a plugin may bring about; beyond them `maxInterval`
/// counts. The rest of those a key may have are for those who rotate it.
pub const PLUGIN_VERSIONS: usize = 1_000;

/// Why a rotation is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The schedule's date has come.
    Schedule,
    /// The primary version is about to be too old.
    Age,
    /// The primary version has protected data too often.
    Operations,
    /// The primary version has protected too much data.
    Bytes,
    /// The date of the plugin has come.
    Plugin,
    /// The plugin has given no date for as long as may be.
    MaxInterval,
}

impl Reason {
    /// The word on the wire and in the audit trail.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Age => "age",
            Self::Operations => "operations",
            Self::Bytes => "bytes",
            Self::Plugin => "plugin",
            Self::MaxInterval => "maxInterval",
        }
    }
}

/// A date of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The date. A function of policy and facts alone.
    pub at: Timestamp,
    /// Which limit it comes from: [`Reason::Schedule`] or [`Reason::Age`]; where a plugin is asked,
    /// [`Reason::Plugin`] or [`Reason::MaxInterval`] for the first.
    pub reason: Reason,
    /// Whether the date has come.
    pub overdue: bool,
}

/// The next rotation by time; `None` where time alone never rotates.
#[must_use]
pub fn next_rotation(
    policy: &RotationPolicy,
    facts: &RotationFacts,
    now: Timestamp,
) -> Option<Due> {
    let (at, reason) = date(policy, facts)?;
    Some(Due { at, reason, overdue: at <= now })
}

/// Why the key is to be rotated now, or `None`. `usage` is that of the primary version.
#[must_use]
pub fn due(
    policy: &RotationPolicy,
    facts: &RotationFacts,
    usage: &UsageCounters,
    now: Timestamp,
) -> Option<Reason> {
    let reached = |limit: Option<u64>, count: u64| limit.is_some_and(|limit| count >= limit);
    if let Some(due) = next_rotation(policy, facts, now).filter(|due| due.overdue) {
        Some(due.reason)
    } else if reached(policy.max_operations, usage.protect.operations) {
        Some(Reason::Operations)
    } else if reached(policy.max_bytes, usage.protect.bytes) {
        Some(Reason::Bytes)
    } else {
        None
    }
}

/// Versions before the primary that are active and past `retain` or `gracePeriod`, ascending: they
/// are to be deactivated, which leaves them decrypting and verifying.
#[must_use]
pub fn past_retention(policy: &RotationPolicy, key: &Key, now: Timestamp) -> Vec<u32> {
    let mut kept = 0u32;
    let mut successor: Option<Timestamp> = None;
    let mut past = Vec::new();
    for version in key.versions.iter().rev().skip_while(|v| v.number > key.primary) {
        let replaced = successor.replace(version.in_use_since());
        let Some(replaced) = replaced else { continue };
        if version.state != KeyState::Active {
            continue;
        }
        let too_many = policy.retain.is_some_and(|most| kept >= most);
        let too_old = policy
            .grace_period
            .and_then(|grace| grace.after(replaced))
            .is_some_and(|end| end <= now);
        if too_many || too_old {
            past.push(version.number);
        } else {
            kept = kept.saturating_add(1);
        }
    }
    past.reverse();
    past
}

/// The seed of a version's jitter: the same on every node and after every restart. Not secret and
/// not random, only spread.
#[must_use]
pub fn seed(key: KeyId, version: u32) -> u64 {
    let bytes = key.as_bytes().iter().copied().chain(version.to_be_bytes());
    // FNV-1a, then the finalizer of SplitMix64, for FNV's high bits move little on short inputs.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// INVARIANT: the date lies after the last rotation, whatever the policy. A rotation at or after
/// the date, which makes its own time the last rotation, can therefore not be due again at that
/// time or, should the clock go back, before it.
fn date(policy: &RotationPolicy, facts: &RotationFacts) -> Option<(Timestamp, Reason)> {
    let last = facts.last_rotation;
    let offset = offset(policy.jitter, facts.seed);
    let scheduled = policy.schedule.as_ref().and_then(|schedule| match schedule {
        Schedule::Plugin(it) => facts.plan?.date(it, last).map(|(date, decided)| {
            (date, if decided { Reason::Plugin } else { Reason::MaxInterval })
        }),
        other => other.next(last).map(|date| (date.plus(offset), Reason::Schedule)),
    });
    // The later of the two: a version may have been made long before it became primary.
    let start = facts.version_created.max(last);
    let aged = policy.max_age.and_then(|age| age.after(start)).map(|end| {
        let spread = back(end, offset);
        (if spread > last { spread } else { end }, Reason::Age)
    });
    let dates = scheduled.into_iter().chain(aged).filter(|(date, _)| *date > last);
    dates.min_by_key(|(date, _)| *date)
}

fn back(date: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(date.as_micros().saturating_sub(micros))
}

/// At least zero, less than the jitter, in whole seconds.
fn offset(jitter: Option<Period>, seed: u64) -> Duration {
    let seconds = jitter.map_or(0, |jitter| jitter.at_least().as_secs());
    Duration::from_secs(seed.checked_rem(seconds).unwrap_or(0))
}

impl RotationPolicy {
    /// The policy in force: the key's own, or else the default of its registration. A key's own
    /// policy replaces the default as a whole, so that the policy shown is the one that counts; an
    /// empty one opts the key out.
    #[must_use]
    pub fn or_default(key: Option<Self>, registration: Option<Self>) -> Option<Self> {
        key.or(registration)
    }

    /// Whether it can be meant. To be asked before a policy is stored; everything else in this
    /// module also has an answer for policies that would be refused here.
    ///
    /// # Errors
    /// [`Error::Rotation`] with the member and what is wrong with it.
    pub fn validate(&self, now: Timestamp) -> Result<(), Error> {
        if let Some(schedule) = &self.schedule {
            check_schedule(schedule, now)?;
        }
        if let Some(age) = &self.max_age {
            within_limits("maxAge", age)?;
        }
        if self.max_operations == Some(0) {
            return refused("maxOperations", "must be at least 1");
        }
        if self.max_bytes == Some(0) {
            return refused("maxBytes", "must be at least 1");
        }
        if let Some(jitter) = self.jitter {
            self.check_jitter(jitter.at_most(), now)?;
        }
        if self.retain.is_some_and(|retain| retain > MAX_RETAIN) {
            return refused("retain", format!("must be at most {MAX_RETAIN}"));
        }
        if self.grace_period.is_some_and(|grace| grace.at_most() > TEN_YEARS) {
            return refused("gracePeriod", "must be at most ten years");
        }
        Ok(())
    }

    fn check_jitter(&self, jitter: Duration, now: Timestamp) -> Result<(), Error> {
        if self.schedule.is_none() && self.max_age.is_none() {
            return refused("jitter", "has no effect without `schedule` or `maxAge`");
        }
        if let Some(Schedule::Plugin(_)) = self.schedule {
            return refused("jitter", "does not go with the dates of a plugin, which spreads them");
        }
        let gap = self.schedule.as_ref().and_then(|schedule| schedule.least_gap(now));
        let age = self.max_age.map(|age| age.at_least());
        match gap.into_iter().chain(age).min() {
            Some(least) if jitter >= least / 2 => {
                let half = least.as_secs() / 2;
                refused(
                    "jitter",
                    format!(
                        "must be less than half of the time between rotations, which is {half} s"
                    ),
                )
            }
            _ => Ok(()),
        }
    }
}

fn check_schedule(schedule: &Schedule, now: Timestamp) -> Result<(), Error> {
    if let Some(zone) = schedule.zone()
        && !zone.is_known()
    {
        return refused("schedule", format!("`{zone}` is not a known time zone"));
    }
    match schedule {
        Schedule::Period(period) => return within_limits("schedule/period", period),
        Schedule::Plugin(it) => {
            within_limits("schedule/minInterval", &it.min_interval)?;
            within_limits("schedule/maxInterval", &it.max_interval)?;
            let (least, most) = (&it.min_interval, &it.max_interval);
            let ordered = least == most
                || (least.at_least() <= most.at_least() && least.at_most() <= most.at_most());
            if !ordered {
                return refused("schedule/minInterval", "must not be longer than `maxInterval`");
            }
            return it.check_parameters();
        }
        Schedule::Cron { cron, .. } if cron.per_hour() > 1 => {
            return refused("schedule/cron", "rotates more than once an hour");
        }
        Schedule::Cron { .. } | Schedule::Calendar(_) => {}
    }
    match schedule.next(now) {
        Some(date) if date.since(now) <= FIRST_DATE => Ok(()),
        Some(_) | None => refused("schedule", "has no date within five years"),
    }
}

fn within_limits(pointer: &'static str, period: &Period) -> Result<(), Error> {
    if period.at_least() < HOUR {
        return refused(pointer, "must be at least one hour");
    }
    if period.at_most() > TEN_YEARS {
        return refused(pointer, "must be at most ten years");
    }
    Ok(())
}

fn refused(pointer: &'static str, detail: impl Into<String>) -> Result<(), Error> {
    Err(Error::Rotation { pointer, detail: detail.into() })
}

#[cfg(test)]
mod plugin_tests;
#[cfg(test)]
mod tests;
