//! Making an archive: whole batches out of the store into a new file, which is synced, read back,
//! held against the store, and only then given its name.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path as FilePath, PathBuf};

use hub_crypto::hash::{RunningSha256, sha256};
use hub_crypto::sign::SigningKey;
use hub_model::{HubId, Timestamp};
use hub_store::{Entry, Store, View, block_on, durable_file};
use serde::Deserialize;

use super::check::{Examined, Key, examine};
use super::file::Archive;
use super::format::{END, Head, Row, Section, Summary, origin};
use super::set::ArchiveRecord;
use crate::encode::hex;
use crate::merkle::{self, Hash};
use crate::verify::scan::scan;
use crate::{Error, Log, batch};

/// Batches read at once.
const PAGE: usize = 16;

/// How far an archive may go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Only entries from before.
    pub before: Timestamp,
    /// Only entries before this sequence.
    pub end: u64,
    /// About how many; a batch is not divided.
    pub entries: u64,
}

/// What is to be made.
pub(super) struct Order<'a> {
    /// What the archive is held against before it is named.
    pub(super) log: &'a Log,
    pub(super) store: &'a Store,
    pub(super) dir: &'a FilePath,
    pub(super) writer: &'a str,
    pub(super) hub: HubId,
    pub(super) key: &'a SigningKey,
    pub(super) first: u64,
    pub(super) before: Hash,
    pub(super) frontier: Vec<Hash>,
    pub(super) bounds: Bounds,
    pub(super) now: Timestamp,
    /// Asked between pages; may rest. `false` ends it.
    pub(super) keep_going: &'a dyn Fn() -> bool,
}

#[derive(Deserialize)]
struct Timed {
    time: Timestamp,
}

/// A batch as it lies in the store.
struct Batch {
    sealed: Vec<u8>,
    last: u64,
    /// What each entry says of the one before, and its own leaf hash.
    links: Vec<(Hash, Hash)>,
    from: Timestamp,
    until: Timestamp,
}

/// The name of the archive that begins with this entry.
fn file_name(writer: &str, first: u64) -> String {
    format!("{writer}-{first:020}.audit")
}

impl Order<'_> {
    /// Makes it. `None` when no batch is old enough, or the process stops.
    pub(super) fn make(&self) -> Result<Option<ArchiveRecord>, Error> {
        private_folder(self.dir)?;
        let name = file_name(self.writer, self.first);
        let temporary = self.dir.join(format!(".{name}.making"));
        let made = self.write(&temporary).and_then(|summary| match summary {
            Some(summary) => {
                let found = self.read_back(&temporary)?;
                self.hold_against_log(&found)?;
                Ok(Some((summary, found)))
            }
            None => Ok(None),
        });
        let finished = match made {
            Ok(Some((summary, examined))) => {
                let path = self.dir.join(&name);
                self.put_in_place(&temporary, &path, &examined)?;
                Ok(Some(self.record(name, &summary, &examined)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        if !matches!(finished, Ok(Some(_))) {
            drop(fs::remove_file(&temporary));
        }
        finished
    }

    fn record(&self, file: String, summary: &Summary, examined: &Examined) -> ArchiveRecord {
        ArchiveRecord {
            file,
            first: summary.first,
            entries: summary.entries,
            batches: summary.batches,
            bytes: examined.bytes,
            sha256: hex(&examined.sha256),
            chain: hex(&examined.after),
            frontier: examined.frontier.iter().map(|root| hex(root)).collect(),
            from: summary.from,
            until: summary.until,
            made: self.now,
        }
    }

    /// Writes and syncs the file.
    fn write(&self, path: &FilePath) -> Result<Option<Summary>, Error> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove", path)(error));
            }
            _ => {}
        }
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut out = Out::new(options.map_err(failed("create", path))?, path);
        let head = Head {
            hub: self.hub,
            first: self.first,
            before: self.before,
            frontier: self.frontier.clone(),
            writer: self.writer.to_owned(),
        };
        let head_at = out.section(&head.encode())?;
        let (mut leaves, mut index, mut rows) = (Vec::new(), Vec::new(), 0);
        let (mut frontier, mut size, mut chain) = (self.frontier.clone(), self.first, self.before);
        let mut times: Option<(Timestamp, Timestamp)> = None;
        out.begin();
        let going = self.batches(self.first, &mut |found| {
            let batch = self.opened(&found, size)?;
            let end = batch.last.saturating_add(1);
            let enough = size.saturating_sub(self.first) >= self.bounds.entries;
            if enough || batch.until >= self.bounds.before || end > self.bounds.end {
                return Ok(false);
            }
            let length = u32::try_from(batch.sealed.len()).unwrap_or(u32::MAX);
            let row =
                Row { last: batch.last, offset: out.at, length, sha256: sha256(&batch.sealed) };
            row.append_to(&mut index);
            rows += 1;
            for (prev, leaf) in &batch.links {
                // What is signed here is the last that is left of these entries.
                if *prev != chain {
                    let reason = format!("entry {size} does not follow the one before it");
                    return Err(Error::NotArchived(reason));
                }
                merkle::push(&mut frontier, size, *leaf);
                leaves.extend_from_slice(leaf);
                (size, chain) = (size + 1, *leaf);
            }
            times = Some(times.map_or((batch.from, batch.until), |(from, until)| {
                (from.min(batch.from), until.max(batch.until))
            }));
            out.write(&batch.sealed)?;
            Ok(true)
        })?;
        let batches_at = out.end();
        let (Some((from, until)), true) = (times, going) else { return Ok(None) };
        let summary = Summary {
            origin: origin(self.hub),
            writer: self.writer.to_owned(),
            first: self.first,
            entries: size - self.first,
            batches: rows,
            root: merkle::root(&frontier),
            before: self.before,
            after: chain,
            from,
            until,
            sections: [head_at, batches_at, out.section(&leaves)?, out.section(&index)?],
        };
        let note = summary.sign(self.key);
        out.write(note.as_bytes())?;
        out.write(&u32::try_from(note.len()).unwrap_or(u32::MAX).to_be_bytes())?;
        out.write(END)?;
        out.finish()?;
        Ok(Some(summary))
    }

    /// Reads the file again from the disk: everything an outsider would check, and that its batches
    /// are those of the store.
    fn read_back(&self, path: &FilePath) -> Result<Examined, Error> {
        let unfit = |reason: String| Error::NotArchived(reason);
        let archive = Archive::open(path).map_err(|damage| unfit(damage.to_string()))?;
        let keys = [Key::of(origin(self.hub), self.key.public())];
        let examined = examine(&archive, &keys, &[], &mut |_| ());
        let examined = examined.map_err(|damage| unfit(damage.to_string()))?;
        let mut number = 0;
        self.batches(self.first, &mut |found| {
            if number == archive.summary().batches {
                return Ok(false);
            }
            let row = archive.row(number).map_err(|damage| unfit(damage.to_string()))?;
            let sealed = archive.sealed(&row).map_err(|damage| unfit(damage.to_string()))?;
            if found.path != batch::path(self.writer, row.last)? || found.value != sealed {
                return Err(unfit(format!("`{}` is not what the store holds", found.path)));
            }
            number += 1;
            Ok(true)
        })?;
        if number == archive.summary().batches {
            return Ok(examined);
        }
        Err(unfit("the store holds less than was written, or the hub is stopping".to_owned()))
    }

    /// Proves that the archive ends in the tree the newest checkpoint has signed: only then its
    /// batches may leave the store.
    fn hold_against_log(&self, examined: &Examined) -> Result<(), Error> {
        let unfit = |reason: String| Error::NotArchived(reason);
        let end = examined.end;
        if self.log.latest().is_none_or(|signed| signed.checkpoint.size < end) {
            return Err(unfit(format!("no checkpoint covers its {end} entries")));
        }
        let frontier = block_on(self.log.frontier_at(end)).map_err(|error| {
            unfit(format!("its end cannot be held against the newest checkpoint: {error}"))
        })?;
        if frontier == examined.frontier {
            return Ok(());
        }
        Err(unfit(format!("its root at {end} entries is not that of the log")))
    }

    /// Gives the file its name. One of that name is no archive the store knows of: left by a crash,
    /// or of another history. It is kept beside, unless it is the same.
    fn put_in_place(
        &self,
        temporary: &FilePath,
        path: &FilePath,
        examined: &Examined,
    ) -> Result<(), Error> {
        if path.exists() && file_hash(path)? != examined.sha256 {
            let free = (1..1000u32)
                .map(|n| PathBuf::from(format!("{}.aside-{n}", path.display())))
                .find(|aside| !aside.exists())
                .ok_or_else(|| Error::NotArchived("too many files were put aside".to_owned()))?;
            tracing::warn!(
                file = %path.display(), kept = %free.display(),
                "a file in the place of an archive is not what the store knows; it was put aside"
            );
            fs::rename(path, &free).map_err(failed("put aside", path))?;
        }
        fs::rename(temporary, path).map_err(failed("name", path))?;
        Ok(durable_file::sync_directory(self.dir)?)
    }

    /// The batches from the one that holds `from` on, until `take` says `false`. Answers whether it
    /// was not stopped from outside.
    fn batches(
        &self,
        from: u64,
        take: &mut dyn FnMut(Entry) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let prefix = batch::prefix(self.writer);
        let mut after = match from.checked_sub(1) {
            Some(before) => Some(batch::path(self.writer, before)?),
            None => None,
        };
        loop {
            if !(self.keep_going)() {
                return Ok(false);
            }
            let page =
                block_on(self.store.backend().scan(&prefix, after.as_ref(), PAGE, View::Now))?;
            after = page.entries.last().map(|entry| entry.path.clone());
            for entry in page.entries {
                if !take(entry)? {
                    return Ok(true);
                }
            }
            if !page.more {
                return Ok(true);
            }
        }
    }

    fn opened(&self, found: &Entry, expected: u64) -> Result<Batch, Error> {
        let opened = self.store.open_sealed(&found.path, &found.value)?;
        let entries = batch::parse(&found.path, &opened)?;
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
            return Err(Error::Batch(found.path.to_string()));
        };
        if *first != expected {
            return Err(Error::Missing(expected));
        }
        if batch::path(self.writer, *last)? != found.path {
            return Err(Error::Batch(found.path.to_string()));
        }
        let (mut from, mut until) = (Timestamp::MAX, Timestamp::from_micros(i64::MIN));
        let mut links = Vec::with_capacity(entries.len());
        for (_, bytes) in &entries {
            let malformed = || Error::Batch(found.path.to_string());
            let entry: Timed = serde_json::from_slice(bytes).map_err(|_| malformed())?;
            (from, until) = (from.min(entry.time), until.max(entry.time));
            links.push((scan(bytes).map_err(|_| malformed())?.prev, merkle::leaf_hash(bytes)));
        }
        Ok(Batch { sealed: found.value.clone(), last: *last, links, from, until })
    }
}

/// A file that is written from front to end, with the hash of the section being written.
struct Out<'a> {
    file: std::io::BufWriter<File>,
    path: &'a FilePath,
    at: u64,
    begun: u64,
    hash: RunningSha256,
}

impl<'a> Out<'a> {
    fn new(file: File, path: &'a FilePath) -> Self {
        let file = std::io::BufWriter::with_capacity(256 * 1024, file);
        Self { file, path, at: 0, begun: 0, hash: RunningSha256::default() }
    }

    fn begin(&mut self) {
        (self.begun, self.hash) = (self.at, RunningSha256::default());
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(failed("write", self.path))?;
        self.hash.update(bytes);
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn end(&mut self) -> Section {
        let sha256 = std::mem::take(&mut self.hash).finish();
        Section { offset: self.begun, length: self.at - self.begun, sha256 }
    }

    fn section(&mut self, bytes: &[u8]) -> Result<Section, Error> {
        self.begin();
        self.write(bytes)?;
        Ok(self.end())
    }

    fn finish(self) -> Result<(), Error> {
        let file =
            self.file.into_inner().map_err(|e| failed("write", self.path)(e.into_error()))?;
        file.sync_all().map_err(failed("sync", self.path))
    }
}

fn failed(action: &'static str, path: &FilePath) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::ArchiveFile { action, path, source }
}

fn file_hash(path: &FilePath) -> Result<Hash, Error> {
    let mut file = File::open(path).map_err(failed("open", path))?;
    let (mut hash, mut piece) = (RunningSha256::default(), vec![0; 64 * 1024]);
    loop {
        match std::io::Read::read(&mut file, &mut piece).map_err(failed("read", path))? {
            0 => return Ok(hash.finish()),
            length => hash.update(piece.get(..length).unwrap_or_default()),
        }
    }
}

/// The folder of the archives, for the owner alone.
fn private_folder(dir: &FilePath) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))
}
