//! A sink that a plugin serves: it gets batches with cursors, sends what it makes of them to
//! endpoints that the configuration names, and says which cursor it has come to.
//!
//! Whatever it does is a failure of the sink at worst: a trap, a loop, an answer that makes no
//! sense. What that means for the hub is the sink's `mode`, as for any sink.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hub_audit::relay::{Batch, Entry, Sink, SinkError, Then, Work};
use hub_model::extend::{FailureKind, PluginDigest, PluginFailure};
use hub_model::{Name, Timestamp};
use hub_plugins::{
    Delivery, Limits, Loaded, Outbound, Settings, SinkBatch, SinkEntry, SinkOutcome, SinkPlugin,
};
use tokio::sync::watch;

use super::facts::Facts;
use super::outbound::Endpoints;
use crate::config::{PluginTarget, SinkLimits};

/// A plugin in service.
#[derive(Clone, Debug)]
pub(crate) struct InService {
    /// Its code.
    pub(crate) loaded: Arc<Loaded>,
    /// What it may use at most, whatever its manifest or a sink says.
    pub(crate) ceilings: Limits,
}

/// The audit sinks among the plugins in service.
pub(crate) trait SinkPlugins: fmt::Debug + Send + Sync {
    /// The plugin of this name.
    ///
    /// # Errors
    /// Why there is none.
    fn sink(&self, plugin: &Name) -> Result<InService, PluginFailure>;

    /// Changes when another plugin, or another version of one, is in service.
    fn changed(&self) -> watch::Receiver<u64>;
}

/// A hub without plugins.
#[derive(Debug)]
pub(crate) struct NoSinkPlugins(watch::Sender<u64>);

impl Default for NoSinkPlugins {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl SinkPlugins for NoSinkPlugins {
    fn sink(&self, plugin: &Name) -> Result<InService, PluginFailure> {
        let text = format!("there is no plugin `{plugin}`");
        Err(PluginFailure::new(FailureKind::Unavailable, &text))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Which code serves a sink, for the log: told once each time it is another.
#[derive(Debug, Default)]
pub(super) struct Served {
    code: ArcSwapOption<String>,
    told: AtomicBool,
}

impl Served {
    fn is_now(&self, code: String) {
        self.code.store(Some(Arc::new(code)));
        self.told.store(false, Ordering::Release);
    }

    /// What the log does not tell of yet.
    pub(super) fn untold(&self) -> Option<Arc<String>> {
        if self.told.load(Ordering::Acquire) { None } else { self.code.load_full() }
    }

    /// Takes note that the log tells of it.
    pub(super) fn told(&self, code: &Arc<String>) {
        if self.code.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, code)) {
            self.told.store(true, Ordering::Release);
        }
    }
}

/// The code that serves.
struct Serving {
    digest: PluginDigest,
    plugin: Arc<SinkPlugin>,
}

/// A sink that a plugin serves.
pub(super) struct PluginSink {
    name: Name,
    target: PluginTarget,
    timeout: Duration,
    plugins: Arc<dyn SinkPlugins>,
    changed: watch::Receiver<u64>,
    /// Whether what serves is what was last said to be in service, or that was looked at.
    settled: bool,
    serving: Option<Serving>,
    served: Arc<Served>,
    outbound: Arc<Endpoints>,
    /// Where the last batch began, and how often it was handed over.
    attempt: (u64, u32),
    then: Then,
}

impl PluginSink {
    pub(super) fn new(
        name: Name,
        target: PluginTarget,
        timeout: Duration,
        plugins: Arc<dyn SinkPlugins>,
    ) -> Self {
        Self {
            name,
            outbound: Arc::new(Endpoints::new(&target.endpoints)),
            target,
            timeout,
            changed: plugins.changed(),
            plugins,
            settled: false,
            serving: None,
            served: Arc::default(),
            attempt: (0, 0),
            then: Then::Again,
        }
    }

    /// Tells which code serves.
    pub(super) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served)
    }

    /// Puts the code into service that is to serve, where it is another and well. One that is gone
    /// or unwell leaves in service what is there: a sink is taken away by the configuration alone.
    async fn settle(&mut self) -> Result<&Serving, SinkError> {
        if self.changed.has_changed().unwrap_or(false) {
            self.changed.mark_unchanged();
            self.settled = false;
        }
        if !self.settled {
            // Given up in the middle, it is begun again.
            let next = self.next().await;
            self.settled = true;
            match next {
                Ok(None) => {}
                Ok(Some(serving)) => {
                    let digest = serving.digest.to_string();
                    let (sink, plugin) = (self.name.as_str(), self.target.plugin.as_str());
                    tracing::info!(sink, plugin, digest, "a plugin serves a sink");
                    self.served.is_now(format!("{sink} {plugin} {digest}"));
                    self.serving = Some(serving);
                }
                Err(error) if self.serving.is_some() => {
                    let (sink, plugin) = (self.name.as_str(), self.target.plugin.as_str());
                    tracing::error!(
                        sink,
                        plugin,
                        %error,
                        "a plugin is not put into service for a sink; what served it goes on"
                    );
                }
                Err(error) => {
                    self.settled = false;
                    return Err(self.failure(&error));
                }
            }
        }
        let none = || SinkError("no plugin serves it".to_owned());
        self.serving.as_ref().ok_or_else(none)
    }

    /// The code that is to serve, checked; none where it does already.
    async fn next(&self) -> Result<Option<Serving>, PluginFailure> {
        let InService { loaded, ceilings } = self.plugins.sink(&self.target.plugin)?;
        let digest = loaded.digest();
        if self.serving.as_ref().is_some_and(|serving| serving.digest == digest) {
            return Ok(None);
        }
        let refused = |why: String| PluginFailure::new(FailureKind::Refused, &why);
        let settings = Settings::of(loaded.manifest(), &self.target.settings, &ceilings);
        let mut settings = settings.map_err(refused)?;
        settings.limits = limits(settings.limits, &self.target.limits, self.timeout);
        settings.limits = settings.limits.within(&ceilings);
        let outbound: Arc<dyn Outbound> = Arc::<Endpoints>::clone(&self.outbound);
        let plugin = loaded.sink(settings, outbound);
        self.outbound.begin();
        plugin.check_settings().await?;
        Ok(Some(Serving { digest, plugin }))
    }

    /// A line for the operator, with what went wrong at the endpoints.
    fn failure(&self, error: &dyn fmt::Display) -> SinkError {
        let plugin = &self.target.plugin;
        SinkError(match self.outbound.problem() {
            Some(problem) => format!("plugin `{plugin}`: {error} ({problem})"),
            None => format!("plugin `{plugin}`: {error}"),
        })
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<u64, SinkError> {
        self.then = Then::Again;
        let plugin = Arc::clone(&self.settle().await?.plugin);
        let (from, end) = (batch.from(), batch.end());
        let before = if self.attempt.0 == from { self.attempt.1 } else { 0 };
        self.attempt = (from, before.saturating_add(1));
        let handed = SinkBatch {
            cursor: from,
            next: end,
            attempt: self.attempt.1,
            entries: batch.entries().map(|entry| handed(&entry)).collect(),
        };
        self.outbound.begin();
        let delivery = plugin.deliver(handed).await.map_err(|error| self.failure(&error))?;
        match delivery {
            Delivery::Acknowledged(cursor) if cursor > from && cursor <= end => Ok(cursor),
            Delivery::Acknowledged(cursor) if cursor == from => {
                Err(self.failure(&"it has taken none of the entries"))
            }
            Delivery::Acknowledged(cursor) => {
                let text = format!("it acknowledges {cursor}, of entries from {from} to {end}");
                Err(self.failure(&PluginFailure::new(FailureKind::Nonsense, &text)))
            }
            Delivery::RetryAfter(wait) => {
                self.then = wait.map_or(Then::Again, Then::After);
                Err(self.failure(&"it asks for another try"))
            }
            Delivery::Rejected(why) => {
                self.then = Then::PassOver;
                let why = PluginFailure::new(FailureKind::Refused, &why);
                Err(self.failure(&format_args!("the entries are rejected: {}", why.text)))
            }
        }
    }
}

/// What a call may use: what the manifest asks for, with what the configuration says of this sink.
fn limits(manifest: Limits, wanted: &SinkLimits, timeout: Duration) -> Limits {
    Limits {
        memory: wanted.memory.map_or(manifest.memory, |size| size.0),
        time: wanted.time.map_or(manifest.time, |time| time.0),
        fuel: wanted.fuel.or(manifest.fuel),
        host_calls: wanted.host_calls.unwrap_or(manifest.host_calls),
        // The relay gives the call up after as long.
        wait: timeout,
        ..manifest
    }
}

/// An entry in the words of the contract.
fn handed(entry: &Entry<'_>) -> SinkEntry {
    let facts = Facts::of(entry);
    let outcome = match facts.outcome.as_str() {
        "ok" | "shadow" => SinkOutcome::Success,
        "denied" => SinkOutcome::Denied,
        _ => SinkOutcome::Failure,
    };
    SinkEntry {
        sequence: entry.seq,
        at: facts.time.parse().unwrap_or(Timestamp::from_micros(0)),
        action: facts.action,
        actor: facts.caller,
        registration: facts.registration,
        outcome,
        json: String::from_utf8_lossy(entry.bytes).into_owned(),
        leaf_hash: entry.leaf.to_vec(),
    }
}

impl Sink for PluginSink {
    fn accept<'a>(&'a mut self, batch: &'a Batch) -> Work<'a, Result<u64, SinkError>> {
        Box::pin(self.deliver(batch))
    }

    fn then(&self) -> Then {
        self.then
    }
}

#[cfg(test)]
mod tests;
