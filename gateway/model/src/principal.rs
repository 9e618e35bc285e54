//! Who a caller turned out to be, and by which method.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::Via;
use crate::{CredentialId, Identity, ParticipantId, RegistrationId};

/// How a caller proved who it is. Principal names start with it, so identities cannot collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum AuthMethod {
    /// An API key.
    #[serde(rename = "apiKey")]
    ApiKey,
    /// The API key made at first start.
    #[serde(rename = "bootstrap")]
    Bootstrap,
    /// A JSON web token (RFC 7519) of a configured issuer.
    #[serde(rename = "jwt")]
    Jwt,
    /// A client certificate (mutual TLS).
    #[serde(rename = "mtls")]
    Mtls,
    /// The user or group of a Unix socket's peer.
    #[serde(rename = "unix")]
    Unix,
}

impl AuthMethod {
    /// Every method.
    pub const ALL: [Self; 5] = [Self::ApiKey, Self::Bootstrap, Self::Jwt, Self::Mtls, Self::Unix];

    /// The word on the wire and in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKey",
            Self::Bootstrap => "bootstrap",
            Self::Jwt => "jwt",
            Self::Mtls => "mtls",
            Self::Unix => "unix",
        }
    }

    /// What principal names of this method start with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "apikey",
            Self::Bootstrap => "bootstrap",
            Self::Jwt => "jwt",
            Self::Mtls => "mtls",
            Self::Unix => "unix",
        }
    }
}

impl From<&Via> for AuthMethod {
    fn from(via: &Via) -> Self {
        match via {
            Via::Jwt(_) => Self::Jwt,
            Via::Spiffe | Via::Mtls => Self::Mtls,
            Via::Unix => Self::Unix,
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
    /// The identity from outside; none for keys of the hub's own.
    pub identity: Option<Arc<Identity>>,
    /// With which credential; none when the configuration alone says who it is.
    pub credential: Option<CredentialId>,
}

impl Principal {
    /// What its name has before the participant's id, and for tokens the issuer.
    fn prefix(&self) -> (&'static str, Option<&str>) {
        match self.identity.as_deref().map(Identity::via) {
            Some(Via::Jwt(issuer)) => ("jwt", Some(issuer.as_str())),
            Some(Via::Spiffe) => ("spiffe", None),
            _ => (self.method.prefix(), None),
        }
    }

    /// Appends its name to `text`; as `Display`, without the machinery of formatting.
    pub fn append_to(&self, text: &mut String) {
        let (prefix, issuer) = self.prefix();
        text.push_str(prefix);
        text.push(':');
        if let Some(issuer) = issuer {
            text.push_str(issuer);
            text.push(':');
        }
        self.participant.append_to(text);
    }
}

/// The method, for tokens the issuer, and the participant's id: `apikey:ptc_…`,
/// `jwt:<issuer>:ptc_…`, `spiffe:ptc_…`, `mtls:ptc_…`, `unix:ptc_…`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.append_to(&mut text);
        f.write_str(&text)
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
