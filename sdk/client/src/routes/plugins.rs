//! The catalogue of plugins.

use http::Method;
use hub_model::api::page::Page;
use hub_model::api::plugin::{PatchPlugin, PluginView};
use tokio::io::AsyncRead;

use super::PageRequest;
use crate::call::{Call, Path};
use crate::stream::Outgoing;
use crate::{Client, Error, Tagged};

/// The media type of a plugin.
const WASM: &str = "application/wasm";

fn plugins() -> Path {
    Path::new("/v1/plugins")
}

/// Plugins of the hub, by name.
impl Client {
    /// Installs a plugin or a version of one: a file of `length` bytes. `activate` puts it into
    /// service. Sent once; a dry run tells what would be. Give large files more time
    /// ([`Client::with_timeout`]): the hub compiles them before it answers.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `invalid_plugin`, `untrusted_plugin`,
    /// `plugin_check_failed` and `body_too_large` say why it was not taken.
    pub async fn install_plugin(
        &self,
        file: impl AsyncRead + Send + 'static,
        length: u64,
        activate: bool,
    ) -> Result<PluginView, Error> {
        let mut path = plugins();
        if activate {
            path = path.query("activate", "true");
        }
        self.upload(Call::act(path), WASM, Outgoing::sized(file, length)).await
    }

    /// Lists plugins by name.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn plugins(&self, page: &PageRequest) -> Result<Page<PluginView>, Error> {
        self.fetch(Call::read(page.on(plugins()))).await
    }

    /// Reads a plugin with its settings, versions and health.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn plugin(&self, name: &str) -> Result<Tagged<PluginView>, Error> {
        self.fetch_tagged(Call::read(plugins().item(name)?)).await
    }

    /// Changes settings, limits, who is served, or which version is active. A dry run tells what
    /// would be.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; a setting at fault is named in `errors`.
    pub async fn update_plugin(
        &self,
        name: &str,
        etag: &str,
        patch: &PatchPlugin,
    ) -> Result<Tagged<PluginView>, Error> {
        let call = Call::change(Method::PATCH, plugins().item(name)?, etag)?;
        self.fetch_tagged(call.json(patch)?).await
    }

    /// Lets a plugin answer again.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn enable_plugin(&self, name: &str) -> Result<PluginView, Error> {
        self.fetch(Call::act(plugins().item(name)?.verb("enable"))).await
    }

    /// Takes a plugin out of service. Keys that derive by it cannot until it is enabled again.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn disable_plugin(&self, name: &str) -> Result<PluginView, Error> {
        self.fetch(Call::act(plugins().item(name)?.verb("disable"))).await
    }

    /// Makes the version active that was active before the one seen, so that two who want to be rid
    /// of it do not undo each other.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `no_previous_plugin` where there is none; `stale` when
    /// another was put into service meanwhile.
    pub async fn rollback_plugin(&self, name: &str, etag: &str) -> Result<PluginView, Error> {
        let path = plugins().item(name)?.verb("rollback");
        self.fetch(Call::change(Method::POST, path, etag)?).await
    }

    /// Removes a plugin with all its versions.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `plugin_in_use` while keys derive by it.
    pub async fn delete_plugin(&self, name: &str, etag: &str) -> Result<(), Error> {
        self.fetch_nothing(Call::change(Method::DELETE, plugins().item(name)?, etag)?).await
    }
}
