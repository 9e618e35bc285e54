//! What makes archives of the audit log in the background, and looks after those that are there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hub_audit::Error;
use hub_audit::archive::{Archiver, Archives, State};
use hub_operations::Hub;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// In how many minutes a damaged archive is read through again.
const AGAIN: u32 = 10;
/// Bytes of an entry in an archive, generously.
const ENTRY: u64 = 1024;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Rest between pieces of work, so that requests come first.
const REST: Duration = Duration::from_millis(2);
/// Commits between two looks at whether the process stops.
const COMMITS: usize = 16;
/// The share of the store, in deleted bytes, at which its log is written anew.
const RECLAIM: u64 = 4;

/// Makes what is due: at the start what a stop or a crash has left, then when asked, and now and
/// then by age.
pub(crate) async fn keep(hub: Arc<Hub>, room: Room, token: CancellationToken) {
    if hub.archiver().is_none() {
        return;
    }
    for problem in hub.log().archives().map(Archives::problems).unwrap_or_default() {
        tracing::warn!("{problem}");
    }
    let mut deleted = 0;
    loop {
        match round(&hub, &room, &token, &mut deleted).await {
            Ok(()) => hub.set_archive_trouble(None),
            Err(error) => {
                tracing::error!(%error, "archiving the audit log failed; it goes on later");
                hub.set_archive_trouble(Some(error.to_string()));
            }
        }
        let wait = hub.retention().map_or(MINUTE, |retention| retention / 50);
        tokio::select! {
            () = token.cancelled() => return,
            () = hub.archives_due() => {}
            () = tokio::time::sleep(wait.clamp(Duration::from_millis(200), MINUTE)) => {}
        }
    }
}

/// Where space is taken, and how much of it is to be left.
#[derive(Debug)]
pub(crate) struct Room {
    /// The folder of the store.
    pub(crate) store: PathBuf,
    /// What is always to be left.
    pub(crate) mark: u64,
    /// Entries of an archive.
    pub(crate) entries: u64,
}

impl Room {
    /// Whether an archive may be written: it must not take the last of the disk from the log.
    fn for_an_archive(&self, archiver: &Archiver) -> Result<(), Error> {
        // The folder may be on its way: where it will be is what counts.
        let dir = archiver.archives().dir();
        let Some(free) = dir.ancestors().find_map(free) else { return Ok(()) };
        let needed = self.mark.saturating_add(self.entries.saturating_mul(ENTRY));
        if free >= needed {
            return Ok(());
        }
        let dir = dir.display();
        Err(Error::NotArchived(format!("`{dir}` has {free} bytes free, {needed} are needed")))
    }

    /// Whether the store may be written anew.
    fn to_rewrite(&self, size: u64) -> bool {
        free(&self.store).is_some_and(|free| free > size.saturating_add(self.mark))
    }
}

/// Bytes free where this lies.
fn free(path: &Path) -> Option<u64> {
    let facts = rustix::fs::statvfs(path).ok()?;
    Some(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Archives until nothing is due.
async fn round(
    hub: &Arc<Hub>,
    room: &Room,
    token: &CancellationToken,
    deleted: &mut u64,
) -> Result<(), Error> {
    let Some(archiver) = hub.archiver() else { return Ok(()) };
    let archiver = Arc::new(archiver);
    let entry = |action, detail| hub.archive_entry(action, detail);
    let going = || !token.is_cancelled();
    let asked = hub.archive_asked().is_some();
    loop {
        if archiver.to_prune().await? {
            verify_unread(hub, token).await?;
            while archiver.prune(COMMITS, hub.clock().now(), &entry, &going).await? > 0 {
                if token.is_cancelled() {
                    return Ok(());
                }
            }
        }
        let Some(goal) = hub.archive_goal() else { break };
        room.for_an_archive(&archiver)?;
        let made = {
            let (archiver, now, rest) = (Arc::clone(&archiver), hub.clock().now(), resting(token));
            blocking(move || archiver.make(goal, now, &rest)).await?
        };
        let Some(made) = made else {
            if token.is_cancelled() {
                return Ok(());
            }
            hub.archives_done(goal);
            break;
        };
        tracing::info!(
            file = %made.file, first = made.first, entries = made.entries, bytes = made.bytes,
            "archived old entries of the audit log"
        );
        *deleted = deleted.saturating_add(made.bytes);
        archiver.record(made, &entry).await?;
    }
    let store = hub.store().clone();
    let size = store.backend().size_on_disk().unwrap_or(u64::MAX);
    let due = asked || deleted.saturating_mul(RECLAIM) > size;
    if *deleted > 0 && due && room.to_rewrite(size) {
        *deleted = 0;
        let reclaim = move || Ok(hub_store::block_on(store.backend().reclaim_log())?);
        if let Err(error) = blocking(reclaim).await {
            tracing::warn!(%error, "the space of archived entries could not be given back yet");
        }
    }
    Ok(())
}

/// Reads through the archives from which entries are about to be deleted.
async fn verify_unread(hub: &Arc<Hub>, token: &CancellationToken) -> Result<(), Error> {
    let Some(archives) = hub.log().archives().cloned() else { return Ok(()) };
    let Some(held) = archives.list().last().cloned() else { return Ok(()) };
    if matches!(*held.state(), State::Sound(_)) {
        return Ok(());
    }
    let (now, rest) = (hub.clock().now(), resting(token));
    blocking(move || archives.check(&held, now, &rest).map(drop)).await
}

/// Reads every archive through, at the start and once a day; looks for the files once a minute.
pub(crate) async fn watch(hub: Arc<Hub>, token: CancellationToken) {
    let Some(archives) = hub.log().archives().cloned() else { return };
    let (mut told, mut idle) = (archives.problems(), 0u32);
    loop {
        let due = archives.list().iter().find(|held| due(&hub, &held.state())).cloned();
        if let Some(held) = due {
            let (archives, now, rest) = (archives.clone(), hub.clock().now(), resting(&token));
            // What is wrong is in its state.
            let _ = blocking(move || archives.check(&held, now, &rest)).await;
        } else {
            let looked = archives.clone();
            let _ = blocking(move || {
                looked.look();
                Ok(())
            })
            .await;
            idle = idle.wrapping_add(1);
            for held in archives.list().iter().filter(|_| idle.is_multiple_of(AGAIN)) {
                // It may have been replaced by a good copy.
                if matches!(*held.state(), State::Damaged(_)) {
                    let (archives, held) = (archives.clone(), Arc::clone(held));
                    let (now, rest) = (hub.clock().now(), resting(&token));
                    let _ = blocking(move || archives.check(&held, now, &rest)).await;
                }
            }
        }
        let problems = archives.problems();
        for problem in problems.iter().filter(|problem| !told.contains(problem)) {
            tracing::error!("{problem}");
        }
        told = problems;
        let more = archives.list().iter().any(|held| due_now(&hub, held));
        let wait = if more { Duration::from_millis(100) } else { MINUTE };
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn due_now(hub: &Hub, held: &hub_audit::archive::Held) -> bool {
    due(hub, &held.state())
}

/// Whether an archive is to be read through.
fn due(hub: &Hub, state: &State) -> bool {
    match state {
        State::Present => true,
        State::Sound(then) => hub.clock().now().since(*then) >= DAY,
        State::Missing | State::Damaged(_) => false,
    }
}

/// Rests, and says whether to go on.
fn resting(token: &CancellationToken) -> impl Fn() -> bool + Send + use<> {
    let token = token.clone();
    let pieces = std::cell::Cell::new(0u32);
    move || {
        pieces.set(pieces.get().wrapping_add(1));
        if pieces.get().is_multiple_of(16) {
            std::thread::sleep(REST);
        }
        !token.is_cancelled()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::NotArchived(error.to_string()))?
}

/// What an operator should know of archives.
pub(crate) fn notices(hub: &Hub) -> Vec<String> {
    let mut notices = hub.log().archives().map(Archives::problems).unwrap_or_default();
    let trouble = hub.archive_trouble();
    notices.extend(trouble.map(|why| format!("archiving the audit log does not go on: {why}")));
    notices
}

/// The metrics of archives.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point by format")]
pub(crate) fn sample(metrics: &Metrics, hub: &Arc<Hub>) -> prometheus::Result<()> {
    let Some(archives) = hub.log().archives().cloned() else { return Ok(()) };
    let name = "cipher_hub_audit_archives";
    let help = "Archives of the audit log, by what they were found to be";
    for word in ["present", "sound", "missing", "damaged"] {
        let archives = archives.clone();
        metrics.sample_labelled(name, help, ("state", word), move || {
            let list = archives.list();
            let found = list.iter().filter(|held| {
                word == match *held.state() {
                    State::Present => "present",
                    State::Sound(_) => "sound",
                    State::Missing => "missing",
                    State::Damaged(_) => "damaged",
                }
            });
            Some(found.count() as f64)
        })?;
    }
    let help = "Entries of the audit log that are in archives";
    metrics
        .sample("cipher_hub_audit_archived_entries", help, move || Some(archives.end() as f64))?;
    let hub = Arc::clone(hub);
    let help = "1 while archiving the audit log does not go on";
    metrics.sample("cipher_hub_audit_archiving_failed", help, move || {
        Some(f64::from(u8::from(hub.archive_trouble().is_some())))
    })
}
