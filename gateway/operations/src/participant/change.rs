//! `participants.update`, `participants.suspend`, `participants.resume`.

use hub_model::api::participant::{ParticipantView, PatchParticipant};
use hub_model::{Action, Participant, ParticipantId, RegistrationId};
use hub_policy::Permit;
use hub_store::{Changes, Revision, layout};

use crate::hub::Hub;
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::participant::{keep_an_administrator, view};
use crate::plan::Plan;
use crate::{Error, Ref, invalid_tags};

/// Changes a participant's tags.
#[derive(Debug)]
pub struct UpdateParticipant {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which.
    pub participant: Ref<ParticipantId>,
    /// How.
    pub body: PatchParticipant,
}

impl Operation for UpdateParticipant {
    const ACTION: Action = Action::ParticipantsUpdate;
    type Place = AtRegistration;
    type Reply = ParticipantView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<ParticipantView>, Error> {
        let found = scene.hub.find_participant(scene.place.id(), &self.participant).await?;
        let mut changed = found.value;
        scene.meta.matches(changed.generation)?;
        if let Some(patch) = &self.body.tags {
            changed.tags = changed.tags.merged(patch.clone()).map_err(invalid_tags)?;
        }
        put(permit, &scene, changed, found.revision, Changes::new()).await
    }
}

/// Suspends a participant (`SUSPENDED`), or resumes it. In effect before the answer is sent.
#[derive(Debug)]
pub struct Suspend<const SUSPENDED: bool> {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which.
    pub participant: Ref<ParticipantId>,
}

impl<const SUSPENDED: bool> Operation for Suspend<SUSPENDED> {
    const ACTION: Action =
        if SUSPENDED { Action::ParticipantsSuspend } else { Action::ParticipantsResume };
    type Place = AtRegistration;
    type Reply = ParticipantView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<ParticipantView>, Error> {
        let Scene { hub, place, meta, .. } = scene;
        let found = hub.find_participant(place.id(), &self.participant).await?;
        let mut changed = found.value;
        meta.matches_if_given(changed.generation)?;
        if changed.suspended == SUSPENDED {
            let shown = view(hub, &changed, place.id()).await?;
            let plan = Plan::new(permit, shown).generation(changed.generation);
            return Ok(plan.participant(changed.id));
        }
        let mut changes = Changes::new();
        if SUSPENDED {
            keep_an_administrator(hub, &changed, scene.now, &mut changes).await?;
        }
        changed.suspended = SUSPENDED;
        put(permit, &scene, changed, found.revision, changes).await
    }
}

async fn put(
    permit: Permit,
    scene: &Scene<'_, AtRegistration>,
    mut changed: Participant,
    revision: Revision,
    mut changes: Changes,
) -> Result<Plan<ParticipantView>, Error> {
    changed.updated = scene.now;
    changed.generation += 1;
    let path = layout::participant(changed.registration, changed.id);
    let registration = layout::registration(scene.place.id());
    changes
        .check_revision(&path, revision)
        .check_revision(&registration, Revision(scene.place.0.revision))
        .put(&path, &changed)?;
    let shown = view(scene.hub, &changed, scene.place.id()).await?;
    let plan = Plan::new(permit, shown).changing(changes).generation(changed.generation);
    Ok(plan.participant(changed.id))
}
