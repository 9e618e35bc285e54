//! The composition root: builds the floors from the ground up, serves, and takes them down in
//! order.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hub_audit::log::OnRollback;
use hub_auth::Authenticator;
use hub_model::clock::SystemClock;
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_model::secret::SecretText;
use hub_model::{Clock, Timestamp};
use hub_operations::Hub;
use hub_operations::system::StatusFacts;
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Health};
use crate::config::{Config, StoreEngine};
use crate::failures::Failures;
use crate::listen::Server;
use crate::metrics::Metrics;
use crate::open::{self, Intent, OpenError, Opened};
use crate::pipeline::{Gateway, GatewayParts, Settings};
use crate::tasks::Tasks;
use crate::throttle::Throttle;
use crate::tls::Tls;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Why the process ends with a failure.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The hub cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
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
    config: Config,
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
    integrity: Arc<ArcSwap<String>>,
    swept: Arc<tokio::sync::Notify>,
    stopped_cleanly: bool,
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
    pub async fn build(config: Config, mode: Mode) -> Result<Self, AppError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let started = clock.now();
        let metrics = Arc::new(Metrics::new().map_err(|e| AppError::Program(e.to_string()))?);
        let health = Arc::new(Health::new());
        let tls = Tls::load(&config.server.tls)?;
        let opened =
            open::open(&config, Arc::clone(&clock), mode.on_rollback, Intent::OpenOrMake).await?;
        let Opened { hub, keys, first_key, seal_kind, notices: more, stopped_cleanly } = opened;
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
        let authenticator = Authenticator::new(
            hub.store().clone(),
            keys,
            Arc::clone(&clock),
            config.cache.credentials,
        );
        let throttle = Arc::new(Throttle::new(&config.limits));
        let failures = Arc::new(Failures::default());
        let integrity = Arc::new(ArcSwap::from_pointee("not scanned yet".to_owned()));
        let swept = Arc::new(tokio::sync::Notify::new());
        let gateway = Gateway::new(GatewayParts {
            hub: Arc::clone(&hub),
            authenticator,
            throttle: Arc::clone(&throttle),
            failures: Arc::clone(&failures),
            metrics: Arc::clone(&metrics),
            settings: Settings {
                max_body: config.server.max_body_bytes,
                max_batch_body: config.server.max_batch_body_bytes,
                dev: mode.dev,
            },
            status: Box::new(status(
                &config, &mode, &hub, &integrity, started, seal_kind, &notices,
            )),
            swept: Arc::clone(&swept),
        })
        .map_err(|error| AppError::Program(error.to_string()))?;
        sample(&metrics, &hub, &clock).map_err(|error| AppError::Program(error.to_string()))?;
        if let Some(path) = config.server.unix_socket.as_deref().and_then(Path::parent) {
            open::make_private(path)?;
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
            integrity,
            swept,
            stopped_cleanly,
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
    pub async fn run(self, announce: impl FnOnce(&Self)) -> Result<(), AppError> {
        announce(&self);
        let Self { config, mode, clock, hub, server, admin, tls, metrics, health, .. } = self;
        let tasks = Tasks::new();
        tasks.signals(reload(config.clone(), Arc::clone(&hub), tls))?;
        let token = tasks.token();
        if !mode.dev {
            let detail = Some(env!("CARGO_PKG_VERSION").into());
            event(&hub, "system.start", detail).await;
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
                config.audit.checkpoint_interval,
                token.clone(),
            ),
        );
        tasks.spawn("failures", flush(Arc::clone(&hub), Arc::clone(&self.failures), token.clone()));
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
        tasks.spawn("sweep", sweep(Arc::clone(&hub), Arc::clone(&self.swept), token.clone()));
        health.accepting.pass();
        health.started.pass();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");

        tasks.stopped().await;
        health.accepting.fail("the hub is stopping");
        tracing::info!("stopping");
        let _late = tasks.shutdown(config.server.drain_timeout + 5 * SECOND).await;
        let _ = self.failures.flush(&hub).await;
        if !mode.dev {
            event(&hub, "system.stop", None).await;
        }
        hub.log().appender().close().await;
        if let Err(error) = hub.log().checkpoint(clock.now()) {
            tracing::error!(%error, "the last checkpoint could not be written");
        }
        hub.forget();
        if let Err(error) = hub.store().backend().close().await {
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

async fn event(hub: &Hub, action: &'static str, detail: Option<Box<str>>) {
    let outcome = hub.record_event(action, PeerAddress::Unix, detail, Outcome::OK, 1).await;
    if let Err(error) = outcome {
        tracing::error!(%error, action, "an event could not be recorded");
    }
}

/// SIGHUP: certificates and policies are read again; what does not load leaves the old in place.
fn reload(config: Config, hub: Arc<Hub>, tls: Option<Tls>) -> impl Fn() + Send + 'static {
    move || {
        if let Some(tls) = &tls {
            match tls.reload() {
                Ok(()) => tracing::info!("certificates reloaded"),
                Err(error) => {
                    tracing::error!(%error, "certificates not reloaded; the old ones stay")
                }
            }
        }
        let reloaded = open::bundle(&config).and_then(|bundle| hub.policies().activate(bundle));
        match reloaded {
            Ok(()) => {
                let revision = hub.policies().revision_short();
                tracing::info!(%revision, "policies reloaded");
            }
            Err(error) => tracing::error!(%error, "policies not reloaded; the old ones stay"),
        }
    }
}

async fn checkpoints(
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    interval: Duration,
    token: CancellationToken,
) {
    while until(&token, interval).await {
        let (hub, now) = (Arc::clone(&hub), clock.now());
        let written = tokio::task::spawn_blocking(move || hub.log().checkpoint(now)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "no checkpoint could be written"),
            Err(error) => tracing::error!(%error, "the checkpoint task failed"),
        }
    }
}

async fn flush(hub: Arc<Hub>, failures: Arc<Failures>, token: CancellationToken) {
    while until(&token, SECOND).await {
        if let Err(error) = failures.flush(&hub).await {
            tracing::error!(%error, "failed authentications could not be recorded");
        }
    }
}

/// Refuses work before the disk is full, so that nothing is done that cannot be recorded.
async fn space(hub: Arc<Hub>, config: Config, token: CancellationToken, health: Arc<Health>) {
    let mark = config.audit.low_space_mark;
    loop {
        let appender = hub.log().appender();
        if let Ok(facts) = rustix::fs::statvfs(&config.store.path) {
            let low = facts.f_bavail.saturating_mul(facts.f_frsize) < mark;
            if low != appender.low_space() {
                tracing::warn!(low, "free disk space crossed `audit.low_space_mark`");
                appender.set_low_space(low);
            }
            if low {
                health.audit.fail("the disk is nearly full");
            } else if !appender.failed() {
                health.audit.pass();
            }
        }
        if appender.failed() {
            health.audit.fail("the audit log cannot be written");
        }
        if !until(&token, SECOND).await {
            return;
        }
    }
}

/// Recomputes the state digest: after an unclean stop at once, else once a day.
async fn integrity(
    hub: Arc<Hub>,
    shown: Arc<ArcSwap<String>>,
    health: Arc<Health>,
    stopped_cleanly: bool,
    token: CancellationToken,
) {
    if stopped_cleanly {
        shown.store(Arc::new("stopped cleanly; the next full scan is due in a day".to_owned()));
        if !until(&token, DAY).await {
            return;
        }
    }
    loop {
        let scanned = {
            let hub = Arc::clone(&hub);
            tokio::task::spawn_blocking(move || {
                let writer = hub.log().appender().writer().to_owned();
                hub_store::block_on(hub.store().verify_digest(&writer, &mut |_| {}))
            })
            .await
        };
        match scanned {
            Ok(Ok(report)) if report.is_sound() => {
                let text =
                    format!("sound: {} records at commit {}", report.records, report.head.commits);
                shown.store(Arc::new(text));
            }
            Ok(outcome) => {
                let why = match outcome {
                    Ok(report) => format!("digest mismatch over {} records", report.records),
                    Err(error) => error.to_string(),
                };
                tracing::error!(%why, "the store failed its integrity check; refusing all work");
                shown.store(Arc::new(format!("FAILED: {why}")));
                health.store.fail("the store failed its integrity check");
                hub.log().appender().set_tampered();
            }
            Err(error) => tracing::error!(%error, "the integrity scan failed"),
        }
        if !until(&token, DAY).await {
            return;
        }
    }
}

async fn sweep(hub: Arc<Hub>, swept: Arc<tokio::sync::Notify>, token: CancellationToken) {
    const HOUR: Duration = Duration::from_secs(3600);
    loop {
        match hub.sweep_erased().await {
            Ok(0) => {}
            Ok(records) => {
                tracing::info!(records, "swept what deleted registrations left behind");
                let purged = hub.store().backend().purge().await;
                if let Err(error) = purged {
                    tracing::error!(%error, "deleted values may still be in the engine's files");
                }
            }
            Err(error) => tracing::error!(%error, "sweeping failed; it goes on later"),
        }
        if let Err(error) = hub.sweep_answers().await {
            tracing::error!(%error, "kept answers could not be swept");
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = swept.notified() => {}
            () = tokio::time::sleep(HOUR) => {}
        }
    }
}

/// Waits; `false` when the process stops meanwhile.
async fn until(token: &CancellationToken, wait: Duration) -> bool {
    tokio::select! {
        () = token.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}

fn status(
    config: &Config,
    mode: &Mode,
    hub: &Arc<Hub>,
    integrity: &Arc<ArcSwap<String>>,
    start_time: Timestamp,
    seal_kind: &'static str,
    notices: &[String],
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
            integrity: integrity.load().to_string(),
            notices: notices.clone(),
        }
    }
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
    let cached = Arc::clone(hub);
    metrics.sample("cipher_hub_cache_keys", "Keyrings held in the cache", move || {
        Some(cached.hot_keys() as f64)
    })?;
    metrics.sample("cipher_hub_arena_secrets", "Secrets held in locked memory", || {
        Some(hub_crypto::arena_status().secrets as f64)
    })?;
    let store = hub.store().clone();
    metrics.sample("cipher_hub_store_bytes", "Bytes the store takes on disk", move || {
        store.backend().size_on_disk().ok().map(|bytes| bytes as f64)
    })?;
    metrics.sample("cipher_hub_seal_state", "1 when unsealed", || Some(1.0))
}

/// Writes the banner: what was made, where it listens, what to paste next.
pub fn banner(app: &App) {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    let scheme = if app.encrypted() { "https" } else { "http" };
    let version = env!("CARGO_PKG_VERSION");
    line(&format!("Cipher Hub {version}   {}", app.hub.id()));
    for address in app.addresses() {
        line(&format!("  API         {scheme}://{address}"));
    }
    if let Some(path) = app.unix_path() {
        line(&format!("  Socket      unix:{}", path.display()));
    }
    if let Some(address) = app.management() {
        line(&format!("  Management  http://{address}  (/readyz, /metrics)"));
    }
    let data = app.config.data_dir.display();
    line(&format!("  Data        {data}  policies {}", app.hub.policies().revision_short()));
    for notice in &app.notices {
        line(&format!("  Warning     {notice}"));
    }
    let shown = first_key(app);
    if let Some(shown) = &shown {
        line(&format!("  The first administrator's key, valid for 24 hours{}", shown.note));
        if let Some(address) = app.addresses().first() {
            line(&format!("    export CIPHER_HUB_ADDR={scheme}://{address}"));
        }
        line(&format!("    export CIPHER_HUB_API_KEY={}", shown.value.expose_secret()));
        line(
            "    cipher-hub registration create shop     # then follow README.md, \"Quick start\"",
        );
    }
    let written = std::io::stderr().write_all(out.as_bytes());
    zeroize::Zeroize::zeroize(&mut out);
    if written.is_ok() && shown.is_some_and(|shown| shown.itself) {
        forget_first_key(&app.config.data_dir);
    }
}

struct Shown {
    note: &'static str,
    value: SecretText,
    /// Whether the value is the key and not a way to it.
    itself: bool,
}

/// On a terminal the key itself; elsewhere the private file it lies in since it was made, because
/// what is written there ends in logs. A later start names that file again while it is there.
fn first_key(app: &App) -> Option<Shown> {
    let path = open::first_key_file(&app.config.data_dir);
    if let Some(key) = app.first_key.as_ref().filter(|_| std::io::stderr().is_terminal()) {
        return Some(Shown { note: ", shown once:", value: key.clone(), itself: true });
    }
    path.exists().then(|| Shown {
        note: " lies in a private file; remove it when you have it:",
        value: SecretText::new(format!("$(cat {})", path.display())),
        itself: false,
    })
}

/// Removes the file of the first administrator's key, once the key itself was shown.
pub fn forget_first_key(data_dir: &Path) {
    let path = open::first_key_file(data_dir);
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the administrator's key was shown but its file is still there");
    }
}

/// Opens a stopped hub and makes another key for its first administrator.
///
/// # Errors
/// [`AppError`].
pub async fn recover(config: &Config) -> Result<SecretText, AppError> {
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
pub async fn prepare(config: &Config) -> Result<Option<SecretText>, AppError> {
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
