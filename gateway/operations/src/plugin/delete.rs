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
        Ok(AtPlugin(Some(self.plugin.clone())))
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtPlugin>) -> Result<Plan<()>, Error> {
        let hub = scene.hub;
        hub.plugin_catalogue()?;
        let found = hub.known_plugin(&self.plugin).await?;
        scene.meta.matches(found.value.generation)?;
        for version in &found.value.versions {
            if hub.plugin_is_pinned(version.digest).await? {
                let detail = format!(
                    "keys derive by version {} ({}); without it they could not be derived again. \
                     `:disable` keeps it from new ones",
                    version.version, version.digest
                );
                return Err(Refused::new("plugin_in_use", detail).into());
            }
        }
        let path = layout::plugin(&self.plugin);
        let mut changes = Changes::new();
        changes.check_revision(&path, found.revision).delete(&path);
        Ok(Plan::new(permit, ()).changing(changes).detail(self.plugin.as_str()))
    }

    async fn settle(&self, hub: &Hub) {
        hub.follow_plugins().await;
    }
}
