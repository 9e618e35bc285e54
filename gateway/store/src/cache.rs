//! Hot values, each with what it was made from. Evicting one drops it at once, so that a key it
//! holds erases itself as soon as nobody uses it any more.
//!
//! INVARIANT: after a commit has returned, `get` yields no value made from what the commit replaced
//! (see `generations.rs`; `tests/cache.rs` tries).

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::generations::Stamp;

/// A bounded cache of values made from records.
pub struct Cache<K, V> {
    name: &'static str,
    slots: moka::sync::Cache<K, Arc<Slot<V>>>,
}

type Builder<K, V> = moka::sync::CacheBuilder<K, Arc<Slot<V>>, moka::sync::Cache<K, Arc<Slot<V>>>>;

// moka gives memory back when it sees fit. The value is therefore taken out of its slot by us: the
// slot may linger, empty.
struct Slot<V> {
    value: ArcSwapOption<V>,
    stamp: Stamp,
    weight: u32,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// A cache of at most `capacity` values; `name` is for metrics.
    #[must_use]
    pub fn new(name: &'static str, capacity: u64) -> Self {
        Self { name, slots: builder(capacity).build() }
    }

    /// A cache whose values together weigh at most `capacity`; see [`Cache::insert_weighted`].
    #[must_use]
    pub fn weighted(name: &'static str, capacity: u64) -> Self {
        Self {
            name,
            slots: builder(capacity).weigher(|_, slot: &Arc<Slot<V>>| slot.weight).build(),
        }
    }

    /// The value at `key`, if there is one and nothing it was made from has changed.
    pub fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let slot = self.slots.get(key)?;
        if slot.stamp.is_current() {
            return slot.value.load_full();
        }
        // Emptied first: `invalidate` may hit a newer slot, which only costs a miss.
        slot.value.store(None);
        self.slots.invalidate(key);
        None
    }

    /// Keeps a value made from what `stamp` watches. Does nothing if that has changed already.
    pub fn insert(&self, key: K, value: Arc<V>, stamp: Stamp) {
        self.insert_weighted(key, value, stamp, 1);
    }

    /// As [`Cache::insert`], with a weight.
    pub fn insert_weighted(&self, key: K, value: Arc<V>, stamp: Stamp, weight: u32) {
        if stamp.is_current() {
            let value = ArcSwapOption::new(Some(value));
            self.slots.insert(key, Arc::new(Slot { value, stamp, weight }));
        }
    }

    /// Lets go of the value at `key`.
    pub fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.slots.invalidate(key);
    }

    /// Lets go of all values. Those in use live until their users drop them.
    pub fn invalidate_all(&self) {
        for (_, slot) in &self.slots {
            slot.value.store(None);
        }
        self.slots.invalidate_all();
        self.slots.run_pending_tasks();
    }

    /// Lets go of values that have become stale but were not asked for since, and says how many.
    /// To be called now and then, and after a destruction, so that no dead key lingers.
    pub fn sweep(&self) -> usize {
        let mut swept = 0usize;
        for (key, slot) in &self.slots {
            if !slot.stamp.is_current() {
                slot.value.store(None);
                self.slots.invalidate(&*key);
                swept = swept.saturating_add(1);
            }
        }
        self.slots.run_pending_tasks();
        swept
    }

    /// How many values there are, about; stale ones included until swept.
    pub fn len(&self) -> u64 {
        self.slots.run_pending_tasks();
        self.slots.entry_count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name given at the beginning.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

fn builder<K, V>(capacity: u64) -> Builder<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    moka::sync::Cache::builder()
        .max_capacity(capacity)
        .eviction_listener(|_, slot: Arc<Slot<V>>, _| slot.value.store(None))
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({})", self.name)
    }
}
