//! Batches of cases, for sinks.

use hub_model::Timestamp;
use hub_plugins::{SinkBatch, SinkEntry, SinkOutcome};
use serde::Deserialize;
use serde_json::{Value, json};

use super::question::{epoch, read};
use super::values::{Bytes, Instant};

/// Most entries of a batch.
const MAX_ENTRIES: u64 = 100_000;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Batch {
    cursor: u64,
    next: Option<u64>,
    attempt: Option<u32>,
    entries: Entries,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "entries are a list of them, or how many")]
enum Entries {
    Count(u64),
    Each(Vec<Value>),
}

impl Default for Entries {
    fn default() -> Self {
        Self::Each(Vec::new())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Entry {
    sequence: Option<u64>,
    at: Option<Instant>,
    action: Option<String>,
    actor: Option<String>,
    registration: Option<String>,
    outcome: Option<SinkOutcome>,
    json: Option<String>,
    leaf_hash: Option<Bytes>,
}

/// The batch of `deliver`. The message names the member that is wrong.
pub(super) fn batch(request: &Value) -> Result<SinkBatch, String> {
    let said: Batch = read(request)?;
    let entries = match said.entries {
        Entries::Count(count) if count > MAX_ENTRIES => {
            return Err(format!("`request.entries` is at most {MAX_ENTRIES}"));
        }
        Entries::Count(count) => (0..count).map(|_| Ok(Entry::default())).collect(),
        Entries::Each(list) => list
            .into_iter()
            .enumerate()
            .map(|(index, entry)| {
                Entry::deserialize(entry)
                    .map_err(|error| format!("`request.entries`, number {}: {error}", index + 1))
            })
            .collect::<Vec<_>>(),
    };
    let mut sequence = said.cursor;
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry?;
        sequence = entry.sequence.unwrap_or(sequence);
        out.push(whole(entry, sequence));
        sequence = sequence.saturating_add(1);
    }
    let length = u64::try_from(out.len()).unwrap_or(u64::MAX);
    let next = said.next.unwrap_or_else(|| said.cursor.saturating_add(length));
    Ok(SinkBatch { cursor: said.cursor, next, attempt: said.attempt.unwrap_or(1), entries: out })
}

fn whole(said: Entry, sequence: u64) -> SinkEntry {
    let at = said.at.map_or_else(|| after(sequence), |at| at.0);
    let action = said.action.unwrap_or_else(|| "keys.encrypt".to_owned());
    let outcome = said.outcome.unwrap_or(SinkOutcome::Success);
    let json = said.json.unwrap_or_else(|| {
        json!({
            "seq": sequence,
            "time": at.to_string(),
            "action": action,
            "principal": said.actor,
            "registration": said.registration,
            "outcome": outcome,
        })
        .to_string()
    });
    let leaf_hash = said.leaf_hash.map_or_else(|| leaf_hash(&json), |hash| hash.0);
    let (actor, registration) = (said.actor, said.registration);
    SinkEntry { sequence, at, action, actor, registration, outcome, json, leaf_hash }
}

/// Entries that say no time come a second after one another.
fn after(sequence: u64) -> Timestamp {
    let seconds = i64::try_from(sequence).unwrap_or(0);
    Timestamp::from_micros(epoch().as_micros().saturating_add(seconds.saturating_mul(1_000_000)))
}

/// RFC 6962 §2.1.
fn leaf_hash(json: &str) -> Vec<u8> {
    hub_audit::merkle::leaf_hash(json.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_count_up() {
        let made = batch(&json!({ "cursor": 7, "entries": [{}, { "sequence": 9 }, {}] })).unwrap();
        let numbers: Vec<_> = made.entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!((numbers, made.next, made.attempt), (vec![7, 9, 10], 10, 1));
        let made = batch(&json!({ "entries": 100 })).unwrap();
        assert_eq!((made.entries.len(), made.next), (100, 100));
        assert!(made.entries[1].at > made.entries[0].at);
        assert_eq!(made.entries[0].leaf_hash.len(), 32);
        assert!(batch(&Value::Null).unwrap().entries.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bad, said) in [
            (json!({ "entries": "many" }), "a list of them, or how many"),
            (json!({ "entries": [{}, { "seq": 1 }] }), "number 2: unknown field `seq`"),
            (json!({ "entries": [{ "outcome": "maybe" }] }), "number 1"),
            (json!({ "entries": 1_000_000_000 }), "at most"),
        ] {
            let message = batch(&bad).unwrap_err();
            assert!(message.contains(said), "{bad}: {message}");
        }
    }
}
