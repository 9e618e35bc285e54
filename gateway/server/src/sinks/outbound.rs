//! Where the plugin of a sink may send to: endpoints by name. The configuration gives address, TLS
//! and credentials; the plugin gives method, path below the base, headers that are not of the
//! connection, and a body, and each is looked at here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::Method;
use hub_model::Name;
use hub_plugins::host::{Outbound, OutboundRequest, OutboundResponse, SendError, Sending};

use super::http::{AGENT, Answer, Client, End, Sent};
use crate::config::HttpTarget;

mod request;

use request::{body, headers, method, path};

/// Bytes that a call of the plugin may send, bodies and headers of all its requests together.
const MAX_OUT: usize = 8 * 1024 * 1024;
/// The longest that one request may take, whatever is asked for.
const LONGEST: Duration = Duration::from_secs(30);
/// Bytes of headers handed to the plugin.
const MAX_HEADERS: usize = 16 * 1024;

/// The endpoints of one sink.
#[derive(Debug)]
pub(super) struct Endpoints {
    by_name: BTreeMap<Name, Endpoint>,
    /// Bytes that the call under way has sent.
    out: AtomicUsize,
    /// What went wrong last, for the operator: the plugin is told less.
    problem: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Endpoint {
    /// Without a `/` at its end.
    base: String,
    client: tokio::sync::Mutex<Client>,
}

impl Endpoints {
    pub(super) fn new(targets: &BTreeMap<Name, HttpTarget>) -> Self {
        let one = |(name, target): (&Name, &HttpTarget)| {
            let base = target.url.path().trim_end_matches('/').to_owned();
            let client = tokio::sync::Mutex::new(Client::new(target.clone()));
            (name.clone(), Endpoint { base, client })
        };
        let by_name = targets.iter().map(one).collect();
        Self { by_name, out: AtomicUsize::new(0), problem: Mutex::new(None) }
    }

    /// Another call begins.
    pub(super) fn begin(&self) {
        self.out.store(0, Ordering::Relaxed);
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What went wrong in this call.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, problem: String) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }

    async fn exchange(
        &self,
        name: &str,
        request: OutboundRequest,
        timeout: Duration,
    ) -> Result<OutboundResponse, SendError> {
        let endpoint = self.by_name.get(name).ok_or(SendError::UnknownEndpoint)?;
        let denied = |why: &str| SendError::Denied(why.to_owned());
        let method = method(&request.method).map_err(denied)?;
        let path = path(&endpoint.base, &request.path).map_err(denied)?;
        let wished = headers(&request.headers).map_err(denied)?;
        body(&method, &request.body).map_err(denied)?;
        let size = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len();
        let head: usize = wished.iter().map(|(name, value)| size(name, value)).sum();
        let cost = path.len() + head + request.body.len();
        let spend = |out: usize| out.checked_add(cost).filter(|out| *out <= MAX_OUT);
        let order = Ordering::Relaxed;
        self.out.fetch_update(order, order, spend).map_err(|_| SendError::TooLarge)?;
        let sent = sent(method, path, wished, request.body);
        let timeout = timeout.min(LONGEST);
        let work = async { endpoint.client.lock().await.send(&sent).await };
        match tokio::time::timeout(timeout, work).await {
            Err(_) => {
                self.note(format!("endpoint `{name}`: no answer within {timeout:?}"));
                Err(SendError::Timeout)
            }
            Ok(Err(error)) => {
                self.note(format!("endpoint `{name}`: {error}"));
                Err(SendError::Connection("the endpoint cannot be reached".to_owned()))
            }
            Ok(Ok(answer)) if answer.end == End::Broken => {
                self.note(format!("endpoint `{name}`: the answer broke off"));
                Err(SendError::Connection("the answer broke off".to_owned()))
            }
            Ok(Ok(answer)) => {
                let status = answer.status;
                if !status.is_success() {
                    let note =
                        if status.is_redirection() { "; redirects are not followed" } else { "" };
                    self.note(format!("endpoint `{name}`: status {}{note}", status.as_u16()));
                }
                Ok(response(answer))
            }
        }
    }
}

fn sent(method: Method, path: String, mut wished: HeaderMap, body: Vec<u8>) -> Sent {
    if !wished.contains_key(USER_AGENT) {
        wished.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    }
    Sent { method, path, wished, headers: HeaderMap::new(), body: Bytes::from(body) }
}

/// What the plugin gets of an answer: no cookies, nothing of the connection, and not where a
/// redirect leads, because it can name no place itself.
fn response(answer: Answer) -> OutboundResponse {
    let mut left = MAX_HEADERS;
    let mut headers = Vec::new();
    for (name, value) in &answer.headers {
        let hidden = request::is_denied(name) || name == http::header::LOCATION;
        let Some(value) = value.to_str().ok().filter(|_| !hidden) else { continue };
        let Some(rest) = left.checked_sub(name.as_str().len() + value.len()) else { break };
        left = rest;
        headers.push((name.as_str().to_owned(), value.to_owned()));
    }
    OutboundResponse { status: answer.status.as_u16(), headers, body: answer.body.into() }
}

impl Outbound for Endpoints {
    fn send<'a>(
        &'a self,
        endpoint: &'a str,
        request: OutboundRequest,
        timeout: Duration,
    ) -> Sending<'a> {
        Box::pin(self.exchange(endpoint, request, timeout))
    }
}
