//! Verifying archives from their public parts alone: without opening a batch, without the hub.

use hub_crypto::hash::{RunningSha256, sha256};
use hub_crypto::sign::VerifyingKey;

use super::file::{Archive, Damage};
use super::format::{Section, TRAILER, signed_by};
use crate::checkpoint::{Checkpoint, parse_verifier_key};
use crate::encode::hex;
use crate::merkle::{self, Hash};
use crate::{Error, batch};

const PIECE: usize = 64 * 1024;

/// A key that signs archives: the one that signs the checkpoints of the same hub.
#[derive(Clone, Debug)]
pub struct Key {
    origin: String,
    key: VerifyingKey,
}

impl Key {
    /// Reads a verifier key (C2SP vkey) of the hub's checkpoints (`<hub>.audit`) or of its archives
    /// (`<hub>.audit-archive`): it is the same key under two names.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is malformed or of another name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (name, key) = parse_verifier_key(text)?;
        let origin = match (name.strip_suffix(".audit"), name.ends_with(".audit-archive")) {
            (Some(hub), _) => format!("{hub}.audit-archive"),
            (None, true) => name,
            (None, false) => return Err(Error::Checkpoint("the verifier key is of another kind")),
        };
        Ok(Self { origin, key })
    }

    /// Reads a checkpoint that is signed by this key.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn open_checkpoint(&self, note: &str) -> Result<Checkpoint, Error> {
        let name = self.origin.strip_suffix("-archive").unwrap_or_default();
        let found = Checkpoint::open(note, name, &self.key)?;
        if found.origin == name {
            return Ok(found);
        }
        Err(Error::Checkpoint("it is of another log"))
    }

    pub(super) fn of(origin: String, key: VerifyingKey) -> Self {
        Self { origin, key }
    }

    fn signs(&self, archive: &Archive) -> bool {
        self.origin == archive.summary().origin
            && signed_by(archive.note(), &self.origin, &self.key)
    }
}

/// What an archive was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The name of the file.
    pub file: String,
    /// The first sequence.
    pub first: u64,
    /// The sequence behind the last.
    pub end: u64,
    /// The leaf hash of the entry before the first.
    pub before: Hash,
    /// The leaf hash of the last entry.
    pub after: Hash,
    /// The roots of the full subtrees before the first entry.
    pub frontier_before: Vec<Hash>,
    /// The same behind the last one.
    pub frontier: Vec<Hash>,
    /// How many bytes the file has.
    pub bytes: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
    /// How many of the checkpoints lay within it, and agreed.
    pub checkpoints: u64,
}

/// Reads a whole archive once: its signature by one of these keys (none given: not asked for), the
/// hashes of all its parts, the leaf hashes up to the signed root and up to every checkpoint (its
/// own signature already checked) whose size lies within.
///
/// # Errors
/// The first [`Damage`].
pub fn examine(
    archive: &Archive,
    keys: &[Key],
    checkpoints: &[Checkpoint],
    progress: &mut dyn FnMut(u64),
) -> Result<Examined, Damage> {
    let summary = archive.summary();
    let [head, batches, leaves, index] = &summary.sections;
    let note_place =
        format!("summary (bytes {} to {})", index.end(), index.end() + archive.note().len() as u64);
    if !keys.is_empty() && !keys.iter().any(|key| key.signs(archive)) {
        return Err(archive.damage(note_place, "no valid signature of the hub's key"));
    }
    // The index first: it says where the batches are, and what each of them is.
    hashed(archive, index, "index")?;
    let mut whole = RunningSha256::default();
    let mut bytes = vec![0; usize::try_from(head.length).unwrap_or_default()];
    archive.read_at(&mut bytes, head.offset)?;
    whole.update(&bytes);
    let mut in_batches = RunningSha256::default();
    let (mut offset, mut seq) = (batches.offset, summary.first);
    for number in 0..summary.batches {
        let row = archive.row(number)?;
        if row.offset != offset || row.last < seq {
            return Err(archive.damage(Archive::place("index", index), "it is out of order"));
        }
        let sealed = archive.sealed(&row)?;
        offset = offset.saturating_add(u64::from(row.length));
        if sha256(&sealed) != row.sha256 {
            let place = format!("entries {seq} to {} (bytes {} to {offset})", row.last, row.offset);
            return Err(archive.damage(place, "they are not what was archived"));
        }
        in_batches.update(&sealed);
        whole.update(&sealed);
        seq = row.last.saturating_add(1);
        progress(offset);
    }
    if offset != batches.end() || seq != summary.end() {
        let reason = "it does not lead to all batches";
        return Err(archive.damage(Archive::place("index", index), reason));
    }
    if in_batches.finish() != batches.sha256 {
        return Err(archive.damage(Archive::place("batches", batches), "not what was signed"));
    }
    let (frontier, met) = fold(archive, leaves, checkpoints, &mut whole)?;
    pieces(archive, index, &mut |piece| whole.update(piece))?;
    whole.update(archive.note().as_bytes());
    let mut trailer = [0; TRAILER];
    archive.read_at(&mut trailer, archive.bytes().saturating_sub(TRAILER as u64))?;
    whole.update(&trailer);
    progress(archive.bytes());
    Ok(Examined {
        file: archive.name().to_owned(),
        first: summary.first,
        end: summary.end(),
        before: summary.before,
        after: summary.after,
        frontier_before: archive.head().frontier.clone(),
        frontier,
        bytes: archive.bytes(),
        sha256: whole.finish(),
        checkpoints: met,
    })
}

/// Takes the tree from the head over all leaf hashes; gives its frontier and how many checkpoints
/// were met.
fn fold(
    archive: &Archive,
    leaves: &Section,
    checkpoints: &[Checkpoint],
    whole: &mut RunningSha256,
) -> Result<(Vec<Hash>, u64), Damage> {
    let summary = archive.summary();
    hashed(archive, leaves, "leaf hashes")?;
    let mut frontier = archive.head().frontier.clone();
    let (mut size, mut last, mut met) = (summary.first, summary.before, 0);
    let mut wrong = None;
    pieces(archive, leaves, &mut |piece| {
        whole.update(piece);
        for leaf in piece.as_chunks::<32>().0 {
            merkle::push(&mut frontier, size, *leaf);
            size += 1;
            last = *leaf;
            for seen in checkpoints.iter().filter(|c| c.size == size) {
                met += 1;
                if seen.root != merkle::root(&frontier) || seen.chain != *leaf {
                    wrong = wrong.or(Some(size));
                }
            }
        }
    })?;
    let place = || Archive::place("leaf hashes", leaves);
    if let Some(size) = wrong {
        let reason = format!("the log's root at {size} entries is not that of the checkpoint");
        return Err(archive.damage(place(), reason));
    }
    if merkle::root(&frontier) != summary.root || last != summary.after {
        return Err(archive.damage(place(), "they do not lead to the signed root"));
    }
    if summary.first == 0 && summary.before != [0; 32] {
        return Err(archive.damage("head".to_owned(), "nothing comes before entry 0"));
    }
    Ok((frontier, met))
}

/// Checks the hash of a section.
fn hashed(archive: &Archive, section: &Section, name: &str) -> Result<(), Damage> {
    let mut running = RunningSha256::default();
    pieces(archive, section, &mut |piece| running.update(piece))?;
    if running.finish() == section.sha256 {
        return Ok(());
    }
    Err(archive.damage(Archive::place(name, section), "not what was signed"))
}

/// Reads a section piece by piece.
fn pieces(archive: &Archive, section: &Section, take: &mut dyn FnMut(&[u8])) -> Result<(), Damage> {
    let mut bytes = vec![0; PIECE];
    let mut at = section.offset;
    while at < section.end() {
        let length = usize::try_from(section.end() - at).unwrap_or(PIECE).min(PIECE);
        let piece = bytes.get_mut(..length).unwrap_or_default();
        archive.read_at(piece, at)?;
        take(piece);
        at += length as u64;
    }
    Ok(())
}

/// Whether `next` is what follows `before`, entry by entry.
///
/// # Errors
/// What does not fit, in words.
pub fn continues(before: &Examined, next: &Examined) -> Result<(), String> {
    let (one, other) = (&before.file, &next.file);
    if next.first > before.end {
        let last = next.first - 1;
        return Err(format!(
            "between `{one}` and `{other}`, entries {} to {last} are missing",
            before.end
        ));
    }
    if next.first < before.end {
        return Err(format!("`{one}` and `{other}` both hold entry {}", next.first));
    }
    if next.before != before.after || next.frontier_before != before.frontier {
        return Err(format!(
            "`{other}` does not go on where `{one}` ends: one of them was altered"
        ));
    }
    Ok(())
}

/// Holds an examined archive against the keyring: every batch opens, and its entries have the leaf
/// hashes of the file. `keep_going` is asked between batches.
///
/// # Errors
/// The first [`Damage`].
pub(super) fn open_all(
    archive: &Archive,
    store: &hub_store::Store,
    keep_going: &dyn Fn() -> bool,
) -> Result<bool, Damage> {
    let summary = archive.summary();
    let [_, _, leaves, _] = &summary.sections;
    let mut next = summary.first;
    for number in 0..summary.batches {
        let row = archive.row(number)?;
        for (seq, bytes) in archive.open_batch(store, &row, Some(next))? {
            let at = leaves.offset + (seq - summary.first) * 32;
            let mut leaf = [0; 32];
            archive.read_at(&mut leaf, at)?;
            if merkle::leaf_hash(&bytes) != leaf {
                let place = format!("leaf hash of entry {seq} (bytes {at} to {})", at + 32);
                return Err(archive.damage(place, format!("the entry has {}", hex(&leaf))));
            }
        }
        next = row.last + 1;
        if !keep_going() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The paths of the batches of an archive, from the first that ends at `from` or behind.
pub(super) fn paths(
    archive: &Archive,
    from: u64,
    most: usize,
) -> Result<Vec<(u64, hub_store::Path)>, Damage> {
    let mut found = Vec::new();
    for number in archive.find(from)?..archive.summary().batches {
        if found.len() == most {
            break;
        }
        let last = archive.row(number)?.last;
        let path = batch::path(&archive.summary().writer, last)
            .map_err(|error| archive.damage("index".to_owned(), error.to_string()))?;
        found.push((last, path));
    }
    Ok(found)
}
