//! The endpoints of proofs over the audit log: receipts, consistency, and the log as C2SP tiles.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyExt as _;
use hub_auth::Caller;
use hub_model::Action;
use hub_model::api::receipt::{AuditConsistency, AuditReceipt};
use hub_operations::system::{
    Asked, Consistency, HubReceipt, OwnReceipt, ReadCheckpoint, ReadTile, RegistrationReceipt,
    Right, Whoami,
};
use hub_operations::{Meta, Operation};

use crate::endpoint::{Endpoint, perform};
use crate::listen::Reply;
use crate::pipeline::Gateway;
use crate::problem::Refusal;
use crate::request::{Parts, Query};
use crate::routes::Route;
use crate::streaming::Credential;

/// How long a request waits for a checkpoint at most.
const MAX_WAIT: Duration = Duration::from_secs(10);
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// The rows of the route table.
pub(crate) fn rows() -> Vec<Route> {
    let of = |path, action: Action, endpoint: Box<dyn Endpoint>| Route {
        action,
        endpoint,
        operation_id: action.name(),
        ..Route::new(Method::GET, path, |_| Ok(Whoami))
    };
    vec![
        of("/v1/audit/receipts/{seq}", Action::AuditReceipt, Box::new(ReceiptEndpoint))
            .gives::<AuditReceipt>()
            .asks(&["size", "wait"]),
        Route::new(Method::GET, "/v1/audit/consistency", |p| {
            let from = p.query.number("from")?.unwrap_or(0);
            Ok(Consistency { from, to: p.query.number("to")? })
        })
        .gives::<AuditConsistency>()
        .asks(&["from", "to"]),
        of(
            "/v1/audit/log/checkpoint",
            Action::AuditRead,
            Box::new(RawEndpoint(TEXT, |_: &Parts<'_>| Ok(ReadCheckpoint))),
        )
        .called("audit.logCheckpoint"),
        of(
            "/v1/audit/log/tile/{*tile}",
            Action::AuditRead,
            Box::new(RawEndpoint(BYTES, |p: &Parts<'_>| {
                Ok(ReadTile { name: p.text("tile").to_owned() })
            })),
        )
        .called("audit.logTile"),
    ]
}

/// The media type of what these routes answer, where it is not JSON.
pub(crate) fn media(operation_id: &str) -> Option<&'static str> {
    match operation_id {
        "audit.logCheckpoint" => Some("text/plain"),
        "audit.logTile" => Some(BYTES),
        _ => None,
    }
}

/// `audit.receipt` and its siblings.
#[derive(Debug)]
struct ReceiptEndpoint;

impl Endpoint for ReceiptEndpoint {
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let (asked, wait) = match asked(&parts) {
                Ok(asked) => asked,
                Err(refusal) => return Err(gateway.fallen(row, caller, &meta, refusal).await),
            };
            let seq = asked.seq;
            let mut standing = match gateway.hub.receipt_right(caller, seq).await {
                Ok(standing) => standing,
                Err(error) => {
                    let refusal = Refusal::from(&error);
                    return Err(gateway.fallen(row, caller, &meta, refusal).await);
                }
            };
            let again;
            let mut caller = caller;
            if standing.permitted && asked.size.is_none() && waited(gateway, seq, wait).await {
                // A credential or right that was lost meanwhile must not count any more.
                match Credential::of(gateway, &parts).authenticate().await {
                    Ok(found) => again = found,
                    Err(code) => {
                        let refusal = Refusal::new(code, "the credential is not good any more");
                        return Err(gateway.fallen(row, caller, &meta, refusal).await);
                    }
                }
                caller = &again;
                standing = match gateway.hub.receipt_right(caller, seq).await {
                    Ok(standing) => standing,
                    Err(error) => {
                        let refusal = Refusal::from(&error);
                        return Err(gateway.fallen(row, caller, &meta, refusal).await);
                    }
                };
            }
            let answered = match standing.right {
                Right::Own => {
                    perform(gateway, row, caller, &OwnReceipt(asked), &meta, |_| {}).await
                }
                Right::Hub => {
                    perform(gateway, row, caller, &HubReceipt(asked), &meta, |_| {}).await
                }
                Right::Registration(registration) => {
                    let operation = RegistrationReceipt { asked, registration };
                    perform(gateway, row, caller, &operation, &meta, |_| {}).await
                }
            };
            match answered {
                Ok(reply) if wants_text(parts.headers) => as_text(reply).await,
                Ok(reply) => Ok(reply),
                // One answer for what is not there and for what is not the caller's: whose an entry
                // is, is not told.
                Err(refusal) if ["denied", "not_found"].contains(&refusal.code()) => {
                    Err(refusal.hidden(format!("no entry {seq} here, or none you may see")))
                }
                Err(refusal) => Err(refusal),
            }
        })
    }
}

/// Waits for the checkpoint that covers an entry; whether it took any time.
async fn waited(gateway: &Gateway, seq: u64, wait: Duration) -> bool {
    let log = gateway.hub.log();
    let covered = |size| seq < size;
    if wait.is_zero()
        || log.latest().is_some_and(|signed| covered(signed.checkpoint.size))
        || !covered(log.appender().position().audit.size)
    {
        return false;
    }
    // Without one the operation says so.
    let _ = tokio::time::timeout(wait, log.covered(seq)).await;
    true
}

fn asked(parts: &Parts<'_>) -> Result<(Asked, Duration), Refusal> {
    let text = parts.text("seq");
    let seq =
        text.parse().ok().filter(|seq: &u64| seq.to_string() == text).ok_or_else(|| {
            Refusal::new("invalid_name", "`seq` in the path is not a number from 0")
        })?;
    Ok((Asked { seq, size: parts.query.number("size")? }, wait(&parts.query)?))
}

/// `wait=5s` or `wait=500ms`.
fn wait(query: &Query<'_>) -> Result<Duration, Refusal> {
    let Some(text) = query.value("wait") else { return Ok(Duration::ZERO) };
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain)
    };
    let parsed = match text.strip_suffix("ms") {
        Some(digits) => number(digits).map(Duration::from_millis),
        None => text.strip_suffix('s').and_then(number).map(Duration::from_secs),
    };
    parsed.filter(|wait| *wait <= MAX_WAIT).ok_or_else(|| {
        let detail = "the query parameter `wait` is not a time up to 10s, such as `5s` or `500ms`";
        Refusal::new("invalid_query", detail)
    })
}

/// Whether `Accept` names plain text before JSON.
fn wants_text(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).filter_map(|one| one.split(';').next());
    let first = names.map(str::trim).find(|name| ["text/plain", "application/json"].contains(name));
    first == Some("text/plain")
}

async fn as_text(reply: Reply) -> Result<Reply, Refusal> {
    let internal = || Refusal::new("internal", "the answer could not be written");
    let (mut head, body) = reply.into_parts();
    let body = body.collect().await.map_err(|_| internal())?.to_bytes();
    let receipt: AuditReceipt = serde_json::from_slice(&body).map_err(|_| internal())?;
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    Ok(Response::from_parts(head, Bytes::from(receipt.tlog_proof).into()))
}

/// An operation that answers bytes of this media type.
struct RawEndpoint<F>(&'static str, F);

impl<O, F> Endpoint for RawEndpoint<F>
where
    O: Operation<Reply = Vec<u8>> + 'static,
    F: Fn(&Parts<'_>) -> Result<O, Refusal> + Send + Sync,
{
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let operation = match (self.1)(&parts) {
                Ok(operation) => operation,
                Err(refusal) => return Err(gateway.fallen(row, caller, &meta, refusal).await),
            };
            let mut reply = perform(gateway, row, caller, &operation, &meta, |_| {}).await?;
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.0));
            Ok(reply)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_bounded() {
        let of = |text: &str| {
            let text = format!("wait={text}");
            wait(&Query::parse(Some(&text), &["wait"]).unwrap()).ok()
        };
        assert_eq!(of("5s"), Some(Duration::from_secs(5)));
        assert_eq!(of("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(of("10s"), Some(MAX_WAIT));
        for bad in ["11s", "10001ms", "5", "", "s", "-1s", "+1s", "5m", "1.5s"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(wait(&Query::default()).ok(), Some(Duration::ZERO));
    }

    #[test]
    fn the_first_form_named_counts() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(text));
            wants_text(&headers)
        };
        assert!(of("text/plain"));
        assert!(of("text/plain;q=1, application/json"));
        assert!(!of("application/json, text/plain"));
        assert!(!of("*/*"));
    }
}
