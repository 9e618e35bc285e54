//! `registrations.create`: a registration with its KEK and its first owners.

use hub_crypto::{Binding, Kek};
use hub_model::api::registration::{CreateRegistration as Body, RegistrationView};
use hub_model::{Action, Participant, Registration, RegistrationId, Role, RoleGrant};
use hub_policy::Permit;
use hub_store::{Changes, Versioned, layout};

use crate::hub::Hub;
use crate::key::check_rotation;
use crate::operation::{AtHub, Keeps, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Most bytes of a description.
pub(super) const MAX_DESCRIPTION: usize = 1024;
/// Most owners named at creation.
const MAX_OWNERS: usize = 32;

/// Creates a registration. The caller becomes its owner, unless owners are named.
#[derive(Debug)]
pub struct CreateRegistration {
    /// What.
    pub body: Body,
}

impl Operation for CreateRegistration {
    const ACTION: Action = Action::RegistrationsCreate;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtHub;
    type Reply = RegistrationView;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<RegistrationView>, Error> {
        let Scene { hub, caller, now, .. } = scene;
        check_description(&self.body.description)?;
        let id = RegistrationId::generate();
        if let Some(policy) = &self.body.rotation {
            check_rotation(hub, id, policy, now).await?;
        }
        if self.body.owners.len() > MAX_OWNERS {
            return Err(Error::TooMany("at most 32 owners can be named at creation"));
        }
        let registration = Registration {
            id,
            name: self.body.name.clone(),
            description: self.body.description.clone(),
            environment: self.body.environment,
            frozen: false,
            frozen_by_hub: false,
            tags: self.body.tags.clone(),
            created: now,
            updated: now,
            generation: 1,
            rotation: self.body.rotation.clone(),
            quotas: None,
        };
        let mut changes = Changes::new();
        put_registration(hub, &mut changes, &registration).await?;
        let mut owners = self.body.owners.clone();
        if owners.is_empty() {
            owners.push(caller.principal().participant);
        }
        owners.sort();
        owners.dedup();
        for owner in owners {
            let found = hub.find_participant(hub.registration(), &Ref::Id(owner)).await;
            let Versioned { value: mut participant, revision } =
                found.map_err(|error| match error {
                    Error::NotFound { .. } => Error::Invalid {
                        pointer: "/owners",
                        detail: format!("`{owner}` is not a participant of `hub`"),
                    },
                    other => other,
                })?;
            add_role(&mut participant, registration.id, Role::Owners);
            participant.updated = now;
            participant.generation += 1;
            let path = layout::participant(participant.registration, participant.id);
            changes.check_revision(&path, revision).put(&path, &participant)?;
        }
        let view = RegistrationView::from(&registration);
        let plan = Plan::new(permit, view).changing(changes).generation(1);
        Ok(plan.registration(registration.id))
    }
}

pub(super) fn check_description(text: &str) -> Result<(), Error> {
    if text.len() > MAX_DESCRIPTION {
        return Err(Error::Invalid {
            pointer: "/description",
            detail: format!("the description may have at most {MAX_DESCRIPTION} bytes"),
        });
    }
    Ok(())
}

/// Adds a role once.
pub(crate) fn add_role(participant: &mut Participant, registration: RegistrationId, role: Role) {
    let grant = RoleGrant { registration, role };
    if !participant.roles.contains(&grant) {
        participant.roles.push(grant);
        participant.roles.sort();
    }
}

/// Adds a new registration with its KEK to the changes.
pub(crate) async fn put_registration(
    hub: &Hub,
    changes: &mut Changes,
    registration: &Registration,
) -> Result<(), Error> {
    let privacy = hub.system_keys().privacy();
    let name = layout::registration_name(privacy, registration.name.as_str());
    if hub.store().read_bytes(&name).await?.is_some() {
        let name = registration.name.to_string();
        return Err(Error::AlreadyExists { what: "registration", name });
    }
    let kek_path = layout::kek(registration.id, 1);
    let kek = Kek::generate(1)?;
    let binding = Binding::kek(hub.id(), kek_path.as_bytes(), registration.id, 1);
    let wrapped = hub.root().kek().wrap_kek(&binding, &kek);
    changes
        .check_absent(&name)
        .put(&name, &registration.id)?
        .put(&layout::registration(registration.id), registration)?
        .put_bytes(&kek_path, wrapped.into());
    Ok(())
}
