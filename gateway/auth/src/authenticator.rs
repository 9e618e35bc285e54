//! From what a request presents to a [`Caller`], or to one undifferentiated refusal.

use std::sync::Arc;

use hub_crypto::{SystemKeys, ct_eq};
use hub_model::{Clock, CredentialId, Participant, Principal};
use hub_store::{Cache, Store, layout};

use crate::api_key::ApiKey;
use crate::caller::{Caller, Channel};
use crate::credential::Credential;
use crate::error::{Error, Refusal};

/// What a request shows to prove who sends it. At most one kind of credential a request.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// Every `Authorization` header, as sent.
    pub authorization: &'a [&'a [u8]],
    /// The connection.
    pub channel: Channel,
}

/// A credential with its participant, as cached.
#[derive(Debug)]
struct Known {
    credential: Credential,
    participant: Arc<Participant>,
    participant_revision: u64,
}

/// Authenticates requests.
#[derive(Debug)]
pub struct Authenticator {
    store: Store,
    keys: Arc<SystemKeys>,
    clock: Arc<dyn Clock>,
    known: Cache<CredentialId, Known>,
}

impl Authenticator {
    /// An authenticator over this store, remembering up to `capacity` credentials.
    #[must_use]
    pub fn new(store: Store, keys: Arc<SystemKeys>, clock: Arc<dyn Clock>, capacity: u64) -> Self {
        Self { store, keys, clock, known: Cache::new("credentials", capacity) }
    }

    /// Who sends this request.
    ///
    /// # Errors
    /// [`Error::Refused`] whatever was wrong with the credential: the reason is for counters, not
    /// for callers. [`Error::Store`] when the store failed.
    pub async fn authenticate(&self, presented: Presented<'_>) -> Result<Caller, Error> {
        let text = match presented.authorization {
            [] => return Err(Error::Refused(Refusal::Missing)),
            [one] => bearer(one).ok_or(Error::Refused(Refusal::Malformed))?,
            _ => return Err(Error::Refused(Refusal::Ambiguous)),
        };
        let key = ApiKey::parse(text).ok_or(Error::Refused(Refusal::Malformed))?;
        let hash = key.hash(self.keys.token());
        let Some(known) = self.known(key.id()).await? else {
            // The same work as for a known id: one comparison with a hash that cannot match.
            let _ = ct_eq(&hash, &[0; 32]);
            return Err(Error::Refused(Refusal::Unknown));
        };
        if !ct_eq(&hash, &known.credential.hash) {
            // What is known was remembered, what is unknown has just been looked for in vain: the
            // same is done here, so that time does not tell which ids exist.
            let nowhere = layout::credential(CredentialId::generate());
            let _ = self.store.read_bytes(&nowhere).await?;
            return Err(Error::Refused(Refusal::Unknown));
        }
        let now = self.clock.now();
        if known.credential.revoked.is_some() {
            return Err(Error::Refused(Refusal::Revoked));
        }
        if !known.credential.is_live(now) {
            return Err(Error::Refused(Refusal::Expired));
        }
        let principal = Principal {
            registration: known.credential.registration,
            participant: known.credential.participant,
            method: known.credential.method,
            credential: known.credential.id,
        };
        Ok(Caller::new(
            principal,
            Arc::clone(&known.participant),
            known.participant_revision,
            presented.channel,
            now,
        ))
    }

    async fn known(&self, id: CredentialId) -> Result<Option<Arc<Known>>, Error> {
        if let Some(known) = self.known.get(&id) {
            return Ok(Some(known));
        }
        let mut stamp = self.store.stamp();
        let path = layout::credential(id);
        stamp.watch(&path);
        let Some(credential) = self.store.read::<Credential>(&path).await? else {
            return Ok(None);
        };
        let credential = credential.value;
        // A registration that is gone takes its credentials with it at once, whatever is still
        // being swept.
        let path = layout::registration(credential.registration);
        stamp.watch(&path);
        if self.store.read_bytes(&path).await?.is_none() {
            return Ok(None);
        }
        let path = layout::participant(credential.registration, credential.participant);
        stamp.watch(&path);
        let Some(participant) = self.store.read::<Participant>(&path).await? else {
            return Ok(None);
        };
        let known = Arc::new(Known {
            credential,
            participant_revision: participant.revision.0,
            participant: Arc::new(participant.value),
        });
        self.known.insert(id, Arc::clone(&known), stamp);
        Ok(Some(known))
    }

    /// How many credentials are remembered.
    #[must_use]
    pub fn remembered(&self) -> u64 {
        self.known.len()
    }
}

/// The token of a bearer header (RFC 6750 §2.1). The scheme is case-insensitive (RFC 9110 §11.1).
fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
