//! How much may be in work at once: requests in all and of one registration, bytes of bodies in
//! all and of one registration. What is beyond is refused cheaply, before it makes everything slow:
//! at once, but for requests that find all places taken. They wait for one, briefly, before they are
//! authenticated and before their body is asked for.
//!
//! A tenant is a registration by its callers: what its participants have in work, wherever they
//! work, is at most its share, so the rest is there for others whatever one tenant does. Of those
//! only so many have their turn at once; the others of the tenant wait in a line of their own, so a
//! request never has more than that many of another tenant before it. While several tenants ask for
//! something these are fewer: what is lost is the tail of what groups gain, and only then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hub_model::RegistrationId;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::inbound::EdgeError;

const SHARDS: usize = 32;
/// Places beside the others for requests to the hub itself: who runs it can still look and act.
const RESERVE: u32 = 64;
/// Tenants of a shard above which those without work are forgotten.
const SWEEP: usize = 256;

const ALL: EdgeError = EdgeError::Overloaded("the hub has as much in work as it takes");
const SHARE: EdgeError =
    EdgeError::Overloaded("this registration has as much in work as is its share");
const BODIES: EdgeError = EdgeError::Overloaded("too many large bodies are in work");

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests in all.
    pub requests: u32,
    /// Requests of one registration.
    pub share: u32,
    /// Requests of one registration that have their turn at once.
    pub at_once: u32,
    /// The same while other registrations ask for something, too; about so many.
    pub beside: u32,
    /// Requests that wait for a place.
    pub waiting: u32,
    /// How long one waits for a place.
    pub patience: Duration,
    /// Bytes of bodies in all. One registration has half of it.
    pub body_bytes: usize,
}

/// Places.
#[derive(Debug)]
struct Places {
    free: Semaphore,
    most: usize,
}

impl Places {
    fn new(places: u32) -> Self {
        let most = usize::try_from(places).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Semaphore::new(most), most }
    }

    /// Whether there was one. Whoever takes one gives it back.
    fn try_take(&self) -> bool {
        self.free.try_acquire().map(SemaphorePermit::forget).is_ok()
    }

    /// Takes one, first come first served, unless that takes longer.
    async fn take(&self, patience: Duration) -> bool {
        let waited = tokio::time::timeout(patience, self.free.acquire()).await;
        // INVARIANT: the semaphore is never closed.
        waited.is_ok_and(|place| place.map(SemaphorePermit::forget).is_ok())
    }

    fn give_back(&self) {
        self.free.add_permits(1);
    }

    fn taken(&self) -> usize {
        self.most.saturating_sub(self.free.available_permits())
    }
}

/// One who stands in line, also when they leave it.
struct Waits<'p>(&'p AtomicU32);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one registration's callers have in work.
#[derive(Debug)]
struct Tenant {
    places: Places,
    body_bytes: AtomicUsize,
    turns: Semaphore,
    /// The last second in which it asked for something.
    seen: AtomicU64,
}

impl Tenant {
    fn new(bounds: &Bounds) -> Arc<Self> {
        let turns = usize::try_from(bounds.at_once).unwrap_or(usize::MAX);
        Arc::new(Self {
            places: Places::new(bounds.share),
            body_bytes: AtomicUsize::new(0),
            turns: Semaphore::new(turns.min(Semaphore::MAX_PERMITS)),
            seen: AtomicU64::new(0),
        })
    }
}

/// How many registrations asked for something in this second and the one before. Approximate where
/// a second ends: what depends on it is how much is done at once.
#[derive(Debug)]
struct Lately {
    since: Instant,
    second: AtomicU64,
    now: AtomicU32,
    before: AtomicU32,
}

impl Lately {
    fn new() -> Self {
        let (now, before) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { since: Instant::now(), second: AtomicU64::new(0), now, before }
    }

    /// From 1 on.
    fn second(&self) -> u64 {
        self.since.elapsed().as_secs().saturating_add(1)
    }

    fn came(&self, tenant: &Tenant, second: u64) {
        if tenant.seen.fetch_max(second, Ordering::Relaxed) >= second {
            return;
        }
        let known = self.second.load(Ordering::Relaxed);
        let relaxed = Ordering::Relaxed;
        if known < second && self.second.compare_exchange(known, second, relaxed, relaxed).is_ok() {
            let ended = self.now.swap(0, Ordering::Relaxed);
            self.before.store(if known + 1 == second { ended } else { 0 }, Ordering::Relaxed);
        }
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    fn several(&self) -> bool {
        self.now.load(Ordering::Relaxed).max(self.before.load(Ordering::Relaxed)) > 1
    }
}

/// What is in work.
#[derive(Debug)]
pub struct Load {
    bounds: Bounds,
    places: Places,
    /// For requests to the hub itself only.
    reserve: Places,
    waiting: AtomicU32,
    body_bytes: AtomicUsize,
    shed: AtomicU64,
    lately: Lately,
    tenants: [Mutex<HashMap<RegistrationId, Arc<Tenant>>>; SHARDS],
}

impl Load {
    /// Nothing in work.
    #[must_use]
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            places: Places::new(bounds.requests),
            reserve: Places::new(RESERVE),
            waiting: AtomicU32::new(0),
            body_bytes: AtomicUsize::new(0),
            shed: AtomicU64::new(0),
            lately: Lately::new(),
            tenants: std::array::from_fn(|_| Mutex::default()),
        })
    }

    /// A place for one request: now, or in a while if it may wait. Requests to the hub itself have a
    /// few more, and do not wait.
    ///
    /// # Errors
    /// [`EdgeError::Overloaded`] when there is none, and was none in time.
    pub async fn enter(self: &Arc<Self>, to_hub: bool, may_wait: bool) -> Result<Work, EdgeError> {
        let place = if self.places.try_take() {
            Some(Place::Ordinary)
        } else if to_hub {
            self.reserve.try_take().then_some(Place::Reserved)
        } else if may_wait && add(&self.waiting, self.bounds.waiting) {
            let _waits = Waits(&self.waiting);
            self.places.take(self.bounds.patience).await.then_some(Place::Ordinary)
        } else {
            None
        };
        let Some(place) = place else {
            self.shed.fetch_add(1, Ordering::Relaxed);
            return Err(ALL);
        };
        Ok(Work { load: Arc::clone(self), place, tenant: None, handed_on: AtomicBool::new(false) })
    }

    /// Requests in work.
    #[must_use]
    pub fn in_work(&self) -> usize {
        self.places.taken() + self.reserve.taken()
    }

    /// Requests that wait for a place.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes of bodies in work.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed)
    }

    /// Requests refused so far.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    fn tenant(&self, registration: RegistrationId) -> Arc<Tenant> {
        // Ids end in random bits.
        let last = usize::from(registration.as_bytes().last().copied().unwrap_or(0));
        let Some(shard) = self.tenants.get(last % SHARDS) else {
            return Tenant::new(&self.bounds);
        };
        let mut tenants = lock(shard);
        if let Some(tenant) = tenants.get(&registration) {
            return Arc::clone(tenant);
        }
        if tenants.len() >= SWEEP {
            tenants.retain(|_, tenant| Arc::strong_count(tenant) > 1);
        }
        let tenant = Tenant::new(&self.bounds);
        tenants.insert(registration, Arc::clone(&tenant));
        tenant
    }
}

/// Which place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ordinary,
    Reserved,
}

/// A place among what is in work, given back when dropped.
#[derive(Debug)]
#[must_use = "the place is held until the work is done"]
pub struct Work {
    load: Arc<Load>,
    place: Place,
    tenant: Option<Arc<Tenant>>,
    /// Somebody else gives the place back.
    handed_on: AtomicBool,
}

impl Work {
    /// Counts it to the registration whose caller it is of.
    ///
    /// # Errors
    /// [`EdgeError::Overloaded`] when that has its share in work.
    pub fn of(&mut self, registration: RegistrationId) -> Result<(), EdgeError> {
        let tenant = self.load.tenant(registration);
        self.load.lately.came(&tenant, self.load.lately.second());
        if !tenant.places.try_take() {
            self.load.shed.fetch_add(1, Ordering::Relaxed);
            return Err(SHARE);
        }
        self.tenant = Some(tenant);
        Ok(())
    }

    /// Hands the place on to what goes on when the request is answered. A second place could not
    /// be had while anybody waits for one, and must not be waited for with the first in hand.
    ///
    /// # Errors
    /// [`EdgeError::Overloaded`] when it was handed on before.
    pub fn hand_on(&self) -> Result<Self, EdgeError> {
        if self.handed_on.swap(true, Ordering::Relaxed) {
            return Err(ALL);
        }
        Ok(Self {
            load: Arc::clone(&self.load),
            place: self.place,
            tenant: self.tenant.clone(),
            handed_on: AtomicBool::new(false),
        })
    }

    /// Waits for its turn among those of its registration: not at all where there are few. A `brief`
    /// one makes room for neighbours; one that waits for its peer meanwhile must not take as much.
    pub(crate) async fn turn(&self, brief: bool) -> Option<SemaphorePermit<'_>> {
        let turns = &self.tenant.as_ref()?.turns;
        let Bounds { at_once, beside, .. } = self.load.bounds;
        // Fewer at once: each takes the permits of several.
        let weight =
            if brief && self.load.lately.several() { at_once.div_ceil(beside.max(1)) } else { 1 };
        match turns.try_acquire_many(weight) {
            Ok(turn) => Some(turn),
            // INVARIANT: the semaphore is never closed, and has as many permits.
            Err(_) => turns.acquire_many(weight).await.ok(),
        }
    }

    /// An empty lease of bytes for its body.
    pub(crate) fn lease(&self) -> Lease {
        Lease { load: Arc::clone(&self.load), tenant: self.tenant.clone(), bytes: 0 }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if *self.handed_on.get_mut() {
            return;
        }
        // In this order: whoever gets the place is to find room among those of its registration.
        if let Some(tenant) = &self.tenant {
            tenant.places.give_back();
        }
        match self.place {
            Place::Ordinary => self.load.places.give_back(),
            Place::Reserved => self.load.reserve.give_back(),
        }
    }
}

/// Bytes of a body that is in memory, given back when dropped.
#[derive(Debug)]
#[must_use = "the bytes are counted until the body is gone"]
pub(crate) struct Lease {
    load: Arc<Load>,
    tenant: Option<Arc<Tenant>>,
    bytes: usize,
}

impl Lease {
    /// Counts bytes that have arrived: what is announced and never sent costs nobody anything.
    ///
    /// # Errors
    /// [`EdgeError::Overloaded`].
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), EdgeError> {
        let most = self.load.bounds.body_bytes;
        let all = self.load.body_bytes.fetch_add(more, Ordering::Relaxed);
        let own = self.tenant.as_ref();
        let own = own.map_or(0, |tenant| tenant.body_bytes.fetch_add(more, Ordering::Relaxed));
        // Counted in any case, and given back with the rest.
        self.bytes = self.bytes.saturating_add(more);
        if all.saturating_add(more) > most || own.saturating_add(more) > most / 2 {
            self.load.shed.fetch_add(1, Ordering::Relaxed);
            return Err(BODIES);
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.load.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(tenant) = &self.tenant {
            tenant.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

fn add(count: &AtomicU32, most: u32) -> bool {
    if count.fetch_add(1, Ordering::Relaxed) < most {
        return true;
    }
    count.fetch_sub(1, Ordering::Relaxed);
    false
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        requests: 100,
        share: 100,
        at_once: 2,
        beside: 2,
        waiting: 0,
        patience: Duration::ZERO,
        body_bytes: 100,
    };

    fn load(requests: u32, share: u32) -> Arc<Load> {
        Load::new(Bounds { requests, share, ..BOUNDS })
    }

    fn patient(requests: u32, waiting: u32) -> Arc<Load> {
        let patience = Duration::from_secs(3600);
        Load::new(Bounds { requests, waiting, patience, ..BOUNDS })
    }

    fn enter(load: &Arc<Load>, to_hub: bool) -> Result<Work, EdgeError> {
        load.enter(to_hub, true).now_or_never().expect("nobody waits")
    }

    fn work(load: &Arc<Load>, registration: RegistrationId) -> Work {
        let mut work = enter(load, false).unwrap();
        work.of(registration).unwrap();
        work
    }

    #[test]
    fn beyond_the_bound_nothing_enters_but_for_the_hub() {
        let load = load(2, 2);
        let held: Vec<_> = (0..2).map(|_| enter(&load, false).unwrap()).collect();
        assert_eq!(enter(&load, false).err(), Some(ALL));
        let reserve: Vec<_> = (0..RESERVE).map(|_| enter(&load, true).unwrap()).collect();
        assert!(enter(&load, true).is_err());
        assert_eq!(load.in_work(), 66);
        drop((held, reserve));
        assert_eq!((load.in_work(), load.shed()), (0, 2));
        drop(enter(&load, false).unwrap());
    }

    #[test]
    fn a_tenant_that_takes_all_it_can_leaves_the_rest_to_others() {
        let load = load(8, 2);
        let (noisy, calm) = (RegistrationId::generate(), RegistrationId::generate());
        let mut held = Vec::new();
        for _ in 0..1000 {
            let mut work = enter(&load, false).unwrap();
            match work.of(noisy) {
                Ok(()) => held.push(work),
                Err(error) => assert_eq!(error, SHARE),
            }
        }
        assert_eq!((held.len(), load.in_work()), (2, 2));
        let work = work(&load, calm);
        assert_eq!(load.in_work(), 3);
        drop((held, work));
        assert_eq!(load.in_work(), 0);
    }

    #[test]
    fn what_goes_on_keeps_the_place_and_the_share() {
        let load = load(2, 1);
        let tenant = RegistrationId::generate();
        let request = work(&load, tenant);
        let stream = request.hand_on().unwrap();
        assert_eq!(request.hand_on().err(), Some(ALL), "once");
        drop(request);
        assert_eq!(load.in_work(), 1);
        assert_eq!(enter(&load, false).unwrap().of(tenant), Err(SHARE), "what goes on counts");
        drop(stream);
        assert_eq!(load.in_work(), 0);
        drop(work(&load, tenant));
        let reserve = load.reserve.taken();
        assert_eq!(reserve, 0);
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_for_one_in_turn() {
        let load = patient(1, 2);
        let held = enter(&load, false).unwrap();
        let mut first = Box::pin(load.enter(false, true));
        let mut second = Box::pin(load.enter(false, true));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!((load.waiting(), load.shed()), (2, 0));
        assert_eq!(load.enter(false, true).await.err(), Some(ALL), "the line is full");
        // The hub's own have their reserve and no line; what goes on keeps its place.
        let reserve: Vec<_> = (0..RESERVE).map(|_| enter(&load, true).unwrap()).collect();
        assert_eq!(load.enter(true, true).await.err(), Some(ALL));
        drop(reserve);
        let stream = held.hand_on().unwrap();
        drop(held);
        assert!(first.as_mut().now_or_never().is_none());
        drop(stream);
        assert!(second.as_mut().now_or_never().is_none(), "it came later");
        let held = first.await.unwrap();
        let mut third = Box::pin(load.enter(false, true));
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        assert_eq!(load.waiting(), 1, "whoever leaves the line makes room");
        assert_eq!(load.enter(false, false).await.err(), Some(ALL), "not everybody may wait");
        drop(held);
        drop(third.await.unwrap());
        assert_eq!((load.in_work(), load.waiting(), load.shed()), (0, 0, 3));
    }

    #[tokio::test]
    async fn patience_ends() {
        let patience = Duration::from_millis(1);
        let load = Load::new(Bounds { requests: 1, waiting: 9, patience, ..BOUNDS });
        let held = enter(&load, false).unwrap();
        assert_eq!(load.enter(false, true).await.err(), Some(ALL));
        drop(held);
        assert_eq!((load.in_work(), load.waiting(), load.shed()), (0, 0, 1));
        drop(enter(&load, false).unwrap());
    }

    #[tokio::test]
    async fn a_request_has_only_so_many_of_another_tenant_before_it() {
        let load = load(100, 100);
        let (noisy, calm) = (RegistrationId::generate(), RegistrationId::generate());
        let crowd: Vec<_> = (0..50).map(|_| work(&load, noisy)).collect();
        let turns: Vec<_> = crowd.iter().map(|work| work.turn(true).now_or_never()).collect();
        assert_eq!(turns.iter().flatten().count(), 2, "the others wait in their own line");
        let other = work(&load, calm);
        assert!(other.turn(true).now_or_never().flatten().is_some(), "nobody else does");
        drop(turns);
        assert!(crowd[49].turn(true).now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn a_tenant_has_fewer_turns_while_others_ask_too() {
        let load = Load::new(Bounds { at_once: 8, ..BOUNDS });
        let (noisy, calm) = (RegistrationId::generate(), RegistrationId::generate());
        let crowd: Vec<_> = (0..20).map(|_| work(&load, noisy)).collect();
        let held: Vec<_> = crowd.iter().map(|work| work.turn(true).now_or_never()).collect();
        assert_eq!(held.iter().flatten().count(), 8, "alone");
        drop(held);
        let other = work(&load, calm);
        let held: Vec<_> = crowd.iter().map(|work| work.turn(true).now_or_never()).collect();
        assert_eq!(held.iter().flatten().count(), 2, "beside another");
        assert!(other.turn(true).now_or_never().flatten().is_some());
    }

    #[test]
    fn who_has_not_asked_for_a_second_counts_no_longer() {
        let (one, two) = (Tenant::new(&BOUNDS), Tenant::new(&BOUNDS));
        let lately = Lately::new();
        for _ in 0..3 {
            lately.came(&one, 1);
        }
        assert!(!lately.several());
        lately.came(&two, 1);
        assert!(lately.several());
        lately.came(&one, 2);
        assert!(lately.several(), "the other was there just now");
        lately.came(&one, 3);
        assert!(!lately.several());
        lately.came(&two, 5);
        assert!(!lately.several(), "long after");
        lately.came(&one, 5);
        assert!(lately.several());
    }

    #[test]
    fn bodies_have_one_budget_and_a_tenant_half_of_it() {
        let load = load(100, 100);
        let lease = |registration| work(&load, registration).lease();
        let (one, two, three) =
            (RegistrationId::generate(), RegistrationId::generate(), RegistrationId::generate());
        let mut first = lease(one);
        first.grow(30).unwrap();
        first.grow(20).unwrap();
        let mut more = lease(one);
        assert_eq!(more.grow(1), Err(BODIES));
        drop(more);
        let mut second = lease(two);
        second.grow(50).unwrap();
        assert_eq!(lease(three).grow(1), Err(BODIES));
        drop(first);
        lease(three).grow(50).unwrap();
        drop(second);
        assert_eq!((load.body_bytes(), load.in_work()), (0, 0));
    }

    #[test]
    fn idle_tenants_are_forgotten() {
        let load = load(10, 10);
        for _ in 0..100_000 {
            drop(work(&load, RegistrationId::generate()));
        }
        let known: usize = load.tenants.iter().map(|shard| lock(shard).len()).sum();
        assert!(known <= SHARDS * SWEEP, "{known}");
    }
}
