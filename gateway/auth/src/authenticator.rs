//! From what a request presents to a [`Caller`], or to one undifferentiated refusal.
//!
//! What decides who calls is the `Authorization` header where there is one, and what the
//! connection proves otherwise: exactly one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hub_crypto::{SystemKeys, ct_eq};
use hub_model::{
    AuthMethod, Clock, CredentialId, Identity, Participant, ParticipantId, Principal,
    RegistrationId, Timestamp,
};
use hub_store::{Cache, Revision, Stamp, Store, layout};

use crate::api_key::ApiKey;
use crate::caller::{Caller, Channel, Peer};
use crate::credential::Credential;
use crate::error::{Error, Refusal};
use crate::last_use::LastUses;
use crate::rules::Rules;

/// What a request shows to prove who sends it. At most one kind of credential a request.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// Every `Authorization` header, as sent.
    pub authorization: &'a [&'a [u8]],
    /// The connection.
    pub channel: &'a Channel,
}

/// Somebody who can be authenticated, as cached.
#[derive(Debug)]
struct Known {
    /// None for an identity that the configuration maps.
    credential: Option<Credential>,
    participant: Arc<Participant>,
    participant_revision: u64,
    /// When the credential was last used, in microseconds.
    used: Arc<AtomicI64>,
}

/// What an [`Authenticator`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where credentials lie.
    pub store: Store,
    /// The hub's own keys.
    pub keys: Arc<SystemKeys>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What the configuration says of identities from outside.
    pub rules: Arc<Rules>,
    /// Where uses are noted.
    pub uses: Arc<LastUses>,
    /// How many credentials, and how many identities, are remembered.
    pub capacity: u64,
}

/// Authenticates requests.
#[derive(Debug)]
pub struct Authenticator {
    parts: Parts,
    known: Cache<CredentialId, Known>,
    identities: Cache<Arc<str>, Known>,
}

impl Authenticator {
    /// An authenticator of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            known: Cache::new("credentials", parts.capacity),
            identities: Cache::new("identities", parts.capacity),
            parts,
        }
    }

    /// Who sends this request.
    ///
    /// # Errors
    /// [`Error::Refused`] whatever was wrong with the credential: the reason is for counters, not
    /// for callers. [`Error::Store`] when the store failed.
    pub async fn authenticate(&self, presented: Presented<'_>) -> Result<Caller, Error> {
        match presented.authorization {
            [] => self.by_connection(presented.channel).await,
            [one] => {
                let text = bearer(one).ok_or(Error::Refused(Refusal::Malformed))?;
                let key = ApiKey::parse(text).ok_or(Error::Refused(Refusal::Malformed))?;
                self.by_api_key(&key, presented.channel).await
            }
            _ => Err(Error::Refused(Refusal::Ambiguous)),
        }
    }

    async fn by_api_key(&self, key: &ApiKey, channel: &Channel) -> Result<Caller, Error> {
        let hash = key.hash(self.parts.keys.token());
        let now = self.parts.clock.now();
        let found = self.known(key.id()).await?;
        let Some((known, credential)) = found.as_ref().and_then(|known| {
            let credential = known.credential.as_ref()?;
            Some((known, credential))
        }) else {
            // The same work as for a known id: comparisons with hashes that cannot match.
            let _ = ct_eq(&hash, &[0; 32]) | ct_eq(&hash, &[0; 32]);
            return Err(Error::Refused(Refusal::Unknown));
        };
        // An identity from outside has no secret that could be right.
        let current = ct_eq(&hash, &credential.hash) && credential.identity.is_none();
        let previous = credential.previous.as_ref();
        let earlier = ct_eq(&hash, previous.map_or(&[0; 32], |previous| &previous.hash));
        if !(current || (earlier && previous.is_some())) {
            // What is known was remembered, what is unknown has just been looked for in vain: the
            // same is done here, so that time does not tell which ids exist.
            let nowhere = layout::credential(CredentialId::generate());
            let _ = self.parts.store.read_bytes(&nowhere).await?;
            return Err(Error::Refused(Refusal::Unknown));
        }
        let end = match previous {
            Some(previous) if !current => previous.expires.min(credential.expires),
            _ => credential.expires,
        };
        self.admit(known, None, end, channel, now)
    }

    /// What the connection proves by itself.
    async fn by_connection(&self, channel: &Channel) -> Result<Caller, Error> {
        match &channel.peer {
            Peer::Anonymous => Err(Error::Refused(Refusal::Missing)),
            Peer::Certificate(certificate) => {
                let identity = certificate.identity.as_ref();
                let identity = identity.ok_or(Error::Refused(Refusal::Unmapped))?;
                let now = self.parts.clock.now();
                if now < certificate.not_before || certificate.not_after < now {
                    return Err(Error::Refused(Refusal::Expired));
                }
                self.by_identity(identity, certificate.not_after, channel).await
            }
            Peer::Unix { uid, gid } => {
                let user = Arc::new(Identity::unix_user(*uid));
                match self.by_identity(&user, Timestamp::MAX, channel).await {
                    Err(Error::Refused(Refusal::Unmapped)) => {}
                    other => return other,
                }
                let group = Arc::new(Identity::unix_group(*gid));
                match self.by_identity(&group, Timestamp::MAX, channel).await {
                    // Nobody has said what this process may do: it has shown no credential.
                    Err(Error::Refused(Refusal::Unmapped)) => Err(Error::Refused(Refusal::Missing)),
                    other => other,
                }
            }
        }
    }

    /// The participant an identity stands for. The identity itself is proven, until `end`.
    async fn by_identity(
        &self,
        identity: &Arc<Identity>,
        end: Timestamp,
        channel: &Channel,
    ) -> Result<Caller, Error> {
        let unmapped = || Error::Refused(Refusal::Unmapped);
        let known = self.identified(identity).await?.ok_or_else(unmapped)?;
        let expires = known.credential.as_ref().map_or(Timestamp::MAX, |c| c.expires);
        let now = self.parts.clock.now();
        self.admit(&known, Some(Arc::clone(identity)), end.min(expires), channel, now)
    }

    /// What is asked of every credential whose proof was right.
    fn admit(
        &self,
        known: &Known,
        identity: Option<Arc<Identity>>,
        end: Timestamp,
        channel: &Channel,
        now: Timestamp,
    ) -> Result<Caller, Error> {
        let refused = |why| Err(Error::Refused(why));
        if let Some(credential) = &known.credential {
            if credential.revoked.is_some() {
                return refused(Refusal::Revoked);
            }
            if !credential.is_for(channel.address) {
                return refused(Refusal::Source);
            }
            if let Some(bound) = &credential.certificate {
                let Peer::Certificate(shown) = &channel.peer else {
                    return refused(Refusal::Certificate);
                };
                let dated = shown.not_before <= now && now <= shown.not_after;
                if shown.thumbprint != bound.0 || !dated {
                    return refused(Refusal::Certificate);
                }
            }
        }
        if now >= end {
            return refused(Refusal::Expired);
        }
        known.used.store(now.as_micros(), Ordering::Relaxed);
        let method = match (&identity, &known.credential) {
            (Some(identity), _) => AuthMethod::from(identity.via()),
            (None, Some(credential)) => credential.method,
            (None, None) => return refused(Refusal::Unknown),
        };
        let principal = Principal {
            registration: known.participant.registration,
            participant: known.participant.id,
            method,
            identity,
            credential: known.credential.as_ref().map(|credential| credential.id),
        };
        let participant = (Arc::clone(&known.participant), known.participant_revision);
        let expires = (end != Timestamp::MAX).then_some(end);
        Ok(Caller::new(principal, participant, expires, channel.clone(), now))
    }

    async fn known(&self, id: CredentialId) -> Result<Option<Arc<Known>>, Error> {
        if let Some(known) = self.known.get(&id) {
            return Ok(Some(known));
        }
        let mut stamp = self.parts.store.stamp();
        let Some(known) = self.load(id, &mut stamp).await? else { return Ok(None) };
        let known = Arc::new(known);
        self.known.insert(id, Arc::clone(&known), stamp);
        Ok(Some(known))
    }

    /// Whom an identity stands for: by the configuration first, so that nobody can claim what the
    /// operator has given to another; by a record else.
    async fn identified(&self, identity: &Identity) -> Result<Option<Arc<Known>>, Error> {
        if let Some(known) = self.identities.get(identity.as_str()) {
            return Ok(Some(known));
        }
        let mut stamp = self.parts.store.stamp();
        let privacy = self.parts.keys.privacy();
        let known = if let Some((registration, participant)) = self.parts.rules.mapped(identity) {
            let path = layout::registration_name(privacy, registration.as_str());
            stamp.watch(&path);
            let Some(registration) = self.parts.store.read::<RegistrationId>(&path).await? else {
                return Ok(None);
            };
            let registration = registration.value;
            let path = layout::participant_name(privacy, registration, participant.as_str());
            stamp.watch(&path);
            let Some(id) = self.parts.store.read::<ParticipantId>(&path).await? else {
                return Ok(None);
            };
            let found = self.participant(registration, id.value, &mut stamp).await?;
            let Some((participant, participant_revision)) = found else { return Ok(None) };
            Known { credential: None, participant, participant_revision, used: Arc::default() }
        } else {
            let path = layout::identity(privacy, identity.as_str());
            stamp.watch(&path);
            let Some(id) = self.parts.store.read::<CredentialId>(&path).await? else {
                return Ok(None);
            };
            match self.load(id.value, &mut stamp).await? {
                // INVARIANT: what lies at the hash of an identity is a credential of that identity.
                Some(known)
                    if known.credential.as_ref().and_then(|c| c.identity.as_ref())
                        == Some(identity) =>
                {
                    known
                }
                _ => return Ok(None),
            }
        };
        let known = Arc::new(known);
        self.identities.insert(Arc::clone(identity.shared()), Arc::clone(&known), stamp);
        Ok(Some(known))
    }

    async fn load(&self, id: CredentialId, stamp: &mut Stamp) -> Result<Option<Known>, Error> {
        let path = layout::credential(id);
        stamp.watch(&path);
        let Some(found) = self.parts.store.read::<Credential>(&path).await? else {
            return Ok(None);
        };
        let (credential, revision) = (found.value, found.revision);
        let found =
            self.participant(credential.registration, credential.participant, stamp).await?;
        let Some((participant, participant_revision)) = found else { return Ok(None) };
        let used = self.used(id, revision).await?;
        Ok(Some(Known { credential: Some(credential), participant, participant_revision, used }))
    }

    async fn used(&self, id: CredentialId, revision: Revision) -> Result<Arc<AtomicI64>, Error> {
        let written = self.parts.store.read::<Timestamp>(&layout::last_use(id)).await?;
        Ok(self.parts.uses.watch(id, revision, written.map(|found| found.value)))
    }

    async fn participant(
        &self,
        registration: RegistrationId,
        id: ParticipantId,
        stamp: &mut Stamp,
    ) -> Result<Option<(Arc<Participant>, u64)>, Error> {
        // A registration that is gone takes its credentials with it at once, whatever is still
        // being swept.
        let path = layout::registration(registration);
        stamp.watch(&path);
        if self.parts.store.read_bytes(&path).await?.is_none() {
            return Ok(None);
        }
        let path = layout::participant(registration, id);
        stamp.watch(&path);
        let found = self.parts.store.read::<Participant>(&path).await?;
        Ok(found.map(|found| (Arc::new(found.value), found.revision.0)))
    }

    /// How many credentials are remembered.
    #[must_use]
    pub fn remembered(&self) -> u64 {
        self.known.len() + self.identities.len()
    }
}

/// The token of a bearer header (RFC 6750 §2.1). The scheme is case-insensitive (RFC 9110 §11.1).
fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
