//! What plugins answer, as cases write it, and how two answers differ.

use std::time::Duration;

use hub_model::algorithm::Hash;
use hub_model::api::profile::shown;
use hub_model::extend::{KdfPlan, KdfProfile, KdfStep, RotationAnswer};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::values::{Bytes, bytes, hex, instant, instant_text, length, length_text};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Of `decide`.
    Rotation(RotationAnswer),
    /// Of `plan`; with the derived bytes where the case gives a root key.
    Plan(KdfPlan, Option<Vec<u8>>),
    /// Of `profiles`.
    Profiles(Vec<KdfProfile>),
    /// Of `deliver`: everything before this is durable.
    Acknowledged(u64),
    /// Of `deliver`: again, after this long.
    RetryAfter(Option<Duration>),
    /// Of `deliver`: never.
    Rejected(String),
    /// Of a function without a result.
    Fine,
}

impl Answer {
    /// As a case has it.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Rotation(RotationAnswer::At(at)) => json!({ "rotateAt": instant_text(*at) }),
            Self::Rotation(RotationAnswer::Now(why)) => json!({ "rotateNow": why }),
            Self::Rotation(RotationAnswer::AskAgain(at)) => {
                json!({ "askAgain": instant_text(*at) })
            }
            Self::Plan(plan, output) => {
                let mut members = Map::new();
                members.insert("plan".to_owned(), plan_json(plan));
                if let Some(output) = output {
                    members.insert("output".to_owned(), json!({ "hex": hex(output) }));
                }
                Value::Object(members)
            }
            Self::Profiles(profiles) => json!({ "profiles": profiles }),
            Self::Acknowledged(cursor) => json!({ "acknowledged": cursor }),
            Self::RetryAfter(after) => json!({ "retryAfter": after.map(length_text) }),
            Self::Rejected(why) => json!({ "rejected": why }),
            Self::Fine => json!({ "ok": true }),
        }
    }
}

/// A plan as JSON, as the API shows it: an array of steps, each an object of one member.
pub(super) fn plan_json(plan: &KdfPlan) -> Value {
    serde_json::to_value(shown(plan)).unwrap_or_default()
}

pub(super) const fn hash_name(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha256 => "sha256",
        Hash::Sha384 => "sha384",
        Hash::Sha512 => "sha512",
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HashWord {
    Sha256,
    Sha384,
    Sha512,
}

impl HashWord {
    const fn hash(self) -> Hash {
        match self {
            Self::Sha256 => Hash::Sha256,
            Self::Sha384 => Hash::Sha384,
            Self::Sha512 => Hash::Sha512,
        }
    }
}

/// A step as a case writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum StepText {
    HkdfExtract { hash: HashWord, salt: Bytes, ikm: u32 },
    HkdfExpand { hash: HashWord, prk: u32, info: Bytes, length: u32 },
    Hmac { hash: HashWord, key: u32, message: Bytes },
    HmacSlot { hash: HashWord, key: u32, message: u32, suffix: Bytes },
    Pbkdf2 { hash: HashWord, password: u32, salt: Bytes, iterations: u32, length: u32 },
    Concat(Vec<u32>),
    Truncate { input: u32, length: u32 },
}

impl StepText {
    fn step(self) -> KdfStep {
        match self {
            Self::HkdfExtract { hash, salt, ikm } => {
                KdfStep::Extract { hash: hash.hash(), salt: salt.0, ikm }
            }
            Self::HkdfExpand { hash, prk, info, length } => {
                KdfStep::Expand { hash: hash.hash(), prk, info: info.0, length }
            }
            Self::Hmac { hash, key, message } => {
                KdfStep::Hmac { hash: hash.hash(), key, message: message.0 }
            }
            Self::HmacSlot { hash, key, message, suffix } => {
                KdfStep::HmacSlot { hash: hash.hash(), key, message, suffix: suffix.0 }
            }
            Self::Pbkdf2 { hash, password, salt, iterations, length } => {
                KdfStep::Pbkdf2 { hash: hash.hash(), password, salt: salt.0, iterations, length }
            }
            Self::Concat(parts) => KdfStep::Concat { parts },
            Self::Truncate { input, length } => KdfStep::Truncate { input, length },
        }
    }
}

/// Brings what a case expects into the form in which answers are written, so that both can be
/// compared: times in one spelling, bytes in one form. The message says what cannot be read.
pub(super) fn normal(expected: &Value) -> Result<Value, String> {
    let members = expected.as_object().filter(|members| !members.is_empty());
    let members = members.ok_or("`expect` is an object such as {\"rotateNow\": \"why\"}")?;
    let mut out = Map::new();
    for (name, value) in members {
        let value = match name.as_str() {
            "rotateAt" | "askAgain" => instant(value).map(|at| Value::String(instant_text(at))),
            "rotateNow" | "rejected" if value.is_string() => Ok(value.clone()),
            "plan" => plan(value).map(|plan| plan_json(&plan)),
            "output" => bytes(value).map(|output| json!({ "hex": hex(&output) })),
            "profiles" if value.is_array() => Ok(value.clone()),
            "acknowledged" if value.is_u64() => Ok(value.clone()),
            "retryAfter" if value.is_null() => Ok(Value::Null),
            "retryAfter" => length(value)
                .map(|after| Value::String(length_text(after.from(super::question::epoch())))),
            "ok" if *value == Value::Bool(true) => Ok(value.clone()),
            "requests" if value.is_array() => Ok(value.clone()),
            "rotateNow" | "rejected" => Err(format!("{value} is no text")),
            "profiles" | "requests" => Err(format!("{value} is no list")),
            "acknowledged" => Err(format!("{value} is no cursor")),
            "ok" => Err("only `true` can be expected".to_owned()),
            _ => Err("there is no such answer".to_owned()),
        };
        out.insert(name.clone(), value.map_err(|why| format!("`expect.{name}`: {why}"))?);
    }
    Ok(Value::Object(out))
}

/// Reads a plan.
pub(super) fn plan(value: &Value) -> Result<KdfPlan, String> {
    let steps = value.as_array().ok_or("a plan is a list of steps")?;
    let steps = steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            StepText::deserialize(step)
                .map(StepText::step)
                .map_err(|error| format!("step {}: {error}", index + 1))
        })
        .collect::<Result<_, _>>()?;
    Ok(KdfPlan { steps })
}

/// Where the answer differs from what was expected, a line each. Members that the case does not
/// name are not compared at the top, where `plan` may stand alone or `output` may.
pub(super) fn differences(expected: &Value, got: &Value) -> Vec<String> {
    let mut out = Vec::new();
    match (expected, got) {
        (Value::Object(wanted), Value::Object(answered)) => {
            for (name, value) in wanted.iter().filter(|(name, _)| *name != "requests") {
                compare(&format!("/{name}"), Some(value), answered.get(name), &mut out);
            }
            let named = |name: &String| wanted.contains_key(name);
            if !answered.keys().any(named) {
                for (name, value) in answered {
                    compare(&format!("/{name}"), None, Some(value), &mut out);
                }
            }
        }
        _ => compare("", Some(expected), Some(got), &mut out),
    }
    out
}

/// Compares one value, and adds a line for every place that differs.
pub(super) fn compare(
    place: &str,
    expected: Option<&Value>,
    got: Option<&Value>,
    out: &mut Vec<String>,
) {
    match (expected, got) {
        (Some(Value::Object(wanted)), Some(Value::Object(answered))) => {
            for (name, value) in wanted {
                compare(&format!("{place}/{name}"), Some(value), answered.get(name), out);
            }
            for (name, value) in answered.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                compare(&format!("{place}/{name}"), None, Some(value), out);
            }
        }
        (Some(Value::Array(wanted)), Some(Value::Array(answered))) => {
            for index in 0..wanted.len().max(answered.len()) {
                let place = format!("{place}/{index}");
                compare(&place, wanted.get(index), answered.get(index), out);
            }
        }
        (wanted, answered) if wanted == answered => {}
        (wanted, answered) => {
            let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
            out.push(format!("{place}: expected {}, got {}", text(wanted), text(answered)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub_model::Timestamp;

    #[test]
    fn expectations_in_several_spellings_mean_the_same() {
        let at = Timestamp::from_micros(1_767_225_600_000_000);
        let got = Answer::Rotation(RotationAnswer::At(at)).json();
        for same in [
            json!({ "rotateAt": "2026-01-01T00:00:00Z" }),
            json!({ "rotateAt": "2026-01-01T01:00:00+01:00" }),
            json!({ "rotateAt": 1_767_225_600_000_u64 }),
        ] {
            assert_eq!(differences(&normal(&same).unwrap(), &got), Vec::<String>::new());
        }
        let got = Answer::RetryAfter(Some(Duration::from_secs(90))).json();
        for same in ["90s", "PT90S", "PT1M30S"] {
            let wanted = normal(&json!({ "retryAfter": same })).unwrap();
            assert_eq!(differences(&wanted, &got), Vec::<String>::new());
        }
        let never = normal(&json!({ "retryAfter": null })).unwrap();
        assert_eq!(differences(&never, &got), ["/retryAfter: expected null, got \"90s\""]);
    }

    #[test]
    fn other_answers_are_shown_whole() {
        let wanted = normal(&json!({ "rotateAt": "2026-01-01T00:00:00Z" })).unwrap();
        let got = Answer::Rotation(RotationAnswer::Now("used up".into())).json();
        assert_eq!(
            differences(&wanted, &got),
            [
                "/rotateAt: expected \"2026-01-01T00:00:00Z\", got nothing",
                "/rotateNow: expected nothing, got \"used up\"",
            ]
        );
    }

    #[test]
    fn plans_are_read_as_they_are_written() {
        let plan_of = KdfPlan {
            steps: vec![
                KdfStep::Extract { hash: Hash::Sha256, salt: b"salt".to_vec(), ikm: 0 },
                KdfStep::Expand { hash: Hash::Sha384, prk: 1, info: vec![0, 255], length: 48 },
                KdfStep::Hmac { hash: Hash::Sha512, key: 2, message: Vec::new() },
                KdfStep::HmacSlot { hash: Hash::Sha256, key: 2, message: 3, suffix: vec![1] },
                KdfStep::Pbkdf2 {
                    hash: Hash::Sha256,
                    password: 2,
                    salt: vec![7; 16],
                    iterations: 1000,
                    length: 32,
                },
                KdfStep::Concat { parts: vec![3, 4] },
                KdfStep::Truncate { input: 6, length: 32 },
            ],
        };
        let json = Answer::Plan(plan_of.clone(), Some(vec![171])).json();
        assert_eq!(plan(&json["plan"]).unwrap(), plan_of);
        assert_eq!(normal(&json).unwrap(), json);
        // The output alone is enough.
        let wanted = normal(&json!({ "output": "qw==" })).unwrap();
        assert_eq!(differences(&wanted, &json), Vec::<String>::new());
        let wanted = normal(&json!({ "output": { "hex": "00" } })).unwrap();
        assert_eq!(differences(&wanted, &json), ["/output/hex: expected \"00\", got \"ab\""]);
        let mut other = json.clone();
        other["plan"][6]["truncate"]["length"] = json!(16);
        let found = differences(&normal(&other).unwrap(), &json);
        assert_eq!(found, ["/plan/6/truncate/length: expected 16, got 32"]);
    }

    #[test]
    fn unreadable_expectations_are_named() {
        for (bad, said) in [
            (json!({}), "is an object"),
            (json!({ "rotate": 1 }), "`expect.rotate`: there is no such answer"),
            (json!({ "rotateAt": "soon" }), "`expect.rotateAt`"),
            (json!({ "acknowledged": -1 }), "no cursor"),
            (json!({ "ok": false }), "only `true`"),
            (json!({ "plan": [{ "hmac": {} }] }), "step 1: missing field"),
            (json!({ "plan": [{ "rot13": {} }] }), "step 1: unknown variant"),
        ] {
            let message = normal(&bad).unwrap_err();
            assert!(message.contains(said), "{bad}: {message}");
        }
    }
}
