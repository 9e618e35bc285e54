//! `access.ofParticipant`: what a participant may do in a registration and with each of its keys.

use std::sync::Arc;

use hub_model::action::ResourceKind;
use hub_model::api::access::{ActionAccess, KeyAccess, ParticipantAccess};
use hub_model::{Action, Key, Participant, ParticipantId, RegistrationId};
use hub_policy::{Certainty, Permit, Survey, Target};
use hub_store::layout;

use super::{KEYS, Place, limit, view};
use crate::hub::Hub;
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::participant::{member_of, member_view};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Asks what a participant may do.
#[derive(Debug)]
pub struct AccessOfParticipant {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Who: a participant of the registration, or by id one of `hub`.
    pub participant: Ref<ParticipantId>,
    /// Which keys.
    pub page: PageRequest,
}

impl Operation for AccessOfParticipant {
    const ACTION: Action = Action::AccessOfParticipant;
    type Place = AtRegistration;
    type Reply = ParticipantAccess;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<ParticipantAccess>, Error> {
        let hub = scene.hub;
        let home = scene.place.id();
        let participant = member_of(hub, home, &self.participant).await?.value;
        let first = self.page.token.is_none();
        let size = Some(limit(&self.page, KEYS)?);
        let page = PageRequest { size, token: self.page.token.clone() };
        let found = page::scan::<Key>(hub, &layout::keys(home), &page).await?;
        let registration = Arc::clone(&scene.place.0);
        let places = found.items.into_iter().map(|(_, record)| Place {
            registration: Arc::clone(&registration),
            revision: record.revision.0,
            key: record.value,
        });
        let places: Vec<Place> = places.collect();
        let (caller, policies) = (scene.caller.clone(), hub.policies_shared());
        let policy_revision = policies.revision().to_string();
        let shown = member_view(hub, &participant).await?;
        let (id, suspended) = (participant.id, participant.suspended);
        let work = move || {
            let mut survey = Survey::new(policies);
            let mut ask = |kind: ResourceKind, target: &Target<'_>| {
                actions(&mut survey, &caller, &participant, kind, target)
            };
            let own = if first {
                ask(ResourceKind::Registration, &Target::Registration(&registration))?
            } else {
                Vec::new()
            };
            let mut keys = Vec::with_capacity(places.len());
            for place in &places {
                let actions = ask(ResourceKind::Key, &place.target())?;
                keys.push(KeyAccess { key: place.key.id, name: place.key.name.clone(), actions });
            }
            Ok::<_, hub_policy::Error>((own, keys))
        };
        // Every action on every key: not on the thread of a connection.
        let answered = hub.heavy().run(home, work).await?;
        let (registration, items) = answered.map_err(|e| Error::Integrity(Box::new(e)))?;
        let answer = ParticipantAccess {
            participant: shown,
            suspended,
            registration,
            items,
            next_page_token: found.next_page_token,
            policy_revision,
        };
        Ok(Plan::new(permit, answer).participant(id))
    }
}

/// The actions of one kind of resource that are not out of the question.
fn actions(
    survey: &mut Survey,
    caller: &hub_auth::Caller,
    participant: &Participant,
    kind: ResourceKind,
    target: &Target<'_>,
) -> Result<Vec<ActionAccess>, hub_policy::Error> {
    let mut found = Vec::new();
    for action in Action::ALL.iter().filter(|action| action.resource_kind() == kind) {
        let prospect = survey.prospect(caller, participant, *action, target)?;
        if prospect.certainty != Certainty::Never {
            let action = action.name().to_owned();
            found.push(ActionAccess { action, prospect: view(prospect) });
        }
    }
    Ok(found)
}
