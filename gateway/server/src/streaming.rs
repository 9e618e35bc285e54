//! `keys.encryptStream` and `keys.decryptStream`: bodies of any size, in constant memory.
//!
//! A stream is begun like any operation: authorized and with a durable entry before a byte of its
//! body is read. The rest is a task of its own, which reads a piece, works on it and hands it to
//! the connection, and writes the entry of the end before the answer ends. What goes wrong after
//! the head of the answer has been sent cuts the connection off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, Version};
use hub_auth::{Authenticator, Caller, Channel, Presented};
use hub_crypto::stream::{CHUNK_LEN, HEADER_LEN, SecretBuffer, StreamOpener, StreamSealer};
use hub_model::entry::Outcome;
use hub_model::secret::decode_base64;
use hub_model::{Algorithm, EncryptionContext};
use hub_operations::key::{StreamBegun, StreamTotals, UseStream};
use hub_operations::{Done, Error, Hub, Meta};
use tokio::sync::mpsc;

use crate::body::Reader;
use crate::endpoint::Endpoint;
use crate::listen::Reply;
use crate::metrics::Metrics;
use crate::pipeline::Gateway;
use crate::problem::{AUDIT_SEQ, Refusal};
use crate::reply::{Piece, ReplyBody, StreamBody};
use crate::request::Parts;
use crate::routes::Route;

const CONTEXT: HeaderName = HeaderName::from_static("cipher-hub-context");
const VERSION: HeaderName = HeaderName::from_static("cipher-hub-key-version");
const BYTES: &str = "application/octet-stream";

/// How often caller and policy are asked again while a stream lasts: a revocation is in effect
/// within a second.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How many bytes are worked on before others on the same thread have their turn.
const TURN: usize = 4 * CHUNK_LEN;

/// One of the two.
#[derive(Debug)]
pub(crate) struct StreamEndpoint<const DECRYPTS: bool>;

impl<const DECRYPTS: bool> Endpoint for StreamEndpoint<DECRYPTS>
where
    UseStream<DECRYPTS>: Start,
{
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        mut parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let Some(mut reader) = parts.stream.take() else {
                return Err(Refusal::new("internal", "the body is gone"));
            };
            // It goes on when this is answered, and has a place for as long.
            let work_place = match parts.work.hand_on() {
                Ok(place) => place,
                Err(error) => {
                    let refusal = Refusal::from(&error);
                    let refusal = gateway.fallen(row, caller, &meta, refusal).await;
                    reader.settle().await;
                    return Err(refusal);
                }
            };
            // The caller was authenticated just now; what follows may take its time.
            let asked = Instant::now();
            let answered = begin::<DECRYPTS>(gateway, row, caller, &parts, &meta, &mut reader);
            let (operation, done, work, first) = match answered.await {
                Ok(Beginning::Answer(reply)) => {
                    reader.settle().await;
                    return Ok(reply);
                }
                Ok(Beginning::Stream { operation, done, work, first }) => {
                    (operation, done, work, first)
                }
                Err(refusal) => {
                    reader.settle().await;
                    return Err(refusal);
                }
            };
            let (sender, body) = StreamBody::new();
            let mut reply = Response::new(ReplyBody::Stream(body));
            let headers = reply.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
            headers.insert(AUDIT_SEQ, HeaderValue::from(done.receipt().seq()));
            headers.insert(VERSION, HeaderValue::from(work.version()));
            reader.reads_on();
            let job = Job {
                hub: Arc::clone(&gateway.hub),
                metrics: Arc::clone(&gateway.metrics),
                credential: Credential::of(gateway, &parts),
                caller: caller.clone(),
                algorithm: done.algorithm,
                meta,
                operation,
                reader,
                version: work.version(),
                sender,
                max: gateway.settings.max_stream,
                sent: 0,
                asked,
            };
            gateway.streams.spawn(async move {
                let _place = work_place;
                job.run(work, first).await;
            });
            Ok(reply)
        })
    }
}

/// How a request for a stream begins.
enum Beginning<const DECRYPTS: bool> {
    /// With an answer: a dry run.
    Answer(Reply),
    /// With a stream: what works on it, and what has been read of it.
    Stream { operation: UseStream<DECRYPTS>, done: Done<StreamBegun>, work: Work, first: Bytes },
}

async fn begin<const DECRYPTS: bool>(
    gateway: &Gateway,
    row: &Route,
    caller: &Caller,
    parts: &Parts<'_>,
    meta: &Meta,
    reader: &mut Reader,
) -> Result<Beginning<DECRYPTS>, Refusal>
where
    UseStream<DECRYPTS>: Start,
{
    let operation = match decode(parts, reader, gateway.settings.max_stream) {
        Ok(operation) => operation,
        Err(refusal) => return Err(gateway.fallen(row, caller, meta, refusal).await),
    };
    let outcome = gateway.hub.perform(caller, &operation, meta).await;
    gateway.metrics.audit_events.inc();
    let done = match outcome {
        Ok(done) => done,
        Err(failure) => {
            if matches!(failure.error, Error::Denied { .. }) {
                gateway.metrics.policy_decision(Some(false));
            }
            let code = failure.error.code();
            gateway.count_crypto::<UseStream<DECRYPTS>>(failure.algorithm, Some(code));
            return Err(Refusal::from(&failure));
        }
    };
    gateway.metrics.policy_decision(Some(true));
    if meta.dry_run {
        return gateway.respond(row, done, false, Err).map(Beginning::Answer);
    }
    match operation.start(&gateway.hub, &done, reader).await {
        Ok((work, first)) => Ok(Beginning::Stream { operation, done, work, first }),
        Err(refusal) => {
            gateway.metrics.audit_events.inc();
            gateway.count_crypto::<UseStream<DECRYPTS>>(done.algorithm, Some(refusal.code()));
            let totals = StreamTotals { received: reader.received(), ..StreamTotals::default() };
            let outcome = Outcome(refusal.code());
            match operation.end(&gateway.hub, caller, meta, totals, outcome).await {
                Ok(()) => Err(refusal),
                Err(error) => Err(Refusal::from(&error)),
            }
        }
    }
}

fn decode<const DECRYPTS: bool>(
    parts: &Parts<'_>,
    reader: &Reader,
    max: Option<u64>,
) -> Result<UseStream<DECRYPTS>, Refusal> {
    // An answer of HTTP/1.0 ends with the connection: cut off and whole would look alike.
    if reader.version() < Version::HTTP_11 {
        return Err(Refusal::new("bad_request", "a stream needs HTTP/1.1 or HTTP/2"));
    }
    let named = parts.headers.get(CONTENT_TYPE).map(HeaderValue::to_str);
    let essence = |text: &str| text.split(';').next().is_some_and(|e| e.trim() == BYTES);
    if !named.is_none_or(|text| text.is_ok_and(essence)) {
        return Err(Refusal::new(
            "unsupported_media_type",
            "the body must be `application/octet-stream` (with curl: -T FILE -X POST)",
        ));
    }
    if let (Some(length), Some(max)) = (reader.announced(), max)
        && length > max
    {
        return Err(Refusal::new(
            "body_too_large",
            format!("a stream may have {max} bytes (limits.stream_max_bytes)"),
        ));
    }
    let context = context(parts)?;
    Ok(UseStream::new(
        parts.param("registration")?,
        parts.param("key")?,
        context,
        reader.announced(),
    ))
}

/// The encryption context: base64 of a JSON object of strings, in the header or the query.
fn context(parts: &Parts<'_>) -> Result<EncryptionContext, Refusal> {
    let bad = || {
        Refusal::new(
            "invalid_header",
            "`Cipher-Hub-Context` takes base64 of a JSON object of strings, once, in the header \
             or as `context` in the query",
        )
    };
    let mut values = parts.headers.get_all(CONTEXT).iter();
    let text = match (values.next(), parts.query.value("context"), values.next()) {
        (None, None, _) => return Ok(EncryptionContext::default()),
        (Some(value), None, None) => value.to_str().map_err(|_| bad())?,
        (None, Some(value), _) => value,
        _ => return Err(bad()),
    };
    let json = decode_base64(text).map_err(|_| bad())?;
    serde_json::from_slice(&json).map_err(|_| bad())
}

/// What the caller was authenticated by, to do so again.
pub(crate) struct Credential {
    authenticator: Arc<Authenticator>,
    authorization: Vec<HeaderValue>,
    channel: Channel,
}

impl Credential {
    /// That of a request.
    pub(crate) fn of(gateway: &Gateway, parts: &Parts<'_>) -> Self {
        Self {
            authenticator: Arc::clone(&gateway.authenticator),
            authorization: parts.headers.get_all(AUTHORIZATION).iter().cloned().collect(),
            channel: parts.channel.clone(),
        }
    }

    /// The caller as it is now, or the word for why it is none any more.
    pub(crate) async fn authenticate(&self) -> Result<Caller, &'static str> {
        let headers: Vec<&[u8]> = self.authorization.iter().map(HeaderValue::as_bytes).collect();
        let presented = Presented { authorization: &headers, channel: &self.channel };
        self.authenticator.authenticate(presented).await.map_err(|error| match error {
            hub_auth::Error::Refused(_) => "unauthenticated",
            hub_auth::Error::Store(_) => "store_unavailable",
        })
    }
}

/// Hands a piece to the connection, which may take its time as long as there is progress.
pub(crate) async fn deliver(
    sender: &mpsc::Sender<Piece>,
    piece: Piece,
    patience: Duration,
) -> Result<(), &'static str> {
    let piece = match sender.try_send(piece) {
        Ok(()) => return Ok(()),
        Err(mpsc::error::TrySendError::Closed(_)) => return Err(GONE),
        Err(mpsc::error::TrySendError::Full(piece)) => piece,
    };
    match tokio::time::timeout(patience, sender.send(piece)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(GONE),
        Err(_) => Err(SLOW),
    }
}

/// Beginning to work on a stream that was permitted.
pub(crate) trait Start {
    /// What works on the stream, and what of its body has been read and is not worked on.
    fn start(
        &self,
        hub: &Hub,
        done: &Done<StreamBegun>,
        reader: &mut Reader,
    ) -> impl Future<Output = Result<(Work, Bytes), Refusal>> + Send;
}

impl Start for UseStream<false> {
    async fn start(
        &self,
        _hub: &Hub,
        done: &Done<StreamBegun>,
        _reader: &mut Reader,
    ) -> Result<(Work, Bytes), Refusal> {
        let (header, sealer) = self.sealer(done).map_err(|error| Refusal::from(&error))?;
        let version = done.reply.and_then(|begun| begun.version).unwrap_or(0);
        let ready = header.to_vec();
        Ok((Work::Seal { sealer: Box::new(sealer), ready, version }, Bytes::new()))
    }
}

impl Start for UseStream<true> {
    async fn start(
        &self,
        hub: &Hub,
        done: &Done<StreamBegun>,
        reader: &mut Reader,
    ) -> Result<(Work, Bytes), Refusal> {
        let mut header = Vec::with_capacity(HEADER_LEN);
        let mut rest = Bytes::new();
        while header.len() < HEADER_LEN {
            let next = reader.next().await.map_err(|error| Refusal::from(&error))?;
            let Some(mut data) = next else {
                return Err(Refusal::from(&Error::DecryptionFailed));
            };
            let piece = data.split_to(data.len().min(HEADER_LEN - header.len()));
            header.extend_from_slice(&piece);
            rest = data;
        }
        let opened = self.opener(hub, done, &header).await;
        let (version, opener) = opened.map_err(|error| Refusal::from(&error))?;
        Ok((Work::Open { opener: Box::new(opener), ready: SecretBuffer::new(), version }, rest))
    }
}

/// What is done with the bytes.
#[derive(Debug)]
pub(crate) enum Work {
    /// They are encrypted.
    Seal { sealer: Box<StreamSealer>, ready: Vec<u8>, version: u32 },
    /// They are decrypted.
    Open { opener: Box<StreamOpener>, ready: SecretBuffer, version: u32 },
}

impl Work {
    const fn version(&self) -> u32 {
        match self {
            Self::Seal { version, .. } | Self::Open { version, .. } => *version,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        match self {
            Self::Seal { sealer, ready, .. } => sealer.push(bytes, ready).map_err(|_| TOO_LARGE),
            Self::Open { opener, ready, .. } => opener.push(bytes, ready).map_err(|_| NOT_OPENED),
        }
    }

    /// The last bytes.
    fn finish(self) -> Result<Bytes, &'static str> {
        match self {
            Self::Seal { sealer, mut ready, .. } => {
                sealer.finish(&mut ready).map_err(|_| TOO_LARGE)?;
                Ok(Bytes::from(ready))
            }
            Self::Open { opener, mut ready, .. } => {
                opener.finish(&mut ready).map_err(|_| NOT_OPENED)?;
                Ok(Bytes::from_owner(Plaintext(ready)))
            }
        }
    }

    /// What is ready, if it is worth sending.
    fn take(&mut self) -> Option<Bytes> {
        match self {
            Self::Seal { ready, .. } if !ready.is_empty() => {
                Some(Bytes::from(std::mem::take(ready)))
            }
            Self::Open { ready, .. } if !ready.is_empty() => {
                Some(Bytes::from_owner(Plaintext(std::mem::take(ready))))
            }
            _ => None,
        }
    }
}

/// Erased when it has been handed to the socket.
struct Plaintext(SecretBuffer);

impl AsRef<[u8]> for Plaintext {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

const TOO_LARGE: &str = "body_too_large";
const NOT_OPENED: &str = "decryption_failed";
/// Outcomes that only entries name: nobody is left to be told.
const GONE: &str = "client_gone";
const SLOW: &str = "client_slow";

/// A stream that is being worked on.
struct Job<const DECRYPTS: bool> {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    credential: Credential,
    caller: Caller,
    algorithm: Option<Algorithm>,
    meta: Meta,
    operation: UseStream<DECRYPTS>,
    reader: Reader,
    version: u32,
    sender: mpsc::Sender<Piece>,
    max: Option<u64>,
    sent: u64,
    asked: Instant,
}

impl<const DECRYPTS: bool> Job<DECRYPTS> {
    async fn run(mut self, work: Work, first: Bytes) {
        let version = Some(self.version);
        let outcome = self.pump(work, first).await;
        // Nobody takes the end: what was sent may not have arrived.
        let outcome = if self.sender.is_closed() { outcome.and(Err(GONE)) } else { outcome };
        let totals = StreamTotals { version, received: self.reader.received(), sent: self.sent };
        let word = outcome.map_or_else(Outcome, |()| Outcome::OK);
        let ended = self.operation.end(&self.hub, &self.caller, &self.meta, totals, word).await;
        self.metrics.audit_events.inc();
        if let Some(algorithm) = self.algorithm {
            let action = <UseStream<DECRYPTS> as hub_operations::Operation>::ACTION;
            let counted = match outcome {
                Ok(()) => crate::metrics::Outcome::Ok,
                Err("denied") => crate::metrics::Outcome::Denied,
                Err(_) => crate::metrics::Outcome::Failed,
            };
            self.metrics.crypto_operation(action, algorithm, counted);
        }
        // Without its entry a stream has not ended well.
        if outcome.is_ok() && ended.is_ok() {
            let _ = self.send(Piece::End).await;
        }
        let request_id = &*self.meta.request;
        tracing::debug!(target: "hub::stream", request_id, outcome = word.0, "stream ended");
    }

    async fn pump(&mut self, mut work: Work, first: Bytes) -> Result<(), &'static str> {
        let mut next = Some(first).filter(|first| !first.is_empty());
        let mut turn = 0;
        // The header need not wait for the first chunk.
        self.hand_out(&mut work).await?;
        loop {
            let mut data = match next.take() {
                Some(data) => data,
                None => match self.reader.next().await.map_err(|error| error.facts().code)? {
                    Some(data) => data,
                    None => break,
                },
            };
            if self.max.is_some_and(|max| self.reader.received() > max) {
                return Err(TOO_LARGE);
            }
            self.ask_again().await?;
            // In steps: others share this thread. Not in small ones: what is handed out at once is
            // sent by one system call.
            while data.has_remaining() {
                let step = data.split_to(data.len().min(TURN));
                work.push(&step)?;
                turn += step.len();
                // Given back before the connection reads on, whose buffer it is.
                drop(step);
                self.hand_out(&mut work).await?;
                if turn >= TURN {
                    turn = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
        self.ask_again().await?;
        let last = work.finish()?;
        if last.is_empty() { Ok(()) } else { self.give(last).await }
    }

    async fn hand_out(&mut self, work: &mut Work) -> Result<(), &'static str> {
        match work.take() {
            Some(bytes) => self.give(bytes).await,
            None => Ok(()),
        }
    }

    async fn give(&mut self, bytes: Bytes) -> Result<(), &'static str> {
        let len = u64::try_from(bytes.len()).unwrap_or(0);
        self.send(Piece::Data(bytes)).await?;
        self.sent = self.sent.saturating_add(len);
        Ok(())
    }

    async fn send(&self, piece: Piece) -> Result<(), &'static str> {
        deliver(&self.sender, piece, self.reader.patience()).await
    }

    /// Whether the caller is still who it was, and still may.
    async fn ask_again(&mut self) -> Result<(), &'static str> {
        if self.asked.elapsed() < ASK_AGAIN {
            return Ok(());
        }
        self.caller = self.credential.authenticate().await?;
        let (hub, caller, received) = (&self.hub, &self.caller, self.reader.received());
        let permitted = self.operation.still_permitted(hub, caller, self.version, received).await;
        permitted.map_err(|error| error.code())?;
        self.asked = Instant::now();
        Ok(())
    }
}
