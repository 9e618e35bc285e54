//! Tokens that are refused although they are genuine: one by its `jti`, or all of a subject that
//! were issued before.

use hub_crypto::HmacKey;
use hub_model::{Name, Timestamp, TokenRevocationId};
use serde::{Deserialize, Serialize};

/// A revocation as stored. It lies at the hash of what it revokes, so there is one of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRevocation {
    /// Its id.
    pub id: TokenRevocationId,
    /// The issuer, by its name in the configuration.
    pub issuer: Name,
    /// What is revoked.
    pub which: Which,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it was made.
    pub created: Timestamp,
    /// When the last token it is about has ended, and it can be forgotten.
    pub expires: Timestamp,
}

/// Which tokens are revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Which {
    /// The token of this `jti`.
    Token {
        /// Its `jti`.
        jti: String,
    },
    /// The tokens of a subject.
    Subject {
        /// The subject.
        subject: String,
        /// Those issued until then.
        before: Timestamp,
    },
}

impl TokenRevocation {
    /// Whether a token of this issuer and subject, found by `jti` or subject, is revoked. `iat`
    /// counts whole seconds, and a token issued in the second of the revocation is taken for an
    /// older one.
    #[must_use]
    pub fn revokes(&self, issuer: &Name, jti: Option<&str>, subject: &str, at: Timestamp) -> bool {
        // What is found by a hash is looked at: nothing rests on hashes that do not meet.
        self.issuer == *issuer
            && match &self.which {
                Which::Token { jti: revoked } => jti == Some(revoked),
                Which::Subject { subject: revoked, before } => subject == revoked && at <= *before,
            }
    }
}

impl Which {
    /// The kind and the value that tell one from another.
    const fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Token { jti } => ("jti", jti.as_str()),
            Self::Subject { subject, .. } => ("subject", subject.as_str()),
        }
    }

    /// The id of a revocation of this, of tokens of this issuer.
    #[must_use]
    pub fn id(&self, privacy: &HmacKey, issuer: &Name) -> TokenRevocationId {
        let (kind, value) = self.parts();
        revocation_id(privacy, issuer, kind, value)
    }
}

/// The id of a revocation: a keyed hash of what it revokes, so that finding it needs no list, and
/// paths show no subject. `kind` is `jti` or `subject`.
#[must_use]
pub fn revocation_id(
    privacy: &HmacKey,
    issuer: &Name,
    kind: &str,
    value: &str,
) -> TokenRevocationId {
    // A name holds no zero byte.
    let parts: [&[u8]; 7] =
        [b"token", &[0], kind.as_bytes(), &[0], issuer.as_str().as_bytes(), &[0], value.as_bytes()];
    let tag = privacy.tag(&parts);
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(tag) {
        *to = from;
    }
    TokenRevocationId::from_bytes(bytes)
}
