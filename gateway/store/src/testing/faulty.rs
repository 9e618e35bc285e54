//! A backend that fails when told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::backend::{Backend, Boxed, Commit, Entry, Page, Revision, Txn, Watch};
use crate::{Error, Path, View};

/// Passes everything on, except that one commit fails, before or after it was written, and that
/// every later one is refused, as the contract demands.
#[derive(Debug)]
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    // Commits still to succeed; the one after fails.
    left: AtomicU64,
    written: bool,
    failed: AtomicBool,
    exclusive: bool,
}

impl FaultyBackend {
    /// Never fails.
    #[must_use]
    pub fn sound(inner: Arc<dyn Backend>) -> Self {
        Self::build(inner, u64::MAX, false)
    }

    /// Fails the commit after `commits` good ones without writing it.
    #[must_use]
    pub fn failing_before(inner: Arc<dyn Backend>, commits: u64) -> Self {
        Self::build(inner, commits, false)
    }

    /// Writes the commit after `commits` good ones, but says that the outcome is unknown.
    #[must_use]
    pub fn failing_after(inner: Arc<dyn Backend>, commits: u64) -> Self {
        Self::build(inner, commits, true)
    }

    /// Says that others may commit as well, so that checks must go with every transaction.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.exclusive = false;
        self
    }

    fn build(inner: Arc<dyn Backend>, commits: u64, written: bool) -> Self {
        let exclusive = inner.is_exclusive();
        let (left, failed) = (AtomicU64::new(commits), AtomicBool::new(false));
        Self { inner, left, written, failed, exclusive }
    }
}

impl Backend for FaultyBackend {
    fn get<'a>(&'a self, path: &'a Path) -> Boxed<'a, Result<Option<Entry>, Error>> {
        self.inner.get(path)
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Path>,
        limit: usize,
        view: View,
    ) -> Boxed<'a, Result<Page, Error>> {
        self.inner.scan(prefix, after, limit, view)
    }

    fn let_go(&self, at: Revision) {
        self.inner.let_go(at);
    }

    fn commit(&self, txn: Txn) -> Boxed<'_, Result<Commit, Error>> {
        Box::pin(async move {
            if self.failed.load(Ordering::SeqCst) {
                return Err(Error::Poisoned("injected fault".to_owned()));
            }
            let take = |left: u64| left.checked_sub(1);
            if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                return self.inner.commit(txn).await;
            }
            self.failed.store(true, Ordering::SeqCst);
            if self.written
                && let Commit::Conflict(index) = self.inner.commit(txn).await?
            {
                return Ok(Commit::Conflict(index));
            }
            Ok(Commit::Unknown("injected fault".to_owned()))
        })
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.inner.watch(prefix)
    }

    fn head(&self) -> Boxed<'_, Result<Revision, Error>> {
        self.inner.head()
    }

    fn identity(&self) -> [u8; 16] {
        self.inner.identity()
    }

    fn durability(&self) -> &'static str {
        self.inner.durability()
    }

    fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    fn stopped_cleanly(&self) -> bool {
        self.inner.stopped_cleanly()
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.inner.size_on_disk()
    }

    fn purge(&self) -> Boxed<'_, Result<(), Error>> {
        self.inner.purge()
    }

    fn reclaim_log(&self) -> Boxed<'_, Result<(), Error>> {
        self.inner.reclaim_log()
    }

    fn close(&self) -> Boxed<'_, Result<(), Error>> {
        self.inner.close()
    }
}
