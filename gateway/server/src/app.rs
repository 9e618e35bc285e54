//! The composition root: builds the floors from the ground up, serves, and takes them down in
//! order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use hub_audit::index::Index;
use hub_audit::log::OnRollback;
use hub_auth::Authenticator;
use hub_model::Clock;
use hub_model::clock::SystemClock;
use hub_model::secret::SecretText;
use hub_operations::Hub;
use hub_store::durable_file;

use crate::abuse::Abuse;
use crate::admin::{Admin, Health};
use crate::catalogue::Catalogue;
use crate::config::{Config, StoreEngine};
use crate::failures::Failures;
use crate::guard::Watch;
use crate::listen::Server;
use crate::load::{Bounds, Load};
use crate::metrics::Metrics;
use crate::open::{self, Intent, OpenError, Opened};
use crate::pipeline::{Gateway, GatewayParts, Settings};
use crate::quotas::Quotas;
use crate::throttle::Throttle;
use crate::tls::Tls;

mod facts;
mod folder;
mod gauges;
mod run;

use facts::{status, with_plugins, with_sinks};
pub use folder::{prepare, recover};

/// Why the process ends with a failure.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The hub cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// Issuers of tokens cannot be set up.
    #[error(transparent)]
    Issuers(#[from] crate::jwks::SetUpError),
    /// Sinks of the audit log cannot be set up.
    #[error(transparent)]
    Sinks(#[from] crate::sinks::SinkSetUpError),
    /// A socket cannot be had.
    #[error(transparent)]
    Listen(#[from] crate::listen::ListenError),
    /// The management listener.
    #[error("cannot listen on `{address}` (server.management_listen): {source}")]
    Management {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime or a signal handler.
    #[error("the process cannot be set up: {0}")]
    Process(#[from] std::io::Error),
    /// Metrics or routes contradict themselves.
    #[error("the program contradicts itself: {0}")]
    Program(String),
    /// The operation that prepares a demonstration failed.
    #[error("the demonstration cannot be prepared: {0}")]
    Demo(String),
    /// A critical part ended.
    #[error("{0}")]
    Ended(String),
}

impl From<prometheus::Error> for AppError {
    fn from(error: prometheus::Error) -> Self {
        Self::Program(error.to_string())
    }
}

/// How the process runs.
#[derive(Clone, Debug, Default)]
pub struct Mode {
    /// In memory, for trying things.
    pub dev: bool,
    /// What to do when the store is older than its checkpoint.
    pub on_rollback: OnRollback,
    /// What the process found out about its own protection.
    pub notices: Vec<String>,
}

/// A hub that is bound and ready to serve.
pub struct App {
    pub(crate) config: Config,
    mode: Mode,
    clock: Arc<dyn Clock>,
    /// The hub.
    pub hub: Arc<Hub>,
    /// The first administrator's key, if this was the first start.
    pub first_key: Option<SecretText>,
    gateway: Arc<Gateway>,
    server: Server<Arc<Gateway>>,
    admin: Option<Admin>,
    tls: Option<Tls>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    throttle: Arc<Throttle>,
    failures: Arc<Failures>,
    abuse: Arc<Abuse>,
    quotas: Arc<Quotas>,
    integrity: Arc<ArcSwap<String>>,
    keepers: Vec<crate::jwks::Keeper>,
    sinks: crate::sinks::Sinks,
    catalogue: Option<Arc<Catalogue>>,
    swept: Arc<tokio::sync::Notify>,
    stopped_cleanly: bool,
    witnesses: Arc<crate::witnesses::Witnesses>,
    witnessed: Option<prometheus::IntCounterVec>,
    /// What an operator should know.
    pub notices: Vec<String>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("addresses", &self.server.addresses()).finish_non_exhaustive()
    }
}

impl App {
    /// Opens the hub and binds its sockets. Nothing is answered before [`App::run`].
    ///
    /// # Errors
    /// [`AppError`] says which part and why.
    pub fn build(config: Config, mode: Mode) -> BoxFuture<'static, Result<Self, AppError>> {
        Box::pin(Self::build_all(config, mode))
    }

    async fn build_all(config: Config, mode: Mode) -> Result<Self, AppError> {
        // Before any key is loaded: each keeps what it was loaded with.
        hub_crypto::provider::set(config.crypto.provider.into());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let started = clock.now();
        let metrics = Arc::new(Metrics::new()?);
        let health = Arc::new(Health::new());
        let tls = Tls::load_at(&config.server.tls, Arc::clone(&clock))?;
        if let Some(tls) = &tls {
            tls.measure(&metrics)?;
        }
        let opened =
            open::open(&config, Arc::clone(&clock), mode.on_rollback, Intent::OpenOrMake).await?;
        let Opened {
            hub,
            keys,
            first_key,
            seal_kind,
            notices: more,
            stopped_cleanly,
            rules,
            uses,
            witnesses,
        } = opened;
        let witnessed = match witnesses.is_empty() {
            true => None,
            false => Some(witnesses.measure(&metrics)?),
        };
        health.unsealed.pass();
        health.store.pass();
        health.audit.pass();
        let mut notices = mode.notices.clone();
        notices.extend(config.notices().iter().cloned());
        notices.extend(more);
        let arena = hub_crypto::arena_status();
        if let Some(reason) = &arena.reason {
            notices.push(format!("secrets are not in secret memory: {reason}"));
        }
        let catalogue = take_plugins(&config, &hub, &keys, &metrics).await?;
        let (issuers, keepers) = crate::jwks::set_up(&config.auth, &metrics, &clock)?;
        let authenticator = Authenticator::new(hub_auth::Parts {
            store: hub.store().clone(),
            keys,
            clock: Arc::clone(&clock),
            rules,
            uses,
            capacity: config.cache.credentials,
        })
        .with_tokens(issuers);
        let plugins: Arc<dyn crate::sinks::SinkPlugins> = match &catalogue {
            Some(catalogue) => Arc::<Catalogue>::clone(catalogue),
            None => Arc::new(crate::sinks::NoSinkPlugins::default()),
        };
        let sinks =
            crate::sinks::set_up(&config, &hub, &clock, &metrics, &health, &plugins).await?;
        let throttle = Arc::new(Throttle::new(&config.limits));
        let failures = Arc::new(Failures::default());
        let abuse = Abuse::new(&config.abuse, Arc::clone(&clock), Arc::clone(&metrics));
        let quotas = Arc::new(Quotas::new(&config.limits.quota_rules(), Arc::clone(&clock)));
        hub.guard_with(Box::new(Watch {
            quotas: Arc::clone(&quotas),
            abuse: Arc::clone(&abuse),
            failures: Arc::clone(&failures),
            metrics: Arc::clone(&metrics),
        }));
        let load = Load::new(Bounds {
            requests: config.limits.requests_in_work.get(),
            share: config.limits.share(),
            at_once: config.limits.registration_at_once.get(),
            beside: config.limits.registration_beside.get(),
            waiting: config.limits.requests_waiting,
            patience: config.limits.wait_timeout,
            body_bytes: config.limits.body_bytes_in_work,
        });
        gauges::limits(&metrics, &load, &quotas, &abuse)?;
        let integrity = Arc::new(ArcSwap::from_pointee("not scanned yet".to_owned()));
        let swept = Arc::new(tokio::sync::Notify::new());
        let gateway = Gateway::new(GatewayParts {
            hub: Arc::clone(&hub),
            authenticator,
            throttle: Arc::clone(&throttle),
            failures: Arc::clone(&failures),
            abuse: Arc::clone(&abuse),
            load,
            metrics: Arc::clone(&metrics),
            settings: Settings {
                max_body: config.server.max_body_bytes,
                max_batch_body: config.server.max_batch_body_bytes,
                max_stream: (config.limits.stream_max_bytes > 0)
                    .then_some(config.limits.stream_max_bytes),
                dev: mode.dev,
            },
            status: Box::new(with_plugins(
                catalogue.clone(),
                with_sinks(
                    &sinks,
                    status(
                        &config,
                        &mode,
                        &hub,
                        &integrity,
                        started,
                        seal_kind,
                        &notices,
                        (tls.clone(), Arc::clone(&witnesses)),
                    ),
                ),
            )),
            swept: Arc::clone(&swept),
        })
        .map_err(|error| AppError::Program(error.to_string()))?;
        let index = audit_index(&config, &hub)?;
        crate::metrics_audit::sample_index(&metrics, &index)?;
        hub.index_audit_with(index);
        gauges::hub(&metrics, &hub, &clock)?;
        crate::metrics_rotation::sample(&metrics, &hub)?;
        crate::archiving::sample(&metrics, &hub)?;
        if let Some(path) = config.server.unix_socket.as_deref().and_then(Path::parent) {
            durable_file::make_private(path).map_err(OpenError::from)?;
        }
        let gateway = Arc::new(gateway);
        let server =
            Server::bind(&config.server, tls.as_ref(), Arc::clone(&gateway), Arc::clone(&metrics))?;
        let admin = match config.server.management_listen {
            None => None,
            Some(address) => Some(
                Admin::bind(address, Arc::clone(&health), Arc::clone(&metrics))
                    .await
                    .map_err(|source| AppError::Management { address, source })?,
            ),
        };
        Ok(Self {
            config,
            mode,
            clock,
            hub,
            first_key,
            gateway,
            server,
            admin,
            tls,
            metrics,
            health,
            throttle,
            failures,
            abuse,
            quotas,
            integrity,
            keepers,
            sinks,
            catalogue,
            swept,
            stopped_cleanly,
            witnesses,
            witnessed,
            notices,
        })
    }

    /// Who authenticates callers here.
    #[must_use]
    pub fn authenticator(&self) -> &Authenticator {
        self.gateway.authenticator()
    }

    /// The bound TCP addresses.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// The address of health and metrics.
    #[must_use]
    pub fn management(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The Unix socket.
    #[must_use]
    pub fn unix_path(&self) -> Option<PathBuf> {
        self.server.unix_path().map(Path::to_owned)
    }

    /// Whether the API speaks TLS.
    #[must_use]
    pub const fn encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves until a signal, or until a part that must not end does. `announce` is called once
    /// everything answers.
    ///
    /// # Errors
    /// [`AppError::Ended`] when the process must exit with a failure.
    pub fn run<'a>(
        self,
        announce: Box<dyn FnOnce(&Self) + Send + 'a>,
    ) -> BoxFuture<'a, Result<(), AppError>> {
        Box::pin(self.run_all(announce))
    }
}

/// The index of the audit log: in files where the log is.
fn audit_index(config: &Config, hub: &Hub) -> Result<Index, AppError> {
    let folder = match config.store.engine {
        StoreEngine::Memory => None,
        StoreEngine::Fjall => Some(config.data_dir.join("audit").join("index")),
    };
    if let Some(folder) = &folder {
        durable_file::make_private(folder).map_err(OpenError::from)?;
    }
    Ok(Index::new(hub.log().clone(), folder))
}

/// The catalogue of plugins, with what its records say in service; none where plugins are off.
async fn take_plugins(
    config: &Config,
    hub: &Arc<Hub>,
    keys: &hub_crypto::SystemKeys,
    metrics: &Metrics,
) -> Result<Option<Arc<Catalogue>>, AppError> {
    let made = Catalogue::new(config, keys).map_err(AppError::Program)?;
    let Some(catalogue) = made else { return Ok(None) };
    hub.take_plugins_with(Arc::new(crate::catalogue::Asked(Arc::clone(&catalogue))));
    hub.set_plugins(Arc::<Catalogue>::clone(&catalogue));
    let measured = crate::catalogue::PluginMetrics::new(Arc::clone(&catalogue));
    measured.and_then(|families| metrics.collect_from(Box::new(families)))?;
    hub.follow_plugins().await;
    Ok(Some(catalogue))
}
