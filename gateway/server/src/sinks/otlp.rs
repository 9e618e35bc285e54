//! Log records of OpenTelemetry over HTTP, in the JSON encoding of OTLP 1.x.

use std::sync::Arc;

use hub_audit::encode::hex;
use hub_audit::relay::{Batch, Entry, Sink, SinkError, Work};
use hub_model::{Clock, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::facts::{Facts, Gravity};
use super::http::Client;
use crate::config::HttpTarget;

/// An OTLP receiver of logs.
pub(super) struct Otlp {
    client: Client,
    resource: Value,
    clock: Arc<dyn Clock>,
}

/// What a receiver says about records it did not keep.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    partial_success: Partial,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Partial {
    /// A 64-bit number, in JSON a text or a number.
    rejected_log_records: Value,
}

impl Answer {
    fn rejected(&self) -> u64 {
        let count = &self.partial_success.rejected_log_records;
        count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
    }
}

impl Otlp {
    pub(super) fn new(target: HttpTarget, hub: &str, clock: Arc<dyn Clock>) -> Self {
        let mut attributes: Vec<Value> = crate::telemetry::resource()
            .iter()
            .map(|(key, value)| text(key.as_str(), &value.as_str()))
            .collect();
        let own = [("service.instance.id", hub), ("service.version", env!("CARGO_PKG_VERSION"))];
        for (key, value) in own {
            if attributes.iter().all(|attribute| attribute["key"] != key) {
                attributes.push(text(key, value));
            }
        }
        let resource = json!({ "attributes": attributes });
        Self { client: Client::new(target), resource, clock }
    }

    fn body(&self, batch: &Batch) -> Vec<u8> {
        let now = nanos(self.clock.now());
        let records: Vec<Value> = batch.entries().map(|entry| record(&entry, &now)).collect();
        let scope = json!({ "name": "cipher-hub.audit", "version": env!("CARGO_PKG_VERSION") });
        let logs = json!([{ "scope": scope, "logRecords": records }]);
        let body = json!({ "resourceLogs": [{ "resource": self.resource, "scopeLogs": logs }] });
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl Sink for Otlp {
    fn accept<'a>(&'a mut self, batch: &'a Batch) -> Work<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            let answer = self.client.post("application/json", None, self.body(batch)).await?;
            // An answer in protobuf or none says nothing against it.
            let answer: Answer = serde_json::from_slice(&answer).unwrap_or_default();
            match answer.rejected() {
                0 => Ok(batch.end()),
                // Sent again, unlike other telemetry: a trail with records twice is better than
                // one with a hole.
                count => Err(SinkError(format!("the receiver rejected {count} records"))),
            }
        })
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn nanos(time: Timestamp) -> String {
    format!("{}000", time.as_micros())
}

fn record(entry: &Entry<'_>, observed: &str) -> Value {
    let facts = Facts::of(entry);
    let (number, word) = match facts.gravity() {
        Gravity::Info => (9, "INFO"),
        Gravity::Notice => (10, "INFO2"),
        Gravity::Warning => (13, "WARN"),
    };
    let mut attributes = vec![
        json!({ "key": "cipher_hub.audit.seq", "value": { "intValue": entry.seq.to_string() } }),
        text("cipher_hub.audit.writer", &facts.writer),
        text("cipher_hub.audit.leaf", &hex(entry.leaf)),
        text("cipher_hub.audit.action", &facts.action),
        text("cipher_hub.audit.outcome", &facts.outcome),
        text("cipher_hub.audit.decision", &facts.decision),
        text("cipher_hub.audit.request", &facts.request),
        text("client.address", &facts.address),
    ];
    if facts.outcome != "ok" {
        attributes.push(text("error.type", &facts.outcome));
    }
    let more = [
        ("cipher_hub.audit.key", &facts.key),
        ("cipher_hub.audit.registration", &facts.registration),
        ("user.id", &facts.caller),
    ];
    for (key, value) in more {
        attributes.extend(value.as_ref().map(|value| text(key, value)));
    }
    let time = facts.time.parse().map_or_else(|_| observed.to_owned(), nanos);
    let mut record = json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": observed,
        "severityNumber": number,
        "severityText": word,
        "eventName": "cipher_hub.audit",
        "body": { "stringValue": String::from_utf8_lossy(entry.bytes) },
        "attributes": attributes,
    });
    if let (Some(trace), Some(record)) = (&facts.trace, record.as_object_mut()) {
        record.insert("traceId".to_owned(), trace.as_str().into());
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_carries_the_entry_and_what_is_searched_for() {
        let bytes = br#"{"action":"keys.encrypt","address":"10.0.0.1","caller":"apikey:ptc_1","decision":"deny","outcome":"denied","request":"r1","seq":7,"time":"2026-11-26T05:00:00.000001Z","trace":"0af7651916cd43dd8448eb211c80319c","writer":"main"}"#;
        let batch = Batch::of(7, &[bytes]);
        let record = record(&batch.entries().next().unwrap(), "5");
        assert_eq!(record["timeUnixNano"], "1795669200000001000");
        assert_eq!(record["severityNumber"], 13);
        assert_eq!(record["traceId"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(record["body"]["stringValue"].as_str().unwrap().as_bytes(), bytes);
        let attributes = record["attributes"].as_array().unwrap();
        let of = |key: &str| &attributes.iter().find(|a| a["key"] == key).unwrap()["value"];
        assert_eq!(of("cipher_hub.audit.seq")["intValue"], "7");
        assert_eq!(of("error.type")["stringValue"], "denied");
        assert_eq!(of("user.id")["stringValue"], "apikey:ptc_1");
    }

    #[test]
    fn rejected_records_are_counted_in_both_spellings() {
        for (answer, count) in [
            (r#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#, 3),
            (r#"{"partialSuccess":{"rejectedLogRecords":2,"errorMessage":"x"}}"#, 2),
            ("{}", 0),
        ] {
            assert_eq!(serde_json::from_str::<Answer>(answer).unwrap().rejected(), count);
        }
    }
}
