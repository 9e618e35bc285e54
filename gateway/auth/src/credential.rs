//! Stored credentials: a keyed hash and its bindings, never the secret.

use std::time::Duration;

use hub_model::{AuthMethod, CredentialId, ParticipantId, RegistrationId, Timestamp};
use serde::{Deserialize, Serialize};

/// How long an API key lives when nothing else was asked.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// How long an API key may live.
pub const MAX_LIFE: Duration = Duration::from_secs(3_650 * 86_400);
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
    /// HMAC-SHA-256 of the secret under the hub's token key.
    pub hash: [u8; 32],
    /// When it was issued.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl Credential {
    /// Whether it is good at this instant.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }
}
