//! `access.whoCan`: who may do an action with a key.

use std::sync::Arc;

use hub_model::api::access::{AccessDecision, WhoCan as Answer, WhoCanItem};
use hub_model::{Action, KeyId, Participant, ParticipantId, RegistrationId};
use hub_policy::{Named, Permit, Survey};
use hub_store::layout;

use super::{Asked, PARTICIPANTS, Place, limit, view};
use crate::hub::Hub;
use crate::operation::{AtKey, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::participant::member_view;
use crate::plan::Plan;
use crate::{Error, Ref};

/// Policies that name single participants looked up at most; the rest count as naming others.
const MOST_NAMED: usize = 100;

/// Asks who may do an action with a key.
#[derive(Debug)]
pub struct WhoCan {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// With which key.
    pub key: Ref<KeyId>,
    /// What.
    pub action: Action,
    /// Which part; the token is the last participant asked about.
    pub page: PageRequest,
}

impl Operation for WhoCan {
    const ACTION: Action = Action::AccessWhoCan;
    type Place = AtKey;
    type Reply = Answer;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtKey>) -> Result<Plan<Answer>, Error> {
        let (hub, action) = (scene.hub, self.action);
        let place = Place {
            registration: Arc::clone(&scene.place.registration),
            key: scene.place.hot.key.clone(),
            revision: scene.place.hot.revision,
        };
        let (id, home) = (place.key.id, place.registration.registration.id);
        let list = format!("whoCan/{id}/{action}");
        let asked = self.page_of(hub, home, &list).await?;
        let caller = scene.caller.clone();
        let policies = hub.policies_shared();
        let policy_revision = policies.revision().to_string();
        let participants = asked.participants;
        let work = move || {
            let mut survey = Survey::new(policies);
            let target = place.target();
            let mut found = Vec::with_capacity(participants.len());
            for participant in participants {
                let prospect = survey.prospect(&caller, &participant, action, &target)?;
                let holds = participant.registration == home
                    || participant.roles.iter().any(|role| role.registration == home)
                    || place.key.grants.iter().any(|grant| grant.participant == participant.id);
                found.push((participant, view(prospect), holds));
            }
            let others = survey.strangers(&caller, action, &target)?.map(view);
            Ok::<_, hub_policy::Error>((found, others, survey.named(action, &target)))
        };
        // Some milliseconds where there are many policies: not on the thread of a connection.
        let answered = hub.heavy().run(home, work).await?;
        let (found, others, named) = answered.map_err(|e| Error::Integrity(Box::new(e)))?;
        let mut items = Vec::with_capacity(found.len());
        for (participant, prospect, holds) in found {
            // Of the hub's participants, those who have nothing to do with this registration.
            if !holds && prospect.decision == AccessDecision::Never {
                continue;
            }
            let suspended = participant.suspended;
            let participant = member_view(hub, &participant).await?;
            items.push(WhoCanItem { participant, suspended, prospect });
        }
        let answer = Answer {
            key: id,
            action: action.name().to_owned(),
            items,
            next_page_token: asked.next,
            others,
            elsewhere: elsewhere(hub, home, named).await?,
            policy_revision,
        };
        Ok(Plan::new(permit, answer).detail(action.name()))
    }
}

impl WhoCan {
    /// The participants of one page: those of the registration, then those of `hub`.
    async fn page_of(&self, hub: &Hub, home: RegistrationId, list: &str) -> Result<Asked, Error> {
        let size = limit(&self.page, PARTICIPANTS)?;
        let mut homes = vec![home];
        if home != hub.registration() {
            homes.push(hub.registration());
        }
        let mut after: Option<ParticipantId> = None;
        if let Some(token) = &self.page.token {
            let last = page::open_token(hub, list, token)?;
            let (registration, participant) = last.split_once('/').ok_or(Error::PageToken)?;
            let registration: RegistrationId =
                registration.parse().map_err(|_| Error::PageToken)?;
            after = Some(participant.parse().map_err(|_| Error::PageToken)?);
            homes.retain(|one| *one != home || registration == home);
        }
        let mut participants: Vec<Participant> = Vec::new();
        let mut left = homes.into_iter().peekable();
        while let Some(one) = left.next() {
            let prefix = layout::participants(one);
            let from = after.take().map(|id| layout::participant(one, id));
            let room = size.saturating_sub(participants.len());
            let found = hub.store().scan::<Participant>(&prefix, from.as_ref(), room).await?;
            participants.extend(found.records.into_iter().map(|(_, record)| record.value));
            let full = participants.len() >= size;
            if full && (found.more || left.peek().is_some()) {
                let next = participants.last().map(|last| {
                    let last = format!("{}/{}", last.registration, last.id);
                    page::seal_token(hub, list, &last)
                });
                return Ok(Asked { participants, next });
            }
        }
        Ok(Asked { participants, next: None })
    }
}

/// Permits that name participants or roles of registrations nobody was asked about in.
async fn elsewhere(
    hub: &Hub,
    home: RegistrationId,
    named: Vec<Named>,
) -> Result<Vec<String>, Error> {
    let mut ids = Vec::new();
    for (n, Named { policy, participant }) in named.into_iter().enumerate() {
        let mut here = false;
        if let Some(id) = participant.filter(|_| n < MOST_NAMED) {
            for one in [home, hub.registration()] {
                here |= hub.store().read_bytes(&layout::participant(one, id)).await?.is_some();
            }
        }
        if !here {
            ids.push(policy.to_string());
        }
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}
