//! `audit.export`: entries of the log as files that prove themselves, in constant memory. What the
//! hub signs at the end is what it has itself sent (`docs/formats/audit-export.md`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use hub_audit::export::{Exporter, Format};
use hub_auth::Caller;
use hub_model::entry::Outcome;
use hub_operations::system::{ExportAudit, ExportRegistrationAudit, Exports, Selection};
use hub_operations::{Error, Hub, Meta, Ref};
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;
use crate::inbound::EdgeError;
use crate::listen::Reply;
use crate::metrics::Metrics;
use crate::pipeline::Gateway;
use crate::problem::{AUDIT_SEQ, Refusal};
use crate::reply::{Piece, ReplyBody, StreamBody};
use crate::request::Parts;
use crate::routes::Route;
use crate::streaming::{Credential, deliver};

/// The media type of an export.
pub(crate) const EXPORT: &str = "application/vnd.cipher-hub.audit-export";
/// The query parameters.
pub(crate) const QUERY: &[&str] = &["format", "after", "before", "from", "to", "registration"];
/// Those of an export of one registration.
pub(crate) const WITHIN: &[&str] = &["format", "after", "before", "from", "to"];
/// Exports in work at a time: each reads the whole log.
pub(crate) const AT_ONCE: usize = 2;
/// How often the caller is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long a reader may take for a piece.
const SLOWEST: Duration = Duration::from_secs(30);
/// How long nothing is sent at most.
const SILENCE: Duration = Duration::from_secs(5);
/// Entries read at once: they are about 1 MiB at most.
const PAGE: usize = 1000;

/// An export that is built like this from a request.
pub(crate) struct ExportEndpoint<F>(pub(crate) F);

/// Reads a request for the hub's log.
///
/// # Errors
/// 400 `invalid_query`.
pub(crate) fn of_hub(parts: &Parts<'_>) -> Result<ExportAudit, Refusal> {
    let registration = match parts.query.value("registration") {
        None => None,
        Some(text) => {
            Some(text.parse::<Ref<_>>().map_err(|_| wrong("`registration` is no name and no id"))?)
        }
    };
    Ok(ExportAudit::new(selection(parts)?, registration))
}

/// Reads a request for the entries of one registration.
///
/// # Errors
/// 400 `invalid_query`.
pub(crate) fn of_registration(parts: &Parts<'_>) -> Result<ExportRegistrationAudit, Refusal> {
    Ok(ExportRegistrationAudit::new(selection(parts)?, parts.param("registration")?))
}

fn wrong(detail: &str) -> Refusal {
    Refusal::new("invalid_query", detail.to_owned())
}

/// What of the log is asked for.
fn selection(parts: &Parts<'_>) -> Result<Selection, Refusal> {
    let format = match parts.query.value("format") {
        None => Format::Jsonl,
        Some(name) => Format::parse(name)
            .ok_or_else(|| wrong("`format` is one of `jsonl`, `csv`, `cef`, `ocsf`"))?,
    };
    let time = |name: &str| match parts.query.value(name) {
        None => Ok(None),
        // The one character of a time in UTC that clients may escape.
        Some(text) => text
            .replace("%3A", ":")
            .replace("%3a", ":")
            .parse()
            .map(Some)
            .map_err(|_| wrong(&format!("`{name}` is a time such as `2026-01-31T00:00:00Z`"))),
    };
    let (after, before) = (parts.query.number("after")?, parts.query.number("before")?);
    let (from, to) = (time("from")?, time("to")?);
    Ok(Selection { format, after: after.unwrap_or(0), before, from, to })
}

impl<O, F> Endpoint for ExportEndpoint<F>
where
    O: Exports + 'static,
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
            // It goes on when this is answered, and has a place for as long.
            let turn = Arc::clone(&gateway.exports).try_acquire_owned();
            let turn = turn.map_err(|_| EdgeError::Overloaded("other exports are being made"));
            let place = turn.and_then(|turn| Ok((parts.work.hand_on()?, turn)));
            let place = place.map_err(|error| Refusal::from(&error));
            let begun = place.and_then(|place| Ok((place, (self.0)(&parts)?)));
            let (place, operation) = match begun {
                Ok(begun) => begun,
                Err(refusal) => return Err(gateway.fallen(row, caller, &meta, refusal).await),
            };
            let asked = Instant::now();
            let outcome = gateway.hub.perform(caller, &operation, &meta).await;
            gateway.metrics.audit_events.inc();
            let denied =
                |failure: &hub_operations::Failure| matches!(failure.error, Error::Denied { .. });
            match &outcome {
                Ok(_) => gateway.metrics.policy_decision(Some(true)),
                Err(failure) if denied(failure) => gateway.metrics.policy_decision(Some(false)),
                Err(_) => {}
            }
            let done = outcome.map_err(|failure| Refusal::from(&failure))?;
            let exporter = match operation.export().exporter(&gateway.hub, &done).await {
                Ok(exporter) => exporter,
                Err(error) => {
                    let outcome = Outcome(error.code());
                    let ended =
                        operation.end(&gateway.hub, caller, &meta, (0, None), outcome).await;
                    gateway.metrics.audit_events.inc();
                    return Err(Refusal::from(&ended.err().unwrap_or(error)));
                }
            };
            let (sender, body) = StreamBody::new();
            let mut reply = Response::new(ReplyBody::Stream(body));
            let headers = reply.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(EXPORT));
            headers.insert(AUDIT_SEQ, HeaderValue::from(done.receipt().seq()));
            let job = Job {
                hub: Arc::clone(&gateway.hub),
                metrics: Arc::clone(&gateway.metrics),
                credential: Credential::of(gateway, &parts),
                caller: caller.clone(),
                operation,
                meta,
                sender,
                asked,
                entries: 0,
                signed: None,
            };
            gateway.streams.spawn(async move {
                let _place = place;
                job.run(exporter).await;
            });
            Ok(reply)
        })
    }
}

/// Gives the next page to the export, and what can be sent then. Blocks.
fn take_page(
    hub: &Hub,
    mut exporter: Exporter,
    next: u64,
) -> Result<(Exporter, Vec<Vec<u8>>), hub_audit::Error> {
    let mut blocks = Vec::new();
    for (seq, entry) in hub_store::block_on(hub.log().page(next, PAGE))? {
        if exporter.next().is_none() {
            break;
        }
        exporter.push(seq, &entry)?;
        blocks.extend(exporter.take());
    }
    Ok((exporter, blocks))
}

/// An export that is being sent.
struct Job<O> {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    credential: Credential,
    caller: Caller,
    operation: O,
    meta: Meta,
    sender: mpsc::Sender<Piece>,
    asked: Instant,
    entries: u64,
    signed: Option<[u8; 32]>,
}

impl<O: Exports> Job<O> {
    async fn run(mut self, exporter: Exporter) {
        let outcome = self.pump(exporter).await;
        let word = outcome.as_ref().map_or_else(|word| Outcome(word), |_| Outcome::OK);
        let facts = (self.entries, self.signed);
        let ended = self.operation.end(&self.hub, &self.caller, &self.meta, facts, word).await;
        self.metrics.audit_events.inc();
        // The manifest leaves when the entry that names it is durable.
        if let (Ok(rest), Ok(())) = (outcome, ended)
            && self.send(rest).await.is_ok()
        {
            let _ = deliver(&self.sender, Piece::End, SLOWEST).await;
        }
        let request_id = &*self.meta.request;
        tracing::debug!(target: "hub::stream", request_id, outcome = word.0, "export ended");
    }

    /// Sends all but the end, and gives that.
    async fn pump(&mut self, mut exporter: Exporter) -> Result<Vec<u8>, &'static str> {
        const UNREADABLE: &str = "audit_unavailable";
        let mut quiet = Instant::now();
        while let Some(next) = exporter.next() {
            if self.hub.is_ending() {
                return Err("stopping");
            }
            self.ask_again().await?;
            // Opening, hashing and writing anew a page takes milliseconds: not among requests.
            let hub = Arc::clone(&self.hub);
            let read = move || take_page(&hub, exporter, next);
            let read = tokio::task::spawn_blocking(read).await.map_err(|_| UNREADABLE)?;
            let (back, blocks) = read.map_err(|_| UNREADABLE)?;
            exporter = back;
            for blocks in blocks {
                self.send(blocks).await?;
                quiet = Instant::now();
            }
            self.entries = exporter.entries();
            if exporter.next() == Some(next) {
                // An entry that the checkpoint covers is not there.
                return Err(UNREADABLE);
            }
            if quiet.elapsed() >= SILENCE {
                self.send(exporter.sign_of_life()).await?;
                quiet = Instant::now();
            }
        }
        self.ask_again().await?;
        let log = self.hub.log();
        let ended = log.finish_export(exporter, self.hub.clock().now());
        let (rest, digest) = ended.map_err(|error| {
            tracing::warn!(%error, "an export of the audit log was not signed");
            match error {
                hub_audit::Error::SigningKeyGone => "signing_key_changed",
                _ => UNREADABLE,
            }
        })?;
        self.signed = Some(digest);
        Ok(rest)
    }

    async fn send(&self, bytes: Vec<u8>) -> Result<(), &'static str> {
        deliver(&self.sender, Piece::Data(Bytes::from(bytes)), SLOWEST).await
    }

    /// Whether the caller is still who it was, and still may.
    async fn ask_again(&mut self) -> Result<(), &'static str> {
        if self.asked.elapsed() < ASK_AGAIN {
            return Ok(());
        }
        self.caller = self.credential.authenticate().await?;
        let permitted = self.operation.still_permitted(&self.hub, &self.caller).await;
        permitted.map_err(|error| error.code())?;
        self.asked = Instant::now();
        Ok(())
    }
}
