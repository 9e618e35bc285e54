//! `grants.create`, `grants.list`, `grants.get`, `grants.delete`: some actions of one participant on
//! one key. They lie in the key's record: a change of them is a change of the key.

use hub_model::api::grant::{CreateGrant as Body, GrantView};
use hub_model::api::page::Page;
use hub_model::api::participant::MemberView;
use hub_model::grant::MAX_GRANTS;
use hub_model::{
    Action, Grant, GrantId, Key, KeyId, Participant, ParticipantId, RegistrationId, Timestamp,
};
use hub_policy::Permit;
use hub_store::{Changes, Versioned, layout};
use serde::{Deserialize, Serialize};

use super::steps::{alive, changed};
use crate::hub::Hub;
use crate::operation::{AtKey, Keeps, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::participant::{member_of, member_view};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Grants a participant some actions on a key.
#[derive(Debug)]
pub struct CreateGrant {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// On which key.
    pub key: Ref<KeyId>,
    /// What to whom.
    pub body: Body,
}

impl Operation for CreateGrant {
    const ACTION: Action = Action::GrantsCreate;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtKey;
    type Reply = GrantView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<GrantView>, Error> {
        let (hub, mut key) = (scene.hub, scene.place.hot.key.clone());
        alive(&key)?;
        let who: Ref<ParticipantId> =
            self.body.participant.parse().map_err(|_| Error::Invalid {
                pointer: "/participant",
                detail: "a name or uid of a participant is expected".to_owned(),
            })?;
        let found = member_of(hub, key.registration, &who).await.map_err(|error| match error {
            Error::NotFound { .. } => Error::Invalid {
                pointer: "/participant",
                detail: "no participant of this registration, and none of `hub` by its uid".into(),
            },
            other => other,
        })?;
        let participant = &found.value;
        let Body { actions, expire_time, context, note, .. } = self.body.clone();
        let made = Grant::new(participant, actions, expire_time, context, note, scene.now);
        let grant = made.map_err(invalid)?;
        drop_ghosts(hub, &mut key).await?;
        if key.grants.len() >= MAX_GRANTS {
            return Err(Error::TooMany("a key may have at most 100 grants; delete some first"));
        }
        key.grants.push(grant.clone());
        let mut changes = changed(&scene, &mut key)?;
        note_elsewhere(&mut changes, &key, &found, true)?;
        let shown = view(&key, &grant, member_view(hub, participant).await?, scene.now);
        let plan = Plan::new(permit, shown).changing(changes).participant(grant.participant);
        Ok(plan.detail(said(&grant)))
    }
}

/// Lists the grants on a key.
#[derive(Debug)]
pub struct ListGrants {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// On which key.
    pub key: Ref<KeyId>,
    /// Which part; the token is the last grant seen.
    pub page: PageRequest,
}

impl Operation for ListGrants {
    const ACTION: Action = Action::GrantsList;
    type Place = AtKey;
    type Reply = Page<GrantView>;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<Page<GrantView>>, Error> {
        let (hub, key) = (scene.hub, &scene.place.hot.key);
        let limit = self.page.limit()?;
        let list = format!("grants/{}", key.id);
        let after: Option<GrantId> = match &self.page.token {
            None => None,
            Some(token) => {
                let last = page::open_token(hub, &list, token)?;
                Some(last.parse().map_err(|_| Error::PageToken)?)
            }
        };
        // Ids sort by when they were made, but two clocks may have made them.
        let mut all: Vec<&Grant> = key.grants.iter().collect();
        all.sort_by_key(|grant| grant.id);
        let mut items: Vec<GrantView> = Vec::new();
        let mut more = false;
        for grant in all.into_iter().filter(|grant| after.is_none_or(|after| grant.id > after)) {
            let Some(holder) = holder(hub, grant).await? else { continue };
            if items.len() == limit {
                more = true;
                break;
            }
            let member = member_view(hub, &holder.value).await?;
            items.push(view(key, grant, member, scene.now));
        }
        let last = items.last().filter(|_| more);
        let next_page_token = last.map(|last| page::seal_token(hub, &list, &last.uid.to_string()));
        Ok(Plan::new(permit, Page { items, next_page_token }))
    }
}

/// Reads a grant.
#[derive(Debug)]
pub struct GetGrant {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// On which key.
    pub key: Ref<KeyId>,
    /// Which.
    pub grant: GrantId,
}

impl Operation for GetGrant {
    const ACTION: Action = Action::GrantsGet;
    type Place = AtKey;
    type Reply = GrantView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<GrantView>, Error> {
        let (hub, key) = (scene.hub, &scene.place.hot.key);
        let missing = || Error::not_found("grant", self.grant);
        let grant = key.grants.iter().find(|grant| grant.id == self.grant).ok_or_else(missing)?;
        let found = holder(hub, grant).await?.ok_or_else(missing)?;
        let shown = view(key, grant, member_view(hub, &found.value).await?, scene.now);
        let plan = Plan::new(permit, shown).participant(grant.participant);
        Ok(plan.detail(grant.id.to_string()))
    }
}

/// Takes a grant away. In effect before the answer is sent.
#[derive(Debug)]
pub struct DeleteGrant {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// On which key.
    pub key: Ref<KeyId>,
    /// Which.
    pub grant: GrantId,
}

/// Nothing to show.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct GrantDeleted {}

impl Operation for DeleteGrant {
    const ACTION: Action = Action::GrantsDelete;
    type Place = AtKey;
    type Reply = GrantDeleted;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<GrantDeleted>, Error> {
        let mut key = scene.place.hot.key.clone();
        let missing = || Error::not_found("grant", self.grant);
        let at = key.grants.iter().position(|grant| grant.id == self.grant).ok_or_else(missing)?;
        let grant = key.grants.remove(at);
        let found = holder(scene.hub, &grant).await?.ok_or_else(missing)?;
        let mut changes = changed(&scene, &mut key)?;
        note_elsewhere(&mut changes, &key, &found, false)?;
        let plan = Plan::new(permit, GrantDeleted {}).changing(changes);
        Ok(plan.participant(grant.participant).detail(said(&grant)))
    }
}

/// What the entry says of a grant: its id and actions.
fn said(grant: &Grant) -> String {
    let actions = grant.actions.iter().map(|action| action.name());
    format!("{} {}", grant.id, actions.collect::<Vec<_>>().join(" "))
}

fn invalid(error: hub_model::Error) -> Error {
    match error {
        hub_model::Error::Grant { pointer, detail } => Error::Invalid { pointer, detail },
        other => Error::Invalid { pointer: "", detail: other.to_string() },
    }
}

/// Who holds a grant; `None` once that participant is removed. Its uid never comes back, so such a
/// grant permits nothing to anybody, and is as good as none.
async fn holder(hub: &Hub, grant: &Grant) -> Result<Option<Versioned<Participant>>, Error> {
    let path = layout::participant(grant.home, grant.participant);
    Ok(hub.store().read::<Participant>(&path).await?)
}

/// Leaves out the grants of participants who were removed.
async fn drop_ghosts(hub: &Hub, key: &mut Key) -> Result<(), Error> {
    let mut left = Vec::with_capacity(key.grants.len() + 1);
    for grant in std::mem::take(&mut key.grants) {
        if holder(hub, &grant).await?.is_some() {
            left.push(grant);
        }
    }
    key.grants = left;
    Ok(())
}

/// Notes at a participant of `hub` how many grants it holds in the registration of the key, where
/// it would otherwise not be known that it may see that registration at all. Its generation stays:
/// the count is no fact anybody reads or sets, and owners elsewhere must not make the `If-Match` of
/// those who manage it stale. What is cached goes by the revision in the store, which changes.
fn note_elsewhere(
    changes: &mut Changes,
    key: &Key,
    holder: &Versioned<Participant>,
    more: bool,
) -> Result<(), Error> {
    let mut participant = holder.value.clone();
    let path = layout::participant(participant.registration, participant.id);
    // Removed at the same time, the participant would leave a grant that nobody sees.
    changes.check_revision(&path, holder.revision);
    if participant.registration == key.registration {
        return Ok(());
    }
    let count = participant.grants_in.entry(key.registration).or_default();
    *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
    if *count == 0 {
        participant.grants_in.remove(&key.registration);
    }
    changes.put(&path, &participant)?;
    Ok(())
}

fn view(key: &Key, grant: &Grant, participant: MemberView, now: Timestamp) -> GrantView {
    GrantView {
        uid: grant.id,
        key: key.id,
        participant,
        actions: grant.actions.clone(),
        expire_time: grant.expires,
        expired: grant.has_ended(now),
        context: grant.context.clone(),
        note: grant.note.clone(),
        create_time: grant.created,
    }
}
