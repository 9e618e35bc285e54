//! `participants.get`, `participants.list`.

use hub_model::api::page::Page;
use hub_model::api::participant::ParticipantView;
use hub_model::{Action, Participant, ParticipantId, RegistrationId};
use hub_policy::Permit;
use hub_store::layout;

use crate::hub::Hub;
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::participant::view;
use crate::plan::Plan;
use crate::{Error, Ref};

/// Reads a participant.
#[derive(Debug)]
pub struct GetParticipant {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which.
    pub participant: Ref<ParticipantId>,
}

impl Operation for GetParticipant {
    const ACTION: Action = Action::ParticipantsGet;
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
        let Scene { hub, place, .. } = scene;
        let participant = hub.find_participant(place.id(), &self.participant).await?.value;
        let shown = view(hub, &participant, place.id()).await?;
        let plan = Plan::new(permit, shown).generation(participant.generation);
        Ok(plan.participant(participant.id))
    }
}

/// Lists the participants of a registration.
#[derive(Debug)]
pub struct ListParticipants {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ListParticipants {
    const ACTION: Action = Action::ParticipantsList;
    type Place = AtRegistration;
    type Reply = Page<ParticipantView>;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Page<ParticipantView>>, Error> {
        let Scene { hub, place, .. } = scene;
        let prefix = layout::participants(place.id());
        let found = page::scan::<Participant>(hub, &prefix, &self.page).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for (_, participant) in &found.items {
            items.push(view(hub, &participant.value, place.id()).await?);
        }
        Ok(Plan::new(permit, Page { items, next_page_token: found.next_page_token }))
    }
}
