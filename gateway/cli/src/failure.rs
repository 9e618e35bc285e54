//! What a command fails with: an exit code, a message, a hint, and what the hub calls it.

use std::process::ExitCode;

use cipher_hub_client::Error;

/// Exit codes, as documented in `docs/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// It could not be done.
    Failed = 1,
    /// The command line cannot be meant.
    Usage = 2,
    /// The configuration cannot be meant.
    InvalidConfig = 3,
    /// The hub does not know who asks.
    NotAuthenticated = 4,
    /// The hub refuses.
    Denied = 5,
    /// There is no such thing.
    NotFound = 6,
    /// It is there already, or has changed meanwhile.
    Conflict = 7,
    /// The hub does not answer, or is sealed.
    Unavailable = 8,
    /// The user has interrupted it.
    Interrupted = 9,
    /// A verification has failed.
    NotVerified = 10,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub code: Code,
    /// What went wrong; nothing is said when empty.
    pub message: String,
    /// More lines.
    pub details: Vec<String>,
    pub(crate) request_id: Option<String>,
    /// What to do about it.
    pub hint: String,
    /// The hub agreed but its answer was not as expected: fine for a dry run.
    pub(crate) agreed: bool,
}

impl Failure {
    /// One with these words.
    pub fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            request_id: None,
            hint: hint.into(),
            agreed: false,
        }
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Code::Usage, message, hint)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(
            Code::Interrupted,
            "interrupted",
            "what was sent may have been done; look before you repeat it",
        )
    }

    /// A file that could not be read or written.
    #[must_use]
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        let message = format!("`{}`: {error}", path.display());
        Self::new(Code::Failed, message, "check the path and its permissions")
    }

    /// Stdout cannot be written. That nobody reads on (`| head`) goes without saying.
    #[must_use]
    pub fn output(error: &std::io::Error) -> Self {
        let message = match error.kind() {
            std::io::ErrorKind::BrokenPipe => String::new(),
            _ => format!("cannot write: {error}"),
        };
        Self::new(Code::Failed, message, "is there room on the disk?")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (code, hint) = judge(&error);
        let mut failure = Self::new(code, error.to_string(), hint);
        failure.request_id = error.request_id().map(str::to_owned);
        failure.agreed = matches!(error, Error::Answer { status: 200..=299, .. });
        if let Some(problem) = error.problem() {
            if code == Code::Denied {
                failure.message = format!("denied: {}", problem.detail);
            }
            // Those of policies name file, line and column themselves.
            let placed = problem.code == "invalid_policy";
            failure.details = problem
                .errors
                .iter()
                .filter(|field| field.detail != problem.detail)
                .map(|field| match placed {
                    true => field.detail.clone(),
                    false => format!("{}: {}", field.pointer, field.detail),
                })
                .collect();
        }
        failure
    }
}

/// The exit code, and what to try next.
fn judge(error: &Error) -> (Code, String) {
    let (code, hint) = match error {
        Error::Address(_) => (Code::Usage, "for example: --address https://127.0.0.1:8443"),
        Error::PlainHttp(_) => (Code::Usage, "use https:// or unix:, or a hub on this machine"),
        Error::ApiKey => {
            (Code::NotAuthenticated, "an API key looks like chk_…; store it by: cipher-hub login")
        }
        Error::Token(_) => {
            (Code::NotAuthenticated, "a token file holds one token (JWT), as its issuer gave it")
        }
        Error::Segment(_) => (Code::Usage, "names are 2 to 63 of a-z, 0-9 and -"),
        Error::Header(_) => (Code::Usage, "use visible ASCII characters"),
        Error::File { .. } => (Code::Failed, "check the path and its permissions"),
        Error::Tls(_) => (Code::Failed, "give the hub's authority: --ca-file FILE"),
        Error::Connect { reason, .. } | Error::Broken { reason, .. } if refused_ours(reason) => (
            Code::NotAuthenticated,
            "the hub wants a client certificate it believes: --cert-file FILE --key-file FILE",
        ),
        Error::Connect { reason, .. } if reason.contains("certificate") => {
            (Code::Unavailable, "give the authority of the hub's certificate: --ca-file FILE")
        }
        Error::Connect { .. } => {
            (Code::Unavailable, "is the hub running there? start one to try things: cipher-hub dev")
        }
        Error::Broken { .. } => (Code::Unavailable, "look whether it was done, then try again"),
        Error::Deadline { .. } => {
            (Code::Unavailable, "look whether it was done; allow more time: --timeout 2m")
        }
        Error::Request => (Code::Failed, "please report this"),
        Error::Answer { status: 503, .. } => (Code::Unavailable, "try again later"),
        Error::Answer { .. } => (Code::Failed, "does the address belong to a hub's API?"),
        Error::Problem(problem) => match problem.code.as_str() {
            "invalid_policy" => (Code::InvalidConfig, "mend what is listed, then try again"),
            "policy_lockout" => (Code::InvalidConfig, "leave administrators a way in"),
            "policies_elsewhere" => (Code::Conflict, "see policies.source in the configuration"),
            _ => return refused(problem.status, error),
        },
    };
    (code, hint.to_owned())
}

/// An alert about our own certificate (RFC 8446 §6.2).
fn refused_ours(reason: &str) -> bool {
    reason.contains("alert")
        && ["Certificate", "UnknownCA", "UnknownCa"].iter().any(|word| reason.contains(word))
}

fn refused(status: u16, error: &Error) -> (Code, String) {
    let (code, hint) = match status {
        401 => (Code::NotAuthenticated, "log in with an API key that is valid: cipher-hub login"),
        403 => {
            let id = error.decision_id().unwrap_or("DECISION_ID");
            let hint = format!("an administrator can run: cipher-hub policy explain {id}");
            return (Code::Denied, hint);
        }
        404 => (Code::NotFound, "check the name; what you may not see is not found either"),
        409 => (Code::Conflict, "look at what is there now, then decide"),
        412 | 428 => (Code::Conflict, "it changed meanwhile; look at it, then try again"),
        429 => (Code::Unavailable, "slow down, then try again"),
        503 => (Code::Unavailable, "ask for its state: cipher-hub healthcheck"),
        400..=499 => (Code::Failed, "correct the request; see --help for the form of values"),
        _ => (Code::Failed, "look for the request id in the hub's log"),
    };
    (code, hint.to_owned())
}
