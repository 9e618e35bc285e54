//! An archive file, opened for reading. Nothing of it is kept in memory but its head and summary:
//! the index is searched where it lies.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path as FilePath;

use hub_store::Store;

use super::format::{
    END, Head, MAX_HEAD, MAX_NOTE, MAX_SEALED, ROW, Row, Section, Summary, TRAILER, origin,
};
use crate::batch;

/// What is wrong with an archive, and where in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`: {place}: {reason}")]
pub struct Damage {
    /// The name of the file.
    pub file: String,
    /// Which part of it.
    pub place: String,
    /// What is wrong with that.
    pub reason: String,
    /// Whether there is no such file.
    pub missing: bool,
}

/// An archive file whose head and summary agree with each other. Whether they are true is for
/// [`super::examine`] to find out.
#[derive(Debug)]
pub struct Archive {
    file: File,
    name: String,
    length: u64,
    note: String,
    summary: Summary,
    head: Head,
}

impl Archive {
    /// Opens a file: trailer, summary, head.
    ///
    /// # Errors
    /// [`Damage`] when there is no such file or these parts of it are not what they should be.
    pub fn open(path: &FilePath) -> Result<Self, Damage> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let failed = |error: std::io::Error| Damage {
            file: name.clone(),
            place: "the file".to_owned(),
            reason: error.to_string(),
            missing: error.kind() == std::io::ErrorKind::NotFound,
        };
        let bad = |place: String, reason: &str| Damage {
            file: name.clone(),
            place,
            reason: reason.to_owned(),
            missing: false,
        };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let end = format!("its last {TRAILER} bytes");
        let trailer = length
            .checked_sub(TRAILER as u64)
            .ok_or_else(|| bad(end.clone(), "it is too short for an archive"))?;
        let mut bytes = [0; TRAILER];
        file.read_exact_at(&mut bytes, trailer).map_err(failed)?;
        let (note_length, mark) = bytes.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let note_length = u64::from(u32::from_be_bytes(*note_length));
        if mark != END || note_length > MAX_NOTE {
            return Err(bad(end, "no archive ends so: it was altered, or cut off"));
        }
        let at = trailer
            .checked_sub(note_length)
            .ok_or_else(|| bad(end, "it is too short for its summary"))?;
        let place = format!("summary (bytes {at} to {trailer})");
        let mut note = vec![0; usize::try_from(note_length).unwrap_or_default()];
        file.read_exact_at(&mut note, at).map_err(failed)?;
        let note = String::from_utf8(note).map_err(|_| bad(place.clone(), "it is no text"))?;
        let summary = Summary::parse(&note)
            .ok_or_else(|| bad(place.clone(), "it is not of the form of a signed summary"))?;
        let [head, .., leaves, index] = &summary.sections;
        let mut next = Some(0);
        for section in &summary.sections {
            next =
                next.filter(|n| *n == section.offset).and_then(|n| n.checked_add(section.length));
        }
        let sizes = next == Some(at)
            && summary.entries > 0
            && summary.batches > 0
            && summary.first.checked_add(summary.entries).is_some()
            && Some(leaves.length) == summary.entries.checked_mul(32)
            && Some(index.length) == summary.batches.checked_mul(ROW as u64)
            && head.length <= MAX_HEAD;
        if !sizes {
            return Err(bad(place, "its parts do not make up the file"));
        }
        let mut bytes = vec![0; usize::try_from(head.length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let place = format!("head (bytes 0 to {})", head.length);
        if hub_crypto::hash::sha256(&bytes) != head.sha256 {
            return Err(bad(place, "it is not what was signed"));
        }
        let head = Head::decode(&bytes)
            .ok_or_else(|| bad(place.clone(), "it is not the head of an archive of version 1"))?;
        let same = head.first == summary.first
            && head.before == summary.before
            && head.writer == summary.writer
            && origin(head.hub) == summary.origin;
        if !same {
            return Err(bad(place, "it does not agree with the summary"));
        }
        Ok(Self { file, name, length, note, summary, head })
    }

    /// The name of the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.length
    }

    /// What it says of itself.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The signed note.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    pub(super) const fn head(&self) -> &Head {
        &self.head
    }

    /// Reads bytes of the file.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), Damage> {
        self.file.read_exact_at(bytes, offset).map_err(|error| {
            let end = offset.saturating_add(bytes.len() as u64);
            self.damage(format!("bytes {offset} to {end}"), error.to_string())
        })
    }

    pub(super) fn damage(&self, place: String, reason: impl Into<String>) -> Damage {
        Damage { file: self.name.clone(), place, reason: reason.into(), missing: false }
    }

    /// The line of the index with this number.
    pub(super) fn row(&self, number: u64) -> Result<Row, Damage> {
        let [_, batches, _, index] = &self.summary.sections;
        let mut bytes = [0; ROW];
        let at = index.offset.saturating_add(number.saturating_mul(ROW as u64));
        self.read_at(&mut bytes, at)?;
        let place = || format!("index (bytes {at} to {})", at.saturating_add(ROW as u64));
        let row = Row::decode(&bytes).ok_or_else(|| self.damage(place(), "it is no line"))?;
        let within = row.length <= MAX_SEALED
            && row.offset >= batches.offset
            && row
                .offset
                .checked_add(u64::from(row.length))
                .is_some_and(|end| end <= batches.end())
            && (self.summary.first..self.summary.end()).contains(&row.last);
        if within { Ok(row) } else { Err(self.damage(place(), "it points outside the batches")) }
    }

    /// The sealed batch of a line.
    pub(super) fn sealed(&self, row: &Row) -> Result<Vec<u8>, Damage> {
        let mut bytes = vec![0; usize::try_from(row.length).unwrap_or_default()];
        self.read_at(&mut bytes, row.offset)?;
        Ok(bytes)
    }

    /// The number of the line whose batch holds this entry: the first that ends at it or behind.
    pub(super) fn find(&self, seq: u64) -> Result<u64, Damage> {
        let (mut low, mut high) = (0, self.summary.batches);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.row(middle)?.last < seq { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Opens the batch of a line: its entries, of which the first is to have this sequence if one
    /// is given.
    pub(super) fn open_batch(
        &self,
        store: &Store,
        row: &Row,
        first: Option<u64>,
    ) -> Result<Vec<(u64, Vec<u8>)>, Damage> {
        let sealed = self.sealed(row)?;
        let end = row.offset.saturating_add(u64::from(row.length));
        let place = || {
            format!("the batch that ends with entry {} (bytes {} to {end})", row.last, row.offset)
        };
        let path = batch::path(&self.summary.writer, row.last)
            .map_err(|error| self.damage(place(), error.to_string()))?;
        let opened = store
            .open_sealed(&path, &sealed)
            .map_err(|_| self.damage(place(), "it does not open with the keys of this hub"))?;
        let entries = batch::parse(&path, &opened)
            .map_err(|error| self.damage(place(), error.to_string()))?;
        let whole = entries.last().is_some_and(|(seq, _)| *seq == row.last)
            && first.is_none_or(|first| entries.first().is_some_and(|(seq, _)| *seq == first));
        if whole { Ok(entries) } else { Err(self.damage(place(), "it holds other entries")) }
    }

    /// Entries from `from` on, at most `limit` and about `max_bytes` of them.
    pub(super) fn page(
        &self,
        store: &Store,
        from: u64,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, Damage> {
        let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
        let (mut bytes, mut next) = (0, None);
        for number in self.find(from)?..self.summary.batches {
            let row = self.row(number)?;
            let entries = self.open_batch(store, &row, next)?;
            if next.is_none() && entries.first().is_none_or(|(seq, _)| *seq > from) {
                return Err(self.damage("index".to_owned(), format!("it leads past entry {from}")));
            }
            next = Some(row.last.saturating_add(1));
            for (seq, entry) in entries.into_iter().filter(|(seq, _)| *seq >= from) {
                if found.len() >= limit || (bytes > max_bytes && !found.is_empty()) {
                    return Ok(found);
                }
                bytes += entry.len();
                found.push((seq, entry));
            }
        }
        Ok(found)
    }

    /// Where a section lies, for people.
    pub(super) fn place(name: &str, section: &Section) -> String {
        format!("{name} (bytes {} to {})", section.offset, section.end())
    }
}
