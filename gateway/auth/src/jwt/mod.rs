//! JSON web tokens of configured issuers (RFC 7519): from the text to a proven identity.
//!
//! The issuer is found by the `iss` that the token claims, the key by `kid` in that issuer's keys
//! only, and nothing else of the token is looked at before its signature holds (RFC 8725).

mod claims;
mod issuer;
mod json;
mod keys;
mod revocation;
mod token;

use std::sync::Arc;

use hub_crypto::jws::{JwsAlgorithm, JwsCurve, JwsKey};
use hub_model::{Clock, Identity, Name, Timestamp};
use serde_json::Value;

pub use self::claims::{Claim, LONGEST_LIFE, MOST_LEEWAY, NamedRole, Settings};
pub use self::issuer::{Issuer, Loaded};
pub use self::keys::{KeySet, KeySetError, MAX_SET};
pub use self::revocation::{TokenRevocation, Which, revocation_id};
pub use self::token::MAX_TOKEN;

use self::token::Token;
use crate::error::Refusal;

/// The issuers of the configuration.
#[derive(Debug)]
pub struct Issuers {
    all: Vec<Arc<Issuer>>,
    /// What tokens of nobody we know are compared with, so that they take as long.
    decoy: Option<JwsKey>,
}

/// A token that was verified.
#[derive(Debug)]
pub(crate) struct Verified {
    issuer: Arc<Issuer>,
    keys: Arc<KeySet>,
    /// Whom it names.
    pub(crate) identity: Arc<Identity>,
    /// Its subject.
    pub(crate) subject: String,
    /// Its `jti`.
    pub(crate) token_id: Option<String>,
    /// When it was issued.
    pub(crate) issued: Timestamp,
    /// From when it is good.
    pub(crate) from: Timestamp,
    /// Until when.
    pub(crate) until: Timestamp,
    /// The only client certificate with which it is good.
    pub(crate) certificate: Option<[u8; 32]>,
    /// The roles that its groups give.
    pub(crate) roles: Vec<NamedRole>,
}

impl Verified {
    /// Whether the issuer's keys are still those it was verified with.
    pub(crate) fn holds(&self) -> bool {
        self.issuer.has(&self.keys)
    }

    /// The name of its issuer.
    pub(crate) fn issuer(&self) -> &Name {
        &self.issuer.settings().name
    }
}

impl Issuers {
    /// These issuers, each with an `iss` of its own.
    #[must_use]
    pub fn new(all: Vec<Arc<Issuer>>) -> Self {
        // RFC 7515 §A.3.
        const X: [u8; 32] = [
            127, 205, 206, 39, 112, 246, 196, 93, 65, 131, 203, 238, 111, 219, 75, 123, 88, 7, 51,
            53, 123, 233, 239, 19, 186, 207, 110, 60, 123, 209, 84, 69,
        ];
        const Y: [u8; 32] = [
            199, 241, 68, 205, 27, 189, 155, 126, 135, 44, 223, 237, 185, 238, 185, 244, 179, 105,
            93, 110, 169, 11, 36, 173, 138, 70, 35, 40, 133, 136, 229, 173,
        ];
        Self { all, decoy: JwsKey::ec(JwsCurve::P256, &X, &Y).ok() }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Issuer>] {
        &self.all
    }

    /// Verifies a token in full. May wait for the keys of an issuer.
    pub(crate) async fn verify(&self, text: &str, clock: &dyn Clock) -> Result<Verified, Refusal> {
        let token = Token::parse(text).ok_or(Refusal::TokenMalformed)?;
        let issuer = token.claims.get("iss").and_then(Value::as_str);
        let issuer = issuer.and_then(|iss| self.all.iter().find(|i| i.settings().issuer == iss));
        let Some(issuer) = issuer else {
            self.delay(&token);
            return Err(Refusal::TokenIssuer);
        };
        if !issuer.settings().algorithms.contains(&token.algorithm) {
            self.delay(&token);
            return Err(Refusal::TokenKey);
        }
        let kid = token.kid.as_deref();
        let Some(keys) = issuer.knowing(kid, token.algorithm, clock).await else {
            self.delay(&token);
            return Err(Refusal::TokenKey);
        };
        let key = keys.find(kid, token.algorithm).ok_or(Refusal::TokenKey)?;
        let verified = key.verify(token.algorithm, token.signed, &token.signature);
        verified.map_err(|_| Refusal::TokenSignature)?;
        // Asked again: keys may have been waited for.
        let said = issuer.settings().check(&token.claims, clock.now())?;
        let identity = Identity::jwt(&issuer.settings().name, &said.subject);
        Ok(Verified {
            issuer: Arc::clone(issuer),
            keys,
            identity: Arc::new(identity.map_err(|_| Refusal::TokenClaims)?),
            subject: said.subject,
            token_id: said.token_id,
            issued: said.issued,
            from: said.from,
            until: said.until,
            certificate: said.certificate,
            roles: said.roles,
        })
    }

    fn delay(&self, token: &Token<'_>) {
        if let Some(decoy) = &self.decoy {
            let signature = token.signature.get(..64).unwrap_or(&[1; 64]);
            let _ = decoy.verify(JwsAlgorithm::Es256, token.signed, signature);
        }
    }
}

/// Whether a text has the form of a token that an issuer could have signed. Says nothing of whether
/// one did.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    Token::parse(text).is_some()
}

#[cfg(test)]
mod tests;
