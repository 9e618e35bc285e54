//! What of an entry is indexed. A term is a member and its value, named by the first 40 bits of
//! SHA-256(kind ‖ value) (`docs/formats/audit-index.md`). Two terms that share these bits are told
//! apart by the entry itself, which a query always looks at.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use hub_crypto::hash::sha256_parts;
use hub_model::Timestamp;
use serde::Deserialize;

/// What a term says of an entry. The numbers are part of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Key = 1,
    Caller = 2,
    Participant = 3,
    Registration = 4,
    CallerRegistration = 5,
    Action = 6,
    /// What stands before the first dot of an action.
    ActionGroup = 7,
    Outcome = 8,
    Decision = 9,
    Request = 10,
    Trace = 11,
    Operation = 12,
    Credential = 13,
}

/// Bits of a term: one byte selects the bucket, four stand in it.
pub(crate) const BITS: u32 = 40;

/// The name of a term.
pub(crate) fn term(kind: Kind, value: &str) -> u64 {
    let hash = sha256_parts(&[&[kind as u8], value.as_bytes()]);
    hash.iter().take(5).fold(0, |term, byte| (term << 8) | u64::from(*byte))
}

/// Names of terms that came before: most members of an entry are those of many others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(BTreeMap<u8, HashMap<Box<str>, u64>>);

impl Names {
    /// Values kept of one kind.
    const KEPT: usize = 1024;

    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// As [`term()`].
    pub(crate) fn term(&mut self, kind: Kind, value: &str) -> u64 {
        // Each request is another.
        if matches!(kind, Kind::Request | Kind::Trace) {
            return term(kind, value);
        }
        let known = self.0.entry(kind as u8).or_default();
        if let Some(name) = known.get(value) {
            return *name;
        }
        if known.len() >= Self::KEPT {
            known.clear();
        }
        let name = term(kind, value);
        known.insert(value.into(), name);
        name
    }
}

/// The members of an entry that are indexed; those it does not have are empty. Also what filters
/// look at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Facts<'a> {
    #[serde(borrow)]
    pub(crate) action: Cow<'a, str>,
    #[serde(borrow)]
    caller: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) caller_registration: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) credential: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) decision: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) operation: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) participant: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) registration: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) request: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) trace: Cow<'a, str>,
}

impl<'a> Facts<'a> {
    /// The facts of an entry; none of what is not one.
    pub(crate) fn of(entry: &'a [u8]) -> Self {
        serde_json::from_slice(entry).unwrap_or_default()
    }

    /// Who called. `caller` reads `<method>:…:<participant>`.
    pub(crate) fn caller(&self) -> &str {
        self.caller.rsplit(':').next().unwrap_or_default()
    }

    /// When, in microseconds of the Unix epoch. An entry without a time is older than all others.
    pub(crate) fn micros(&self) -> i64 {
        self.time.parse::<Timestamp>().map_or(i64::MIN, Timestamp::as_micros)
    }

    /// What stands before the first dot of the action.
    pub(crate) fn group(&self) -> &str {
        self.action.split_once('.').map_or("", |(group, _)| group)
    }

    /// Gives every term.
    pub(crate) fn terms(&self, names: &mut Names, mut give: impl FnMut(u64)) {
        // The hub's own steps have no request of theirs.
        let request = if self.request == "-" { "" } else { &*self.request };
        let values = [
            (Kind::Key, &*self.key),
            (Kind::Caller, self.caller()),
            (Kind::Participant, &*self.participant),
            (Kind::Registration, &*self.registration),
            (Kind::CallerRegistration, &*self.caller_registration),
            (Kind::Action, &*self.action),
            (Kind::ActionGroup, self.group()),
            (Kind::Outcome, &*self.outcome),
            (Kind::Decision, &*self.decision),
            (Kind::Request, request),
            (Kind::Trace, &*self.trace),
            (Kind::Operation, &*self.operation),
            (Kind::Credential, &*self.credential),
        ];
        for (kind, value) in values {
            if !value.is_empty() {
                give(names.term(kind, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_those_of_the_document() {
        // printf '\x06keys.encrypt' | sha256sum
        let hash = hub_crypto::hash::sha256(b"\x06keys.encrypt");
        let first = hash[..5].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        assert_eq!(term(Kind::Action, "keys.encrypt"), first);
        assert!(term(Kind::Key, "x") < 1 << BITS && term(Kind::Key, "x") != term(Kind::Trace, "x"));
    }

    #[test]
    fn remembered_names_are_the_same() {
        let mut names = Names::new();
        for round in 0..3 {
            for n in 0..Names::KEPT + 10 {
                let value = format!("v{}", n % (Names::KEPT - 5 + round * 10));
                for kind in [Kind::Key, Kind::Action, Kind::Request] {
                    assert_eq!(names.term(kind, &value), term(kind, &value));
                }
            }
        }
        assert!(names.0.values().all(|known| known.len() <= Names::KEPT));
        assert!(!names.0.contains_key(&(Kind::Request as u8)));
    }

    #[test]
    fn terms_are_those_of_the_frozen_sample() {
        let kinds = [Kind::Action, Kind::ActionGroup, Kind::Key, Kind::Request, Kind::Credential];
        let sample = include_str!("../../../../tests/formats/audit-index.json");
        let sample: serde_json::Value = serde_json::from_str(sample).unwrap();
        let known = sample["terms"].as_array().unwrap();
        assert_eq!(known.len(), kinds.len());
        for (kind, known) in kinds.into_iter().zip(known) {
            assert_eq!(u64::from(kind as u8), known["kind"].as_u64().unwrap());
            let term = format!("{:010x}", term(kind, known["value"].as_str().unwrap()));
            assert_eq!(term, known["term"].as_str().unwrap());
        }
    }

    #[test]
    fn facts_are_read_from_entries_and_from_nothing_else() {
        let entry = br#"{"action":"keys.encrypt","caller":"jwt:corp:ptc_1","context":{"key":"x"},
            "key":"key_\u0031","request":"-","time":"2026-11-26T05:00:00.000001Z","v":1}"#;
        let facts = Facts::of(entry);
        assert_eq!((facts.caller(), facts.group(), &*facts.key), ("ptc_1", "keys", "key_1"));
        assert_eq!(facts.micros(), 1_795_669_200_000_001);
        let mut count = 0;
        facts.terms(&mut Names::new(), |_| count += 1);
        assert_eq!(count, 4, "key, caller, action and its group");
        for other in [&b""[..], b"[]", b"{", br#"{"key":7}"#] {
            let facts = Facts::of(other);
            assert_eq!((&*facts.key, facts.micros()), ("", i64::MIN));
            facts.terms(&mut Names::new(), |_| panic!("no terms"));
        }
    }
}
