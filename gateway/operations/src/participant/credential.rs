//! `credentials.issue`, `credentials.list`, `credentials.revoke`.

use hub_auth::Credential;
use hub_auth::api_key::ApiKey;
use hub_auth::credential::{DEFAULT_LIFE, MAX_LIFE};
use hub_model::api::page::Page;
use hub_model::api::participant::{CredentialView, IssueCredential as Body, IssuedCredential};
use hub_model::secret::SecretText;
use hub_model::{
    Action, AuthMethod, CredentialId, Participant, ParticipantId, RegistrationId, Timestamp,
};
use hub_policy::Permit;
use hub_store::{Changes, Revision, layout};
use serde::{Deserialize, Serialize};

use crate::hub::Hub;
use crate::operation::{AtRegistration, Keeps, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::participant::keep_a_way_in;
use crate::plan::Plan;
use crate::{Error, Ref};

const MAX_LABEL: usize = 256;
/// Most credentials of one participant, ended and revoked ones included.
const MAX_CREDENTIALS: usize = 1000;

/// A credential as shown.
pub(crate) fn credential_view(credential: &Credential) -> CredentialView {
    CredentialView {
        uid: credential.id,
        participant: credential.participant,
        method: credential.method,
        label: credential.label.clone(),
        create_time: credential.created,
        expire_time: credential.expires,
        revoke_time: credential.revoked,
    }
}

/// Makes an API key for a participant and adds its record to the changes.
pub(crate) fn issue(
    hub_keys: &hub_crypto::SystemKeys,
    changes: &mut Changes,
    participant: &Participant,
    method: AuthMethod,
    label: String,
    (now, expires): (Timestamp, Timestamp),
) -> Result<(Credential, SecretText), Error> {
    let id = CredentialId::generate();
    let (key, text) = ApiKey::generate(id);
    let credential = Credential {
        id,
        registration: participant.registration,
        participant: participant.id,
        method,
        label,
        hash: key.hash(hub_keys.token()),
        created: now,
        expires,
        revoked: None,
    };
    let path = layout::credential(id);
    changes
        .check_absent(&path)
        .put(&path, &credential)?
        .put(&layout::credential_of(participant.id, id), &id)?;
    Ok((credential, text))
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
        let expires = self.body.expire_time.unwrap_or_else(|| now.plus(DEFAULT_LIFE));
        if expires <= now || expires > now.plus(MAX_LIFE) {
            return Err(Error::Invalid {
                pointer: "/expireTime",
                detail: "the end must lie ahead, at most 3,650 days".to_owned(),
            });
        }
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
        let (credential, api_key) = issue(
            hub.system_keys(),
            &mut changes,
            &participant,
            AuthMethod::ApiKey,
            self.body.label.clone(),
            (now, expires),
        )?;
        let reply = IssuedCredential { credential: credential_view(&credential), api_key };
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
                items.push(credential_view(&credential.value));
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
        let missing = || Error::not_found("credential", self.credential);
        let found = hub.store().read::<Credential>(&path).await?.ok_or_else(missing)?;
        let mut credential = found.value;
        // INVARIANT: an id of another participant's credential is as good as none.
        if credential.participant != participant.id || credential.registration != place.id() {
            return Err(missing());
        }
        let mut changes = Changes::new();
        if credential.revoked.is_none() {
            keep_a_way_in(hub, &participant, &credential, now, &mut changes).await?;
            credential.revoked = Some(now);
            changes.check_revision(&path, found.revision).put(&path, &credential)?;
        }
        let plan = Plan::new(permit, Revoked {}).changing(changes).participant(participant.id);
        Ok(plan.detail(credential.id.to_string()))
    }
}
