//! From ready to stopped: what runs beside the server, and the order in which it ends.

use std::sync::Arc;
use std::time::Duration;

use hub_operations::Hub;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{App, AppError};
use crate::catalogue::Catalogue;
use crate::chores::{
    self, checkpoints, event, flush, integrity, jobs, lifecycle, signing_keys, space, sweep, watch,
};
use crate::config::{Config, StoreEngine};
use crate::metrics::Metrics;
use crate::open;
use crate::policy_files;
use crate::sinks::Delivering;
use crate::tasks::Tasks;
use crate::tls::Tls;
use crate::{archiving, catalogue, jwks};

const SECOND: Duration = Duration::from_secs(1);

/// Who is woken when an operator asks for files to be read again.
#[derive(Default)]
struct Asked {
    policies: Arc<Notify>,
    plugin_folder: Arc<Notify>,
    plugins: Arc<Notify>,
}

impl App {
    pub(super) async fn run_all(
        self,
        announce: Box<dyn FnOnce(&Self) + Send + '_>,
    ) -> Result<(), AppError> {
        announce(&self);
        let tasks = Tasks::new();
        let asked = Asked::default();
        self.hear_signals(&tasks, &asked)?;
        let token = tasks.token();
        let Self { config, mode, clock, hub, server, admin, tls, metrics, health, .. } = self;
        follow_files(&tasks, (&config, tls), &hub, &metrics, &asked);
        if let Some(catalogue) = self.catalogue {
            follow_plugins(&tasks, &config, &hub, catalogue, &asked);
        }
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
        keep_log(&tasks, &config, &hub, drained);
        let often = (config.audit.checkpoint_interval, config.audit.checkpoint_entries);
        let signing = checkpoints(Arc::clone(&hub), Arc::clone(&clock), often, token.clone());
        tasks.spawn("checkpoints", signing);
        if !self.witnesses.is_empty() {
            let witnesses = Arc::clone(&self.witnesses);
            let keeping = witnesses.keep(Arc::clone(&hub), self.witnessed, token.clone());
            tasks.spawn("witnesses", keeping);
        }
        tasks.spawn("failures", flush(Arc::clone(&hub), Arc::clone(&self.failures), token.clone()));
        let watching = watch(Arc::clone(&hub), Arc::clone(&self.abuse), self.quotas, token.clone());
        tasks.spawn("abuse", watching);
        tasks.spawn("throttle", Arc::clone(&self.throttle).maintain(token.clone()));
        if config.store.engine == StoreEngine::Fjall {
            let room = space(Arc::clone(&hub), config.clone(), token.clone(), Arc::clone(&health));
            tasks.spawn("space", room);
            let (told, health) = (Arc::clone(&self.integrity), Arc::clone(&health));
            let scan =
                integrity(Arc::clone(&hub), told, health, self.stopped_cleanly, token.clone());
            tasks.spawn("integrity", scan);
        }
        for keeper in self.keepers {
            tasks.spawn("jwks", keeper.keep(token.clone()));
        }
        keep_records(&tasks, &hub, self.swept);
        health.accepting.pass();
        health.started.pass();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        let_go_of_the_start();

        tasks.stopped().await;
        health.accepting.fail("the hub is stopping");
        hub.end_watches();
        tracing::info!("stopping");
        let _late = tasks.shutdown(config.server.drain_timeout + 5 * SECOND).await;
        // Streams whose connection was dropped still write how they ended.
        let _ = tokio::time::timeout(SECOND, self.gateway.streams.finished()).await;
        let _ = self.failures.flush(&hub).await;
        let _ = self.abuse.flush(&hub).await;
        settle(&hub, mode.dev, delivering).await;
        if let Err(error) = hub.log().checkpoint(clock.now()) {
            tracing::error!(%error, "the last checkpoint could not be written");
        }
        self.witnesses.last(hub.log()).await;
        close_store(&hub).await;
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

    /// SIGTERM and SIGINT stop, SIGHUP has files and key sets read again.
    fn hear_signals(&self, tasks: &Tasks, asked: &Asked) -> Result<(), AppError> {
        let again = chores::reload(Arc::clone(&asked.policies), self.tls.clone());
        let nudge = jwks::nudge(&self.keepers);
        let plugins = [Arc::clone(&asked.plugin_folder), Arc::clone(&asked.plugins)];
        tasks.signals(move || {
            again();
            nudge.all();
            plugins.iter().for_each(|waiting| waiting.notify_one());
        })?;
        Ok(())
    }
}

/// Writes what was counted, says that the hub stops, and closes the log behind it.
async fn settle(hub: &Hub, dev: bool, delivering: Delivering) {
    if let Err(error) = hub.settle_usage(true).await {
        tracing::error!(%error, "counts of use could not be written: they read higher later");
    }
    if let Err(error) = hub.settle_last_uses(true).await {
        tracing::error!(%error, "the last uses of credentials could not be written");
    }
    if !dev {
        event(hub, "system.stop", None).await;
    }
    delivering.finish().await;
    hub.log().appender().close().await;
}

/// Certificates and policies: read again when they change, and revisions compared in the shadow.
fn follow_files(
    tasks: &Tasks,
    (config, tls): (&Config, Option<Tls>),
    hub: &Arc<Hub>,
    metrics: &Arc<Metrics>,
    asked: &Asked,
) {
    let token = tasks.token();
    if let Some(tls) = tls {
        tasks.spawn("certificates", crate::tls::keep(tls, token.clone()));
    }
    if let Some(dir) = open::policies_dir(config) {
        let (hub, metrics) = (Arc::clone(hub), Arc::clone(metrics));
        let asked = Arc::clone(&asked.policies);
        let following = policy_files::follow(dir, hub, metrics, asked, token.clone());
        tasks.spawn("policies", following);
    }
    tasks.spawn("revisions", policy_files::record(Arc::clone(hub), token.clone()));
    tasks.spawn("shadow", policy_files::shadow(Arc::clone(hub), token));
}

/// Plugins in service, and the folder that new ones come from.
fn follow_plugins(
    tasks: &Tasks,
    config: &Config,
    hub: &Arc<Hub>,
    catalogue: Arc<Catalogue>,
    asked: &Asked,
) {
    let token = tasks.token();
    let retried = Arc::clone(&asked.plugins);
    let keeping = catalogue::keep(Arc::clone(hub), catalogue, retried, token.clone());
    tasks.spawn("plugins", keeping);
    if let Some(folder) = config.plugins.folder.clone() {
        let (most, asked) = (config.plugins.max_size, Arc::clone(&asked.plugin_folder));
        let following = catalogue::folder::follow(folder, most, Arc::clone(hub), asked, token);
        tasks.spawn("plugin folder", following);
    }
}

/// The log: its thread, without which nothing is answered, its tree, its index, its keys and archives.
fn keep_log(tasks: &Tasks, config: &Config, hub: &Arc<Hub>, drained: CancellationToken) {
    let token = tasks.token();
    let appender = hub.log().appender().clone();
    tasks.spawn_critical("audit", async move {
        tokio::select! {
            () = drained.cancelled() => {}
            () = appender.stopped() => {}
        }
    });
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
    tasks.spawn("signing keys", signing_keys(Arc::clone(hub), token.clone()));
    let room = archiving::Room {
        store: config.store.path.clone(),
        mark: config.audit.low_space_mark,
        entries: config.audit.archive_entries.get().into(),
    };
    tasks.spawn("archiving", archiving::keep(Arc::clone(hub), room, token.clone()));
    tasks.spawn("archives", archiving::watch(Arc::clone(hub), token));
}

/// What dates and deletions ask of keys and registrations, and long operations.
fn keep_records(tasks: &Tasks, hub: &Arc<Hub>, swept: Arc<Notify>) {
    let token = tasks.token();
    tasks.spawn("jobs", jobs(Arc::clone(hub), token.clone()));
    tasks.spawn("lifecycle", lifecycle(Arc::clone(hub), token.clone()));
    tasks.spawn("rotation plans", chores::plans(Arc::clone(hub), token.clone()));
    tasks.spawn("sweep", sweep(Arc::clone(hub), swept, token));
}

/// Most of the code that a start has read is not read again.
fn let_go_of_the_start() {
    tokio::task::spawn_blocking(|| match hub_arena::let_go_of_code() {
        Ok(bytes) => tracing::debug!(bytes, "pages of the start were let go of"),
        Err(error) => tracing::debug!(%error, "pages of the start stay"),
    });
}

async fn close_store(hub: &Hub) {
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
}
