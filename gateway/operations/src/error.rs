//! Why an operation was not done. One variant a kind of problem; `code` is the stable word in
//! problem documents and audit entries.

/// Failures of operations.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or the caller may not know of it.
    #[error("no {what} `{name}` here, or none you may see")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// By which name or id.
        name: String,
    },
    /// There is no such registration, or the caller may not know of it. Says nothing else: the
    /// name asked for, the key's name or the registration's own would tell one case from the other.
    #[error("no such registration here, or none you may see")]
    NoRegistration,
    /// Policy refused.
    #[error("policy does not permit `{action}` here")]
    Denied {
        /// What was asked for.
        action: &'static str,
    },
    /// The name is taken.
    #[error("a {what} named `{name}` exists already")]
    AlreadyExists {
        /// What.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Somebody else changed the same record at the same time, three times in a row.
    #[error("somebody else is changing the same record; try again")]
    Conflict,
    /// A change without saying what it is a change of.
    #[error("this change needs `If-Match` with the ETag of the version you have seen")]
    PreconditionRequired,
    /// A change of something that has changed meanwhile.
    #[error("the record has changed since: its ETag is now `\"{current}\"`")]
    Stale {
        /// The ETag now.
        current: u64,
    },
    /// A value that cannot be.
    #[error("{detail}")]
    Invalid {
        /// JSON pointer or parameter.
        pointer: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The ciphertext does not open, for whatever reason.
    #[error("the ciphertext does not open with this key, registration and context")]
    DecryptionFailed,
    /// The state of a key or a version does not allow it.
    #[error("{0}")]
    State(String),
    /// The state or kind of a credential does not allow it.
    #[error("{0}")]
    CredentialState(&'static str),
    /// The same idempotency key with another body.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyMismatch,
    /// A repeated request whose answer held a secret.
    #[error("the request was done, but its answer held a secret and was not kept")]
    ResultWithheld,
    /// Only a frozen registration can be erased.
    #[error("freeze the registration before deleting it: deletion erases every key in it at once")]
    RegistrationNotFrozen,
    /// The registration `hub` cannot be deleted, frozen or hold keys.
    #[error("the registration `hub` stands for the hub itself: {0}")]
    HubRegistration(&'static str),
    /// The hub would be left without an administrator who can come in.
    #[error("this would leave the hub without an administrator who holds a good credential")]
    LastAdministrator,
    /// Too many records at once.
    #[error("{0}")]
    TooMany(&'static str),
    /// The key has no version of that number.
    #[error("the key has no version {0}")]
    NoVersion(u32),
    /// The key is for something else. It never changes what it is for.
    #[error("the key is for `{purpose}`, and this needs one for `{wanted}`")]
    WrongPurpose {
        /// What the key is for.
        purpose: hub_model::Purpose,
        /// What was asked of it.
        wanted: hub_model::Purpose,
    },
    /// The version is not in a state for this use.
    #[error("version {version} of the key is {state} and not to be used so")]
    VersionUnusable {
        /// Its number.
        version: u32,
        /// The stricter of its state and the key's.
        state: hub_model::KeyState,
    },
    /// Too many openings of one RSA key have failed.
    #[error("too many openings of this key have failed; wait for {retry_after} seconds")]
    OpeningsLimited {
        /// Seconds until the next may be tried.
        retry_after: u64,
    },
    /// A quota has no room.
    #[error("the quota {} has no room left; wait for {retry_after} seconds", named(.left.as_deref()))]
    OverQuota {
        /// The window that refused.
        left: Option<Box<crate::Left>>,
        /// Seconds until the next may be tried.
        retry_after: u64,
    },
    /// A wrapped key that does not unwrap, for whatever reason.
    #[error("the wrapped key does not unwrap with the key of this import job")]
    ImportFailed,
    /// The key was not created to be exported.
    #[error("the key was not created exportable, and never leaves the hub")]
    NotExportable,
    /// The hub's algorithm profile does not admit this algorithm for new keys.
    #[error("{0} is not among the algorithms of the profile `{1}` (`crypto.profile`)")]
    NotApproved(hub_model::Algorithm, &'static str),
    /// A policy set that does not check: one line a problem, with where in the body it is.
    #[error("the policies do not check: {} problem(s)", .0.len())]
    Policies(Vec<(String, String)>),
    /// A policy set under which nobody could run the hub.
    #[error("{0}")]
    LockOut(String),
    /// Policies of this hub are not activated over the API.
    #[error("{0}")]
    PolicySource(&'static str),
    /// A revision that is active or in the shadow.
    #[error("revision {0} is in use: it is {1}")]
    RevisionInUse(String, &'static str),
    /// No revision was active before.
    #[error("no revision was active before this one")]
    NoPreviousRevision,
    /// A plugin, or a change of one, that the catalogue does not take.
    #[error("{}", .0.detail)]
    Plugin(Box<crate::plugin::Refused>),
    /// A page token that was not given for this list.
    #[error("`pageToken` was not given by this list")]
    PageToken,
    /// A proof over the audit log cannot be given yet.
    #[error("{0}")]
    ProofPending(&'static str),
    /// The code that a key is pinned to cannot be asked.
    #[error("{0}")]
    ProfilePinned(String),
    /// The code that a request names cannot be asked.
    #[error("{0}")]
    ProfileChanged(String),
    /// A plugin gave no answer this time.
    #[error("plugin `{plugin}` gave no answer ({kind}); try again")]
    PluginUnavailable {
        /// Which.
        plugin: hub_model::Name,
        /// The kind of its failure.
        kind: &'static str,
    },
    /// A plugin gives no usable answer to this.
    #[error("plugin `{plugin}` cannot be used for this: {what}")]
    PluginFailed {
        /// Which.
        plugin: hub_model::Name,
        /// What is wrong; for callers.
        what: Box<str>,
    },
    /// The log cannot be written: nothing was done.
    #[error("the audit log cannot be written; nothing was done")]
    AuditUnavailable(#[source] hub_audit::Error),
    /// Entries asked for are in an archive that cannot be read.
    #[error("{0}")]
    ArchiveUnavailable(String),
    /// There is nowhere to archive the log.
    #[error("this hub keeps its audit log in memory: there is nothing to archive")]
    NoArchives,
    /// A stored record does not open or contradicts itself.
    #[error("a stored record failed its integrity check")]
    Integrity(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[source] hub_store::Error),
    /// No memory or randomness for key material.
    #[error("key material could not be handled")]
    Crypto(#[source] hub_crypto::Error),
}

impl Error {
    /// The stable word for this kind of problem.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::NoRegistration => "not_found",
            Self::Denied { .. } => "denied",
            Self::AlreadyExists { .. } => "already_exists",
            Self::Conflict => "conflict",
            Self::PreconditionRequired => "precondition_required",
            Self::Stale { .. } => "stale",
            Self::Invalid { .. } => "invalid_argument",
            Self::DecryptionFailed => "decryption_failed",
            Self::State(_) => "key_state",
            Self::CredentialState(_) => "credential_state",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::ResultWithheld => "result_withheld",
            Self::RegistrationNotFrozen => "registration_not_frozen",
            Self::HubRegistration(_) => "hub_registration",
            Self::LastAdministrator => "last_administrator",
            Self::TooMany(_) => "too_many",
            Self::NoVersion(_) => "no_such_version",
            Self::WrongPurpose { .. } => "wrong_purpose",
            Self::VersionUnusable { .. } => "version_unusable",
            Self::OpeningsLimited { .. } | Self::OverQuota { .. } => "rate_limited",
            Self::ImportFailed => "import_failed",
            Self::NotExportable => "not_exportable",
            Self::NotApproved(..) => "algorithm_not_approved",
            Self::Policies(_) => "invalid_policy",
            Self::LockOut(_) => "policy_lockout",
            Self::PolicySource(_) => "policies_elsewhere",
            Self::RevisionInUse(..) => "revision_in_use",
            Self::NoPreviousRevision => "no_previous_revision",
            Self::Plugin(refused) => refused.code,
            Self::PageToken => "page_token",
            Self::ProofPending(_) => "proof_pending",
            Self::ProfilePinned(_) => "profile_pinned",
            Self::ProfileChanged(_) => "profile_changed",
            Self::PluginUnavailable { .. } => "plugin_unavailable",
            Self::PluginFailed { .. } => "plugin_failed",
            Self::AuditUnavailable(_) => "audit_unavailable",
            Self::ArchiveUnavailable(_) => "archive_unavailable",
            Self::NoArchives => "no_archives",
            Self::Integrity(_) => "integrity_failure",
            Self::Store(_) => "store_unavailable",
            Self::Crypto(_) => "crypto_unavailable",
        }
    }

    /// The same, without the names of files and what is wrong with them: those are for who reads
    /// the whole trail.
    #[must_use]
    pub(crate) fn veiled(self) -> Self {
        match self {
            Self::ArchiveUnavailable(_) => {
                Self::ArchiveUnavailable("an archive of older entries cannot be read".to_owned())
            }
            other => other,
        }
    }

    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }
}

impl From<hub_store::Error> for Error {
    fn from(error: hub_store::Error) -> Self {
        match error {
            hub_store::Error::Tampered { .. } | hub_store::Error::Malformed { .. } => {
                Self::Integrity(Box::new(error))
            }
            other => Self::Store(other),
        }
    }
}

impl From<hub_crypto::Error> for Error {
    fn from(error: hub_crypto::Error) -> Self {
        match error {
            hub_crypto::Error::Open => Self::Integrity(Box::new(error)),
            other => Self::Crypto(other),
        }
    }
}

impl From<hub_audit::Error> for Error {
    fn from(error: hub_audit::Error) -> Self {
        match error {
            hub_audit::Error::Conflict => Self::Conflict,
            hub_audit::Error::ChangeTooLarge => Self::TooMany("too many records change at once"),
            error @ hub_audit::Error::Archive { .. } => Self::ArchiveUnavailable(error.to_string()),
            other => Self::AuditUnavailable(other),
        }
    }
}

fn named(left: Option<&crate::Left>) -> String {
    left.map_or_else(|| "of this kind".to_owned(), |left| format!("`{}`", left.policy))
}

/// A failed operation, after its entry was appended.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: Error,
    /// For refusals by policy: what an administrator can have explained.
    pub decision_id: Option<String>,
    /// Where the refusal stands in the audit log; `None` when it could not be written.
    pub seq: Option<u64>,
    /// The algorithm of the key acted on, if it came to that.
    pub algorithm: Option<hub_model::Algorithm>,
}

impl Failure {
    /// A refusal by a quota: it has no entry of its own, a flood of them must not fill the log. The
    /// process counts them and writes a sum.
    pub(crate) const fn unlogged(error: Error) -> Self {
        Self { error, decision_id: None, seq: None, algorithm: None }
    }
}
