//! `registrations.rewrapStream`: any number of ciphertexts, one JSON object a line, in constant
//! memory. Each is an operation of its own, authorized and audited by itself, like an item of a
//! batch; one that fails has its problem on its line, and the others go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, Version};
use hub_auth::Caller;
use hub_model::api::crypto::{Rewrap as RewrapBody, RewrapLine, RewrapLineAnswer};
use hub_model::entry::Outcome;
use hub_model::{Action, RegistrationId};
use hub_operations::key::RewrapAny;
use hub_operations::{Hub, Meta, Ref};

use crate::body::Reader;
use crate::endpoint::Endpoint;
use crate::listen::Reply;
use crate::metrics::Metrics;
use crate::pipeline::Gateway;
use crate::problem::Refusal;
use crate::reply::{Piece, ReplyBody, StreamBody};
use crate::request::Parts;
use crate::routes::Route;
use crate::streaming::{Credential, deliver};
use crate::throttle::Throttle;

/// The media type, both ways.
pub(crate) const LINES: &str = "application/x-ndjson";
/// Items worked on at once: enough to fill a group commit, few enough to bound memory.
const WINDOW: usize = 256;
/// Bytes of lines that wait at most, beyond one line.
const WAITING: usize = 1 << 20;
/// How often the caller is authenticated again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What answers the requests.
#[derive(Debug)]
pub(crate) struct RewrapStreamEndpoint;

impl Endpoint for RewrapStreamEndpoint {
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        mut parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let Some(reader) = parts.stream.take() else {
                return Err(Refusal::new("internal", "the body is gone"));
            };
            // It goes on when this is answered, and has a place for as long.
            let place = match parts.work.hand_on() {
                Ok(place) => place,
                Err(error) => {
                    let refusal = Refusal::from(&error);
                    let refusal = gateway.fallen(row, caller, &meta, refusal).await;
                    reader.settle().await;
                    return Err(refusal);
                }
            };
            // The caller was authenticated just now; the first line may take its time.
            let asked = Instant::now();
            let mut lines = Lines::new(reader, gateway.settings.max_body);
            let begun = async {
                let registration = check(&parts, lines.reader.version())?;
                // Each item has its entry; without one the request would have none at all.
                let Some(first) = lines.next().await.map_err(Broken::refusal)? else {
                    let detail = "a stream has at least one line";
                    return Err(Refusal::new("invalid_argument", detail));
                };
                Ok((registration, first))
            };
            let (registration, first) = match begun.await {
                Ok(begun) => begun,
                Err(refusal) => {
                    let refusal = gateway.fallen(row, caller, &meta, refusal).await;
                    lines.reader.settle().await;
                    return Err(refusal);
                }
            };
            let (sender, body) = StreamBody::new();
            let mut reply = Response::new(ReplyBody::Stream(body));
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES));
            lines.reader.reads_on();
            let job = Job {
                hub: Arc::clone(&gateway.hub),
                metrics: Arc::clone(&gateway.metrics),
                throttle: Arc::clone(&gateway.throttle),
                credential: Credential::of(gateway, &parts),
                caller: caller.clone(),
                asked,
                registration,
                meta,
            };
            gateway.streams.spawn(async move {
                let _place = place;
                let request_id = Arc::clone(&job.meta.request);
                let outcome = job.run(lines, first, sender).await;
                let request_id = &*request_id;
                let outcome = outcome.err().unwrap_or("ok");
                tracing::debug!(target: "hub::stream", request_id, outcome, "lines ended");
            });
            Ok(reply)
        })
    }
}

fn check(parts: &Parts<'_>, version: Version) -> Result<Ref<RegistrationId>, Refusal> {
    if version < Version::HTTP_11 {
        return Err(Refusal::new("bad_request", "a stream needs HTTP/1.1 or HTTP/2"));
    }
    let named = parts.headers.get(CONTENT_TYPE).map(HeaderValue::to_str);
    let essence = |text: &str| text.split(';').next().is_some_and(|e| e.trim() == LINES);
    if !named.is_none_or(|text| text.is_ok_and(essence)) {
        let detail = "the body must be `application/x-ndjson`";
        return Err(Refusal::new("unsupported_media_type", detail));
    }
    parts.param("registration")
}

/// Why no more lines come.
enum Broken {
    Edge(crate::inbound::EdgeError),
    TooLong(usize),
}

impl Broken {
    fn refusal(self) -> Refusal {
        match self {
            Self::Edge(error) => Refusal::from(&error),
            Self::TooLong(most) => {
                Refusal::new("body_too_large", format!("a line has at most {most} bytes"))
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Edge(error) => error.facts().code,
            Self::TooLong(_) => "body_too_large",
        }
    }
}

/// A body cut into lines. Empty ones are left out.
struct Lines {
    reader: Reader,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of a line.
    seen: usize,
    most: usize,
    ended: bool,
}

impl Lines {
    fn new(reader: Reader, most: usize) -> Self {
        Self { reader, buffer: BytesMut::new(), seen: 0, most, ended: false }
    }

    /// A line that is there already.
    fn ready(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            let fresh = self.buffer.get(self.seen..).unwrap_or_default();
            let end = fresh.iter().position(|byte| *byte == b'\n').map(|at| self.seen + at + 1);
            let line = match end {
                Some(end) => self.buffer.split_to(end).freeze(),
                None if self.ended && !self.buffer.is_empty() => self.buffer.split().freeze(),
                None if self.buffer.len() > self.most => return Err(Broken::TooLong(self.most)),
                None => {
                    self.seen = self.buffer.len();
                    return Ok(None);
                }
            };
            self.seen = 0;
            if line.len() > self.most.saturating_add(1) {
                return Err(Broken::TooLong(self.most));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// The next line, waiting for it; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(line) = self.ready()? {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            match self.reader.next().await.map_err(Broken::Edge)? {
                Some(data) => self.buffer.extend_from_slice(&data),
                None => self.ended = true,
            }
        }
    }
}

/// A stream of lines that is being worked on.
struct Job {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    throttle: Arc<Throttle>,
    credential: Credential,
    caller: Caller,
    asked: Instant,
    registration: Ref<RegistrationId>,
    meta: Meta,
}

impl Job {
    async fn run(
        mut self,
        mut lines: Lines,
        first: Bytes,
        sender: tokio::sync::mpsc::Sender<Piece>,
    ) -> Result<(), &'static str> {
        let patience = lines.reader.patience();
        let mut next = Some(first);
        while let Some(line) = next.take() {
            // What is there, and not what is still to come: nobody waits for a window to be full.
            let mut size = line.len();
            let mut window = vec![line];
            while window.len() < WINDOW && size < WAITING {
                match lines.ready().map_err(|broken| broken.code())? {
                    Some(line) => {
                        size += line.len();
                        window.push(line);
                    }
                    None => break,
                }
            }
            for _ in 0..window.len() {
                // Over its limit a stream goes slower, and is not broken off.
                while let Err(limited) = self.throttle.charge(&self.caller, 1) {
                    tokio::time::sleep(limited.retry_after.max(Duration::from_millis(1))).await;
                }
            }
            if self.asked.elapsed() >= ASK_AGAIN {
                self.caller = self.credential.authenticate().await?;
                self.asked = Instant::now();
            }
            let answers = hub_operations::all(window.iter().map(|line| self.item(line))).await;
            let mut out = Vec::new();
            for answer in answers {
                serde_json::to_writer(&mut out, &answer).map_err(|_| "internal")?;
                out.push(b'\n');
            }
            deliver(&sender, Piece::Data(Bytes::from(out)), patience).await?;
            tokio::task::yield_now().await;
            next = lines.next().await.map_err(|broken| broken.code())?;
        }
        deliver(&sender, Piece::End, patience).await
    }

    async fn item(&self, line: &[u8]) -> RewrapLineAnswer {
        self.metrics.audit_events.inc();
        let RewrapLine { reference, ciphertext, context, new_context } =
            match serde_json::from_slice(line) {
                Ok(line) => line,
                Err(error) => {
                    let refusal = self.fallen(crate::request::json_refusal(&error)).await;
                    return refused(None, &refusal);
                }
            };
        if reference.as_ref().is_some_and(|reference| reference.len() > 128) {
            let refusal = Refusal::new("invalid_argument", "a `ref` has at most 128 bytes");
            return refused(None, &self.fallen(refusal).await);
        }
        let body = RewrapBody { ciphertext, context, new_context };
        let operation = RewrapAny::new(self.registration.clone(), body);
        match self.hub.perform(&self.caller, &operation, &self.meta).await {
            Ok(done) => RewrapLineAnswer { reference, rewrapped: done.reply, problem: None },
            Err(failure) => refused(reference, &Refusal::from(&failure)),
        }
    }

    /// A line that fell before policy was asked has an entry too.
    async fn fallen(&self, refusal: Refusal) -> Refusal {
        let (action, outcome) = (Action::KeysRewrap.name(), Outcome(refusal.code()));
        match self.hub.record_refusal(&self.caller, &self.meta, action, outcome).await {
            Ok(receipt) => refusal.recorded(receipt.seq()),
            Err(error) => Refusal::from(&error),
        }
    }
}

fn refused(reference: Option<String>, refusal: &Refusal) -> RewrapLineAnswer {
    let problem = Some(refusal.document(None, None));
    RewrapLineAnswer { reference, rewrapped: None, problem }
}
