//! The catalogue of plugins, as the process keeps it: files, the host that loads them, what is in
//! service, and for whom. Which plugins there are to be, records of the store say
//! (`hub_operations::plugin`); this follows them.
//!
//! A hub without plugins sets nothing up: the host is made when the first file is looked at.

mod asked;
mod files;
pub(crate) mod folder;
mod load;
mod metrics;
mod serve;
mod upload;
mod view;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use hub_crypto::SystemKeys;
use hub_model::Name;
use hub_model::extend::{FailureKind, PluginDigest, PluginFailure};
use hub_operations::Hub;
use hub_plugins::{Engine, Loaded, Trust};
use hub_store::durable_file::make_private;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::config::{Config, PluginsConfig, StoreEngine};
use crate::sinks::{InService, SinkPlugins};

pub(crate) use asked::Asked;
pub(crate) use metrics::PluginMetrics;
pub(crate) use upload::{InstallEndpoint, PATIENCE, WASM};

use files::Files;
use serve::Shelved;

/// How often the records are looked at, beside after every change.
const LOOK: Duration = Duration::from_secs(2);
/// How many are kept loaded although nothing needs them.
const RECENT: usize = 4;
/// How often what could not be put into service is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// The catalogue.
pub(crate) struct Catalogue {
    config: PluginsConfig,
    trust: Trust,
    files: Files,
    /// Where compiled plugins are kept, and what seals them.
    cache: Option<(PathBuf, Zeroizing<[u8; 32]>)>,
    engine: Mutex<Option<Arc<Engine>>>,
    /// One file is compiled at a time. Held by the work itself: who waits for it may give up.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// What is loaded, for as long as somebody needs it.
    loaded: Mutex<HashMap<PluginDigest, Weak<Loaded>>>,
    /// What was loaded last, so that what was just checked is not loaded again.
    recent: Mutex<VecDeque<Arc<Loaded>>>,
    /// What is in service, by name.
    service: ArcSwap<HashMap<Name, Arc<Shelved>>>,
    changed: watch::Sender<u64>,
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue").field("plugins", &self.service.load().len()).finish()
    }
}

impl Catalogue {
    /// The catalogue of this configuration; none where plugins are off.
    ///
    /// # Errors
    /// Says which signer is none.
    pub(crate) fn new(config: &Config, keys: &SystemKeys) -> Result<Option<Arc<Self>>, String> {
        if !config.plugins.enabled {
            return Ok(None);
        }
        let kept = config.store.engine == StoreEngine::Fjall;
        let cache = kept.then(|| {
            let key = Zeroizing::new(keys.privacy().tag(&[b"plugin cache", &[0]]));
            (config.plugins.cache.clone(), key)
        });
        let folder = kept.then(|| config.data_dir.join("plugins"));
        Ok(Some(Arc::new(Self {
            trust: config.plugins.trust()?,
            config: config.plugins.clone(),
            files: Files::new(folder),
            cache,
            engine: Mutex::default(),
            turn: Arc::default(),
            loaded: Mutex::default(),
            recent: Mutex::default(),
            service: ArcSwap::default(),
            changed: watch::Sender::new(0),
        })))
    }

    /// The host, made when it is first asked for. Blocks.
    fn engine(&self) -> Result<Arc<Engine>, String> {
        let mut engine = lock(&self.engine);
        if let Some(engine) = &*engine {
            return Ok(Arc::clone(engine));
        }
        let cache = match &self.cache {
            None => None,
            Some((folder, key)) => {
                make_private(folder).map_err(|error| error.to_string())?;
                Some(hub_plugins::CacheConfig { folder: folder.clone(), key: key.clone() })
            }
        };
        let made = Engine::new(hub_plugins::EngineConfig {
            cache,
            concurrency: usize::try_from(self.config.concurrency).unwrap_or(16),
            ceilings: self.config.limits(),
            max_component: usize::try_from(self.config.max_size).unwrap_or(usize::MAX),
            ..hub_plugins::EngineConfig::default()
        });
        let made = made.map_err(|error| error.to_string())?;
        tracing::info!(concurrency = self.config.concurrency, "the host of plugins is set up");
        Ok(Arc::clone(engine.insert(made)))
    }
}

impl SinkPlugins for Catalogue {
    fn sink(&self, plugin: &Name) -> Result<InService, PluginFailure> {
        Ok(InService { loaded: self.sink_in_service(plugin)?, ceilings: self.config.limits() })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// Follows the records where nobody waits for it: a request can be given up between its commit and
/// what follows it, and what could not be put into service may work later, or when it is asked for
/// (SIGHUP).
pub(crate) async fn keep(
    hub: Arc<Hub>,
    catalogue: Arc<Catalogue>,
    asked: Arc<Notify>,
    token: CancellationToken,
) {
    let mut since = Duration::ZERO;
    loop {
        let mut now = false;
        tokio::select! {
            () = token.cancelled() => return,
            () = asked.notified() => now = true,
            () = tokio::time::sleep(LOOK) => since += LOOK,
        }
        let again = now || (since >= AGAIN && catalogue.troubled());
        if since >= AGAIN {
            since = Duration::ZERO;
        }
        if again {
            hub.follow_plugins_again().await;
        } else {
            hub.follow_plugins().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(text: &str) -> PluginFailure {
    PluginFailure::new(FailureKind::Unavailable, text)
}
