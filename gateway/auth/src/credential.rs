//! Stored credentials: a keyed hash and its bindings, never the secret.

use std::time::Duration;

use hub_model::principal::PeerAddress;
use hub_model::{
    AuthMethod, CredentialId, Identity, ParticipantId, RegistrationId, SourceRange, Thumbprint,
    Timestamp,
};
use serde::{Deserialize, Serialize};

/// How long an API key lives when nothing else was asked.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// How long an API key may live.
pub const MAX_LIFE: Duration = Duration::from_secs(3_650 * 86_400);
/// How long the old secret of a rotated key stays good when nothing else was asked.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(86_400);
/// How long it may stay good.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 86_400);
/// How long the administrator's key of the first start lives.
pub const BOOTSTRAP_LIFE: Duration = Duration::from_secs(86_400);

/// A credential as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// Its id: also the public part of the API key.
    pub id: CredentialId,
    /// The participant's registration.
    pub registration: RegistrationId,
    /// Whose it is.
    pub participant: ParticipantId,
    /// Its kind.
    pub method: AuthMethod,
    /// What it is for.
    pub label: String,
    /// HMAC-SHA-256 of the secret under the hub's token key; zero for an identity from outside,
    /// which has none.
    pub hash: [u8; 32],
    /// The secret before the last rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Whom others know the participant as: then this is no API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// From where alone it is good; from anywhere when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceRange>,
    /// The only client certificate with which it is good, by SHA-256 (RFC 8705 §3.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Thumbprint>,
    /// When it was issued.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// A secret that was replaced and is still good for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Previous {
    /// As [`Credential::hash`].
    pub hash: [u8; 32],
    /// When it ends.
    pub expires: Timestamp,
}

impl Credential {
    /// Whether it is good at this instant.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }

    /// Whether it may be used from there.
    #[must_use]
    pub fn is_for(&self, address: PeerAddress) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|range| range.contains(address))
    }
}
