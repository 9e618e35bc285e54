//! Where a sink goes on after a restart: a small file beside the data, replaced atomically. It is
//! derived and never believed: it names the entry before it by its leaf hash, which the log must
//! hold.
//!
//! ```text
//! cipher-hub sink cursor 1
//! <sequence of the next entry>
//! <leaf hash of the entry before it, 64 hex digits; zeros for the first>
//! ```

use std::path::{Path, PathBuf};

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
    written: Option<u64>,
}

/// Where a sink begins, and what is to be told about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) at: u64,
    pub(crate) told: Option<String>,
}

impl Cursor {
    pub(crate) const fn new(file: Option<PathBuf>) -> Self {
        Self { file, written: None }
    }

    /// Where to begin. A cursor that is not of this log leads to more deliveries, never to fewer.
    pub(crate) async fn begin(&mut self, log: &Log, start: Start) -> Result<Begin, Error> {
        let size = log.appender().position().audit.size;
        let fresh = || {
            let at = if start == Start::End { size } else { 0 };
            Begin { at, told: None }
        };
        let Some(file) = &self.file else { return Ok(fresh()) };
        let begin = match read(file)? {
            None => fresh(),
            Some(None) => {
                let told = "its cursor is damaged: everything is delivered again".to_owned();
                Begin { at: 0, told: Some(told) }
            }
            Some(Some((next, _))) if next > size => {
                let told = format!(
                    "its cursor was at entry {next}, the log has {size}: an older store was put \
                     back; it goes on from there"
                );
                Begin { at: size, told: Some(told) }
            }
            Some(Some((next, leaf))) => match leaf_before(log, next).await {
                Ok(found) if found != leaf => {
                    let told = format!(
                        "its cursor at entry {next} is of another log: everything is delivered \
                         again"
                    );
                    Begin { at: 0, told: Some(told) }
                }
                Ok(_) => {
                    self.written = Some(next);
                    Begin { at: next, told: None }
                }
                // Put away meanwhile: what cannot be compared is no reason not to go on.
                Err(Error::Missing(_)) => {
                    self.written = Some(next);
                    let told = "its cursor is behind what the store still holds".to_owned();
                    Begin { at: next, told: Some(told) }
                }
                Err(error) => return Err(error),
            },
        };
        // At once: a sink that began at the end must not begin at another end after a crash.
        self.keep(log, begin.at).await?;
        Ok(begin)
    }

    /// Writes the cursor when it has moved.
    pub(crate) async fn keep(&mut self, log: &Log, next: u64) -> Result<(), Error> {
        let Some(file) = self.file.clone().filter(|_| self.written != Some(next)) else {
            return Ok(());
        };
        let leaf = leaf_before(log, next).await?;
        let text = format!("{HEAD}\n{next}\n{}\n", hex(&leaf));
        // Small and rare, and whoever waits for it is this sink alone.
        hub_store::durable_file::write_atomic(&file, text.as_bytes(), 0o600)?;
        self.written = Some(next);
        Ok(())
    }
}

async fn leaf_before(log: &Log, next: u64) -> Result<Hash, Error> {
    let Some(before) = next.checked_sub(1) else { return Ok([0; 32]) };
    let entry = log.entry(before).await?.ok_or(Error::Missing(before))?;
    Ok(merkle::leaf_hash(&entry))
}

/// `None` when there is no file, `Some(None)` when it is none of ours.
fn read(file: &Path) -> Result<Option<Option<(u64, Hash)>>, Error> {
    let Some(bytes) = hub_store::durable_file::read_private(file)? else { return Ok(None) };
    let parsed = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let (next, leaf) = text.strip_prefix(HEAD)?.strip_prefix('\n')?.split_once('\n')?;
        Some((next.parse().ok()?, parse_hex32(leaf.strip_suffix('\n')?)?))
    });
    Ok(Some(parsed))
}
