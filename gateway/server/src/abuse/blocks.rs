//! Who is refused for a while. Blocks are by source, alone or with a credential id or participant:
//! never by a credential or participant alone, so nobody can lock out who is elsewhere.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use hub_model::api::quota::BlockView;
use hub_model::{ParticipantId, Timestamp};

use crate::throttle::Source;

/// Blocks at once. More behaviour of that kind is still counted, and told.
const MOST: usize = 4096;

/// Who is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Everybody at a source.
    Source(Source),
    /// A credential id, folded and hashed, at a source.
    Credential(Source, u64),
    /// A participant at a source.
    Participant(Source, ParticipantId),
}

impl Who {
    const fn source(&self) -> Source {
        match self {
            Self::Source(source) | Self::Credential(source, _) | Self::Participant(source, _) => {
                *source
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Block {
    id: u64,
    reason: &'static str,
    /// In steady time, so that setting the date ends none.
    until: Duration,
    shown_until: Timestamp,
}

/// Every block.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    all: RwLock<HashMap<Who, Block>>,
    /// Read at each request: without blocks nothing else is looked at.
    count: AtomicUsize,
}

impl Blocks {
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How long this one is still refused.
    pub(super) fn left(&self, who: &Who, now: Duration) -> Option<Duration> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let left = all.get(who)?.until.saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// Blocks somebody, or for longer; whether there was room.
    pub(super) fn add(
        &self,
        who: Who,
        reason: &'static str,
        (now, date): (Duration, Timestamp),
        lasts: Duration,
    ) -> bool {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&who) {
            all.retain(|_, block| block.until > now);
            if all.len() >= MOST {
                return false;
            }
        }
        let mut id = [0; 8];
        hub_crypto::random::fill(&mut id);
        let block = Block {
            id: u64::from_be_bytes(id),
            reason,
            until: now.saturating_add(lasts),
            shown_until: date.plus(lasts),
        };
        all.insert(who, block);
        self.count.store(all.len(), Ordering::Relaxed);
        true
    }

    /// Forgets those that have ended.
    pub(super) fn expire(&self, now: Duration) {
        if self.is_empty() {
            return;
        }
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, block| block.until > now);
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// How many there are of this name; of any when there is none.
    pub(super) fn named(&self, name: Option<&str>, now: Duration) -> u64 {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let is = |block: &Block| block.until > now && name.is_none_or(|name| shown(block) == name);
        u64::try_from(all.values().filter(|block| is(block)).count()).unwrap_or(u64::MAX)
    }

    /// Lifts those of this name; all when there is none.
    pub(super) fn lift(&self, name: Option<&str>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, block| name.is_some_and(|name| shown(block) != name));
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// Those in effect, at most a hundred, the last to end first.
    pub(super) fn view(&self, now: Duration) -> Vec<BlockView> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut views: Vec<_> = all
            .iter()
            .filter(|(_, block)| block.until > now)
            .map(|(who, block)| BlockView {
                block: shown(block),
                source: describe(who.source()),
                who: match who {
                    Who::Source(_) => "everybody".to_owned(),
                    Who::Credential(..) => "credential".to_owned(),
                    Who::Participant(_, participant) => participant.to_string(),
                },
                reason: block.reason.to_owned(),
                until: block.shown_until,
            })
            .collect();
        views.sort_by(|a, b| b.until.cmp(&a.until).then_with(|| a.block.cmp(&b.block)));
        views.truncate(100);
        views
    }
}

fn shown(block: &Block) -> String {
    format!("blk_{:016x}", block.id)
}

/// A source as written for people.
pub(super) fn describe(source: Source) -> String {
    let mut out = String::new();
    let _ = match source {
        Source::Unix => write!(out, "unix"),
        Source::V4(bits) => write!(out, "{}", Ipv4Addr::from_bits(bits)),
        Source::V6(bits) => write!(out, "{}/64", Ipv6Addr::from_bits(u128::from(bits) << 64)),
    };
    out
}
