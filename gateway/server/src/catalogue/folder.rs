//! Files that are dropped into `plugins.folder` are installed and put into service, when they
//! change and on SIGHUP. What is not taken is left where it is, and said in log and audit log once;
//! a file that goes away takes nothing out of service.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hub_crypto::hash::sha256_parts;
use hub_operations::Hub;
use hub_operations::plugin::Taken;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::files::read_bounded;
use crate::policy_files::{Watch, quiet};

/// The most files that are looked at.
const MAX_FILES: usize = 256;
/// A file that changes within this long is still being written.
const SETTLE: Duration = Duration::from_millis(250);

/// What a file was when it was last looked at, and whether it was taken.
type Seen = HashMap<PathBuf, ([u8; 32], bool)>;

/// Follows the folder until the process stops.
pub(crate) async fn follow(
    folder: PathBuf,
    max_size: u64,
    hub: Arc<Hub>,
    asked: Arc<Notify>,
    token: CancellationToken,
) {
    if let Err(error) = std::fs::create_dir_all(&folder) {
        tracing::error!(%error, "`plugins.folder` cannot be made");
    }
    let changed = Arc::new(Notify::new());
    let mut watch = Watch::start(&folder, Arc::clone(&changed));
    let mut seen = Seen::new();
    let mut anew = false;
    loop {
        if let Some(watch) = &mut watch {
            watch.renew();
        }
        if !look(&folder, max_size, &hub, &mut seen, anew).await {
            changed.notify_one();
        }
        anew = true;
        tokio::select! {
            () = token.cancelled() => return,
            () = asked.notified() => {
                // What was refused is tried again: signers or settings may be others now.
                seen.retain(|_, (_, taken)| *taken);
            }
            () = changed.notified() => quiet(&changed).await,
        }
    }
}

/// Looks at every file; `false` where one is still being written.
async fn look(folder: &Path, max_size: u64, hub: &Hub, seen: &mut Seen, anew: bool) -> bool {
    let mut settled = true;
    let files = list(folder);
    seen.retain(|path, _| files.contains(path));
    for path in files {
        let before = facts(&path);
        if before.is_none() {
            continue;
        }
        let read = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || read_bounded(&path, max_size)).await
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = match read {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => {
                // Said once, until it can be read.
                if seen.insert(path, ([0; 32], false)).is_none() {
                    tracing::error!(file = name, %error, "a plugin of the folder cannot be read");
                    let code = match error.kind() {
                        std::io::ErrorKind::FileTooLarge => "body_too_large",
                        _ => "invalid_plugin",
                    };
                    if let Err(error) = hub.refuse_plugin_file(code).await {
                        tracing::error!(%error, "an event could not be recorded");
                    }
                }
                continue;
            }
            Err(_) => continue,
        };
        let hash = sha256_parts(&[&file]);
        if seen.get(&path).is_some_and(|(known, _)| *known == hash) {
            continue;
        }
        tokio::time::sleep(SETTLE).await;
        if facts(&path) != before {
            settled = false;
            continue;
        }
        let taken = hub.take_plugin_file(file, anew).await;
        seen.insert(path, (hash, taken.is_ok()));
        match taken {
            Ok(Taken::Active(digest)) => {
                tracing::info!(file = name, %digest, "a plugin of the folder is installed");
            }
            Ok(Taken::Known(digest)) => {
                tracing::debug!(file = name, %digest, "a plugin of the folder is known");
            }
            Ok(Taken::Removed(digest)) => {
                tracing::info!(file = name, %digest, "a removed plugin is still in the folder");
            }
            Err(error) => {
                tracing::error!(file = name, %error, "a plugin of the folder is not taken");
            }
        }
    }
    settled
}

/// Length and time of change.
fn facts(path: &Path) -> Option<(u64, Option<std::time::SystemTime>)> {
    let facts = std::fs::metadata(path).ok()?;
    facts.is_file().then(|| (facts.len(), facts.modified().ok()))
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let wanted = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".wasm") && !name.starts_with('.')
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(wanted).collect();
    files.sort();
    if files.len() > MAX_FILES {
        tracing::error!(
            files = files.len(),
            most = MAX_FILES,
            "too many files in `plugins.folder`"
        );
        files.truncate(MAX_FILES);
    }
    files
}
