//! The embedded engine: fjall 3, one directory, one process.
//!
//! Values lie as 8 bytes of revision, big endian, and the sealed bytes. Keyspace `records` holds the
//! state, `heads` the heads of the writers, `log` everything else under `w/`, which is written in
//! order of path and never again: its tables do not overlap, so the engine never merges them.
//! `records` and `heads` carry the revision of the last commit in a key no path can have, and
//! `heads` also what was last written to `log`, so that a keyspace put back alone is noticed at open.
//! What else fjall would lose silently (`notes/security.md` §1) the state digest and the checkpoint
//! find.
//!
//! INVARIANT: a batch is in the journal and `fdatasync` has returned before it is answered; after
//! any failed write nothing else is written by this process.

mod files;
mod purge;

use std::fmt;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Mutex, MutexGuard};

use fjall::{Database, Guard, Keyspace, PersistMode, Readable as _, Snapshot};
use hub_model::HubId;

use super::pins::Pins;
use super::watch::Feed;
use super::{
    Backend, Boxed, Commit, Entry, PAGE_BYTES, Page, Revision, Txn, View, Watch, Write, ready,
};
use crate::path::WRITER_PREFIX;
use crate::{Error, Path};

const RECORDS: &str = "records";
const LOG: &str = "log";
const HEADS: &str = "heads";

// Keys outside the alphabet of paths, so that no record can take their place.
const REVISION_KEY: &[u8] = b"\0revision";
const IDENTITY_KEY: &[u8] = b"\0identity";
const NEWEST_KEY: &[u8] = b"\0newest";

const BLOCK_CACHE: u64 = 8 * 1024 * 1024;
const MEMTABLE: u64 = 4 * 1024 * 1024;
// The least fjall takes; a journal is read again at open.
const JOURNALS: u64 = 64 * 1024 * 1024;

/// A store in a directory of this machine.
pub struct FjallBackend {
    dir: PathBuf,
    db: Database,
    records: Keyspace,
    log: Keyspace,
    heads: Keyspace,
    writing: Mutex<Writing>,
    pins: Pins<Snapshot>,
    feed: Feed,
    identity: [u8; 16],
    stopped_cleanly: bool,
}

struct Writing {
    revision: Revision,
    // Why nothing more is written, once that is so.
    refused: Option<String>,
}

impl FjallBackend {
    /// Makes a new store at `dir`, which must not exist or be empty, and be no mount point. It is
    /// built beside it and renamed, so that a crash leaves no half of it behind.
    ///
    /// # Errors
    /// [`Error::Exists`], or what the engine and the file system answer.
    pub fn create(dir: &FilePath) -> Result<Self, Error> {
        if files::is_occupied(dir)? {
            return Err(Error::Exists(dir.to_path_buf()));
        }
        let building = files::Building::beside(dir)?;
        guarded(dir, || {
            let db = database(building.path()).map_err(|e| damaged(dir, &e))?;
            let options = || {
                fjall::KeyspaceCreateOptions::default()
                    .max_memtable_size(MEMTABLE)
                    .expect_point_read_hits(false)
            };
            let records = db.keyspace(RECORDS, options).map_err(|e| damaged(dir, &e))?;
            db.keyspace(LOG, options).map_err(|e| damaged(dir, &e))?;
            let heads = db.keyspace(HEADS, options).map_err(|e| damaged(dir, &e))?;
            let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
            batch.insert(&records, IDENTITY_KEY, HubId::generate().as_bytes().as_slice());
            batch.insert(&records, REVISION_KEY, 0u64.to_be_bytes());
            batch.insert(&heads, REVISION_KEY, 0u64.to_be_bytes());
            batch.commit().map_err(|e| damaged(dir, &e))
        })?;
        building.mark_clean()?;
        building.finish(dir)?;
        Self::open(dir)
    }

    /// Opens the store at `dir`. Reads its journal; to be called where blocking is allowed.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Locked`] when another process has it, [`Error::Damaged`] when
    /// its files are not as they were left.
    pub fn open(dir: &FilePath) -> Result<Self, Error> {
        if !files::is_store(dir)? {
            return Err(Error::Missing(dir.to_path_buf()));
        }
        files::tighten_umask();
        files::restrict(dir)?;
        let db = guarded(dir, || {
            database(dir).map_err(|e| match e {
                fjall::Error::Locked => Error::Locked(dir.to_path_buf()),
                other => damaged(dir, &other),
            })
        })?;
        // The lock is held from here on.
        let stopped_cleanly = files::take_clean_mark(dir)?;
        let names = db.list_keyspace_names();
        let present = |name: &str| names.iter().any(|found| &**found == name);
        for name in [RECORDS, LOG] {
            // fjall would silently make an empty one in its place.
            if !present(name) {
                return Err(damage(dir, format!("keyspace `{name}` is gone")));
            }
        }
        let (records, log, heads, identity, revision) = guarded(dir, || {
            let fail = |e: fjall::Error| damaged(dir, &e);
            let records = db.keyspace(RECORDS, Default::default).map_err(fail)?;
            let log = db.keyspace(LOG, Default::default).map_err(fail)?;
            if log.get(REVISION_KEY).map_err(fail)?.is_some() {
                separate_heads(dir, &db, &log)?;
            } else if !present(HEADS) {
                return Err(damage(dir, format!("keyspace `{HEADS}` is gone")));
            }
            let heads = db.keyspace(HEADS, Default::default).map_err(fail)?;
            let identity = records.get(IDENTITY_KEY).map_err(fail)?;
            let in_records = records.get(REVISION_KEY).map_err(fail)?;
            let in_heads = heads.get(REVISION_KEY).map_err(fail)?;
            let newest = heads.get(NEWEST_KEY).map_err(fail)?;
            if in_records != in_heads || !is_whole(&log, newest.as_deref()).map_err(fail)? {
                return Err(damage(dir, "its parts are from different times".to_owned()));
            }
            let identity = identity.and_then(|bytes| <[u8; 16]>::try_from(&*bytes).ok());
            let revision = in_records.and_then(|bytes| <[u8; 8]>::try_from(&*bytes).ok());
            let (Some(identity), Some(revision)) = (identity, revision) else {
                return Err(damage(dir, "its identity or revision is gone".to_owned()));
            };
            Ok((records, log, heads, identity, Revision(u64::from_be_bytes(revision))))
        })?;
        files::restrict_tree(dir)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            db,
            records,
            log,
            heads,
            writing: Mutex::new(Writing { revision, refused: None }),
            pins: Pins::new(),
            feed: Feed::new(),
            identity,
            stopped_cleanly,
        })
    }

    /// Opens the store at `dir`, or makes one if there is none.
    ///
    /// # Errors
    /// As [`FjallBackend::open`] and [`FjallBackend::create`].
    pub fn open_or_create(dir: &FilePath) -> Result<Self, Error> {
        match Self::open(dir) {
            Err(Error::Missing(_)) => Self::create(dir),
            outcome => outcome,
        }
    }

    /// Writes tables now that the engine would write later. For tests that need bytes in tables.
    ///
    /// # Errors
    /// [`Error::Engine`].
    #[cfg(feature = "testing")]
    pub fn flush_tables(&self) -> Result<(), Error> {
        for keyspace in self.keyspaces() {
            keyspace.rotate_memtable_and_wait().map_err(|e| Error::Engine(e.to_string()))?;
        }
        Ok(())
    }

    /// Changes stored bytes without a transaction, as somebody with access to the files could;
    /// `None` removes. For tests of what must be noticed.
    ///
    /// # Errors
    /// [`Error::Engine`].
    #[cfg(feature = "testing")]
    pub fn danger_edit(&self, path: &Path, value: Option<Vec<u8>>) -> Result<(), Error> {
        let keyspace = self.keyspace(path);
        let fail = |e: fjall::Error| Error::Engine(e.to_string());
        let key = path.as_bytes();
        let Some(value) = value else { return keyspace.remove(key).map_err(fail) };
        let stored = keyspace.get(key).map_err(fail)?;
        let mut bytes = stored
            .and_then(|bytes| bytes.get(..8).map(<[u8]>::to_vec))
            .unwrap_or_else(|| 1u64.to_be_bytes().to_vec());
        bytes.extend_from_slice(&value);
        keyspace.insert(key, bytes).map_err(fail)
    }

    fn keyspace(&self, path: &Path) -> &Keyspace {
        match path.is_writers() {
            false => &self.records,
            true if is_head(path.as_bytes()) => &self.heads,
            true => &self.log,
        }
    }

    const fn keyspaces(&self) -> [&Keyspace; 3] {
        [&self.records, &self.log, &self.heads]
    }

    fn lock(&self) -> Result<MutexGuard<'_, Writing>, Error> {
        self.writing.lock().map_err(|_| Error::Poisoned("a thread panicked in a commit".into()))
    }

    fn get_now(&self, path: &Path) -> Result<Option<Entry>, Error> {
        let stored = read(|| self.keyspace(path).get(path.as_bytes()))?;
        stored.map(|bytes| entry(path.clone(), &bytes)).transpose()
    }

    fn commit_now(&self, txn: Txn) -> Result<Commit, Error> {
        let mut writing = self.lock()?;
        if let Some(reason) = &writing.refused {
            return Err(Error::Poisoned(reason.clone()));
        }
        let (checks, writes) = txn.into_parts();
        for (index, check) in checks.iter().enumerate() {
            let found = self.get_now(check.path())?.map(|entry| entry.revision);
            if !check.holds(found) {
                return Ok(Commit::Conflict(index));
            }
        }
        let revision = Revision(writing.revision.0.saturating_add(1));
        let stamp = revision.0.to_be_bytes();
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        let mut newest = None;
        for write in &writes {
            let logged = write.path().is_writers() && !is_head(write.path().as_bytes());
            let keyspace = self.keyspace(write.path());
            match write {
                Write::Put(path, value) => {
                    let mut bytes = Vec::with_capacity(value.len().saturating_add(8));
                    bytes.extend_from_slice(&stamp);
                    bytes.extend_from_slice(value);
                    batch.insert(keyspace, path.as_bytes(), bytes);
                    if logged {
                        newest = Some([stamp.as_slice(), path.as_bytes()].concat());
                    }
                }
                Write::Delete(path) => {
                    batch.remove(keyspace, path.as_bytes());
                    if logged {
                        newest = Some(Vec::new());
                    }
                }
            }
        }
        batch.insert(&self.records, REVISION_KEY, stamp);
        batch.insert(&self.heads, REVISION_KEY, stamp);
        if let Some(newest) = newest {
            batch.insert(&self.heads, NEWEST_KEY, newest);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| batch.commit().map_err(|e| e.to_string())))
            .unwrap_or_else(|_| Err("the engine panicked".to_owned()));
        if let Err(reason) = outcome {
            tracing::error!(%reason, "a write failed; the store takes no more of them");
            writing.refused = Some(reason.clone());
            return Ok(Commit::Unknown(reason));
        }
        writing.revision = revision;
        // Published under the lock, so that followers see transactions in order.
        self.feed.publish(revision, &writes);
        self.pins.expire();
        Ok(Commit::Committed(revision))
    }

    fn scan_now(
        &self,
        prefix: &str,
        after: Option<&Path>,
        limit: usize,
        view: View,
    ) -> Result<Page, Error> {
        let snapshot = match view {
            View::Now | View::Hold => self.db.snapshot(),
            View::At(at) => match self.pins.find(at) {
                Some(pinned) => pinned,
                None => self.db.snapshot(),
            },
        };
        let found = self.revision_of(&snapshot)?;
        match view {
            View::Now => {}
            // INVARIANT: only for these. While a snapshot lives the engine frees no memtable that is
            // younger, so that memory would grow by all that is written.
            View::Hold => self.pins.keep(found, snapshot.clone()),
            View::At(at) if at != found => return Err(Error::RevisionGone(at)),
            View::At(_) => {}
        }
        let mut page = Page { entries: Vec::new(), at: found, more: false };
        let mut bytes = 0usize;
        for (keyspaces, low, high) in self.spans() {
            // Everything in the span that has the prefix and lies after `after`.
            let start = match after {
                Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_bytes()),
                _ => Bound::Included(prefix.as_bytes()),
            };
            let start = match start {
                Bound::Included(s) | Bound::Excluded(s) if s < low => Bound::Included(low),
                within => within,
            };
            let empty = match start {
                Bound::Included(s) | Bound::Excluded(s) => s >= high,
                Bound::Unbounded => false,
            };
            if empty {
                continue;
            }
            let mut merged = Merged::new();
            for keyspace in keyspaces {
                let range = snapshot.range::<&[u8], _>(keyspace, (start, Bound::Excluded(high)));
                merged.add(range)?;
            }
            while let Some((key, value)) = merged.next()? {
                if !key.starts_with(prefix.as_bytes()) {
                    break;
                }
                if page.entries.len() >= limit || bytes >= PAGE_BYTES {
                    page.more = true;
                    return Ok(page);
                }
                let path = std::str::from_utf8(&key)
                    .map_err(|_| Error::Engine("a key is not text".to_owned()))
                    .and_then(Path::new)?;
                bytes = bytes.saturating_add(value.len());
                page.entries.push(entry(path, &value)?);
            }
        }
        Ok(page)
    }

    /// The keyspaces with the part of the order each of them holds. Upper ends are exclusive and
    /// above every character of a path.
    fn spans(&self) -> [(Vec<&Keyspace>, &'static [u8], &'static [u8]); 3] {
        const AFTER_LOG: &[u8] = b"w0"; // '0' follows '/'
        [
            (vec![&self.records], b"-", WRITER_PREFIX.as_bytes()),
            (vec![&self.log, &self.heads], WRITER_PREFIX.as_bytes(), AFTER_LOG),
            (vec![&self.records], AFTER_LOG, b"\x7f"),
        ]
    }

    fn revision_of(&self, snapshot: &Snapshot) -> Result<Revision, Error> {
        let bytes = read(|| snapshot.get(&self.records, REVISION_KEY))?;
        bytes
            .and_then(|bytes| <[u8; 8]>::try_from(&*bytes).ok())
            .map(|bytes| Revision(u64::from_be_bytes(bytes)))
            .ok_or_else(|| Error::Engine("the revision is gone".to_owned()))
    }

    fn close_now(&self) -> Result<(), Error> {
        let mut writing = self.lock()?;
        if writing.refused.is_some() {
            return Ok(());
        }
        writing.refused = Some("the store is closed".to_owned());
        self.pins.clear();
        self.db.persist(PersistMode::SyncAll).map_err(|e| Error::Engine(e.to_string()))?;
        files::mark_clean(&self.dir)
    }
}

/// Opens or makes a database with our settings; at most one thread of its own.
fn database(dir: &FilePath) -> Result<Database, fjall::Error> {
    Database::builder(dir)
        .cache_size(BLOCK_CACHE)
        .max_journaling_size(JOURNALS)
        .max_cached_files(Some(64))
        .worker_threads(1)
        .manual_journal_persist(true)
        .open()
}

fn entry(path: Path, stored: &[u8]) -> Result<Entry, Error> {
    let Some((revision, value)) = stored.split_first_chunk::<8>() else {
        return Err(Error::Tampered { path });
    };
    let revision = Revision(u64::from_be_bytes(*revision));
    Ok(Entry { path, value: value.to_vec(), revision })
}

/// fjall panics on some damage; a panic is an answer like any other error.
fn guarded<T>(dir: &FilePath, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(damage(dir, "the engine panicked".to_owned())))
}

fn read<T>(work: impl FnOnce() -> fjall::Result<T>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(|e| Error::Engine(e.to_string())),
        Err(_) => Err(Error::Engine("the engine panicked".to_owned())),
    }
}

type Item = (fjall::Slice, fjall::Slice);

/// Several ranges in one order. No key is in two of them.
struct Merged(Vec<(Item, fjall::Iter)>);

impl Merged {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, mut range: fjall::Iter) -> Result<(), Error> {
        if let Some(item) = read(|| range.next().map(Guard::into_inner).transpose())? {
            self.0.push((item, range));
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Item>, Error> {
        let least = self.0.iter().enumerate().min_by(|(_, a), (_, b)| a.0.0.cmp(&b.0.0));
        let Some(index) = least.map(|(index, _)| index) else { return Ok(None) };
        let (item, range) = self.0.swap_remove(index);
        self.add(range)?;
        Ok(Some(item))
    }
}

/// Whether a path under `w/` is that of a writer's head.
fn is_head(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/').skip(2);
    parts.next() == Some(b"head") && parts.next().is_none()
}

/// Whether what was last written to the log, by path and revision, is there.
fn is_whole(log: &Keyspace, newest: Option<&[u8]>) -> fjall::Result<bool> {
    let Some(newest) = newest else { return log.is_empty() };
    // Nothing is known once something was deleted.
    let Some((stamp, path)) = newest.split_first_chunk::<8>() else { return Ok(true) };
    let found = log.get(path)?;
    Ok(found.is_some_and(|value| value.first_chunk::<8>() == Some(stamp)))
}

/// Moves the heads out of the log, where stores made before there was a keyspace for them have
/// them. One batch: it has happened or it has not.
fn separate_heads(dir: &FilePath, db: &Database, log: &Keyspace) -> Result<(), Error> {
    let fail = |e: fjall::Error| damaged(dir, &e);
    let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
    let heads = db.keyspace(HEADS, options).map_err(fail)?;
    files::sync_directories(dir)?;
    let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
    let mut newest = None;
    for item in log.iter() {
        let (key, value) = item.into_inner().map_err(fail)?;
        if &*key == REVISION_KEY || is_head(&key) {
            batch.insert(&heads, key.clone(), value);
            batch.remove(log, key);
        } else if let Some(stamp) = value.first_chunk::<8>() {
            newest = newest.max(Some([stamp.as_slice(), &key].concat()));
        }
    }
    if let Some(newest) = newest {
        batch.insert(&heads, NEWEST_KEY, newest);
    }
    batch.commit().map_err(fail)
}

fn damaged(dir: &FilePath, error: &fjall::Error) -> Error {
    damage(dir, error.to_string())
}

fn damage(dir: &FilePath, reason: String) -> Error {
    Error::Damaged { path: dir.to_path_buf(), reason }
}

impl fmt::Debug for FjallBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FjallBackend({})", self.dir.display())
    }
}

impl Backend for FjallBackend {
    fn get<'a>(&'a self, path: &'a Path) -> Boxed<'a, Result<Option<Entry>, Error>> {
        ready(move || self.get_now(path))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Path>,
        limit: usize,
        view: View,
    ) -> Boxed<'a, Result<Page, Error>> {
        ready(move || self.scan_now(prefix, after, limit, view))
    }

    fn let_go(&self, at: Revision) {
        self.pins.let_go(at);
    }

    fn commit(&self, txn: Txn) -> Boxed<'_, Result<Commit, Error>> {
        ready(move || self.commit_now(txn))
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.feed.follow(prefix)
    }

    fn head(&self) -> Boxed<'_, Result<Revision, Error>> {
        ready(move || Ok(self.lock()?.revision))
    }

    fn identity(&self) -> [u8; 16] {
        self.identity
    }

    fn durability(&self) -> &'static str {
        "every commit is written and fdatasync has returned before it is answered"
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn stopped_cleanly(&self) -> bool {
        self.stopped_cleanly
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        files::size_on_disk(&self.dir)
    }

    fn purge(&self) -> Boxed<'_, Result<(), Error>> {
        ready(move || self.purge_now())
    }

    fn reclaim_log(&self) -> Boxed<'_, Result<(), Error>> {
        ready(move || self.reclaim_log_now())
    }

    fn close(&self) -> Boxed<'_, Result<(), Error>> {
        ready(move || self.close_now())
    }
}
