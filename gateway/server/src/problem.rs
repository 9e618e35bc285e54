//! The only place where errors become HTTP: RFC 9457 problem documents with a stable `code`.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hub_model::api::problem::{FieldProblem, MEDIA_TYPE, Problem};
use hub_operations::{Error, Failure};

use crate::inbound::EdgeError;
use crate::listen::Reply;

/// Every kind of problem: code, status, title, whether to try again. `docs/http.md` lists them.
pub const KINDS: &[(&str, u16, &str, bool)] = &[
    ("bad_request", 400, "Bad request", false),
    ("invalid_json", 400, "Not the JSON this route takes", false),
    ("invalid_argument", 400, "A value that cannot be", false),
    ("invalid_name", 400, "Not a name or id", false),
    ("invalid_query", 400, "Unknown or malformed query parameter", false),
    ("invalid_header", 400, "Malformed header", false),
    ("page_token", 400, "Not a page token of this list", false),
    ("decryption_failed", 400, "The ciphertext does not open", false),
    ("import_failed", 400, "The wrapped key does not unwrap", false),
    ("unauthenticated", 401, "Not authenticated", false),
    ("denied", 403, "Denied by policy", false),
    ("not_found", 404, "Not found", false),
    ("no_such_version", 404, "No such version", false),
    ("unknown_route", 404, "No such route", false),
    ("unknown_operation", 404, "No such operation", false),
    ("method_not_allowed", 405, "Method not allowed", false),
    ("body_timeout", 408, "Body too slow", true),
    ("already_exists", 409, "Exists already", false),
    ("conflict", 409, "Changed by somebody else", true),
    ("wrong_purpose", 409, "The key is for something else", false),
    ("version_unusable", 409, "Not in a state for this use", false),
    ("not_exportable", 409, "Not exportable", false),
    ("algorithm_not_approved", 409, "Not an algorithm of this hub's profile", false),
    ("result_withheld", 409, "Answer not kept", false),
    ("key_state", 409, "Not in this state", false),
    ("credential_state", 409, "Not in this state", false),
    ("registration_not_frozen", 409, "Registration is not frozen", false),
    ("hub_registration", 409, "Not for the hub's own registration", false),
    ("last_administrator", 409, "Last administrator", false),
    ("too_many", 409, "Too many", false),
    ("policy_lockout", 409, "Nobody could run the hub under these policies", false),
    ("policies_elsewhere", 409, "Policies of this hub come from elsewhere", false),
    ("revision_in_use", 409, "The revision is in use", false),
    ("no_previous_revision", 409, "No revision was active before", false),
    ("plugin_in_use", 409, "The plugin is in use", false),
    ("no_previous_plugin", 409, "No version was active before", false),
    ("plugins_off", 409, "This hub takes no plugins", false),
    ("no_archives", 409, "No archives here", false),
    ("profile_pinned", 409, "The key is pinned to code that is not there", false),
    ("profile_changed", 409, "The plugin named is not there", false),
    ("stale", 412, "Changed meanwhile", false),
    ("body_too_large", 413, "Body too large", false),
    ("unsupported_media_type", 415, "Unsupported media type", false),
    ("unsupported_encoding", 415, "Unsupported encoding", false),
    ("idempotency_mismatch", 422, "Idempotency key used before", false),
    ("invalid_policy", 422, "The policies do not check", false),
    ("invalid_plugin", 422, "Not a plugin that can be run here", false),
    ("untrusted_plugin", 422, "Not signed by a trusted signer", false),
    ("plugin_check_failed", 422, "The plugin does not pass its check", false),
    ("precondition_required", 428, "If-Match required", false),
    ("rate_limited", 429, "Too many requests", true),
    ("blocked", 429, "Blocked for a while", true),
    ("internal", 500, "Internal error", false),
    ("integrity_failure", 500, "A stored record failed its integrity check", false),
    ("crypto_unavailable", 503, "Key material could not be handled", true),
    ("plugin_failed", 503, "A plugin cannot be used for this", false),
    ("plugin_unavailable", 503, "A plugin gave no answer", true),
    ("proof_pending", 503, "No proof can be given yet", true),
    ("audit_unavailable", 503, "The audit log cannot be written", true),
    ("archive_unavailable", 503, "An archive of the audit log cannot be read", true),
    ("store_unavailable", 503, "The store cannot be read", true),
    ("request_timeout", 503, "Request took too long", true),
    ("unavailable", 503, "Unavailable", true),
    ("overloaded", 503, "Overloaded", true),
];

/// A refusal on its way to the caller.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Facts>);

#[derive(Debug, Clone)]
struct Facts {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    retryable: bool,
    detail: String,
    errors: Vec<FieldProblem>,
    decision_id: Option<String>,
    violated: Vec<String>,
    retry_after: Option<u64>,
    left: Option<Box<hub_operations::Left>>,
    allow: Option<String>,
    seq: Option<u64>,
}

/// Where the entry of this outcome stands in the audit log.
pub(crate) const AUDIT_SEQ: HeaderName = HeaderName::from_static("cipher-hub-audit-seq");

impl Refusal {
    /// A refusal of this kind; an unknown kind is an internal error, which a test rules out.
    #[must_use]
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        let (code, status, title, retryable) = KINDS
            .iter()
            .find(|kind| kind.0 == code)
            .map_or((code, 500, "Internal error", false), |kind| *kind);
        Self(Box::new(Facts {
            code,
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            title,
            retryable,
            detail: detail.into(),
            errors: Vec::new(),
            decision_id: None,
            violated: Vec::new(),
            retry_after: None,
            left: None,
            allow: None,
            seq: None,
        }))
    }

    /// Names the member at fault.
    #[must_use]
    pub fn at(mut self, pointer: &str) -> Self {
        let detail = self.0.detail.clone();
        self.0.errors.push(FieldProblem { pointer: pointer.to_owned(), detail });
        self
    }

    /// For 405: what is allowed.
    #[must_use]
    pub fn allowing(mut self, methods: String) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// The same refusal where the caller must not learn whether there is anything.
    #[must_use]
    pub(crate) fn hidden(self, detail: impl Into<String>) -> Self {
        let refusal = Self::new("not_found", detail);
        Self(Box::new(Facts { seq: self.0.seq, ..*refusal.0 }))
    }

    /// Names the entry of this refusal.
    #[must_use]
    pub fn recorded(mut self, seq: u64) -> Self {
        self.0.seq = Some(seq);
        self
    }

    /// The stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The document.
    #[must_use]
    pub fn document(&self, request_id: Option<&str>, trace_id: Option<String>) -> Problem {
        Problem {
            kind: format!("urn:cipher-hub:problem:{}", self.0.code),
            title: self.0.title.to_owned(),
            status: self.0.status.as_u16(),
            detail: self.0.detail.clone(),
            code: self.0.code.to_owned(),
            request_id: request_id.map(str::to_owned),
            trace_id,
            retryable: self.0.retryable,
            errors: self.0.errors.clone(),
            decision_id: self.0.decision_id.clone(),
            violated_policies: self.0.violated.clone(),
        }
    }

    /// The response.
    #[must_use]
    pub fn reply(&self, request_id: &str, trace_id: Option<String>) -> Reply {
        let document = self.document(Some(request_id), trace_id);
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut reply = Response::new(Bytes::from(body).into());
        *reply.status_mut() = self.0.status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.0.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"cipher-hub\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(left) = &self.0.left {
            crate::quotas::write_headers(left, headers);
        }
        if let Some(seq) = self.0.seq {
            headers.insert(AUDIT_SEQ, HeaderValue::from(seq));
        }
        if let Some(Ok(allow)) = self.0.allow.as_deref().map(HeaderValue::from_str) {
            headers.insert(ALLOW, allow);
        }
        reply
    }
}

impl From<&EdgeError> for Refusal {
    fn from(error: &EdgeError) -> Self {
        let facts = error.facts();
        let mut refusal = Self::new(facts.code, error.to_string());
        refusal.0.status = facts.status;
        refusal.0.title = facts.title;
        refusal.0.retryable = facts.retryable;
        refusal.0.retry_after = facts.retry_after;
        if let EdgeError::RateLimited(limited) = error {
            refusal.0.violated.push(limited.policy.to_owned());
        }
        refusal
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let mut refusal = Self::new(error.code(), error.to_string());
        match error {
            Error::Invalid { pointer, .. } => refusal.at(pointer),
            Error::Plugin(refused) => match &refused.pointer {
                Some(pointer) => refusal.at(pointer),
                None => refusal,
            },
            Error::ProofPending(_)
            | Error::PluginUnavailable { .. }
            | Error::AuditUnavailable(_)
            | Error::Store(_)
            | Error::Crypto(_) => {
                refusal.0.retry_after = Some(1);
                refusal
            }
            Error::OverQuota { left, retry_after } => {
                refusal.0.retry_after = Some(*retry_after);
                refusal.0.left.clone_from(left);
                let named = left.as_ref().map(|left| left.policy.to_string());
                refusal.0.violated.extend(named);
                refusal
            }
            Error::OpeningsLimited { retry_after } => {
                refusal.0.retry_after = Some(*retry_after);
                refusal
            }
            Error::WrongPurpose { .. }
            | Error::VersionUnusable { .. }
            | Error::NotFound { .. }
            | Error::NoRegistration
            | Error::Denied { .. }
            | Error::AlreadyExists { .. }
            | Error::Conflict
            | Error::PreconditionRequired
            | Error::Stale { .. }
            | Error::DecryptionFailed
            | Error::State(_)
            | Error::CredentialState(_)
            | Error::IdempotencyMismatch
            | Error::ResultWithheld
            | Error::RegistrationNotFrozen
            | Error::HubRegistration(_)
            | Error::LastAdministrator
            | Error::TooMany(_)
            | Error::NoVersion(_)
            | Error::ImportFailed
            | Error::NotExportable
            | Error::NotApproved(..)
            | Error::PageToken
            | Error::LockOut(_)
            | Error::PolicySource(_)
            | Error::RevisionInUse(..)
            | Error::NoPreviousRevision
            | Error::ArchiveUnavailable(_)
            | Error::NoArchives
            | Error::ProfilePinned(_)
            | Error::ProfileChanged(_)
            | Error::PluginFailed { .. }
            | Error::Integrity(_) => refusal,
            Error::Policies(problems) => {
                let problem = |(pointer, detail): &(String, String)| FieldProblem {
                    pointer: pointer.clone(),
                    detail: detail.clone(),
                };
                refusal.0.errors.extend(problems.iter().map(problem));
                refusal
            }
        }
    }
}

impl From<&Failure> for Refusal {
    fn from(failure: &Failure) -> Self {
        if let Error::Integrity(cause) = &failure.error {
            tracing::error!(cause = %cause, "a stored record failed its integrity check");
        }
        let mut refusal = Self::from(&failure.error);
        refusal.0.decision_id.clone_from(&failure.decision_id);
        refusal.0.seq = failure.seq;
        refusal
    }
}

#[cfg(test)]
mod tests {
    use hub_model::{KeyState, Purpose};

    use super::*;

    #[test]
    fn every_error_has_a_kind() {
        let known = |code: &str| KINDS.iter().any(|kind| kind.0 == code);
        let errors = [
            Error::NotFound { what: "key", name: "a".into() },
            Error::Denied { action: "keys.get" },
            Error::AlreadyExists { what: "key", name: "a".into() },
            Error::Conflict,
            Error::PreconditionRequired,
            Error::Stale { current: 1 },
            Error::Invalid { pointer: "/a", detail: "b".into() },
            Error::DecryptionFailed,
            Error::IdempotencyMismatch,
            Error::ResultWithheld,
            Error::RegistrationNotFrozen,
            Error::HubRegistration("x"),
            Error::LastAdministrator,
            Error::TooMany("x"),
            Error::NoVersion(1),
            Error::ImportFailed,
            Error::NotExportable,
            Error::PageToken,
            Error::Policies(vec![("/files/0".into(), "x".into())]),
            Error::LockOut("x".into()),
            Error::PolicySource("x"),
            Error::RevisionInUse("x".into(), "active"),
            Error::NoPreviousRevision,
            Error::ArchiveUnavailable("x".into()),
            Error::NoArchives,
            Error::Integrity("x".into()),
            Error::ProofPending("x"),
            Error::WrongPurpose { purpose: Purpose::Sign, wanted: Purpose::Mac },
            Error::VersionUnusable { version: 1, state: KeyState::Suspended },
            Error::OpeningsLimited { retry_after: 1 },
            Error::OverQuota { left: None, retry_after: 1 },
            Error::ProfilePinned("x".into()),
            Error::ProfileChanged("x".into()),
            Error::PluginFailed { plugin: "tree".parse().unwrap(), what: "x".into() },
            Error::PluginUnavailable { plugin: "tree".parse().unwrap(), kind: "busy" },
        ];
        for error in errors {
            assert!(known(error.code()), "{}", error.code());
        }
        for code in ["audit_unavailable", "store_unavailable", "crypto_unavailable"] {
            assert!(known(code));
        }
        for error in [
            EdgeError::Stopping,
            EdgeError::Internal,
            EdgeError::Encoded,
            EdgeError::Overloaded("x"),
            EdgeError::Blocked { left: std::time::Duration::ZERO },
        ] {
            let facts = error.facts();
            let kind = KINDS.iter().find(|kind| kind.0 == facts.code).unwrap();
            assert_eq!((kind.1, kind.2), (facts.status.as_u16(), facts.title));
        }
    }

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = KINDS.iter().map(|kind| kind.0).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), KINDS.len());
    }
}
