//! What a plugin has cost since it was loaded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hub_model::extend::FailureKind;

/// What a plugin has cost since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Calls, with those that failed.
    pub calls: u64,
    /// Failures by kind: those there were, by their word in metrics.
    pub failures: Vec<(&'static str, u64)>,
    /// Fuel of all calls.
    pub fuel: u64,
    /// Time of all calls.
    pub time: Duration,
    /// The most memory that one call held, in bytes.
    pub memory_peak: u64,
    /// The most time by which one call outlived its limit before nothing of it ran any more.
    pub overrun: Duration,
    /// Lines of the log that were dropped.
    pub log_lines_dropped: u64,
}

const KINDS: [FailureKind; 11] = [
    FailureKind::Refused,
    FailureKind::Internal,
    FailureKind::Trap,
    FailureKind::Deadline,
    FailureKind::Fuel,
    FailureKind::Memory,
    FailureKind::Tables,
    FailureKind::HostCalls,
    FailureKind::Nonsense,
    FailureKind::Busy,
    FailureKind::Unavailable,
];

#[derive(Debug, Default)]
pub(super) struct Counters {
    calls: AtomicU64,
    failures: [AtomicU64; KINDS.len()],
    fuel: AtomicU64,
    nanos: AtomicU64,
    memory_peak: AtomicU64,
    overrun: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    pub(super) fn call(&self, fuel: u64, time: Duration, memory: u64, dropped: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.fuel.fetch_add(fuel, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.memory_peak.fetch_max(memory, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// A call ended so long after its deadline.
    pub(super) fn overran(&self, by: Duration) {
        self.overrun.fetch_max(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Lines that the log of the hub did not take.
    pub(super) fn left_out(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn failure(&self, kind: FailureKind) {
        for (known, count) in KINDS.iter().zip(&self.failures) {
            if *known == kind {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let failures = KINDS.iter().zip(&self.failures);
        let failures = failures.map(|(kind, count)| (kind.name(), count.load(Ordering::Relaxed)));
        Stats {
            calls: self.calls.load(Ordering::Relaxed),
            failures: failures.filter(|(_, count)| *count > 0).collect(),
            fuel: self.fuel.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            memory_peak: self.memory_peak.load(Ordering::Relaxed),
            overrun: Duration::from_nanos(self.overrun.load(Ordering::Relaxed)),
            log_lines_dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}
