//! `roles.list`, `roles.grant`, `roles.revoke`: membership. Members are participants of the
//! registration itself, or of `hub`.

use hub_model::api::page::Page;
use hub_model::api::participant::MemberView;
use hub_model::{Action, Participant, ParticipantId, RegistrationId, Role, RoleGrant};
use hub_policy::Permit;
use hub_store::{Changes, Revision, Versioned, layout};
use serde::{Deserialize, Serialize};

use crate::hub::Hub;
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::participant::{keep_an_administrator, member_of, role_exists};
use crate::plan::Plan;
use crate::registration::add_role;
use crate::{Error, Ref};

/// Lists the members of a role.
#[derive(Debug)]
pub struct ListMembers {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which role.
    pub role: Role,
    /// Which part; the token is the last member seen.
    pub page: PageRequest,
}

impl Operation for ListMembers {
    const ACTION: Action = Action::RolesList;
    type Place = AtRegistration;
    type Reply = Page<MemberView>;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Page<MemberView>>, Error> {
        let Scene { hub, place, .. } = scene;
        role_exists(place, self.role)?;
        let limit = self.page.limit()?;
        let grant = RoleGrant { registration: place.id(), role: self.role };
        let mut members = Vec::new();
        let mut homes = vec![place.id()];
        if place.id() != hub.registration() {
            homes.push(hub.registration());
        }
        for home in homes {
            collect(hub, home, grant, &mut members).await?;
        }
        members.sort_by_key(|member| member.uid);
        let list = format!("roles/{}/{}", place.id(), self.role);
        let after: Option<ParticipantId> = match &self.page.token {
            None => None,
            Some(token) => {
                let last = page::open_token(hub, &list, token)?;
                Some(last.parse().map_err(|_| Error::PageToken)?)
            }
        };
        members.retain(|member| after.is_none_or(|after| member.uid > after));
        let more = members.len() > limit;
        members.truncate(limit);
        let last = members.last().filter(|_| more);
        let next_page_token = last.map(|last| page::seal_token(hub, &list, &last.uid.to_string()));
        let page = Page { items: members, next_page_token };
        Ok(Plan::new(permit, page).detail(self.role.name()))
    }
}

async fn collect(
    hub: &Hub,
    home: RegistrationId,
    grant: RoleGrant,
    members: &mut Vec<MemberView>,
) -> Result<(), Error> {
    let registration = hub.registration_name(home).await?;
    let prefix = layout::participants(home);
    let mut after = None;
    loop {
        let page = hub.store().scan::<Participant>(&prefix, after.as_ref(), 500).await?;
        for (_, Versioned { value: participant, .. }) in &page.records {
            if participant.roles.contains(&grant) {
                members.push(MemberView {
                    uid: participant.id,
                    name: participant.name.clone(),
                    registration: registration.clone(),
                    kind: participant.kind,
                });
            }
        }
        match page.records.last() {
            Some((last, _)) if page.more => after = Some(last.clone()),
            _ => return Ok(()),
        }
    }
}

/// Nothing to show.
#[derive(Debug, Serialize, Deserialize)]
pub struct Granted {}

/// Adds a member to a role.
#[derive(Debug)]
pub struct GrantRole {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which role.
    pub role: Role,
    /// Whom: a participant of the registration, or by id one of `hub`.
    pub participant: Ref<ParticipantId>,
}

/// Removes a member from a role.
#[derive(Debug)]
pub struct RevokeRole {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which role.
    pub role: Role,
    /// Whom.
    pub participant: Ref<ParticipantId>,
}

fn put(
    permit: Permit,
    scene: &Scene<'_, AtRegistration>,
    role: Role,
    (mut participant, revision): (Participant, Revision),
    mut changes: Changes,
) -> Result<Plan<Granted>, Error> {
    participant.updated = scene.now;
    participant.generation += 1;
    let path = layout::participant(participant.registration, participant.id);
    let registration = layout::registration(scene.place.id());
    changes
        .check_revision(&path, revision)
        .check_revision(&registration, Revision(scene.place.0.revision))
        .put(&path, &participant)?;
    let plan = Plan::new(permit, Granted {}).changing(changes).participant(participant.id);
    Ok(plan.detail(role.name()))
}

impl Operation for GrantRole {
    const ACTION: Action = Action::RolesGrant;
    type Place = AtRegistration;
    type Reply = Granted;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Granted>, Error> {
        role_exists(scene.place, self.role)?;
        let found = member_of(scene.hub, scene.place.id(), &self.participant).await?;
        let mut participant = found.value;
        let before = participant.roles.len();
        add_role(&mut participant, scene.place.id(), self.role);
        if participant.roles.len() == before {
            let plan = Plan::new(permit, Granted {}).participant(participant.id);
            return Ok(plan.detail(self.role.name()));
        }
        put(permit, &scene, self.role, (participant, found.revision), Changes::new())
    }
}

impl Operation for RevokeRole {
    const ACTION: Action = Action::RolesRevoke;
    type Place = AtRegistration;
    type Reply = Granted;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Granted>, Error> {
        role_exists(scene.place, self.role)?;
        let found = member_of(scene.hub, scene.place.id(), &self.participant).await?;
        let mut participant = found.value;
        let grant = RoleGrant { registration: scene.place.id(), role: self.role };
        if !participant.roles.contains(&grant) {
            let plan = Plan::new(permit, Granted {}).participant(participant.id);
            return Ok(plan.detail(self.role.name()));
        }
        let mut changes = Changes::new();
        if self.role == Role::Admins {
            keep_an_administrator(scene.hub, &participant, scene.now, &mut changes).await?;
        }
        participant.roles.retain(|held| *held != grant);
        put(permit, &scene, self.role, (participant, found.revision), changes)
    }
}
