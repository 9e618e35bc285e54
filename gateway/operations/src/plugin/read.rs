//! `plugins.list`, `plugins.get`.

use hub_model::api::page::Page;
use hub_model::api::plugin::PluginView;
use hub_model::{Action, Name};
use hub_policy::Permit;
use hub_store::layout;

use super::{AtPlugin, PluginRecord};
use crate::Error;
use crate::hub::Hub;
use crate::operation::{Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::plan::Plan;

/// Lists plugins by name.
#[derive(Debug)]
pub struct ListPlugins {
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ListPlugins {
    const ACTION: Action = Action::PluginsList;
    type Place = AtPlugin;
    type Reply = Page<PluginView>;

    async fn find(&self, _hub: &Hub) -> Result<AtPlugin, Lost> {
        Ok(AtPlugin::default())
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtPlugin>,
    ) -> Result<Plan<Page<PluginView>>, Error> {
        let catalogue = scene.hub.plugin_catalogue()?;
        let found = page::scan::<PluginRecord>(scene.hub, layout::PLUGINS, &self.page).await?;
        let items = found.items.iter().map(|(_, record)| catalogue.show(&record.value)).collect();
        Ok(Plan::new(permit, Page { items, next_page_token: found.next_page_token }))
    }
}

/// Reads a plugin.
#[derive(Debug)]
pub struct GetPlugin {
    /// Which.
    pub plugin: Name,
}

impl Operation for GetPlugin {
    const ACTION: Action = Action::PluginsGet;
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
        let catalogue = scene.hub.plugin_catalogue()?;
        let record = scene.hub.known_plugin(&self.plugin).await?.value;
        let plan = Plan::new(permit, catalogue.show(&record)).generation(record.generation);
        Ok(plan.detail(self.plugin.as_str()))
    }
}
