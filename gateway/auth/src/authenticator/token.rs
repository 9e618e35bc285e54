//! Requests that show a token.
//!
//! INVARIANT: what is remembered of a token is what its signature proved: whom it names, from when
//! and until when. It is forgotten when the issuer's keys change. Revocations, the participant and
//! its roles are looked up for each request, through caches that know when their records change.

use std::sync::Arc;

use hub_crypto::hash::sha256;
use hub_model::registration::HUB_REGISTRATION;
use hub_model::{Name, Participant, RegistrationId, Role, RoleGrant, Timestamp};
use hub_store::{Cache, Stamp, layout};

use super::{Authenticator, Known};
use crate::caller::{Caller, Channel, Peer};
use crate::error::{Error, Refusal};
use crate::jwt::{Issuers, TokenRevocation, Verified, revocation_id};

/// Tokens, and what is remembered of them by their SHA-256.
#[derive(Debug)]
pub(super) struct Tokens {
    issuers: Arc<Issuers>,
    verified: Cache<[u8; 32], Verified>,
    /// Whether it was revoked.
    revoked: Cache<[u8; 32], bool>,
    extended: Cache<[u8; 32], Extended>,
}

/// A participant with the roles that a token's groups give.
#[derive(Debug)]
struct Extended {
    /// Made from this one.
    base: Arc<Known>,
    full: Known,
}

impl Tokens {
    pub(super) fn new(issuers: Arc<Issuers>, capacity: u64) -> Self {
        Self {
            issuers,
            verified: Cache::new("tokens", capacity),
            revoked: Cache::new("token revocations", capacity),
            extended: Cache::new("token roles", capacity),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.verified.len()
    }
}

impl Authenticator {
    pub(super) async fn by_token(
        &self,
        tokens: &Tokens,
        text: &str,
        channel: &Channel,
    ) -> Result<Caller, Error> {
        let refused = |why| Err(Error::Refused(why));
        let slot = sha256(text.as_bytes());
        let found = tokens.verified.get(&slot).filter(|verified| verified.holds());
        let verified = match found {
            Some(verified) => verified,
            None => {
                let verified = tokens.issuers.verify(text, &*self.parts.clock).await;
                let verified = Arc::new(verified.map_err(Error::Refused)?);
                // Made from no record of the store: it is current while it `holds`.
                let stamp = self.parts.store.stamp();
                tokens.verified.insert(slot, Arc::clone(&verified), stamp);
                verified
            }
        };
        let now = self.parts.clock.now();
        if now >= verified.until {
            tokens.verified.invalidate(&slot);
            return refused(Refusal::Expired);
        }
        if now < verified.from {
            return refused(Refusal::TokenTime);
        }
        if let Some(bound) = verified.certificate {
            let Peer::Certificate(shown) = &channel.peer else {
                return refused(Refusal::Certificate);
            };
            if shown.thumbprint != bound || now < shown.not_before || shown.not_after < now {
                return refused(Refusal::Certificate);
            }
        }
        if self.token_revoked(tokens, slot, &verified).await? {
            return refused(Refusal::Revoked);
        }
        let known = self.identified(&verified.identity).await?;
        let known = known.ok_or(Error::Refused(Refusal::Unmapped))?;
        let end = known.credential.as_ref().map_or(Timestamp::MAX, |found| found.expires);
        let end = end.min(verified.until);
        let identity = Some(Arc::clone(&verified.identity));
        if verified.roles.is_empty() {
            return self.admit(&known, identity, end, channel, now);
        }
        let extended = self.extended(tokens, slot, &verified, known).await?;
        let caller = self.admit(&extended.full, identity, end, channel, now)?;
        Ok(caller.with_roles_of_its_own())
    }

    /// Whether a token was revoked by its id, or with others of its subject.
    async fn token_revoked(
        &self,
        tokens: &Tokens,
        slot: [u8; 32],
        verified: &Verified,
    ) -> Result<bool, Error> {
        if let Some(revoked) = tokens.revoked.get(&slot) {
            return Ok(*revoked);
        }
        let privacy = self.parts.keys.privacy();
        let issuer = verified.issuer();
        let jti = verified.token_id.as_deref();
        let ids = [
            jti.map(|jti| revocation_id(privacy, issuer, "jti", jti)),
            Some(revocation_id(privacy, issuer, "subject", &verified.subject)),
        ];
        let mut stamp = self.parts.store.stamp();
        let mut revoked = false;
        for id in ids.into_iter().flatten() {
            let path = layout::token_revocation(id);
            stamp.watch(&path);
            if let Some(found) = self.parts.store.read::<TokenRevocation>(&path).await? {
                revoked |= found.value.revokes(issuer, jti, &verified.subject, verified.issued);
            }
        }
        tokens.revoked.insert(slot, Arc::new(revoked), stamp);
        Ok(revoked)
    }

    /// The participant with the roles that the token's groups give, where it could be given them
    /// by a grant: in its own registration, or anywhere if it is a participant of the hub.
    async fn extended(
        &self,
        tokens: &Tokens,
        slot: [u8; 32],
        verified: &Verified,
        known: Arc<Known>,
    ) -> Result<Arc<Extended>, Error> {
        let found = tokens.extended.get(&slot);
        if let Some(found) = found.filter(|found| Arc::ptr_eq(&found.base, &known)) {
            return Ok(found);
        }
        let mut stamp = self.parts.store.stamp();
        let hub = match HUB_REGISTRATION.parse::<Name>() {
            Ok(name) => self.named(&name, &mut stamp).await?,
            Err(_) => None,
        };
        let base = &known.participant;
        let mut participant = Participant::clone(base);
        for (registration, role) in &verified.roles {
            let Some(id) = self.named(registration, &mut stamp).await? else { continue };
            let member = id == base.registration || hub == Some(base.registration);
            let grant = RoleGrant { registration: id, role: *role };
            if member && exists(*role, hub == Some(id)) && !participant.roles.contains(&grant) {
                participant.roles.push(grant);
            }
        }
        let full = Known {
            credential: known.credential.clone(),
            participant: Arc::new(participant),
            participant_revision: known.participant_revision,
            used: Arc::clone(&known.used),
        };
        let extended = Arc::new(Extended { base: known, full });
        tokens.extended.insert(slot, Arc::clone(&extended), stamp);
        Ok(extended)
    }

    async fn named(&self, name: &Name, stamp: &mut Stamp) -> Result<Option<RegistrationId>, Error> {
        let path = layout::registration_name(self.parts.keys.privacy(), name.as_str());
        stamp.watch(&path);
        let found = self.parts.store.read::<RegistrationId>(&path).await?;
        Ok(found.map(|found| found.value))
    }
}

const fn exists(role: Role, hub: bool) -> bool {
    role.exists_in(hub)
}
