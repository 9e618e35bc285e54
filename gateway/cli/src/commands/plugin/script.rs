//! The world outside, as a case has it: what a sink's requests are answered with, in order, and what
//! was sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hub_plugins::{Outbound, OutboundRequest, OutboundResponse, SendError, Sending};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::compare;
use super::values::{Bytes, bytes, bytes_value};

/// A response of a case.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Response {
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Bytes,
    #[serde(default)]
    error: Option<Refusal>,
    /// The endpoint that has to be asked; any when absent.
    #[serde(default)]
    endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Refusal {
    UnknownEndpoint,
    Denied,
    Timeout,
    Connection,
    TooLarge,
}

/// Answers requests from a list.
#[derive(Debug, Default)]
pub(super) struct Script {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    responses: VecDeque<Response>,
    sent: Vec<(String, OutboundRequest)>,
    /// Whether the list starts anew when it is over: for measuring.
    last: Option<Vec<Response>>,
}

impl Script {
    /// The list of a case. The message says which is wrong.
    pub(super) fn read(responses: &[Value], repeat: bool) -> Result<Self, String> {
        let responses = responses
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let place = |why: String| format!("`responses`, number {}: {why}", index + 1);
                let read =
                    Response::deserialize(value).map_err(|error| place(error.to_string()))?;
                match (read.status, read.error) {
                    (Some(100..=599), None) | (None, Some(_)) => Ok(read),
                    _ => Err(place("has either a `status` or an `error`".to_owned())),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let last = repeat.then(|| responses.clone());
        let state = State { responses: responses.into(), sent: Vec::new(), last };
        Ok(Self { state: Mutex::new(state) })
    }

    /// What was sent, as JSON in the form of cases.
    pub(super) fn sent(&self) -> Vec<Value> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sent.iter().map(|(endpoint, request)| request_json(endpoint, request)).collect()
    }

    fn answer(
        &self,
        endpoint: &str,
        request: OutboundRequest,
    ) -> Result<OutboundResponse, SendError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(again) = &state.last {
            if state.responses.is_empty() {
                state.responses = again.clone().into();
            }
        } else {
            state.sent.push((endpoint.to_owned(), request));
        }
        let Some(response) = state.responses.pop_front() else {
            return Err(SendError::Connection("the case has no more responses".to_owned()));
        };
        if response.endpoint.is_some_and(|wanted| wanted != endpoint) {
            return Err(SendError::UnknownEndpoint);
        }
        match response.error {
            None => Ok(OutboundResponse {
                status: response.status.unwrap_or(200),
                headers: response.headers.into_iter().collect(),
                body: response.body.0,
            }),
            Some(Refusal::UnknownEndpoint) => Err(SendError::UnknownEndpoint),
            Some(Refusal::Denied) => Err(SendError::Denied("the case says so".to_owned())),
            Some(Refusal::Timeout) => Err(SendError::Timeout),
            Some(Refusal::Connection) => Err(SendError::Connection("the case says so".to_owned())),
            Some(Refusal::TooLarge) => Err(SendError::TooLarge),
        }
    }
}

impl Outbound for Script {
    fn send<'a>(&'a self, endpoint: &'a str, request: OutboundRequest, _: Duration) -> Sending<'a> {
        Box::pin(async move { self.answer(endpoint, request) })
    }
}

fn request_json(endpoint: &str, request: &OutboundRequest) -> Value {
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), Value::String(value.clone())))
        .collect();
    json!({
        "endpoint": endpoint,
        "method": request.method,
        "path": request.path,
        "headers": headers,
        "body": body_value(&request.body),
    })
}

/// A body: as text also where it has line ends, as bodies of records do.
fn body_value(body: &[u8]) -> Value {
    match std::str::from_utf8(body) {
        Ok(text) => json!({ "text": text }),
        Err(_) => bytes_value(body),
    }
}

/// Where what was sent differs from `requests` of a case: only what the case names is compared,
/// but for how many there are.
pub(super) fn differences(expected: &Value, sent: &[Value]) -> Vec<String> {
    let mut out = Vec::new();
    let wanted: &[Value] = expected.as_array().map_or(&[], Vec::as_slice);
    for index in 0..wanted.len().max(sent.len()) {
        let place = format!("/requests/{index}");
        match (wanted.get(index), sent.get(index)) {
            (Some(wanted), Some(sent)) => named(&place, wanted, sent, &mut out),
            (wanted, sent) => compare(&place, wanted, sent, &mut out),
        }
    }
    out
}

fn named(place: &str, wanted: &Value, sent: &Value, out: &mut Vec<String>) {
    let Some(members) = wanted.as_object() else {
        return compare(place, Some(wanted), Some(sent), out);
    };
    for (name, value) in members {
        let place = format!("{place}/{name}");
        match name.as_str() {
            "headers" => {
                let headers = value.as_object().into_iter().flatten();
                for (header, value) in headers {
                    let lower = header.to_ascii_lowercase();
                    let got = sent.get("headers").and_then(|headers| headers.get(&lower));
                    compare(&format!("{place}/{lower}"), Some(value), got, out);
                }
            }
            "body" => match bytes(value) {
                Ok(body) => compare(&place, Some(&body_value(&body)), sent.get("body"), out),
                Err(why) => out.push(format!("{place}: {why}")),
            },
            "endpoint" | "method" | "path" => compare(&place, Some(value), sent.get(name), out),
            _ => out.push(format!("{place}: requests have no such member")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str) -> OutboundRequest {
        OutboundRequest {
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: b"{}\n".to_vec(),
        }
    }

    #[test]
    fn responses_come_in_order_and_what_was_sent_is_kept() {
        let list = [
            json!({ "status": 503, "headers": { "retry-after": "30" } }),
            json!({ "status": 200, "body": { "text": "ok" }, "endpoint": "collector" }),
            json!({ "status": 200, "endpoint": "other" }),
            json!({ "error": "timeout" }),
        ];
        let script = Script::read(&list, false).unwrap();
        assert_eq!(script.answer("collector", request("/1")).unwrap().status, 503);
        assert_eq!(script.answer("collector", request("/2")).unwrap().body, b"ok");
        assert_eq!(script.answer("collector", request("/3")), Err(SendError::UnknownEndpoint));
        assert_eq!(script.answer("collector", request("/4")), Err(SendError::Timeout));
        assert!(matches!(script.answer("c", request("/5")), Err(SendError::Connection(_))));
        let sent = script.sent();
        assert_eq!(sent.len(), 5);
        assert_eq!(sent[0]["headers"]["content-type"], "application/json");

        let repeated = Script::read(&[json!({ "status": 204 })], true).unwrap();
        for _ in 0..3 {
            assert_eq!(repeated.answer("c", request("")).unwrap().status, 204);
        }
        assert!(repeated.sent().is_empty());
    }

    #[test]
    fn only_what_a_case_names_is_compared() {
        let script = Script::default();
        let _ = script.answer("collector", request("/v1"));
        let sent = script.sent();
        let same = json!([{ "path": "/v1", "headers": { "CONTENT-type": "application/json" },
            "body": "e30K" }]);
        assert_eq!(differences(&same, &sent), Vec::<String>::new());
        let other = json!([{ "method": "PUT", "body": { "text": "x" }, "query": "" }, {}]);
        let found = differences(&other, &sent);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(
            found.iter().any(|line| line == "/requests/0/method: expected \"PUT\", got \"POST\"")
        );
        assert_eq!(differences(&json!([]), &sent).len(), 1);
    }

    #[test]
    fn wrong_responses_are_named() {
        for bad in [
            json!({}),
            json!({ "status": 9 }),
            json!({ "status": 200, "error": "timeout" }),
            json!({ "error": "bored" }),
            json!({ "code": 200 }),
        ] {
            let message = Script::read(&[json!({ "status": 200 }), bad], false).unwrap_err();
            assert!(message.starts_with("`responses`, number 2: "), "{message}");
        }
    }
}
