//! Following the log: whoever works through entries after they are durable (tiles, index, sinks)
//! takes them from here, in order and without gaps. The newest lie in memory, shared by all
//! followers as the appender committed them; who lags behind reads the store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::merkle::{self, Hash};
use crate::{Error, Log};

/// Bytes of entries kept in memory for followers.
const KEPT: usize = 4 * 1024 * 1024;
/// Entries read from the store at once by a follower who lags behind.
const PAGE: usize = 1024;

/// Consecutive entries that are durable, as they are stored.
#[derive(Debug)]
pub struct Committed {
    first: u64,
    bytes: Vec<u8>,
    /// Where each entry ends in `bytes`, and its leaf hash.
    entries: Vec<(std::ops::Range<usize>, Hash)>,
}

impl Committed {
    pub(crate) fn new(
        first: u64,
        mut bytes: Vec<u8>,
        entries: Vec<(std::ops::Range<usize>, Hash)>,
    ) -> Self {
        // A group of one was written into a buffer for many.
        bytes.shrink_to_fit();
        Self { first, bytes, entries }
    }

    pub(crate) fn of_page(page: Vec<(u64, Vec<u8>)>) -> Option<Self> {
        let (first, _) = page.first()?;
        let mut found = Self { first: *first, bytes: Vec::new(), entries: Vec::new() };
        for (_, entry) in &page {
            let start = found.bytes.len();
            found.bytes.extend_from_slice(entry);
            found.entries.push((start..found.bytes.len(), merkle::leaf_hash(entry)));
        }
        Some(found)
    }

    /// The sequence of the first entry.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The sequence after the last entry.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Sequence, stored bytes and leaf hash of the entries from `from` on.
    pub fn entries(&self, from: u64) -> impl Iterator<Item = (u64, &[u8], &Hash)> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let seqs = self.first..;
        seqs.zip(&self.entries).skip(skip).map(|(seq, (range, leaf))| {
            (seq, self.bytes.get(range.clone()).unwrap_or_default(), leaf)
        })
    }

    const fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<(std::ops::Range<usize>, Hash)>()
    }
}

/// The newest committed entries.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    kept: Mutex<Kept>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    groups: VecDeque<Arc<Committed>>,
    bytes: usize,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a group that has just become durable.
    pub(crate) fn push(&self, group: Committed) {
        let mut kept = self.lock();
        kept.bytes += group.size();
        kept.groups.push_back(Arc::new(group));
        while kept.bytes > KEPT && kept.groups.len() > 1 {
            if let Some(oldest) = kept.groups.pop_front() {
                kept.bytes -= oldest.size();
            }
        }
        drop(kept);
        self.arrived.notify_waiters();
    }

    /// The group that holds this entry.
    pub(crate) fn find(&self, seq: u64) -> Option<Arc<Committed>> {
        let kept = self.lock();
        let at = kept.groups.partition_point(|group| group.end() <= seq);
        kept.groups.get(at).filter(|group| group.first() <= seq).cloned()
    }
}

/// Works through the log in order. See [`Log::follow`].
#[derive(Debug)]
pub struct Follower {
    log: Log,
    next: u64,
}

impl Follower {
    pub(crate) const fn new(log: Log, next: u64) -> Self {
        Self { log, next }
    }

    /// The sequence of the entry that comes next.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// How many durable entries are still to come.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.log.appender().position().audit.size.saturating_sub(self.next)
    }

    /// Goes on at another place.
    pub const fn seek(&mut self, next: u64) {
        self.next = next;
    }

    /// What comes next, if it is durable already. Its first entries may have been seen: take
    /// [`Committed::entries`] from the position asked for. Moves on behind it.
    ///
    /// # Errors
    /// As [`Log::page`], and when entries that should be there are not.
    pub async fn try_next(&mut self) -> Result<Option<Arc<Committed>>, Error> {
        if self.lag() == 0 {
            return Ok(None);
        }
        let recent = self.log.appender().recent();
        let found = if let Some(group) = recent.find(self.next) {
            group
        } else {
            let page = self.log.page(self.next, PAGE).await?;
            let whole = page.iter().zip(self.next..).all(|((seq, _), wanted)| *seq == wanted);
            match Committed::of_page(page) {
                Some(found) if whole => Arc::new(found),
                _ => return Err(Error::Missing(self.next)),
            }
        };
        self.next = found.end();
        Ok(Some(found))
    }

    /// Waits for what comes next. Cancelling loses nothing. Whoever does not need every group at
    /// once lingers a little before calling again: entries then come many at a time, and the
    /// appender wakes nobody meanwhile.
    ///
    /// # Errors
    /// As [`Follower::try_next`].
    pub async fn next(&mut self) -> Result<Arc<Committed>, Error> {
        loop {
            let appender = self.log.appender().clone();
            let arrived = appender.recent().arrived.notified();
            tokio::pin!(arrived);
            // Registered before the look, so that no group falls in between.
            arrived.as_mut().enable();
            if let Some(found) = self.try_next().await? {
                return Ok(found);
            }
            arrived.await;
        }
    }
}
