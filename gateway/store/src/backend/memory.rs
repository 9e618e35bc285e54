//! The reference engine: a sorted map, gone with the process. What it does, every engine must do.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use hub_model::HubId;

use super::pins::Pins;
use super::watch::Feed;
use super::{
    Backend, Boxed, Commit, Entry, PAGE_BYTES, Page, Revision, Txn, View, Watch, Write, ready,
};
use crate::{Error, Path};

type Map = BTreeMap<Path, (Revision, Arc<[u8]>)>;

/// An engine without a disk.
pub struct MemoryBackend {
    state: Mutex<State>,
    pins: Pins<Arc<Map>>,
    feed: Feed,
    identity: [u8; 16],
}

struct State {
    // Shared with pinned scans; copied on the first write after a pin.
    map: Arc<Map>,
    revision: Revision,
    closed: bool,
}

impl MemoryBackend {
    /// An empty store with an identity of its own.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State { map: Arc::default(), revision: Revision(0), closed: false }),
            pins: Pins::new(),
            feed: Feed::new(),
            identity: *HubId::generate().as_bytes(),
        }
    }

    /// Changes stored bytes without a transaction, as somebody with access to the files could;
    /// `None` removes. For tests of what must be noticed.
    ///
    /// # Errors
    /// [`Error::Poisoned`] after a panic in another thread.
    #[cfg(feature = "testing")]
    pub fn danger_edit(&self, path: &Path, value: Option<Vec<u8>>) -> Result<(), Error> {
        let mut state = self.lock()?;
        let map = Arc::make_mut(&mut state.map);
        let revision = map.remove(path).map_or(Revision(1), |(revision, _)| revision);
        if let Some(value) = value {
            map.insert(path.clone(), (revision, value.into()));
        }
        Ok(())
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, Error> {
        self.state.lock().map_err(|_| Error::Poisoned("a thread panicked in a commit".into()))
    }

    fn commit_now(&self, txn: Txn) -> Result<Commit, Error> {
        let mut state = self.lock()?;
        if state.closed {
            return Err(Error::Poisoned("the store is closed".into()));
        }
        let (checks, writes) = txn.into_parts();
        for (index, check) in checks.iter().enumerate() {
            if !check.holds(state.map.get(check.path()).map(|(revision, _)| *revision)) {
                return Ok(Commit::Conflict(index));
            }
        }
        let revision = Revision(state.revision.0.saturating_add(1));
        let map = Arc::make_mut(&mut state.map);
        for write in &writes {
            match write {
                Write::Put(path, value) => {
                    map.insert(path.clone(), (revision, value.as_slice().into()));
                }
                Write::Delete(path) => {
                    map.remove(path);
                }
            }
        }
        state.revision = revision;
        // Published under the lock, so that followers see transactions in order.
        self.feed.publish(revision, &writes);
        self.pins.expire();
        Ok(Commit::Committed(revision))
    }

    fn scan_now(
        &self,
        prefix: &str,
        after: Option<&Path>,
        limit: usize,
        view: View,
    ) -> Result<Page, Error> {
        let (head, current) = {
            let state = self.lock()?;
            (state.revision, Arc::clone(&state.map))
        };
        let (at, map) = match view {
            View::Now => (head, current),
            View::Hold => {
                self.pins.keep(head, Arc::clone(&current));
                (head, current)
            }
            View::At(at) if at == head => (at, current),
            View::At(at) => (at, self.pins.find(at).ok_or(Error::RevisionGone(at))?),
        };
        let from_prefix = (Bound::Included(prefix), Bound::Unbounded);
        let range = match after {
            Some(after) if after.as_str() >= prefix => {
                (Bound::Excluded(after.as_str()), Bound::Unbounded)
            }
            _ => from_prefix,
        };
        let mut page = Page { entries: Vec::new(), at, more: false };
        let mut bytes = 0usize;
        for (path, (revision, value)) in map.range::<str, _>(range) {
            if !path.as_str().starts_with(prefix) {
                break;
            }
            if page.entries.len() >= limit || bytes >= PAGE_BYTES {
                page.more = true;
                break;
            }
            bytes = bytes.saturating_add(value.len());
            page.entries.push(Entry {
                path: path.clone(),
                value: value.to_vec(),
                revision: *revision,
            });
        }
        Ok(page)
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryBackend")
    }
}

impl Backend for MemoryBackend {
    fn get<'a>(&'a self, path: &'a Path) -> Boxed<'a, Result<Option<Entry>, Error>> {
        ready(move || {
            Ok(self.lock()?.map.get(path).map(|(revision, value)| Entry {
                path: path.clone(),
                value: value.to_vec(),
                revision: *revision,
            }))
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Path>,
        limit: usize,
        view: View,
    ) -> Boxed<'a, Result<Page, Error>> {
        ready(move || self.scan_now(prefix, after, limit, view))
    }

    fn let_go(&self, at: Revision) {
        self.pins.let_go(at);
    }

    fn commit(&self, txn: Txn) -> Boxed<'_, Result<Commit, Error>> {
        ready(move || self.commit_now(txn))
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.feed.follow(prefix)
    }

    fn head(&self) -> Boxed<'_, Result<Revision, Error>> {
        ready(move || Ok(self.lock()?.revision))
    }

    fn identity(&self) -> [u8; 16] {
        self.identity
    }

    fn durability(&self) -> &'static str {
        "none: kept in memory, lost with the process"
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn stopped_cleanly(&self) -> bool {
        true
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        Ok(0)
    }

    fn purge(&self) -> Boxed<'_, Result<(), Error>> {
        ready(move || {
            self.pins.clear();
            Ok(())
        })
    }

    fn close(&self) -> Boxed<'_, Result<(), Error>> {
        ready(move || {
            self.lock()?.closed = true;
            self.pins.clear();
            Ok(())
        })
    }
}
