//! `keys.rotate`: adds a version and makes it primary. Older versions go on decrypting.

use hub_model::api::key::KeyView;
use hub_model::{Action, KeyId, KeyState, KeyVersion, RegistrationId};
use hub_policy::Permit;

use super::create::put_material;
use super::steps::changed;
use crate::hub::Hub;
use crate::operation::{AtKey, Keeps, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Most versions a key may have.
pub(super) const MAX_VERSIONS: usize = 2_000;

/// So many of them use alone may bring about.
pub(crate) const WORN_VERSIONS: usize = MAX_VERSIONS / 2;

/// And as many the dates of a plugin.
const _: () = assert!(WORN_VERSIONS == hub_model::rotation::PLUGIN_VERSIONS);

/// Rotates a key.
#[derive(Debug)]
pub struct RotateKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which.
    pub key: Ref<KeyId>,
}

impl Operation for RotateKey {
    const ACTION: Action = Action::KeysRotate;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtKey;
    type Reply = KeyView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtKey>) -> Result<Plan<KeyView>, Error> {
        let mut key = scene.place.hot.key.clone();
        scene.meta.matches_if_given(key.generation)?;
        if key.state != KeyState::Active {
            return Err(Error::State(format!("a key that is {} cannot be rotated", key.state)));
        }
        if key.versions.len() >= MAX_VERSIONS {
            return Err(Error::TooMany("a key may have at most 2,000 versions"));
        }
        let number = key.versions.last().map_or(1, |last| last.number.saturating_add(1));
        key.versions.push(KeyVersion::new(number, scene.now));
        key.primary = number;
        key.primary_since = None;
        let mut changes = changed(&scene, &mut key)?;
        if !scene.meta.dry_run {
            put_material(scene.hub, &mut changes, &key, number).await?;
        }
        let view = KeyView::new(&key, scene.place.registration.registration.rotation.as_ref());
        Ok(Plan::new(permit, view).changing(changes).generation(key.generation).version(number))
    }

    async fn settle(&self, hub: &Hub) {
        // A plugin that says the dates is asked anew after every rotation.
        hub.wake_sweep();
    }
}
