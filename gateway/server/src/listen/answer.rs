//! What one connection answers: ids of requests, deadlines, panics, and what every answer says.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONNECTION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Request, Version};
use hub_auth::Channel;
use hub_model::{Clock as _, RequestId, clock::SystemClock};
use hyper::body::Incoming;

use super::wire::Life;
use super::{Handler, Reply, Shared};
use crate::inbound::{Arrival, EdgeError, Inbound, X_REQUEST_ID, is_request_id};
use crate::metrics::Metrics;
use crate::reply::ReplyBody;

/// One connection, as its requests see it.
pub(super) struct Connection<H> {
    shared: Arc<Shared<H>>,
    life: Arc<Life>,
    channel: Channel,
    /// Random bytes of the request ids of this connection.
    stem: RequestId,
    count: AtomicU64,
}

impl<H: Handler> Connection<H> {
    pub(super) fn new(shared: Arc<Shared<H>>, life: Arc<Life>, channel: Channel) -> Self {
        Self { shared, life, channel, stem: RequestId::generate(), count: AtomicU64::new(0) }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Reply {
        let shared = &*self.shared;
        let received = Instant::now();
        let two_lengths = self.life.begin(received);
        shared.metrics.active_requests.inc();
        let _busy = Busy { life: &self.life, metrics: &shared.metrics };
        let (request_id, echo) = self.request_id(request.headers());
        let facts = Arrival {
            channel: self.channel.clone(),
            received,
            body_timeout: shared.times.body,
            two_lengths,
        };
        let version = request.version();
        let answered = match Inbound::admit(request, facts, Arc::clone(&request_id)) {
            Ok(inbound) => shared.handle(inbound).await,
            Err(error) => Err(error),
        };
        let mut reply = answered.unwrap_or_else(|error| {
            shared.metrics.edge_refusals.inc();
            let mut reply = shared.handler.refuse(error, &request_id);
            // What is left of the request is not read.
            if version < Version::HTTP_2 {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            reply
        });
        if let ReplyBody::Stream(stream) = reply.body_mut() {
            stream.hold(Held::new(&self.life, &shared.metrics));
        }
        let headers = reply.headers_mut();
        headers.insert(X_REQUEST_ID, echo);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        reply
    }

    /// The caller's id when there is one that is fit for logs, else a fresh one.
    fn request_id(&self, headers: &HeaderMap) -> (Arc<str>, HeaderValue) {
        if let Some(value) = headers.get(X_REQUEST_ID)
            && is_request_id(value.as_bytes())
            && let Ok(text) = value.to_str()
        {
            return (Arc::from(text), value.clone());
        }
        let text = self.fresh_id().text();
        let value = HeaderValue::from_str(&text);
        (Arc::from(&*text), value.unwrap_or_else(|_| HeaderValue::from_static("unknown")))
    }

    /// A UUIDv7 (RFC 9562 §5.7) whose random part is drawn once per connection and then counted
    /// on (§6.2, method 2), which saves two system calls per request.
    fn fresh_id(&self) -> RequestId {
        let count = u128::from(self.count.fetch_add(1, Ordering::Relaxed));
        let millis = u128::try_from(SystemClock.now().as_millis()).unwrap_or(0);
        let stem = u128::from_be_bytes(*self.stem.as_bytes());
        // 48 bits of time, 4 of version, 12 random, 2 of variant, 62 random and counted on.
        let low = ((stem & LOW_62) + count) & LOW_62;
        let id = ((millis & 0xffff_ffff_ffff) << 80) | (stem & FIXED) | low;
        RequestId::from_bytes(id.to_be_bytes())
    }
}

const LOW_62: u128 = (1 << 62) - 1;
const FIXED: u128 = ((1 << 80) - 1) & !LOW_62;

impl<H: Handler> Shared<H> {
    async fn handle(&self, inbound: Inbound) -> Result<Reply, EdgeError> {
        let request_id = Arc::clone(inbound.request_id());
        let usual = self.times.request;
        let limit = self.handler.patience(&inbound).map_or(usual, |longer| longer.max(usual));
        // The call itself may panic too, before there is a future.
        let handled = AssertUnwindSafe(async { self.handler.handle(inbound).await });
        match tokio::time::timeout(limit, handled.catch_unwind()).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => {
                let request_id = &*request_id;
                tracing::error!(target: "hub::listen", request_id, "handler panicked");
                Err(EdgeError::Internal)
            }
            Err(_) => {
                let request_id = &*request_id;
                tracing::warn!(target: "hub::listen", request_id, "request timed out");
                Err(EdgeError::RequestTimeout { limit })
            }
        }
    }
}

/// Marks a request as being answered, also when its stream is reset meanwhile.
struct Busy<'a> {
    life: &'a Life,
    metrics: &'a Metrics,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.life.end(Instant::now());
        self.metrics.active_requests.dec();
    }
}

/// The same for an answer that is still being made when its head has been sent.
struct Held {
    life: Arc<Life>,
    metrics: Arc<Metrics>,
}

impl Held {
    fn new(life: &Arc<Life>, metrics: &Arc<Metrics>) -> Self {
        life.hold();
        metrics.active_requests.inc();
        Self { life: Arc::clone(life), metrics: Arc::clone(metrics) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.life.end(Instant::now());
        self.metrics.active_requests.dec();
    }
}
