//! Checkpoints of the log: signed, kept, cosigned, found again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use hub_crypto::SigningKey;
use hub_model::Timestamp;

use super::{Log, Signed, Signing};
use crate::checkpoint::{self, Checkpoint};
use crate::checkpoint_history::signed_by_all_of;
use crate::note::Note;
use crate::witness::TreeHead;
use crate::{Error, merkle};

impl Log {
    /// Takes a checkpoint of this log with cosignatures, and keeps it durably, with those that are
    /// known of it already. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is none of this log, [`Error::Store`].
    pub fn keep_cosigned(&self, note: &str) -> Result<(), Error> {
        let _one = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys.checkpoint_keys();
        let signers = keys.signing().map(SigningKey::public);
        let checkpoint = Checkpoint::open_any(note, &self.origin, signers)?;
        let others = Note::parse(note)?.signers().filter(|name| *name != &*self.origin).count();
        let there = self.history.keep(checkpoint.size, checkpoint.time, others, note)?;
        // One that a new key has signed stays, and nobody may have cosigned it.
        let cosigned = Note::parse(&there)?.signers().any(|name| name != &*self.origin);
        let note = if cosigned { there } else { note.to_owned() };
        // Of that size and root, perhaps of another time: the one with more cosignatures.
        let checkpoint = Checkpoint::read(Note::parse(&note)?.text)?;
        let newer = |known: &Signed| known.checkpoint.size > checkpoint.size;
        if self.cosigned.load().as_deref().is_some_and(newer) {
            return Ok(());
        }
        if let Some(file) = &self.file {
            checkpoint::write_file(&cosigned_file(file), &note)?;
        }
        self.cosigned.store(Some(Arc::new(Signed { checkpoint, note })));
        Ok(())
    }

    /// After an accepted rollback: puts what is known of more entries than there were at the start
    /// aside, as evidence of what the log was. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::CheckpointFile`].
    pub fn set_aside_above(&self, size: u64) -> Result<(), Error> {
        let _one = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = self.history.set_aside_above(size)?;
        if notes > 0 {
            tracing::warn!(notes, size, "checkpoints of more entries were put aside");
        }
        let Some(file) = self.file.as_deref().map(cosigned_file) else { return Ok(()) };
        let Some(note) = checkpoint::read_file(&file)? else { return Ok(()) };
        let seen = Note::parse(&note).and_then(|note| TreeHead::parse(note.text));
        if seen.is_ok_and(|seen| seen.size > size) {
            checkpoint::put_aside(&file)?;
        }
        Ok(())
    }

    /// The newest checkpoint of this process.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Signed>> {
        self.latest.load_full()
    }

    /// The checkpoint over so many entries, if it is still known: the newest, or one that is kept.
    /// One that is kept may be signed by a key that is gone.
    ///
    /// # Errors
    /// When the history or the tree cannot be read.
    pub async fn checkpoint_at(&self, size: u64) -> Result<Option<Arc<Signed>>, Error> {
        let newest = self.latest().filter(|signed| signed.checkpoint.size == size);
        if newest.is_some() {
            return Ok(newest);
        }
        let history = Arc::clone(&self.history);
        let read = tokio::task::spawn_blocking(move || history.note(size)).await;
        let Some(note) = read.map_err(|error| Error::Unavailable(error.to_string()))?? else {
            return Ok(None);
        };
        // What cannot be read, or is of another history, is none of this log's checkpoints.
        let Ok(checkpoint) = Note::parse(&note).and_then(|note| Checkpoint::read(note.text)) else {
            return Ok(None);
        };
        let same = checkpoint.size == size
            && size <= self.appender.position().audit.size
            && self.root_at(size).await? == checkpoint.root;
        Ok(same.then(|| Arc::new(Signed { checkpoint, note })))
    }

    /// Waits for a checkpoint that covers this entry. Cancelling loses nothing.
    pub async fn covered(&self, seq: u64) -> Arc<Signed> {
        loop {
            let signed = self.signed.notified();
            tokio::pin!(signed);
            // Registered before the look, so that no checkpoint falls in between.
            signed.as_mut().enable();
            if let Some(found) = self.latest().filter(|signed| seq < signed.checkpoint.size) {
                return found;
            }
            signed.await;
        }
    }

    /// The verifier key of the checkpoints, as C2SP vkey.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        checkpoint::verifier_key(&self.origin, &self.keys.checkpoint_keys().active().public())
    }

    /// Signs a checkpoint over what is durable now and puts it into the file. Does nothing when the
    /// newest one covers it already and is signed by the same keys. Blocks on the file.
    ///
    /// # Errors
    /// [`Error::CheckpointFile`].
    pub fn checkpoint(&self, now: Timestamp) -> Result<(), Error> {
        let mut signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        // The keys first: whatever they were made durable with is then covered.
        let keys = self.keys.checkpoint_keys();
        let position = self.appender.position();
        let same = |signed: &Signed| signed.checkpoint.size == position.audit.size;
        let turned = signing.epoch != Some(keys.epoch());
        if !turned && self.latest.load().as_deref().is_some_and(same) {
            return Ok(());
        }
        let checkpoint = Checkpoint {
            origin: self.origin.to_string(),
            size: position.audit.size,
            root: merkle::root(&position.audit.frontier),
            chain: position.audit.chain,
            commits: position.commits,
            digest: position.digest,
            time: now,
        };
        let note = checkpoint.sign_by(keys.signing());
        if let Some(file) = &self.file {
            checkpoint::write_file(file, &note)?;
        }
        *signing = Signing { epoch: Some(keys.epoch()), owed: signing.owed || turned };
        let signed = Arc::new(Signed { checkpoint, note });
        let before = self.latest.swap(Some(Arc::clone(&signed)));
        self.signed.notify_waiters();
        // Once an hour, with the last one of the hour before, and when other keys sign. Last: a
        // history that cannot be written must not hold checkpoints up, nor the start.
        if signing.owed || self.history.is_due(now) {
            let (size, mut kept) = (signed.checkpoint.size, true);
            // One of the same size, by the keys before, would take the place of what they signed.
            let before = before.filter(|before| before.checkpoint.size < size);
            for one in before.into_iter().chain([signed]) {
                let Signed { checkpoint, note } = &*one;
                match self.history.keep(checkpoint.size, checkpoint.time, 0, note) {
                    // Another one of its size can be worth more: then the next is to be kept.
                    Ok(there) => kept &= checkpoint.size != size || signed_by_all_of(&there, note),
                    Err(error) => {
                        tracing::error!(%error, "a checkpoint was not kept in the history");
                        kept = false;
                    }
                }
            }
            signing.owed &= !kept;
        }
        Ok(())
    }

    /// Whether the newest checkpoint is signed by every key that signs now. Until it is, none of
    /// them may be given up: nothing that the oldest signed would cover the entry that names the
    /// next, and the file would carry no signature of a key that is left.
    #[must_use]
    pub fn is_signed_by_all(&self) -> bool {
        let Some(newest) = self.latest() else { return false };
        let keys = self.keys.checkpoint_keys();
        keys.signing()
            .map(SigningKey::public)
            .all(|key| Checkpoint::open(&newest.note, &self.origin, &key).is_ok())
    }

    /// Keeps the newest checkpoint among those of the last 400 days: at the end of the process.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn keep_latest(&self) -> Result<(), Error> {
        match self.latest() {
            Some(last) => {
                let Signed { checkpoint, note } = &*last;
                self.history.keep(checkpoint.size, checkpoint.time, 0, note).map(drop)
            }
            None => Ok(()),
        }
    }
}

/// Beside the checkpoint file: the newest note with cosignatures.
pub(super) fn cosigned_file(file: &Path) -> PathBuf {
    file.with_extension("cosigned")
}
