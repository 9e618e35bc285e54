//! Getting deleted values out of the files. fjall keeps them in its journal until that has grown to
//! 64 MB and in tables until those are compacted; there is no call for either, so the journal is
//! filled up with zeros and turned, and tables are compacted by hand.
//!
//! What the file system and the disk below keep of removed files is beyond reach.

use std::time::{Duration, Instant};

use fjall::{Keyspace, PersistMode};

use super::{FjallBackend, read};
use crate::Error;

const FILLER_KEY: &[u8] = b"\0filler";
const FILLER: usize = 1024 * 1024;
// fjall turns its journal past 64,000,000 bytes.
const FILLERS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

impl FjallBackend {
    pub(super) fn purge_now(&self) -> Result<(), Error> {
        if let Some(reason) = &self.lock()?.refused {
            return Err(Error::Poisoned(reason.clone()));
        }
        let deadline = Instant::now() + PATIENCE;
        // Pinned scans would keep the old values alive.
        self.pins.clear();
        for _ in 0..FILLERS {
            let mut batch = self.db.batch().durability(None);
            batch.insert(&self.records, FILLER_KEY, vec![0; FILLER]);
            read(|| batch.commit())?;
        }
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        batch.remove(&self.records, FILLER_KEY);
        read(|| batch.commit())?;
        // The first flush turns the journal; it goes once what it holds of all keyspaces, commits
        // made meanwhile included, lies in tables.
        while self.journal_holds_more_than_one() || self.filled_up()? {
            self.flush(deadline)?;
        }
        for keyspace in self.keyspaces() {
            read(|| keyspace.major_compact())?;
        }
        // The files of the tables compacted go with the next flush.
        self.flush(deadline)
    }

    /// Deleted batches are in tables that nothing overlaps: the engine has no reason of its own to
    /// merge them with the marks that delete them.
    pub(super) fn reclaim_log_now(&self) -> Result<(), Error> {
        if let Some(reason) = &self.lock()?.refused {
            return Err(Error::Poisoned(reason.clone()));
        }
        let deadline = Instant::now() + PATIENCE;
        self.flush_one(&self.log, deadline)?;
        read(|| self.log.major_compact())?;
        // The files of the tables compacted go with the next flush.
        self.flush_one(&self.log, deadline + PATIENCE)
    }

    fn flush_one(&self, keyspace: &Keyspace, deadline: Instant) -> Result<(), Error> {
        self.touch(keyspace)?;
        read(|| keyspace.rotate_memtable())?;
        while keyspace.sealed_memtable_count() > 0 {
            if Instant::now() > deadline {
                return Err(Error::Engine("tables are not being written".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn journal_holds_more_than_one(&self) -> bool {
        self.db.journal_count() > 1
    }

    /// Whether the active journal still is the one that was filled.
    fn filled_up(&self) -> Result<bool, Error> {
        Ok(super::files::largest_journal(&self.dir)? > FILLER as u64 * (FILLERS as u64 - 1))
    }

    /// Writes what is in memory to tables.
    fn flush(&self, deadline: Instant) -> Result<(), Error> {
        for keyspace in self.keyspaces() {
            self.touch(keyspace)?;
            read(|| keyspace.rotate_memtable())?;
        }
        while self.keyspaces().iter().any(|k| k.sealed_memtable_count() > 0) {
            if Instant::now() > deadline {
                return Err(Error::Engine("tables are not being written".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if Instant::now() > deadline {
            return Err(Error::Engine("the journal does not go away".to_owned()));
        }
        Ok(())
    }

    /// Leaves something in memory, because nothing is not flushed.
    fn touch(&self, keyspace: &Keyspace) -> Result<(), Error> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        batch.remove(keyspace, FILLER_KEY);
        read(|| batch.commit())
    }
}
