//! Sinks: where entries of the audit log are sent besides being stored. The configuration alone
//! names them; no request can.
//!
//! Each has a relay (`hub_audit::relay`) that works behind the requests. Beside the relays runs one
//! watch, which measures from outside how far behind each sink is, because a sink that hangs says
//! nothing: it closes the log for new work while a required one is too far behind, and tells what
//! was passed over.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hub_audit::relay::{Bounds, Lag, Progress, Relay, Settings, Sink, Waiting};
use hub_model::Clock;
use hub_model::api::system::SinkView;
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_model::quota::QuotaScope;
use hub_operations::Hub;
use hub_store::durable_file;
use tokio_util::sync::CancellationToken;

use crate::admin::{Check, Health};
use crate::config::{
    Config, QuotaConfig, SinkConfig, SinkMode, SinkTarget, StoreEngine, plugin_files,
};
use crate::metrics::Metrics;
use crate::tasks::Tasks;

pub(crate) use plugin::{InService, NoSinkPlugins, SinkPlugins};
use plugin::{PluginSink, Served};

mod facts;
mod file;
mod http;
mod lines;
mod off_thread;
mod otlp;
mod outbound;
mod plugin;
#[cfg(test)]
mod receiver;
mod stdout;
mod syslog;
mod webhook;

/// Between two looks of the watch.
const TICK: Duration = Duration::from_millis(100);
/// Between two entries about what one sink has missed.
const TOLD: Duration = Duration::from_secs(10);
/// How long relays may deliver what is left after a stop.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why sinks cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SinkSetUpError {
    /// A sink cannot be made.
    #[error("audit.sinks: sink `{name}`: {why}")]
    Sink {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// A metric has a name that is taken.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// The sinks of the configuration, ready to run.
#[derive(Debug, Default)]
pub(crate) struct Sinks {
    relays: Vec<Relay>,
    watched: Arc<[Watched]>,
    check: Option<Check>,
}

/// Shows how sinks fare.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown(Arc<[Watched]>);

#[derive(Debug)]
struct Watched {
    config: SinkConfig,
    bounds: Option<Bounds>,
    progress: Arc<Progress>,
    seen: Mutex<Seen>,
    /// Which plugin's code serves it.
    served: Option<Arc<Served>>,
}

/// What the watch has seen of a sink.
#[derive(Debug, Default)]
struct Seen {
    lag: Lag,
    waiting: Waiting,
}

impl Watched {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets the sinks up. Nothing is sent yet, and no receiver is waited for.
pub(crate) async fn set_up(
    config: &Config,
    hub: &Arc<Hub>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    health: &Health,
    plugins: &Arc<dyn SinkPlugins>,
) -> Result<Sinks, SinkSetUpError> {
    if config.audit.sinks.is_empty() {
        return Ok(Sinks::default());
    }
    if anyone_closes(&config.audit.sinks, &config.limits.quotas) {
        tracing::warn!(
            "a required sink, and no quota per registration in `limits.quotas`: whoever writes more \
             entries than the sink takes closes the hub for all (docs/audit/sinks.md)"
        );
    }
    let failed = |name: &str, why: String| SinkSetUpError::Sink { name: name.to_owned(), why };
    let folder = match config.store.engine {
        StoreEngine::Memory => None,
        StoreEngine::Fjall => Some(config.data_dir.join("audit/cursors")),
    };
    let (mut relays, mut watched) = (Vec::new(), Vec::new());
    for one in &config.audit.sinks {
        let name = one.name.as_str();
        if let Some(folder) = &folder {
            durable_file::make_private(folder).map_err(|error| failed(name, error.to_string()))?;
        }
        let (sink, served) = make(one, hub, clock, plugins).map_err(|why| failed(name, why))?;
        let settings = Settings {
            name: name.into(),
            start: one.begins(),
            wanted: one.wanted(),
            batch: one.batch(),
            timeout: one.timeout.0,
            backlog: one.backlog(),
            cursor: folder.as_ref().map(|folder| folder.join(name)),
        };
        let relay = Relay::new(hub.log().clone(), sink, settings).await;
        let relay = relay.map_err(|error| failed(name, error.to_string()))?;
        let progress = relay.progress();
        let size = hub.log().appender().position().audit.size;
        let lag = Lag::starting(Instant::now(), size, progress.reached());
        let seen = Mutex::new(Seen { lag, waiting: Waiting::default() });
        let (config, bounds) = (one.clone(), one.bounds());
        watched.push(Watched { config, bounds, progress, seen, served });
        relays.push(relay);
    }
    let watched: Arc<[Watched]> = watched.into();
    measure(&watched, metrics)?;
    let check = watched.iter().any(|sink| sink.bounds.is_some()).then(|| health.add("sinks"));
    let late = |sink: &Watched| sink.bounds.is_some() && sink.seen().lag.behind();
    match &check {
        Some(check) if watched.iter().any(late) => {
            // What it has not delivered may have waited for long: first things first.
            hub.log().appender().set_sinks_behind(true);
            check.fail("required sinks catch up with what was there before the start");
        }
        Some(check) => check.pass(),
        None => {}
    }
    Ok(Sinks { relays, watched, check })
}

/// Whether one registration alone may push a required sink behind, and so stop the work of all.
fn anyone_closes(sinks: &[SinkConfig], quotas: &[QuotaConfig]) -> bool {
    let bounds = |quota: &QuotaConfig| quota.per == QuotaScope::Registration;
    sinks.iter().any(|sink| sink.mode == SinkMode::Required) && !quotas.iter().any(bounds)
}

/// Whether the files that the sinks need are there, for `config check`.
///
/// # Errors
/// Says which is not.
pub fn check_files(sinks: &[SinkConfig]) -> Result<(), SinkSetUpError> {
    for sink in sinks {
        let failed = |why: String| SinkSetUpError::Sink { name: sink.name.to_string(), why };
        let target = sink.target().map_err(failed)?;
        let (headers, authorities) = match &target {
            SinkTarget::Webhook(target) | SinkTarget::Otlp(target) => {
                (target.headers_file.iter().collect(), target.ca_file.iter().collect())
            }
            SinkTarget::Syslog { ca_file, .. } => (BTreeSet::new(), ca_file.iter().collect()),
            SinkTarget::File { path, .. } => {
                if path.is_dir() {
                    return Err(failed(format!("`{}` is a folder", path.display())));
                }
                Default::default()
            }
            SinkTarget::Stdout => Default::default(),
            SinkTarget::Plugin(target) => plugin_files(target),
        };
        for path in headers {
            http::read_headers(path).map_err(failed)?;
        }
        for path in authorities {
            crate::jwks::fetch::roots(Some(path)).map_err(|error| failed(error.to_string()))?;
        }
    }
    Ok(())
}

type Made = (Box<dyn Sink>, Option<Arc<Served>>);

fn make(
    config: &SinkConfig,
    hub: &Hub,
    clock: &Arc<dyn Clock>,
    plugins: &Arc<dyn SinkPlugins>,
) -> Result<Made, String> {
    check_files(std::slice::from_ref(config)).map_err(|error| match error {
        SinkSetUpError::Sink { why, .. } => why,
        other => other.to_string(),
    })?;
    let id = hub.id().to_string();
    let lines = || lines::Lines::new(config.format, &id);
    let text = |error: std::io::Error| error.to_string();
    let sink: Box<dyn Sink> = match config.target()? {
        SinkTarget::File { path, max_size, keep } => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            let parent = parent.unwrap_or_else(|| Path::new("."));
            durable_file::make_private(parent).map_err(|error| error.to_string())?;
            let file = file::LineFile::new(path, max_size, keep, lines());
            Box::new(off_thread::OffThread::start(file).map_err(text)?)
        }
        SinkTarget::Stdout => {
            let own = stdout::Stdout::open().map_err(text)?;
            Box::new(off_thread::OffThread::start(own).map_err(text)?)
        }
        SinkTarget::Syslog { address, facility, max_message, ca_file } => {
            let (timeout, lines) = (config.timeout.0, lines());
            Box::new(syslog::Syslog::new(
                address,
                facility,
                max_message,
                ca_file,
                timeout,
                &id,
                lines,
            ))
        }
        SinkTarget::Webhook(target) => Box::new(webhook::Webhook::new(target, lines())),
        SinkTarget::Plugin(target) => {
            let (name, timeout) = (config.name.clone(), config.timeout.0);
            let sink = PluginSink::new(name, target, timeout, Arc::clone(plugins));
            let served = sink.served();
            return Ok((Box::new(sink), Some(served)));
        }
        SinkTarget::Otlp(target) => Box::new(otlp::Otlp::new(target, &id, Arc::clone(clock))),
    };
    Ok((sink, None))
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating point by format")]
fn measure(watched: &Arc<[Watched]>, metrics: &Metrics) -> prometheus::Result<()> {
    type Value = fn(&Watched) -> f64;
    let all: [(&str, &str, Value); 6] = [
        (
            "cipher_hub_audit_sink_delivered",
            "Entries a sink has taken since the start, repeated ones included",
            |sink| sink.progress.delivered() as f64,
        ),
        (
            "cipher_hub_audit_sink_dropped",
            "Entries a best-effort sink has missed since the start",
            |sink| sink.progress.dropped() as f64,
        ),
        (
            "cipher_hub_audit_sink_failures",
            "Deliveries to a sink that failed since the start",
            |sink| sink.progress.failures() as f64,
        ),
        ("cipher_hub_audit_sink_lag_entries", "Entries a sink has not taken yet", |sink| {
            sink.seen().waiting.entries as f64
        }),
        (
            "cipher_hub_audit_sink_lag_seconds",
            "Age of the oldest entry a sink has not taken yet",
            |sink| sink.seen().waiting.time.as_secs_f64(),
        ),
        (
            "cipher_hub_audit_sink_refusing",
            "1 while new work is refused because this required sink is too far behind",
            |sink| if sink.bounds.is_some() && sink.seen().lag.behind() { 1.0 } else { 0.0 },
        ),
    ];
    for (at, sink) in watched.iter().enumerate() {
        for (name, help, value) in all {
            let watched = Arc::clone(watched);
            let label = ("sink", sink.config.name.as_str());
            metrics.sample_labelled(name, help, label, move || watched.get(at).map(value))?;
        }
    }
    Ok(())
}

impl Shown {
    /// How each sink fares, for the status.
    pub(crate) fn views(&self) -> Vec<SinkView> {
        self.0
            .iter()
            .map(|sink| {
                let (waiting, refusing) = {
                    let seen = sink.seen();
                    (seen.waiting, sink.bounds.is_some() && seen.lag.behind())
                };
                let failing = sink.progress.failing();
                SinkView {
                    name: sink.config.name.to_string(),
                    kind: sink.config.kind.name().to_owned(),
                    mode: sink.config.mode.name().to_owned(),
                    reached: sink.progress.reached(),
                    waiting: waiting.entries,
                    waiting_seconds: waiting.time.as_secs(),
                    dropped: sink.progress.dropped(),
                    failures: sink.progress.failures(),
                    refusing,
                    problem: failing.map(|text| text.to_string()),
                }
            })
            .collect()
    }
}

impl Sinks {
    /// How they fare, for whoever asks.
    pub(crate) fn shown(&self) -> Shown {
        Shown(Arc::clone(&self.watched))
    }

    /// Which there are, for an entry: an auditor sees when one is no longer there.
    pub(crate) fn named(&self) -> Option<Box<str>> {
        let one = |sink: &Watched| format!("{} {}", sink.config.name, sink.config.mode.name());
        let all: Vec<String> = self.watched.iter().map(one).collect();
        (!all.is_empty()).then(|| all.join(", ").into())
    }

    /// Starts delivering.
    pub(crate) fn start(self, hub: Arc<Hub>) -> Delivering {
        let tasks = Tasks::new();
        let token = tasks.token();
        if !self.relays.is_empty() {
            let watch = watch(hub, self.watched, self.check, token.clone());
            tasks.spawn("sinks", watch);
        }
        for relay in self.relays {
            tasks.spawn("sink", relay.run(token.clone().cancelled_owned(), PATIENCE));
        }
        Delivering(tasks)
    }
}

/// Running relays.
#[derive(Debug)]
pub(crate) struct Delivering(Tasks);

impl Delivering {
    /// Delivers what is left, for a bounded time. To be called when nothing is appended any more.
    pub(crate) async fn finish(self) {
        let _late = self.0.shutdown(PATIENCE + Duration::from_secs(2)).await;
    }
}

/// Looks after all sinks until the process stops.
async fn watch(
    hub: Arc<Hub>,
    watched: Arc<[Watched]>,
    check: Option<Check>,
    token: CancellationToken,
) {
    // At once: what an earlier process could not tell any more.
    let mut last: Option<Instant> = None;
    loop {
        look(&hub, &watched, check.as_ref()).await;
        for sink in watched.iter() {
            tell_served(&hub, sink).await;
        }
        if token.is_cancelled() {
            // What is not told yet lies with the cursors, for the next start.
            return;
        }
        if last.is_none_or(|last| last.elapsed() >= TOLD) {
            last = Some(Instant::now());
            for sink in watched.iter() {
                tell_missed(&hub, sink).await;
            }
        }
        tokio::select! {
            () = token.cancelled() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Measures, and closes or opens the log for new work.
async fn look(hub: &Hub, watched: &[Watched], check: Option<&Check>) {
    let now = Instant::now();
    let size = hub.log().appender().position().audit.size;
    let mut late = Vec::new();
    for sink in watched {
        let mut seen = sink.seen();
        seen.waiting = seen.lag.look(now, size, sink.progress.reached());
        let waiting = seen.waiting;
        if let Some(bounds) = sink.bounds
            && seen.lag.judge(waiting, bounds)
        {
            late.push(sink.config.name.as_str());
        }
    }
    let Some(check) = check else { return };
    if late.is_empty() {
        check.pass();
    } else {
        // Names and no more: anybody may read this page, and what went wrong holds paths, addresses
        // and words of plugins. It is in the status and in the log.
        check.fail(format!("new work is refused: too far behind are {}", late.join(", ")));
    }
    let appender = hub.log().appender();
    if appender.sinks_behind() != late.is_empty() {
        return;
    }
    appender.set_sinks_behind(!late.is_empty());
    if late.is_empty() {
        tracing::info!("required sinks have caught up: work goes on");
        let _ = record(hub, "sinks.caughtUp", None, 1).await;
    } else {
        let sinks = late.join(", ");
        tracing::error!(sinks, "required sinks are too far behind: new work is refused");
        let _ = record(hub, "sinks.behind", Some(sinks.into()), 1).await;
    }
}

/// An entry about entries that were passed over, so that the gap is known where it was looked for.
/// Counted as told once it is durable: what cannot be told now is told later.
async fn tell_missed(hub: &Hub, sink: &Watched) {
    let missed = sink.progress.untold();
    if missed == 0 {
        return;
    }
    let name = sink.config.name.as_str();
    tracing::warn!(sink = name, missed, "a best-effort sink has missed entries");
    if record(hub, "sinks.dropped", Some(name.into()), missed).await {
        sink.progress.told(missed);
    }
}

/// An entry about the code that a plugin's sink is served by, each time it is another.
async fn tell_served(hub: &Hub, sink: &Watched) {
    let Some(served) = &sink.served else { return };
    let Some(code) = served.untold() else { return };
    if record(hub, "sinks.plugin", Some(code.as_str().into()), 1).await {
        served.told(&code);
    }
}

/// Whether it is in the log now.
async fn record(hub: &Hub, action: &'static str, detail: Option<Box<str>>, count: u64) -> bool {
    let done = hub.record_event(action, PeerAddress::Unix, detail, Outcome::OK, count).await;
    if let Err(error) = &done {
        tracing::error!(%error, action, "an event could not be recorded");
    }
    done.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Both {
        sinks: Vec<SinkConfig>,
        #[serde(default)]
        quotas: Vec<QuotaConfig>,
    }

    #[test]
    fn a_required_sink_without_quotas_per_registration_is_told() {
        let sink =
            |mode| format!("[[sinks]]\nname = \"aa\"\nkind = \"stdout\"\nmode = \"{mode}\"\n");
        let quota = |per| {
            format!(
                "[[quotas]]\nname = \"a\"\nper = \"{per}\"\n\
                 limits = [{{ requests = 1, window = \"1s\" }}]\n"
            )
        };
        for (text, told) in [
            (sink("required"), true),
            (sink("best-effort"), false),
            (sink("required") + &quota("registration"), false),
            // One tenant has as many of these as it likes.
            (sink("required") + &quota("participant"), true),
        ] {
            let Both { sinks, quotas } = toml::from_str(&text).unwrap();
            assert_eq!(anyone_closes(&sinks, &quotas), told, "{text}");
        }
    }
}
