//! `registrations.get`, `registrations.list`.

use hub_model::api::page::Page;
use hub_model::api::registration::RegistrationView;
use hub_model::{Action, Registration, RegistrationId};
use hub_policy::Permit;
use hub_store::layout;

use crate::hub::Hub;
use crate::operation::{AtHub, AtRegistration, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Reads a registration.
#[derive(Debug)]
pub struct GetRegistration {
    /// Which.
    pub registration: Ref<RegistrationId>,
}

impl Operation for GetRegistration {
    const ACTION: Action = Action::RegistrationsGet;
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
        let registration = &scene.place.0.registration;
        let view = RegistrationView::from(&**registration);
        Ok(Plan::new(permit, view).generation(registration.generation))
    }
}

/// Lists registrations.
#[derive(Debug)]
pub struct ListRegistrations {
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ListRegistrations {
    const ACTION: Action = Action::RegistrationsList;
    type Place = AtHub;
    type Reply = Page<RegistrationView>;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<Page<RegistrationView>>, Error> {
        let found =
            page::scan::<Registration>(scene.hub, layout::REGISTRATIONS, &self.page).await?;
        let items = found.items.iter().map(|(_, r)| RegistrationView::from(&r.value)).collect();
        Ok(Plan::new(permit, Page { items, next_page_token: found.next_page_token }))
    }
}
