//! POST over a connection that stays: no redirects, no proxies, no cookies, no compression, bounded
//! answers.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hub_audit::relay::SinkError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::config::HttpTarget;

pub(super) const AGENT: &str = concat!("cipher-hub/", env!("CARGO_PKG_VERSION"));
/// The longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// A client of one receiver.
#[derive(Debug)]
pub(super) struct Client {
    target: HttpTarget,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
    /// Drives the connection; it ends with this.
    _driver: JoinSet<()>,
}

/// A request of whatever kind.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) method: Method,
    /// And query.
    pub(super) path: String,
    /// Give way to those of the configuration.
    pub(super) wished: HeaderMap,
    /// Replace those of the configuration.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer of whatever kind.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) end: End,
}

/// How much of an answer's body there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// As much as is read of any.
    Cut,
    /// It broke off.
    Broken,
}

fn lost(error: &dyn std::fmt::Display) -> SinkError {
    SinkError(format!("no answer: {error}"))
}

/// Puts all values of each name in the place of those that are there.
fn replace(headers: &mut HeaderMap, by: &HeaderMap) {
    for name in by.keys() {
        headers.remove(name);
        for value in by.get_all(name) {
            headers.append(name, value.clone());
        }
    }
}

async fn read(mut body: hyper::body::Incoming) -> (Bytes, End) {
    let mut held = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (held.into(), End::Broken) };
        let Ok(data) = frame.into_data() else { continue };
        let room = MAX_ANSWER - held.len();
        held.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            return (held.into(), End::Cut);
        }
    }
    (held.into(), End::Whole)
}

impl Client {
    pub(super) const fn new(target: HttpTarget) -> Self {
        Self { target, open: None }
    }

    /// Posts one body and gives the answer, which was a success.
    pub(super) async fn post(
        &mut self,
        kind: &'static str,
        more: Option<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Result<Bytes, SinkError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some((name, value)) = more {
            let value = HeaderValue::from_str(&value).map_err(|error| lost(&error))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let path = self.target.url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (method, wished, body) = (Method::POST, HeaderMap::new(), Bytes::from(body));
        let answer = self.send(&Sent { method, path, wished, headers, body }).await?;
        let status = answer.status;
        if status.is_success() {
            // What is said beside a success does not matter.
            let whole = answer.end == End::Whole;
            return Ok(if whole { answer.body } else { Bytes::new() });
        }
        let note = if status.is_redirection() { "; redirects are not followed" } else { "" };
        Err(SinkError(format!("the answer has status {}{note}", status.as_u16())))
    }

    /// Sends one request and gives the answer, whatever it is.
    pub(super) async fn send(&mut self, sent: &Sent) -> Result<Answer, SinkError> {
        // INVARIANT: taken out while in use, so that a call that is given up leaves none behind
        // whose answer nobody has read.
        let kept = match self.open.take() {
            Some(mut open) => match open.sender.ready().await {
                Ok(()) => Some(open),
                Err(_) => None,
            },
            None => None,
        };
        let reused = kept.is_some();
        let mut open = match kept {
            Some(open) => open,
            None => self.connect().await?,
        };
        let mut answer = self.exchange(&mut open, sent).await;
        if reused && answer.is_err() {
            // The receiver has closed a connection that was idle; that is no failure yet.
            open = self.connect().await?;
            answer = self.exchange(&mut open, sent).await;
        }
        let answer = answer?;
        // Headers are read again with the next connection after a failure: a token may have been
        // replaced. Unread bytes spoil a connection.
        self.open = (answer.status.is_success() && answer.end == End::Whole).then_some(open);
        Ok(answer)
    }

    async fn exchange(&self, open: &mut Open, sent: &Sent) -> Result<Answer, SinkError> {
        let url = &self.target.url;
        let mut request = Request::builder()
            .method(sent.method.clone())
            .uri(&sent.path)
            .version(Version::HTTP_11)
            .body(Full::new(sent.body.clone()))
            .map_err(|error| lost(&error))?;
        let headers = request.headers_mut();
        *headers = sent.wished.clone();
        replace(headers, &open.headers);
        let host = url.authority().map_or("", |authority| authority.as_str());
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|error| lost(&error))?);
        replace(headers, &sent.headers);
        let answer = open.sender.send_request(request).await.map_err(|error| lost(&error))?;
        let (head, body) = answer.into_parts();
        let (body, end) = read(body).await;
        Ok(Answer { status: head.status, headers: head.headers, body, end })
    }

    async fn connect(&self) -> Result<Open, SinkError> {
        let failed = |error: &dyn std::fmt::Display| SinkError(format!("no connection: {error}"));
        let headers = match self.target.headers_file.clone() {
            None => HeaderMap::new(),
            Some(path) => tokio::task::spawn_blocking(move || read_headers(&path))
                .await
                .map_err(|error| failed(&error))?
                .map_err(SinkError)?,
        };
        let url = &self.target.url;
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let tcp = TcpStream::connect((host.as_str(), port)).await;
        let tcp = tcp.map_err(|error| failed(&error))?;
        let _ = tcp.set_nodelay(true);
        let mut driver = JoinSet::new();
        let mut builder = Builder::new();
        builder.max_buf_size(64 * 1024);
        let sender = if tls {
            let config = crate::jwks::fetch::config(self.target.ca_file.as_deref()).await;
            let config = config.map_err(|error| failed(&error))?;
            let name = ServerName::try_from(host).map_err(|error| failed(&error))?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
            let stream = TokioIo::new(stream.map_err(|error| failed(&error))?);
            let (sender, work) = builder.handshake(stream).await.map_err(|e| failed(&e))?;
            driver.spawn(async move { drop(work.await) });
            sender
        } else {
            let (sender, work) =
                builder.handshake(TokioIo::new(tcp)).await.map_err(|error| failed(&error))?;
            driver.spawn(async move { drop(work.await) });
            sender
        };
        Ok(Open { sender, headers, _driver: driver })
    }
}

/// Lines `Name: value`. The file is a secret: it is refused when others can read it, and no error
/// quotes it.
pub(super) fn read_headers(path: &Path) -> Result<HeaderMap, String> {
    let at = path.display();
    let facts = std::fs::metadata(path).map_err(|error| format!("`{at}`: {error}"))?;
    if facts.mode() & 0o077 != 0 {
        return Err(format!("`{at}`: others than its owner may use it; chmod go-rwx"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("`{at}`: {error}"))?;
    let mut headers = HeaderMap::new();
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        let header = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse::<HeaderName>().ok()?, value))
        });
        let (name, value) = header.ok_or(format!("`{at}`: line {number} is no `Name: value`"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn headers_are_private_and_never_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("headers");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("Authorization: Bearer secret\n\nX-Team: a:b\n", 0o600);
        let headers = read_headers(&path).unwrap();
        assert_eq!((headers.len(), headers["x-team"].as_bytes()), (2, &b"a:b"[..]));
        assert!(!format!("{headers:?}").contains("secret"));
        write("Authorization: Bearer secret", 0o640);
        assert!(read_headers(&path).unwrap_err().contains("chmod"));
        for text in ["Bearer secret", "bad name: secret", "X: se\u{1}cret"] {
            write(text, 0o600);
            let error = read_headers(&path).unwrap_err();
            assert!(error.contains("line 1") && !error.contains("cret"), "{error}");
        }
    }
}
