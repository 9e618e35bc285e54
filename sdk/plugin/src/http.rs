//! Requests to endpoints that the operator configured by name. The hub adds address, TLS and
//! credentials; a plugin sees none of them, and can name no other place. Needs the capability
//! `outbound`.

use std::fmt;
use std::time::Duration;

use crate::Error;

/// Sends requests. Natively, tests script it: `testing::Outside`.
pub trait Outbound {
    /// Sends a request to an endpoint and waits for the response. Every status is a response.
    ///
    /// # Errors
    /// There was no response.
    fn send(&mut self, endpoint: &str, request: &Request) -> Result<Response, SendError>;
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST`, `PUT`, `GET`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// Appended to the endpoint's base path: empty, or begins with `/` and has no `..`.
    pub path: String,
    /// Names of the connection, of credentials and of the body's framing are refused.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// At most what is left of the call.
    pub timeout: Duration,
}

impl Request {
    /// A request with a body, and ten seconds for the answer.
    #[must_use]
    pub fn post(path: impl Into<String>, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST",
            path: path.into(),
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
            timeout: Duration::from_secs(10),
        }
    }

    /// With another header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With another timeout.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Cut off at the hub's limit, 64 KiB.
    pub body: Vec<u8>,
}

/// What a status says about what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx: it is there.
    Stored,
    /// 408, 425, 429, 5xx: later, and after how long if the response says so in seconds.
    Later(Option<Duration>),
    /// 400, 413, 415, 422: never, whoever sends it; and why.
    Refused(String),
    /// All else, such as 401, 404 or a redirection: the endpoint is not what was expected.
    Misplaced,
}

impl Response {
    /// A header, by name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// What the status says about what was sent.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.status {
            200..=299 => Verdict::Stored,
            408 | 425 | 429 | 500..=599 => Verdict::Later(self.retry_after()),
            400 | 413 | 415 | 422 => Verdict::Refused(format!("status {}", self.status)),
            _ => Verdict::Misplaced,
        }
    }

    /// `Retry-After` in seconds, a day at most. One that names a date is of no use without a clock.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(86_400)))
    }
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The operator configured no endpoint of this name.
    UnknownEndpoint,
    /// The request is one that the hub does not send.
    Denied(String),
    /// It took too long.
    Timeout,
    /// There is no connection.
    Connection(String),
    /// The request is too large.
    TooLarge,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownEndpoint => f.write_str("there is no endpoint of this name"),
            Self::Denied(why) => write!(f, "the hub does not send this: {why}"),
            Self::Timeout => f.write_str("no response in time"),
            Self::Connection(why) => write!(f, "no connection: {why}"),
            Self::TooLarge => f.write_str("the request is too large"),
        }
    }
}

impl std::error::Error for SendError {}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::UnknownEndpoint => Self::invalid(error.to_string()),
            _ => Self::internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_by_status() {
        let status = |status| Response { status, ..Response::default() }.verdict();
        assert_eq!(status(202), Verdict::Stored);
        assert_eq!(status(503), Verdict::Later(None));
        assert_eq!(status(422), Verdict::Refused("status 422".to_owned()));
        assert_eq!(status(401), Verdict::Misplaced);
        assert_eq!(status(302), Verdict::Misplaced);
        let headers = vec![("Retry-After".to_owned(), " 30".to_owned())];
        let response = Response { status: 429, headers, body: Vec::new() };
        assert_eq!(response.verdict(), Verdict::Later(Some(Duration::from_secs(30))));
    }
}
