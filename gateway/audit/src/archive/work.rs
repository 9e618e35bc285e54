//! The archiver: one archive after the other, each in steps that can end anywhere and go on later.
//! First the file; then its record, with an entry; then the batches leave the store, some of them a
//! commit, each commit with an entry.

use std::time::Duration;

use hub_model::entry::AuditEntry;
use hub_model::{HubId, Timestamp};
use hub_store::{Changes, layout};
use serde::Deserialize;

use super::check::paths;
use super::make::{Bounds, Order};
use super::set::{ArchiveRecord, Archives};
use crate::{Error, Log};

/// Batches deleted in one commit: with a record and what a commit adds by itself they stay within
/// what a transaction holds.
const PRUNED: usize = 90;
/// Rest between such commits, so that requests come first.
const REST: Duration = Duration::from_millis(10);

/// What is to be archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Entries from before.
    pub before: Timestamp,
    /// An archive that is not full is made only when its oldest entry is from before this.
    pub partial_before: Timestamp,
}

/// What a step did.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It made this archive.
    Made(Box<ArchiveRecord>),
    /// This many batches left the store.
    Pruned(u64),
    /// There is nothing to do.
    Idle,
}

/// What would be archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Entries, about: dates in a log are in order up to the work of a moment.
    pub entries: u64,
    /// The bytes of these entries, by a sample of them.
    pub bytes: u64,
    /// Archives.
    pub archives: u64,
}

/// Makes archives of a log.
#[derive(Debug)]
pub struct Archiver {
    log: Log,
    archives: Archives,
    hub: HubId,
    /// Entries of one archive.
    target: u64,
}

#[derive(Deserialize)]
struct Timed {
    time: Timestamp,
}

impl Archiver {
    /// An archiver of this log, which must have been opened with archives.
    #[must_use]
    pub fn new(log: &Log, hub: HubId, target: u64) -> Option<Self> {
        let archives = log.archives()?.clone();
        Some(Self { log: log.clone(), archives, hub, target: target.max(1) })
    }

    /// The archives there are.
    #[must_use]
    pub const fn archives(&self) -> &Archives {
        &self.archives
    }

    /// The sequence that archives may reach: what the newest checkpoint covers, and never the last
    /// entry, so that a start finds in the store what it holds against its checkpoint.
    fn limit(&self) -> u64 {
        let covered = self.log.latest().map_or(0, |signed| signed.checkpoint.size);
        covered.min(self.log.appender().position().audit.size).saturating_sub(1)
    }

    async fn time(&self, seq: u64) -> Result<Timestamp, Error> {
        let bytes = self.log.entry(seq).await?.ok_or(Error::Missing(seq))?;
        let entry: Timed =
            serde_json::from_slice(&bytes).map_err(|_| Error::Batch(format!("entry {seq}")))?;
        Ok(entry.time)
    }

    /// What would be archived now. Reads a few dozen entries.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn survey(&self, before: Timestamp) -> Result<Survey, Error> {
        let (first, limit) = (self.archives.end(), self.limit());
        let (mut low, mut high) = (first, limit.max(first));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time(middle).await? < before { low = middle + 1 } else { high = middle }
        }
        let entries = low - first;
        let (mut sampled, mut bytes) = (0u64, 0u64);
        for part in 0..entries.min(32) {
            let seq = first + part * (entries / entries.clamp(1, 32));
            bytes += self.log.entry(seq).await?.map_or(0, |entry| entry.len() as u64);
            sampled += 1;
        }
        let bytes = entries.saturating_mul(bytes) / sampled.max(1);
        Ok(Survey { entries, bytes, archives: entries.div_ceil(self.target) })
    }

    /// Makes the file of the next archive, if one is due. Blocks: reads, writes and reads again
    /// what goes into it. `keep_going` is asked now and then, and may rest.
    ///
    /// # Errors
    /// When reading, writing or comparing fails: nothing has changed.
    pub fn make(
        &self,
        goal: Goal,
        now: Timestamp,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<ArchiveRecord>, Error> {
        let (first, end) = (self.archives.end(), self.limit());
        if first >= end {
            return Ok(None);
        }
        let (oldest, last) = (first, first.saturating_add(self.target - 1));
        let due = hub_store::block_on(async {
            Ok::<_, Error>(
                self.time(oldest).await? < goal.partial_before
                    || (last < end && self.time(last).await? < goal.before),
            )
        })?;
        if !due {
            return Ok(None);
        }
        // Its record could not be written: the file would be made again and again.
        let appender = self.log.appender();
        if appender.sinks_behind() || appender.low_space() {
            let reason = "the log takes no entries: a sink is behind, or the disk is nearly full";
            return Err(Error::NotArchived(reason.to_owned()));
        }
        let (before, frontier) = match self.archives.list().last() {
            None => ([0; 32], Vec::new()),
            Some(held) => held.record.tree().ok_or_else(|| {
                Error::NotArchived(format!("the record of `{}` is malformed", held.record.file))
            })?,
        };
        let signing = self.log.keys().checkpoint_keys();
        let order = Order {
            log: &self.log,
            store: self.archives.store(),
            dir: self.archives.dir(),
            writer: self.archives.writer(),
            hub: self.hub,
            key: signing.active(),
            first,
            before,
            frontier,
            bounds: Bounds { before: goal.before, end, entries: self.target },
            now,
            keep_going,
        };
        order.make()
    }

    /// Enters an archive into the store, with an entry that names range, file and SHA-256. From then
    /// on its entries are read from it.
    ///
    /// # Errors
    /// [`Error::Conflict`] when there is a record of it already, or as any append.
    pub async fn record(
        &self,
        made: ArchiveRecord,
        entry: &(dyn Fn(&'static str, String) -> AuditEntry + Sync),
    ) -> Result<(), Error> {
        let path = layout::archive(self.archives.writer(), made.first);
        let mut changes = Changes::new();
        changes.check_absent(&path).put(&path, &made)?;
        let last = made.end().saturating_sub(1);
        let detail =
            format!("entries {} to {last} in {}, sha256 {}", made.first, made.file, made.sha256);
        let entry = entry("audit.archived", detail);
        let _receipt = self.log.appender().append(&entry, changes).await?;
        self.archives.add(made);
        Ok(())
    }

    /// Takes batches that lie in archives out of the store, oldest first, at most this many commits.
    /// Answers how many there were: 0 when none is left. An archive is read through before its first
    /// batch goes, unless it was since the start.
    ///
    /// # Errors
    /// [`Error::Archive`] when the archive is not what it was: nothing is deleted then.
    pub async fn prune(
        &self,
        commits: usize,
        now: Timestamp,
        entry: &(dyn Fn(&'static str, String) -> AuditEntry + Sync),
        keep_going: &(dyn Fn() -> bool + Sync),
    ) -> Result<u64, Error> {
        let mut pruned = 0;
        for _ in 0..commits {
            // Only what is named is deleted, and only while an archive holds it.
            let Some(last) = self.archives.oldest_stored().await? else { break };
            let list = self.archives.list();
            let at = list.partition_point(|held| held.record.end() <= last);
            let Some(held) = list.get(at).filter(|held| held.record.first <= last) else { break };
            if !matches!(*held.state(), super::State::Sound(_))
                && !self.archives.check(held, now, keep_going)?
            {
                break;
            }
            let archive = self.archives.open(held)?;
            let found = paths(&archive, last, PRUNED).map_err(|damage| Error::Archive {
                file: damage.file.clone(),
                first: held.record.first,
                last: held.record.end().saturating_sub(1),
                reason: damage.to_string(),
            })?;
            let mut changes = Changes::new();
            for (_, path) in &found {
                changes.delete_archived(path);
            }
            let end = found.last().map_or(last, |(last, _)| *last);
            let detail = format!("entries up to {end} are in {} only", held.record.file);
            let entry = entry("audit.pruned", detail);
            let _receipt = self.log.appender().append(&entry, changes).await?;
            self.archives.was_pruned(end);
            pruned += found.len() as u64;
            if !keep_going() {
                break;
            }
            tokio::time::sleep(REST).await;
        }
        Ok(pruned)
    }

    /// Whether batches of archives are still in the store.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn to_prune(&self) -> Result<bool, Error> {
        let oldest = self.archives.oldest_stored().await?;
        Ok(oldest.is_some_and(|last| last < self.archives.end()))
    }
}
