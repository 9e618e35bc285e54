//! The background task that keeps the hashes: follows the log, appends to the file, and makes all
//! of it again when it turns out wrong. Nobody waits for it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::file::TreeFile;
use super::{Tree, WIDTH};
use crate::merkle::{self, Hash};
use crate::{Error, Log};

/// Between two groups of entries, when there is no hurry.
const LINGER: Duration = Duration::from_millis(100);
/// After a failure of the store.
const PAUSE: Duration = Duration::from_secs(10);
/// After the entries themselves turned out to be others than the log's head says.
const LONG_PAUSE: Duration = Duration::from_secs(600);

/// The file, if there is one and it can be written.
type Shared = Option<Arc<Mutex<TreeFile>>>;

impl Log {
    /// Keeps the hashes of the tree, in this file or in memory alone, until it is dropped.
    pub async fn keep_tree(&self, path: Option<PathBuf>) {
        let tree = self.tree();
        let mut file = match path {
            Some(path) => open(tree, path).await,
            None => None,
        };
        if !self.holds(tree) {
            tracing::warn!("the kept hashes of the audit log are damaged; they are made again");
            restart(tree, &mut file).await;
        }
        let mut whole = tree.is_empty();
        loop {
            match self.follow_tree(tree, &mut file).await {
                Err(error) => {
                    tracing::error!(%error, "the audit log's tree cannot go on; it tries again");
                    tokio::time::sleep(PAUSE).await;
                }
                // Made from the entries alone, and wrong still: these are not the entries.
                Ok(()) if whole => {
                    tracing::error!(
                        "the entries in the store do not add up to the head of the audit log"
                    );
                    restart(tree, &mut file).await;
                    tokio::time::sleep(LONG_PAUSE).await;
                }
                Ok(()) => {
                    tracing::warn!("the audit log's tree is made again from its entries");
                    restart(tree, &mut file).await;
                    whole = true;
                }
            }
        }
    }

    /// Whether the kept hashes are those of the log's head, as far as they go.
    fn holds(&self, tree: &Tree) -> bool {
        let head = self.appender().position();
        tree.len() <= head.audit.size / WIDTH && tree.agrees(head.audit.size, &head.audit.frontier)
    }

    /// Goes on where the kept hashes end. Returns when they turned out wrong.
    async fn follow_tree(&self, tree: &Tree, file: &mut Shared) -> Result<(), Error> {
        let mut next = tree.len() * WIDTH;
        let mut follower = self.follow(next);
        let mut open: Vec<Hash> = Vec::new();
        loop {
            let group = tokio::select! {
                biased;
                () = tree.spoiled.notified() => return Ok(()),
                group = follower.next() => group?,
            };
            let mut done = Vec::new();
            for (seq, _, leaf) in group.entries(next) {
                merkle::push(&mut open, seq % WIDTH, *leaf);
                next = seq + 1;
                if next.is_multiple_of(WIDTH) {
                    done.push(merkle::root(&open));
                    open.clear();
                }
            }
            if !done.is_empty() {
                tree.extend(&done);
                if !self.holds(tree) {
                    return Ok(());
                }
                with(file, move |file| file.append(&done)).await;
            }
            if follower.lag() == 0 {
                tokio::time::sleep(LINGER).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Opens the file and takes what it holds.
async fn open(tree: &Tree, path: PathBuf) -> Shared {
    let opened = tokio::task::spawn_blocking(move || {
        let opened = TreeFile::open(&path);
        opened.inspect_err(|error| cannot(&path, error)).ok()
    });
    let (file, hashes) = opened.await.ok().flatten()?;
    tree.extend(&hashes);
    Some(Arc::new(Mutex::new(file)))
}

fn cannot(path: &Path, error: &std::io::Error) {
    tracing::warn!(path = %path.display(), %error, "the audit log's tree is kept in memory only");
}

async fn restart(tree: &Tree, file: &mut Shared) {
    tree.rebuilds.fetch_add(1, Ordering::Relaxed);
    tree.clear();
    with(file, TreeFile::clear).await;
}

/// Does something with the file, off the runtime's threads. A file that fails is left alone from
/// then on: what it lacks is made again at the next start.
async fn with(
    file: &mut Shared,
    act: impl FnOnce(&mut TreeFile) -> std::io::Result<()> + Send + 'static,
) {
    let Some(shared) = file.clone() else { return };
    let acted = tokio::task::spawn_blocking(move || {
        act(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
    });
    match acted.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the audit log's tree file cannot be written; in memory only");
            *file = None;
        }
        Err(_) => *file = None,
    }
}
