//! What can go wrong while authenticating.

/// Why a credential was refused. For counters and sampled audit entries; callers see one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// None was presented.
    Missing,
    /// It has not the form of a credential.
    Malformed,
    /// More than one was presented.
    Ambiguous,
    /// No such credential, or the secret does not match.
    Unknown,
    /// It has ended.
    Expired,
    /// It was revoked.
    Revoked,
    /// It is not good from where it was used.
    Source,
    /// It is bound to a client certificate that this connection has not.
    Certificate,
    /// Nobody is known by the identity that was proven.
    Unmapped,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Missing,
        Self::Malformed,
        Self::Ambiguous,
        Self::Unknown,
        Self::Expired,
        Self::Revoked,
        Self::Source,
        Self::Certificate,
        Self::Unmapped,
    ];

    /// The reason as one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Ambiguous => "ambiguous",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Source => "source",
            Self::Certificate => "certificate",
            Self::Unmapped => "unmapped",
        }
    }
}

/// Failures of authentication.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The credential is not good.
    #[error("not authenticated ({})", .0.name())]
    Refused(Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] hub_store::Error),
}
