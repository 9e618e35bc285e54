//! Who may run how much at once. Three pools, so that none can take another's places: questions of
//! registrations, audit sinks, and what operators have checked. Within a pool a plugin has three
//! quarters of the places, all its versions together; among the questions a registration has a
//! quarter, and one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hub_model::Name;
use hub_model::extend::{FailureKind, PluginFailure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::lines::Allowance;

/// The longest wait for a place of a question: somebody waits for its answer.
const QUEUE: Duration = Duration::from_millis(250);
/// The longest wait of a sink or an operator: what they bring can wait, and is not to be lost.
const LONG_QUEUE: Duration = Duration::from_secs(5);
/// Places of operators.
const OPERATORS: usize = 2;

/// On whose behalf a plugin is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For<'a> {
    /// A registration asks: `reg_…`.
    Registration(&'a str),
    /// The hub itself, about settings that an operator gave: needed to put a plugin into service,
    /// and so to go back to one that worked.
    Operator,
    /// Entries of the audit log go out.
    Sink,
}

/// All places of an engine.
#[derive(Debug)]
pub(super) struct Places {
    questions: Arc<Semaphore>,
    sinks: Arc<Semaphore>,
    operators: Arc<Semaphore>,
    per_plugin: usize,
    per_registration: usize,
    plugins: Shares<OfPlugin>,
    registrations: Shares<Semaphore>,
}

/// What all versions of a plugin share.
#[derive(Debug)]
pub(super) struct OfPlugin {
    questions: Arc<Semaphore>,
    sinks: Arc<Semaphore>,
    /// Lines that it may write into the log of the hub.
    pub(super) lines: Allowance,
}

/// Held for the length of a call, and given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permits: [Option<OwnedSemaphorePermit>; 3],
    /// Remembered for as long as one of its calls waits or runs.
    _registration: Option<Arc<Semaphore>>,
}

impl Places {
    /// So many questions at once, and as many sinks.
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            questions: Arc::new(Semaphore::new(concurrency)),
            sinks: Arc::new(Semaphore::new(concurrency)),
            operators: Arc::new(Semaphore::new(OPERATORS)),
            per_plugin: (concurrency * 3 / 4).max(1),
            per_registration: (concurrency / 4 + 1).min(concurrency),
            plugins: Shares::default(),
            registrations: Shares::default(),
        }
    }

    /// Calls at once, of all pools.
    pub(super) const fn total(concurrency: usize) -> usize {
        2 * concurrency + OPERATORS
    }

    /// Free places of questions.
    pub(super) fn free(&self) -> usize {
        self.questions.available_permits()
    }

    /// What the versions of this plugin share.
    pub(super) fn of_plugin(&self, plugin: &Name) -> Arc<OfPlugin> {
        self.plugins.get(plugin.as_str(), || OfPlugin {
            questions: Arc::new(Semaphore::new(self.per_plugin)),
            sinks: Arc::new(Semaphore::new(self.per_plugin)),
            lines: Allowance::default(),
        })
    }

    /// A place: of the registration's, the plugin's, and all, in this order.
    ///
    /// # Errors
    /// [`FailureKind::Busy`] when there is none in time.
    pub(super) async fn take(
        &self,
        plugin: &OfPlugin,
        who: For<'_>,
    ) -> Result<Place, PluginFailure> {
        let registration = match who {
            For::Registration(id) => {
                let share = || Semaphore::new(self.per_registration);
                Some(self.registrations.get(id, share))
            }
            For::Operator | For::Sink => None,
        };
        let (own, all, wait) = match who {
            For::Registration(_) => (Some(&plugin.questions), &self.questions, QUEUE),
            For::Sink => (Some(&plugin.sinks), &self.sinks, LONG_QUEUE),
            For::Operator => (None, &self.operators, LONG_QUEUE),
        };
        let from = [registration.as_ref(), own, Some(all)];
        let permits = match now(&from) {
            Some(permits) => permits,
            None => {
                let found = timeout(wait, later(&from)).await.ok().flatten();
                let busy = || PluginFailure::new(FailureKind::Busy, "too many calls at once");
                found.ok_or_else(busy)?
            }
        };
        Ok(Place { _permits: permits, _registration: registration })
    }
}

type Permits = [Option<OwnedSemaphorePermit>; 3];

fn now(from: &[Option<&Arc<Semaphore>>; 3]) -> Option<Permits> {
    let [first, second, third] = from;
    let take = |from: &Option<&Arc<Semaphore>>| match from {
        Some(from) => Arc::clone(from).try_acquire_owned().ok().map(Some),
        None => Some(None),
    };
    Some([take(first)?, take(second)?, take(third)?])
}

async fn later(from: &[Option<&Arc<Semaphore>>; 3]) -> Option<Permits> {
    let mut permits = [None, None, None];
    for (permit, from) in permits.iter_mut().zip(from) {
        if let Some(from) = from {
            // INVARIANT: never closed.
            *permit = Some(Arc::clone(from).acquire_owned().await.ok()?);
        }
    }
    Some(permits)
}

/// Something that all who name the same thing share, for as long as one of them needs it.
#[derive(Debug)]
struct Shares<V>(Mutex<HashMap<Box<str>, Weak<V>>>);

impl<V> Default for Shares<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V> Shares<V> {
    fn get(&self, name: &str, make: impl FnOnce() -> V) -> Arc<V> {
        // Nothing panics while it is held except an allocation that fails; the map is whole.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = all.get(name).and_then(Weak::upgrade) {
            return there;
        }
        all.retain(|_, share| share.strong_count() > 0);
        let made = Arc::new(make());
        all.insert(name.into(), Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all_of(places: &Places, plugin: &OfPlugin, who: For<'_>) -> Vec<Place> {
        let mut held = Vec::new();
        while let Ok(place) = places.take(plugin, who).await {
            held.push(place);
        }
        held
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_registration_has_its_share_and_others_theirs() {
        let places = Places::new(16);
        let (one, two) = (places.of_plugin(&name("one")), places.of_plugin(&name("two")));
        let held = all_of(&places, &one, For::Registration("reg_a")).await;
        assert_eq!(held.len(), 5);
        let busy = places.take(&two, For::Registration("reg_a")).await.unwrap_err();
        assert_eq!(busy.kind, FailureKind::Busy, "of any plugin");
        let others = all_of(&places, &one, For::Registration("reg_b")).await;
        assert_eq!(others.len(), 5);
        // A plugin has three quarters.
        assert_eq!(all_of(&places, &one, For::Registration("reg_c")).await.len(), 2);
        assert_eq!(all_of(&places, &two, For::Registration("reg_c")).await.len(), 5);
        drop((held, others));
        assert!(places.take(&one, For::Registration("reg_a")).await.is_ok());
        assert_eq!(places.registrations.0.lock().unwrap().len(), 1, "who waits is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn all_versions_of_a_plugin_share_its_places() {
        let places = Places::new(16);
        let old = places.of_plugin(&name("tree"));
        let new = places.of_plugin(&name("tree"));
        let mut held = all_of(&places, &old, For::Registration("reg_a")).await;
        held.extend(all_of(&places, &new, For::Registration("reg_b")).await);
        held.extend(all_of(&places, &old, For::Registration("reg_c")).await);
        held.extend(all_of(&places, &new, For::Registration("reg_d")).await);
        assert_eq!(held.len(), 12);
        assert_eq!(places.free(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn sinks_and_operators_have_places_of_their_own() {
        let places = Places::new(4);
        let plugin = places.of_plugin(&name("one"));
        let mut held = all_of(&places, &plugin, For::Registration("reg_a")).await;
        held.extend(all_of(&places, &plugin, For::Registration("reg_b")).await);
        assert!(places.take(&plugin, For::Operator).await.is_ok());
        assert!(places.take(&plugin, For::Sink).await.is_ok());
        let sinks = all_of(&places, &plugin, For::Sink).await;
        assert_eq!(sinks.len(), 3);
        assert!(places.take(&plugin, For::Operator).await.is_ok());
        let operators = all_of(&places, &plugin, For::Operator).await;
        assert_eq!(operators.len(), OPERATORS);
        let waits = tokio::time::Instant::now();
        assert!(places.take(&plugin, For::Operator).await.is_err());
        assert_eq!(waits.elapsed(), LONG_QUEUE);
    }
}
