//! An audit batch: the entries of one group commit, stored as one sealed record. It lies at
//! `w/<writer>/b/<last sequence, 16 hex digits>`, so that the first batch after `s - 1` holds `s`.
//!
//! Layout: `u8` version = 1, `u64` first sequence, `u32` count, then per entry `u32` length ‖ bytes;
//! big endian (`docs/formats/audit.md`).

use hub_store::Path;

use crate::Error;

const VERSION: u8 = 1;
const HEADER: usize = 1 + 8 + 4;

/// Where the batch ending with this sequence lies.
pub(crate) fn path(writer: &str, last: u64) -> Result<Path, Error> {
    Ok(Path::new(&format!("w/{writer}/b/{last:016x}"))?)
}

/// The prefix all batches of a writer share.
pub(crate) fn prefix(writer: &str) -> String {
    format!("w/{writer}/b/")
}

/// A batch being filled.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    first: u64,
    count: u32,
    last: std::ops::Range<usize>,
}

impl Builder {
    pub(crate) fn new(first: u64) -> Self {
        let mut bytes = Vec::with_capacity(16 * 1024);
        bytes.push(VERSION);
        bytes.extend_from_slice(&first.to_be_bytes());
        bytes.extend_from_slice(&0u32.to_be_bytes());
        Self { bytes, first, count: 0, last: 0..0 }
    }

    /// Adds one entry written by `write`, and gives its bytes back.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let start = self.bytes.len();
        write(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(slot) = self.bytes.get_mut(length_at..start) {
            slot.copy_from_slice(&length.to_be_bytes());
        }
        self.count += 1;
        self.last = start..self.bytes.len();
        self.bytes.get(start..).unwrap_or_default()
    }

    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Where the entry added last lies in the batch.
    pub(crate) fn last_range(&self) -> std::ops::Range<usize> {
        self.last.clone()
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) const fn last(&self) -> u64 {
        self.first + (self.count as u64).saturating_sub(1)
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        if let Some(slot) = self.bytes.get_mut(9..HEADER) {
            slot.copy_from_slice(&self.count.to_be_bytes());
        }
        self.bytes
    }
}

/// Reads a batch: the sequence and bytes of each entry.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let bad = || Error::Batch(path.as_str().to_owned());
    let mut rest = bytes;
    let mut take = |count: usize| -> Result<&[u8], Error> {
        let (head, tail) = rest.split_at_checked(count).ok_or_else(bad)?;
        rest = tail;
        Ok(head)
    };
    if take(1)? != [VERSION] {
        return Err(bad());
    }
    let first = u64::from_be_bytes(take(8)?.try_into().map_err(|_| bad())?);
    let count = u32::from_be_bytes(take(4)?.try_into().map_err(|_| bad())?);
    let mut entries = Vec::new();
    for index in 0..u64::from(count) {
        let length = u32::from_be_bytes(take(4)?.try_into().map_err(|_| bad())?);
        let entry = take(usize::try_from(length).map_err(|_| bad())?)?;
        entries.push((first + index, entry.to_vec()));
    }
    if rest.is_empty() { Ok(entries) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_round_trip_and_refuse_stray_bytes() {
        let mut builder = Builder::new(40);
        assert_eq!(builder.push(|out| out.extend_from_slice(b"one")), b"one");
        builder.push(|out| out.extend_from_slice(b"two!"));
        assert_eq!((builder.count(), builder.last()), (2, 41));
        let bytes = builder.finish();
        let path = path("w1", 41).unwrap();
        let entries = parse(&path, &bytes).unwrap();
        assert_eq!(entries, [(40, b"one".to_vec()), (41, b"two!".to_vec())]);
        for cut in 0..bytes.len() {
            assert!(parse(&path, &bytes[..cut]).is_err());
        }
        assert!(parse(&path, &[bytes.as_slice(), b"x"].concat()).is_err());
    }
}
