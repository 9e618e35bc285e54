//! `participants.remove`: a participant and all its credentials, at once.

use hub_model::{Action, CredentialId, ParticipantId, RegistrationId};
use hub_policy::Permit;
use hub_store::{Changes, Revision, layout};
use serde::{Deserialize, Serialize};

use crate::hub::Hub;
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::participant::{credential, keep_an_administrator};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Most credentials removed together with their participant.
const MAX_CREDENTIALS: usize = 30;

/// Removes a participant.
#[derive(Debug)]
pub struct RemoveParticipant {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which.
    pub participant: Ref<ParticipantId>,
}

/// Nothing to show.
#[derive(Debug, Serialize, Deserialize)]
pub struct Removed {}

impl Operation for RemoveParticipant {
    const ACTION: Action = Action::ParticipantsRemove;
    type Place = AtRegistration;
    type Reply = Removed;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Removed>, Error> {
        let Scene { hub, place, meta, now, .. } = scene;
        let found = hub.find_participant(place.id(), &self.participant).await?;
        let participant = found.value;
        meta.matches(participant.generation)?;
        let mut changes = Changes::new();
        keep_an_administrator(hub, &participant, now, &mut changes).await?;
        let prefix = layout::credentials_of(participant.id);
        let page = hub.store().scan::<CredentialId>(&prefix, None, MAX_CREDENTIALS).await?;
        if page.more {
            return Err(Error::TooMany(
                "the participant has more than 30 credentials: revoke and forget some first",
            ));
        }
        let path = layout::participant(participant.registration, participant.id);
        let privacy = hub.system_keys().privacy();
        let name = participant.name.as_str();
        changes
            .check_revision(&path, found.revision)
            .check_revision(&layout::registration(place.id()), Revision(place.0.revision))
            .delete(&path)
            .delete(&layout::participant_name(privacy, participant.registration, name));
        for (note, credential) in &page.records {
            changes.delete(note);
            credential::forget(hub, &mut changes, credential.value).await?;
        }
        Ok(Plan::new(permit, Removed {}).changing(changes).participant(participant.id))
    }
}
