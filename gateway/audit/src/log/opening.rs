//! The log is opened: the store is held against what its checkpoint has seen.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hub_crypto::{SigningKey, SystemKeys};
use hub_model::HubId;
use hub_store::{Store, Writer};

use super::reading::{read, read_store};
use super::signing::cosigned_file;
use super::{Log, OnRollback, Signed};
use crate::archive::Archives;
use crate::checkpoint::{self, Checkpoint};
use crate::checkpoint_history::History;
use crate::verify::Verifier;
use crate::{Appender, Error, merkle};

impl Log {
    /// Opens the log: holds the store against the checkpoint file, then starts the appender.
    ///
    /// # Errors
    /// [`Error::StoreBehindCheckpoint`], [`Error::StoreForked`] and [`Error::CheckpointMissing`]
    /// when the store is not what the checkpoint has seen, unless `on_rollback` accepts that.
    pub async fn open(
        store: Store,
        writer: Writer,
        name: &str,
        keys: Arc<SystemKeys>,
        hub: HubId,
        file: Option<PathBuf>,
        on_rollback: OnRollback,
    ) -> Result<Self, Error> {
        Self::open_archived(store, writer, name, keys, hub, file, on_rollback, None).await
    }

    /// As [`Log::open`], of a log whose old entries may lie in archives in this folder.
    ///
    /// # Errors
    /// As [`Log::open`]. What is wrong with archives is in their state.
    pub async fn open_archived(
        store: Store,
        writer: Writer,
        name: &str,
        keys: Arc<SystemKeys>,
        hub: HubId,
        file: Option<PathBuf>,
        on_rollback: OnRollback,
        archives: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let archives = match archives {
            Some(dir) => Some(Archives::load(store.clone(), name, dir).await?),
            None => None,
        };
        let origin: Arc<str> = checkpoint::origin(hub).into();
        // The engine keeps heads and batches apart; batches that no head knows are of another time.
        let size = writer.head().audit.size;
        if let Some((seq, _)) = read_store(&store, name, size, 1).await?.first() {
            return Err(Error::StoreForked(*seq));
        }
        let mut accepted = None;
        if let Some(file) = &file {
            let verdict = {
                let reader = (&store, archives.as_ref());
                check_against(reader, &writer, name, &keys, &origin, file).await
            };
            match (verdict, on_rollback) {
                (Ok(()), _) => {}
                (
                    Err(
                        error @ (Error::StoreBehindCheckpoint { .. }
                        | Error::StoreForked(_)
                        | Error::CheckpointMissing(_)
                        | Error::Archive { .. }
                        | Error::Checkpoint(_)),
                    ),
                    OnRollback::Accept,
                ) => {
                    tracing::warn!(%error, "going on with the store as it is, as told to");
                    accepted = Some(error.to_string().into());
                }
                (Err(error), _) => return Err(error),
            }
        }
        let cosigned = file.as_deref().and_then(|file| last_cosigned(file, &keys, &origin));
        let cosigned = cosigned.filter(|known| known.checkpoint.size <= size);
        let appender = Appender::start(writer, name)?;
        Ok(Self {
            store,
            appender,
            keys,
            origin,
            file: file.map(Into::into),
            latest: Arc::new(ArcSwapOption::empty()),
            cosigned: Arc::new(ArcSwapOption::from_pointee(cosigned)),
            history: Arc::new(History::in_memory()),
            key_overlap: Duration::from_secs(7 * 86_400),
            signing: Arc::default(),
            accepted,
            tree: Arc::default(),
            signed: Arc::default(),
            archives,
            turns: Arc::default(),
        })
    }
}

/// The note in that file. One that cannot be read is no harm: the next takes its place.
fn last_cosigned(file: &Path, keys: &SystemKeys, origin: &str) -> Option<Signed> {
    let note = checkpoint::read_file(&cosigned_file(file)).ok()??;
    let signers = keys.checkpoint_keys();
    let signers = signers.signing().map(SigningKey::public);
    let checkpoint = Checkpoint::open_any(&note, origin, signers).ok()?;
    Some(Signed { checkpoint, note })
}

/// Whether the store's history goes on from what the checkpoint has seen.
async fn check_against(
    reader: (&Store, Option<&Archives>),
    writer: &Writer,
    name: &str,
    keys: &SystemKeys,
    origin: &str,
    file: &Path,
) -> Result<(), Error> {
    let head = writer.head();
    let Some(note) = checkpoint::read_file(file)? else {
        // A fresh store has no checkpoint yet.
        return if head.audit.size == 0 {
            Ok(())
        } else {
            Err(Error::CheckpointMissing(head.audit.size))
        };
    };
    let signers = keys.checkpoint_keys();
    let signers = signers.signing().map(SigningKey::public);
    let seen = Checkpoint::open_any(&note, origin, signers)?;
    // Where the file alone was put back, what witnesses have signed beside it still tells.
    if let Some(known) = last_cosigned(file, keys, origin)
        && head.audit.size < known.checkpoint.size
    {
        let checkpoint = known.checkpoint.size;
        return Err(Error::StoreBehindCheckpoint { checkpoint, store: head.audit.size });
    }
    if head.audit.size < seen.size || head.commits < seen.commits {
        return Err(Error::StoreBehindCheckpoint { checkpoint: seen.size, store: head.audit.size });
    }
    if head.audit.size == seen.size {
        let same = head.audit.chain == seen.chain
            && merkle::root(&head.audit.frontier) == seen.root
            && (head.commits != seen.commits || head.digest == seen.digest);
        return if same { Ok(()) } else { Err(Error::StoreForked(seen.size)) };
    }
    // The process ended after the checkpoint was written: the entries since must continue its chain.
    let mut verifier = Verifier::resume(seen.size, seen.chain);
    let end = head.audit.size;
    let mut next = seen.size;
    while next < end {
        let entries = read(reader, name, next, 4096).await?;
        if entries.is_empty() {
            return Err(Error::StoreForked(next));
        }
        for (seq, bytes) in entries {
            verifier.push(&bytes).map_err(|_| Error::StoreForked(seq))?;
            next = seq + 1;
        }
    }
    if next == head.audit.size && verifier.chain() != head.audit.chain {
        return Err(Error::StoreForked(next));
    }
    Ok(())
}
