//! An index over the log: files of postings, one a block of 16,384 entries, and the newest entries
//! in memory. It is derived: whatever of it is missing, damaged or of another history is made again
//! from the entries, in the background, and until then those entries are looked at one by one.
//!
//! What must stay true: an answer holds every entry that fits and was durable when it was asked
//! for, whatever state the index is in, and no other.

mod block;
mod fetch;
mod file;
mod filter;
mod postings;
mod query;
mod term;
mod work;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hub_model::RegistrationId;
use tokio::sync::Notify;

use self::block::{Builder, Header};
use self::fetch::Fetcher;
use self::file::{Damage, Folder};
use self::postings::BLOCK;
use crate::merkle::leaf_hash;
use crate::turns::Turns;
use crate::{Error, Log};

pub use self::filter::Filter;
pub use self::query::{Found, Order, Query};

/// The index of a log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Index(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Log,
    folder: Option<Folder>,
    state: RwLock<State>,
    turns: Turns,
    /// A block was found missing or damaged.
    repair: Notify,
    /// Until when nothing is repaired, after a repair that failed.
    pause: Mutex<Option<std::time::Instant>>,
    damaged: AtomicU64,
    built: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Whole blocks.
    blocks: Vec<Slot>,
    /// The entries after them.
    live: Builder,
}

/// What is known of a whole block.
#[derive(Clone, Debug)]
enum Slot {
    /// Not looked at since the start.
    Unknown,
    /// Usable.
    Ready(Arc<Block>),
    /// To be made.
    Absent,
}

#[derive(Debug)]
struct Block {
    header: Header,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory(Vec<Vec<u8>>),
    File,
}

/// How far the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Entries that were seen.
    pub position: u64,
    /// Durable entries that were not seen yet.
    pub lag: u64,
    /// Blocks that are not usable yet: not looked at since the start, or to be made.
    pub pending: u64,
    /// Files found damaged, missing or foreign, since the start.
    pub damaged: u64,
    /// Blocks written since the start.
    pub built: u64,
}

impl Index {
    /// The index of this log, with files in `folder`, or in memory alone. Knows nothing before
    /// [`Index::run`], and answers all the same.
    #[must_use]
    pub fn new(log: Log, folder: Option<PathBuf>) -> Self {
        let keys = Arc::clone(log.keys());
        let writer = log.appender().writer().to_owned();
        let folder = folder.map(|path| Folder { path, keys, writer });
        let whole = log.appender().position().audit.size / BLOCK;
        let blocks = (0..whole).map(|_| Slot::Unknown).collect();
        Self(Arc::new(Inner {
            log,
            folder,
            state: RwLock::new(State { blocks, live: Builder::new(whole * BLOCK) }),
            turns: Turns::default(),
            repair: Notify::new(),
            pause: Mutex::default(),
            damaged: AtomicU64::new(0),
            built: AtomicU64::new(0),
        }))
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> Status {
        let size = self.0.log.appender().position().audit.size;
        let state = self.state();
        let position = state.live.end();
        let ready = state.blocks.iter().filter(|slot| matches!(slot, Slot::Ready(_))).count();
        let pending = (state.blocks.len() - ready) as u64;
        drop(state);
        Status {
            position,
            lag: size.saturating_sub(position),
            pending,
            damaged: self.0.damaged.load(Ordering::Relaxed),
            built: self.0.built.load(Ordering::Relaxed),
        }
    }

    /// Answers a query, on a thread that may block. Looks at what was durable when it was asked
    /// for, and no further than the query's end.
    ///
    /// # Errors
    /// When entries cannot be read.
    pub async fn query(&self, query: Query) -> Result<Found, Error> {
        self.answer(query, query::BUDGET, None).await
    }

    /// The same for a caller of this registration: of each registration one query is worked on at a
    /// time.
    ///
    /// # Errors
    /// As [`Index::query`].
    pub async fn query_by(&self, asker: RegistrationId, query: Query) -> Result<Found, Error> {
        self.answer(query, query::BUDGET, Some(asker)).await
    }

    /// The same with another bound of what one answer may cost, in something like microseconds.
    ///
    /// # Errors
    /// As [`Index::query`].
    pub async fn query_within(&self, query: Query, budget: u64) -> Result<Found, Error> {
        self.answer(query, budget, None).await
    }

    async fn answer(
        &self,
        mut query: Query,
        budget: u64,
        asker: Option<RegistrationId>,
    ) -> Result<Found, Error> {
        query.end = query.end.min(self.0.log.appender().position().audit.size);
        let turn = self.0.turns.turn(asker).await?;
        let index = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = hub_store::block_on(index.look(&query, budget));
            drop(turn);
            answer
        });
        answer.await.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A whole block; none for the entries after them.
    fn slot(&self, number: u64) -> Option<Slot> {
        let at = usize::try_from(number).ok()?;
        self.state().blocks.get(at).cloned()
    }

    fn put(&self, number: u64, slot: Slot) {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(here) = self.change().blocks.get_mut(at) {
            *here = slot;
        }
    }

    /// Looks at the file of a block for the first time: whether it is one, and of these entries.
    async fn check(&self, number: u64) -> Result<Option<Arc<Block>>, Error> {
        let Some(folder) = &self.0.folder else {
            self.put(number, Slot::Absent);
            return Ok(None);
        };
        let header = match folder.header(number) {
            Ok(header) => header,
            // Never made yet, or taken away while nobody looked.
            Err(Damage::Missing) => {
                self.put(number, Slot::Absent);
                self.0.repair.notify_one();
                return Ok(None);
            }
            Err(damage) => {
                self.lost(number, &damage);
                return Ok(None);
            }
        };
        let last = (number + 1) * BLOCK - 1;
        let entry = Fetcher::new(&self.0.log).entry(last).await?;
        if leaf_hash(&entry) != header.leaf {
            self.lost(number, &Damage::Foreign);
            return Ok(None);
        }
        let block = Arc::new(Block { header, source: Source::File });
        self.put(number, Slot::Ready(Arc::clone(&block)));
        Ok(Some(block))
    }

    /// A block is of no use: it is made again.
    fn lost(&self, number: u64, damage: &Damage) {
        tracing::warn!(
            block = number, why = %damage,
            "a file of the audit log's index is of no use; it is made again from the entries"
        );
        self.0.damaged.fetch_add(1, Ordering::Relaxed);
        self.put(number, Slot::Absent);
        self.0.repair.notify_one();
    }
}
