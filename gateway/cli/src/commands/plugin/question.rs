//! Requests of cases in the words of the domain: what the hub itself would ask a plugin.

use std::collections::BTreeMap;

use hub_model::extend::{KdfQuestion, Parameters, RotationBounds, RotationQuestion};
use hub_model::usage::{Tally, UsageCounters};
use hub_model::{
    Algorithm, EncryptionContext, Key, KeyState, KeyVersion, Name, Period, Tags, Timestamp,
};
use hub_plugins::{KdfContext, PolicyFacts, RotationRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::case;
use super::values::{Bytes, Instant, Length};

/// The registration and key of requests that name none.
const REGISTRATION: &str = "reg_01jd8r0000000000000000000a";
const KEY: &str = "key_01jd8r0000000000000000000a";

/// A question to a KDF profile.
#[derive(Debug)]
pub(super) struct Kdf {
    pub(super) profile: Name,
    pub(super) context: KdfContext,
}

/// What a request says, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Rotation {
    key: KeyFacts,
    policy: Policy,
    last_rotation: Option<Instant>,
    now: Option<Instant>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct KeyFacts {
    id: Option<String>,
    name: Option<String>,
    registration: Option<String>,
    algorithm: Option<String>,
    purpose: Option<String>,
    tags: BTreeMap<String, String>,
    primary: Option<u32>,
    versions: Option<Vec<VersionFacts>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VersionFacts {
    number: u32,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    created_at: Option<Instant>,
    #[serde(default)]
    primary_since: Option<Instant>,
    #[serde(default)]
    protect_operations: u64,
    #[serde(default)]
    protect_bytes: u64,
    #[serde(default)]
    process_operations: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Policy {
    min_interval: Option<Length>,
    max_interval: Option<Length>,
    parameters: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KdfRequest {
    profile: String,
    #[serde(default)]
    context: ContextFacts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ContextFacts {
    registration: Option<String>,
    key: Option<String>,
    version: Option<u32>,
    algorithm: Option<String>,
    name: Option<String>,
    salt: Bytes,
    info: Bytes,
    encryption_context: BTreeMap<String, String>,
    length: Option<u32>,
    parameters: BTreeMap<String, Value>,
}

/// The question of `decide`. The message names the member that is wrong.
pub(super) fn rotation(request: &Value) -> Result<RotationRequest, String> {
    let said: Rotation = read(request)?;
    let last_rotation = said.last_rotation.or(said.now).map_or(epoch(), |at| at.0);
    let now = said.now.map_or(last_rotation, |at| at.0);
    // What the hub itself does not say of older versions, a case may.
    let since: BTreeMap<u32, Timestamp> = said
        .key
        .versions
        .iter()
        .flatten()
        .filter_map(|version| Some((version.number, version.primary_since?.0)))
        .collect();
    let (key, usage) = key(said.key, last_rotation)?;
    let length = |length: Option<Length>, days| {
        length.unwrap_or_else(|| Length::Period(Period::days(days))).from(last_rotation)
    };
    let policy = RotationBounds {
        min_interval: length(said.policy.min_interval, 1),
        max_interval: length(said.policy.max_interval, 366),
        parameters: parameters(&said.policy.parameters, "policy.parameters")?,
    };
    let question =
        RotationQuestion { key: &key, usage: &usage, policy: &policy, last_rotation, now };
    let mut request = RotationRequest::of(&question);
    for version in &mut request.key.versions {
        let usual = (version.number == key.primary).then_some(last_rotation);
        let said = since.get(&version.number).copied();
        version.primary_since = said.or(version.primary_since).or(usual);
    }
    Ok(request)
}

/// The question of `checkPolicy`.
pub(super) fn policy(request: &Value) -> Result<PolicyFacts, String> {
    rotation(request).map(|request| request.policy)
}

/// The question of `plan`. The message names the member that is wrong.
pub(super) fn kdf(request: &Value) -> Result<Kdf, String> {
    let said: KdfRequest = read(request)?;
    let context = said.context;
    let into: Option<(Algorithm, Name)> = match (context.algorithm, context.name) {
        (Some(algorithm), Some(name)) => {
            Some((parse(&algorithm, "context.algorithm")?, parse(&name, "context.name")?))
        }
        (None, None) => None,
        _ => return Err("`context.algorithm` and `context.name` go together".to_owned()),
    };
    let version = context.version.unwrap_or(1);
    let facts = KeyFacts {
        id: context.key,
        registration: context.registration,
        algorithm: Some("HKDF_SHA256".to_owned()),
        primary: Some(version),
        ..KeyFacts::default()
    };
    let profile = parse(&said.profile, "profile")?;
    let (key, _) = key(facts, epoch())?;
    let pairs = EncryptionContext::new(context.encryption_context)
        .map_err(|error| format!("`context.encryptionContext`: {error}"))?;
    let parameters = parameters(&context.parameters, "context.parameters")?;
    let question = KdfQuestion {
        profile: &profile,
        key: &key,
        version,
        into: into.as_ref().map(|(algorithm, name)| (*algorithm, name)),
        salt: &context.salt.0,
        info: &context.info.0,
        context: &pairs,
        length: context.length.unwrap_or(32),
        parameters: &parameters,
    };
    Ok(Kdf { context: KdfContext::of(&question), profile: profile.clone() })
}

/// Reads a request; one that is absent is empty.
pub(super) fn read<T: DeserializeOwned>(request: &Value) -> Result<T, String> {
    let empty = Value::Object(serde_json::Map::new());
    let request = if request.is_null() { &empty } else { request };
    T::deserialize(request).map_err(|error| format!("`request`: {error}"))
}

/// The beginning of 2026: requests that say no time have to mean the same for ever.
pub(super) fn epoch() -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000)
}

fn parameters(values: &BTreeMap<String, Value>, place: &str) -> Result<Parameters, String> {
    case::parameters(values).map_err(|name| {
        format!("`{place}.{name}`: a parameter is text, a whole number, or true or false")
    })
}

fn parse<T: std::str::FromStr<Err = hub_model::Error>>(
    text: &str,
    place: &str,
) -> Result<T, String> {
    text.parse().map_err(|error| format!("`request.{place}`: {error}"))
}

/// The key of a request, and its use by version.
fn key(said: KeyFacts, since: Timestamp) -> Result<(Key, BTreeMap<u32, UsageCounters>), String> {
    let or = |said: Option<String>, default: &str| said.unwrap_or_else(|| default.to_owned());
    let algorithm = parse(&or(said.algorithm, "AES_256_GCM"), "key.algorithm")?;
    let mut key = Key::new(
        parse(&or(said.registration, REGISTRATION), "key.registration")?,
        parse(&or(said.id, KEY), "key.id")?,
        parse(&or(said.name, "example"), "key.name")?,
        algorithm,
        None,
        since,
    );
    if said.purpose.is_some_and(|purpose| purpose != key.purpose().name()) {
        return Err(format!("`request.key.purpose` of this algorithm is {}", key.purpose().name()));
    }
    key.tags = Tags::new(said.tags).map_err(|error| format!("`request.key.tags`: {error}"))?;
    let primary = said.primary;
    let alone = VersionFacts {
        number: primary.unwrap_or(1),
        state: None,
        created_at: None,
        primary_since: None,
        protect_operations: 0,
        protect_bytes: 0,
        process_operations: 0,
    };
    let mut versions = said.versions.unwrap_or_else(|| vec![alone]);
    versions.sort_by_key(|version| version.number);
    let newest = versions.last().map(|version| version.number);
    key.primary = primary.or(newest).ok_or("`request.key.versions` has none")?;
    let mut usage = BTreeMap::new();
    key.versions.clear();
    for facts in versions {
        let at = facts.primary_since.or(facts.created_at).map_or(since, |at| at.0);
        let mut version = KeyVersion::new(facts.number, facts.created_at.map_or(at, |at| at.0));
        version.activated = Some(at);
        version.state = state(facts.state.as_deref().unwrap_or("active"))?;
        if facts.number == key.primary {
            key.primary_since = facts.primary_since.map(|at| at.0);
        }
        key.created = key.created.min(version.created);
        key.versions.push(version);
        let counters = UsageCounters {
            protect: Tally { operations: facts.protect_operations, bytes: facts.protect_bytes },
            process: Tally { operations: facts.process_operations, bytes: 0 },
            ..UsageCounters::default()
        };
        if usage.insert(facts.number, counters).is_some() {
            return Err(format!("`request.key.versions` has {} twice", facts.number));
        }
    }
    if !usage.contains_key(&key.primary) {
        return Err(format!("`request.key.versions` lacks the primary, {}", key.primary));
    }
    Ok((key, usage))
}

fn state(word: &str) -> Result<KeyState, String> {
    Ok(match word {
        "pre-activation" | "preActivation" => KeyState::Pending,
        "active" => KeyState::Active,
        "suspended" => KeyState::Suspended,
        "deactivated" => KeyState::Deactivated,
        "compromised" => KeyState::Compromised,
        "destroy-scheduled" | "destroyScheduled" => KeyState::DestroyScheduled,
        "destroyed" => KeyState::Destroyed,
        _ => {
            return Err(format!(
                "`request.key.versions`: `{word}` is no state such as active, pre-activation, \
                 deactivated"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_request_is_a_plain_key() {
        let asked = rotation(&Value::Null).unwrap();
        assert_eq!((asked.key.primary, asked.key.name.as_str()), (1, "example"));
        assert_eq!(asked.now, asked.last_rotation);
        assert_eq!(asked.key.versions[0].primary_since, Some(asked.last_rotation));
        assert_eq!(asked.policy.max_interval.as_secs(), 366 * 86_400);
    }

    #[test]
    fn versions_and_use_are_taken_over() {
        let asked = rotation(&json!({
            "key": { "tags": { "team": "payments" }, "primary": 2, "versions": [
                { "number": 1, "state": "deactivated", "createdAt": "2026-01-01T00:00:00Z" },
                { "number": 2, "primarySince": "2026-02-01T00:00:00Z", "protectOperations": 7 },
            ] },
            "policy": { "maxInterval": "P1Y", "parameters": { "days": 3, "zone": "UTC" } },
            "lastRotation": "2026-02-01T00:00:00Z", "now": "2026-03-01T00:00:00Z",
        }))
        .unwrap();
        let states: Vec<_> = asked.key.versions.iter().map(|v| (v.number, v.state)).collect();
        assert_eq!(states, [(2, KeyState::Active), (1, KeyState::Deactivated)]);
        assert_eq!(asked.key.versions[0].protect_operations, 7);
        assert_eq!(asked.key.versions[1].primary_since, None);
        assert_eq!(asked.policy.max_interval.as_secs(), 365 * 86_400);
        assert_eq!(asked.policy.parameters["days"], "3".into());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bad, said) in [
            (json!({ "keys": {} }), "unknown field `keys`"),
            (json!({ "key": { "algorithm": "ROT13" } }), "request.key.algorithm"),
            (json!({ "key": { "id": "x" } }), "request.key.id"),
            (json!({ "key": { "purpose": "sign" } }), "is encrypt"),
            (json!({ "key": { "versions": [] } }), "has none"),
            (
                json!({ "key": { "primary": 3, "versions": [{ "number": 1 }] } }),
                "lacks the primary",
            ),
            (json!({ "key": { "versions": [{ "number": 1, "state": "tired" }] } }), "no state"),
            (json!({ "policy": { "parameters": { "a": [] } } }), "policy.parameters.a"),
            (json!({ "now": "noon" }), "no time"),
        ] {
            let message = rotation(&bad).unwrap_err();
            assert!(message.contains(said), "{bad}: {message}");
        }
        for (bad, said) in [
            (json!({}), "missing field `profile`"),
            (json!({ "profile": "p1", "context": { "name": "x1" } }), "go together"),
            (json!({ "profile": "p1", "context": { "salt": "%" } }), "bytes are"),
        ] {
            let message = kdf(&bad).unwrap_err();
            assert!(message.contains(said), "{bad}: {message}");
        }
        let asked =
            kdf(&json!({ "profile": "p1", "context": { "info": { "text": "x" } } })).unwrap();
        assert_eq!((asked.context.info.as_slice(), asked.context.length), (&b"x"[..], 32));
    }
}
