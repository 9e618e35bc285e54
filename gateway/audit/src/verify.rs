//! Verification by someone who trusts neither the operator nor the hub: recomputes every leaf hash,
//! the chain and the Merkle root, and holds them against a signed checkpoint.

mod damage;
mod entries;
mod follow;
mod keys;
pub mod offline;
pub mod scan;

pub use damage::{Failed, Place, What};
pub use entries::Kept;
pub use follow::{Followed, Follower, MAX_NOTE, MAX_NOTES};
pub use keys::Keyring;

use crate::checkpoint::Checkpoint;
use crate::encode::hex;
use crate::merkle;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// An entry is not JSON of the known version.
    #[error("entry {0} is not an entry of a known format")]
    Format(u64),
    /// Entries are missing, doubled or out of order.
    #[error("expected entry {expected}, found {found}: entries are missing, added or out of order")]
    Sequence {
        /// The sequence that should come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// An entry does not follow the one before it.
    #[error("entry {0} does not follow the entry before it: one of the two was altered")]
    Chain(u64),
    /// An entry of another writer.
    #[error("entry {0} belongs to another writer")]
    Writer(u64),
    /// Entries ended before the checkpoint's size.
    #[error("the log ends at entry {found}, but a checkpoint has seen {expected}: it was cut")]
    Cut {
        /// Entries the checkpoint covers.
        expected: u64,
        /// Entries there are.
        found: u64,
    },
    /// The recomputed root is not the checkpoint's.
    #[error("the log's root at {0} entries is not the signed one: an entry before it was altered")]
    Root(u64),
    /// The checkpoint itself is not valid.
    #[error("the checkpoint is not valid: {0}")]
    Checkpoint(String),
}

/// Takes entries one by one, from the first.
#[derive(Debug, Default)]
pub struct Verifier {
    size: u64,
    chain: merkle::Hash,
    frontier: Vec<merkle::Hash>,
    writer: Option<String>,
    checkpoints: Vec<Checkpoint>,
    passed: u64,
}

impl Verifier {
    /// A verifier that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A verifier of the chain alone that goes on after `size` entries. It cannot recompute roots.
    #[must_use]
    pub fn resume(size: u64, chain: merkle::Hash) -> Self {
        Self { size, chain, ..Self::default() }
    }

    /// The leaf hash of the last entry taken.
    #[must_use]
    pub const fn chain(&self) -> merkle::Hash {
        self.chain
    }

    /// Adds a checkpoint (its signature already checked) to be met on the way.
    ///
    /// # Errors
    /// [`Finding::Root`] when its size has been passed already without it.
    pub fn expect(&mut self, checkpoint: Checkpoint) -> Result<(), Finding> {
        if checkpoint.size < self.size {
            return Err(Finding::Checkpoint("given too late to be checked".to_owned()));
        }
        self.checkpoints.push(checkpoint);
        self.meet()
    }

    /// Takes the next entry's stored bytes.
    ///
    /// # Errors
    /// The first [`Finding`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Finding> {
        let expected = self.size;
        let links = scan::scan(bytes).map_err(|_| Finding::Format(expected))?;
        if links.v != 1 || bytes.len() > crate::encode::MAX_ENTRY {
            return Err(Finding::Format(expected));
        }
        if links.seq != expected {
            return Err(Finding::Sequence { expected, found: links.seq });
        }
        if links.prev != self.chain {
            return Err(Finding::Chain(expected));
        }
        match &self.writer {
            Some(writer) if *writer != links.writer => return Err(Finding::Writer(expected)),
            Some(_) => {}
            None => self.writer = Some(links.writer.to_owned()),
        }
        let leaf = merkle::leaf_hash(bytes);
        merkle::push(&mut self.frontier, self.size, leaf);
        self.chain = leaf;
        self.size += 1;
        self.meet()
    }

    fn meet(&mut self) -> Result<(), Finding> {
        let (size, chain) = (self.size, self.chain);
        if !self.checkpoints.iter().any(|c| c.size == size) {
            return Ok(());
        }
        let root = merkle::root(&self.frontier);
        for checkpoint in self.checkpoints.extract_if(.., |c| c.size == size) {
            if checkpoint.root != root || checkpoint.chain != chain {
                return Err(Finding::Root(size));
            }
            self.passed += 1;
        }
        Ok(())
    }

    /// Ends the run.
    ///
    /// # Errors
    /// [`Finding::Cut`] when a checkpoint has seen more entries than came.
    pub fn finish(self) -> Result<Verified, Finding> {
        if let Some(missed) = self.checkpoints.iter().max_by_key(|c| c.size) {
            return Err(Finding::Cut { expected: missed.size, found: self.size });
        }
        Ok(Verified {
            entries: self.size,
            checkpoints: self.passed,
            root: hex(&merkle::root(&self.frontier)),
            chain: hex(&self.chain),
        })
    }
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many entries.
    pub entries: u64,
    /// How many checkpoints were met.
    pub checkpoints: u64,
    /// The Merkle root over all entries, in hex.
    pub root: String,
    /// The leaf hash of the last entry, in hex.
    pub chain: String,
}
