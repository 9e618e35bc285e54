//! Checkpoints that are kept: of each hour the newest, and the newest with the most cosignatures.
//! One small file each, named by hour, size and cosignatures, so that a list needs names only. The
//! notes protect themselves; whoever takes one from here checks its signature.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hub_model::Timestamp;

use crate::Error;

/// For how long.
const HOURS: u64 = 400 * 24;
const MICROS_AN_HOUR: i64 = 3_600_000_000;

/// Checkpoints of the last 400 days.
#[derive(Debug)]
pub struct History {
    dir: Option<PathBuf>,
    known: Mutex<BTreeMap<u64, Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    hour: u64,
    cosignatures: usize,
    /// Where there is no folder.
    note: Option<String>,
}

fn hour_of(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros() / MICROS_AN_HOUR).unwrap_or(0)
}

fn file_name(size: u64, kept: &Kept) -> String {
    format!("{:010}-{size:020}-{:02}", kept.hour, kept.cosignatures)
}

fn parse_name(name: &str) -> Option<(u64, Kept)> {
    let mut parts = name.split('-');
    let (hour, size, cosignatures) = (parts.next()?, parts.next()?, parts.next()?);
    let kept =
        Kept { hour: hour.parse().ok()?, cosignatures: cosignatures.parse().ok()?, note: None };
    let size = size.parse().ok()?;
    (file_name(size, &kept) == name).then_some((size, kept))
}

impl History {
    /// Those in memory, for a log in memory.
    #[must_use]
    pub const fn in_memory() -> Self {
        Self { dir: None, known: Mutex::new(BTreeMap::new()) }
    }

    /// Those in this folder, which exists.
    ///
    /// # Errors
    /// [`Error::CheckpointFile`] when it cannot be listed.
    pub fn open(dir: &FilePath) -> Result<Self, Error> {
        let failed = |source| Error::CheckpointFile { path: dir.display().to_string(), source };
        let mut known = BTreeMap::new();
        for file in std::fs::read_dir(dir).map_err(failed)? {
            let name = file.map_err(failed)?.file_name();
            if let Some((size, kept)) = name.to_str().and_then(parse_name) {
                known.insert(size, kept);
            }
        }
        Ok(Self { dir: Some(dir.to_owned()), known: Mutex::new(known) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Kept>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a note, durably, in place of those of its hour that say no more. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Store`] with file and reason.
    pub fn keep(
        &self,
        size: u64,
        time: Timestamp,
        cosignatures: usize,
        note: &str,
    ) -> Result<(), Error> {
        let hour = hour_of(time);
        let mut known = self.lock();
        let more = |other: &Kept| other.cosignatures > cosignatures;
        if known.get(&size).is_some_and(more) {
            return Ok(());
        }
        let text = self.dir.is_none().then(|| note.to_owned());
        let kept = Kept { hour, cosignatures, note: text };
        let name = file_name(size, &kept);
        if let Some(dir) = &self.dir {
            hub_store::durable_file::write_atomic(&dir.join(&name), note.as_bytes(), 0o600)?;
        }
        let old: Vec<(u64, Kept)> = known
            .iter()
            .filter(|(other, kept)| {
                kept.hour.saturating_add(HOURS) < hour
                    || **other == size
                    || (kept.hour == hour && **other < size && !more(kept))
            })
            .map(|(other, kept)| (*other, kept.clone()))
            .collect();
        for (other, kept) in old {
            let gone = file_name(other, &kept);
            known.remove(&other);
            if let Some(dir) = self.dir.as_ref().filter(|_| gone != name) {
                // One too many is no harm; it goes with the next of its hour, or by its age.
                let _ = std::fs::remove_file(dir.join(gone));
            }
        }
        known.insert(size, kept);
        Ok(())
    }

    /// The newest that is kept: its size and hour since 1970.
    #[must_use]
    pub fn newest(&self) -> Option<(u64, u64)> {
        self.lock().last_key_value().map(|(size, kept)| (*size, kept.hour))
    }

    /// Whether the newest that is kept is of an earlier hour than this.
    #[must_use]
    pub fn is_due(&self, time: Timestamp) -> bool {
        self.newest().is_none_or(|(_, hour)| hour < hour_of(time))
    }

    /// Sizes that are kept, above `after`, smallest first.
    #[must_use]
    pub fn sizes(&self, after: Option<u64>, limit: usize) -> Vec<u64> {
        let from = after.map_or(0, |after| after.saturating_add(1));
        self.lock().range(from..).take(limit).map(|(size, _)| *size).collect()
    }

    /// The note of this size. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::CheckpointFile`].
    pub fn note(&self, size: u64) -> Result<Option<String>, Error> {
        let Some(kept) = self.lock().get(&size).cloned() else { return Ok(None) };
        match &self.dir {
            None => Ok(kept.note),
            Some(dir) => crate::checkpoint::read_file(&dir.join(file_name(size, &kept))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64, minute: i64) -> Timestamp {
        Timestamp::from_micros(hour * MICROS_AN_HOUR + minute * 60_000_000)
    }

    fn fill(history: &History) {
        assert!(history.is_due(at(500_000, 0)));
        history.keep(1, at(500_000, 1), 0, "one").unwrap();
        assert!(!history.is_due(at(500_000, 59)) && history.is_due(at(500_001, 0)));
        history.keep(2, at(500_000, 2), 1, "two, cosigned").unwrap();
        history.keep(3, at(500_000, 3), 0, "three").unwrap();
        history.keep(4, at(500_000, 4), 0, "four").unwrap();
        assert_eq!(history.sizes(None, 9), [2, 4]);
        // A note that says less does not take the place of one that says more.
        history.keep(2, at(500_000, 5), 0, "two").unwrap();
        history.keep(4, at(500_000, 4), 1, "four, cosigned").unwrap();
        history.keep(9, at(500_001, 0), 0, "nine").unwrap();
        history.keep(8, at(500_001, 0), 2, "eight").unwrap();
    }

    #[test]
    fn an_hour_keeps_its_newest() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path()).unwrap();
        fill(&history);
        let memory = History::in_memory();
        fill(&memory);
        for history in [history, memory, History::open(dir.path()).unwrap()] {
            assert_eq!(history.sizes(None, 9), [4, 8, 9]);
            assert_eq!(history.sizes(Some(4), 1), [8]);
            assert_eq!(history.note(4).unwrap().unwrap(), "four, cosigned");
            assert_eq!(history.note(9).unwrap().unwrap(), "nine");
            assert_eq!(history.note(5).unwrap(), None);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_is_too_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("not ours"), "x").unwrap();
        history.keep(1, at(500_000, 0), 3, "old").unwrap();
        history.keep(2, at(500_001, 0), 0, "young").unwrap();
        history.keep(3, at(500_001 + 9_600, 0), 0, "now").unwrap();
        assert_eq!(History::open(dir.path()).unwrap().sizes(None, 9), [2, 3]);
    }
}
