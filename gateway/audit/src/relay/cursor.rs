//! Where a sink goes on after a restart: a small file beside the data, replaced atomically. It is
//! derived and never believed: it names the entry before it by its leaf hash, which the log must
//! hold.
//!
//! ```text
//! cipher-hub sink cursor 1
//! <sequence of the next entry>
//! <leaf hash of the entry before it, 64 hex digits; zeros for the first>
//! <entries passed over that the log does not tell of yet; no such line when there are none>
//! ```

use std::path::{Path, PathBuf};

use crate::archive::Archives;
use crate::encode::{hex, parse_hex32};
use crate::merkle::{self, Hash};
use crate::{Error, Log};

const HEAD: &str = "cipher-hub sink cursor 1";

/// Where a sink begins that has no cursor yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is appended from now on.
    #[default]
    End,
    /// With the first entry.
    Beginning,
}

/// The cursor of one sink.
#[derive(Debug)]
pub(crate) struct Cursor {
    file: Option<PathBuf>,
    /// The sequence and the untold entries that are in the file.
    written: Option<(u64, u64)>,
}

/// Where a sink begins, and what is to be told about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) at: u64,
    /// Entries passed over that the log does not tell of yet.
    pub(crate) untold: u64,
    pub(crate) told: Option<String>,
}

impl Cursor {
    pub(crate) const fn new(file: Option<PathBuf>) -> Self {
        Self { file, written: None }
    }

    /// Where to begin. A cursor that is not of this log leads to more deliveries, never to fewer.
    pub(crate) async fn begin(&mut self, log: &Log, start: Start) -> Result<Begin, Error> {
        let size = log.appender().position().audit.size;
        let at = if start == Start::End { size } else { 0 };
        let fresh = Begin { at, untold: 0, told: None };
        let Some(file) = &self.file else { return Ok(fresh) };
        let mut begin = match read(file)? {
            None => fresh,
            Some(None) => {
                let told = "its cursor is damaged: everything is delivered again".to_owned();
                Begin { at: 0, untold: 0, told: Some(told) }
            }
            Some(Some(Kept { next, untold, .. })) if next > size => {
                let told = format!(
                    "its cursor was at entry {next}, the log has {size}: an older store was put \
                     back; it goes on from there"
                );
                Begin { at: size, untold, told: Some(told) }
            }
            Some(Some(Kept { next, leaf, untold })) => match leaf_before(log, next).await {
                Ok(found) if found != leaf => {
                    let told = format!(
                        "its cursor at entry {next} is of another log: everything is delivered \
                         again"
                    );
                    Begin { at: 0, untold, told: Some(told) }
                }
                Ok(_) => {
                    self.written = Some((next, untold));
                    Begin { at: next, untold, told: None }
                }
                // What cannot be compared is no reason not to go on.
                Err(error) if is_unreadable(&error) => {
                    self.written = Some((next, untold));
                    let told = format!("its cursor cannot be held against the log: {error}");
                    Begin { at: next, untold, told: Some(told) }
                }
                Err(error) => return Err(error),
            },
        };
        // At once: a sink that began at the end must not begin at another end after a crash.
        match self.keep(log, begin.at, begin.untold).await {
            Err(error) if is_unreadable(&error) => {
                let told = format!("its cursor cannot be kept yet: {error}");
                begin.told.get_or_insert(told);
            }
            kept => kept?,
        }
        Ok(begin)
    }

    /// Writes the cursor when it has moved.
    pub(crate) async fn keep(&mut self, log: &Log, next: u64, untold: u64) -> Result<(), Error> {
        let same = self.written == Some((next, untold));
        let Some(file) = self.file.clone().filter(|_| !same) else { return Ok(()) };
        let leaf = leaf_before(log, next).await?;
        let mut text = format!("{HEAD}\n{next}\n{}\n", hex(&leaf));
        if untold > 0 {
            text.push_str(&format!("{untold}\n"));
        }
        // Small and rare, and whoever waits for it is this sink alone.
        hub_store::durable_file::write_atomic(&file, text.as_bytes(), 0o600)?;
        self.written = Some((next, untold));
        Ok(())
    }
}

/// Whether an entry is not to be had, as opposed to a store or a file that fails.
const fn is_unreadable(error: &Error) -> bool {
    matches!(error, Error::Missing(_) | Error::Archive { .. })
}

async fn leaf_before(log: &Log, next: u64) -> Result<Hash, Error> {
    let Some(before) = next.checked_sub(1) else { return Ok([0; 32]) };
    match log.entry(before).await {
        Ok(entry) => Ok(merkle::leaf_hash(&entry.ok_or(Error::Missing(before))?)),
        // The hash of an archive's last entry is in the store, too.
        Err(error @ Error::Archive { .. }) => {
            let list = log.archives().map(Archives::list).unwrap_or_default();
            let ends = list.iter().find(|held| held.record.end() == next);
            ends.and_then(|held| parse_hex32(&held.record.chain)).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// What is in the file.
struct Kept {
    next: u64,
    leaf: Hash,
    untold: u64,
}

/// `None` when there is no file, `Some(None)` when it is none of ours.
fn read(file: &Path) -> Result<Option<Option<Kept>>, Error> {
    let Some(bytes) = hub_store::durable_file::read_private(file)? else { return Ok(None) };
    let parsed = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let text = text.strip_prefix(HEAD)?.strip_prefix('\n')?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        let next = lines.next()?.parse().ok()?;
        let leaf = parse_hex32(lines.next()?)?;
        let untold = lines.next().map_or(Some(0), |count| count.parse().ok())?;
        lines.next().is_none().then_some(Kept { next, leaf, untold })
    });
    Ok(Some(parsed))
}
