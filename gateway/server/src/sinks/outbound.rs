//! Where the plugin of a sink may send to: endpoints by name. The configuration gives address, TLS
//! and credentials; the plugin gives method, path below the base, headers that are not of the
//! connection, and a body, and each is looked at here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hub_model::Name;
use hub_plugins::{Outbound, OutboundRequest, OutboundResponse, SendError, Sending};

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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::receiver::Receiver;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn endpoints(receiver: &Receiver, headers_file: Option<std::path::PathBuf>) -> Endpoints {
        let target = HttpTarget { url: receiver.url("/base/"), headers_file, ca_file: None };
        Endpoints::new(&BTreeMap::from([("collector".parse().unwrap(), target)]))
    }

    fn request(path: &str, body: &[u8]) -> OutboundRequest {
        OutboundRequest {
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: body.to_vec(),
        }
    }

    #[tokio::test]
    async fn credentials_come_from_the_file_and_cannot_be_replaced() {
        let receiver = Receiver::start().await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("headers");
        std::fs::write(&path, "Authorization: Bearer canary\nX-Api-Key: canary\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let endpoints = endpoints(&receiver, Some(path));
        let mut wanted = request("/v1?x=1", b"body");
        wanted.headers.push(("x-api-key".to_owned(), "forged".to_owned()));
        wanted.headers.push(("content-type".to_owned(), "text/plain".to_owned()));
        receiver
            .answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\nX-A: b\r\n\r\nok");
        let answer = endpoints.send("collector", wanted, SECOND).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
        let names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-a"], "no cookie, nothing of the framing");
        let got = receiver.requests().remove(0);
        assert_eq!(got.line, "POST /base/v1?x=1 HTTP/1.1");
        let head = got.head.to_ascii_lowercase();
        assert!(head.contains("\r\nauthorization: bearer canary\r\n"), "{head}");
        assert!(head.contains("\r\nx-api-key: canary\r\n") && !head.contains("forged"), "{head}");
        assert_eq!(head.matches("host:").count(), 1);
        assert_eq!(head.matches("content-length: 4").count(), 1);
        let shown = format!("{endpoints:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[tokio::test]
    async fn what_is_not_sent_says_so_and_sends_nothing() {
        let receiver = Receiver::start().await;
        let endpoints = endpoints(&receiver, None);
        let send = |name: &'static str, one| endpoints.send(name, one, SECOND);
        let unknown = send("elsewhere", request("/", b"")).await;
        assert_eq!(unknown, Err(SendError::UnknownEndpoint));
        let mut host = request("/", b"");
        host.headers.push(("Host".to_owned(), "elsewhere".to_owned()));
        for wrong in [
            host,
            request("/../x", b""),
            OutboundRequest { method: "TRACE".to_owned(), ..request("/", b"") },
        ] {
            assert!(matches!(send("collector", wrong).await, Err(SendError::Denied(_))));
        }
        assert!(receiver.requests().is_empty());
    }

    #[tokio::test]
    async fn answers_are_cut_and_waited_for_within_bounds() {
        let receiver = Receiver::start().await;
        let endpoints = endpoints(&receiver, None);
        let long = "x".repeat(100_000);
        receiver.answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{long}"));
        let answer = endpoints.send("collector", request("/", b""), 10 * SECOND).await.unwrap();
        assert_eq!(answer.body.len(), 64 * 1024);
        // A head that never ends.
        receiver.answer(&format!("HTTP/1.1 200 OK\r\nX: {long}"));
        let answer = endpoints.send("collector", request("/", b""), 10 * SECOND).await;
        assert!(matches!(answer, Err(SendError::Connection(_))), "{answer:?}");
        assert!(endpoints.problem().unwrap().starts_with("endpoint `collector`: "));
        // One that accepts and says nothing.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
        let target = HttpTarget { url, headers_file: None, ca_file: None };
        let endpoints = Endpoints::new(&BTreeMap::from([("silent".parse().unwrap(), target)]));
        let short = Duration::from_millis(50);
        let answer = endpoints.send("silent", request("/", b""), short).await;
        assert_eq!(answer, Err(SendError::Timeout));
    }

    #[tokio::test]
    async fn a_call_sends_so_much_and_no_more() {
        let receiver = Receiver::start().await;
        let endpoints = endpoints(&receiver, None);
        let megabytes = vec![b'x'; 3 << 20];
        for expected in [true, true, false] {
            let answer = endpoints.send("collector", request("/", &megabytes), 20 * SECOND).await;
            assert_eq!(answer.is_ok(), expected, "{answer:?}");
            if !expected {
                assert_eq!(answer, Err(SendError::TooLarge));
            }
        }
        endpoints.begin();
        let answer = endpoints.send("collector", request("/", &megabytes), 20 * SECOND).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
}
