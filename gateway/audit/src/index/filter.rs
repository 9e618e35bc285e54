//! Which entries are asked for.

use std::fmt::Write as _;

use hub_model::Timestamp;

use super::term::{Facts, Kind, term};

/// Which entries are asked for: those that fit everything that is given. Values are compared with
/// the members of entries as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Before this.
    pub to: Option<Timestamp>,
    /// Participant that called, or was acted on.
    pub participant: Option<Box<str>>,
    /// Participant that called.
    pub caller: Option<Box<str>>,
    /// The key acted on.
    pub key: Option<Box<str>>,
    /// The registration acted on.
    pub registration: Option<Box<str>>,
    /// The registration the caller belongs to.
    pub caller_registration: Option<Box<str>>,
    /// The action, or all of a group: `keys.*`.
    pub action: Option<Box<str>>,
    /// The outcome.
    pub outcome: Option<Box<str>>,
    /// The decision.
    pub decision: Option<Box<str>>,
    /// The request.
    pub request: Option<Box<str>>,
    /// The trace.
    pub trace: Option<Box<str>>,
    /// The long operation or job.
    pub operation: Option<Box<str>>,
    /// The credential used.
    pub credential: Option<Box<str>>,
}

/// Its name, what is wanted, and the kinds of terms one of which an entry must have.
type Condition<'a> = (&'static str, &'a Option<Box<str>>, &'static [Kind]);

impl Filter {
    /// Every condition but the times: its name, its value, and the kinds of terms one of which an
    /// entry must have.
    fn conditions(&self) -> impl Iterator<Item = (&'static str, &str, &'static [Kind])> {
        const EITHER: &[Kind] = &[Kind::Caller, Kind::Participant];
        let action: &[Kind] = match self.group() {
            Some(_) => &[Kind::ActionGroup],
            None => &[Kind::Action],
        };
        let all: [Condition<'_>; 12] = [
            ("participant", &self.participant, EITHER),
            ("caller", &self.caller, &[Kind::Caller]),
            ("key", &self.key, &[Kind::Key]),
            ("registration", &self.registration, &[Kind::Registration]),
            ("callerRegistration", &self.caller_registration, &[Kind::CallerRegistration]),
            ("action", &self.action, action),
            ("outcome", &self.outcome, &[Kind::Outcome]),
            ("decision", &self.decision, &[Kind::Decision]),
            ("request", &self.request, &[Kind::Request]),
            ("trace", &self.trace, &[Kind::Trace]),
            ("operation", &self.operation, &[Kind::Operation]),
            ("credential", &self.credential, &[Kind::Credential]),
        ];
        all.into_iter().filter_map(|(name, value, kinds)| Some((name, value.as_deref()?, kinds)))
    }

    /// The group of actions asked for.
    fn group(&self) -> Option<&str> {
        self.action.as_deref()?.strip_suffix(".*")
    }

    /// For each condition the terms one of which an entry must have. Requests of the hub's own
    /// steps, `-`, are not indexed.
    pub(crate) fn clauses(&self) -> Vec<Vec<u64>> {
        let group = self.group();
        self.conditions()
            .filter(|(name, value, _)| (*name, *value) != ("request", "-"))
            .map(|(name, value, kinds)| {
                let value = group.filter(|_| name == "action").unwrap_or(value);
                kinds.iter().map(|kind| term(*kind, value)).collect()
            })
            .collect()
    }

    /// Whether it asks for a part of time.
    pub(crate) fn overlaps(&self, (first, last): (i64, i64)) -> bool {
        self.from.is_none_or(|from| last >= from.as_micros())
            && self.to.is_none_or(|to| first < to.as_micros())
    }

    /// Whether an entry is one of those asked for.
    pub(crate) fn fits(&self, facts: &Facts<'_>) -> bool {
        let is = |wanted: &Option<Box<str>>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        let action = match self.group() {
            Some(group) => facts.group() == group,
            None => is(&self.action, &facts.action),
        };
        let participant =
            is(&self.participant, facts.caller()) || is(&self.participant, &facts.participant);
        let timed = self.from.is_some() || self.to.is_some();
        action
            && participant
            && is(&self.caller, facts.caller())
            && is(&self.key, &facts.key)
            && is(&self.registration, &facts.registration)
            && is(&self.caller_registration, &facts.caller_registration)
            && is(&self.outcome, &facts.outcome)
            && is(&self.decision, &facts.decision)
            && is(&self.request, &facts.request)
            && is(&self.trace, &facts.trace)
            && is(&self.operation, &facts.operation)
            && is(&self.credential, &facts.credential)
            && (!timed || {
                let micros = facts.micros();
                self.overlaps((micros, micros))
            })
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One text for one filter: what page tokens are bound to, and what an entry says was asked.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        let mut put = |name: &str, value: &dyn std::fmt::Display| {
            let between = if text.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = write!(text, "{between}{name}={value}");
        };
        if let Some(from) = &self.from {
            put("from", from);
        }
        if let Some(to) = &self.to {
            put("to", to);
        }
        for (name, value, _) in self.conditions() {
            put(name, &value);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::term::Names;

    const ENTRY: &[u8] = br#"{"action":"keys.encrypt","caller":"apikey:ptc_a","decision":"allow",
        "key":"key_a","outcome":"ok","registration":"reg_a","request":"r-1",
        "time":"2026-11-26T05:00:00.000000Z"}"#;

    fn fits(change: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        let facts = Facts::of(ENTRY);
        let fits = filter.fits(&facts);
        // What fits is found by its terms.
        let mut terms = Vec::new();
        facts.terms(&mut Names::new(), |term| terms.push(term));
        let found = filter.clauses().iter().all(|any| any.iter().any(|term| terms.contains(term)));
        assert!(found || !fits, "{filter:?}");
        fits
    }

    #[test]
    fn every_condition_counts() {
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert!(fits(|_| {}));
        assert!(fits(|f| f.action = Some("keys.encrypt".into())));
        assert!(fits(|f| f.action = Some("keys.*".into())));
        assert!(!fits(|f| f.action = Some("key.*".into())));
        assert!(!fits(|f| f.action = Some("keys".into())));
        assert!(fits(|f| f.participant = Some("ptc_a".into())));
        assert!(!fits(|f| f.participant = Some("apikey:ptc_a".into())));
        assert!(fits(|f| f.caller = Some("ptc_a".into())));
        assert!(!fits(|f| f.caller = Some("ptc_b".into())));
        assert!(fits(|f| f.request = Some("r-1".into())));
        assert!(!fits(|f| f.operation = Some("op_a".into())));
        assert!(fits(|f| f.from = time("2026-11-26T05:00:00Z")));
        assert!(!fits(|f| f.to = time("2026-11-26T05:00:00Z")));
        assert!(fits(|f| f.to = time("2026-11-26T05:00:01Z")));
        assert!(!fits(|f| f.from = time("2026-11-26T05:00:01Z")));
        assert!(!fits(|f| {
            f.key = Some("key_a".into());
            f.outcome = Some("denied".into());
        }));
    }

    #[test]
    fn the_canonical_text_tells_filters_apart() {
        let key = Filter { key: Some("key_a".into()), ..Filter::default() };
        let both = Filter { decision: Some("deny".into()), ..key.clone() };
        assert_eq!(both.canonical(), "key=key_a decision=deny");
        assert_ne!(key.canonical(), both.canonical());
        assert!(Filter::default().is_empty() && !key.is_empty());
    }
}
