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
    /// A token that has not the form of one, or whose header is refused whatever it is signed with.
    TokenMalformed,
    /// A token of an issuer that is not configured.
    TokenIssuer,
    /// A token signed by an algorithm or a key that its issuer is not known to use.
    TokenKey,
    /// A token whose signature is wrong.
    TokenSignature,
    /// A token for somebody else.
    TokenAudience,
    /// A token that is not good yet, or for too long.
    TokenTime,
    /// A token that lacks a claim, or says something else than is required.
    TokenClaims,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Missing,
        Self::Malformed,
        Self::Ambiguous,
        Self::Unknown,
        Self::Expired,
        Self::Revoked,
        Self::Source,
        Self::Certificate,
        Self::Unmapped,
        Self::TokenMalformed,
        Self::TokenIssuer,
        Self::TokenKey,
        Self::TokenSignature,
        Self::TokenAudience,
        Self::TokenTime,
        Self::TokenClaims,
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
            Self::TokenMalformed => "token_malformed",
            Self::TokenIssuer => "token_issuer",
            Self::TokenKey => "token_key",
            Self::TokenSignature => "token_signature",
            Self::TokenAudience => "token_audience",
            Self::TokenTime => "token_time",
            Self::TokenClaims => "token_claims",
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
