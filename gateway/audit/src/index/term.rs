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
        Self::plain(entry).or_else(|| serde_json::from_slice(entry).ok()).unwrap_or_default()
    }

    /// The facts of an entry as the hub writes most of them: no white space, and nothing escaped in
    /// strings. `None` is for whoever knows all of JSON.
    fn plain(entry: &'a [u8]) -> Option<Self> {
        let mut facts = Self::default();
        let mut rest = std::str::from_utf8(entry).ok()?.strip_prefix('{')?;
        let mut before = "";
        loop {
            let (name, value) = string(rest)?;
            // In byte order, so none comes twice.
            if name <= before {
                return None;
            }
            before = name;
            let value = value.strip_prefix(':')?;
            let known = facts.member(name);
            rest = match (known, value.as_bytes().first()?) {
                (Some(member), b'"') => {
                    let (text, rest) = string(value)?;
                    *member = Cow::Borrowed(text);
                    rest
                }
                (Some(_), _) => return None,
                (None, _) => after(value)?,
            };
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => return (rest == "}").then_some(facts),
            }
        }
    }

    fn member(&mut self, name: &str) -> Option<&mut Cow<'a, str>> {
        Some(match name {
            "action" => &mut self.action,
            "caller" => &mut self.caller,
            "callerRegistration" => &mut self.caller_registration,
            "credential" => &mut self.credential,
            "decision" => &mut self.decision,
            "key" => &mut self.key,
            "operation" => &mut self.operation,
            "outcome" => &mut self.outcome,
            "participant" => &mut self.participant,
            "registration" => &mut self.registration,
            "request" => &mut self.request,
            "time" => &mut self.time,
            "trace" => &mut self.trace,
            _ => return None,
        })
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

/// A string at the beginning of `text`, without escapes in it, and what comes after it.
fn string(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let end = inner.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    let (string, rest) = inner.split_at_checked(end)?;
    Some((string, rest.strip_prefix('"')?))
}

/// What comes after the value at the beginning of `text`: a string, a number or word, or what is
/// nested to any depth. Nothing is checked in there but where it ends.
fn after(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut rest = text;
    loop {
        let at = rest.bytes().position(|b| matches!(b, b'"' | b'[' | b'{' | b']' | b'}' | b','))?;
        let (_, found) = rest.split_at_checked(at)?;
        match found.as_bytes().first()? {
            b',' | b'}' if depth == 0 => {
                return (at > 0 || rest.len() < text.len()).then_some(found);
            }
            b',' => rest = found.get(1..)?,
            b'"' => (_, rest) = string(found)?,
            b'[' | b'{' => {
                depth += 1;
                rest = found.get(1..)?;
            }
            _ => {
                depth = depth.checked_sub(1)?;
                rest = found.get(1..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_entries_are_read_without_a_parser() {
        let (mut text, mut bytes) = (String::new(), Vec::new());
        let mut entry = crate::encode::tests::sample();
        entry.subject.detail = Some("plain".into());
        entry.context = None;
        let gaps = crate::encode::encode(&mut text, &entry, "w1", None).unwrap();
        gaps.fill(text.as_bytes(), &mut bytes, &[0xab; 32], 7, Some(&[0xcd; 32]));
        let plain = Facts::plain(&bytes).expect("nothing in it is escaped");
        let parsed: Facts<'_> = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(format!("{plain:?}"), format!("{parsed:?}"));
        for member in [&plain.action, &plain.caller, &plain.key, &plain.outcome, &plain.request] {
            assert!(!member.is_empty(), "{plain:?}");
        }
    }

    /// What is read quickly is what a parser reads, whatever stands around it.
    #[test]
    fn facts_are_those_of_a_parser() {
        let values = [
            r#""x""#,
            r#""""#,
            r#""é ü""#,
            "1",
            "-2.5",
            "true",
            "null",
            "[]",
            "{}",
            "[1,2,3]",
            r#"["}",{"a":"]"}]"#,
            r#"{"a":{"b":[{"c":",\"}"}]}}"#,
            r#""a\"b""#,
            r#""\u0041""#,
            r#""a,b}""#,
            r#"{"key":"no"}"#,
        ];
        let names = [
            "action",
            "address",
            "caller",
            "callerRegistration",
            "context",
            "credential",
            "decision",
            "entities",
            "key",
            "operation",
            "outcome",
            "participant",
            "registration",
            "request",
            "time",
            "trace",
            "v",
        ];
        let mut quick = 0;
        for seed in 0..20_000_usize {
            let mut next = seed;
            let mut draw = |below: usize| {
                next = next
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (next >> 33) % below
            };
            let mut entry = String::from("{");
            for name in names {
                if draw(3) > 0 {
                    let value = values[if draw(12) > 0 { draw(3) } else { draw(values.len()) }];
                    let comma = if entry.len() > 1 { "," } else { "" };
                    entry.push_str(&format!("{comma}\"{name}\":{value}"));
                }
            }
            entry.push('}');
            if draw(4) == 0 {
                let at = draw(entry.len());
                if entry.is_char_boundary(at) {
                    let with = ["", "\"", "}", ",", " ", "\\"][draw(6)];
                    entry.replace_range(at..at, with);
                }
            }
            let parsed = serde_json::from_slice::<Facts<'_>>(entry.as_bytes());
            let Some(plain) = Facts::plain(entry.as_bytes()) else { continue };
            quick += 1;
            // What is no JSON never comes to be an entry.
            if serde_json::from_str::<serde::de::IgnoredAny>(&entry).is_ok() {
                assert_eq!(format!("{plain:?}"), format!("{:?}", parsed.unwrap()), "{entry}");
            }
        }
        assert!(quick > 5_000, "{quick}");
    }

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
