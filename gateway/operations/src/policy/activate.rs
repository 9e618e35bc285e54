//! `policies.activate`, `policies.rollback`, `policies.shadow`.

use std::sync::Arc;

use hub_model::Action;
use hub_model::api::policy::{Activated, RevisionRef, Shadowed};
use hub_policy::{Bundle, Permit};
use hub_store::{Changes, layout};

use super::{HISTORY, InUse, Which, files_of};
use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::plan::Plan;

/// Decides by another revision from now on.
#[derive(Debug)]
pub struct Activate {
    /// By which.
    pub revision: RevisionRef,
}

impl Operation for Activate {
    const ACTION: Action = Action::PoliciesActivate;
    const TELLS_WHEN_DRY: bool = true;
    type Place = AtHub;
    type Reply = Activated;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<Activated>, Error> {
        let Scene { hub, meta, .. } = scene;
        hub.revisions().source.check()?;
        let (mut in_use, mut changes) = InUse::to_change(hub.store()).await?;
        let which = hub.find_revision(&self.revision).await?;
        meta.matches(in_use.generation)?;
        let bundle = hub.compiled(&which).await?;
        let new = hub.keep_compiled(&which, &bundle, &mut changes).await?;
        let old = in_use.active.clone();
        if new != old {
            in_use.before.push(old.clone());
            let surplus = in_use.before.len().saturating_sub(HISTORY);
            in_use.before.drain(..surplus);
        }
        hub.switch(permit, in_use, changes, (old, new))
    }

    async fn settle(&self, hub: &Hub) {
        hub.follow_policies().await;
    }
}

/// Decides by the revision that was active before.
#[derive(Debug)]
pub struct Rollback;

impl Operation for Rollback {
    const ACTION: Action = Action::PoliciesRollback;
    const TELLS_WHEN_DRY: bool = true;
    type Place = AtHub;
    type Reply = Activated;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<Activated>, Error> {
        let Scene { hub, meta, .. } = scene;
        hub.revisions().source.check()?;
        let (mut in_use, mut changes) = InUse::to_change(hub.store()).await?;
        meta.matches(in_use.generation)?;
        let missing = || Error::not_found("policy revision", "(the one before)");
        let old = in_use.active.clone();
        // A deleted revision can leave the active one as its own predecessor.
        let new = loop {
            let before = in_use.before.pop().ok_or(Error::NoPreviousRevision)?;
            let which = match &before {
                None => Which::Baseline,
                Some(id) => hub.kept(id).await?.ok_or_else(missing)?,
            };
            let bundle = hub.compiled(&which).await?;
            let new = hub.keep_compiled(&which, &bundle, &mut changes).await?;
            if new != old {
                break new;
            }
        };
        hub.switch(permit, in_use, changes, (old, new))
    }

    async fn settle(&self, hub: &Hub) {
        hub.follow_policies().await;
    }
}

type Id = Option<Box<str>>;

impl Hub {
    /// The id a revision has when it is in use: its digest as of this program. Files kept by a
    /// program with another schema or baseline are kept again under that.
    async fn keep_compiled(
        &self,
        which: &Which,
        bundle: &Bundle,
        changes: &mut Changes,
    ) -> Result<Id, Error> {
        let (id, record) = match which {
            Which::Baseline => return Ok(None),
            // From files: those cannot be activated over the API, but put in the shadow neither.
            Which::Running(bundle) => {
                return Err(Error::RevisionInUse(bundle.revision().to_string(), "active already"));
            }
            Which::Kept(id, record) => (id, record),
        };
        // Against a deletion at the same time.
        changes.check_revision(&layout::policy_revision(id), record.revision);
        let now: &str = bundle.revision();
        if now == &**id {
            return Ok(Some(id.clone()));
        }
        if self.kept(now).await?.is_none() {
            let path = layout::policy_revision(now);
            changes
                .check_absent(&path)
                .put(&path, &record.value)?
                .put(&layout::policy_files(now), &files_of(self.store(), id).await?)?;
        }
        Ok(Some(now.into()))
    }

    fn switch(
        &self,
        permit: Permit,
        mut in_use: InUse,
        mut changes: Changes,
        (old, new): (Id, Id),
    ) -> Result<Plan<Activated>, Error> {
        let name = |id: &Id| {
            let baseline = self.revisions().baseline()?.revision().to_string();
            Ok::<_, Error>(id.as_deref().map_or(baseline, str::to_owned))
        };
        let reply = Activated { revision: name(&new)?, previous: name(&old)? };
        let detail = format!("{} -> {}", reply.previous, reply.revision);
        if new == old {
            // Nothing to change: said all the same.
            let plan = Plan::new(permit, reply).generation(in_use.generation);
            return Ok(plan.detail(detail));
        }
        // What is active needs no shadow of itself.
        if in_use.shadow.is_some() && in_use.shadow == new {
            in_use.shadow = None;
        }
        in_use.active = new;
        in_use.put(&mut changes)?;
        let plan = Plan::new(permit, reply).generation(in_use.generation);
        Ok(plan.changing(changes).detail(detail))
    }

    /// Makes what decides in memory what the record says: after every change of the record, and
    /// now and then, because a request can be given up between its commit and this. One read where
    /// nothing has changed. `false` when it failed.
    pub async fn follow_policies(&self) -> bool {
        let mut followed = self.revisions().following.lock().await;
        match self.try_follow(*followed).await {
            Ok(generation) => {
                *followed = Some(generation);
                true
            }
            Err(error) => {
                // The record holds and is followed later; until then the old set decides.
                tracing::error!(%error, "the policies in memory do not follow their record");
                false
            }
        }
    }

    async fn try_follow(&self, followed: Option<u64>) -> Result<u64, Error> {
        let in_use = self.in_use().await?;
        if followed == Some(in_use.generation) {
            return Ok(in_use.generation);
        }
        if self.revisions().source == super::PolicySource::Api {
            let bundle = self.compiled_use(&in_use.active).await?;
            if *bundle.revision() != self.policies().revision() {
                self.policies().activate(bundle).map_err(|error| super::refused(error, &[]))?;
                let revision = self.policies().revision_short();
                tracing::info!(%revision, "policies activated");
            }
        }
        let shadow = match &in_use.shadow {
            None => None,
            Some(id) => Some(self.compiled_id(id).await?),
        };
        let wanted = shadow.as_ref().map(|bundle| Arc::clone(bundle.revision()));
        if self.policies().shadow_revision() != wanted {
            let now = self.clock().now();
            let set = self.policies().set_shadow(shadow, now);
            set.map_err(|error| Error::Integrity(Box::new(error)))?;
        }
        Ok(in_use.generation)
    }

    async fn compiled_use(&self, id: &Id) -> Result<Arc<Bundle>, Error> {
        match id {
            None => self.revisions().baseline(),
            Some(id) => self.compiled_id(id).await,
        }
    }
}

/// Evaluates a revision beside the active one from now on.
#[derive(Debug)]
pub struct Shadow {
    /// Which.
    pub revision: RevisionRef,
}

impl Operation for Shadow {
    const ACTION: Action = Action::PoliciesShadow;
    type Place = AtHub;
    type Reply = Shadowed;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtHub>) -> Result<Plan<Shadowed>, Error> {
        let Scene { hub, meta, .. } = scene;
        let (mut in_use, mut changes) = InUse::to_change(hub.store()).await?;
        let which = hub.find_revision(&self.revision).await?;
        meta.matches_if_given(in_use.generation)?;
        let bundle = hub.compiled(&which).await?;
        let running = *bundle.revision() == hub.policies().revision();
        let id = hub.keep_compiled(&which, &bundle, &mut changes).await?;
        let Some(id) = id.filter(|_| !running) else {
            let why = if running { "active already" } else { "the baseline, part of every set" };
            return Err(Error::RevisionInUse(bundle.revision().to_string(), why));
        };
        in_use.shadow = Some(id.clone());
        in_use.put(&mut changes)?;
        let plan = Plan::new(permit, Shadowed { revision: Some(id.to_string()) });
        Ok(plan.generation(in_use.generation).changing(changes).detail(id))
    }

    async fn settle(&self, hub: &Hub) {
        hub.follow_policies().await;
    }
}

/// Evaluates none beside the active one any more.
#[derive(Debug)]
pub struct EndShadow;

impl Operation for EndShadow {
    const ACTION: Action = Action::PoliciesShadow;
    type Place = AtHub;
    type Reply = ();

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtHub>) -> Result<Plan<()>, Error> {
        let (mut in_use, mut changes) = InUse::to_change(scene.hub.store()).await?;
        let plan = Plan::new(permit, ());
        let Some(id) = in_use.shadow.take() else { return Ok(plan.detail("none")) };
        in_use.put(&mut changes)?;
        Ok(plan.changing(changes).detail(format!("end of {id}")))
    }

    async fn settle(&self, hub: &Hub) {
        hub.follow_policies().await;
    }
}
