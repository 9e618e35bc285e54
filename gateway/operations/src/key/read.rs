//! `keys.get`, `keys.list`, `keys.listVersions`: facts of keys and versions.

use hub_model::api::key::{KeyView, VersionView};
use hub_model::api::page::Page;
use hub_model::{Action, Key, KeyId, KeyVersion, RegistrationId};
use hub_policy::Permit;
use hub_store::layout;

use crate::hub::Hub;
use crate::operation::{AtKey, AtRegistration, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Reads a key.
#[derive(Debug)]
pub struct GetKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which.
    pub key: Ref<KeyId>,
}

impl Operation for GetKey {
    const ACTION: Action = Action::KeysGet;
    type Place = AtKey;
    type Reply = KeyView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtKey>) -> Result<Plan<KeyView>, Error> {
        let key = &scene.place.hot.key;
        let default = scene.place.registration.registration.rotation.as_ref();
        Ok(Plan::new(permit, KeyView::new(key, default)).generation(key.generation))
    }
}

/// Lists the keys of a registration.
#[derive(Debug)]
pub struct ListKeys {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which part.
    pub page: PageRequest,
    /// Only those with data under a version that the primary version should protect. A page is then
    /// what is left of one, and may be empty although more follow.
    pub needs_rewrap: bool,
}

/// Whether data may lie under a version of the key that its primary version should protect.
async fn needs_rewrap(hub: &Hub, key: &Key) -> Result<bool, Error> {
    if key.versions.len() < 2 {
        return Ok(false);
    }
    let usages = hub.usages_of(key.id).await?;
    Ok(key.versions.iter().any(|version| {
        let usage = usages.get(&version.number).copied().unwrap_or_default();
        VersionView::new(key, version).used(usage).needs_rewrap == Some(true)
    }))
}

impl Operation for ListKeys {
    const ACTION: Action = Action::KeysList;
    type Place = AtRegistration;
    type Reply = Page<KeyView>;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Page<KeyView>>, Error> {
        let prefix = layout::keys(scene.place.id());
        let found = page::scan::<Key>(scene.hub, &prefix, &self.page).await?;
        let default = scene.place.0.registration.rotation.as_ref();
        let mut items = Vec::with_capacity(found.items.len());
        for (_, key) in &found.items {
            if !self.needs_rewrap || needs_rewrap(scene.hub, &key.value).await? {
                items.push(KeyView::new(&key.value, default));
            }
        }
        Ok(Plan::new(permit, Page { items, next_page_token: found.next_page_token }))
    }
}

/// Lists the versions of a key.
#[derive(Debug)]
pub struct ListVersions {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Of which key.
    pub key: Ref<KeyId>,
    /// Which part; the token is the last number seen.
    pub page: PageRequest,
}

impl Operation for ListVersions {
    const ACTION: Action = Action::KeysListVersions;
    type Place = AtKey;
    type Reply = Page<VersionView>;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<Page<VersionView>>, Error> {
        let limit = self.page.limit()?;
        let list = layout::versions(scene.place.hot.key.id);
        let after: u32 = match &self.page.token {
            None => 0,
            Some(token) => {
                page::open_token(scene.hub, &list, token)?.parse().map_err(|_| Error::PageToken)?
            }
        };
        let key = &scene.place.hot.key;
        let mut rest = key.versions.iter().filter(|v| v.number > after);
        let usages = scene.hub.usages_of(key.id).await?;
        let view = |version: &KeyVersion| {
            let usage = usages.get(&version.number).copied().unwrap_or_default();
            VersionView::new(key, version).used(usage)
        };
        let items: Vec<_> = rest.by_ref().take(limit).map(view).collect();
        let last = rest.next().and(items.last());
        let next_page_token = last.map(|last: &VersionView| {
            page::seal_token(scene.hub, &list, &last.version.to_string())
        });
        Ok(Plan::new(permit, Page { items, next_page_token }))
    }
}

/// Reads one version of a key.
#[derive(Debug)]
pub struct GetVersion {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Of which key.
    pub key: Ref<KeyId>,
    /// Which.
    pub version: u32,
}

impl Operation for GetVersion {
    const ACTION: Action = Action::KeysListVersions;
    type Place = AtKey;
    type Reply = VersionView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<VersionView>, Error> {
        let key = &scene.place.hot.key;
        let version = key.version(self.version).ok_or(Error::NoVersion(self.version))?;
        let usage = scene.hub.usage_of(key.id, self.version).await?;
        let view = VersionView::new(key, version).used(usage);
        Ok(Plan::new(permit, view).version(self.version))
    }
}
