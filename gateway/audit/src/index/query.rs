//! Answering a query: blocks in order, postings intersected, every entry looked at before it is
//! given. What one answer reads is bounded; it then says where to go on.

use super::block::place;
use super::fetch::Fetcher;
use super::file::Damage;
use super::postings::{self, BLOCK, Offsets};
use super::term::Facts;
use super::{Filter, Index, Slot, Source};
use crate::Error;

/// What one answer may cost, in something like microseconds of one core.
pub(crate) const BUDGET: u64 = 250_000;
/// Bytes of entries in one answer; one entry is always given.
const MAX_BYTES: usize = 1024 * 1024;
/// Entries fetched at once, and how far apart the first and the last of them may lie.
const CHUNK: (usize, u64) = (64, 256);

/// Which end of the log comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// A query.
#[derive(Clone, Debug)]
pub struct Query {
    /// What is asked for.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// The first sequence looked at.
    pub first: u64,
    /// The sequence after the last one looked at.
    pub end: u64,
    /// How many entries at most.
    pub limit: usize,
}

/// An answer.
#[derive(Debug, Default)]
pub struct Found {
    /// Sequence and stored bytes of entries, in the order asked for.
    pub items: Vec<(u64, Vec<u8>)>,
    /// What was not looked at yet: first sequence, and the one after the last. None: that was all.
    pub rest: Option<(u64, u64)>,
}

/// One part of the log that is looked at in one way.
struct Part {
    /// First sequence.
    first: u64,
    /// The offsets from it that may fit, among those of the range asked for.
    offsets: Offsets,
}

impl Index {
    /// Looks into the log, in this thread.
    pub(super) async fn look(&self, query: &Query, budget: u64) -> Result<Found, Error> {
        let mut found = Found::default();
        let mut fetcher = Fetcher::new(&self.0.log);
        let clauses = query.filter.clauses();
        let (mut first, mut end) = (query.first, query.end);
        let mut bytes = 0;
        while first < end {
            let number = match query.order {
                Order::Ascending => first / BLOCK,
                Order::Descending => (end - 1) / BLOCK,
            };
            let part = self.part(number, query, &clauses, &mut fetcher).await?;
            let inside = |offset: &u64| (first..end).contains(&(part.first + offset));
            let wanted = part.offsets.iter().filter(inside).map(|offset| part.first + offset);
            let mut wanted: Vec<u64> = wanted.collect();
            while !wanted.is_empty() {
                let chunk = chunk(&mut wanted, query.order, query.limit - found.items.len());
                for (seq, entry) in fetch(&mut fetcher, &chunk, query.order).await? {
                    if query.filter.fits(&Facts::of(&entry)) {
                        bytes += entry.len();
                        found.items.push((seq, entry));
                    }
                    match query.order {
                        Order::Ascending => first = seq + 1,
                        Order::Descending => end = seq,
                    }
                    if found.items.len() >= query.limit || bytes >= MAX_BYTES {
                        found.rest = (first < end).then_some((first, end));
                        return Ok(found);
                    }
                }
                if fetcher.spent >= budget {
                    found.rest = (first < end).then_some((first, end));
                    return Ok(found);
                }
            }
            match query.order {
                Order::Ascending => first = (number + 1).saturating_mul(BLOCK).min(end),
                Order::Descending => end = (number * BLOCK).max(first),
            }
            if fetcher.spent >= budget {
                break;
            }
        }
        found.rest = (first < end).then_some((first, end));
        Ok(found)
    }

    /// What may fit of a block.
    async fn part(
        &self,
        number: u64,
        query: &Query,
        clauses: &[Vec<u64>],
        fetcher: &mut Fetcher<'_>,
    ) -> Result<Part, Error> {
        let first = number * BLOCK;
        let part = |offsets| Part { first, offsets };
        let slot = self.slot(number);
        let block = match slot {
            Some(Slot::Ready(block)) => block,
            Some(Slot::Absent) => return Ok(part(Offsets::all())),
            Some(Slot::Unknown) => {
                fetcher.spent += 500;
                match self.check(number).await? {
                    Some(block) => block,
                    None => return Ok(part(Offsets::all())),
                }
            }
            None => {
                fetcher.spent += 100 * clauses.len() as u64;
                return Ok(part(self.newest(first, query, clauses)));
            }
        };
        if !query.filter.overlaps(block.header.times.whole()) {
            return Ok(part(Offsets::none()));
        }
        fetcher.spent += 30 * (1 + clauses.len() as u64);
        let mut offsets = block.header.times.offsets(|span| query.filter.overlaps(span));
        match self.narrow(&block, clauses, &mut offsets) {
            Ok(()) => Ok(part(offsets)),
            Err(damage) => {
                self.lost(number, &damage);
                Ok(part(Offsets::all()))
            }
        }
    }

    /// Keeps the offsets that have a term of every clause.
    fn narrow(
        &self,
        block: &super::Block,
        clauses: &[Vec<u64>],
        offsets: &mut Offsets,
    ) -> Result<(), Damage> {
        let file = match (&block.source, &self.0.folder) {
            (Source::File, Some(folder)) if !clauses.is_empty() => {
                Some(folder.sections(&block.header)?)
            }
            _ => None,
        };
        for clause in clauses {
            let mut any = Offsets::none();
            for term in clause {
                let (bucket, low) = place(*term);
                match (&block.source, &file) {
                    (Source::Memory(sections), _) => {
                        let section = sections.get(bucket).map(Vec::as_slice);
                        postings::find(section.unwrap_or_default(), low, &mut any)?;
                    }
                    (Source::File, Some(file)) => {
                        postings::find(&file.read(bucket)?, low, &mut any)?;
                    }
                    (Source::File, None) => return Err(Damage::Missing),
                }
            }
            offsets.keep(&any);
        }
        Ok(())
    }

    /// What may fit of the entries after the last whole block: by the index as far as it is, and
    /// everything after that.
    fn newest(&self, first: u64, query: &Query, clauses: &[Vec<u64>]) -> Offsets {
        let state = self.state();
        let live = &state.live;
        if live.first() != first {
            return Offsets::all();
        }
        let mut offsets = live.times().offsets(|span| query.filter.overlaps(span));
        for clause in clauses {
            let mut any = Offsets::none();
            for term in clause {
                live.find(*term, &mut any);
            }
            offsets.keep(&any);
        }
        // INVARIANT: entries the index has not seen are looked at one by one.
        (live.end()..first + BLOCK).for_each(|seq| offsets.add(seq - first));
        offsets
    }
}

/// Takes the next few of `wanted`, which ascend.
fn chunk(wanted: &mut Vec<u64>, order: Order, left: usize) -> Vec<u64> {
    let most = left.clamp(8, CHUNK.0);
    match order {
        Order::Ascending => {
            let first = wanted.first().copied().unwrap_or_default();
            let near = wanted.iter().take(most).take_while(|seq| **seq < first + CHUNK.1).count();
            wanted.drain(..near.max(1).min(wanted.len())).collect()
        }
        Order::Descending => {
            let last = wanted.last().copied().unwrap_or_default();
            let near = wanted.iter().rev().take(most);
            let near = near.take_while(|seq| **seq + CHUNK.1 > last).count();
            wanted.split_off(wanted.len().saturating_sub(near.max(1)))
        }
    }
}

/// Fetches these entries, in the order asked for: as a run where they lie close together.
async fn fetch(
    fetcher: &mut Fetcher<'_>,
    wanted: &[u64],
    order: Order,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(Vec::new()) };
    let mut found = Vec::with_capacity(wanted.len());
    if wanted.len() > 1 && (last - first) < 8 * wanted.len() as u64 {
        found = fetcher.run(*first, *last).await?;
        found.retain(|(seq, _)| wanted.binary_search(seq).is_ok());
    } else {
        for seq in wanted {
            found.push((*seq, fetcher.entry(*seq).await?));
        }
    }
    if order == Order::Descending {
        found.reverse();
    }
    Ok(found)
}
