//! Names that others give to callers: a token's subject, a certificate's SPIFFE id or alternative
//! name, a Unix user. Each text starts with its method, so two methods never mean the same.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, Name};

/// The most bytes of an identity's text.
pub const MAX_IDENTITY: usize = 512;

/// An identity from outside the hub, in its one spelling.
///
/// | text | what it names |
/// | --- | --- |
/// | `jwt:<issuer>:<subject>` | the `sub` of a token (RFC 7519 §4.1.2) of a configured issuer |
/// | `spiffe://<trust domain>/<path>` | the one SPIFFE id of a client certificate |
/// | `mtls:dns:<name>`, `mtls:email:<address>`, `mtls:uri:<uri>` | its alternative name (RFC 5280 §4.2.1.6) |
/// | `unix:uid:<number>`, `unix:gid:<number>` | the process at the other end of a Unix socket |
///
/// ```
/// use hub_model::identity::Identity;
/// let worker: Identity = "jwt:cluster:system:serviceaccount:shop:worker".parse()?;
/// assert_eq!(worker.to_string(), "jwt:cluster:system:serviceaccount:shop:worker");
/// assert!("unix:uid:007".parse::<Identity>().is_err(), "one spelling each");
/// # Ok::<(), hub_model::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    text: Arc<str>,
    via: Via,
}

/// By which method an identity from outside is proven.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Via {
    /// A token of this issuer.
    Jwt(Name),
    /// A client certificate with a SPIFFE id.
    Spiffe,
    /// A client certificate with another alternative name.
    Mtls,
    /// The credentials of a Unix socket's peer.
    Unix,
}

impl Identity {
    /// The subject of a token of `issuer`.
    ///
    /// # Errors
    /// [`Error::Identity`] when the subject is empty, too long, or holds control characters.
    pub fn jwt(issuer: &Name, subject: &str) -> Result<Self, Error> {
        Self::from_str(&format!("jwt:{issuer}:{subject}"))
    }

    /// A Unix user.
    #[must_use]
    pub fn unix_user(uid: u32) -> Self {
        Self { text: format!("unix:uid:{uid}").into(), via: Via::Unix }
    }

    /// A Unix group.
    #[must_use]
    pub fn unix_group(gid: u32) -> Self {
        Self { text: format!("unix:gid:{gid}").into(), via: Via::Unix }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, shared.
    #[must_use]
    pub const fn shared(&self) -> &Arc<str> {
        &self.text
    }

    /// How it is proven.
    #[must_use]
    pub const fn via(&self) -> &Via {
        &self.via
    }
}

impl FromStr for Identity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::Identity(text.chars().take(80).collect());
        if text.len() > MAX_IDENTITY || text.chars().any(char::is_control) {
            return Err(refuse());
        }
        let via = parse(text).ok_or_else(refuse)?;
        Ok(Self { text: text.into(), via })
    }
}

fn parse(text: &str) -> Option<Via> {
    if let Some(rest) = text.strip_prefix("jwt:") {
        let (issuer, subject) = rest.split_once(':')?;
        return (!subject.is_empty()).then_some(Via::Jwt(issuer.parse().ok()?));
    }
    if let Some(rest) = text.strip_prefix("spiffe://") {
        return spiffe(rest).then_some(Via::Spiffe);
    }
    if let Some(rest) = text.strip_prefix("mtls:") {
        let (kind, value) = rest.split_once(':')?;
        let good = match kind {
            "dns" => is_dns(value),
            "email" => is_email(value),
            // SPIFFE ids have a form of their own.
            "uri" => is_uri(value) && !value.to_ascii_lowercase().starts_with("spiffe:"),
            _ => false,
        };
        return good.then_some(Via::Mtls);
    }
    let number = text.strip_prefix("unix:uid:").or_else(|| text.strip_prefix("unix:gid:"))?;
    let value: u32 = number.parse().ok()?;
    (value.to_string() == number).then_some(Via::Unix)
}

/// `<trust domain>/<path>` (SPIFFE-ID §2): the path has at least one segment here, since a trust
/// domain alone names no workload.
fn spiffe(text: &str) -> bool {
    let Some((domain, path)) = text.split_once('/') else { return false };
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let in_path = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !domain.is_empty()
        && domain.len() <= 255
        && domain.bytes().all(in_domain)
        && path
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path))
}

/// A host name in lower case, without wildcard or trailing dot.
fn is_dns(text: &str) -> bool {
    let label = |label: &str| {
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inside)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// An address in ASCII and lower case: its one canonical form here (SECURITY-MODEL §6).
fn is_email(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
    let parts = text.split_once('@').filter(|(local, host)| !local.is_empty() && is_dns(host));
    parts.is_some() && text.bytes().all(inside)
}

fn is_uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
        && text.bytes().all(|b| b.is_ascii_graphic())
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Identity {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .max_length(Some(MAX_IDENTITY))
            .description(Some(
                "An identity from outside: `jwt:<issuer>:<subject>`, `spiffe://<domain>/<path>`, \
                 `mtls:dns:<name>`, `mtls:email:<address>`, `mtls:uri:<uri>`, `unix:uid:<n>` or \
                 `unix:gid:<n>`",
            ))
            .into()
    }
}

impl utoipa::ToSchema for Identity {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_one_spelling() {
        for (text, via) in [
            ("jwt:corp:alice@example.org", Via::Jwt("corp".parse().unwrap())),
            ("jwt:corp:a:b c", Via::Jwt("corp".parse().unwrap())),
            ("spiffe://prod.example/ns/shop/sa/Worker_1", Via::Spiffe),
            ("mtls:dns:db-1.example", Via::Mtls),
            ("mtls:email:ops@example.org", Via::Mtls),
            ("mtls:uri:urn:uuid:1234", Via::Mtls),
            ("unix:uid:0", Via::Unix),
            ("unix:gid:4294967295", Via::Unix),
        ] {
            let identity: Identity = text.parse().unwrap();
            assert_eq!((identity.as_str(), identity.via()), (text, &via));
            let json = serde_json::to_string(&identity).unwrap();
            assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), identity);
        }
        for text in [
            "",
            "alice",
            "jwt:corp:",
            "jwt:Corp:alice",
            "jwt::alice",
            "JWT:corp:alice",
            "jwt:corp:al\nice",
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe://Prod.example/a",
            "spiffe://prod.example/a//b",
            "spiffe://prod.example/../b",
            "spiffe://prod.example/a?b",
            "spiffe://user@prod.example/a",
            "SPIFFE://prod.example/a",
            "mtls:uri:SPIFFE://prod.example/a",
            "mtls:dns:DB-1.example",
            "mtls:dns:*.example",
            "mtls:dns:db-1.example.",
            "mtls:email:ops",
            "mtls:email:Ops@example.org",
            "mtls:cn:root",
            "unix:uid:007",
            "unix:uid:+7",
            "unix:uid:4294967296",
            "unix:pid:1",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
        assert!(format!("jwt:corp:{}", "a".repeat(600)).parse::<Identity>().is_err());
    }
}
