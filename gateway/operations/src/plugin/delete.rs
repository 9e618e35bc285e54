//! `plugins.delete`.

use hub_model::{Action, Name};
use hub_policy::Permit;
use hub_store::{Changes, layout};

use super::{AtPlugin, Refused};
use crate::Error;
use crate::hub::Hub;
use crate::operation::{Lost, Operation, Scene};
use crate::plan::Plan;

/// Removes a plugin with all its versions. Not while keys derive by one of them.
#[derive(Debug)]
pub struct DeletePlugin {
    /// Which.
    pub plugin: Name,
}

impl Operation for DeletePlugin {
    const ACTION: Action = Action::PluginsDelete;
    type Place = AtPlugin;
    type Reply = ();

    async fn find(&self, _hub: &Hub) -> Result<AtPlugin, Lost> {
        Ok(AtPlugin::of(&self.plugin))
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtPlugin>) -> Result<Plan<()>, Error> {
        let hub = scene.hub;
        hub.plugin_catalogue()?;
        let found = hub.known_plugin(&self.plugin).await?;
        scene.meta.matches(found.value.generation)?;
        let held = hub.plugins_may_change().await;
        for version in &found.value.versions {
            if hub.plugin_is_pinned(version.digest).await? {
                let detail = format!(
                    "keys derive by version {} ({}); without it they could not be derived again. \
                     `:disable` stops it until `:enable`",
                    version.version, version.digest
                );
                return Err(Refused::new("plugin_in_use", detail).into());
            }
        }
        let path = layout::plugin(&self.plugin);
        let mut changes = Changes::new();
        changes.check_revision(&path, found.revision).delete(&path);
        let gone: Vec<_> = found.value.versions.iter().map(|version| version.digest).collect();
        hub.note_removed(&mut changes, &gone).await?;
        let plan = Plan::new(permit, ()).changing(changes).holding(Some(held));
        Ok(plan.detail(self.plugin.as_str()))
    }

    async fn settle(&self, hub: &Hub) {
        hub.follow_plugins().await;
    }
}
