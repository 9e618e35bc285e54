//! `keys.create`: a key with its first version.

use hub_crypto::Material;
use hub_model::api::key::{CreateKey as Body, KeyView};
use hub_model::{Action, Algorithm, Key, KeyId, RegistrationId, Timestamp};
use hub_policy::{Permit, RegistrationFacts};
use hub_store::{Changes, Revision, layout};

use super::agenda::put_key;
use super::{asks_plugin, check_rotation};
use crate::heavy;
use crate::hub::{Hub, is_hub};
use crate::operation::{AtRegistration, Keeps, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Creates a key.
#[derive(Debug)]
pub struct CreateKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// What.
    pub body: Body,
}

impl Operation for CreateKey {
    const ACTION: Action = Action::KeysCreate;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtRegistration;
    type Reply = KeyView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<KeyView>, Error> {
        let Scene { hub, place, meta, now, .. } = scene;
        if is_hub(&place.0.registration) {
            return Err(Error::HubRegistration("it holds no keys"));
        }
        let registration = place.id();
        let algorithm = self.body.algorithm.unwrap_or(Algorithm::Aes256Gcm);
        hub.check_profile(algorithm)?;
        let name = self.body.name.clone();
        let date = self.body.activation_time;
        let mut key = Key::new(registration, KeyId::generate(), name, algorithm, date, now);
        key.tags = self.body.tags.clone();
        key.exportable = self.body.exportable;
        if let Some(policy) = &self.body.rotation {
            check_rotation(hub, registration, policy, now).await?;
            key.rotation = Some(policy.clone());
        }
        let mut changes = put_named(hub, &mut key, &place.0, now).await?;
        let default = place.0.registration.rotation.as_ref();
        if !meta.dry_run {
            put_material(hub, &mut changes, &key, 1).await?;
        }
        let view = KeyView::new(&key, default);
        Ok(Plan::new(permit, view).changing(changes).generation(1).key(key.id).version(1))
    }

    async fn settle(&self, hub: &Hub) {
        if asks_plugin(self.body.rotation.as_ref()) {
            hub.wake_sweep();
        }
    }
}

/// The changes that make a new key's record and give it its name, which must be free.
pub(super) async fn put_named(
    hub: &Hub,
    key: &mut Key,
    place: &RegistrationFacts,
    now: Timestamp,
) -> Result<Changes, Error> {
    let registration = place.registration.id;
    let privacy = hub.system_keys().privacy();
    let name = layout::key_name(privacy, registration, key.name.as_str());
    if hub.store().read_bytes(&name).await?.is_some() {
        return Err(Error::AlreadyExists { what: "key", name: key.name.to_string() });
    }
    let mut changes = Changes::new();
    changes
        .check_absent(&name)
        .check_revision(&layout::registration(registration), Revision(place.revision))
        .put(&name, &key.id)?;
    put_key(&mut changes, key, place.registration.rotation.as_ref(), now)?;
    Ok(changes)
}

/// Draws the material of a version and adds its wrapped record to the changes.
pub(super) async fn put_material(
    hub: &Hub,
    changes: &mut Changes,
    key: &Key,
    number: u32,
) -> Result<(), Error> {
    let kek = hub.kek(key.registration).await?;
    let path = layout::version(key.id, number);
    let algorithm = key.algorithm;
    let material = if heavy::is_slow_to_generate(algorithm.row().kind) {
        hub.heavy().run(key.registration, move || Material::generate(algorithm)).await??
    } else {
        Material::generate(algorithm)?
    };
    let wrapped = kek.wrap_material(&hub.binding(&path, key, number), &material);
    changes.check_absent(&path).put_bytes(&path, wrapped.into());
    Ok(())
}
