//! `quotas.get`, `quotas.set`, `quotas.bound`: what may be done in a registration, and how often.
//!
//! They lie in the registration's own record: they are there wherever the registration was found,
//! they go when it goes, and its ETag covers them.

use hub_crypto::random;
use hub_model::api::quota::{QuotasView, SetQuotas};
use hub_model::quota::{KeptQuota, QuotaRule, RegistrationQuotas};
use hub_model::{Action, Registration, RegistrationId};
use hub_policy::Permit;
use hub_store::{Changes, Revision, layout};

use crate::hub::{Hub, is_hub};
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Reads the quotas of a registration.
#[derive(Debug)]
pub struct GetQuotas {
    /// Which.
    pub registration: Ref<RegistrationId>,
}

impl Operation for GetQuotas {
    const ACTION: Action = Action::QuotasGet;
    type Place = AtRegistration;
    type Reply = QuotasView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<QuotasView>, Error> {
        let registration = &scene.place.0.registration;
        Ok(Plan::new(permit, view(registration)).generation(registration.generation))
    }
}

/// Sets quotas: those of the hub (`BOUNDS`), or those of the owners.
#[derive(Debug)]
pub struct PutQuotas<const BOUNDS: bool> {
    /// Whose.
    pub registration: Ref<RegistrationId>,
    /// All of them; none clears them.
    pub body: SetQuotas,
}

impl<const BOUNDS: bool> Operation for PutQuotas<BOUNDS> {
    const ACTION: Action = if BOUNDS { Action::QuotasBound } else { Action::QuotasSet };
    type Place = AtRegistration;
    type Reply = QuotasView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<QuotasView>, Error> {
        put::<BOUNDS>(permit, &scene, &self.body.rules)
    }
}

/// Removes quotas: those of the hub (`BOUNDS`), or those of the owners.
#[derive(Debug)]
pub struct ClearQuotas<const BOUNDS: bool> {
    /// Whose.
    pub registration: Ref<RegistrationId>,
}

impl<const BOUNDS: bool> Operation for ClearQuotas<BOUNDS> {
    const ACTION: Action = if BOUNDS { Action::QuotasBound } else { Action::QuotasSet };
    type Place = AtRegistration;
    type Reply = QuotasView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<QuotasView>, Error> {
        put::<BOUNDS>(permit, &scene, &[])
    }
}

fn put<const BOUNDS: bool>(
    permit: Permit,
    scene: &Scene<'_, AtRegistration>,
    rules: &[QuotaRule],
) -> Result<Plan<QuotasView>, Error> {
    let mut changed = (*scene.place.0.registration).clone();
    // Who runs the hub must never lock themselves out of it.
    if is_hub(&changed) {
        return Err(Error::HubRegistration("it has no quotas"));
    }
    scene.meta.matches(changed.generation)?;
    QuotaRule::check_all(rules).map_err(|(at, why)| Error::Invalid {
        pointer: "/rules",
        detail: format!("quota {at}: {why}"),
    })?;
    let mut quotas = changed.quotas.take().map(|quotas| *quotas).unwrap_or_default();
    let list = if BOUNDS { &mut quotas.bounds } else { &mut quotas.rules };
    let kept: Vec<KeptQuota> = rules.iter().map(|rule| keep(rule, list)).collect();
    let detail = format!("{} quotas", kept.len());
    *list = kept;
    changed.quotas = (!quotas.is_empty()).then(|| Box::new(quotas));
    changed.updated = scene.now;
    changed.generation += 1;
    let path = layout::registration(changed.id);
    let mut changes = Changes::new();
    changes.check_revision(&path, Revision(scene.place.0.revision)).put(&path, &changed)?;
    let plan = Plan::new(permit, view(&changed)).changing(changes).generation(changed.generation);
    Ok(plan.detail(detail))
}

/// A rule that has not changed keeps its number, and with it what has been counted.
fn keep(rule: &QuotaRule, before: &[KeptQuota]) -> KeptQuota {
    if let Some(kept) = before.iter().find(|kept| kept.rule == *rule) {
        return kept.clone();
    }
    let mut number = [0; 8];
    random::fill(&mut number);
    // The upper half of the numbers: the lower is for rules of the configuration.
    KeptQuota { number: u64::from_be_bytes(number) | (1 << 63), rule: rule.clone() }
}

fn view(registration: &Registration) -> QuotasView {
    let quotas: Option<&RegistrationQuotas> = registration.quotas.as_deref();
    quotas.map_or_else(|| QuotasView::from(&RegistrationQuotas::default()), QuotasView::from)
}
