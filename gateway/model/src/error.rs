//! What can be wrong with a value before anything is done with it.

/// A value that does not have the form its type demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An id text without the right prefix, length or alphabet.
    #[error("`{text}` is not a {kind} id (expected `{prefix}_` and 26 characters of base32)")]
    Id {
        /// What the id should name.
        kind: &'static str,
        /// The prefix such ids carry.
        prefix: &'static str,
        /// The text given, cut to 64 characters.
        text: String,
    },
    /// A user-chosen name outside `[a-z][a-z0-9-]{1,62}`.
    #[error("`{0}` is not a valid name (2 to 63 of `a-z`, `0-9`, `-`, starting with a letter)")]
    Name(String),
    /// A tag whose name or value is outside its limits.
    #[error("tag `{0}` is not valid (name `[a-z][a-z0-9._/-]{{0,62}}`, value at most 256 bytes)")]
    Tag(String),
    /// More tags than a record may carry.
    #[error("at most {0} tags are allowed")]
    TooManyTags(usize),
    /// A word outside a closed vocabulary.
    #[error("`{text}` is not a known {kind} (known: {known})")]
    Word {
        /// Which vocabulary.
        kind: &'static str,
        /// The word given.
        text: String,
        /// The words that would have been accepted.
        known: String,
    },
    /// Base64 that is malformed or not in its one canonical spelling.
    #[error("not canonical base64 (standard or URL-safe alphabet, padded or not, no stray bits)")]
    Base64,
    /// An encryption context with too many or too large pairs.
    #[error("the encryption context may hold at most 32 pairs and 8 KiB")]
    ContextTooLarge,
    /// An identity from outside that is none of the known kinds, or not in its one spelling.
    #[error(
        "`{0}` is no identity (`jwt:<issuer>:<subject>`, `spiffe://<domain>/<path>`, \
         `mtls:dns:<name>`, `mtls:email:<address>`, `mtls:uri:<uri>`, `unix:uid:<n>`, \
         `unix:gid:<n>`; lower case where case does not count)"
    )]
    Identity(String),
    /// A text that is neither a network nor `unix`.
    #[error(
        "`{0}` is no network such as `10.1.0.0/16`, nor `unix`; bits beyond the prefix are zero"
    )]
    SourceRange(String),
    /// A text that is not the SHA-256 of a certificate.
    #[error("`{0}` is not the SHA-256 of a certificate (64 hexadecimal digits, or with colons)")]
    Thumbprint(String),
    /// A time that is not RFC 3339.
    #[error("`{0}` is not an RFC 3339 time")]
    Time(String),
    /// A duration that is not ISO 8601 in whole, positive units of at most 100 years.
    #[error("`{0}` is not an ISO 8601 duration in whole units, such as `P30D` or `PT12H`")]
    Duration(String),
    /// A cron expression, calendar or time zone that cannot be read.
    #[error("{0}")]
    Schedule(String),
    /// A rotation policy that can be read but asks for something impossible or unwise.
    #[error("`{pointer}`: {detail}")]
    Rotation {
        /// Which member of the policy, as a JSON pointer without the leading slash.
        pointer: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A waiting period before destruction outside its limits.
    #[error("the waiting period before destruction must be 7 to 365 days")]
    DestroyWait,
    /// A step that the state does not allow.
    #[error(transparent)]
    Step(#[from] crate::lifecycle::Refused),
    /// Destruction before its date.
    #[error("destruction is scheduled for {0}")]
    TooEarly(crate::Timestamp),
}
