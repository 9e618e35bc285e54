//! `cipher-hub plugin install` and its neighbours: the catalogue of a hub.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use cipher_hub_client::Client;
use clap::Args;
use hub_model::Name;
use hub_model::api::plugin::{PatchPlugin, PluginLimits, PluginView};
use hub_model::extend::{FailurePolicy, PluginDigest};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::{AsyncRead, ReadBuf};

use super::super::super::failure::Failure;
use super::super::super::files;
use super::super::super::run::Session;
use super::super::super::values;
use super::super::every;
use super::new::name;
use super::remote_view::{show, shown_settings, state};
use super::values::short_length;

/// From here on an upload shows how far it is.
const LARGE: usize = 1024 * 1024;

/// The deadline of an installation where none is said.
const COMPILING: std::time::Duration = std::time::Duration::from_secs(300);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin install payday.wasm
  cipher-hub plugin install payday.wasm --activate=false
  cipher-hub plugin install payday.wasm --dry-run

The hub checks signature, world, imports and settings, asks the plugin whether it can work, and puts
it into service; what was in service before is kept to go back to (`plugin rollback`).")]
pub(crate) struct InstallArgs {
    /// The plugin
    file: PathBuf,
    /// Put it into service; false only keeps it, for `plugin settings NAME --active DIGEST`
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    activate: bool,
}

/// One plugin of a hub.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The plugin's name
    #[arg(value_parser = name)]
    name: Name,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cipher-hub plugin rollback payday")]
pub(crate) struct RollbackArgs {
    /// The plugin's name
    #[arg(value_parser = name)]
    name: Name,
    /// Go back only if this is its ETag: that of the version to be rid of
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The plugin's name
    #[arg(value_parser = name)]
    name: Name,
    /// Remove it only if this is its ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin settings payday
  cipher-hub plugin settings payday --set region=fr --unset holidays
  cipher-hub plugin settings payday --registration shop --registration billing
  cipher-hub plugin settings payday --on-failure fall-back --time 5ms
  cipher-hub plugin settings payday --active 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

Without any flag, shows them. A change counts when the plugin says that it can work with it. What the
hub's own configuration says of the plugin stays.")]
pub(crate) struct SettingsArgs {
    /// The plugin's name
    #[arg(value_parser = name)]
    name: Name,
    /// Setting to set
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    set: Vec<(String, String)>,
    /// Setting to take back: its default holds
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Registration it serves, by name or id; may be repeated
    #[arg(long, value_name = "REGISTRATION", conflicts_with = "all_registrations")]
    registration: Vec<String>,
    /// Serve all registrations
    #[arg(long)]
    all_registrations: bool,
    /// What is done when it gives no answer: fail-closed, fall-back, retry, or manifest
    #[arg(long, value_name = "POLICY", value_parser = on_failure)]
    on_failure: Option<OnFailure>,
    /// Most time of a call, as 500us or 5ms
    #[arg(long, value_name = "TIME", value_parser = short_length)]
    time: Option<std::time::Duration>,
    /// Most memory of a call, in bytes
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
    /// Most fuel of a call
    #[arg(long, value_name = "FUEL")]
    fuel: Option<u64>,
    /// Most host calls of a call
    #[arg(long, value_name = "NUMBER")]
    host_calls: Option<u32>,
    /// Take back all limits set here: those of the manifest hold
    #[arg(long, conflicts_with_all = ["time", "memory", "fuel", "host_calls"])]
    no_limits: bool,
    /// The installed version to put into service, by its digest
    #[arg(long, value_name = "DIGEST")]
    active: Option<PluginDigest>,
    /// Change it only if this is its ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

/// A failure policy, or that of the manifest.
#[derive(Debug, Clone, Copy)]
struct OnFailure(Option<FailurePolicy>);

fn on_failure(text: &str) -> Result<OnFailure, String> {
    if text == "manifest" {
        return Ok(OnFailure(None));
    }
    [FailurePolicy::FailClosed, FailurePolicy::FallBack, FailurePolicy::Retry]
        .into_iter()
        .find(|policy| policy.name() == text)
        .map(|policy| OnFailure(Some(policy)))
        .ok_or_else(|| "expected fail-closed, fall-back, retry or manifest".to_owned())
}

pub(super) async fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let client = &client;
    let all = every(|page| async move { client.plugins(&page).await }).await?;
    session.console.list(&all)
}

pub(super) async fn get(One { name }: One, session: &mut Session<'_>) -> Result<(), Failure> {
    let found = session.connect()?.plugin(name.as_str()).await?;
    session.console.detail(&format!("etag {}", found.etag));
    show(session, &found.value)
}

pub(super) async fn enable(
    One { name }: One,
    enabled: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = session.connect()?;
    let now = match enabled {
        true => client.enable_plugin(name.as_str()).await?,
        false => client.disable_plugin(name.as_str()).await?,
    };
    show(session, &now)
}

pub(super) async fn rollback(args: RollbackArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let name = args.name.as_str();
    let etag = match args.if_match {
        Some(etag) => values::etag(&etag),
        None => client.plugin(name).await?.etag,
    };
    let now = client.rollback_plugin(name, &etag).await?;
    show(session, &now)
}

pub(super) async fn remove(args: RemoveArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let name = args.name.as_str();
    let sure = session.sure();
    files::confirm(session.console, sure, "removing the plugin", name).await?;
    let etag = match args.if_match {
        Some(etag) => values::etag(&etag),
        None => client.plugin(name).await?.etag,
    };
    client.delete_plugin(name, &etag).await?;
    session.done(&format!("removed plugin {name}"));
    Ok(())
}

pub(super) async fn settings(args: SettingsArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let patch = patch(&args)?;
    let name = args.name.as_str();
    let Some(patch) = patch else {
        let found = client.plugin(name).await?;
        session.console.detail(&format!("etag {}", found.etag));
        return shown_settings(session, &found.value);
    };
    let etag = match &args.if_match {
        Some(etag) => values::etag(etag),
        None => client.plugin(name).await?.etag,
    };
    let made = client.update_plugin(name, &etag, &patch).await?;
    shown_settings(session, &made.value)
}

/// What is to be changed; none when nothing is.
fn patch(args: &SettingsArgs) -> Result<Option<PatchPlugin>, Failure> {
    let config = values::tag_patch(args.set.clone(), args.unset.clone())?;
    let registrations = match (args.registration.as_slice(), args.all_registrations) {
        ([], false) => None,
        ([], true) => Some(None),
        (names, _) => Some(Some(names.to_vec())),
    };
    let limits = PluginLimits {
        memory_bytes: args.memory,
        time_micros: args.time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        fuel: args.fuel,
        host_calls: args.host_calls,
    };
    let limits = if args.no_limits {
        Some(None)
    } else {
        (limits != PluginLimits::default()).then_some(Some(limits))
    };
    let failure = args.on_failure.map(|OnFailure(policy)| policy);
    let patch =
        PatchPlugin { enabled: None, active: args.active, config, failure, limits, registrations };
    let changes = patch.active.is_some()
        || patch.config.is_some()
        || patch.failure.is_some()
        || patch.limits.is_some()
        || patch.registrations.is_some();
    Ok(changes.then_some(patch))
}

pub(super) async fn install(args: InstallArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    // What no hub takes is not sent.
    let package = super::package(&args.file)?;
    let mut client = session.connect()?;
    if session.global.timeout.is_none() {
        // The hub compiles it before it answers.
        client = client.with_timeout(COMPILING);
    }
    let bytes = package.bytes().to_vec();
    let bar = bar(session, bytes.len());
    let outcome = upload(&client, bytes, &bar, args.activate).await;
    bar.finish_and_clear();
    let view = outcome?;
    session.done(&installed(&args.file, &view));
    show(session, &view)
}

fn installed(file: &Path, view: &PluginView) -> String {
    let version = view.version.as_deref().unwrap_or("no version");
    let state = state(view.state);
    format!("{}: {}, {version} is active, {state}", file.display(), view.name)
}

async fn upload(
    client: &Client,
    bytes: Vec<u8>,
    bar: &ProgressBar,
    activate: bool,
) -> Result<PluginView, Failure> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let body = Watched { bytes: io::Cursor::new(bytes), bar: bar.clone() };
    Ok(client.install_plugin(body, length, activate).await?)
}

/// A bar on a terminal, for large files.
fn bar(session: &Session<'_>, length: usize) -> ProgressBar {
    let visible = session.console.err_terminal && !session.global.quiet && length >= LARGE;
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(u64::try_from(length).ok(), target);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}")
    {
        bar.set_style(style);
    }
    bar
}

/// Bytes on their way, counted.
struct Watched {
    bytes: io::Cursor<Vec<u8>>,
    bar: ProgressBar,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.bytes).poll_read(cx, buffer);
        self.bar.inc(u64::try_from(buffer.filled().len() - before).unwrap_or(0));
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_policies_have_words() {
        assert!(on_failure("retry").is_ok_and(|policy| policy.0 == Some(FailurePolicy::Retry)));
        assert!(on_failure("manifest").is_ok_and(|policy| policy.0.is_none()));
        assert!(on_failure("panic").is_err());
    }
}
