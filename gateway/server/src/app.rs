//! The composition root: builds the floors from the ground up, serves, and takes them down in
//! order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use hub_audit::index::Index;
use hub_audit::log::OnRollback;
use hub_auth::Authenticator;
use hub_model::clock::SystemClock;
use hub_model::secret::SecretText;
use hub_model::{Clock, Timestamp};
use hub_operations::Hub;
use hub_operations::system::StatusFacts;
use hub_store::durable_file;
use tokio_util::sync::CancellationToken;

use crate::abuse::Abuse;
use crate::admin::{Admin, Health};
use crate::catalogue::Catalogue;
use crate::chores::{
    checkpoints, event, flush, integrity, jobs, lifecycle, reload, signing_keys, space, sweep,
    watch,
};
use crate::config::{Config, StoreEngine};
use crate::failures::Failures;
use crate::guard::Watch;
use crate::listen::Server;
use crate::load::{Bounds, Load};
use crate::metrics::Metrics;
use crate::open::{self, Intent, OpenError, Opened};
use crate::pipeline::{Gateway, GatewayParts, Settings};
use crate::policy_files;
use crate::quotas::Quotas;
use crate::tasks::Tasks;
use crate::throttle::Throttle;
use crate::tls::Tls;

const SECOND: Duration = Duration::from_secs(1);

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
        let metrics = Arc::new(Metrics::new().map_err(|e| AppError::Program(e.to_string()))?);
        let health = Arc::new(Health::new());
        let tls = Tls::load_at(&config.server.tls, Arc::clone(&clock))?;
        if let Some(tls) = &tls {
            tls.measure(&metrics).map_err(|error| AppError::Program(error.to_string()))?;
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
            false => Some(
                witnesses
                    .measure(&metrics)
                    .map_err(|error| AppError::Program(error.to_string()))?,
            ),
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
        sample_limits(&metrics, &load, &quotas, &abuse)
            .map_err(|error| AppError::Program(error.to_string()))?;
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
        crate::metrics_audit::sample_index(&metrics, &index)
            .map_err(|error| AppError::Program(error.to_string()))?;
        hub.index_audit_with(index);
        sample(&metrics, &hub, &clock).map_err(|error| AppError::Program(error.to_string()))?;
        crate::metrics_rotation::sample(&metrics, &hub)
            .map_err(|error| AppError::Program(error.to_string()))?;
        crate::archiving::sample(&metrics, &hub)
            .map_err(|error| AppError::Program(error.to_string()))?;
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

    async fn run_all(self, announce: Box<dyn FnOnce(&Self) + Send + '_>) -> Result<(), AppError> {
        announce(&self);
        let Self { config, mode, clock, hub, server, admin, tls, metrics, health, .. } = self;
        let tasks = Tasks::new();
        let policies_asked = Arc::new(tokio::sync::Notify::new());
        let plugins_asked = Arc::new(tokio::sync::Notify::new());
        let plugins_again = Arc::clone(&plugins_asked);
        let plugins_retried = Arc::new(tokio::sync::Notify::new());
        let retry_plugins = Arc::clone(&plugins_retried);
        let again = reload(Arc::clone(&policies_asked), tls.clone());
        let nudge = crate::jwks::nudge(&self.keepers);
        tasks.signals(move || {
            again();
            nudge.all();
            plugins_again.notify_one();
            retry_plugins.notify_one();
        })?;
        let token = tasks.token();
        if let Some(tls) = tls {
            tasks.spawn("certificates", crate::tls::keep(tls, token.clone()));
        }
        if let Some(dir) = open::policies_dir(&config) {
            let (hub, metrics) = (Arc::clone(&hub), Arc::clone(&metrics));
            let following = policy_files::follow(dir, hub, metrics, policies_asked, token.clone());
            tasks.spawn("policies", following);
        }
        if let Some(catalogue) = self.catalogue {
            tasks.spawn(
                "plugins",
                crate::catalogue::keep(Arc::clone(&hub), catalogue, plugins_retried, token.clone()),
            );
            if let Some(folder) = config.plugins.folder.clone() {
                let (most, hub) = (config.plugins.max_size, Arc::clone(&hub));
                let following = crate::catalogue::folder::follow(
                    folder,
                    most,
                    hub,
                    plugins_asked,
                    token.clone(),
                );
                tasks.spawn("plugin folder", following);
            }
        }
        tasks.spawn("revisions", policy_files::record(Arc::clone(&hub), token.clone()));
        tasks.spawn("shadow", policy_files::shadow(Arc::clone(&hub), token.clone()));
        let named = self.sinks.named();
        let delivering = self.sinks.start(Arc::clone(&hub));
        if !mode.dev {
            let detail = Some(env!("CARGO_PKG_VERSION").into());
            event(&hub, "system.start", detail).await;
            if let Some(named) = named {
                event(&hub, "sinks.configured", Some(named)).await;
            }
        }
        let drained = CancellationToken::new();
        tasks.spawn_critical("server", {
            let (token, drained) = (token.clone(), drained.clone());
            async move {
                server.run(token).await;
                drained.cancel();
            }
        });
        if let Some(admin) = admin {
            // Ends after the drain, so that probes see "not ready" meanwhile.
            tasks.spawn("management", admin.run(drained.clone()));
        }
        let appender = hub.log().appender().clone();
        tasks.spawn_critical("audit", {
            let drained = drained.clone();
            async move {
                tokio::select! {
                    () = drained.cancelled() => {}
                    () = appender.stopped() => {}
                }
            }
        });
        tasks.spawn(
            "checkpoints",
            checkpoints(
                Arc::clone(&hub),
                Arc::clone(&clock),
                (config.audit.checkpoint_interval, config.audit.checkpoint_entries),
                token.clone(),
            ),
        );
        tasks.spawn("tree", {
            let (log, token) = (hub.log().clone(), token.clone());
            let stored = config.store.engine == StoreEngine::Fjall;
            let file = stored.then(|| config.data_dir.join("audit/tree"));
            async move {
                tokio::select! {
                    () = token.cancelled() => {}
                    () = log.keep_tree(file) => {}
                }
            }
        });
        let (index, stop) = (hub.audit_index().clone(), token.clone());
        tasks.spawn("audit-index", async move { index.run(stop.cancelled()).await });
        tasks.spawn("signing keys", signing_keys(Arc::clone(&hub), token.clone()));
        if !self.witnesses.is_empty() {
            let witnesses = Arc::clone(&self.witnesses);
            let keeping = witnesses.keep(Arc::clone(&hub), self.witnessed, token.clone());
            tasks.spawn("witnesses", keeping);
        }
        tasks.spawn("failures", flush(Arc::clone(&hub), Arc::clone(&self.failures), token.clone()));
        tasks.spawn(
            "abuse",
            watch(Arc::clone(&hub), Arc::clone(&self.abuse), self.quotas, token.clone()),
        );
        tasks.spawn("throttle", Arc::clone(&self.throttle).maintain(token.clone()));
        if config.store.engine == StoreEngine::Fjall {
            tasks.spawn(
                "space",
                space(Arc::clone(&hub), config.clone(), token.clone(), Arc::clone(&health)),
            );
            tasks.spawn(
                "integrity",
                integrity(
                    Arc::clone(&hub),
                    Arc::clone(&self.integrity),
                    Arc::clone(&health),
                    self.stopped_cleanly,
                    token.clone(),
                ),
            );
        }
        for keeper in self.keepers {
            tasks.spawn("jwks", keeper.keep(token.clone()));
        }
        let room = crate::archiving::Room {
            store: config.store.path.clone(),
            mark: config.audit.low_space_mark,
            entries: config.audit.archive_entries.get().into(),
        };
        tasks.spawn("archiving", crate::archiving::keep(Arc::clone(&hub), room, token.clone()));
        tasks.spawn("archives", crate::archiving::watch(Arc::clone(&hub), token.clone()));
        tasks.spawn("jobs", jobs(Arc::clone(&hub), token.clone()));
        tasks.spawn("lifecycle", lifecycle(Arc::clone(&hub), token.clone()));
        tasks.spawn("rotation plans", crate::chores::plans(Arc::clone(&hub), token.clone()));
        tasks.spawn("sweep", sweep(Arc::clone(&hub), Arc::clone(&self.swept), token.clone()));
        health.accepting.pass();
        health.started.pass();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        // Most of the code that a start has read is not read again.
        tokio::task::spawn_blocking(|| match hub_arena::let_go_of_code() {
            Ok(bytes) => tracing::debug!(bytes, "pages of the start were let go of"),
            Err(error) => tracing::debug!(%error, "pages of the start stay"),
        });

        tasks.stopped().await;
        health.accepting.fail("the hub is stopping");
        hub.end_watches();
        tracing::info!("stopping");
        let _late = tasks.shutdown(config.server.drain_timeout + 5 * SECOND).await;
        // Streams whose connection was dropped still write how they ended.
        let _ = tokio::time::timeout(SECOND, self.gateway.streams.finished()).await;
        let _ = self.failures.flush(&hub).await;
        let _ = self.abuse.flush(&hub).await;
        if let Err(error) = hub.settle_usage(true).await {
            tracing::error!(%error, "counts of use could not be written: they read higher later");
        }
        if let Err(error) = hub.settle_last_uses(true).await {
            tracing::error!(%error, "the last uses of credentials could not be written");
        }
        if !mode.dev {
            event(&hub, "system.stop", None).await;
        }
        delivering.finish().await;
        hub.log().appender().close().await;
        if let Err(error) = hub.log().checkpoint(clock.now()) {
            tracing::error!(%error, "the last checkpoint could not be written");
        }
        self.witnesses.last(hub.log()).await;
        if let Err(error) = hub.log().keep_latest() {
            tracing::error!(%error, "the last checkpoint could not be kept");
        }
        hub.forget();
        if hub.log().appender().tampered() {
            // Not marked as closed cleanly, so that the next start scans at once.
            tracing::error!("stopped with a store that failed its integrity check");
        } else if let Err(error) = hub.store().backend().close().await {
            tracing::error!(%error, "the store did not close");
        }
        drop(metrics);
        tracing::info!("stopped");
        match tasks.failure() {
            None if hub.log().appender().failed() => {
                Err(AppError::Ended("the audit log could not be written".to_owned()))
            }
            None => Ok(()),
            Some(reason) => Err(AppError::Ended(reason)),
        }
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

fn status(
    config: &Config,
    mode: &Mode,
    hub: &Arc<Hub>,
    integrity: &Arc<ArcSwap<String>>,
    start_time: Timestamp,
    seal_kind: &'static str,
    notices: &[String],
    (tls, witnesses): (Option<Tls>, Arc<crate::witnesses::Witnesses>),
) -> impl Fn() -> StatusFacts + Send + Sync + 'static {
    let store = match config.store.engine {
        StoreEngine::Fjall => "fjall",
        StoreEngine::Memory => "memory",
    };
    let (dev, hub) = (mode.dev, Arc::clone(hub));
    let (integrity, notices) = (Arc::clone(integrity), notices.to_vec());
    move || {
        let arena = hub_crypto::arena_status();
        StatusFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dev,
            start_time,
            seal_kind: seal_kind.to_owned(),
            store: store.to_owned(),
            store_bytes: hub.store().backend().size_on_disk().unwrap_or(0),
            arena: format!("{:?}", arena.kind),
            arena_secrets: u64::try_from(arena.secrets).unwrap_or(u64::MAX),
            crypto_provider: hub_crypto::provider::current().name().to_owned(),
            integrity: integrity.load().to_string(),
            notices: notices
                .iter()
                .cloned()
                .chain(tls.iter().flat_map(Tls::notices))
                .chain(crate::archiving::notices(&hub))
                .collect(),
            blocks: Vec::new(),
            sinks: Vec::new(),
            plugins: Vec::new(),
            witnesses: witnesses.views(),
        }
    }
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
    measured
        .and_then(|families| metrics.collect_from(Box::new(families)))
        .map_err(|error| AppError::Program(error.to_string()))?;
    hub.follow_plugins().await;
    Ok(Some(catalogue))
}

/// Adds how plugins fare.
fn with_plugins(
    catalogue: Option<Arc<Catalogue>>,
    facts: impl Fn() -> StatusFacts + Send + Sync + 'static,
) -> impl Fn() -> StatusFacts + Send + Sync + 'static {
    move || {
        let plugins = catalogue.as_ref().map_or_else(Vec::new, |catalogue| catalogue.health());
        StatusFacts { plugins, ..facts() }
    }
}

/// Adds how the sinks fare.
fn with_sinks(
    sinks: &crate::sinks::Sinks,
    facts: impl Fn() -> StatusFacts + Send + Sync + 'static,
) -> impl Fn() -> StatusFacts + Send + Sync + 'static {
    let shown = sinks.shown();
    move || StatusFacts { sinks: shown.views(), ..facts() }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating point by format")]
fn sample_limits(
    metrics: &Metrics,
    load: &Arc<Load>,
    quotas: &Arc<Quotas>,
    abuse: &Arc<Abuse>,
) -> prometheus::Result<()> {
    let of = Arc::clone(load);
    metrics.sample("cipher_hub_requests_in_work", "Requests in work", move || {
        Some(of.in_work() as f64)
    })?;
    let of = Arc::clone(load);
    metrics.sample("cipher_hub_requests_waiting", "Requests that wait for a place", move || {
        Some(f64::from(of.waiting()))
    })?;
    let of = Arc::clone(load);
    metrics.sample("cipher_hub_body_bytes_in_work", "Bytes of bodies in work", move || {
        Some(of.body_bytes() as f64)
    })?;
    let of = Arc::clone(load);
    let help = "Requests refused because too much was in work, since the start";
    metrics.sample("cipher_hub_shed_requests", help, move || Some(of.shed() as f64))?;
    let of = Arc::clone(quotas);
    metrics.sample(
        "cipher_hub_quota_buckets",
        "Buckets of quotas that are not full",
        move || Some(of.tracked() as f64),
    )?;
    let of = Arc::clone(abuse);
    metrics.sample("cipher_hub_abuse_blocks", "Blocks after unusual behaviour", move || {
        Some(of.block_count() as f64)
    })
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating point by format")]
fn sample(metrics: &Metrics, hub: &Arc<Hub>, clock: &Arc<dyn Clock>) -> prometheus::Result<()> {
    let log = hub.log().clone();
    let now = Arc::clone(clock);
    metrics.sample(
        "cipher_hub_audit_checkpoint_age_seconds",
        "Age of the newest signed checkpoint",
        move || Some(now.now().since(log.latest()?.checkpoint.time).as_secs_f64()),
    )?;
    let log = hub.log().clone();
    metrics.sample("cipher_hub_audit_entries", "Entries in the audit log", move || {
        Some(log.appender().position().audit.size as f64)
    })?;
    let tree = Arc::clone(hub.log().tree());
    let help = "Entries whose tree hashes are kept; far behind the entries, proofs have to wait";
    metrics.sample("cipher_hub_audit_tree_entries", help, move || {
        Some((tree.len() * hub_audit::tree::WIDTH) as f64)
    })?;
    let tree = Arc::clone(hub.log().tree());
    let help = "How often the kept tree hashes were wrong and made again, since the start";
    metrics.sample("cipher_hub_audit_tree_rebuilds", help, move || Some(tree.rebuilds() as f64))?;
    let cached = Arc::clone(hub);
    metrics.sample("cipher_hub_cache_keys", "Keyrings held in the cache", move || {
        Some(cached.hot_keys() as f64)
    })?;
    metrics.sample("cipher_hub_arena_secrets", "Secrets held in locked memory", || {
        Some(hub_crypto::arena_status().secrets as f64)
    })?;
    let shadowed = |hub: &Arc<Hub>, what: fn(&hub_policy::shadow::Report) -> u64| {
        let hub = Arc::clone(hub);
        move || Some(hub.policies().shadow_report().map_or(0, |report| what(&report)) as f64)
    };
    metrics.sample(
        "cipher_hub_policy_shadow_decisions",
        "Decisions compared with those of the revision in the shadow, since it is there",
        shadowed(hub, |report| report.decisions),
    )?;
    metrics.sample(
        "cipher_hub_policy_shadow_dropped",
        "Decisions not compared with those of the revision in the shadow: too many at once",
        shadowed(hub, |report| report.dropped),
    )?;
    let differences = "cipher_hub_policy_shadow_differences";
    let help = "Decisions that fall otherwise under the revision in the shadow";
    let denied = shadowed(hub, |report| report.allow_to_deny);
    metrics.sample_labelled(differences, help, ("change", "allow_to_deny"), denied)?;
    let permitted = shadowed(hub, |report| report.deny_to_allow);
    metrics.sample_labelled(differences, help, ("change", "deny_to_allow"), permitted)?;
    let store = hub.store().clone();
    metrics.sample("cipher_hub_store_bytes", "Bytes the store takes on disk", move || {
        store.backend().size_on_disk().ok().map(|bytes| bytes as f64)
    })?;
    metrics.sample("cipher_hub_seal_state", "1 when unsealed", || Some(1.0))
}

/// Opens a stopped hub and makes another key for its first administrator.
///
/// # Errors
/// [`AppError`].
pub fn recover(config: &Config) -> BoxFuture<'_, Result<SecretText, AppError>> {
    Box::pin(recover_key(config))
}

async fn recover_key(config: &Config) -> Result<SecretText, AppError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let opened = open::open(config, Arc::clone(&clock), OnRollback::Refuse, Intent::Open).await?;
    let hub = opened.hub;
    let key = hub.recover_administrator().await.map_err(OpenError::from)?;
    close(&hub, &*clock).await;
    Ok(key)
}

/// Prepares a data folder without serving.
///
/// # Errors
/// [`AppError`].
pub fn prepare(config: &Config) -> BoxFuture<'_, Result<Option<SecretText>, AppError>> {
    Box::pin(prepare_folder(config))
}

async fn prepare_folder(config: &Config) -> Result<Option<SecretText>, AppError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let intent = Intent::OpenOrMake;
    let opened = open::open(config, Arc::clone(&clock), OnRollback::Refuse, intent).await?;
    close(&opened.hub, &*clock).await;
    Ok(opened.first_key)
}

async fn close(hub: &Hub, clock: &dyn Clock) {
    hub.log().appender().close().await;
    if let Err(error) = hub.log().checkpoint(clock.now()) {
        tracing::error!(%error, "the last checkpoint could not be written");
    }
    hub.forget();
    let _ = hub.store().backend().close().await;
}
