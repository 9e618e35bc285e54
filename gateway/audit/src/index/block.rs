//! The index of one block of entries: built in memory entry by entry, then written once and read
//! section by section.

use super::postings::{self, BLOCK, Malformed, OFFSET_BITS, Offsets};
use super::term::{BITS, Facts, Names};
use crate::merkle::Hash;

/// Sections of a block: the first byte of a term selects one.
pub(crate) const BUCKETS: usize = 256;
/// Runs of entries whose times are kept.
const SPANS: usize = 64;
/// Entries of a run.
const SPAN: u64 = BLOCK / SPANS as u64;
const VERSION: u8 = 1;
/// Bytes of a header before sealing.
pub(crate) const HEADER: usize = 1 + 8 + 32 + SPANS * 16 + BUCKETS * 4;

/// First and last time of a run of entries, in microseconds; the first is later where there are
/// none.
type Span = (i64, i64);
const NEVER: Span = (i64::MAX, i64::MIN);

/// The times of a block, run by run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Times([Span; SPANS]);

impl Times {
    const fn new() -> Self {
        Self([NEVER; SPANS])
    }

    fn add(&mut self, offset: u64, micros: i64) {
        let span = usize::try_from(offset / SPAN).ok().and_then(|at| self.0.get_mut(at));
        if let Some((first, last)) = span {
            (*first, *last) = ((*first).min(micros), (*last).max(micros));
        }
    }

    /// First and last time of all.
    pub(crate) fn whole(&self) -> Span {
        self.0.iter().fold(NEVER, |all, span| (all.0.min(span.0), all.1.max(span.1)))
    }

    /// The offsets of the runs that `wanted` takes.
    pub(crate) fn offsets(&self, wanted: impl Fn(Span) -> bool) -> Offsets {
        let mut offsets = Offsets::none();
        for (at, span) in (0u64..).zip(&self.0) {
            if wanted(*span) {
                (at * SPAN..(at + 1) * SPAN).for_each(|offset| offsets.add(offset));
            }
        }
        offsets
    }
}

/// A block while its entries come.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    first: u64,
    count: u64,
    /// `term << 14 | offset`, as they came.
    pairs: Vec<u64>,
    times: Times,
    leaf: Hash,
    names: Names,
}

impl Builder {
    /// An empty block that begins with this entry.
    pub(crate) const fn new(first: u64) -> Self {
        Self {
            first,
            count: 0,
            pairs: Vec::new(),
            times: Times::new(),
            leaf: [0; 32],
            names: Names::new(),
        }
    }

    /// An empty block that begins with this entry and knows names already.
    pub(crate) fn knowing(first: u64, names: Names) -> Self {
        Self { names, ..Self::new(first) }
    }

    /// The names it knows, which it learns anew: for the block that follows.
    pub(crate) fn take_names(&mut self) -> Names {
        std::mem::take(&mut self.names)
    }

    /// The entry that comes next.
    pub(crate) const fn end(&self) -> u64 {
        self.first + self.count
    }

    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.count >= BLOCK
    }

    pub(crate) const fn times(&self) -> &Times {
        &self.times
    }

    /// Takes the next entry. Nothing when full.
    pub(crate) fn push(&mut self, entry: &[u8], leaf: &Hash) {
        if self.is_full() {
            return;
        }
        let facts = Facts::of(entry);
        let offset = self.count;
        let pairs = &mut self.pairs;
        facts.terms(&mut self.names, |term| pairs.push(term << OFFSET_BITS | offset));
        self.times.add(offset, facts.micros());
        self.leaf = *leaf;
        self.count += 1;
    }

    /// Adds the offsets of a term to `found`.
    pub(crate) fn find(&self, term: u64, found: &mut Offsets) {
        for pair in &self.pairs {
            if pair >> OFFSET_BITS == term {
                found.add(pair % BLOCK);
            }
        }
    }

    /// The finished block: its header and its sections.
    pub(crate) fn finish(mut self) -> (Header, Vec<Vec<u8>>) {
        self.pairs.sort_unstable();
        self.pairs.dedup();
        let bucket = |pair: &u64| pair >> (OFFSET_BITS + BITS - 8);
        let mut sections = vec![Vec::new(); BUCKETS];
        for pairs in self.pairs.chunk_by(|a, b| bucket(a) == bucket(b)) {
            let at = pairs.first().and_then(|pair| usize::try_from(bucket(pair)).ok());
            if let Some(section) = at.and_then(|at| sections.get_mut(at)) {
                *section = postings::encode(pairs);
            }
        }
        let lengths = sections.iter().map(|s| u32::try_from(s.len()).unwrap_or(u32::MAX));
        let header = Header {
            number: self.first / BLOCK,
            leaf: self.leaf,
            times: self.times,
            lengths: lengths.collect(),
        };
        (header, sections)
    }
}

/// The bucket of a term and what names it there.
pub(crate) fn place(term: u64) -> (usize, u32) {
    let bucket = usize::try_from(term >> (BITS - 8)).unwrap_or(usize::MAX);
    (bucket, u32::try_from(term & u64::from(u32::MAX)).unwrap_or(u32::MAX))
}

/// What is known of a block without reading its sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its place among blocks.
    pub(crate) number: u64,
    /// The leaf hash of its last entry: the history it belongs to.
    pub(crate) leaf: Hash,
    pub(crate) times: Times,
    /// Bytes of each section, before sealing; 0 for one that is not there.
    pub(crate) lengths: Box<[u32]>,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.push(VERSION);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.leaf);
        for (first, last) in &self.times.0 {
            out.extend_from_slice(&first.to_be_bytes());
            out.extend_from_slice(&last.to_be_bytes());
        }
        for length in &self.lengths {
            out.extend_from_slice(&length.to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        if array::<1>(&mut rest)? != [VERSION] {
            return Err(Malformed);
        }
        let number = u64::from_be_bytes(array(&mut rest)?);
        let leaf = array(&mut rest)?;
        let mut times = Times::new();
        for span in &mut times.0 {
            let first = i64::from_be_bytes(array(&mut rest)?);
            *span = (first, i64::from_be_bytes(array(&mut rest)?));
        }
        let length = |_| array(&mut rest).map(u32::from_be_bytes);
        let lengths = (0..BUCKETS).map(length).collect::<Result<_, _>>()?;
        if rest.is_empty() { Ok(Self { number, leaf, times, lengths }) } else { Err(Malformed) }
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Malformed)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::term::{Kind, term};

    fn entry(n: u64) -> String {
        format!(
            r#"{{"action":"keys.encrypt","key":"key_{}","request":"r-{n}","time":"{}"}}"#,
            n % 3,
            hub_model::Timestamp::from_micros(i64::try_from(n).unwrap() * 1_000_000),
        )
    }

    fn block(count: u64) -> Builder {
        let mut builder = Builder::new(BLOCK * 2);
        (0..count).for_each(|n| builder.push(entry(n).as_bytes(), &[7; 32]));
        builder
    }

    fn look(header: &Header, sections: &[Vec<u8>], wanted: u64) -> Vec<u64> {
        let (bucket, low) = place(wanted);
        let mut found = Offsets::none();
        assert_eq!(usize::try_from(header.lengths[bucket]).unwrap(), sections[bucket].len());
        postings::find(&sections[bucket], low, &mut found).unwrap();
        found.iter().collect()
    }

    #[test]
    fn a_block_finds_before_and_after_it_is_finished() {
        let builder = block(1000);
        let wanted = [
            term(Kind::Key, "key_1"),
            term(Kind::Action, "keys.encrypt"),
            term(Kind::Request, "r-777"),
            term(Kind::Request, "r-1000"),
        ];
        let before = wanted.map(|wanted| {
            let mut found = Offsets::none();
            builder.find(wanted, &mut found);
            found.iter().collect::<Vec<_>>()
        });
        assert_eq!(before[0], (0..1000).filter(|n| n % 3 == 1).collect::<Vec<_>>());
        assert_eq!((before[1].len(), &before[2][..], before[3].len()), (1000, &[777][..], 0));
        let (header, sections) = builder.finish();
        assert_eq!(header.number, 2);
        for (wanted, before) in wanted.into_iter().zip(before) {
            assert_eq!(look(&header, &sections, wanted), before);
        }
    }

    #[test]
    fn a_full_block_takes_no_more() {
        let mut builder = block(BLOCK);
        assert!(builder.is_full());
        builder.push(b"{}", &[8; 32]);
        assert_eq!(builder.end(), BLOCK * 3);
        assert_eq!(builder.finish().0.leaf, [7; 32]);
    }

    #[test]
    fn times_select_runs() {
        let times = block(1000).times;
        assert_eq!(times.whole(), (0, 999_000_000));
        let some = times.offsets(|(first, last)| first <= 300_000_000 && last >= 300_000_000);
        assert!(some.iter().eq(256..512));
        assert_eq!(times.offsets(|_| false), Offsets::none());
    }

    #[test]
    fn headers_round_trip_and_nothing_else_is_one() {
        let header = block(300).finish().0;
        let bytes = header.encode();
        assert_eq!((bytes.len(), Header::decode(&bytes)), (HEADER, Ok(header)));
        for cut in 0..bytes.len() {
            assert_eq!(Header::decode(&bytes[..cut]), Err(Malformed));
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Header::decode(&longer), Err(Malformed));
        longer.truncate(HEADER);
        longer[0] = 2;
        assert_eq!(Header::decode(&longer), Err(Malformed));
    }
}
