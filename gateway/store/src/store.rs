//! The store as the floors above see it: typed records by path, opened through the barrier. Only
//! the [`Writer`](crate::Writer) writes.

use std::sync::Arc;

use hub_crypto::SystemKeys;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::backend::{Backend, Revision, View};
use crate::barrier::Barrier;
use crate::generations::{Generations, Stamp};
use crate::head::Head;
use crate::{Error, Path, record};

/// A value with the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// What a check needs to say "unchanged since".
    pub revision: Revision,
}

/// A page of records, in order of path.
#[derive(Debug, Clone)]
pub struct RecordPage<T> {
    /// The records with their paths.
    pub records: Vec<(Path, Versioned<T>)>,
    /// The revision at which the page was read; see [`Store::scan_at`].
    pub at: Revision,
    /// Whether more records follow the last one.
    pub more: bool,
}

/// Sealed records on an engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Arc<dyn Backend>,
    barrier: Barrier,
    generations: Arc<Generations>,
}

impl Store {
    /// A store of what lies in `backend`, sealed with the record key and summed up with the digest
    /// key of `keys`.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, keys: Arc<SystemKeys>) -> Self {
        let generations = Arc::new(Generations::new());
        Self(Arc::new(Inner { backend, barrier: Barrier::new(keys), generations }))
    }

    /// The record at `path`, if there is one.
    ///
    /// # Errors
    /// [`Error::Tampered`], [`Error::Malformed`], or what the engine answers.
    pub async fn read<T: DeserializeOwned>(
        &self,
        path: &Path,
    ) -> Result<Option<Versioned<T>>, Error> {
        let Some(found) = self.read_bytes(path).await? else { return Ok(None) };
        let value = record::decode(path, &found.value)?;
        Ok(Some(Versioned { value, revision: found.revision }))
    }

    /// The record at `path` as bytes, opened but not decoded.
    ///
    /// # Errors
    /// [`Error::Tampered`], or what the engine answers.
    pub async fn read_bytes(
        &self,
        path: &Path,
    ) -> Result<Option<Versioned<Zeroizing<Vec<u8>>>>, Error> {
        let Some(entry) = self.0.backend.get(path).await? else { return Ok(None) };
        let value = self.0.barrier.open(path, &entry.value)?;
        Ok(Some(Versioned { value, revision: entry.revision }))
    }

    /// Opens what was sealed for `path` and lies elsewhere now: in an archive.
    ///
    /// # Errors
    /// [`Error::Tampered`].
    pub fn open_sealed(&self, path: &Path, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.0.barrier.open(path, sealed)
    }

    /// The first page of records under `prefix` after `after`.
    ///
    /// # Errors
    /// As [`Store::read`]; one record that does not open fails the page.
    pub async fn scan<T: DeserializeOwned>(
        &self,
        prefix: &str,
        after: Option<&Path>,
        limit: usize,
    ) -> Result<RecordPage<T>, Error> {
        self.scan_at(prefix, after, limit, View::Now).await
    }

    /// As [`Store::scan`], at what `view` says.
    ///
    /// # Errors
    /// As [`Store::scan`], and [`Error::RevisionGone`] when the engine holds it no longer.
    pub async fn scan_at<T: DeserializeOwned>(
        &self,
        prefix: &str,
        after: Option<&Path>,
        limit: usize,
        view: View,
    ) -> Result<RecordPage<T>, Error> {
        let page = self.scan_bytes(prefix, after, limit, view).await?;
        let decode = |(path, found): (Path, Versioned<Zeroizing<Vec<u8>>>)| {
            let value = record::decode(&path, &found.value)?;
            Ok((path, Versioned { value, revision: found.revision }))
        };
        let records = page.records.into_iter().map(decode).collect::<Result<_, Error>>()?;
        Ok(RecordPage { records, at: page.at, more: page.more })
    }

    /// As [`Store::scan_at`], opened but not decoded.
    ///
    /// # Errors
    /// As [`Store::scan_at`].
    pub async fn scan_bytes(
        &self,
        prefix: &str,
        after: Option<&Path>,
        limit: usize,
        view: View,
    ) -> Result<RecordPage<Zeroizing<Vec<u8>>>, Error> {
        let page = self.0.backend.scan(prefix, after, limit, view).await?;
        let open = |entry: crate::Entry| {
            let value = self.0.barrier.open(&entry.path, &entry.value)?;
            Ok((entry.path, Versioned { value, revision: entry.revision }))
        };
        let records = page.entries.into_iter().map(open).collect::<Result<_, Error>>()?;
        Ok(RecordPage { records, at: page.at, more: page.more })
    }

    /// The head of a writer; `None` before its first commit.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn head(&self, writer: &str) -> Result<Option<Versioned<Head>>, Error> {
        let path = Head::path(writer)?;
        let Some(found) = self.read_bytes(&path).await? else { return Ok(None) };
        let value = Head::decode(&path, &found.value)?;
        Ok(Some(Versioned { value, revision: found.revision }))
    }

    /// Begins to watch what a cached value is made from; see [`Stamp`].
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp::new(Arc::clone(&self.0.generations))
    }

    /// Makes cached values that were made from `path` stale. The writer does so for its commits;
    /// for changes that other nodes made, whoever follows the engine calls it.
    pub fn invalidate(&self, path: &Path) {
        self.0.generations.bump(path);
    }

    /// Makes every cached value stale.
    pub fn invalidate_all(&self) {
        self.0.generations.bump_all();
    }

    /// The engine underneath.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.0.backend
    }

    pub(crate) fn barrier(&self) -> &Barrier {
        &self.0.barrier
    }

    pub(crate) fn generations(&self) -> &Arc<Generations> {
        &self.0.generations
    }
}
