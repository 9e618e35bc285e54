//! Policies from files, read again when they change: on SIGHUP, and by watching `policies.dir`.
//!
//! What does not check is not taken: the last good set stays and decides, the metric
//! `cipher_hub_policy_reload_failed` is 1 until files are good again, and the log says why. What
//! changes by itself is read until two readings agree, and not taken where the policies have gone
//! altogether: that is a folder half written or not mounted. SIGHUP takes it all the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hub_operations::Hub;
use hub_policy::Bundle;
use hub_policy::authoring::{self, Library};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Changes that follow each other this closely are one.
const QUIET: Duration = Duration::from_millis(250);
/// Changes that never end are looked at all the same, this often.
const LONGEST: Duration = Duration::from_secs(2);

/// Reads the policies again whenever they change or `asked` says so.
pub(crate) async fn follow(
    dir: PathBuf,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    asked: Arc<Notify>,
    token: CancellationToken,
) {
    let changed = Arc::new(Notify::new());
    let mut watch = Watch::start(&dir, Arc::clone(&changed));
    // What changed between the start of the process and that of the watch.
    asked.notify_one();
    let mut marked = hub_policy::folder::is_marked(&dir);
    loop {
        let by_itself = tokio::select! {
            () = token.cancelled() => return,
            () = asked.notified() => false,
            () = changed.notified() => {
                quiet(&changed).await;
                true
            }
        };
        // Before reading, so that nothing changes unseen in between.
        if let Some(watch) = &mut watch {
            watch.renew();
        }
        if by_itself && !settled(&dir).await {
            // Still being written: later.
            changed.notify_one();
            continue;
        }
        // Without its marker a folder means other files.
        let marker_gone = by_itself && marked && !hub_policy::folder::is_marked(&dir);
        reload(&dir, &hub, &metrics, Automatic { by_itself, marker_gone }).await;
        if !marker_gone {
            marked = hub_policy::folder::is_marked(&dir);
        }
    }
}

/// Waits until changes have ended for a while: files are written one by one.
pub(crate) async fn quiet(changed: &Notify) {
    let longest = tokio::time::sleep(LONGEST);
    tokio::pin!(longest);
    loop {
        tokio::select! {
            () = &mut longest => return,
            () = tokio::time::sleep(QUIET) => return,
            () = changed.notified() => {}
        }
    }
}

/// Whether two readings, the quiet time apart, agree. What cannot be read is for `read` to say.
async fn settled(dir: &Path) -> bool {
    let files = || {
        let from = dir.to_owned();
        tokio::task::spawn_blocking(move || hub_policy::folder::files(&from).ok())
    };
    let first = files().await;
    tokio::time::sleep(QUIET).await;
    matches!((first, files().await), (Ok(first), Ok(second)) if first == second)
}

/// Whether nobody asked, and what then speaks against taking what is there.
#[derive(Clone, Copy)]
struct Automatic {
    by_itself: bool,
    marker_gone: bool,
}

async fn reload(dir: &Path, hub: &Hub, metrics: &Metrics, automatic: Automatic) {
    let from = dir.to_owned();
    let had_policies = automatic.by_itself && !hub.policies().active_bundle().files().is_empty();
    let read = tokio::task::spawn_blocking(move || {
        if automatic.marker_gone {
            let why = "`policy.toml` is gone from the folder; SIGHUP takes that if it is meant";
            return Err(("invalid_policy", why.to_owned()));
        }
        let bundle = read(&from)?;
        if had_policies && bundle.files().is_empty() {
            let why = "no policies are left in the folder; SIGHUP takes that if it is meant";
            return Err(("invalid_policy", why.to_owned()));
        }
        Ok(bundle)
    })
    .await;
    let (code, why) = match read {
        Ok(Ok(bundle)) => match hub.reload_policies(bundle).await {
            Ok(changed) => {
                metrics.policy_reload_failed.set(0);
                let revision = hub.policies().revision_short();
                if changed {
                    tracing::info!(%revision, "policies reloaded");
                } else {
                    tracing::debug!(%revision, "policies are as they were");
                }
                return;
            }
            Err(error) => (error.code(), error.to_string()),
        },
        Ok(Err(failed)) => failed,
        Err(error) => ("internal", error.to_string()),
    };
    metrics.policy_reload_failed.set(1);
    tracing::error!(error = %why, "policies not reloaded; the old ones stay");
    if let Err(error) = hub.record_failed_reload(code).await {
        tracing::error!(%error, "an event could not be recorded");
    }
}

type Failed = (&'static str, String);

/// The set in a folder, checked, and tested if the folder has tests.
fn read(dir: &Path) -> Result<Bundle, Failed> {
    let code = |error: &hub_policy::Error| match error {
        hub_policy::Error::LockOut { .. } => "policy_lockout",
        _ => "invalid_policy",
    };
    let failed = |error: hub_policy::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        (code(&error), format!("{error}{}", cause.unwrap_or_default()))
    };
    // Read once: what is tested is what is taken.
    let files = hub_policy::folder::files(dir).map_err(failed)?;
    let bundle = Bundle::parse(files.clone()).map_err(failed)?;
    let mut library = Library::new();
    let (mut cases, mut problems) = (Vec::new(), Vec::new());
    for path in tests(dir).map_err(|error| ("invalid_policy", format!("its tests: {error}")))? {
        let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        let unread = |error: std::io::Error| ("invalid_policy", format!("`{name}`: {error}"));
        let (more, wrong) = library.read(&path, &name).map_err(unread)?;
        cases.extend(more);
        problems.extend(wrong.iter().map(ToString::to_string));
    }
    if cases.is_empty() && problems.is_empty() {
        return Ok(bundle);
    }
    let report = authoring::run(&files, &cases).map_err(failed)?;
    let fallen = report.cases.iter().filter(|case| !case.passed);
    problems.extend(fallen.map(|case| format!("{}:{}: {}", case.file, case.line, case.name)));
    if problems.is_empty() {
        return Ok(bundle);
    }
    Err(("invalid_policy", format!("{} test(s) failed\n{}", problems.len(), problems.join("\n"))))
}

/// `*.test.json` below `tests`; where `policy.toml` names other places, below those.
fn tests(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let places = match std::fs::read_to_string(dir.join(hub_policy::folder::MARKER)) {
        Ok(text) => {
            let table: toml::Table = text.parse().map_err(std::io::Error::other)?;
            let named = table.get("tests").and_then(toml::Value::as_array);
            named.map(|all| all.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect())
        }
        Err(_) => None,
    };
    for place in places.unwrap_or_else(|| vec!["tests".to_owned()]) {
        collect(&dir.join(place), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(place: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if place.is_file() {
        found.push(place.to_owned());
    }
    if !place.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(place)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') {
                collect(&entry.path(), found)?;
            }
        } else if name.ends_with(".test.json") && !name.starts_with('.') {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Writes what the shadow has found to the audit log, once a second.
pub(crate) async fn shadow(hub: Arc<Hub>, token: CancellationToken) {
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        if let Err(error) = hub.record_shadow().await {
            tracing::error!(%error, "what the shadow has found could not be recorded");
        }
    }
}

/// Brings the policies in memory in step with their record, where a request that activated others
/// was given up before it could.
pub(crate) async fn record(hub: Arc<Hub>, token: CancellationToken) {
    let mut wait = Duration::from_secs(1);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        // What fails is in the log; not every second.
        let seconds = if hub.follow_policies().await { 1 } else { 30 };
        wait = Duration::from_secs(seconds);
    }
}

/// A watch of a folder, of what is in it, and of the folder it is in: it can itself be a link that
/// comes to lead elsewhere.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    dir: PathBuf,
}

impl Watch {
    pub(crate) fn start(dir: &Path, changed: Arc<Notify>) -> Option<Self> {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let own = dir.clone();
        let tell = move |event: notify::Result<notify::Event>| match event {
            Ok(event) if matters(&event, &own) => changed.notify_one(),
            Ok(_) => {}
            // The watch has lost something: look.
            Err(_) => changed.notify_one(),
        };
        let failed = |error: &notify::Error| {
            tracing::warn!(%error, "a folder cannot be watched; SIGHUP reads it again");
        };
        let watcher = notify::recommended_watcher(tell).inspect_err(failed).ok()?;
        let mut watch = Self { watcher, dir };
        if let Some(parent) = watch.dir.parent() {
            let parent = parent.to_owned();
            let watched = watch.watcher.watch(&parent, RecursiveMode::NonRecursive);
            let _ = watched.inspect_err(failed);
        }
        let watched = watch.watcher.watch(&watch.dir.clone(), RecursiveMode::Recursive);
        watched.inspect_err(failed).ok()?;
        Some(watch)
    }

    /// Watches what is there now. Folders made since and a folder put in the place of the old one
    /// have no watch yet.
    pub(crate) fn renew(&mut self) {
        let _ = self.watcher.unwatch(&self.dir);
        if let Err(error) = self.watcher.watch(&self.dir, RecursiveMode::Recursive) {
            tracing::warn!(%error, "a folder cannot be watched; SIGHUP reads it again");
        }
    }
}

/// Whether something changed in the folder. Reading it is an event, too.
fn matters(event: &notify::Event, dir: &Path) -> bool {
    let changes = match event.kind {
        EventKind::Access(access) => {
            use notify::event::{AccessKind, AccessMode};
            access == AccessKind::Close(AccessMode::Write)
        }
        EventKind::Modify(notify::event::ModifyKind::Metadata(_)) => false,
        _ => true,
    };
    changes && (event.paths.is_empty() || event.paths.iter().any(|path| path.starts_with(dir)))
}

#[cfg(test)]
mod tests {
    use notify::Event;
    use notify::event::{AccessKind, AccessMode, CreateKind};

    use super::*;

    #[test]
    fn reading_is_no_change_and_neighbours_do_not_matter() {
        let dir = Path::new("/etc/hub/policies");
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let made = EventKind::Create(CreateKind::File);
        assert!(matters(&event(made, "/etc/hub/policies/a.cedar"), dir));
        assert!(matters(&event(made, "/etc/hub/policies"), dir));
        assert!(!matters(&event(made, "/etc/hub/other"), dir));
        let read = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert!(!matters(&event(read, "/etc/hub/policies/a.cedar"), dir));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(matters(&event(written, "/etc/hub/policies/a.cedar"), dir));
    }
}
