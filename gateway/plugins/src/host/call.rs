//! One call: a place, an instance of its own, a deadline, and the account afterwards.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hub_model::extend::{FailureKind, PluginFailure};
use tokio::time::{Instant, timeout_at};
use wasmtime::{Store, UpdateDeadline};

use super::aside::Pace;
use super::errors::{self, Stop};
use super::guest::Guest;
use super::lane::Lane;
use super::lines::LogLevel;
use super::load::{Code, Loaded, Settings};
use super::outbound::Outbound;
use super::places::{For, Place};
use crate::World;

/// What is done with an instance's store. The store is the call's own.
pub(super) type Work<'a, T> = Pin<Box<dyn Future<Output = wasmtime::Result<T>> + Send + 'a>>;

/// Time between the deadline and the moment at which the host lets go of a call that neither
/// answers nor ticks. Only for calls that wait.
const GRACE: Duration = Duration::from_millis(10);
/// A call that meets a tick at this age goes on: most end before the next, and to give way would cost
/// them more than what they have left to do.
const YOUNG: Duration = Duration::from_micros(500);
/// Time between the deadline and the moment at which the caller is answered though the call, for
/// want of a processor, has not come to its tick.
const LATE: Duration = Duration::from_millis(3);

/// An answer with what it cost.
#[derive(Clone, Debug)]
pub struct Called<T> {
    /// The answer.
    pub value: Result<T, PluginFailure>,
    /// Fuel that was used: about one for an instruction.
    pub fuel: u64,
    /// The most memory that was held, in bytes.
    pub memory: u64,
    /// From the start of the instance to the answer.
    pub elapsed: Duration,
    /// Calls of `config` and `outbound`.
    pub host_calls: u32,
    /// What was logged, where asked for.
    pub log: Vec<(LogLevel, String)>,
    /// Lines that were too many.
    pub log_dropped: u64,
    /// For tests: the guest's memory after the call.
    #[cfg(feature = "testing")]
    pub memory_image: Vec<super::testing::Region>,
}

impl<T> Called<T> {
    /// A call that never began.
    pub(super) const fn never(failure: PluginFailure) -> Self {
        Self {
            value: Err(failure),
            fuel: 0,
            memory: 0,
            elapsed: Duration::ZERO,
            host_calls: 0,
            log: Vec::new(),
            log_dropped: 0,
            #[cfg(feature = "testing")]
            memory_image: Vec::new(),
        }
    }

    /// The same account with what `judge` makes of the answer.
    pub(super) fn and_then<U>(
        self,
        judge: impl FnOnce(T) -> Result<U, PluginFailure>,
    ) -> Called<U> {
        Called {
            value: self.value.and_then(judge),
            fuel: self.fuel,
            memory: self.memory,
            elapsed: self.elapsed,
            host_calls: self.host_calls,
            log: self.log,
            log_dropped: self.log_dropped,
            #[cfg(feature = "testing")]
            memory_image: self.memory_image,
        }
    }
}

/// A plugin with the settings it runs under.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) loaded: Arc<Loaded>,
    pub(super) settings: Arc<Settings>,
    outbound: Arc<dyn Outbound>,
    limits: super::Limits,
}

impl Caller {
    pub(super) fn new(
        loaded: Arc<Loaded>,
        settings: Settings,
        outbound: Arc<dyn Outbound>,
    ) -> Self {
        let limits = settings.limits.within(loaded.engine.ceilings());
        Self { loaded, settings: Arc::new(settings), outbound, limits }
    }

    /// Calls and counts.
    pub(super) async fn call<T: Send + 'static, U>(
        &self,
        who: For<'_>,
        keep_lines: bool,
        work: impl for<'a> FnOnce(&'a mut Store<Guest>, &'a Code) -> Work<'a, T> + Send + 'static,
        judge: impl FnOnce(T) -> Result<U, PluginFailure>,
    ) -> Called<U> {
        let called = match self.loaded.engine.places.take(&self.loaded.plugin, who).await {
            Ok(place) => self.run(place, who, keep_lines, work).await,
            Err(failure) => Called::never(failure),
        };
        let called = called.and_then(judge);
        let counters = &self.loaded.counters;
        counters.call(called.fuel, called.elapsed, called.memory, called.log_dropped);
        if let Err(failure) = &called.value {
            counters.failure(failure.kind);
        }
        called
    }

    async fn run<T: Send + 'static>(
        &self,
        place: Place,
        who: For<'_>,
        keep_lines: bool,
        work: impl for<'a> FnOnce(&'a mut Store<Guest>, &'a Code) -> Work<'a, T> + Send + 'static,
    ) -> Called<T> {
        let loaded = &self.loaded;
        // What only registrations ask may be moved and slowed. A sink waits for others outside, on
        // threads that must not be those of plugins, and the log waits for it; operators wait for both.
        let asker = match who {
            For::Registration(id) => Some(id),
            For::Operator | For::Sink => None,
        };
        let pace = asker.map(|id| loaded.paces.of(id)).unwrap_or_default();
        let lane = loaded.engine.lanes.lane(self.limits.time, pace == Pace::Endless);
        let mut call: Calling<T> = Box::pin(one(
            (Arc::clone(loaded), Arc::clone(&self.settings), Arc::clone(&self.outbound)),
            self.limits.clone(),
            (place, Arc::clone(&lane)),
            keep_lines,
            work,
        ));
        let Some(asker) = asker else { return call.await };
        let begun = if pace == Pace::Quick {
            std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Ready(called) => Poll::Ready(Some(called)),
                Poll::Pending if lane.is_long() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await
        } else {
            None
        };
        let called = match begun {
            Some(called) => called,
            None => tokio::select! {
                biased;
                called = loaded.engine.aside.finish(call) => called,
                () = lane.overdue(LATE) => {
                    let late = PluginFailure::new(FailureKind::Deadline, &Stop::Deadline.to_string());
                    Called { elapsed: lane.begun().elapsed(), ..Called::never(late) }
                }
            },
        };
        let next = match &called.value {
            Err(failure) if failure.kind == FailureKind::Deadline => Pace::Endless,
            _ if lane.is_long() => Pace::Slow,
            _ => Pace::Quick,
        };
        // One that had no time says nothing of whether it would end.
        if pace != Pace::Endless {
            loaded.paces.set(asker, next);
        }
        called
    }
}

/// A call under way, which owns all it needs: it may end elsewhere than it began.
type Calling<T> = Pin<Box<dyn Future<Output = Called<T>> + Send>>;

async fn one<T>(
    (loaded, settings, outbound): (Arc<Loaded>, Arc<Settings>, Arc<dyn Outbound>),
    limits: super::Limits,
    (_place, lane): (Place, Arc<Lane>),
    keep_lines: bool,
    work: impl for<'a> FnOnce(&'a mut Store<Guest>, &'a Code) -> Work<'a, T>,
) -> Called<T> {
    let engine = &loaded.engine;
    let _end = End(&loaded, Arc::clone(&lane));
    let begun = Instant::now();
    lane.was_behind(lane.begun());
    let _under_way = engine.ticker.begin();
    let plugin = Arc::clone(&loaded.plugin);
    let last = lane.end() + limits.wait + GRACE;
    let guest = Guest::new(settings, &limits, (lane, plugin), outbound, keep_lines);
    let mut store = Store::new(&engine.wasm, guest);
    let fuel = limits.fuel.unwrap_or(u64::MAX);
    let value = match prepare(&mut store, fuel, &limits) {
        Ok(()) => timeout_at(last, work(&mut store, &loaded.code)).await,
        Err(error) => Ok(Err(error)),
    };
    let elapsed = begun.elapsed();
    let left = store.get_fuel().unwrap_or(0);
    #[cfg(feature = "testing")]
    let memory_image = if keep_lines { super::testing::linear_memories() } else { Vec::new() };
    let guest = store.data_mut();
    loaded.counters.left_out(guest.lines.left_out);
    let value = match value {
        Ok(Ok(value)) => match guest.budget.denied {
            // What it could not have must not decide what is derived: with other limits, or
            // another hub's memory, the same question would get another answer.
            Some(denied) if loaded.manifest.world == World::KdfProfile => {
                Err(errors::denied(denied))
            }
            _ => Ok(value),
        },
        Ok(Err(error)) => Err(errors::failure(&error, &guest.budget)),
        Err(_) => Err(errors::failure(&Stop::Deadline.into(), &guest.budget)),
    };
    Called {
        value,
        fuel: fuel.saturating_sub(left),
        memory: guest.budget.peak,
        elapsed,
        host_calls: guest.host_calls,
        log: std::mem::take(&mut guest.lines.kept),
        log_dropped: guest.lines.dropped,
        #[cfg(feature = "testing")]
        memory_image,
    }
}

/// The end of a call, also of one that nobody waits for any more: nothing of it runs after that.
struct End<'a>(&'a Loaded, Arc<Lane>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let over = Instant::now().saturating_duration_since(self.1.deadline());
        if !over.is_zero() {
            self.0.counters.overran(over);
        }
    }
}

fn prepare(store: &mut Store<Guest>, fuel: u64, limits: &super::Limits) -> wasmtime::Result<()> {
    store.limiter(|guest| &mut guest.budget);
    store.set_fuel(fuel)?;
    store.set_hostcall_fuel(limits.transfer);
    store.set_max_component_handles(limits.handles);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        let lane = &store.data().lane;
        let now = Instant::now();
        if now >= lane.deadline() {
            return Err(Stop::Deadline.into());
        }
        if !lane.rests() && now.duration_since(lane.begun()) < YOUNG {
            return Ok(UpdateDeadline::Continue(1));
        }
        let lane = Arc::clone(lane);
        let rest = async move { lane.give_way().await };
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(rest)))
    });
    Ok(())
}
