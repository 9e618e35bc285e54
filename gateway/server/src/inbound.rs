//! A request as it came in, checked for form: the value the listen stage gives.
//!
//! INVARIANT: the constructor is private to the listener, so holding an [`Inbound`] means that the
//! host is named exactly once, the path has no dots, empty segments or hidden separators, and the
//! body is neither encoded nor delimited twice.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Version, request};
use hub_auth::Channel;
use hyper::body::Incoming;

use crate::body::RequestBody;
use crate::throttle::Limited;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request that is well formed. Nobody is authenticated yet.
#[derive(Debug)]
pub struct Inbound {
    head: request::Parts,
    /// The path, when it is not the URI's own because `%3A` was written for `:`.
    path: Option<Arc<str>>,
    channel: Channel,
    request_id: Arc<str>,
    trace: Option<TraceContext>,
    received: Instant,
    pub(crate) body: RequestBody,
}

impl Inbound {
    pub(crate) fn admit(
        request: Request<Incoming>,
        facts: Arrival,
        request_id: Arc<str>,
    ) -> Result<Self, EdgeError> {
        let (head, body) = request.into_parts();
        check_host(&head)?;
        let path = check_path(head.uri.path())?;
        if head.headers.contains_key(CONTENT_ENCODING) {
            check_encoding(&head.headers)?;
        }
        let both = head.headers.contains_key(TRANSFER_ENCODING)
            && head.headers.contains_key(CONTENT_LENGTH);
        if both || facts.two_lengths {
            return Err(EdgeError::Malformed("both Content-Length and Transfer-Encoding"));
        }
        let trace = TraceContext::from_headers(&head.headers);
        let body = RequestBody::new(body, facts.body_timeout);
        let Arrival { channel, received, .. } = facts;
        Ok(Self { head, path, channel, request_id, trace, received, body })
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path: it starts with `/`, and `%3A` in its last segment reads `:`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or_else(|| self.head.uri.path())
    }

    /// The path, to be kept while the request is worked on. Shares its bytes with the request.
    #[must_use]
    pub fn target(&self) -> Target {
        Target { uri: self.head.uri.clone(), path: self.path.clone() }
    }

    /// The query string, as sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    /// The header fields.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The HTTP version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.head.version
    }

    /// Where the request came from, and whether that way is encrypted.
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The request's id, as echoed in `X-Request-Id`.
    #[must_use]
    pub const fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// The caller's trace, when it sent one.
    #[must_use]
    pub const fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// When the head was complete.
    #[must_use]
    pub const fn received(&self) -> Instant {
        self.received
    }

    /// A request out of thin air, for tests of the stages above.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn for_tests(request: Request<bytes::Bytes>, channel: Channel) -> Self {
        let (head, body) = request.into_parts();
        let path = check_path(head.uri.path()).unwrap();
        let trace = TraceContext::from_headers(&head.headers);
        let request_id = hub_model::RequestId::generate().to_string().into();
        let (received, body) = (Instant::now(), RequestBody::ready(body));
        Self { head, path, channel, request_id, trace, received, body }
    }
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Target {
    uri: http::Uri,
    path: Option<Arc<str>>,
}

impl Target {
    /// As [`Inbound::path`].
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or_else(|| self.uri.path())
    }
}

/// What the listener knows beside the request.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) channel: Channel,
    pub(crate) received: Instant,
    pub(crate) body_timeout: Duration,
    /// The head had both length fields; hyper has removed one of them.
    pub(crate) two_lengths: bool,
}

/// A W3C trace context (`traceparent`, level 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The caller's span.
    pub parent_id: [u8; 8],
    /// Whether the caller records it.
    pub sampled: bool,
}

impl TraceContext {
    /// The trace id as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace_id))
    }

    fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.as_bytes())
    }

    /// `00-<32 hex>-<16 hex>-<2 hex>`; a later version may have more after another dash.
    fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(55)?;
        let mut parts = head.split(|byte| *byte == b'-');
        let version: [u8; 1] = hex(parts.next()?)?;
        let trace_id: [u8; 16] = hex(parts.next()?)?;
        let parent_id: [u8; 8] = hex(parts.next()?)?;
        let flags: [u8; 1] = hex(parts.next()?)?;
        let tail = match version {
            [0] => rest.is_empty(),
            [0xff] => false,
            _ => matches!(rest.first(), None | Some(b'-')),
        };
        let valid = tail && parts.next().is_none() && trace_id != [0; 16] && parent_id != [0; 8];
        valid.then_some(Self { trace_id, parent_id, sampled: flags[0] & 1 == 1 })
    }
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (slot, pair) in out.iter_mut().zip(text.as_chunks::<2>().0) {
        *slot = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(out)
}

/// Why the edge refuses a request. Facts for the problem document, and nothing about keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// The request is not well formed.
    #[error("{0}")]
    Malformed(&'static str),
    /// The body is longer than this route takes.
    #[error("the body is longer than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", limit.as_secs_f32())]
    BodyTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The body broke off.
    #[error("the body ended before it was complete")]
    BodyBroken,
    /// The body is compressed or otherwise encoded.
    #[error("the body must not be encoded; leave out Content-Encoding")]
    Encoded,
    /// The request took too long. Whether it took effect is unknown.
    #[error(
        "the request took longer than {} s; whether it took effect is unknown",
        limit.as_secs_f32()
    )]
    RequestTimeout {
        /// The limit.
        limit: Duration,
    },
    /// A rate gate.
    #[error("{0}")]
    RateLimited(Limited),
    /// As much is in work as may be.
    #[error("{0}; try again in a second")]
    Overloaded(&'static str),
    /// Refused for a while, after unusual behaviour.
    #[error("refused for a while, after unusual behaviour")]
    Blocked {
        /// Until when.
        left: Duration,
    },
    /// The process is ending.
    #[error("the hub is stopping")]
    Stopping,
    /// The handler panicked.
    #[error("something went wrong inside the hub")]
    Internal,
}

/// What a problem document says about an [`EdgeError`], beside its `Display` as `detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeFacts {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable word.
    pub code: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
}

impl EdgeError {
    /// Status, code, title, and whether to try again.
    #[must_use]
    pub fn facts(&self) -> EdgeFacts {
        let facts = |status, code, title, retryable| EdgeFacts {
            status,
            code,
            title,
            retryable,
            retry_after: None,
        };
        match self {
            Self::Malformed(_) | Self::BodyBroken => {
                facts(StatusCode::BAD_REQUEST, "bad_request", "Bad request", false)
            }
            Self::BodyTooLarge { .. } => {
                facts(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large", false)
            }
            Self::BodyTimeout { .. } => {
                facts(StatusCode::REQUEST_TIMEOUT, "body_timeout", "Body too slow", true)
            }
            Self::Encoded => facts(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "Unsupported encoding",
                false,
            ),
            Self::RequestTimeout { .. } => facts(
                StatusCode::SERVICE_UNAVAILABLE,
                "request_timeout",
                "Request took too long",
                true,
            ),
            Self::RateLimited(limited) => EdgeFacts {
                retry_after: Some(limited.retry_after_seconds()),
                ..facts(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests", true)
            },
            Self::Overloaded(_) => EdgeFacts {
                retry_after: Some(1),
                ..facts(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", true)
            },
            Self::Blocked { left } => EdgeFacts {
                retry_after: Some(left.as_secs().saturating_add(1)),
                ..facts(StatusCode::TOO_MANY_REQUESTS, "blocked", "Blocked for a while", true)
            },
            Self::Stopping => EdgeFacts {
                retry_after: Some(1),
                ..facts(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", true)
            },
            Self::Internal => {
                facts(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", false)
            }
        }
    }
}

impl From<Limited> for EdgeError {
    fn from(limited: Limited) -> Self {
        Self::RateLimited(limited)
    }
}

/// Exactly one host (RFC 9112 §3.2); over HTTP/2 `:authority`, which a `Host` may only repeat.
fn check_host(head: &request::Parts) -> Result<(), EdgeError> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(EdgeError::Malformed("more than one Host header"));
    }
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let named = match (head.version, authority, host) {
        (Version::HTTP_2, Some(authority), Some(host)) if authority != host.as_bytes() => {
            return Err(EdgeError::Malformed("Host is not :authority"));
        }
        (Version::HTTP_2, Some(authority), _) => authority,
        (_, _, Some(host)) => host.as_bytes(),
        (_, _, None) => return Err(EdgeError::Malformed("a Host header is required")),
    };
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(byte);
    if named.is_empty() || !named.iter().all(legal) {
        return Err(EdgeError::Malformed("the host is not valid"));
    }
    Ok(())
}

fn check_encoding(headers: &HeaderMap) -> Result<(), EdgeError> {
    let identity = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(identity) {
        return Ok(());
    }
    Err(EdgeError::Encoded)
}

/// Refuses paths that two readers could understand differently. Gives the path to use when it is
/// not the one sent: `%3A` in the last segment becomes `:`, for clients that escape it.
fn check_path(path: &str) -> Result<Option<Arc<str>>, EdgeError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(EdgeError::Malformed("the request target has no path"));
    }
    let mut colon = false;
    let mut segment = Segment::default();
    let mut rest = bytes.iter();
    rest.next();
    while let Some(byte) = rest.next() {
        match byte {
            b'/' => {
                segment.end(true)?;
                segment = Segment::default();
                colon = false;
            }
            b'\\' => return Err(EdgeError::Malformed("a backslash in the path")),
            b'%' => {
                let digits = [rest.next(), rest.next()];
                let [Some(high), Some(low)] = digits else { return Err(ESCAPE) };
                match unescape(*high, *low).ok_or(ESCAPE)? {
                    b'/' | b'\\' | 0 => {
                        return Err(EdgeError::Malformed("an escaped separator in the path"));
                    }
                    b'.' => segment.dot(),
                    b':' => {
                        colon = true;
                        segment.other();
                    }
                    _ => segment.other(),
                }
            }
            b'.' => segment.dot(),
            0..0x20 | 0x7f.. => return Err(EdgeError::Malformed("a control byte in the path")),
            _ => segment.other(),
        }
    }
    segment.end(false)?;
    if !colon {
        return Ok(None);
    }
    let (head, last) = path.rsplit_once('/').unwrap_or(("", path));
    let last = last.replace("%3A", ":").replace("%3a", ":");
    Ok(Some(format!("{head}/{last}").into()))
}

const ESCAPE: EdgeError = EdgeError::Malformed("a broken escape in the path");

/// What one path segment consists of.
#[derive(Default)]
struct Segment {
    dots: usize,
    others: usize,
}

impl Segment {
    const fn dot(&mut self) {
        self.dots += 1;
    }

    const fn other(&mut self) {
        self.others += 1;
    }

    const fn end(&self, followed: bool) -> Result<(), EdgeError> {
        match (self.dots, self.others) {
            (0, 0) if followed => Err(EdgeError::Malformed("an empty segment in the path")),
            (1 | 2, 0) => Err(EdgeError::Malformed("a dot segment in the path")),
            _ => Ok(()),
        }
    }
}

fn unescape(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Whether a caller's `X-Request-Id` may stand in logs and headers: `[A-Za-z0-9._-]{1,128}`.
pub(crate) fn is_request_id(text: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=128).contains(&text.len()) && text.iter().all(legal)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, parent) =
            (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.parent_id));
        write!(f, "00-{trace:032x}-{parent:016x}-{:02x}", u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass_unchanged() {
        for path in ["/", "/v1/keys", "/v1/keys/", "/v1/keys/a:encrypt", "/a.b/..c/%20", "/...x"] {
            assert_eq!(check_path(path), Ok(None), "{path}");
        }
    }

    #[test]
    fn an_escaped_colon_counts_in_the_last_segment_only() {
        let path = check_path("/v1/keys/k%3Aencrypt").unwrap().unwrap();
        assert_eq!(&*path, "/v1/keys/k:encrypt");
        assert_eq!(&*check_path("/a%3ab/k%3aencrypt").unwrap().unwrap(), "/a%3ab/k:encrypt");
        assert_eq!(check_path("/a%3Ab/k").unwrap(), None);
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in [
            "",
            "*",
            "/a//b",
            "//",
            "/a/../b",
            "/a/..",
            "/./a",
            "/a/.",
            "/%2e%2E/a",
            "/.%2e",
            "/a%2Fb",
            "/a%2fb",
            "/a%00",
            "/a%5Cb",
            "/a%5cb",
            "/a\\b",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a\u{7f}",
            "/é",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn trace_contexts_are_read_strictly() {
        let good = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = TraceContext::parse(good).unwrap();
        assert_eq!(trace.trace_id_hex(), "0af7651916cd43dd8448eb211c80319c");
        assert!(trace.sampled);
        assert_eq!(trace.to_string().as_bytes(), good);
        let later = b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more";
        assert!(!TraceContext::parse(later).unwrap().sampled);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-011",
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn request_ids_have_a_small_alphabet() {
        assert!(is_request_id(b"a-B.9_"));
        assert!(is_request_id(&[b'x'; 128]));
        for bad in [&b""[..], &[b'x'; 129], b"a b", b"a\"", "é".as_bytes()] {
            assert!(!is_request_id(bad));
        }
    }
}
