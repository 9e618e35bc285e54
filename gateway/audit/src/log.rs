//! The log as a whole: opened against its checkpoint, read by sequence, checkpointed.

use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hub_crypto::{SigningKey, SystemKeys};
use hub_model::{HubId, RegistrationId, Timestamp};
use hub_store::{Store, Writer};

use crate::archive::Archives;
use crate::checkpoint::{self, Checkpoint};
use crate::checkpoint_history::History;
use crate::note::Note;
use crate::tree::Tree;
use crate::turns::Turns;
use crate::verify::Verifier;
use crate::witness::TreeHead;
use crate::{Appender, Error, Follower, batch, merkle};

/// What to do when store and checkpoint disagree at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRollback {
    /// Refuse to start.
    #[default]
    Refuse,
    /// Go on with what the store holds. An operator has decided so.
    Accept,
}

/// The log of one writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    store: Store,
    appender: Appender,
    keys: Arc<SystemKeys>,
    origin: Arc<str>,
    file: Option<Arc<FilePath>>,
    latest: Arc<ArcSwapOption<Signed>>,
    /// The newest that carries cosignatures.
    cosigned: Arc<ArcSwapOption<Signed>>,
    history: Arc<History>,
    /// For how long the signing key before signs beside the active one.
    key_overlap: Duration,
    /// One checkpoint at a time: of two the smaller must not end up in the file. Holds the epoch of
    /// the key that signed last.
    signing: Arc<Mutex<Option<u32>>>,
    accepted: Option<Arc<str>>,
    tree: Arc<Tree>,
    /// Rung with every checkpoint.
    signed: Arc<tokio::sync::Notify>,
    archives: Option<Archives>,
    /// Of those who read it aside.
    turns: Arc<Turns>,
}

/// A checkpoint and its note.
#[derive(Debug)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

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

    /// The same log, with its older checkpoints kept there.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { history: Arc::new(history), ..self }
    }

    /// The same log, whose signing key goes on signing for this long after a rotation.
    #[must_use]
    pub fn with_key_overlap(self, key_overlap: Duration) -> Self {
        Self { key_overlap, ..self }
    }

    /// For how long the signing key before signs beside the active one.
    #[must_use]
    pub const fn key_overlap(&self) -> Duration {
        self.key_overlap
    }

    /// Checkpoints of the last 400 days.
    #[must_use]
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Whose log: the first line of its checkpoints.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The newest checkpoint that carries cosignatures of witnesses.
    #[must_use]
    pub fn cosigned(&self) -> Option<Arc<Signed>> {
        self.cosigned.load_full()
    }

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
        let note = self.history.keep(checkpoint.size, checkpoint.time, others, note)?;
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

    /// What was wrong with the store when it was opened all the same. Belongs into the log.
    #[must_use]
    pub fn accepted(&self) -> Option<&str> {
        self.accepted.as_deref()
    }

    /// The kept hashes of its Merkle tree.
    #[must_use]
    pub const fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// The way to append.
    #[must_use]
    pub const fn appender(&self) -> &Appender {
        &self.appender
    }

    /// The store it lies in.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// The hub's own keys.
    pub(crate) const fn keys(&self) -> &Arc<SystemKeys> {
        &self.keys
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
        let mut epoch = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        // The keys first: whatever they were made durable with is then covered.
        let keys = self.keys.checkpoint_keys();
        let position = self.appender.position();
        let same = |signed: &Signed| signed.checkpoint.size == position.audit.size;
        if *epoch == Some(keys.epoch()) && self.latest.load().as_deref().is_some_and(same) {
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
        *epoch = Some(keys.epoch());
        let signed = Arc::new(Signed { checkpoint, note });
        let before = self.latest.swap(Some(Arc::clone(&signed)));
        self.signed.notify_waiters();
        // Once an hour, with the last one of the hour before. Last: a history that cannot be
        // written must not hold checkpoints up, nor the start.
        if self.history.is_due(now) {
            for kept in before.into_iter().chain([signed]) {
                let Signed { checkpoint, note } = &*kept;
                if let Err(error) = self.history.keep(checkpoint.size, checkpoint.time, 0, note) {
                    tracing::error!(%error, "a checkpoint was not kept in the history");
                }
            }
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

    /// Entries from `after` on, consecutive, at most `limit` of them and about 1 MiB.
    ///
    /// # Errors
    /// When the store fails or a batch does not open.
    pub async fn page(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        read((&self.store, self.archives.as_ref()), self.appender.writer(), after, limit).await
    }

    /// The archives of this log, where it was opened with a folder of them.
    #[must_use]
    pub const fn archives(&self) -> Option<&Archives> {
        self.archives.as_ref()
    }

    /// Works through the log from this entry on, and goes on with what is appended.
    #[must_use]
    pub fn follow(&self, from: u64) -> Follower {
        Follower::new(self.clone(), from)
    }

    /// One entry.
    ///
    /// # Errors
    /// As [`Log::page`].
    pub async fn entry(&self, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        if let Some(entry) = self.recent_entry(seq) {
            return Ok(Some(entry));
        }
        let entries = self.page(seq, 1).await?;
        Ok(entries.into_iter().find(|(found, _)| *found == seq).map(|(_, bytes)| bytes))
    }

    /// One entry, when it is among the newest, which lie in memory.
    #[must_use]
    pub fn recent_entry(&self, seq: u64) -> Option<Vec<u8>> {
        let group = self.appender.recent().find(seq)?;
        group.entries(seq).next().map(|(_, bytes, _)| bytes.to_vec())
    }

    /// Reads the log on a thread that may block: what lies in archives or is proven takes a while,
    /// and other requests must not wait for it. Few do so at once, and one for each registration.
    ///
    /// # Errors
    /// Those of the work, and [`Error::Unavailable`] when the process is stopping.
    pub async fn aside<T, F>(
        &self,
        asker: RegistrationId,
        work: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
        T: Send + 'static,
    {
        let turn = self.turns.turn(Some(asker)).await?;
        let log = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = hub_store::block_on(work(log));
            drop(turn);
            answer
        });
        answer.await.map_err(|error| Error::Unavailable(error.to_string()))?
    }
}

/// Beside the checkpoint file: the newest note with cosignatures.
fn cosigned_file(file: &FilePath) -> PathBuf {
    file.with_extension("cosigned")
}

/// The note in that file. One that cannot be read is no harm: the next takes its place.
fn last_cosigned(file: &FilePath, keys: &SystemKeys, origin: &str) -> Option<Signed> {
    let note = checkpoint::read_file(&cosigned_file(file)).ok()??;
    let signers = keys.checkpoint_keys();
    let signers = signers.signing().map(SigningKey::public);
    let checkpoint = Checkpoint::open_any(&note, origin, signers).ok()?;
    Some(Signed { checkpoint, note })
}

/// Bytes of one page, about.
const MAX_BYTES: usize = 1024 * 1024;

/// Reads entries from `from` on: from the store, or from the archive that holds them. An entry that
/// is in both is served by either, so that a damaged archive harms nothing before its entries have
/// left the store.
async fn read(
    (store, archives): (&Store, Option<&Archives>),
    writer: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let Some(archives) = archives else { return read_store(store, writer, from, limit).await };
    let end = archives.end();
    if from < end {
        let archived = archives.page(from, limit, MAX_BYTES);
        let Err(error) = archived else { return archived };
        let found = consecutive(from, read_store(store, writer, from, limit).await?);
        return if found.is_empty() { Err(error) } else { Ok(found) };
    }
    let found = read_store(store, writer, from, limit).await?;
    if archives.end() == end {
        return Ok(found);
    }
    // Entries went into an archive while the store was being read.
    let found = consecutive(from, found);
    if found.is_empty() && from < archives.end() {
        return archives.page(from, limit, MAX_BYTES);
    }
    Ok(found)
}

/// The entries up to the first that does not follow the one before.
fn consecutive(from: u64, mut found: Vec<(u64, Vec<u8>)>) -> Vec<(u64, Vec<u8>)> {
    let whole = found.iter().zip(from..).take_while(|((seq, _), next)| seq == next).count();
    found.truncate(whole);
    found
}

/// Reads entries from `from` on that are in the store.
async fn read_store(
    store: &Store,
    writer: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let mut found = Vec::new();
    let mut bytes = 0;
    // Every batch has an entry: who wants one entry needs one batch.
    let batches = limit.clamp(1, 16);
    // Batches are named by their last entry: the first one after `from - 1` holds `from`.
    let mut after = match from.checked_sub(1) {
        Some(before) => Some(batch::path(writer, before)?),
        None => None,
    };
    'pages: loop {
        let page = store.scan_bytes(&batch::prefix(writer), after.as_ref(), batches, None).await?;
        for (path, record) in &page.records {
            for (seq, entry) in batch::parse(path, &record.value)? {
                if seq < from {
                    continue;
                }
                if found.len() >= limit || (bytes > MAX_BYTES && !found.is_empty()) {
                    break 'pages;
                }
                bytes += entry.len();
                found.push((seq, entry));
            }
        }
        match page.records.last() {
            Some((last, _)) if page.more => after = Some(last.clone()),
            _ => break,
        }
    }
    Ok(found)
}

/// Whether the store's history goes on from what the checkpoint has seen.
async fn check_against(
    reader: (&Store, Option<&Archives>),
    writer: &Writer,
    name: &str,
    keys: &SystemKeys,
    origin: &str,
    file: &FilePath,
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
