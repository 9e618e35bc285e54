//! `keys.update`: changes a key's tags.

use hub_model::api::key::{KeyView, PatchKey};
use hub_model::{Action, KeyId, RegistrationId};
use hub_policy::Permit;
use hub_store::{Changes, Revision, layout};

use crate::hub::Hub;
use crate::operation::{AtKey, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref, invalid_tags};

/// Changes a key.
#[derive(Debug)]
pub struct UpdateKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which.
    pub key: Ref<KeyId>,
    /// How.
    pub body: PatchKey,
}

impl Operation for UpdateKey {
    const ACTION: Action = Action::KeysUpdate;
    type Place = AtKey;
    type Reply = KeyView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtKey>) -> Result<Plan<KeyView>, Error> {
        let Scene { place, meta, now, .. } = scene;
        let mut key = place.hot.key.clone();
        meta.matches(key.generation)?;
        if let Some(patch) = &self.body.tags {
            key.tags = key.tags.merged(patch.clone()).map_err(invalid_tags)?;
        }
        key.updated = now;
        key.generation += 1;
        let path = layout::key(key.registration, key.id);
        let mut changes = Changes::new();
        changes
            .check_revision(&path, Revision(place.hot.revision))
            .check_revision(
                &layout::registration(key.registration),
                Revision(place.registration.revision),
            )
            .put(&path, &key)?;
        let view = KeyView::from(&key);
        Ok(Plan::new(permit, view).changing(changes).generation(key.generation))
    }
}
