//! The client: sends calls, repeats them where that is safe, reads answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, RETRY_AFTER,
    USER_AGENT,
};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hub_model::RequestId;
use hub_model::api::problem::Problem;
use hyper_util::client::legacy;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::call::{Call, push_query};
use crate::connect::Connector;
use crate::retry::Budget;
use crate::stream::{ByteStream, Outgoing};
use crate::token::Credential;
use crate::{ClientBuilder, Error, RetryPolicy};

/// Most bytes of one answer: a full batch, with room.
const MAX_ANSWER: usize = 128 * 1024 * 1024;
const AGENT: &str = concat!("cipher-hub-client/", env!("CARGO_PKG_VERSION"));

/// A client of one hub. Clones share connections and the allowance of retries.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    options: Options,
}

/// A resource and its ETag, which a change of it must give.
#[derive(Debug, Clone)]
pub struct Tagged<T> {
    /// The resource.
    pub value: T,
    /// The strong entity tag, quotes included. Empty when the answer to a change named none; the
    /// answer to a read always does.
    pub etag: String,
}

pub(crate) struct Shared {
    pub(crate) http: legacy::Client<Connector, Outgoing>,
    pub(crate) base: String,
    pub(crate) address: String,
    pub(crate) credential: Credential,
    pub(crate) retry: RetryPolicy,
    pub(crate) budget: Budget,
}

/// What may differ between clones.
#[derive(Clone)]
pub(crate) struct Options {
    timeout: Duration,
    dry_run: bool,
    traceparent: Option<HeaderValue>,
    request_id: Option<String>,
}

impl Options {
    pub(crate) const fn new(timeout: Duration) -> Self {
        Self { timeout, dry_run: false, traceparent: None, request_id: None }
    }
}

/// An answer of any status.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl Client {
    /// Settings for a client of the hub at `address` (`http://…`, `https://…`, `unix:/…`).
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(address.into())
    }

    pub(crate) fn new(shared: Shared, options: Options) -> Self {
        Self { shared: Arc::new(shared), options }
    }

    /// The hub's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The same client with another deadline.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// The same client, asking the hub to authenticate, authorize and validate its changes and
    /// cryptographic calls without doing them.
    #[must_use]
    pub const fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.options.dry_run = dry_run;
        self
    }

    /// The same client, passing this W3C `traceparent` on.
    ///
    /// # Errors
    /// [`Error::Header`] when it cannot be a header value.
    pub fn with_traceparent(mut self, traceparent: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(traceparent).map_err(|_| Error::Header("traceparent"))?;
        self.options.traceparent = Some(value);
        Ok(self)
    }

    /// The same client, with this `X-Request-Id` on its calls instead of a fresh one each.
    ///
    /// # Errors
    /// [`Error::Header`] unless it is 1 to 128 visible ASCII characters.
    pub fn with_request_id(mut self, id: &str) -> Result<Self, Error> {
        let visible = id.bytes().all(|byte| byte.is_ascii_graphic());
        if id.is_empty() || id.len() > 128 || !visible {
            return Err(Error::Header("X-Request-Id"));
        }
        self.options.request_id = Some(id.to_owned());
        Ok(self)
    }

    /// Sends and reads the answer as `T`.
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let (answer, request_id) = self.send(call).await?;
        answer.parse(&request_id)
    }

    /// Sends and reads the answer as `T` with its ETag.
    pub(crate) async fn fetch_tagged<T>(&self, call: Call) -> Result<Tagged<T>, Error>
    where
        T: DeserializeOwned,
    {
        let read = call.method == Method::GET;
        let (answer, request_id) = self.send(call).await?;
        // A change that was made is not to fail for want of a tag.
        let etag = match text(&answer.headers, ETAG.as_str()) {
            Some(etag) => etag.to_owned(),
            None if !read => String::new(),
            None => return Err(answer.unreadable("it has no ETag", &request_id)),
        };
        Ok(Tagged { value: answer.parse(&request_id)?, etag })
    }

    /// Sends where success says it all.
    pub(crate) async fn fetch_nothing(&self, call: Call) -> Result<(), Error> {
        self.send(call).await.map(drop)
    }

    /// Sends until success, a lasting failure or the deadline.
    async fn send(&self, mut call: Call) -> Result<(Answer, String), Error> {
        if self.options.dry_run && call.can_be_dry {
            push_query(&mut call.target, "dryRun", "true");
            call.idempotency_key = None;
        }
        let request_id = match &self.options.request_id {
            Some(id) => id.clone(),
            None => RequestId::generate().to_string(),
        };
        let after = self.options.timeout;
        let attempts = Box::pin(self.attempts(&call, &request_id, Instant::now() + after));
        match tokio::time::timeout(after, attempts).await {
            Ok(outcome) => outcome.map(|answer| (answer, request_id)),
            Err(_) => Err(Error::Deadline { after, request_id }),
        }
    }

    async fn attempts(
        &self,
        call: &Call,
        request_id: &str,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let Shared { retry, budget, .. } = &*self.shared;
        let mut done = 0;
        loop {
            let (error, asked) = match self.attempt(call, request_id).await {
                Ok(answer) if answer.status.is_success() => {
                    budget.earn();
                    return Ok(answer);
                }
                Ok(answer) => (answer.problem(request_id), answer.retry_after()),
                Err(error) => (error, None),
            };
            let pause = retry.pause(done, asked);
            done += 1;
            // Pausing past the deadline would only turn a clear error into a vague one.
            let useful = may_repeat(call, &error) && Instant::now() + pause < deadline;
            if !useful || done >= retry.attempts || !budget.spend() {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, call: &Call, request_id: &str) -> Result<Answer, Error> {
        let Shared { http, base, credential, .. } = &*self.shared;
        let authorization = &credential.header()?;
        let mut request = Request::new(Outgoing::from(call.body.clone().unwrap_or_default()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = format!("{base}{}", call.target)
            .parse()
            .map_err(|_| Error::Segment(call.target.clone()))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-request-id", id);
        }
        let optional = [
            (AUTHORIZATION.as_str(), authorization),
            (IF_MATCH.as_str(), &call.if_match),
            ("idempotency-key", &call.idempotency_key),
            ("traceparent", &self.options.traceparent),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }

        let broken = |reason| Error::Broken {
            address: self.shared.address.clone(),
            reason,
            request_id: request_id.to_owned(),
        };
        let response = http.request(request).await.map_err(|error| {
            let reason = root_cause(&error);
            if error.is_connect() {
                Error::Connect { address: self.shared.address.clone(), reason }
            } else {
                broken(reason)
            }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| broken(root_cause(&*error)))?
            .to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: Zeroizing::new(body.to_vec()),
        })
    }
}

impl Client {
    /// Asks for an answer of any size.
    pub(crate) async fn download(
        &self,
        call: Call,
        media: &'static str,
    ) -> Result<ByteStream, Error> {
        let (agree, _) = oneshot::channel();
        self.stream(call, (media, None), (agree, Outgoing::from(Bytes::new()))).await
    }

    /// Sends a body of any size and gives the answer's as it comes. Sent once: what has been read
    /// of the body is gone.
    pub(crate) async fn stream(
        &self,
        call: Call,
        (media, context): (&'static str, Option<HeaderValue>),
        (agree, body): (oneshot::Sender<()>, Outgoing),
    ) -> Result<ByteStream, Error> {
        let after = self.options.timeout;
        let (answer, request_id) = self.exchange(call, (media, context), body).await?;
        let (head, body) = answer.into_parts();
        let of_stream = text(&head.headers, CONTENT_TYPE.as_str()) == Some(media);
        if head.status.is_success() && of_stream {
            let _ = agree.send(());
            return Ok(ByteStream::new(body, after));
        }
        let answer = rest(head, body, after).await;
        Err(if answer.status.is_success() {
            answer.unreadable("it is no stream", &request_id)
        } else {
            answer.problem(&request_id)
        })
    }

    /// Sends a body of any size of this media type, and reads the answer as `T`. Sent once.
    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        call: Call,
        media: &'static str,
        body: Outgoing,
    ) -> Result<T, Error> {
        let (answer, request_id) = self.exchange(call, (media, None), body).await?;
        let (head, body) = answer.into_parts();
        let answer = rest(head, body, self.options.timeout).await;
        if answer.status.is_success() {
            answer.parse(&request_id)
        } else {
            Err(answer.problem(&request_id))
        }
    }

    /// Sends a body of any size, once, and waits for the head of the answer.
    async fn exchange(
        &self,
        mut call: Call,
        (media, context): (&'static str, Option<HeaderValue>),
        body: Outgoing,
    ) -> Result<(http::Response<hyper::body::Incoming>, String), Error> {
        let Shared { http, base, credential, address, .. } = &*self.shared;
        let authorization = &credential.header()?;
        if self.options.dry_run && call.can_be_dry {
            push_query(&mut call.target, "dryRun", "true");
        }
        let request_id = match &self.options.request_id {
            Some(id) => id.clone(),
            None => RequestId::generate().to_string(),
        };
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = format!("{base}{}", call.target)
            .parse()
            .map_err(|_| Error::Segment(call.target.clone()))?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        if let Some(context) = context {
            headers.insert("cipher-hub-context", context);
        }
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            headers.insert("x-request-id", id);
        }
        let optional =
            [(AUTHORIZATION.as_str(), authorization), ("traceparent", &self.options.traceparent)];
        for (name, value) in optional {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        let after = self.options.timeout;
        let answer = match tokio::time::timeout(after, http.request(request)).await {
            Err(_) => return Err(Error::Deadline { after, request_id }),
            Ok(Err(error)) => {
                let (address, reason) = (address.clone(), root_cause(&error));
                return Err(if error.is_connect() {
                    Error::Connect { address, reason }
                } else {
                    Error::Broken { address, reason, request_id }
                });
            }
            Ok(Ok(answer)) => answer,
        };
        Ok((answer, request_id))
    }
}

/// What is left of an answer that is no stream.
async fn rest(head: http::response::Parts, body: hyper::body::Incoming, after: Duration) -> Answer {
    let body = tokio::time::timeout(after, Limited::new(body, MAX_ANSWER).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Bytes::new(),
    };
    let body = Zeroizing::new(body.to_vec());
    Answer { status: head.status, headers: head.headers, body }
}

/// Whether trying again is both safe and of use.
fn may_repeat(call: &Call, error: &Error) -> bool {
    match error {
        // The hub has not seen the request.
        Error::Connect { .. } => true,
        Error::Broken { .. } => call.repeatable,
        Error::Problem(problem) => {
            call.repeatable && problem.retryable && matches!(problem.status, 429 | 503)
        }
        // A proxy in between may answer so, too.
        Error::Answer { status, .. } => call.repeatable && matches!(status, 429 | 503),
        _ => false,
    }
}

impl Answer {
    fn parse<T: DeserializeOwned>(&self, request_id: &str) -> Result<T, Error> {
        // serde's message may quote the body, so it is not passed on.
        serde_json::from_slice(&self.body)
            .map_err(|_| self.unreadable("its body is not the JSON expected", request_id))
    }

    fn problem(&self, request_id: &str) -> Error {
        let Ok(mut problem) = serde_json::from_slice::<Problem>(&self.body) else {
            return self.unreadable("it is no problem document", request_id);
        };
        problem.status = self.status.as_u16();
        let named = || text(&self.headers, "x-request-id").unwrap_or(request_id).to_owned();
        problem.request_id.get_or_insert_with(named);
        Error::Problem(Box::new(problem))
    }

    fn unreadable(&self, reason: &'static str, request_id: &str) -> Error {
        let request_id = text(&self.headers, "x-request-id").unwrap_or(request_id).to_owned();
        Error::Answer { status: self.status.as_u16(), reason, request_id }
    }

    /// `Retry-After` in seconds; its date form is not used by the hub.
    fn retry_after(&self) -> Option<Duration> {
        let seconds = text(&self.headers, RETRY_AFTER.as_str())?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The innermost message, which is the one that says something ("connection refused").
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
