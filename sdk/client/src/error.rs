//! What can go wrong with a call, told apart by what the caller can do about it.

use std::path::PathBuf;
use std::time::Duration;

use hub_model::api::problem::Problem;

/// A call, or the making of a client, that failed. Messages never hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address of no known form.
    #[error("`{0}` is not an address (http://host:port, https://host:port or unix:/path)")]
    Address(String),
    /// An API key would have crossed the network in the clear.
    #[error("an API key is not sent over plain HTTP to another machine (`{0}`)")]
    PlainHttp(String),
    /// An API key with characters no API key has.
    #[error("the API key holds characters that API keys do not have")]
    ApiKey,
    /// A token file without a token in it.
    #[error("`{}` holds no token", .0.display())]
    Token(PathBuf),
    /// A header value with characters headers do not have.
    #[error("the value of `{0}` cannot be sent as a header")]
    Header(&'static str),
    /// A name or id that cannot be one.
    #[error("`{0}` is neither a name nor an id")]
    Segment(String),
    /// A file of the configuration.
    #[error("cannot read `{}`: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// No connection came about: the hub has not seen the request.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The connection broke: the hub may or may not have acted on the request.
    #[error("the connection to {address} broke: {reason}")]
    Broken {
        /// Where to.
        address: String,
        /// How.
        reason: String,
        /// The request's id.
        request_id: String,
    },
    /// No answer in time: the hub may or may not have acted on the request.
    #[error("no answer within {} ms", after.as_millis())]
    Deadline {
        /// The deadline.
        after: Duration,
        /// The request's id.
        request_id: String,
    },
    /// The hub refused; the problem document says why.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The request body could not be written.
    #[error("the request cannot be written as JSON")]
    Request,
    /// An answer that is not one of this API.
    #[error("the answer (status {status}) is not one of a Cipher Hub: {reason}")]
    Answer {
        /// Its HTTP status.
        status: u16,
        /// What is wrong with it.
        reason: &'static str,
        /// The request's id.
        request_id: String,
    },
}

impl Error {
    /// The stable code of the problem, when the hub answered with one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }

    /// The problem document, when the hub answered with one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The HTTP status, when there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The request's id, as in the hub's audit trail.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => problem.request_id.as_deref(),
            Self::Broken { request_id, .. }
            | Self::Deadline { request_id, .. }
            | Self::Answer { request_id, .. } => Some(request_id),
            _ => None,
        }
    }

    /// For a denial: what an administrator gives to `cipher-hub policy explain`.
    #[must_use]
    pub fn decision_id(&self) -> Option<&str> {
        self.problem().and_then(|problem| problem.decision_id.as_deref())
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::Deadline { .. } => true,
            Self::Problem(problem) => problem.retryable,
            Self::Answer { status, .. } => matches!(status, 429 | 503),
            _ => false,
        }
    }
}
