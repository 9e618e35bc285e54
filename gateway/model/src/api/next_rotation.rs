//! When a key is rotated next, and who says so.

use serde::{Deserialize, Serialize};

use crate::extend::FailurePolicy;
use crate::rotation::{Planned, Reason};
use crate::{Key, Name, RotationPolicy, Thumbprint, Timestamp};

/// When a key is rotated next by time, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextRotation {
    /// The date; a past one is overdue.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: RotationSource,
    /// What the plugin said, where the policy names one and it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RotationPlan>,
}

/// Where the date of a rotation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RotationSource {
    /// A schedule of the policy.
    Schedule,
    /// `maxAge` of the policy.
    MaxAge,
    /// The plugin of the policy.
    Plugin,
    /// `maxInterval` of the policy: the plugin has given no date, and at this one the key is
    /// rotated all the same.
    MaxInterval,
    /// The plugin has given no date, and nothing rotates the key without one: this is the date by
    /// which the policy wants a rotation (`maxInterval`).
    Undecided,
}

impl RotationSource {
    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::MaxAge => "maxAge",
            Self::Plugin => "plugin",
            Self::MaxInterval => "maxInterval",
            Self::Undecided => "undecided",
        }
    }
}

/// What a plugin said about the next rotation of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationPlan {
    /// The plugin.
    pub plugin: Name,
    /// Which code of it answered: SHA-256 of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub digest: Option<Thumbprint>,
    /// When it was asked last.
    pub ask_time: Timestamp,
    /// Why it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Box<str>>,
    /// When it is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_again_time: Option<Timestamp>,
    /// What was wrong with it the last time: `trap`, `deadline`, `unavailable`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub failure: Option<Box<str>>,
    /// How often in a row it gave no answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// What is done while it gives none.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<&Planned> for RotationPlan {
    fn from(planned: &Planned) -> Self {
        Self {
            plugin: planned.plugin.clone(),
            digest: planned.digest,
            ask_time: planned.asked,
            reason: planned.reason.clone(),
            ask_again_time: planned.ask_at,
            failure: planned.failure.clone(),
            failures: planned.failures,
            failure_policy: planned.on_failure,
        }
    }
}

impl NextRotation {
    /// Of a key, with the default rotation policy of its registration.
    #[must_use]
    pub fn new(key: &Key, registration: Option<&RotationPolicy>) -> Option<Self> {
        let due = key.due_rotation(registration);
        let by_plugin = key.by_plugin(registration);
        let plan = by_plugin.as_ref().and_then(|(_, planned, _)| *planned).map(RotationPlan::from);
        let certain = due.map(|due| {
            let source = match due.reason {
                Reason::Age => RotationSource::MaxAge,
                Reason::Plugin => RotationSource::Plugin,
                Reason::MaxInterval => RotationSource::MaxInterval,
                Reason::Schedule | Reason::Operations | Reason::Bytes => RotationSource::Schedule,
            };
            (due.at, source)
        });
        // Without a date of the plugin the bound still says by when there should be one. Later than
        // the plugin's date or the bound that rotates it cannot be, so it shows nowhere else.
        let wanted = by_plugin.map(|(schedule, _, facts)| {
            (schedule.latest(facts.last_rotation), RotationSource::Undecided)
        });
        let (time, source) = certain.into_iter().chain(wanted).min_by_key(|(time, _)| *time)?;
        Some(Self { time, source, plan })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extend::{FailureKind, PluginFailure, RotationAnswer};
    use crate::rotation::Asking;
    use crate::{Algorithm, KeyId, RegistrationId, Step, UsageCounters};

    fn at(days: i64) -> Timestamp {
        Timestamp::from_micros(days * 86_400_000_000)
    }

    fn policy(json: &str) -> RotationPolicy {
        serde_json::from_str(json).unwrap()
    }

    fn asking(
        key: &Key,
        on_failure: FailurePolicy,
        ask: impl Fn(&Asking<'_>) -> Planned,
    ) -> Planned {
        let (schedule, before, facts) = key.by_plugin(None).unwrap();
        ask(&Asking {
            schedule,
            version: key.primary,
            facts: &facts,
            usage: &UsageCounters::default(),
            before,
            digest: Some(Thumbprint([7; 32])),
            settings: 0,
            on_failure: Some(on_failure),
            now: at(1),
        })
    }

    #[test]
    fn the_source_of_the_date_is_shown() {
        let (registration, id) = (RegistrationId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
        let name: Name = "orders".parse().unwrap();
        let mut key = Key::new(registration, id, name, Algorithm::Aes256Gcm, None, at(0));
        assert_eq!(NextRotation::new(&key, None), None);
        let shown = |key: &Key| {
            let next = NextRotation::new(key, None).unwrap();
            (next.time, next.source.name())
        };
        key.rotation = Some(policy(r#"{"schedule":{"period":"P30D"},"maxAge":"P20D"}"#));
        assert_eq!(shown(&key), (at(20), "maxAge"));
        key.rotation = Some(policy(
            r#"{"schedule":{"plugin":"calendar","minInterval":"P2D","maxInterval":"P90D"}}"#,
        ));
        assert_eq!(shown(&key), (at(90), "undecided"));
        let trap = PluginFailure::new(FailureKind::Trap, "unreachable");
        key.planned = Some(asking(&key, FailurePolicy::FailClosed, |it| it.failed(&trap)));
        assert_eq!(shown(&key), (at(90), "undecided"));
        assert_eq!(key.next_rotation(None), None, "nothing rotates it");
        key.planned = Some(asking(&key, FailurePolicy::FallBack, |it| it.failed(&trap)));
        assert_eq!(shown(&key), (at(90), "maxInterval"));
        let plan = NextRotation::new(&key, None).unwrap().plan.unwrap();
        assert_eq!((plan.failures, plan.failure.as_deref()), (2, Some("trap")));
        let answer = RotationAnswer::At(at(40));
        key.planned = Some(asking(&key, FailurePolicy::FallBack, |it| it.answered(&answer)));
        assert_eq!(shown(&key), (at(40), "plugin"));
        let json = serde_json::to_value(NextRotation::new(&key, None).unwrap()).unwrap();
        assert_eq!(json["plan"]["failurePolicy"], "fall-back");
        assert_eq!(json["plan"].get("failures"), None);
        key.step(Step::Suspend, at(1)).unwrap();
        assert_eq!(NextRotation::new(&key, None), None);
    }
}
