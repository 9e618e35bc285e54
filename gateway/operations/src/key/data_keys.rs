//! `keys.putDataKey`, `keys.getDataKey`, `keys.listDataKeys`, `keys.deleteDataKey`: wrapped data
//! keys that the hub keeps for applications, so that `keys.migrate` can wrap them anew.

use hub_crypto::Envelope;
use hub_model::api::job::{KeptDataKey, PutDataKey as PutBody};
use hub_model::api::page::Page;
use hub_model::usage::Side;
use hub_model::{Action, EncryptionContext, KeyId, Name, Purpose, RegistrationId};
use hub_policy::{Permit, RequestFacts};
use hub_store::{Changes, Path, Revision, Versioned, layout};
use serde::{Deserialize, Serialize};

use super::crypto::check_opens;
use super::uses::check_purpose;
use crate::hub::Hub;
use crate::operation::{AtKey, Keeps, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::plan::Plan;
use crate::{Error, Ref, usage};

/// The longest wrapped data key: more than any key pair takes.
const MAX_WRAPPED: usize = 16 * 1024;
/// Most of them on a page.
const MAX_PAGE: usize = 100;

/// Keeps a wrapped data key.
#[derive(Debug)]
pub struct PutDataKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Under which key.
    pub key: Ref<KeyId>,
    /// What.
    pub body: PutBody,
}

impl Operation for PutDataKey {
    const ACTION: Action = Action::KeysPutDataKey;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtKey;
    type Reply = KeptDataKey;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            encryption_context: Some(&self.body.context),
            payload_bytes: u64::try_from(self.body.ciphertext.len()).unwrap_or(u64::MAX),
        }
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<KeptDataKey>, Error> {
        check_kind(&scene)?;
        let PutBody { name, ciphertext, context } = &self.body;
        // What does not open now would never be noticed, and never be migrated.
        if ciphertext.len() > MAX_WRAPPED {
            return Err(Error::Invalid {
                pointer: "/ciphertext",
                detail: format!("a wrapped data key has at most {MAX_WRAPPED} bytes"),
            });
        }
        let (mut version, mut ciphertext) =
            (check_opens(&scene, ciphertext, context).await?, ciphertext.clone());
        let (hub, hot) = (scene.hub, &scene.place.hot);
        // One of an older version would be left behind by a migration that has passed already.
        if version != hot.key.primary && hot.key.protects(hot.key.primary) {
            usage::count(&scene, hot.key.primary, Side::Protect, 0).await?;
            ciphertext = rewrap(hub, hot, &ciphertext, context).await?;
            version = hot.key.primary;
        }
        let path = path(&scene, name);
        if scene.hub.store().read::<KeptDataKey>(&path).await?.is_some() {
            return Err(Error::AlreadyExists { what: "data key", name: name.to_string() });
        }
        let kept = KeptDataKey {
            name: name.clone(),
            ciphertext,
            version,
            context: context.clone(),
            create_time: scene.now,
            update_time: scene.now,
        };
        let mut changes = Changes::new();
        let registration = &scene.place.registration;
        changes
            .check_absent(&path)
            .check_revision(&layout::key(hot.registration(), hot.key.id), Revision(hot.revision))
            .check_revision(
                &layout::registration(registration.registration.id),
                Revision(registration.revision),
            )
            .put(&path, &kept)?;
        Ok(Plan::new(permit, kept).changing(changes).version(version).detail(name.to_string()))
    }
}

/// Reads a wrapped data key.
#[derive(Debug)]
pub struct GetDataKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Under which key.
    pub key: Ref<KeyId>,
    /// Which.
    pub name: Name,
}

impl Operation for GetDataKey {
    const ACTION: Action = Action::KeysGetDataKey;
    type Place = AtKey;
    type Reply = KeptDataKey;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<KeptDataKey>, Error> {
        let kept = read(&scene, &self.name).await?.value;
        let version = kept.version;
        Ok(Plan::new(permit, kept).version(version).detail(self.name.to_string()))
    }
}

/// Lists the wrapped data keys under a key.
#[derive(Debug)]
pub struct ListDataKeys {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Under which key.
    pub key: Ref<KeyId>,
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ListDataKeys {
    const ACTION: Action = Action::KeysListDataKeys;
    type Place = AtKey;
    type Reply = Page<KeptDataKey>;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<Page<KeptDataKey>>, Error> {
        let prefix = layout::data_keys(scene.place.hot.key.id);
        if self.page.size.is_some_and(|size| size > MAX_PAGE) {
            return Err(Error::Invalid {
                pointer: "pageSize",
                detail: format!("`pageSize` must be between 1 and {MAX_PAGE} here"),
            });
        }
        let found = page::scan::<KeptDataKey>(scene.hub, &prefix, &self.page).await?;
        let items = found.items.into_iter().map(|(_, kept)| kept.value).collect();
        Ok(Plan::new(permit, Page { items, next_page_token: found.next_page_token }))
    }
}

/// Deletes a wrapped data key. What it encrypted is lost, unless somebody else has it too.
#[derive(Debug)]
pub struct DeleteDataKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Under which key.
    pub key: Ref<KeyId>,
    /// Which.
    pub name: Name,
}

/// The answer to a deletion: nothing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DataKeyDeleted {}

impl Operation for DeleteDataKey {
    const ACTION: Action = Action::KeysDeleteDataKey;
    type Place = AtKey;
    type Reply = DataKeyDeleted;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<DataKeyDeleted>, Error> {
        let found = read(&scene, &self.name).await?;
        let path = path(&scene, &self.name);
        let mut changes = Changes::new();
        changes.check_revision(&path, found.revision).delete(&path);
        Ok(Plan::new(permit, DataKeyDeleted {}).changing(changes).detail(self.name.to_string()))
    }
}

/// Data keys are kept under keys whose ciphertexts name them.
pub(crate) fn check_kind(scene: &Scene<'_, AtKey>) -> Result<(), Error> {
    check_purpose(&scene.place.hot, Purpose::Encrypt)?;
    if scene.place.hot.key.algorithm.is_asymmetric() {
        return Err(Error::Invalid {
            pointer: "key",
            detail: "data keys are kept under symmetric keys".to_owned(),
        });
    }
    Ok(())
}

fn path(scene: &Scene<'_, AtKey>, name: &Name) -> Path {
    let privacy = scene.hub.system_keys().privacy();
    layout::data_key(privacy, scene.place.hot.key.id, name.as_str())
}

async fn read(scene: &Scene<'_, AtKey>, name: &Name) -> Result<Versioned<KeptDataKey>, Error> {
    let missing = || Error::not_found("data key", name);
    scene.hub.store().read::<KeptDataKey>(&path(scene, name)).await?.ok_or_else(missing)
}

/// Wraps a data key anew under the primary version of a key, for nobody in particular.
pub(crate) async fn rewrap(
    hub: &Hub,
    hot: &crate::HotKey,
    ciphertext: &str,
    context: &EncryptionContext,
) -> Result<String, Error> {
    let envelope = Envelope::parse(ciphertext).map_err(|_| Error::DecryptionFailed)?;
    let header = envelope.header();
    if header.key != hot.key.id || !hot.key.processes(header.version) {
        return Err(Error::DecryptionFailed);
    }
    let (bound, primary) = (context.canonical(), hot.key.primary);
    let opened = hub.using(hot, header.version, |keyring| keyring.open(&envelope, &bound)).await?;
    let plaintext = opened.and_then(Result::ok).ok_or(Error::DecryptionFailed)?;
    let sealed = hub.using(hot, primary, |k| k.seal(&bound, plaintext.expose_secret())).await?;
    Ok(sealed.ok_or(Error::NoVersion(primary))??)
}
