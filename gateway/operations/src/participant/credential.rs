//! `credentials.issue`, `credentials.rotate`, `credentials.list`, `credentials.revoke`.

use hub_auth::Credential;
use hub_auth::api_key::ApiKey;
use hub_auth::credential::{DEFAULT_LIFE, DEFAULT_OVERLAP, MAX_LIFE, MAX_OVERLAP, Previous};
use hub_crypto::SystemKeys;
use hub_model::api::page::Page;
use hub_model::api::participant::{
    CredentialView, IssueCredential as Body, IssuedCredential, RotateCredential as RotateBody,
};
use hub_model::identity::Via;
use hub_model::secret::SecretText;
use hub_model::{
    Action, AuthMethod, CredentialId, Identity, Participant, ParticipantId, RegistrationId,
    Timestamp,
};
use hub_policy::Permit;
use hub_store::{Changes, Revision, Versioned, layout};
use serde::{Deserialize, Serialize};

use crate::hub::{Hub, is_hub};
use crate::operation::{AtRegistration, Keeps, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::participant::keep_a_way_in;
use crate::plan::Plan;
use crate::{Error, Ref};

const MAX_LABEL: usize = 256;
/// Most credentials of one participant, ended and revoked ones included.
const MAX_CREDENTIALS: usize = 1000;
/// Most networks a credential names.
const MAX_SOURCES: usize = 32;

/// A credential as shown.
fn credential_view(credential: &Credential, used: Option<Timestamp>) -> CredentialView {
    CredentialView {
        uid: credential.id,
        participant: credential.participant,
        method: credential.method,
        label: credential.label.clone(),
        create_time: credential.created,
        expire_time: credential.expires,
        revoke_time: credential.revoked,
        last_use_time: used,
        previous_expire_time: credential.previous.as_ref().map(|previous| previous.expires),
        identity: credential.identity.clone(),
        sources: credential.sources.clone(),
        certificate: credential.certificate,
    }
}

/// When a credential was last used.
async fn last_use(hub: &Hub, id: CredentialId) -> Result<Option<Timestamp>, Error> {
    if let Some(used) = hub.uses().of(id) {
        return Ok(Some(used));
    }
    let found = hub.store().read::<Timestamp>(&layout::last_use(id)).await?;
    Ok(found.map(|found| found.value))
}

/// Removes a credential's record and what leads to it, together with its participant.
pub(crate) async fn forget(
    hub: &Hub,
    changes: &mut Changes,
    id: CredentialId,
) -> Result<(), Error> {
    let path = layout::credential(id);
    if let Some(found) = hub.store().read::<Credential>(&path).await? {
        release(hub, changes, &found.value).await?;
    }
    changes.delete(&path).delete(&layout::last_use(id));
    Ok(())
}

/// Lets others bind the identity of a credential that ends.
async fn release(hub: &Hub, changes: &mut Changes, credential: &Credential) -> Result<(), Error> {
    let Some(identity) = &credential.identity else { return Ok(()) };
    let path = layout::identity(hub.system_keys().privacy(), identity.as_str());
    // Another may have taken it when this one had expired.
    let found = hub.store().read::<CredentialId>(&path).await?;
    if let Some(Versioned { revision, .. }) = found.filter(|found| found.value == credential.id) {
        changes.check_revision(&path, revision).delete(&path);
    }
    Ok(())
}

/// Makes an API key for a participant and adds its record to the changes.
pub(crate) fn issue(
    hub_keys: &SystemKeys,
    changes: &mut Changes,
    participant: &Participant,
    method: AuthMethod,
    label: String,
    life: (Timestamp, Timestamp),
) -> Result<(Credential, SecretText), Error> {
    let (mut credential, text) = make(hub_keys, participant, method, life);
    credential.label = label;
    put_new(changes, &credential)?;
    Ok((credential, text))
}

/// A new API key of a participant, good from and until.
fn make(
    hub_keys: &SystemKeys,
    participant: &Participant,
    method: AuthMethod,
    (now, expires): (Timestamp, Timestamp),
) -> (Credential, SecretText) {
    let id = CredentialId::generate();
    let (key, text) = ApiKey::generate(id);
    let credential = Credential {
        id,
        registration: participant.registration,
        participant: participant.id,
        method,
        label: String::new(),
        hash: key.hash(hub_keys.token()),
        previous: None,
        identity: None,
        sources: Vec::new(),
        certificate: None,
        created: now,
        expires,
        revoked: None,
    };
    (credential, text)
}

/// When a credential ends.
fn end(asked: Option<Timestamp>, usual: Timestamp, now: Timestamp) -> Result<Timestamp, Error> {
    let expires = asked.unwrap_or(usual);
    if expires <= now || expires > now.plus(MAX_LIFE) {
        return Err(Error::Invalid {
            pointer: "/expireTime",
            detail: "the end must lie ahead, at most 3,650 days".to_owned(),
        });
    }
    Ok(expires)
}

/// Makes an identity from outside stand for a credential.
async fn claim(
    hub: &Hub,
    place: &AtRegistration,
    identity: &Identity,
    credential: CredentialId,
    now: Timestamp,
    changes: &mut Changes,
) -> Result<(), Error> {
    let registration = &place.0.registration;
    if let Via::Jwt(issuer) = identity.via()
        && !hub.rules().knows_issuer(issuer)
    {
        return Err(Error::Invalid {
            pointer: "/identity",
            detail: "the configuration of the hub has no issuer of this name (`auth.jwt`)"
                .to_owned(),
        });
    }
    // Whoever runs the hub needs no rule for its own participants; what the configuration maps is
    // for nobody to claim.
    let may = if is_hub(registration) {
        hub.rules().mapped(identity).is_none()
    } else {
        hub.rules().may_bind(identity, &registration.name)
    };
    if !may {
        return Err(Error::Invalid {
            pointer: "/identity",
            detail: "the configuration of the hub does not let this registration bind this \
                     identity (`auth.bind`), or maps it itself (`auth.map`)"
                .to_owned(),
        });
    }
    let path = layout::identity(hub.system_keys().privacy(), identity.as_str());
    match hub.store().read::<CredentialId>(&path).await? {
        None => changes.check_absent(&path),
        Some(found) => {
            let holder = layout::credential(found.value);
            let holder = hub.store().read::<Credential>(&holder).await?;
            if holder.is_some_and(|holder| holder.value.is_live(now)) {
                let name = identity.to_string();
                return Err(Error::AlreadyExists { what: "binding of the identity", name });
            }
            changes.check_revision(&path, found.revision)
        }
    };
    changes.put(&path, &credential)?;
    Ok(())
}

/// A credential of this very participant.
async fn of_participant(
    hub: &Hub,
    registration: RegistrationId,
    participant: ParticipantId,
    id: CredentialId,
) -> Result<Versioned<Credential>, Error> {
    let missing = || Error::not_found("credential", id);
    let found = hub.store().read::<Credential>(&layout::credential(id)).await?;
    let found = found.ok_or_else(missing)?;
    // INVARIANT: an id of another participant's credential is as good as none.
    let own = found.value.participant == participant && found.value.registration == registration;
    if own { Ok(found) } else { Err(missing()) }
}

/// Adds a new credential's record to the changes.
fn put_new(changes: &mut Changes, credential: &Credential) -> Result<(), Error> {
    let (id, participant) = (credential.id, credential.participant);
    let path = layout::credential(id);
    changes
        .check_absent(&path)
        .put(&path, credential)?
        .put(&layout::credential_of(participant, id), &id)?;
    Ok(())
}

/// Issues an API key.
#[derive(Debug)]
pub struct IssueCredential {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// To whom.
    pub participant: Ref<ParticipantId>,
    /// How.
    pub body: Body,
}

impl Operation for IssueCredential {
    const ACTION: Action = Action::CredentialsIssue;
    const KEEPS: Keeps = Keeps::Fact;
    type Place = AtRegistration;
    type Reply = IssuedCredential;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<IssuedCredential>, Error> {
        let Scene { hub, place, now, .. } = scene;
        if self.body.label.len() > MAX_LABEL {
            return Err(Error::Invalid {
                pointer: "/label",
                detail: format!("the label may have at most {MAX_LABEL} bytes"),
            });
        }
        if self.body.sources.len() > MAX_SOURCES {
            let detail = format!("a credential may name at most {MAX_SOURCES} networks");
            return Err(Error::Invalid { pointer: "/sources", detail });
        }
        let life = if self.body.identity.is_some() { MAX_LIFE } else { DEFAULT_LIFE };
        let expires = end(self.body.expire_time, now.plus(life), now)?;
        let found = hub.find_participant(place.id(), &self.participant).await?;
        let participant = found.value;
        let prefix = layout::credentials_of(participant.id);
        let existing = hub.store().scan::<CredentialId>(&prefix, None, MAX_CREDENTIALS).await?;
        if existing.records.len() >= MAX_CREDENTIALS {
            return Err(Error::TooMany("a participant may have at most 1,000 credentials"));
        }
        let mut changes = Changes::new();
        let path = layout::participant(participant.registration, participant.id);
        changes
            .check_revision(&path, found.revision)
            .check_revision(&layout::registration(place.id()), Revision(place.0.revision));
        let (mut credential, api_key) =
            make(hub.system_keys(), &participant, AuthMethod::ApiKey, (now, expires));
        credential.label.clone_from(&self.body.label);
        credential.sources.clone_from(&self.body.sources);
        credential.certificate = self.body.certificate;
        let mut shown = Some(api_key);
        if let Some(identity) = &self.body.identity {
            claim(hub, place, identity, credential.id, now, &mut changes).await?;
            credential.method = AuthMethod::from(identity.via());
            credential.identity = Some(identity.clone());
            // It has no secret.
            (credential.hash, shown) = ([0; 32], None);
        }
        put_new(&mut changes, &credential)?;
        let credential_shown = credential_view(&credential, None);
        let reply = IssuedCredential { credential: credential_shown, api_key: shown };
        let plan = Plan::new(permit, reply).changing(changes).participant(participant.id);
        Ok(plan.detail(credential.id.to_string()))
    }
}

/// Gives an API key a new secret; the old one stays good for a while.
#[derive(Debug)]
pub struct RotateCredential {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Whose.
    pub participant: Ref<ParticipantId>,
    /// Which.
    pub credential: CredentialId,
    /// How.
    pub body: RotateBody,
}

impl Operation for RotateCredential {
    const ACTION: Action = Action::CredentialsRotate;
    const KEEPS: Keeps = Keeps::Fact;
    type Place = AtRegistration;
    type Reply = IssuedCredential;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<IssuedCredential>, Error> {
        let Scene { hub, place, now, .. } = scene;
        let participant = hub.find_participant(place.id(), &self.participant).await?.value;
        let path = layout::credential(self.credential);
        let found = of_participant(hub, place.id(), participant.id, self.credential).await?;
        let mut credential = found.value;
        if credential.identity.is_some() {
            let what = "the credential is an identity from outside, which has no secret to rotate";
            return Err(Error::CredentialState(what));
        }
        if !credential.is_live(now) {
            let what = "the credential has ended or was revoked: issue another";
            return Err(Error::CredentialState(what));
        }
        let overlap = match &self.body.overlap {
            None => DEFAULT_OVERLAP,
            Some(overlap) if overlap.at_most() <= MAX_OVERLAP => overlap.at_most(),
            Some(_) => {
                return Err(Error::Invalid {
                    pointer: "/overlap",
                    detail: "the old secret may stay good for at most 30 days".to_owned(),
                });
            }
        };
        let ended = credential.expires;
        let usual = now.plus(ended.since(credential.created));
        let expires = end(self.body.expire_time, usual, now)?;
        let old = Previous { hash: credential.hash, expires: now.plus(overlap) };
        let old_end = old.expires.min(credential.expires);
        let (key, text) = ApiKey::generate(credential.id);
        credential.hash = key.hash(hub.system_keys().token());
        credential.previous = (old_end > now).then_some(Previous { expires: old_end, ..old });
        (credential.created, credential.expires) = (now, expires);
        let mut changes = Changes::new();
        if expires < ended {
            // Ending it sooner takes it away as much as revoking it does.
            let leaving = Credential { expires: ended, ..credential.clone() };
            keep_a_way_in(hub, &participant, &leaving, now, &mut changes).await?;
        }
        changes.check_revision(&path, found.revision).put(&path, &credential)?;
        let used = last_use(hub, credential.id).await?;
        let shown = credential_view(&credential, used);
        let reply = IssuedCredential { credential: shown, api_key: Some(text) };
        let plan = Plan::new(permit, reply).changing(changes).participant(participant.id);
        Ok(plan.detail(credential.id.to_string()))
    }
}

/// Lists the credentials of a participant.
#[derive(Debug)]
pub struct ListCredentials {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Whose.
    pub participant: Ref<ParticipantId>,
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ListCredentials {
    const ACTION: Action = Action::CredentialsList;
    type Place = AtRegistration;
    type Reply = Page<CredentialView>;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Page<CredentialView>>, Error> {
        let Scene { hub, place, .. } = scene;
        let participant = hub.find_participant(place.id(), &self.participant).await?.value;
        let prefix = layout::credentials_of(participant.id);
        let found = page::scan::<CredentialId>(hub, &prefix, &self.page).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for (_, id) in &found.items {
            let path = layout::credential(id.value);
            if let Some(credential) = hub.store().read::<Credential>(&path).await? {
                let used = last_use(hub, id.value).await?;
                items.push(credential_view(&credential.value, used));
            }
        }
        let page = Page { items, next_page_token: found.next_page_token };
        Ok(Plan::new(permit, page).participant(participant.id))
    }
}

/// Revokes a credential. In effect before the answer is sent.
#[derive(Debug)]
pub struct RevokeCredential {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Whose.
    pub participant: Ref<ParticipantId>,
    /// Which.
    pub credential: CredentialId,
    /// Whether its record goes too, so that a participant of many can be removed.
    pub forget: bool,
}

/// Nothing to show.
#[derive(Debug, Serialize, Deserialize)]
pub struct Revoked {}

impl Operation for RevokeCredential {
    const ACTION: Action = Action::CredentialsRevoke;
    type Place = AtRegistration;
    type Reply = Revoked;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Revoked>, Error> {
        let Scene { hub, place, now, .. } = scene;
        let participant = hub.find_participant(place.id(), &self.participant).await?.value;
        let path = layout::credential(self.credential);
        let found = of_participant(hub, place.id(), participant.id, self.credential).await?;
        let mut credential = found.value;
        let mut changes = Changes::new();
        if credential.revoked.is_none() {
            keep_a_way_in(hub, &participant, &credential, now, &mut changes).await?;
        }
        if self.forget {
            changes.check_revision(&path, found.revision);
            forget(hub, &mut changes, credential.id).await?;
            changes.delete(&layout::credential_of(participant.id, credential.id));
        } else if credential.revoked.is_none() {
            release(hub, &mut changes, &credential).await?;
            credential.revoked = Some(now);
            credential.previous = None;
            changes.check_revision(&path, found.revision).put(&path, &credential)?;
        }
        let plan = Plan::new(permit, Revoked {}).changing(changes).participant(participant.id);
        Ok(plan.detail(credential.id.to_string()))
    }
}
