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
mod kept;
mod read;
mod record;

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use hub_model::api::plugin::PluginView;
use hub_model::entry::Subject;
use hub_model::extend::PluginDigest;
use hub_model::{Name, RegistrationId, Thumbprint, Timestamp};
use hub_policy::{RegistrationFacts, Target};
use hub_store::{Revision, Versioned, layout};

pub use change::{EnablePlugin, RollbackPlugin, UpdatePlugin};
pub use delete::DeletePlugin;
pub use folder::Taken;
pub use install::{InstallPlugin, Upload};
pub use read::{GetPlugin, ListPlugins};
pub use record::{Installed, PluginRecord};

use crate::Error;
use crate::hub::Hub;
use crate::operation::Place;
use crate::plan::Held;

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
    /// Which file it is about, as far as that is known: for the entry.
    pub about: Option<Box<str>>,
}

impl Refused {
    /// A refusal.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, pointer: None, detail: detail.into(), about: None }
    }

    /// Says which file it is about.
    #[must_use]
    pub fn about(mut self, about: impl Into<Box<str>>) -> Self {
        self.about = Some(about.into());
        self
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
    /// When it would be taken with the signatures it has: from and until, of each signer.
    pub periods: Vec<(Option<Timestamp>, Option<Timestamp>)>,
    /// Its whole file.
    pub file: Arc<[u8]>,
    /// What the process made of it, kept for as long as it may be needed.
    pub loaded: Arc<dyn std::any::Any + Send + Sync>,
}

impl Examined {
    /// Whether it would have been taken then.
    #[must_use]
    pub fn taken_at(&self, then: Timestamp) -> bool {
        self.periods.iter().any(|(from, until)| {
            from.is_none_or(|from| from <= then) && until.is_none_or(|until| then <= until)
        })
    }

    /// For the entry: what and which.
    fn said(&self) -> String {
        format!("{} {} {}", self.name, self.version, self.digest)
    }
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
    /// its schema and by the plugin itself. A setting at fault is named with a pointer. Gives what
    /// keys that derive by it are pinned to of its settings.
    fn check<'a>(
        &'a self,
        record: &'a PluginRecord,
        digest: PluginDigest,
    ) -> BoxFuture<'a, Result<Option<Thumbprint>, Refused>>;

    /// Keeps a file, with the signatures that were kept of it before. Durable when this returns;
    /// one that no record names is removed later.
    fn keep<'a>(&'a self, examined: &'a Examined) -> BoxFuture<'a, Result<(), Refused>>;

    /// Puts into service what these records say, for the registrations in `named` where the
    /// configuration assigns plugins by name, and removes files that neither records nor `pinned`
    /// name. What cannot be put into service leaves what was there.
    fn follow<'a>(
        &'a self,
        records: &'a [Versioned<PluginRecord>],
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
    /// Held for reading until a key's first pin is committed, and for writing until a change of
    /// plugins is: whoever looks for pins sees all that there will be. Taken before `turn`.
    pins: Arc<tokio::sync::RwLock<()>>,
}

/// Names of plugins and revisions of their records, and what names of registrations stand for.
type Followed = (Vec<(Name, Revision)>, Vec<(Name, RegistrationId)>);

impl Default for Shelf {
    fn default() -> Self {
        Self {
            catalogue: OnceLock::new(),
            following: tokio::sync::Mutex::default(),
            uploads: tokio::sync::Semaphore::new(UPLOADS),
            turn: tokio::sync::Mutex::default(),
            pins: Arc::default(),
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

    /// Until this is dropped, no plugin is changed or removed.
    pub(crate) async fn plugins_may_be_pinned(&self) -> Held {
        Box::new(Arc::clone(&self.catalogue.pins).read_owned().await)
    }

    /// Until this is dropped, no key is pinned to a plugin.
    async fn plugins_may_change(&self) -> Held {
        Box::new(Arc::clone(&self.catalogue.pins).write_owned().await)
    }

    /// Whether keys derive by this code.
    pub(crate) async fn plugin_is_pinned(&self, digest: PluginDigest) -> Result<bool, Error> {
        // Destroyed keys need it no longer.
        Ok(!self.pinned_to(digest, 1).await?.is_empty())
    }
}

/// A plugin of the hub; or none that is known before a file was read.
#[derive(Debug, Default)]
pub struct AtPlugin {
    name: Option<Name>,
    /// What the entry of a refusal says besides.
    said: OnceLock<Box<str>>,
}

impl AtPlugin {
    fn of(name: &Name) -> Self {
        Self { name: Some(name.clone()), ..Self::default() }
    }

    fn say(&self, what: impl Into<Box<str>>) {
        let _ = self.said.set(what.into());
    }
}

impl Place for AtPlugin {
    fn target(&self) -> Target<'_> {
        Target::Hub
    }

    fn subject(&self) -> Subject {
        let name = self.name.as_ref().map(|name| name.as_str().into());
        let detail = self.said.get().cloned().or(name);
        Subject { detail, ..Subject::default() }
    }

    fn registration(&self) -> Option<&Arc<RegistrationFacts>> {
        None
    }
}
