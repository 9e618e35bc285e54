//! The whole request path on one screen: gate by address, route, authenticate, gate by participant,
//! read and decode, then [`Hub::perform`] (find, authorize, plan, commit with the entry), respond.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, ETAG, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hub_auth::{Authenticator, Caller, Presented};
use hub_model::action::ResourceKind;
use hub_model::entry::Outcome;
use hub_operations::system::StatusFacts;
use hub_operations::{Error, Hub, Meta, Operation, abreast};
use serde::Serialize;
use tracing::Instrument as _;
use zeroize::Zeroizing;

use crate::abuse::Abuse;
use crate::body;
use crate::failures::{BLOCKED, Failures, OVERLOADED, RATE_LIMITED};
use crate::inbound::{EdgeError, Inbound};
use crate::line::Line;
use crate::listen::{Handler, Reply};
use crate::load::{Load, Work};
use crate::metrics::{Metrics, Outcome as Counted, RouteMetrics};
use crate::problem::{AUDIT_SEQ, Refusal};
use crate::request::{self, Params, Parts, Query};
use crate::routes::{self, Body, Route};
use crate::tasks::Crew;
use crate::telemetry::{STAGE, name_span, span_for};
use crate::throttle::{Throttle, Ticket};
use crate::watching::Watchers;

const CHECKPOINT: HeaderName = HeaderName::from_static("cipher-hub-checkpoint");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MODE: HeaderName = HeaderName::from_static("cipher-hub-mode");

/// How long after a request had its place its caller is taken for what was authenticated then. With the
/// time its operation takes, below the second within which a revocation is in effect.
const FRESH: Duration = Duration::from_millis(250);

/// Sizes and modes the pipeline needs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Largest ordinary body.
    pub max_body: usize,
    /// Largest body of a batch.
    pub max_batch_body: usize,
    /// Most bytes of one stream; `None` is any number.
    pub max_stream: Option<u64>,
    /// Whether every response says that this is no production hub.
    pub dev: bool,
}

/// What answers requests.
pub struct Gateway {
    pub(crate) hub: Arc<Hub>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) throttle: Arc<Throttle>,
    failures: Arc<Failures>,
    pub(crate) abuse: Arc<Abuse>,
    load: Arc<Load>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Settings,
    /// Streams that are being worked on.
    pub(crate) streams: Crew,
    pub(crate) watchers: Watchers,
    /// Exports of the audit log that may still begin.
    pub(crate) exports: Arc<tokio::sync::Semaphore>,
    pub(crate) status: Box<dyn Fn() -> StatusFacts + Send + Sync>,
    pub(crate) swept: Arc<tokio::sync::Notify>,
    rows: Vec<Row>,
    router: matchit::Router<Vec<(Method, usize)>>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("routes", &self.rows.len()).finish_non_exhaustive()
    }
}

/// What a [`Gateway`] is made of.
pub struct GatewayParts {
    /// The hub.
    pub hub: Arc<Hub>,
    /// Who authenticates.
    pub authenticator: Authenticator,
    /// The rate gates.
    pub throttle: Arc<Throttle>,
    /// Where failed authentications are counted.
    pub failures: Arc<Failures>,
    /// Where unusual behaviour is seen.
    pub abuse: Arc<Abuse>,
    /// What is in work.
    pub load: Arc<Load>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Sizes and modes.
    pub settings: Settings,
    /// What the process knows of its status.
    pub status: Box<dyn Fn() -> StatusFacts + Send + Sync>,
    /// Told when a registration was deleted and can be swept.
    pub swept: Arc<tokio::sync::Notify>,
}

impl std::fmt::Debug for GatewayParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayParts").finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway over the route table.
    ///
    /// # Errors
    /// When two rows of the table contradict each other, which a test rules out.
    pub fn new(parts: GatewayParts) -> Result<Self, matchit::InsertError> {
        let mut rows = Vec::new();
        let mut by_path: Vec<(&'static str, Vec<(Method, usize)>)> = Vec::new();
        for (index, row) in routes::table().into_iter().enumerate() {
            match by_path.iter_mut().find(|(path, _)| *path == row.path) {
                Some((_, methods)) => methods.push((row.method.clone(), index)),
                None => by_path.push((row.path, vec![(row.method.clone(), index)])),
            }
            let metrics = parts.metrics.route(&row.method, row.path);
            let names = row.path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
            let names = names.map(|(name, _)| name.trim_start_matches('*')).collect();
            rows.push(Row { route: row, metrics, names });
        }
        let mut router = matchit::Router::new();
        for (path, methods) in by_path {
            router.insert(path, methods)?;
        }
        Ok(Self {
            hub: parts.hub,
            authenticator: Arc::new(parts.authenticator),
            throttle: parts.throttle,
            failures: parts.failures,
            abuse: parts.abuse,
            load: parts.load,
            metrics: parts.metrics,
            settings: parts.settings,
            streams: Crew::new(),
            watchers: Watchers::default(),
            exports: Arc::new(tokio::sync::Semaphore::new(crate::exporting::AT_ONCE)),
            status: parts.status,
            swept: parts.swept,
            rows,
            router,
        })
    }

    /// Who authenticates callers.
    #[must_use]
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The request path.
    async fn run(&self, inbound: &mut Inbound) -> Reply {
        let request_id = Arc::clone(inbound.request_id());
        let trace = inbound.trace().map(|trace| trace.trace_id);
        let refuse = |refusal: &Refusal| {
            refusal.reply(&request_id, trace.map(|id| hub_audit::encode::hex(&id)))
        };
        if let Err(limited) = self.throttle.admit_address(inbound.channel().address) {
            self.metrics.rate_limited(&limited);
            return refuse(&Refusal::from(&EdgeError::from(limited)));
        }
        let target = inbound.target();
        let path = target.path();
        let routed = match self.route(inbound.method(), path) {
            Ok(routed) => routed,
            Err(refusal) => return refuse(&refusal),
        };
        let Row { route: row, metrics, .. } = routed.row;
        let span = tracing::Span::current();
        span.record("http.route", row.path);
        name_span(&span, || format!("{} {}", row.method, row.path));
        let started = inbound.received();
        let mut reply = match self.authenticated(inbound, row).await {
            Err(refusal) => refuse(&refusal),
            Ok((caller, ticket, work, entered)) => {
                let meta = Meta {
                    request: Arc::clone(&request_id),
                    trace,
                    dry_run: false,
                    if_match: None,
                    idempotency: None,
                };
                let answered = self.answer(inbound, path, routed, (&caller, entered), meta, &work);
                let answered = answered.await;
                let mut reply = match answered {
                    Ok(reply) => reply,
                    Err(refusal) => refuse(&refusal),
                };
                ticket.write_headers(reply.headers_mut());
                reply
            }
        };
        if self.settings.dev {
            reply.headers_mut().insert(MODE, HeaderValue::from_static("DEV"));
        }
        span.record("http.response.status_code", reply.status().as_u16());
        // A trace leads to its entry; the entry names the trace.
        if !span.is_disabled()
            && let Some(seq) = reply.headers().get(AUDIT_SEQ).and_then(|seq| seq.to_str().ok())
        {
            span.record("cipher_hub.audit.seq", seq);
        }
        metrics.record(reply.status(), started.elapsed());
        reply
    }

    fn route<'p>(&self, method: &Method, path: &'p str) -> Result<Routed<'_, 'p>, Refusal> {
        let Ok(found) = self.router.at(path) else {
            return Err(Refusal::new("unknown_route", "there is no such route; see docs/http.md"));
        };
        // A colon in a parameter is a verb nobody knows: names and ids hold none.
        if found.params.iter().any(|(_, value)| value.contains(':')) {
            return Err(self.unknown_operation(path));
        }
        let Some((_, index)) = found.value.iter().find(|(known, _)| known == method) else {
            let mut methods: Vec<_> = found.value.iter().map(|(m, _)| m.as_str()).collect();
            methods.sort_unstable();
            let methods = methods.join(", ");
            let detail = format!("this path takes {methods}");
            return Err(Refusal::new("method_not_allowed", detail).allowing(methods));
        };
        let internal = || Refusal::new("internal", "something went wrong inside the hub");
        let row = self.rows.get(*index).ok_or_else(internal)?;
        let value = |name: &&'static str| found.params.get(name).map(|value| (*name, value));
        let params = row.names.iter().filter_map(value).collect();
        Ok(Routed { row, params })
    }

    fn unknown_operation(&self, path: &str) -> Refusal {
        let base = path.rsplit_once(':').map_or(path, |(base, _)| base);
        let mut verbs = Vec::new();
        for Row { route: row, .. } in &self.rows {
            let Some((pattern, verb)) = row.path.rsplit_once(':') else { continue };
            let same_depth = pattern.split('/').count() == base.split('/').count();
            let fits = pattern.split('/').zip(base.split('/')).all(|(pattern, part)| {
                pattern == part || (pattern.starts_with('{') && !part.is_empty())
            });
            if same_depth && fits {
                verbs.push(format!(":{verb}"));
            }
        }
        let known = if verbs.is_empty() { "none".to_owned() } else { verbs.join(", ") };
        Refusal::new("unknown_operation", format!("no such operation here (known: {known})"))
    }

    /// Inbound → Caller → Ticket.
    async fn authenticated(
        &self,
        inbound: &Inbound,
        row: &Route,
    ) -> Result<(Caller, Ticket, Work, Instant), Refusal> {
        let address = inbound.channel().address;
        let to_hub = row.action.resource_kind() == ResourceKind::Hub;
        let blocked = || {
            let left = self.abuse.blocked(address, authorization(inbound.headers()))?;
            self.metrics.blocked();
            self.failures.count(address, BLOCKED);
            Some(Refusal::from(&EdgeError::Blocked { left }))
        };
        // Not in line either.
        if let Some(refusal) = blocked() {
            return Err(refusal);
        }
        // Streams of HTTP/2 share the window of their connection: one that waits with its body could
        // keep those waiting that it waits for.
        let may_wait = inbound.version() < Version::HTTP_2 || inbound.body.is_whole();
        // Sampled like failed authentications: a flood of refusals must not fill the log.
        let mut work = self.load.enter(to_hub, may_wait).await.map_err(|error| {
            self.failures.count(address, OVERLOADED);
            Refusal::from(&error)
        })?;
        let entered = Instant::now();
        if let Some(refusal) = blocked() {
            return Err(refusal);
        }
        let caller = self.identified(inbound).await?;
        if let Some(left) = self.abuse.blocked_caller(&caller) {
            self.metrics.blocked();
            self.failures.count_caller(&caller, BLOCKED);
            return Err(Refusal::from(&EdgeError::Blocked { left }));
        }
        let ticket = self.throttle.admit(&caller).map_err(|limited| {
            self.metrics.rate_limited(&limited);
            self.failures.count_caller(&caller, RATE_LIMITED);
            Refusal::from(&EdgeError::from(limited))
        })?;
        work.of(caller.principal().registration).map_err(|error| {
            self.failures.count_caller(&caller, OVERLOADED);
            Refusal::from(&error)
        })?;
        Ok((caller, ticket, work, entered))
    }

    /// Inbound → Caller.
    async fn identified(&self, inbound: &Inbound) -> Result<Caller, Refusal> {
        let mut given = inbound.headers().get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        // Two are as bad as any more.
        let (first, second) = (given.next(), given.next());
        let count = usize::from(first.is_some()) + usize::from(second.is_some());
        let both = [first.unwrap_or_default(), second.unwrap_or_default()];
        let authorization = both.get(..count).unwrap_or_default();
        let presented = Presented { authorization, channel: inbound.channel() };
        let span = tracing::debug_span!(target: STAGE, "authenticate");
        match self.authenticator.authenticate(presented).instrument(span).await {
            Ok(caller) => Ok(caller),
            Err(hub_auth::Error::Refused(reason)) => {
                self.metrics.auth_failure(reason.name());
                let address = inbound.channel().address;
                self.failures.count(address, reason.name());
                self.abuse.failed(address, first);
                let detail = match reason {
                    hub_auth::Refusal::Missing => {
                        "no credential; send `Authorization: Bearer <API key>`"
                    }
                    hub_auth::Refusal::Ambiguous => "more than one credential",
                    _ => "the credential is not good",
                };
                Err(Refusal::new("unauthenticated", detail))
            }
            Err(hub_auth::Error::Store(error)) => Err(Refusal::from(&Error::from(error))),
        }
    }

    /// Ticket → Call → … → response.
    async fn answer(
        &self,
        inbound: &mut Inbound,
        path: &str,
        routed: Routed<'_, '_>,
        (caller, entered): (&Caller, Instant),
        mut meta: Meta,
        work: &Work,
    ) -> Result<Reply, Refusal> {
        let row = &routed.row.route;
        let mut stream = None;
        // Counted until the answer is made.
        let mut lease = work.lease();
        let decoded = async {
            if matches!(row.body, Body::Stream | Body::Lines | Body::Wasm) {
                stream = Some(body::lend(inbound));
                return Ok(Bytes::new());
            }
            let limit = match row.body {
                Body::None
                | Body::Json
                | Body::JsonOrNothing
                | Body::Stream
                | Body::Lines
                | Body::Wasm => self.settings.max_body,
                Body::Batch => self.settings.max_batch_body,
            };
            let span = tracing::debug_span!(target: STAGE, "read");
            let read = body::read_counted(inbound, limit, Some(&mut lease));
            let body = read.instrument(span).await;
            let body = body.map_err(|error| Refusal::from(&error))?;
            if row.body == Body::None && !body.is_empty() {
                return Err(Refusal::new("invalid_json", "this route takes no body"));
            }
            Ok(body)
        };
        let body = match decoded.await {
            Ok(body) => body,
            Err(refusal) => return Err(self.fallen(row, caller, &meta, refusal).await),
        };
        let inbound = &*inbound;
        // Waited for first: whoever stands in line is asked once more who it is.
        let brief = !matches!(row.body, Body::Stream | Body::Lines | Body::Wasm);
        let _turn = work.turn(brief).await;
        // A body may trickle in for seconds: what the caller was when it began is old by then, and
        // a credential revoked meanwhile must not finish what it started.
        let again;
        let caller = if entered.elapsed() < FRESH {
            caller
        } else {
            match self.identified(inbound).await {
                Ok(found) => again = found,
                Err(refusal) => return Err(self.fallen(row, caller, &meta, refusal).await),
            }
            &again
        };
        let text = inbound.query().filter(|text| !text.is_empty());
        let query = text.map_or_else(
            || Ok(Query::default()),
            |text| {
                let mut known: Vec<&str> = row.query.to_vec();
                if row.dry_run {
                    known.push("dryRun");
                }
                Query::parse(Some(text), &known)
            },
        );
        let parts = query.and_then(|query| {
            meta.dry_run = query.flag("dryRun")?;
            meta.if_match = request::if_match(inbound.headers())?;
            let parts = Parts {
                method: inbound.method(),
                path,
                params: routed.params,
                query,
                headers: inbound.headers(),
                body: &body,
                channel: inbound.channel(),
                stream,
                work,
            };
            meta.idempotency = request::idempotency(&parts)?;
            Ok(parts)
        });
        abreast().await;
        match parts {
            Ok(parts) => row.endpoint.call(self, row, caller, parts, meta).await,
            Err(refusal) => Err(self.fallen(row, caller, &meta, refusal).await),
        }
    }

    /// A request that fell after authentication, before policy was asked: it has an entry too.
    pub(crate) async fn fallen(
        &self,
        row: &Route,
        caller: &Caller,
        meta: &Meta,
        refusal: Refusal,
    ) -> Refusal {
        let outcome = Outcome(refusal.code());
        match self.hub.record_refusal(caller, meta, row.operation_id, outcome).await {
            Ok(receipt) => refusal.recorded(receipt.seq()),
            Err(error) => Refusal::from(&error),
        }
    }

    pub(crate) fn count_crypto<O: Operation>(
        &self,
        algorithm: Option<hub_model::Algorithm>,
        code: Option<&'static str>,
    ) {
        let Some(algorithm) = algorithm else { return };
        if !O::ACTION.uses_key() {
            return;
        }
        let counted = match code {
            None => Counted::Ok,
            Some("denied") => Counted::Denied,
            Some(_) => Counted::Failed,
        };
        self.metrics.crypto_operation(O::ACTION, algorithm, counted);
    }

    pub(crate) fn respond<R: Serialize>(
        &self,
        row: &Route,
        mut done: hub_operations::Done<R>,
        changed: bool,
        json: impl FnOnce(R) -> Result<Vec<u8>, R>,
    ) -> Result<Reply, Refusal> {
        let answered = done.reply.take();
        let success = if answered.is_some() { row.success } else { StatusCode::OK };
        let body = match answered {
            Some(_) if row.success == StatusCode::NO_CONTENT => Bytes::new(),
            Some(answer) => match json(answer) {
                Ok(bytes) if row.secret => Bytes::from_owner(Erased(Zeroizing::new(bytes))),
                Ok(bytes) => bytes.into(),
                Err(answer) => encode(&answer, row.secret)?,
            },
            None => Bytes::from_static(b"{\"dryRun\":true}"),
        };
        let facts = (done.generation, done.replayed, done.receipt().seq());
        Ok(self.reply(success, body, facts, changed))
    }

    /// The answer around a body: the generation of what it shows, whether it was kept, and where its
    /// entry stands.
    fn reply(
        &self,
        status: StatusCode,
        body: Bytes,
        (generation, replayed, seq): (Option<u64>, bool, u64),
        changed: bool,
    ) -> Reply {
        let empty = body.is_empty();
        let mut reply = Response::new(body.into());
        // Room for all that will be there, so that the map never grows.
        *reply.headers_mut() = HeaderMap::with_capacity(16);
        *reply.status_mut() = status;
        let headers = reply.headers_mut();
        if !empty {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(generation) = generation
            && let Some(tag) = Line::new().text(b"\"").number(generation).text(b"\"").finish()
        {
            headers.insert(ETAG, tag);
        }
        if replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(seq) = Line::new().number(seq).finish() {
            headers.insert(AUDIT_SEQ, seq);
        }
        if changed && let Some(signed) = self.hub.log().latest() {
            // An anchor outside the hub, for clients that keep it.
            let root = hub_audit::encode::hex(&signed.checkpoint.root);
            if let Ok(value) = HeaderValue::try_from(format!("{} {root}", signed.checkpoint.size)) {
                headers.insert(CHECKPOINT, value);
            }
        }
        reply
    }
}

/// The first header of that name; with more than one no request is authenticated.
fn authorization(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)
}

/// A row of the table, ready to be routed to.
struct Row {
    route: Route,
    metrics: RouteMetrics,
    /// The names of its parameters.
    names: Vec<&'static str>,
}

/// A row and the values of its parameters.
struct Routed<'g, 'p> {
    row: &'g Row,
    params: Params<'p>,
}

/// JSON; an answer with a secret in it is erased when it has been handed to the socket.
pub(crate) fn encode<R: Serialize>(reply: &R, secret: bool) -> Result<Bytes, Refusal> {
    let internal = |_| Refusal::new("internal", "the answer could not be written");
    if !secret {
        return serde_json::to_vec(reply).map(Bytes::from).map_err(internal);
    }
    // Measured first, so that the buffer never grows and leaves no copy behind.
    let mut size = Counter(0);
    serde_json::to_writer(&mut size, reply).map_err(internal)?;
    let mut buffer = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer(&mut *buffer, reply).map_err(internal)?;
    Ok(Bytes::from_owner(Erased(buffer)))
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Erased(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Erased {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Handler for Gateway {
    async fn handle(&self, mut inbound: Inbound) -> Reply {
        let span = span_for(&inbound);
        let mut reply = if span.is_disabled() {
            self.run(&mut inbound).await
        } else {
            self.run(&mut inbound).instrument(span).await
        };
        if !body::finish(&mut inbound).await && inbound.version() < Version::HTTP_2 {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }

    fn certificate_refused(
        &self,
        address: hub_model::principal::PeerAddress,
        reason: &'static str,
    ) {
        self.metrics.auth_failure(reason);
        self.failures.count(address, reason);
    }

    fn patience(&self, inbound: &Inbound) -> Option<Duration> {
        let installs = *inbound.method() == Method::POST && inbound.path() == "/v1/plugins";
        installs.then_some(crate::catalogue::PATIENCE)
    }

    async fn finished(&self) {
        self.streams.finished().await;
    }

    fn refuse(&self, error: EdgeError, request_id: &str) -> Reply {
        Refusal::from(&error).reply(request_id, None)
    }
}
