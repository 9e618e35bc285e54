//! Reading the entries a query wants. Single ones come from the one batch that holds them, which is
//! kept for the next; runs come many batches at a time.

use hub_store::View;

use crate::{Error, Log, batch};

/// Batches read at once where entries are wanted in a run.
const MOST: u64 = 64;

/// Reads entries, and counts what that costs, in something like microseconds.
#[derive(Debug)]
pub(crate) struct Fetcher<'a> {
    log: &'a Log,
    /// The batch read last.
    held: Vec<(u64, Vec<u8>)>,
    pub(crate) spent: u64,
}

impl<'a> Fetcher<'a> {
    pub(crate) const fn new(log: &'a Log) -> Self {
        Self { log, held: Vec::new(), spent: 0 }
    }

    /// One entry.
    pub(crate) async fn entry(&mut self, seq: u64) -> Result<Vec<u8>, Error> {
        if self.find(seq).is_none() {
            self.held = self.batches(seq, 1).await?;
        }
        if let Some(entry) = self.find(seq) {
            let entry = entry.to_vec();
            self.spent += 2;
            return Ok(entry);
        }
        // Not in a batch of the store: wherever the log keeps it.
        self.spent += 1000;
        self.log.entry(seq).await?.ok_or(Error::Missing(seq))
    }

    fn find(&self, seq: u64) -> Option<&[u8]> {
        let at = self.held.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        self.held.get(at).map(|(_, entry)| entry.as_slice())
    }

    /// The entries from `first` to `last`, ascending.
    pub(crate) async fn run(
        &mut self,
        first: u64,
        last: u64,
    ) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
        let (mut next, mut at_once) = (first, 1);
        while next <= last {
            let mut read = self.batches(next, at_once).await?;
            let held = read.len() as u64;
            read.retain(|(seq, _)| *seq >= next);
            if read.first().is_none_or(|(seq, _)| *seq > next) {
                self.spent += 1000;
                let wanted = usize::try_from(last - next + 1).unwrap_or(usize::MAX);
                read = self.log.page(next, wanted).await?;
            }
            let seqs = next..;
            let whole = read.iter().zip(seqs).all(|((seq, _), wanted)| *seq == wanted);
            let Some((end, _)) = read.last().filter(|_| whole) else {
                return Err(Error::Missing(next));
            };
            // So many batches as will hold the rest, by what these held.
            let (end, each) = (*end, held.div_ceil(at_once).max(1));
            at_once = last.saturating_sub(end).div_ceil(each).clamp(1, MOST);
            found.extend(read.into_iter().filter(|(seq, _)| *seq <= last));
            next = end + 1;
        }
        self.spent += 2 * found.len() as u64;
        Ok(found)
    }

    /// The entries of the batch that holds `first`, and of the next ones, `count` in all.
    async fn batches(&mut self, first: u64, count: u64) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let writer = self.log.appender().writer();
        // Batches are named by their last entry: the first one after `first - 1` holds `first`.
        let after = first.checked_sub(1).map(|before| batch::path(writer, before)).transpose()?;
        let limit = usize::try_from(count).unwrap_or(1);
        let (store, prefix) = (self.log.store(), batch::prefix(writer));
        let mut found = Vec::new();
        for (path, record) in
            store.scan_bytes(&prefix, after.as_ref(), limit, View::Now).await?.records
        {
            self.spent += 10 + record.value.len() as u64 / 1024;
            let entries = batch::parse(&path, &record.value)?;
            found.extend(entries);
        }
        Ok(found)
    }
}
