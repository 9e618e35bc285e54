//! Entries of an export as they come, held against chain, proof and checkpoints, in constant memory.

use std::io::BufRead;

use serde::Deserialize;

use super::damage::{Place, What};
use super::scan;
use crate::checkpoint::Checkpoint;
use crate::export::sparse::{Tree, cover};
use crate::merkle::{self, Hash};

/// The longest line of a proof: 128 hashes and what is around them.
const MAX_LINE: u64 = 16 * 1024;

/// A line of `proof.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GapLine {
    after: Option<String>,
    from: u64,
    hashes: Vec<String>,
    to: u64,
}

/// The lines of a proof, read one ahead.
pub(super) struct Proof<'a> {
    file: &'a str,
    lines: Box<dyn BufRead + 'a>,
    line: u64,
    next: Option<GapLine>,
}

impl<'a> Proof<'a> {
    pub(super) fn new(file: &'a str, lines: Box<dyn BufRead + 'a>) -> Result<Self, Stop> {
        let mut proof = Self { file, lines, line: 0, next: None };
        proof.read()?;
        Ok(proof)
    }

    fn place(&self) -> Place {
        Place { file: self.file.to_owned(), line: Some(self.line), ..Place::default() }
    }

    fn read(&mut self) -> Result<Option<GapLine>, Stop> {
        use std::io::Read as _;
        let mut line = Vec::new();
        self.line += 1;
        (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut line).map_err(Stop::Proof)?;
        let next = if line.is_empty() {
            None
        } else {
            let parsed =
                line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
            let malformed = What::Proof("a line is not a gap");
            Some(parsed.ok_or_else(|| Stop::at(self.place(), malformed))?)
        };
        Ok(std::mem::replace(&mut self.next, next))
    }
}

/// Why taking entries ended.
pub(super) enum Stop {
    Wrong(Box<(Place, What)>),
    /// The proof could not be read.
    Proof(std::io::Error),
}

impl Stop {
    pub(super) fn at(place: Place, what: What) -> Self {
        Self::Wrong(Box::new((place, what)))
    }
}

/// A checkpoint to be met on the way, and the file it was read from.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What to call it.
    pub file: String,
    /// What it says; its signature was checked.
    pub checkpoint: Checkpoint,
}

/// What the entries must be.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Only positions from the first to before the second.
    pub(super) range: Option<(u64, u64)>,
    /// Only entries of this registration.
    pub(super) registration: Option<String>,
    pub(super) writer: Option<String>,
}

/// Takes entries one after the other.
pub(super) struct Entries<'a> {
    file: &'a str,
    wanted: Wanted,
    proof: Option<Proof<'a>>,
    /// The largest first.
    kept: Vec<Kept>,
    pub(super) met: u64,
    pub(super) tree: Tree,
    /// The leaf hash of the entry before, where that is known.
    before: Option<Hash>,
    /// The place of the last entry, and its leaf hash.
    last: Option<(Place, Hash)>,
    pub(super) line: u64,
    pub(super) byte: u64,
    pub(super) count: u64,
    pub(super) ends: Option<(u64, u64)>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(
        file: &'a str,
        wanted: Wanted,
        proof: Option<Proof<'a>>,
        mut kept: Vec<Kept>,
    ) -> Result<Self, Stop> {
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.checkpoint.size));
        let mut entries = Self {
            file,
            wanted,
            proof,
            kept,
            met: 0,
            tree: Tree::default(),
            before: Some([0; 32]),
            last: None,
            line: 0,
            byte: 0,
            count: 0,
            ends: None,
        };
        entries.meet()?;
        Ok(entries)
    }

    /// The place of the line that comes next.
    fn place(&self) -> Place {
        Place {
            file: self.file.to_owned(),
            line: Some(self.line + 1),
            byte: Some(self.byte),
            entry: Some(self.tree.size()),
        }
    }

    /// Takes the next line, with its end.
    pub(super) fn push(&mut self, line: &[u8]) -> Result<(), Stop> {
        self.gaps()?;
        let entry = line.strip_suffix(b"\n").ok_or_else(|| {
            let what = if line.len() > crate::encode::MAX_ENTRY {
                What::Form("it is longer than an entry may be")
            } else {
                What::Form("the line has no end: it was cut off")
            };
            Stop::at(self.place(), what)
        })?;
        let links = scan::scan(entry).map_err(|error| {
            let byte = Some(self.byte + error.at as u64);
            Stop::at(Place { byte, ..self.place() }, What::Form(error.what))
        })?;
        let here = self.place();
        let wrong = |what| Err(Stop::at(here.clone(), what));
        let expected = self.tree.size();
        if links.v != 1 {
            return wrong(What::Version(links.v));
        }
        if links.seq != expected {
            return wrong(What::Sequence { expected, found: links.seq });
        }
        match &self.wanted.writer {
            Some(writer) if writer != links.writer => return wrong(What::Writer),
            Some(_) => {}
            None => self.wanted.writer = Some(links.writer.to_owned()),
        }
        if self.before.is_some_and(|before| before != links.prev) {
            return wrong(What::Chain);
        }
        let inside = self.wanted.range.is_none_or(|(from, to)| (from..to).contains(&expected));
        let wanted = self.wanted.registration.as_deref();
        let chosen = wanted.is_none_or(|wanted| links.registration == Some(wanted));
        if !inside || !chosen {
            return wrong(What::Filter);
        }
        let leaf = merkle::leaf_hash(entry);
        match &mut self.last {
            Some((place, hash)) => {
                place.line = Some(self.line + 1);
                place.byte = Some(self.byte);
                place.entry = Some(expected);
                *hash = leaf;
            }
            None => self.last = Some((self.place(), leaf)),
        }
        self.before = Some(leaf);
        self.tree.push(leaf);
        self.line += 1;
        self.byte += line.len() as u64;
        self.count += 1;
        self.ends = Some((self.ends.map_or(expected, |(first, _)| first), expected));
        self.meet()
    }

    /// Takes the gap that begins here.
    fn gaps(&mut self) -> Result<(), Stop> {
        let here = self.tree.size();
        let Some(proof) = &mut self.proof else { return Ok(()) };
        if proof.next.as_ref().is_none_or(|gap| gap.from != here) {
            return Ok(());
        }
        let place = proof.place();
        let Some(gap) = proof.read()? else { return Ok(()) };
        let malformed = |what| Stop::at(place.clone(), What::Proof(what));
        let after = match &gap.after {
            Some(hex) => Some(scan::hash(hex).ok_or_else(|| malformed("a hash is not hex"))?),
            None => None,
        };
        match (&self.last, after) {
            (Some((place, leaf)), Some(after)) if *leaf != after => {
                return Err(Stop::at(place.clone(), What::Altered));
            }
            (Some(_), None) | (None, Some(_)) => {
                return Err(malformed("a gap does not fit the entries before it"));
            }
            _ => {}
        }
        if gap.to <= gap.from || cover(gap.from, gap.to).count() != gap.hashes.len() {
            return Err(malformed("a gap has not as many hashes as its length needs"));
        }
        let mut alone = None;
        for (level, hex) in cover(gap.from, gap.to).zip(&gap.hashes) {
            let hash = scan::hash(hex).ok_or_else(|| malformed("a hash is not hex"))?;
            if !self.tree.push_subtree(level, hash) {
                return Err(malformed("a gap does not begin where it says"));
            }
            // The hash of a single leaf is what the next entry must name.
            alone = (level == 0).then_some(hash);
            self.before = None;
            self.meet()?;
        }
        self.before = alone;
        Ok(())
    }

    /// Holds the checkpoints of this size against the tree.
    fn meet(&mut self) -> Result<(), Stop> {
        let size = self.tree.size();
        while let Some(kept) = self.kept.pop_if(|kept| kept.checkpoint.size <= size) {
            let of_file = || Place { file: kept.file.clone(), ..Place::default() };
            if kept.checkpoint.size < size {
                return Err(Stop::at(of_file(), What::KeptInGap(kept.checkpoint.size)));
            }
            let chained = self.before.is_none_or(|before| before == kept.checkpoint.chain);
            if self.tree.root() != kept.checkpoint.root || !chained {
                return Err(Stop::at(of_file(), What::Kept(size)));
            }
            self.met += 1;
        }
        Ok(())
    }

    /// The end of the entries. With a proof the tree must then be whole.
    pub(super) fn finish(&mut self) -> Result<(), Stop> {
        self.gaps()?;
        if let Some(proof) = &self.proof
            && proof.next.is_some()
        {
            let expected = self.tree.size();
            return Err(Stop::at(self.place(), What::Ended { expected }));
        }
        Ok(())
    }

    /// Checkpoints that have seen more than came.
    pub(super) fn beyond(&self) -> Result<(), Stop> {
        let Some(kept) = self.kept.first() else { return Ok(()) };
        let (expected, found) = (kept.checkpoint.size, self.tree.size());
        let place = Place { file: kept.file.clone(), ..Place::default() };
        Err(Stop::at(place, What::KeptBeyond { expected, found }))
    }

    /// The place behind the last entry.
    pub(super) fn end(&self) -> Place {
        self.place()
    }

    /// The place of the last entry, and its hash.
    pub(super) const fn last(&self) -> Option<&(Place, Hash)> {
        self.last.as_ref()
    }
}
