//! Checkpoints that are kept: of each hour the newest, and the newest with the most cosignatures,
//! for 400 days; and without an end the last that each of the log's own keys has signed, so that
//! trust can follow rotations.
//! One small file each, named by hour, size and cosignatures, so that a list needs names only. The
//! notes protect themselves; whoever takes one from here checks its signature.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hub_model::Timestamp;

use crate::note::Note;
use crate::witness::TreeHead;
use crate::{Error, checkpoint};

/// For how long.
const HOURS: u64 = 400 * 24;
const MICROS_AN_HOUR: i64 = 3_600_000_000;

/// Checkpoints of the last 400 days, and the last kept by each key.
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

    /// Keeps a note, durably, in place of those of its hour that say no more. With one of the same
    /// text it is made one, so that a later cosignature erases none; one of the same size and
    /// another root is of another history, and put aside. What is then kept of this size comes
    /// back. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::CheckpointFile`] with file and reason.
    pub fn keep(
        &self,
        size: u64,
        time: Timestamp,
        cosignatures: usize,
        note: &str,
    ) -> Result<String, Error> {
        let hour = hour_of(time);
        let mut known = self.lock();
        let mut merged = None;
        if let Some(before) = known.get(&size) {
            let there = self.text_of(size, before)?;
            match there.as_deref().map(|there| relation(note, there)) {
                Some(Relation::Same(whole, others)) => merged = Some((whole, others)),
                Some(Relation::Forked) => {
                    self.put_aside(size, before)?;
                    known.remove(&size);
                }
                Some(Relation::Other) => {
                    let (known, own) = (self.own_keys_of(size, before), own_keys(note));
                    let last_of_a_key = known.iter().any(|key| !own.contains(key));
                    let says_no_more =
                        cosignatures == 0 && own.iter().all(|key| known.contains(key));
                    if before.cosignatures > cosignatures || last_of_a_key || says_no_more {
                        return Ok(there.unwrap_or_default());
                    }
                }
                None => {}
            }
        }
        let (note, cosignatures) = match &merged {
            Some((whole, others)) => (whole.as_str(), *others),
            None => (note, cosignatures),
        };
        let more = |other: &Kept| other.cosignatures > cosignatures;
        let text = self.dir.is_none().then(|| note.to_owned());
        let kept = Kept { hour, cosignatures, note: text };
        let name = file_name(size, &kept);
        if let Some(dir) = &self.dir {
            hub_store::durable_file::write_atomic(&dir.join(&name), note.as_bytes(), 0o600)?;
        }
        let own = own_keys(note);
        let old: Vec<(u64, Kept)> = known
            .iter()
            .filter(|(other, kept)| {
                let (other, older) = (**other, kept.hour == hour && **other < size);
                if other == size {
                    return true;
                }
                if kept.hour.saturating_add(HOURS) < hour {
                    let next = known.range(other.saturating_add(1)..).next();
                    let next = next.filter(|(next, _)| **next < size);
                    return match next {
                        Some((next, kept_next)) => {
                            !self.is_last_of_a_key(other, kept, &self.own_keys_of(*next, kept_next))
                        }
                        None => !self.is_last_of_a_key(other, kept, &own),
                    };
                }
                older && !more(kept) && !self.is_last_of_a_key(other, kept, &own)
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
        Ok(note.to_owned())
    }

    /// Whether a key signed this note that none of those keys is, which are of the next one kept.
    fn is_last_of_a_key(&self, size: u64, kept: &Kept, next: &[[u8; 4]]) -> bool {
        self.own_keys_of(size, kept).iter().any(|key| !next.contains(key))
    }

    /// What cannot be read says nothing.
    fn own_keys_of(&self, size: u64, kept: &Kept) -> Vec<[u8; 4]> {
        own_keys(&self.text_of(size, kept).ok().flatten().unwrap_or_default())
    }

    /// Puts notes of more entries than this aside: of a history that is no more, they are evidence
    /// of it and nothing of this log. How many there were. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::CheckpointFile`].
    pub fn set_aside_above(&self, size: u64) -> Result<usize, Error> {
        let mut known = self.lock();
        let above: Vec<u64> =
            known.range(size.saturating_add(1)..).map(|(size, _)| *size).collect();
        for size in &above {
            if let Some(kept) = known.get(size) {
                self.put_aside(*size, kept)?;
            }
            known.remove(size);
        }
        Ok(above.len())
    }

    fn put_aside(&self, size: u64, kept: &Kept) -> Result<(), Error> {
        let Some(dir) = &self.dir else { return Ok(()) };
        checkpoint::put_aside(&dir.join(file_name(size, kept))).map(drop)
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
        self.text_of(size, &kept)
    }

    fn text_of(&self, size: u64, kept: &Kept) -> Result<Option<String>, Error> {
        match &self.dir {
            None => Ok(kept.note.clone()),
            Some(dir) => checkpoint::read_file(&dir.join(file_name(size, kept))),
        }
    }
}

/// Whether the keys of the log that signed `note` have signed the other one, too.
pub(crate) fn signed_by_all_of(other: &str, note: &str) -> bool {
    let others = own_keys(other);
    own_keys(note).iter().all(|key| others.contains(key))
}

/// The keys of the log itself that signed a note, by its own word.
fn own_keys(note: &str) -> Vec<[u8; 4]> {
    let own = |note: Note<'_>| {
        let name = note.text.lines().next().unwrap_or_default();
        note.key_ids(name).collect()
    };
    Note::parse(note).map(own).unwrap_or_default()
}

/// How two notes of one size stand to each other.
enum Relation {
    /// Of one text: both in one, and how many of its signatures are not the log's own.
    Same(String, usize),
    /// With another root.
    Forked,
    /// Of another time, or one of them cannot be read.
    Other,
}

fn relation(note: &str, there: &str) -> Relation {
    let (Ok(one), Ok(other)) = (Note::parse(note), Note::parse(there)) else {
        return Relation::Other;
    };
    if let Some(whole) = one.merged(&other) {
        let own = one.text.lines().next().unwrap_or_default();
        let count = |note: Note<'_>| note.signers().filter(|name| *name != own).count();
        let others = Note::parse(&whole).map_or(0, count);
        return Relation::Same(whole, others);
    }
    match (TreeHead::parse(one.text), TreeHead::parse(other.text)) {
        (Ok(one), Ok(other)) if one.root != other.root => Relation::Forked,
        _ => Relation::Other,
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

    /// A note over one entry; signatures are not checked here.
    fn note(root: u8, time: u64, signers: &[(&str, u8)]) -> String {
        let root = hub_model::secret::encode_base64(&[root; 32]);
        let mut note = format!("log.example\n7\n{root}\ntime {time}\n\n");
        for (signer, id) in signers {
            let blob = hub_model::secret::encode_base64(&[*id; 12]);
            note.push_str(&format!("\u{2014} {signer} {blob}\n"));
        }
        note
    }

    /// Whoever trusts the key before finds a note that it signed over the entry of the rotation.
    #[test]
    fn the_last_by_each_key_stays() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for history in [History::open(dir).unwrap(), History::in_memory()] {
            let (one, two, three) = (("log.example", 1), ("log.example", 2), ("log.example", 3));
            let signed: [&[(&str, u8)]; 7] =
                [&[one], &[one], &[two, one], &[two, one], &[three, two], &[three], &[three]];
            for (size, keys) in (1..).zip(signed) {
                let note = note(1, size, keys).replace("\n7\n", &format!("\n{size}\n"));
                history.keep(size, at(500_000, 0), 0, &note).unwrap();
            }
            assert_eq!(history.sizes(None, 9), [4, 5, 7]);
            // Of one size, the one stays that a key has signed which signs no more.
            let same = note(1, 9, &[three, two]).replace("\n7\n", "\n5\n");
            assert_ne!(history.keep(4, at(500_000, 0), 0, &same).unwrap(), same);
            history.keep(9, at(500_001, 0), 0, &note(1, 9, &[three])).unwrap();
            assert_eq!(history.sizes(None, 9), [4, 5, 7, 9]);
            // However old, the last by each key stays.
            history.keep(11, at(500_002 + 9_600, 0), 0, &note(1, 11, &[three])).unwrap();
            assert_eq!(history.sizes(None, 9), [4, 5, 11]);
        }
        assert_eq!(History::open(dir).unwrap().sizes(None, 9), [4, 5, 11]);
    }

    #[test]
    fn cosignatures_of_one_checkpoint_add_up() {
        let dir = tempfile::tempdir().unwrap();
        for history in [History::open(dir.path()).unwrap(), History::in_memory()] {
            let keep = |count, note: &str| history.keep(7, at(500_000, 0), count, note).unwrap();
            let (log, one, two) = (("log.example", 1), ("w1.example", 2), ("w2.example", 3));
            keep(1, &note(1, 1, &[log, one]));
            let both = keep(1, &note(1, 1, &[log, two]));
            assert_eq!(both, note(1, 1, &[log, two, one]));
            // The same again, and by nobody: nothing is lost, and nothing is there twice.
            assert_eq!(keep(1, &note(1, 1, &[log, one])), note(1, 1, &[log, one, two]));
            assert_eq!(keep(0, &note(1, 1, &[log])), note(1, 1, &[log, one, two]));
            // Of the same tree at another time: the one that says more stays.
            let kept = note(1, 1, &[log, one, two]);
            assert_eq!(keep(1, &note(1, 2, &[log, one])), kept);
            assert_eq!(history.note(7).unwrap().unwrap(), kept);
            // Of another tree: that is no longer this log.
            let other = note(2, 3, &[log]);
            assert_eq!(keep(0, &other), other);
            assert_eq!(history.note(7).unwrap().unwrap(), other);
        }
        assert_eq!(History::open(dir.path()).unwrap().sizes(None, 9), [7]);
        let aside = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().contains("aside");
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap()).collect();
        let aside: Vec<_> = files.iter().filter(|file| aside(file)).collect();
        assert_eq!((files.len(), aside.len()), (2, 1));
        let evidence = std::fs::read_to_string(aside[0].path()).unwrap();
        assert!(evidence.contains("w2.example"));
    }

    #[test]
    fn notes_of_a_history_that_is_no_more_are_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path()).unwrap();
        for round in 0..2 {
            for size in 1..=3 {
                history.keep(size, at(500_000 + size as i64, 0), 0, "note").unwrap();
            }
            assert_eq!(history.set_aside_above(1).unwrap(), 2);
            assert_eq!(history.sizes(None, 9), [1]);
            assert_eq!(History::open(dir.path()).unwrap().sizes(None, 9), [1]);
            // Each time's evidence stays.
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3 + 2 * round);
        }
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
