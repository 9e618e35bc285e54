//! Who a caller turned out to be, and by which method.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{CredentialId, ParticipantId, RegistrationId};

/// How a caller proved who it is. Principal names start with it, so identities cannot collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum AuthMethod {
    /// An API key.
    #[serde(rename = "apiKey")]
    ApiKey,
    /// The API key made at first start.
    #[serde(rename = "bootstrap")]
    Bootstrap,
}

impl AuthMethod {
    /// The word on the wire and in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKey",
            Self::Bootstrap => "bootstrap",
        }
    }

    /// What principal names of this method start with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "apikey",
            Self::Bootstrap => "bootstrap",
        }
    }
}

/// An authenticated identity: a participant, by one credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The participant's registration.
    pub registration: RegistrationId,
    /// The participant.
    pub participant: ParticipantId,
    /// How it authenticated.
    pub method: AuthMethod,
    /// With which credential.
    pub credential: CredentialId,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.method.prefix(), self.participant)
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// An IP address.
    Ip(IpAddr),
    /// The Unix socket.
    Unix,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => fmt::Display::fmt(&address.to_canonical(), f),
            Self::Unix => f.write_str("unix"),
        }
    }
}
