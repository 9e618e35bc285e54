//! Bodies of token revocations.

use serde::{Deserialize, Serialize};

use crate::{Name, Timestamp, TokenRevocationId};

/// Revokes tokens of an issuer: one by its `jti`, or all of a subject that were issued before.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeTokens {
    /// The issuer, by its name in the hub's configuration.
    pub issuer: Name,
    /// The `jti` of the token; this or `subject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Whose tokens, as in the identity `jwt:<issuer>:<subject>`; this or `jti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// With `subject`: tokens issued until then are revoked; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<Timestamp>,
    /// Why, for people (at most 256 bytes).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A revocation as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRevocationView {
    /// Its id: the same for the same token or subject.
    pub uid: TokenRevocationId,
    /// The issuer.
    pub issuer: Name,
    /// The `jti` of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Whose tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Tokens of the subject issued until then are revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it is forgotten: the last token it is about has ended by then.
    pub expire_time: Timestamp,
}
