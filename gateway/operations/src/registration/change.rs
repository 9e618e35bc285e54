//! `registrations.update`, `registrations.freeze`, `registrations.unfreeze`.

use hub_model::api::registration::{PatchRegistration, RegistrationView};
use hub_model::{Action, Registration, RegistrationId, Role, RoleGrant};
use hub_policy::Permit;
use hub_store::{Changes, Revision, layout};

use super::create::check_description;
use crate::hub::{Hub, is_hub};
use crate::key::{asks_plugin, check_rotation, put_replan};
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref, invalid_tags};

/// Changes a registration.
#[derive(Debug)]
pub struct UpdateRegistration {
    /// Which.
    pub registration: Ref<RegistrationId>,
    /// How.
    pub body: PatchRegistration,
}

impl Operation for UpdateRegistration {
    const ACTION: Action = Action::RegistrationsUpdate;
    type Place = AtRegistration;
    type Reply = RegistrationView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<RegistrationView>, Error> {
        let mut changed = (*scene.place.0.registration).clone();
        scene.meta.matches(changed.generation)?;
        if let Some(description) = &self.body.description {
            check_description(description)?;
            changed.description.clone_from(description);
        }
        if let Some(environment) = self.body.environment {
            changed.environment = environment;
        }
        if let Some(patch) = &self.body.tags {
            changed.tags = changed.tags.merged(patch.clone()).map_err(invalid_tags)?;
        }
        let mut changes = Changes::new();
        if let Some(policy) = &self.body.rotation {
            if let Some(policy) = policy {
                check_rotation(scene.hub, changed.id, policy, scene.now).await?;
            }
            changed.rotation.clone_from(policy);
            put_replan(&mut changes, changed.id)?;
        }
        put(permit, &scene, changed, changes)
    }

    async fn settle(&self, hub: &Hub) {
        if asks_plugin(self.body.rotation.as_ref().and_then(Option::as_ref)) {
            hub.wake_sweep();
        }
    }
}

/// Freezes a registration (`FROZEN`), or makes a frozen one usable again.
#[derive(Debug)]
pub struct Freeze<const FROZEN: bool> {
    /// Which.
    pub registration: Ref<RegistrationId>,
}

impl<const FROZEN: bool> Operation for Freeze<FROZEN> {
    const ACTION: Action =
        if FROZEN { Action::RegistrationsFreeze } else { Action::RegistrationsUnfreeze };
    type Place = AtRegistration;
    type Reply = RegistrationView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<RegistrationView>, Error> {
        let mut changed = (*scene.place.0.registration).clone();
        scene.meta.matches_if_given(changed.generation)?;
        if is_hub(&changed) {
            return Err(Error::HubRegistration("it cannot be frozen"));
        }
        // What both froze, the hub has frozen: the stricter of the two stands.
        let by_hub = FROZEN && (changed.frozen_by_hub || runs_the_hub(&scene));
        if changed.frozen == FROZEN && changed.frozen_by_hub == by_hub {
            let view = RegistrationView::from(&changed);
            return Ok(Plan::new(permit, view).generation(changed.generation));
        }
        changed.frozen = FROZEN;
        changed.frozen_by_hub = by_hub;
        put(permit, &scene, changed, Changes::new())
    }
}

fn runs_the_hub(scene: &Scene<'_, AtRegistration>) -> bool {
    let own = scene.hub.registration();
    let admin = |role: &RoleGrant| role.registration == own && role.role == Role::Admins;
    scene.caller.participant().roles.iter().any(admin)
}

fn put(
    permit: Permit,
    scene: &Scene<'_, AtRegistration>,
    mut changed: Registration,
    mut changes: Changes,
) -> Result<Plan<RegistrationView>, Error> {
    changed.updated = scene.now;
    changed.generation += 1;
    let path = layout::registration(changed.id);
    changes.check_revision(&path, Revision(scene.place.0.revision)).put(&path, &changed)?;
    let view = RegistrationView::from(&changed);
    Ok(Plan::new(permit, view).changing(changes).generation(changed.generation))
}
