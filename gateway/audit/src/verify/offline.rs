//! Verification without the hub: a folder of an export, or bare entries, under public keys.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use hub_crypto::hash::RunningSha256;

use super::Finding;
use super::damage::{Failed, Place, What};
use super::entries::{Entries, Kept, Proof, Stop, Wanted};
use super::follow::Follower;
use super::keys::Keyring;
use crate::encode::hex;
use crate::export::{
    CHECKPOINT, FileFacts, Format, MANIFEST, MAX_MANIFEST, Manifest, PROOF, README, ROTATIONS,
    VERIFIER_KEYS,
};
use crate::merkle::Hash;

/// Read at once.
const BUFFER: usize = 1 << 20;
/// The longest note, list of keys or text for people.
const MAX_SMALL: u64 = 1 << 20;
/// The longest line: an entry, its end, and a byte that shows that it is longer.
const MAX_LINE: u64 = crate::encode::MAX_ENTRY as u64 + 2;

/// What was verified.
#[derive(Debug, Clone)]
pub struct Proven {
    /// What the manifest says; none of bare entries.
    pub manifest: Option<Manifest>,
    /// How many entries.
    pub entries: u64,
    /// The size of the log they are proven to lie in.
    pub size: u64,
    /// The Merkle root over it, in hex; none where the form of the entries does not prove it.
    pub root: Option<String>,
    /// How many entries from the first on signed checkpoints cover.
    pub covered: u64,
    /// How many kept checkpoints it agrees with.
    pub kept: u64,
}

/// Is told how many bytes of entries have been read.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

/// The length of the entries of an export, or of a file: what [`Progress`] goes up to.
#[must_use]
pub fn length(path: &Path) -> u64 {
    let of = |path: &Path| std::fs::metadata(path).map_or(0, |facts| facts.len());
    if !path.is_dir() {
        return of(path);
    }
    let formats = crate::export::Format::ALL.into_iter();
    formats.map(|format| of(&path.join(format.file()))).max().unwrap_or(0)
}

/// Reads a checkpoint that was kept from earlier, or elsewhere.
///
/// # Errors
/// [`Failed::Wrong`] when no key has signed it.
pub fn keep(path: &Path, keys: &Keyring) -> Result<Kept, Failed> {
    let file = path.display().to_string();
    let note = String::from_utf8(small(path)?).unwrap_or_default();
    match keys.checkpoint(&note) {
        Ok(checkpoint) => Ok(Kept { file, checkpoint }),
        Err(error) => Err(wrong(&file, What::Checkpoint(error.to_string()))),
    }
}

/// Follows the signing key through entries from the first on, a folder's or a file's, by the
/// checkpoints in these files and in [`ROTATIONS`] of the folder ([`Follower`]). What it gives has
/// only trusted keys; entries and checkpoints are verified under them as ever.
///
/// # Errors
/// The first thing that is wrong, or a file that cannot be read.
pub fn follow(
    path: &Path,
    keys: Keyring,
    checkpoints: &[PathBuf],
    progress: Progress<'_>,
) -> Result<Follower, Failed> {
    let (mut body, mut files) = (path.to_owned(), checkpoints.to_vec());
    if path.is_dir() {
        body = path.join(Format::Jsonl.file());
        files.extend([path.join(CHECKPOINT), path.join(ROTATIONS)]);
    }
    let mut found = Vec::new();
    for file in &files {
        match notes(file) {
            Ok(notes) => found.extend(notes),
            // An export of a log that never rotated has none.
            Err(Failed::Wrong { what: What::Missing, .. }) if file.ends_with(ROTATIONS) => {}
            Err(failed) => return Err(failed),
        }
    }
    let name = body.file_name().unwrap_or(body.as_os_str()).to_string_lossy().into_owned();
    let mut follower = Follower::new(keys, found);
    let mut reader = BufReader::with_capacity(BUFFER, open(&body, &name)?);
    let (mut line, mut byte, mut told) = (Vec::new(), 0u64, 0);
    loop {
        line.clear();
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|source| unreadable(&body, source))? == 0 {
            return Ok(follower);
        }
        let entry = follower.size();
        follower.push(line.strip_suffix(b"\n").unwrap_or(&line)).map_err(|finding| {
            let place = Place {
                file: name.clone(),
                line: Some(entry + 1),
                byte: Some(byte),
                entry: Some(entry),
            };
            Failed::Wrong { place, what: said(finding) }
        })?;
        byte += line.len() as u64;
        if byte - told >= BUFFER as u64 {
            told = byte;
            progress(told);
        }
    }
}

/// The signed notes of a file, one behind the other: each ends with its last line of a signature.
///
/// # Errors
/// [`Failed::Unreadable`], also for a file of more than 1 MiB.
pub fn notes(path: &Path) -> Result<Vec<String>, Failed> {
    let bytes = small(path)?;
    if bytes.len() as u64 == MAX_SMALL {
        return Err(unreadable(path, std::io::ErrorKind::FileTooLarge.into()));
    }
    Ok(split(&String::from_utf8_lossy(&bytes)))
}

fn split(text: &str) -> Vec<String> {
    let (mut notes, mut signed) = (Vec::new(), false);
    for line in text.lines() {
        let signature = line.starts_with("\u{2014} ");
        if notes.is_empty() || (signed && !signature) {
            notes.push(String::new());
        }
        signed = signature;
        if let Some(note) = notes.last_mut() {
            note.push_str(line);
            note.push('\n');
        }
    }
    notes
}

fn said(finding: Finding) -> What {
    match finding {
        Finding::Format(_) => What::Form("it is not an entry of a known format"),
        Finding::Sequence { expected, found } => What::Sequence { expected, found },
        Finding::Chain(_) => What::Chain,
        Finding::Writer(_) => What::Writer,
        Finding::Cut { expected, .. } => What::Ended { expected },
        Finding::Root(size) => What::Kept(size),
        Finding::Checkpoint(what) => What::Checkpoint(what),
    }
}

/// Verifies the folder of an export.
///
/// # Errors
/// The first thing that is wrong, or a file that cannot be read.
pub fn folder(
    folder: &Path,
    keys: &Keyring,
    kept: Vec<Kept>,
    progress: Progress<'_>,
) -> Result<Proven, Failed> {
    let manifest = manifest(folder, keys)?;
    let (size, root) = manifest.tree;
    let body_name = manifest.format.file();
    let Some(body) = manifest.file(body_name) else {
        return Err(wrong(MANIFEST, What::Manifest("it does not name its entries")));
    };
    // What the manifest does not name may lie there, but not where readers look for an export.
    let known = Format::ALL.into_iter().map(Format::file);
    for name in known.chain([CHECKPOINT, PROOF, VERIFIER_KEYS, README]) {
        if manifest.file(name).is_none() && folder.join(name).symlink_metadata().is_ok() {
            return Err(wrong(name, What::Unlisted));
        }
    }
    // The small ones and the proof first: what follows relies on them.
    for facts in manifest.files.iter().filter(|facts| facts.name != body_name) {
        whole(folder, facts)?;
    }
    if manifest.file(CHECKPOINT).is_none() {
        return Err(wrong(MANIFEST, What::Manifest("it names no checkpoint")));
    }
    let note = String::from_utf8(small(&folder.join(CHECKPOINT))?).unwrap_or_default();
    let checkpoint = keys
        .checkpoint(&note)
        .map_err(|error| wrong(CHECKPOINT, What::Checkpoint(error.to_string())))?;
    if checkpoint.origin != manifest.origin || checkpoint.size != size || checkpoint.root != root {
        let what = What::Checkpoint("it is not the one the manifest was signed under".to_owned());
        return Err(wrong(CHECKPOINT, what));
    }
    if !manifest.format.proves() {
        whole_lines(folder, body, &manifest, progress)?;
        if let Some(kept) = kept.first() {
            // Only stored bytes can be held against a checkpoint.
            return Err(wrong(&kept.file, What::KeptInGap(kept.checkpoint.size)));
        }
        let entries = manifest.entries;
        let (manifest, root) = (Some(manifest), None);
        return Ok(Proven { manifest, entries, size, root, covered: size, kept: 0 });
    }
    if manifest.file(PROOF).is_none() {
        return Err(wrong(MANIFEST, What::Manifest("it names no proof")));
    }
    let path = folder.join(PROOF);
    let lines = Box::new(BufReader::new(open(&path, PROOF)?));
    let stopped = |stop| failed(stop, &path);
    let proof = Proof::new(PROOF, lines).map_err(stopped)?;
    let wanted = Wanted {
        range: Some(manifest.range),
        registration: manifest.registration.map(|registration| registration.to_string()),
        writer: Some(manifest.writer.clone()),
    };
    let mut entries = Entries::new(body_name, wanted, Some(proof), kept).map_err(stopped)?;
    let digest = feed(&folder.join(body_name), body_name, &mut entries, &path, progress)?;
    entries.finish().map_err(stopped)?;
    let count = What::Count { expected: manifest.entries, found: entries.count };
    if entries.tree.size() != size {
        let expected = entries.tree.size();
        return Err(Failed::Wrong { place: entries.end(), what: What::Ended { expected } });
    }
    // Where the log ends with the export, the checkpoint itself names the last entry.
    if let Some((place, leaf)) = entries.last()
        && place.entry.is_some_and(|entry| entry + 1 == size)
        && *leaf != checkpoint.chain
    {
        return Err(Failed::Wrong { place: place.clone(), what: What::Altered });
    }
    if entries.tree.root() != root {
        return Err(wrong(body_name, What::Root(size)));
    }
    if entries.count != manifest.entries || entries.ends != manifest.ends {
        return Err(Failed::Wrong { place: entries.end(), what: count });
    }
    if digest != (body.bytes, body.sha256) {
        return Err(wrong(body_name, What::Hash));
    }
    entries.beyond().map_err(stopped)?;
    Ok(Proven {
        entries: entries.count,
        size,
        covered: size,
        root: Some(hex(&root)),
        kept: entries.met,
        manifest: Some(manifest),
    })
}

/// Verifies bare entries, from the first of the log on, under checkpoints. Entries behind the
/// largest of them hang together, but nobody has signed them: they are `allowed`, or a failure.
///
/// # Errors
/// As [`folder`].
pub fn bare(
    path: &Path,
    kept: Vec<Kept>,
    allowed: bool,
    progress: Progress<'_>,
) -> Result<Proven, Failed> {
    let covered = kept.iter().map(|kept| kept.checkpoint.size).max().unwrap_or(0);
    let file = path.display().to_string();
    let stopped = |stop| failed(stop, path);
    let mut entries = Entries::new(&file, Wanted::default(), None, kept).map_err(stopped)?;
    feed(path, &file, &mut entries, path, progress)?;
    entries.beyond().map_err(stopped)?;
    if covered < entries.count && !allowed {
        let what = What::Uncovered { covered, last: entries.count - 1 };
        return Err(Failed::Wrong { place: entries.end(), what });
    }
    Ok(Proven {
        manifest: None,
        covered,
        entries: entries.count,
        size: entries.tree.size(),
        root: Some(hex(&entries.tree.root())),
        kept: entries.met,
    })
}

/// Gives every line to the verifier; their length and SHA-256.
fn feed(
    path: &Path,
    name: &str,
    entries: &mut Entries<'_>,
    proof: &Path,
    progress: Progress<'_>,
) -> Result<(u64, Hash), Failed> {
    let mut reader = BufReader::with_capacity(BUFFER, open(path, name)?);
    let (mut digest, mut line, mut told) = (RunningSha256::default(), Vec::new(), 0);
    loop {
        line.clear();
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|source| unreadable(path, source))? == 0 {
            return Ok((entries.byte, digest.finish()));
        }
        digest.update(&line);
        entries.push(&line).map_err(|stop| failed(stop, proof))?;
        if entries.byte - told >= BUFFER as u64 {
            told = entries.byte;
            progress(told);
        }
    }
}

fn manifest(folder: &Path, keys: &Keyring) -> Result<Manifest, Failed> {
    let bytes = small(&folder.join(MANIFEST))?;
    let invalid = |what| wrong(MANIFEST, What::Manifest(what));
    if bytes.len() > MAX_MANIFEST {
        return Err(invalid("it is too long"));
    }
    let note = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not UTF-8"))?;
    let manifest = Manifest::open(note, keys.keys()).map_err(invalid)?;
    let (from, to) = manifest.range;
    let fits = from <= to && to <= manifest.tree.0 && manifest.entries <= to - from;
    let whole = manifest.registration.is_some() || manifest.entries == to - from;
    if fits && whole { Ok(manifest) } else { Err(invalid("its numbers contradict each other")) }
}

/// Whether a file is the one of the manifest.
fn whole(folder: &Path, facts: &FileFacts) -> Result<(), Failed> {
    let mut digest = RunningSha256::default();
    let found = read_through(folder, facts, |piece| digest.update(piece))?;
    if found != facts.bytes {
        return Err(wrong(&facts.name, What::Size { expected: facts.bytes, found }));
    }
    if digest.finish() != facts.sha256 {
        return Err(wrong(&facts.name, What::Hash));
    }
    Ok(())
}

/// The same for entries in a form that proves nothing by itself: a line each.
fn whole_lines(
    folder: &Path,
    facts: &FileFacts,
    manifest: &Manifest,
    progress: Progress<'_>,
) -> Result<(), Failed> {
    let (mut digest, mut lines, mut done) = (RunningSha256::default(), 0u64, 0u64);
    let found = read_through(folder, facts, |piece| {
        digest.update(piece);
        lines += piece.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        done += piece.len() as u64;
        progress(done);
    })?;
    let head = u64::from(manifest.format == crate::export::Format::Csv);
    let lines = lines.saturating_sub(head);
    if lines != manifest.entries {
        let what = What::Count { expected: manifest.entries, found: lines };
        return Err(wrong(&facts.name, what));
    }
    if found != facts.bytes {
        return Err(wrong(&facts.name, What::Size { expected: facts.bytes, found }));
    }
    if digest.finish() != facts.sha256 {
        return Err(wrong(&facts.name, What::Hash));
    }
    Ok(())
}

fn read_through(
    folder: &Path,
    facts: &FileFacts,
    mut take: impl FnMut(&[u8]),
) -> Result<u64, Failed> {
    // The name was signed by the hub; it names a file of this folder all the same.
    if facts.name.contains(['/', '\\']) || facts.name.starts_with('.') {
        return Err(wrong(MANIFEST, What::Manifest("it names a file elsewhere")));
    }
    let path = folder.join(&facts.name);
    let mut reader = BufReader::with_capacity(BUFFER, open(&path, &facts.name)?);
    let mut found = 0;
    loop {
        let piece = reader.fill_buf().map_err(|source| unreadable(&path, source))?;
        let length = piece.len();
        if length == 0 {
            return Ok(found);
        }
        take(piece);
        found += length as u64;
        reader.consume(length);
    }
}

fn open(path: &Path, name: &str) -> Result<File, Failed> {
    File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => wrong(name, What::Missing),
        _ => unreadable(path, source),
    })
}

fn small(path: &Path) -> Result<Vec<u8>, Failed> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let mut bytes = Vec::new();
    let read = open(path, &name)?.take(MAX_SMALL).read_to_end(&mut bytes);
    read.map_err(|source| unreadable(path, source))?;
    Ok(bytes)
}

fn wrong(file: &str, what: What) -> Failed {
    Failed::Wrong { place: Place { file: file.to_owned(), ..Place::default() }, what }
}

fn unreadable(path: &Path, source: std::io::Error) -> Failed {
    Failed::Unreadable { path: PathBuf::from(path), source }
}

fn failed(stop: Stop, proof: &Path) -> Failed {
    match stop {
        Stop::Wrong(found) => {
            let (place, what) = *found;
            Failed::Wrong { place, what }
        }
        Stop::Proof(source) => unreadable(proof, source),
    }
}
