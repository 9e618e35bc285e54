//! `keys.update`: changes a key's tags, rotation policy and minimum version.

use hub_model::api::key::{KeyView, PatchKey};
use hub_model::{Action, KeyId, RegistrationId};
use hub_policy::Permit;

use super::steps::{alive, changed};
use super::{asks_plugin, check_rotation};
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
        let mut key = scene.place.hot.key.clone();
        scene.meta.matches(key.generation)?;
        alive(&key)?;
        if let Some(patch) = &self.body.tags {
            key.tags = key.tags.merged(patch.clone()).map_err(invalid_tags)?;
        }
        if let Some(policy) = &self.body.rotation {
            if let Some(policy) = policy {
                check_rotation(scene.hub, key.registration, policy, scene.now).await?;
            }
            key.rotation.clone_from(policy);
        }
        if let Some(least) = self.body.min_decrypt_version {
            if least == 0 || least > key.primary {
                return Err(Error::Invalid {
                    pointer: "/minDecryptVersion",
                    detail: format!(
                        "must be from 1 to {}, the primary version: what that protects must stay \
                         readable",
                        key.primary
                    ),
                });
            }
            key.min_decrypt_version = least;
        }
        let changes = changed(&scene, &mut key)?;
        let view = KeyView::new(&key, scene.place.registration.registration.rotation.as_ref());
        Ok(Plan::new(permit, view).changing(changes).generation(key.generation))
    }

    async fn settle(&self, hub: &Hub) {
        if asks_plugin(self.body.rotation.as_ref().and_then(Option::as_ref)) {
            hub.wake_sweep();
        }
    }
}
