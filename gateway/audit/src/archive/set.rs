//! Which archives there are. The store says so, in records that the state digest covers; the files
//! in the folder are held against them, and never the other way round.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use hub_model::Timestamp;
use hub_store::{Store, View, layout};
use serde::{Deserialize, Serialize};

use super::check::{examine, open_all};
use super::file::{Archive, Damage};
use crate::encode::{hex, parse_hex32};
use crate::merkle::Hash;
use crate::{Error, batch, verify};

/// What the store keeps of an archive, at `b/<writer>/<first>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveRecord {
    /// The name of the file in the folder of archives.
    pub file: String,
    /// The first sequence.
    pub first: u64,
    /// How many entries.
    pub entries: u64,
    /// How many batches.
    pub batches: u64,
    /// The size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// The leaf hash of the last entry, in hex.
    pub chain: String,
    /// The roots of the full subtrees behind the last entry, in hex, largest first.
    pub frontier: Vec<String>,
    /// The time of the oldest entry.
    pub from: Timestamp,
    /// The time of the newest entry.
    pub until: Timestamp,
    /// When it was made.
    pub made: Timestamp,
}

impl ArchiveRecord {
    /// The sequence behind the last entry.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first.saturating_add(self.entries)
    }

    pub(super) fn tree(&self) -> Option<(Hash, Vec<Hash>)> {
        let frontier: Option<_> = self.frontier.iter().map(|root| parse_hex32(root)).collect();
        Some((parse_hex32(&self.chain)?, frontier?))
    }
}

/// How an archive was found when it was looked at last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The file is there and of the right size; it was not read through since the start.
    Present,
    /// It was read through and is what was archived.
    Sound(Timestamp),
    /// There is no such file.
    Missing,
    /// It is not what was archived.
    Damaged(String),
}

/// An archive on the list.
#[derive(Debug)]
pub struct Held {
    /// What the store keeps of it.
    pub record: ArchiveRecord,
    state: ArcSwap<State>,
}

impl Held {
    fn new(record: ArchiveRecord, state: State) -> Arc<Self> {
        Arc::new(Self { record, state: ArcSwap::from_pointee(state) })
    }

    /// How it was found last.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    fn damaged(&self, damage: &Damage) -> Error {
        let state = match damage.missing {
            true => State::Missing,
            false => State::Damaged(format!("{}: {}", damage.place, damage.reason)),
        };
        self.state.store(Arc::new(state));
        self.unreadable(&match damage.missing {
            true => "the file is missing".to_owned(),
            false => format!("{}: {}", damage.place, damage.reason),
        })
    }

    fn unreadable(&self, reason: &str) -> Error {
        Error::Archive {
            file: self.record.file.clone(),
            first: self.record.first,
            last: self.record.end().saturating_sub(1),
            reason: reason.to_owned(),
        }
    }
}

/// The archives of a writer's log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Archives(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    writer: String,
    dir: PathBuf,
    list: ArcSwap<Vec<Arc<Held>>>,
    /// Entries before this one are to be read from archives.
    end: AtomicU64,
    /// No batch of an entry before this one is in the store any more, as far as is known: where to
    /// look for the oldest, without passing over all that were deleted.
    pruned: AtomicU64,
}

impl Archives {
    /// Reads the list from the store, and looks whether the files are there.
    ///
    /// # Errors
    /// When the store fails or a record does not open. What is wrong with files is in their state.
    pub async fn load(store: Store, writer: &str, dir: PathBuf) -> Result<Self, Error> {
        let prefix = layout::archives(writer);
        let (mut list, mut after) = (Vec::new(), None);
        loop {
            let page = store.scan::<ArchiveRecord>(&prefix, after.as_ref(), 500).await?;
            after = page.records.last().map(|(path, _)| path.clone());
            list.extend(page.records.into_iter().map(|(_, r)| Held::new(r.value, State::Present)));
            if !page.more {
                break;
            }
        }
        let end = list.last().map_or(0, |held| held.record.end());
        let (list, end) = (ArcSwap::from_pointee(list), AtomicU64::new(end));
        let (writer, pruned) = (writer.to_owned(), AtomicU64::new(0));
        let archives = Self(Arc::new(Inner { store, writer, dir, list, end, pruned }));
        archives.look();
        Ok(archives)
    }

    /// Where the files lie.
    #[must_use]
    pub fn dir(&self) -> &FilePath {
        &self.0.dir
    }

    /// The archives, oldest first.
    #[must_use]
    pub fn list(&self) -> Arc<Vec<Arc<Held>>> {
        self.0.list.load_full()
    }

    /// The first sequence that no archive holds.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.0.end.load(Ordering::Acquire)
    }

    /// The last sequence of the oldest batch that is in the store.
    pub(super) async fn oldest_stored(&self) -> Result<Option<u64>, Error> {
        let after = match self.0.pruned.load(Ordering::Acquire).checked_sub(1) {
            Some(before) => Some(batch::path(&self.0.writer, before)?),
            None => None,
        };
        let prefix = batch::prefix(&self.0.writer);
        let page = self.0.store.backend().scan(&prefix, after.as_ref(), 1, View::Now).await?;
        let Some(oldest) = page.entries.first() else { return Ok(None) };
        u64::from_str_radix(oldest.path.last_segment(), 16)
            .map(Some)
            .map_err(|_| Error::Batch(oldest.path.to_string()))
    }

    /// Batches up to the one that ends with this entry were deleted from the store.
    pub(super) fn was_pruned(&self, last: u64) {
        self.0.pruned.fetch_max(last.saturating_add(1), Ordering::AcqRel);
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.0.dir.join(file)
    }

    pub(super) fn writer(&self) -> &str {
        &self.0.writer
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Puts an archive on the list, once its record is durable.
    pub(super) fn add(&self, record: ArchiveRecord) {
        let mut list = Vec::clone(&self.0.list.load());
        let end = record.end();
        let made = record.made;
        list.push(Held::new(record, State::Sound(made)));
        self.0.list.store(Arc::new(list));
        // Behind the list: whoever reads the new end finds the archive.
        self.0.end.store(end, Ordering::Release);
    }

    /// Which archive holds this entry.
    fn holding(&self, seq: u64) -> Option<Arc<Held>> {
        let list = self.0.list.load();
        let at = list.partition_point(|held| held.record.end() <= seq);
        list.get(at).filter(|held| held.record.first <= seq).cloned()
    }

    /// Entries from `from` on, out of the archive that holds it.
    ///
    /// # Errors
    /// [`Error::Archive`] names the file, its range and what is wrong with it.
    pub(crate) fn page(
        &self,
        from: u64,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let held = self.holding(from).ok_or(Error::Missing(from))?;
        let archive = self.open(&held)?;
        archive.page(&self.0.store, from, limit, max_bytes).map_err(|damage| held.damaged(&damage))
    }

    /// Opens the file of an archive, which must be of its range and size.
    pub(super) fn open(&self, held: &Held) -> Result<Archive, Error> {
        let record = &held.record;
        let archive =
            Archive::open(&self.path(&record.file)).map_err(|damage| held.damaged(&damage))?;
        let summary = archive.summary();
        let same = archive.bytes() == record.bytes
            && (summary.first, summary.entries) == (record.first, record.entries)
            && summary.writer == self.0.writer
            && hex(&summary.after) == record.chain;
        if same {
            return Ok(archive);
        }
        let reason = "it is not the archive that was made";
        Err(held.damaged(&archive.damage("the whole file".to_owned(), reason)))
    }

    /// Looks whether the files are there, without reading them through; one that has come back is
    /// usable again. That a damaged one is well, only [`Archives::check`] can say.
    pub fn look(&self) {
        for held in self.list().iter() {
            if matches!(*held.state(), State::Damaged(_)) {
                continue;
            }
            let missing = *held.state() == State::Missing;
            if self.open(held).is_ok() && missing {
                held.state.store(Arc::new(State::Present));
            }
        }
    }

    /// Reads an archive through: it is the file that was made, and every batch opens.
    /// `keep_going` is asked now and then, and may rest; `false` ends it undecided.
    ///
    /// # Errors
    /// As [`Archives::page`] would answer.
    pub fn check(
        &self,
        held: &Held,
        now: Timestamp,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<bool, Error> {
        let archive = self.open(held)?;
        let checked = examine(&archive, &[], &[], &mut |_| {
            let _: bool = keep_going();
        });
        let examined = checked.map_err(|damage| held.damaged(&damage))?;
        if hex(&examined.sha256) != held.record.sha256 {
            let reason = "it is not the archive that was made";
            return Err(held.damaged(&archive.damage("the whole file".to_owned(), reason)));
        }
        let opened = open_all(&archive, &self.0.store, keep_going);
        if !opened.map_err(|damage| held.damaged(&damage))? {
            return Ok(false);
        }
        held.state.store(Arc::new(State::Sound(now)));
        Ok(true)
    }

    /// What is wrong, one line an archive.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let (list, mut next, mut problems) = (self.list(), 0, Vec::new());
        for held in list.iter() {
            let record = &held.record;
            let range = format!("entries {} to {}", record.first, record.end().saturating_sub(1));
            match &*held.state() {
                State::Present | State::Sound(_) => {}
                State::Missing => problems.push(format!(
                    "the archive `{}` with {range} of the audit log is missing",
                    record.file
                )),
                State::Damaged(why) => problems.push(format!(
                    "the archive `{}` with {range} of the audit log is damaged: {why}",
                    record.file
                )),
            }
            if record.first != next {
                let finding = verify::Finding::Sequence { expected: next, found: record.first };
                problems.push(format!("the list of archives: {finding}"));
            }
            next = record.end();
        }
        problems
    }
}
