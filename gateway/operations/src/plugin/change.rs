//! `plugins.update`: settings, who is served, which version is active, on and off, and back.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use hub_model::api::plugin::{PatchPlugin, PluginView};
use hub_model::extend::{FailurePolicy, PluginDigest};
use hub_model::{Action, Name, RegistrationId};
use hub_policy::Permit;
use hub_store::{Changes, Versioned, layout};

use super::kept::KDF;
use super::{AtPlugin, MAX_REGISTRATIONS, PluginRecord, Refused};
use crate::hub::Hub;
use crate::operation::{Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// The most characters of a name and a value of a setting.
const MAX_NAME: usize = 63;
const MAX_VALUE: usize = 65_536;
/// The most names of settings that an entry lists.
const MAX_SAID: usize = 8;

/// Changes a plugin.
#[derive(Debug)]
pub struct UpdatePlugin {
    /// Which.
    pub plugin: Name,
    /// How.
    pub body: PatchPlugin,
}

impl Operation for UpdatePlugin {
    const ACTION: Action = Action::PluginsUpdate;
    const TELLS_WHEN_DRY: bool = true;
    type Place = AtPlugin;
    type Reply = PluginView;

    async fn find(&self, _hub: &Hub) -> Result<AtPlugin, Lost> {
        Ok(AtPlugin::of(&self.plugin))
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtPlugin>,
    ) -> Result<Plan<PluginView>, Error> {
        let hub = scene.hub;
        hub.plugin_catalogue()?;
        let found = hub.known_plugin(&self.plugin).await?;
        scene.meta.matches(found.value.generation)?;
        let mut record = found.value.clone();
        let mut said = Vec::new();
        self.settings(&mut record, &mut said)?;
        if let Some(registrations) = &self.body.registrations {
            record.registrations = match registrations {
                None => None,
                Some(list) => Some(find_all(hub, list).await?),
            };
            said.push("registrations".to_owned());
        }
        if let Some(active) = self.body.active {
            if record.installed(active).is_none() {
                let detail = "no version of this plugin with this digest is installed";
                return Err(Refused::new("invalid_argument", detail).at("/active").into());
            }
            record.activate(active);
            said.push(format!("active {active}"));
        }
        let detail = format!("{} {}", self.plugin, said.join(", "));
        put(permit, &scene, found, record, detail).await
    }

    async fn settle(&self, hub: &Hub) {
        hub.follow_plugins().await;
    }
}

impl UpdatePlugin {
    fn settings(&self, record: &mut PluginRecord, said: &mut Vec<String>) -> Result<(), Error> {
        if let Some(enabled) = self.body.enabled {
            record.enabled = enabled;
            said.push(if enabled { "enabled" } else { "disabled" }.to_owned());
        }
        for (name, value) in self.body.config.iter().flatten() {
            let long = value.as_ref().is_some_and(|value| value.len() > MAX_VALUE);
            if name.is_empty() || name.len() > MAX_NAME || long {
                let detail = "a setting has a name of 1 to 63 bytes and a value of at most 64 KiB";
                return Err(Refused::new("invalid_argument", detail).at("/config").into());
            }
            match value {
                Some(value) => {
                    record.config.insert(name.as_str().into(), value.as_str().into());
                }
                None => {
                    record.config.remove(name.as_str());
                }
            }
        }
        if let Some(config) = &self.body.config {
            let names: Vec<&str> = config.keys().take(MAX_SAID).map(String::as_str).collect();
            let more = if config.len() > MAX_SAID { ", …" } else { "" };
            said.push(format!("config ({}{more})", names.join(", ")));
        }
        if let Some(failure) = self.body.failure {
            if &*record.world == KDF && failure == Some(FailurePolicy::FallBack) {
                let detail = "another key is no answer, so `fall-back` is not for KDF profiles";
                return Err(Refused::new("invalid_argument", detail).at("/failure").into());
            }
            record.failure = failure;
            said.push("failure".to_owned());
        }
        if let Some(limits) = self.body.limits {
            let wrong = |pointer: &str, detail: &str| {
                Err(Error::from(Refused::new("invalid_argument", detail).at(pointer)))
            };
            if limits.is_some_and(|limits| limits.memory_bytes.is_some_and(|n| n < 65_536)) {
                return wrong("/limits/memoryBytes", "a page of memory has 65536 bytes");
            }
            if limits.is_some_and(|limits| limits.time_micros == Some(0)) {
                return wrong("/limits/timeMicros", "no call ends within no time");
            }
            if limits.is_some_and(|limits| limits.fuel == Some(0)) {
                return wrong("/limits/fuel", "no call ends without fuel");
            }
            record.limits = limits;
            said.push("limits".to_owned());
        }
        Ok(())
    }
}

/// Registrations by name or id, each once.
async fn find_all(hub: &Hub, list: &[String]) -> Result<Vec<RegistrationId>, Error> {
    if list.len() > MAX_REGISTRATIONS {
        return Err(Error::TooMany(
            "a plugin is assigned to at most 1000 registrations one by one",
        ));
    }
    let mut found = BTreeSet::new();
    for (place, text) in list.iter().enumerate() {
        let wrong = || {
            let detail = "no such registration";
            Error::from(
                Refused::new("invalid_argument", detail).at(format!("/registrations/{place}")),
            )
        };
        let reference: Ref<RegistrationId> = text.parse().map_err(|_| wrong())?;
        match hub.find_registration(&reference).await {
            Ok(facts) => found.insert(facts.registration.id),
            Err(Error::NotFound { .. } | Error::NoRegistration) => return Err(wrong()),
            Err(error) => return Err(error),
        };
    }
    Ok(found.into_iter().collect())
}

/// Enables a plugin (`ENABLED`), or disables it.
#[derive(Debug)]
pub struct EnablePlugin<const ENABLED: bool> {
    /// Which.
    pub plugin: Name,
}

impl<const ENABLED: bool> Operation for EnablePlugin<ENABLED> {
    const ACTION: Action = Action::PluginsUpdate;
    const TELLS_WHEN_DRY: bool = true;
    type Place = AtPlugin;
    type Reply = PluginView;

    async fn find(&self, _hub: &Hub) -> Result<AtPlugin, Lost> {
        Ok(AtPlugin::of(&self.plugin))
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtPlugin>,
    ) -> Result<Plan<PluginView>, Error> {
        scene.hub.plugin_catalogue()?;
        let found = scene.hub.known_plugin(&self.plugin).await?;
        scene.meta.matches_if_given(found.value.generation)?;
        let record = PluginRecord { enabled: ENABLED, ..found.value.clone() };
        let word = if ENABLED { "enabled" } else { "disabled" };
        put(permit, &scene, found, record, format!("{} {word}", self.plugin)).await
    }

    async fn settle(&self, hub: &Hub) {
        hub.follow_plugins().await;
    }
}

/// Makes the version active that was active before.
#[derive(Debug)]
pub struct RollbackPlugin {
    plugin: Name,
    /// The version to go back from: who planned this meant it, and no other. Planned anew after
    /// somebody else's rollback, it would bring the version back that both wanted to be rid of.
    from: OnceLock<Option<PluginDigest>>,
}

impl RollbackPlugin {
    /// Of this plugin.
    #[must_use]
    pub const fn new(plugin: Name) -> Self {
        Self { plugin, from: OnceLock::new() }
    }
}

impl Operation for RollbackPlugin {
    const ACTION: Action = Action::PluginsUpdate;
    const TELLS_WHEN_DRY: bool = true;
    type Place = AtPlugin;
    type Reply = PluginView;

    async fn find(&self, _hub: &Hub) -> Result<AtPlugin, Lost> {
        Ok(AtPlugin::of(&self.plugin))
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtPlugin>,
    ) -> Result<Plan<PluginView>, Error> {
        scene.hub.plugin_catalogue()?;
        let found = scene.hub.known_plugin(&self.plugin).await?;
        scene.meta.matches_if_given(found.value.generation)?;
        let mut record = found.value.clone();
        if *self.from.get_or_init(|| record.active) != record.active {
            let detail = "another version was put into service meanwhile: look before you go back";
            return Err(Refused::new("no_previous_plugin", detail).into());
        }
        let kept = record.previous.filter(|digest| record.installed(*digest).is_some());
        let Some(previous) = kept else {
            let detail = "no version of this plugin was active before this one";
            return Err(Refused::new("no_previous_plugin", detail).into());
        };
        record.activate(previous);
        let detail = format!("{} back to {previous}", self.plugin);
        put(permit, &scene, found, record, detail).await
    }

    async fn settle(&self, hub: &Hub) {
        hub.follow_plugins().await;
    }
}

/// Plans a change, after a check where the plugin would run otherwise than before.
async fn put(
    permit: Permit,
    scene: &Scene<'_, AtPlugin>,
    found: Versioned<PluginRecord>,
    mut record: PluginRecord,
    detail: String,
) -> Result<Plan<PluginView>, Error> {
    let hub = scene.hub;
    let catalogue = hub.plugin_catalogue()?;
    let before = found.value;
    if record == before {
        let plan = Plan::new(permit, catalogue.show(&record)).generation(record.generation);
        return Ok(plan.detail(detail));
    }
    let runs_otherwise = record.active != before.active
        || record.config != before.config
        || record.limits != before.limits
        || record.failure != before.failure
        || (record.enabled && !before.enabled);
    if runs_otherwise && let Some(digest) = record.subject().map(|version| version.digest) {
        let _turn = hub.catalogue.turn.lock().await;
        catalogue.check(&record, digest).await?;
    }
    let held = hub.plugins_may_change().await;
    if record.config != before.config || record.limits != before.limits {
        hub.may_change_settings(&**catalogue, &before, &record).await?;
    }
    record.generation += 1;
    let path = layout::plugin(&record.name);
    let mut changes = Changes::new();
    changes.check_revision(&path, found.revision).put(&path, &record)?;
    let plan = Plan::new(permit, catalogue.show(&record)).generation(record.generation);
    Ok(plan.changing(changes).detail(detail).holding(Some(held)))
}
