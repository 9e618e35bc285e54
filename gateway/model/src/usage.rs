//! How much a version was used: operations, bytes, last use. Counters that limits rely on must never
//! be too low, so they are reserved in durable blocks before use ([`Reservation`]).

mod block;

use serde::{Deserialize, Serialize};

pub use block::{Block, Taken};

use crate::Timestamp;

/// Operations and the bytes they worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tally {
    /// How many operations.
    pub operations: u64,
    /// How many bytes of plaintext or message.
    pub bytes: u64,
}

impl Tally {
    /// One operation on this many bytes.
    #[must_use]
    pub const fn one(bytes: u64) -> Self {
        Self { operations: 1, bytes }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            operations: self.operations.saturating_add(other.operations),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// The two sides of a key's use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Encrypt, sign, wrap: what wears a key out.
    Protect,
    /// Decrypt, verify, unwrap.
    Process,
}

/// How much one version was used. Counts stop at the largest number instead of starting anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageCounters {
    /// Data protected under it.
    pub protect: Tally,
    /// Data processed with it.
    pub process: Tally,
    /// When it was last used. Written with the counts, so after a crash it may lie before the last
    /// use, never after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_use: Option<Timestamp>,
    /// When data was last processed with it, in the same sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_process: Option<Timestamp>,
}

impl UsageCounters {
    /// Counts one use.
    pub fn count(&mut self, side: Side, use_: Tally, now: Timestamp) {
        let tally = self.side_mut(side);
        *tally = tally.plus(use_);
        self.last_use = self.last_use.max(Some(now));
        if side == Side::Process {
            self.last_process = self.last_process.max(Some(now));
        }
    }

    /// Adds the counts of another place, such as another node.
    pub fn merge(&mut self, other: &Self) {
        self.protect = self.protect.plus(other.protect);
        self.process = self.process.plus(other.process);
        self.last_use = self.last_use.max(other.last_use);
        self.last_process = self.last_process.max(other.last_process);
    }

    /// The counts of one side.
    #[must_use]
    pub const fn side(&self, side: Side) -> Tally {
        match side {
            Side::Protect => self.protect,
            Side::Process => self.process,
        }
    }

    /// All operations of both sides.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.protect.plus(self.process).operations
    }

    /// All bytes of both sides.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.protect.plus(self.process).bytes
    }

    const fn side_mut(&mut self, side: Side) -> &mut Tally {
        match side {
            Side::Protect => &mut self.protect,
            Side::Process => &mut self.process,
        }
    }
}

/// The counters of one version on one node, and how far ahead of them the durable record is.
///
/// A use is [taken](Self::take) before it happens. When the reserved block is used up, the answer
/// is the record that must be durable first; [`Self::reserved`] says that it is.
///
/// INVARIANT: the durable record is at no time below what was taken. What a crash costs is the rest
/// of one block of each counter, counted as used.
#[derive(Clone, Debug)]
pub struct Reservation {
    protect: Blocks,
    process: Blocks,
    last_use: Option<Timestamp>,
    last_process: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Blocks {
    operations: Block,
    bytes: Block,
}

/// The answer to a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Counted; the durable record covers it.
    Taken,
    /// Nothing is counted. Make this record durable, call [`Reservation::reserved`], take again.
    NeedsReservation(UsageCounters),
}

impl Reservation {
    /// Goes on from the durable record; what was reserved before counts as used.
    #[must_use]
    pub const fn resume(durable: &UsageCounters) -> Self {
        Self {
            protect: Blocks::resume(durable.protect),
            process: Blocks::resume(durable.process),
            last_use: durable.last_use,
            last_process: durable.last_process,
        }
    }

    /// Counts a use, or says what must be durable first.
    pub fn take(&mut self, side: Side, use_: Tally, now: Timestamp) -> Take {
        let blocks = match side {
            Side::Protect => &mut self.protect,
            Side::Process => &mut self.process,
        };
        // A copy, so that one counter is not taken when the other is used up.
        let mut ahead = *blocks;
        match (ahead.operations.take(use_.operations), ahead.bytes.take(use_.bytes)) {
            (Taken::Taken, Taken::Taken) => {
                *blocks = ahead;
                self.last_use = self.last_use.max(Some(now));
                if side == Side::Process {
                    self.last_process = self.last_process.max(Some(now));
                }
                Take::Taken
            }
            (operations, bytes) => {
                // Both are reserved anew, so that one write serves longer.
                let wanted = Tally {
                    operations: blocks.operations.wanted(operations, use_.operations),
                    bytes: blocks.bytes.wanted(bytes, use_.bytes),
                };
                let mut record = self.record();
                *record.side_mut(side) = wanted;
                record.last_use = record.last_use.max(Some(now));
                if side == Side::Process {
                    record.last_process = record.last_process.max(Some(now));
                }
                Take::NeedsReservation(record)
            }
        }
    }

    /// The record is durable: what it holds beyond the last one may be used.
    pub const fn reserved(&mut self, record: &UsageCounters) {
        self.protect.reserved(record.protect);
        self.process.reserved(record.process);
    }

    /// What was used: exact, for showing, and for the record of a clean stop, after which nothing
    /// more may be taken from here.
    #[must_use]
    pub const fn used(&self) -> UsageCounters {
        UsageCounters {
            protect: self.protect.used(),
            process: self.process.used(),
            last_use: self.last_use,
            last_process: self.last_process,
        }
    }

    /// What the durable record holds, with the dates of the last uses, which it may be behind with.
    #[must_use]
    pub const fn record(&self) -> UsageCounters {
        UsageCounters {
            protect: self.protect.durable(),
            process: self.process.durable(),
            last_use: self.last_use,
            last_process: self.last_process,
        }
    }
}

impl Blocks {
    const fn resume(durable: Tally) -> Self {
        Self {
            operations: Block::operations(durable.operations),
            bytes: Block::bytes(durable.bytes),
        }
    }

    const fn reserved(&mut self, record: Tally) {
        self.operations.reserved(record.operations);
        self.bytes.reserved(record.bytes);
    }

    const fn used(&self) -> Tally {
        Tally { operations: self.operations.used(), bytes: self.bytes.used() }
    }

    const fn durable(&self) -> Tally {
        Tally { operations: self.operations.reserved_until(), bytes: self.bytes.reserved_until() }
    }
}

#[cfg(test)]
mod tests;
