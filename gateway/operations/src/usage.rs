//! How much each version is used: counted before a use is answered, in durable blocks ahead of it
//! ([`hub_model::usage::Reservation`]), so that no count a limit relies on is ever too low.
//!
//! One meter a version and process. A record is written under its revision only: should two
//! meters ever count for one version, the second to write starts anew from what the first wrote.
//! What a crash costs is the rest of a block, counted as used, and up to a minute of the dates of
//! last use; a clean stop and a key that leaves the cache cost nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hub_model::rotation::Planned;
use hub_model::usage::{Reservation, Side, Take, Tally};
use hub_model::{KeyId, RegistrationId, RotationPolicy, Timestamp, UsageCounters};
use hub_store::{Changes, Path, Revision, Versioned, layout};
use tokio::sync::{Notify, OwnedMutexGuard};

use crate::Error;
use crate::hub::{HotKey, Hub};
use crate::key::{WORN_VERSIONS, by_hub};
use crate::operation::{AtKey, Scene};

/// Records written in one transaction.
const CHUNK: usize = 40;
/// How often one version may ask to be rotated.
const PATIENCE: Duration = Duration::from_secs(1);
/// Meters nobody holds that are kept until the next settling.
const IDLE: usize = 20_000;
/// Meters one key holds.
const HELD: usize = 256;

/// The meters of a hub.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    meters: Mutex<HashMap<(KeyId, u32), Arc<Meter>>>,
    worn: Mutex<HashSet<(RegistrationId, KeyId)>>,
    wake: Notify,
}

/// The count of one version.
#[derive(Debug)]
pub(crate) struct Meter {
    registration: RegistrationId,
    key: KeyId,
    version: u32,
    counting: Mutex<Counting>,
    /// Whose turn it is to write the record.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Counting {
    reservation: Reservation,
    /// The revision of the record; none when there is no record.
    revision: Option<Revision>,
    /// What the record holds.
    written: UsageCounters,
    /// When rotation was asked for last.
    asked: Option<Timestamp>,
}

impl Counting {
    fn of(found: Option<Versioned<UsageCounters>>) -> Self {
        let revision = found.as_ref().map(|found| found.revision);
        let written = found.map(|found| found.value).unwrap_or_default();
        Self { reservation: Reservation::resume(&written), revision, written, asked: None }
    }
}

impl Meter {
    fn path(&self) -> Path {
        layout::usage(self.key, self.version)
    }

    fn take(
        &self,
        side: Side,
        tally: Tally,
        now: Timestamp,
    ) -> Result<UsageCounters, UsageCounters> {
        let mut counting = lock(&self.counting);
        match counting.reservation.take(side, tally, now) {
            Take::Taken => Ok(counting.reservation.used()),
            Take::NeedsReservation(record) => Err(record),
        }
    }

    /// What will have been used with this use.
    fn used_with(&self, side: Side, tally: Tally) -> UsageCounters {
        let mut used = lock(&self.counting).reservation.used();
        let of_side = match side {
            Side::Protect => &mut used.protect,
            Side::Process => &mut used.process,
        };
        of_side.operations = of_side.operations.saturating_add(tally.operations);
        of_side.bytes = of_side.bytes.saturating_add(tally.bytes);
        used
    }

    /// What the record should hold and does not. When it is the `last` one, exactly what was used:
    /// whatever is taken after all needs a reservation first, which comes after this record.
    fn unwritten(&self, last: bool) -> Option<UsageCounters> {
        let mut counting = lock(&self.counting);
        if !last {
            let record = counting.reservation.record();
            return (record != counting.written).then_some(record);
        }
        let record = counting.reservation.used();
        counting.reservation = Reservation::resume(&record);
        (record != counting.written).then_some(record)
    }

    /// Whether rotation may be asked for; not every use asks.
    fn may_ask(&self, now: Timestamp) -> bool {
        let mut counting = lock(&self.counting);
        let may = counting.asked.is_none_or(|asked| now.since(asked) >= PATIENCE || now < asked);
        if may {
            counting.asked = Some(now);
        }
        may
    }

    /// Adds the writing of `record` to the changes.
    fn put(&self, changes: &mut Changes, record: &UsageCounters) -> Result<(), Error> {
        let path = self.path();
        match lock(&self.counting).revision {
            Some(revision) => changes.check_revision(&path, revision),
            None => changes.check_absent(&path),
        };
        changes.put(&path, record)?;
        Ok(())
    }

    fn written(&self, record: UsageCounters, revision: u64) {
        let mut counting = lock(&self.counting);
        counting.reservation.reserved(&record);
        counting.revision = Some(Revision(revision));
        counting.written = record;
    }
}

impl HotKey {
    fn meter(&self, version: u32) -> Option<Arc<Meter>> {
        lock(self.meters()).get(&version).cloned()
    }

    /// Counts a use that a reserved block covers.
    fn take(
        &self,
        version: u32,
        side: Side,
        tally: Tally,
        now: Timestamp,
    ) -> Option<(Arc<Meter>, UsageCounters)> {
        let meter = self.meter(version)?;
        let used = meter.take(side, tally, now).ok()?;
        Some((meter, used))
    }
}

/// Counts a use of the key that a call is about, and refuses one beyond what its algorithm allows.
/// A block that has to be reserved for it becomes durable with the entry of the call.
///
/// # Errors
/// [`Error::State`] when the version has protected as much as it may; what the log fails with.
pub(crate) async fn count(
    scene: &Scene<'_, AtKey>,
    version: u32,
    side: Side,
    bytes: usize,
) -> Result<(), Error> {
    if scene.meta.dry_run {
        return Ok(());
    }
    let tally = Tally::one(u64::try_from(bytes).unwrap_or(u64::MAX));
    let Scene { hub, place, .. } = scene;
    let (hot, now) = (&place.hot, hub.clock().now());
    let (meter, used) = match hot.take(version, side, tally, now) {
        Some(taken) => taken,
        None => Box::pin(hub.reserve(scene, version, side, tally, now)).await?,
    };
    if side == Side::Process {
        return Ok(());
    }
    let default = place.registration.registration.rotation.as_ref();
    hub.judge(hot, &meter, &used, version, default, now)
}

/// A block that becomes durable with the entry of the call that needs it. Whoever holds it has the
/// turn at its meter, so there is at most one a meter.
#[derive(Debug)]
pub(crate) struct Reserving {
    meter: Arc<Meter>,
    record: UsageCounters,
    side: Side,
    tally: Tally,
    now: Timestamp,
    _turn: OwnedMutexGuard<()>,
}

impl Reserving {
    /// Adds it to the changes of the call.
    pub(crate) fn join(&self, changes: &mut Changes) -> Result<(), Error> {
        self.meter.put(changes, &self.record)
    }

    /// The changes were committed with this revision: what the call used is counted.
    pub(crate) fn committed(self, revision: u64) {
        self.meter.written(self.record, revision);
        // INVARIANT: the record was made for this use, and nobody else has had the turn since.
        let _covered = self.meter.take(self.side, self.tally, self.now);
    }

    /// The changes met another writer's: the meter counts on from what is there.
    pub(crate) async fn lost(self, hub: &Hub) -> Result<(), Error> {
        hub.start_anew(&self.meter).await
    }
}

impl Hub {
    /// Counts a use of a version; see [`count`].
    pub(crate) async fn count_use(
        &self,
        hot: &HotKey,
        version: u32,
        side: Side,
        tally: Tally,
        default: Option<&RotationPolicy>,
    ) -> Result<(), Error> {
        let now = self.clock().now();
        let (meter, used) = match hot.take(version, side, tally, now) {
            Some(taken) => taken,
            // Seldom; on the heap, so that the common way carries no room for it.
            None => Box::pin(self.count_slowly(hot, version, side, tally, now)).await?,
        };
        if side == Side::Process {
            return Ok(());
        }
        self.judge(hot, &meter, &used, version, default, now)
    }

    /// Refuses what is beyond the limit of the algorithm, and asks for rotation where it is due.
    fn judge(
        &self,
        hot: &HotKey,
        meter: &Meter,
        used: &UsageCounters,
        version: u32,
        default: Option<&RotationPolicy>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let policy = hot.key.rotation.as_ref().or(default);
        let limit = hot.key.algorithm.message_limit();
        if limit.is_some_and(|limit| used.protect.operations > limit.refuse_at) {
            return Err(Error::State(format!(
                "version {version} has encrypted as many messages as {} allows: rotate the key",
                hot.key.algorithm
            )));
        }
        let room = hot.key.versions.len() < WORN_VERSIONS;
        let worn = room && hot.key.primary == version && is_worn(policy, limit, used);
        // A plugin that has not decided may want to know of it.
        let fits = |planned: &&Planned| hot.key.primary == version && planned.version == version;
        let planned = hot.key.planned.as_ref().filter(fits);
        let outgrown = planned.is_some_and(|planned| planned.outgrown(used, now));
        if (worn || outgrown) && meter.may_ask(now) {
            lock(&self.usage().worn).insert((hot.registration(), hot.key.id));
            self.usage().wake.notify_one();
        }
        Ok(())
    }

    /// A block for a use, to be committed with the entry of the call. One at a time: what the call
    /// has reserved before is written first, for it may hold the turn at the same meter.
    async fn reserve(
        &self,
        scene: &Scene<'_, AtKey>,
        version: u32,
        side: Side,
        tally: Tally,
        now: Timestamp,
    ) -> Result<(Arc<Meter>, UsageCounters), Error> {
        let earlier = lock(scene.reserving).take();
        if let Some(earlier) = earlier {
            self.write(&earlier.meter, earlier.record, now).await?;
            let Reserving { meter, side, tally, now, _turn, .. } = *earlier;
            if meter.take(side, tally, now).is_err() {
                // Somebody else had written: the slow way, once the turn is given back.
                drop(_turn);
                self.count_slowly(&scene.place.hot, meter.version, side, tally, now).await?;
            }
        }
        let hot = &scene.place.hot;
        let meter = match hot.meter(version) {
            Some(meter) => meter,
            None => self.meter(hot, version).await?,
        };
        let turn = Arc::clone(&meter.turn).lock_owned().await;
        // Somebody else may have reserved meanwhile.
        let record = match meter.take(side, tally, now) {
            Ok(used) => return Ok((meter, used)),
            Err(record) => record,
        };
        let used = meter.used_with(side, tally);
        let block = Reserving { meter: Arc::clone(&meter), record, side, tally, now, _turn: turn };
        *lock(scene.reserving) = Some(Box::new(block));
        Ok((meter, used))
    }

    async fn count_slowly(
        &self,
        hot: &HotKey,
        version: u32,
        side: Side,
        tally: Tally,
        now: Timestamp,
    ) -> Result<(Arc<Meter>, UsageCounters), Error> {
        let meter = match hot.meter(version) {
            Some(meter) => meter,
            None => self.meter(hot, version).await?,
        };
        loop {
            let _turn = meter.turn.lock().await;
            // Somebody else may have reserved meanwhile.
            let record = match meter.take(side, tally, now) {
                Ok(used) => return Ok((Arc::clone(&meter), used)),
                Err(record) => record,
            };
            self.write(&meter, record, now).await?;
        }
    }

    /// Writes the record of one meter, whose turn the caller has. Starts anew from what is there
    /// when somebody else has written it.
    async fn write(
        &self,
        meter: &Meter,
        record: UsageCounters,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut changes = Changes::new();
        meter.put(&mut changes, &record)?;
        let mut entry = by_hub("system.countUse", now, meter.registration, Some(meter.key));
        entry.subject.version = Some(meter.version);
        match self.log().appender().append(&entry, changes).await {
            Ok(receipt) => meter.written(record, receipt.revision()),
            Err(hub_audit::Error::Conflict) => self.start_anew(meter).await?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The meter of a version, held by the key from now on.
    async fn meter(&self, hot: &HotKey, version: u32) -> Result<Arc<Meter>, Error> {
        let at = (hot.key.id, version);
        let known = lock(&self.usage().meters).get(&at).cloned();
        let meter = match known {
            Some(meter) => meter,
            None => {
                let path = layout::usage(hot.key.id, version);
                let found = self.store().read::<UsageCounters>(&path).await?;
                let fresh = Arc::new(Meter {
                    registration: hot.registration(),
                    key: hot.key.id,
                    version,
                    counting: Mutex::new(Counting::of(found)),
                    turn: Arc::default(),
                });
                let (meter, count) = {
                    let mut meters = lock(&self.usage().meters);
                    (Arc::clone(meters.entry(at).or_insert(fresh)), meters.len())
                };
                if self.is_crowded(count) {
                    self.usage().wake.notify_one();
                }
                meter
            }
        };
        let mut held = lock(hot.meters());
        held.insert(version, Arc::clone(&meter));
        // The oldest is let go of, and settled as one that nobody holds.
        let oldest = held.keys().next().copied().filter(|_| held.len() > HELD);
        if let Some(oldest) = oldest.filter(|oldest| *oldest != version) {
            held.remove(&oldest);
        }
        drop(held);
        Ok(meter)
    }

    /// How much a version was used.
    pub(crate) async fn usage_of(&self, key: KeyId, version: u32) -> Result<UsageCounters, Error> {
        if let Some(meter) = lock(&self.usage().meters).get(&(key, version)) {
            return Ok(lock(&meter.counting).reservation.used());
        }
        let found = self.store().read::<UsageCounters>(&layout::usage(key, version)).await?;
        Ok(found.map(|found| found.value).unwrap_or_default())
    }

    /// How much the versions of a key were used, by number; those never used are left out.
    pub(crate) async fn usages_of(
        &self,
        key: KeyId,
    ) -> Result<BTreeMap<u32, UsageCounters>, Error> {
        let mut usages = BTreeMap::new();
        let prefix = layout::usages(key);
        let mut after: Option<Path> = None;
        loop {
            let page = self.store().scan::<UsageCounters>(&prefix, after.as_ref(), 500).await?;
            for (path, found) in &page.records {
                if let Ok(number) = u32::from_str_radix(path.last_segment(), 16) {
                    usages.insert(number, found.value);
                }
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => break,
            }
        }
        // What is counted here is exact.
        let meters = lock(&self.usage().meters);
        for (number, used) in &mut usages {
            if let Some(meter) = meters.get(&(key, *number)) {
                *used = lock(&meter.counting).reservation.used();
            }
        }
        Ok(usages)
    }

    /// Whether there are so many meters that those nobody holds should be written and let go.
    #[must_use]
    pub fn usage_crowded(&self) -> bool {
        let meters = lock(&self.usage().meters).len();
        self.is_crowded(meters)
    }

    fn is_crowded(&self, meters: usize) -> bool {
        meters >= IDLE.saturating_add(usize::try_from(self.hot_keys()).unwrap_or(usize::MAX))
    }

    /// Resolves when a key has been used as much as its policy allows, or meters are to be settled.
    pub async fn usage_due(&self) {
        self.usage().wake.notified().await;
    }

    /// Has the sweep look at what is due now.
    pub(crate) fn wake_sweep(&self) {
        self.usage().wake.notify_one();
    }

    /// Keys that asked to be rotated, once.
    pub(crate) fn take_worn(&self) -> Vec<(RegistrationId, KeyId)> {
        lock(&self.usage().worn).drain().collect()
    }

    /// Writes what is counted and not yet in the records: the dates of last use, and for keys that
    /// have left the cache, or all at the `end`, exact counts, after which nothing is lost. Gives
    /// the number of records written.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn settle_usage(&self, end: bool) -> Result<usize, Error> {
        let mut settled = 0;
        let mut chunk = Vec::with_capacity(CHUNK);
        for meter in self.usage().unsettled(end) {
            // Whoever has the turn is writing it.
            let Ok(turn) = Arc::clone(&meter.turn).try_lock_owned() else { continue };
            // Alone: taken out of the map, and no key holds it. Nothing more is taken from it.
            let last = end || Arc::strong_count(&meter) == 1;
            if let Some(record) = meter.unwritten(last) {
                chunk.push((Settling { meter, record }, turn));
            }
            if chunk.len() == CHUNK {
                settled += self.settle(std::mem::take(&mut chunk)).await?;
            }
        }
        Ok(settled + self.settle(chunk).await?)
    }

    async fn settle(&self, some: Vec<(Settling, OwnedMutexGuard<()>)>) -> Result<usize, Error> {
        let Some((first, _)) = some.first() else { return Ok(0) };
        let now = self.clock().now();
        let mut entry = by_hub("system.countUse", now, first.meter.registration, None);
        entry.count = u64::try_from(some.len()).unwrap_or(1);
        if some.len() > 1 {
            entry.subject.registration = None;
        }
        let mut changes = Changes::new();
        for (settling, _) in &some {
            settling.meter.put(&mut changes, &settling.record)?;
        }
        match self.log().appender().append(&entry, changes).await {
            Ok(receipt) => {
                for (Settling { meter, record }, _) in &some {
                    meter.written(*record, receipt.revision());
                }
                Ok(some.len())
            }
            // Somebody else has written one of them: each by itself, and that one starts anew.
            Err(hub_audit::Error::Conflict) if some.len() > 1 => {
                let mut settled = 0;
                for one in some {
                    settled += Box::pin(self.settle(vec![one])).await?;
                }
                Ok(settled)
            }
            Err(hub_audit::Error::Conflict) => {
                for (Settling { meter, .. }, _) in &some {
                    self.start_anew(meter).await?;
                }
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Counts on from what the record says.
    async fn start_anew(&self, meter: &Meter) -> Result<(), Error> {
        let found = self.store().read::<UsageCounters>(&meter.path()).await?;
        *lock(&meter.counting) = Counting::of(found);
        Ok(())
    }
}

struct Settling {
    meter: Arc<Meter>,
    record: UsageCounters,
}

impl Usage {
    /// The meters to look at. Those that no key holds leave the map; at the `end` all do.
    fn unsettled(&self, end: bool) -> Vec<Arc<Meter>> {
        let mut meters = lock(&self.meters);
        if end {
            return meters.drain().map(|(_, meter)| meter).collect();
        }
        let mut found = Vec::new();
        meters.retain(|_, meter| {
            if Arc::strong_count(meter) == 1 {
                found.push(Arc::clone(meter));
                return false;
            }
            if meter.unwritten(false).is_some() {
                found.push(Arc::clone(meter));
            }
            true
        });
        found
    }
}

/// Whether a primary version has been used as much as it should.
fn is_worn(
    policy: Option<&RotationPolicy>,
    limit: Option<hub_model::algorithm::MessageLimit>,
    used: &UsageCounters,
) -> bool {
    let reached = |most: Option<u64>, count: u64| most.is_some_and(|most| count >= most);
    reached(limit.map(|limit| limit.rotate_at), used.protect.operations)
        || policy.is_some_and(|policy| {
            reached(policy.max_operations, used.protect.operations)
                || reached(policy.max_bytes, used.protect.bytes)
        })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
