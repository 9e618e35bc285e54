//! Entries of the log by sequence, from memory, store and archives.

use hub_model::RegistrationId;
use hub_store::{Store, View};

use super::Log;
use crate::archive::Archives;
use crate::{Error, batch};

impl Log {
    /// Entries from `after` on, consecutive, at most `limit` of them and about 1 MiB.
    ///
    /// # Errors
    /// When the store fails or a batch does not open.
    pub async fn page(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        read((&self.store, self.archives.as_ref()), self.appender.writer(), after, limit).await
    }

    /// One entry.
    ///
    /// # Errors
    /// As [`Log::page`].
    pub async fn entry(&self, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        if let Some(entry) = self.recent_entry(seq) {
            return Ok(Some(entry));
        }
        let entries = self.page(seq, 1).await?;
        Ok(entries.into_iter().find(|(found, _)| *found == seq).map(|(_, bytes)| bytes))
    }

    /// One entry, when it is among the newest, which lie in memory.
    #[must_use]
    pub fn recent_entry(&self, seq: u64) -> Option<Vec<u8>> {
        let group = self.appender.recent().find(seq)?;
        group.entries(seq).next().map(|(_, bytes, _)| bytes.to_vec())
    }

    /// Reads the log on a thread that may block: what lies in archives or is proven takes a while,
    /// and other requests must not wait for it. Few do so at once, and one for each registration.
    ///
    /// # Errors
    /// Those of the work, and [`Error::Unavailable`] when the process is stopping.
    pub async fn aside<T, F>(
        &self,
        asker: RegistrationId,
        work: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
        T: Send + 'static,
    {
        let turn = self.turns.turn(Some(asker)).await?;
        let log = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = hub_store::block_on(work(log));
            drop(turn);
            answer
        });
        answer.await.map_err(|error| Error::Unavailable(error.to_string()))?
    }
}

/// Bytes of one page, about.
const MAX_BYTES: usize = 1024 * 1024;

/// Reads entries from `from` on: from the store, or from the archive that holds them. An entry that
/// is in both is served by either, so that a damaged archive harms nothing before its entries have
/// left the store.
pub(super) async fn read(
    (store, archives): (&Store, Option<&Archives>),
    writer: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let Some(archives) = archives else { return read_store(store, writer, from, limit).await };
    let end = archives.end();
    if from < end {
        let archived = archives.page(from, limit, MAX_BYTES);
        let Err(error) = archived else { return archived };
        let found = consecutive(from, read_store(store, writer, from, limit).await?);
        return if found.is_empty() { Err(error) } else { Ok(found) };
    }
    let found = read_store(store, writer, from, limit).await?;
    if archives.end() == end {
        return Ok(found);
    }
    // Entries went into an archive while the store was being read.
    let found = consecutive(from, found);
    if found.is_empty() && from < archives.end() {
        return archives.page(from, limit, MAX_BYTES);
    }
    Ok(found)
}

/// The entries up to the first that does not follow the one before.
fn consecutive(from: u64, mut found: Vec<(u64, Vec<u8>)>) -> Vec<(u64, Vec<u8>)> {
    let whole = found.iter().zip(from..).take_while(|((seq, _), next)| seq == next).count();
    found.truncate(whole);
    found
}

/// Reads entries from `from` on that are in the store.
pub(super) async fn read_store(
    store: &Store,
    writer: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let mut found = Vec::new();
    let mut bytes = 0;
    // Every batch has an entry: who wants one entry needs one batch.
    let batches = limit.clamp(1, 16);
    // Batches are named by their last entry: the first one after `from - 1` holds `from`.
    let mut after = match from.checked_sub(1) {
        Some(before) => Some(batch::path(writer, before)?),
        None => None,
    };
    'pages: loop {
        let page =
            store.scan_bytes(&batch::prefix(writer), after.as_ref(), batches, View::Now).await?;
        for (path, record) in &page.records {
            for (seq, entry) in batch::parse(path, &record.value)? {
                if seq < from {
                    continue;
                }
                if found.len() >= limit || (bytes > MAX_BYTES && !found.is_empty()) {
                    break 'pages;
                }
                bytes += entry.len();
                found.push((seq, entry));
            }
        }
        match page.records.last() {
            Some((last, _)) if page.more => after = Some(last.clone()),
            _ => break,
        }
    }
    Ok(found)
}
