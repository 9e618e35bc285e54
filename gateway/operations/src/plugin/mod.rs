//! The catalogue of plugins: which are installed, in which version, with which settings, for whom.
//!
//! A record says what is to be; the files of plugins lie beside the store, and the process that
//! loads them implements [`Catalogue`]. Every change of a record is committed with its audit entry.
//! What is in service follows the records ([`Hub::follow_plugins`]): at once after a change, and by
//! a chore, because a request can be given up between its commit and this.

mod change;
mod delete;
mod folder;
mod follow;
mod install;
mod read;
mod record;

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use hub_model::api::plugin::PluginView;
use hub_model::entry::Subject;
use hub_model::extend::PluginDigest;
use hub_model::{Name, RegistrationId, Timestamp};
use hub_policy::{RegistrationFacts, Target};
use hub_store::{Versioned, layout};

pub use change::{EnablePlugin, RollbackPlugin, UpdatePlugin};
pub use delete::DeletePlugin;
pub use folder::Taken;
pub use install::{InstallPlugin, Upload};
pub use read::{GetPlugin, ListPlugins};
pub use record::{Installed, PluginRecord};

use crate::Error;
use crate::hub::Hub;
use crate::operation::Place;

/// The most plugins of a hub.
pub const MAX_PLUGINS: usize = 256;
/// The most versions that are kept of one plugin.
pub const MAX_VERSIONS: usize = 16;
/// The most registrations that a plugin is assigned to one by one.
const MAX_REGISTRATIONS: usize = 1000;
/// Files of plugins in memory at once, as they come in.
const UPLOADS: usize = 2;

/// Why a plugin, or a change of one, is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stable word.
    pub code: &'static str,
    /// The member of the body at fault, as a JSON pointer.
    pub pointer: Option<String>,
    /// What is wrong.
    pub detail: String,
}

impl Refused {
    /// A refusal.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, pointer: None, detail: detail.into() }
    }

    /// Names the member at fault.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Plugin(Box::new(refused))
    }
}

/// A file that is a plugin which can be run here, by a signer whom the operator trusts.
#[derive(Clone)]
pub struct Examined {
    /// What its manifest says.
    pub name: Name,
    /// As its manifest says.
    pub version: Box<str>,
    /// As its manifest says.
    pub world: &'static str,
    /// Of everything but its signatures.
    pub digest: PluginDigest,
    /// Who signed it; nobody where the operator allows that.
    pub signer: Option<Name>,
    /// Its whole file.
    pub file: Arc<[u8]>,
    /// What the process made of it, kept for as long as it may be needed.
    pub loaded: Arc<dyn std::any::Any + Send + Sync>,
}

impl fmt::Debug for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Examined({} {}, {})", self.name, self.version, self.digest)
    }
}

/// What loads, keeps and runs plugins: the process.
pub trait Catalogue: fmt::Debug + Send + Sync {
    /// The most bytes of a file.
    fn max_size(&self) -> u64;

    /// Registrations that the configuration assigns plugins to, by name.
    fn registrations(&self) -> Vec<Name>;

    /// Reads a file: size, manifest, trust at this time, code. Runs nothing of it.
    fn examine(&self, file: Arc<[u8]>, now: Timestamp) -> BoxFuture<'_, Result<Examined, Refused>>;

    /// Whether this version of the plugin could be in service as the record says: settings against
    /// its schema and by the plugin itself. A setting at fault is named with a pointer.
    fn check<'a>(
        &'a self,
        record: &'a PluginRecord,
        digest: PluginDigest,
    ) -> BoxFuture<'a, Result<(), Refused>>;

    /// Keeps a file. Durable when this returns; one that no record names is removed later.
    fn keep<'a>(&'a self, examined: &'a Examined) -> BoxFuture<'a, Result<(), Refused>>;

    /// Puts into service what these records say, for the registrations in `named` where the
    /// configuration assigns plugins by name, and removes files that neither records nor `pinned`
    /// name. What cannot be put into service leaves what was there.
    fn follow<'a>(
        &'a self,
        records: &'a [PluginRecord],
        named: &'a [(Name, RegistrationId)],
        pinned: &'a [PluginDigest],
    ) -> BoxFuture<'a, ()>;

    /// A plugin as shown.
    fn show(&self, record: &PluginRecord) -> PluginView;
}

/// What a hub has of the catalogue.
#[derive(Debug)]
pub(crate) struct Shelf {
    catalogue: OnceLock<Arc<dyn Catalogue>>,
    /// Held while what is in service follows the records; what was followed last.
    following: tokio::sync::Mutex<Option<Followed>>,
    uploads: tokio::sync::Semaphore,
    /// One is examined and checked at a time: compiling takes processors for seconds.
    turn: tokio::sync::Mutex<()>,
}

/// Names and generations of plugins, and what names of registrations stand for.
type Followed = (Vec<(Name, u64)>, Vec<(Name, RegistrationId)>);

impl Default for Shelf {
    fn default() -> Self {
        Self {
            catalogue: OnceLock::new(),
            following: tokio::sync::Mutex::default(),
            uploads: tokio::sync::Semaphore::new(UPLOADS),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

impl Hub {
    /// Takes plugins with this catalogue, once for all; false when there is one already. A hub
    /// without one takes none.
    pub fn take_plugins_with(&self, catalogue: Arc<dyn Catalogue>) -> bool {
        self.catalogue.catalogue.set(catalogue).is_ok()
    }

    pub(crate) fn plugin_catalogue(&self) -> Result<&Arc<dyn Catalogue>, Error> {
        let off =
            || Refused::new("plugins_off", "this hub takes no plugins (`plugins.enabled = false`)");
        Ok(self.catalogue.catalogue.get().ok_or_else(off)?)
    }

    /// The record of a plugin.
    pub(crate) async fn plugin_record(
        &self,
        name: &Name,
    ) -> Result<Option<Versioned<PluginRecord>>, Error> {
        Ok(self.store().read::<PluginRecord>(&layout::plugin(name)).await?)
    }

    pub(crate) async fn known_plugin(&self, name: &Name) -> Result<Versioned<PluginRecord>, Error> {
        self.plugin_record(name).await?.ok_or_else(|| Error::not_found("plugin", name))
    }

    /// Whether keys derive by this code.
    pub(crate) async fn plugin_is_pinned(&self, digest: PluginDigest) -> Result<bool, Error> {
        let found = self.store().scan_bytes(&layout::plugin_pins(digest), None, 1, None).await?;
        Ok(!found.records.is_empty())
    }
}

/// A plugin of the hub; or none, of which the entry says nothing then.
#[derive(Debug)]
pub struct AtPlugin(pub(crate) Option<Name>);

impl Place for AtPlugin {
    fn target(&self) -> Target<'_> {
        Target::Hub
    }

    fn subject(&self) -> Subject {
        let detail = self.0.as_ref().map(|name| name.as_str().into());
        Subject { detail, ..Subject::default() }
    }

    fn registration(&self) -> Option<&Arc<RegistrationFacts>> {
        None
    }
}
