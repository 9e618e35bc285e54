//! `policies.delete`.

use hub_model::Action;
use hub_model::api::policy::RevisionRef;
use hub_policy::Permit;
use hub_store::layout;

use super::{InUse, PolicySource, Which};
use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::plan::Plan;

/// Deletes a revision that is neither active nor in the shadow. Decisions it made can be explained
/// by the ids of their policies only from then on.
#[derive(Debug)]
pub struct DeleteRevision {
    /// Which.
    pub revision: RevisionRef,
}

impl Operation for DeleteRevision {
    const ACTION: Action = Action::PoliciesDelete;
    type Place = AtHub;
    type Reply = ();

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtHub>) -> Result<Plan<()>, Error> {
        let Scene { hub, meta, .. } = scene;
        let (mut in_use, mut changes) = InUse::to_change(hub.store()).await?;
        let which = hub.find_revision(&self.revision).await?;
        let Which::Kept(id, record) = which else {
            let name = self.revision.to_string();
            return Err(Error::RevisionInUse(name, "built in, or made of files"));
        };
        meta.matches(in_use.generation)?;
        // Where files decide, the record still says what would be active without them.
        let active = in_use.active.as_deref() == Some(&*id)
            || (hub.revisions().source != PolicySource::Api && *hub.policies().revision() == *id);
        if active {
            return Err(Error::RevisionInUse(id.to_string(), "active"));
        }
        if in_use.shadow.as_deref() == Some(&*id) {
            return Err(Error::RevisionInUse(id.to_string(), "in the shadow"));
        }
        // Nobody rolls back to what is gone.
        in_use.before.retain(|before| before.as_deref() != Some(&*id));
        in_use.put(&mut changes)?;
        let path = layout::policy_revision(&id);
        changes
            .check_revision(&path, record.revision)
            .delete(&path)
            .delete(&layout::policy_files(&id));
        Ok(Plan::new(permit, ()).changing(changes).detail(id))
    }
}
