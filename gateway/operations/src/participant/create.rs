//! `participants.create`.

use hub_model::api::participant::{CreateParticipant as Body, ParticipantView};
use hub_model::{Action, Participant, ParticipantId, RegistrationId, RoleGrant};
use hub_policy::Permit;
use hub_store::{Changes, Revision, layout};

use crate::hub::Hub;
use crate::operation::{AtRegistration, Keeps, Lost, Operation, Scene};
use crate::participant::{role_exists, view};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Creates a participant.
#[derive(Debug)]
pub struct CreateParticipant {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// What.
    pub body: Body,
}

impl Operation for CreateParticipant {
    const ACTION: Action = Action::ParticipantsCreate;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtRegistration;
    type Reply = ParticipantView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    /// Giving roles at once is granting them.
    fn needs(&self) -> Option<Action> {
        (!self.body.roles.is_empty()).then_some(Action::RolesGrant)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<ParticipantView>, Error> {
        let Scene { hub, place, now, .. } = scene;
        let registration = place.id();
        let mut roles = Vec::new();
        for role in &self.body.roles {
            role_exists(place, *role)?;
            roles.push(RoleGrant { registration, role: *role });
        }
        roles.sort();
        roles.dedup();
        let participant = Participant {
            id: ParticipantId::generate(),
            registration,
            name: self.body.name.clone(),
            kind: self.body.kind,
            suspended: false,
            tags: self.body.tags.clone(),
            roles,
            grants_in: Default::default(),
            created: now,
            updated: now,
            generation: 1,
        };
        let privacy = hub.system_keys().privacy();
        let name = layout::participant_name(privacy, registration, participant.name.as_str());
        if hub.store().read_bytes(&name).await?.is_some() {
            let name = participant.name.to_string();
            return Err(Error::AlreadyExists { what: "participant", name });
        }
        let mut changes = Changes::new();
        changes
            .check_absent(&name)
            .check_revision(&layout::registration(registration), Revision(place.0.revision))
            .put(&name, &participant.id)?
            .put(&layout::participant(registration, participant.id), &participant)?;
        let shown = view(hub, &participant, registration).await?;
        let plan = Plan::new(permit, shown).changing(changes).generation(1);
        Ok(plan.participant(participant.id))
    }
}
