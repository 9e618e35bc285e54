//! What one call may use. Every limit that is reached has a name of its own.

use std::time::Duration;

use wasmtime::{Error, ResourceLimiter};

use crate::LimitsWanted;

/// A page of linear memory.
const PAGE: u64 = 64 * 1024;

/// What one call of a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all linear memories together.
    pub memory: u64,
    /// Time from the start of the instance to the answer. Waiting for answers from outside does not
    /// count here.
    pub time: Duration,
    /// Time spent waiting for answers from outside, over all requests of the call.
    pub wait: Duration,
    /// Fuel: about one for an instruction. None: time alone.
    pub fuel: Option<u64>,
    /// Calls of `config` and `outbound` together.
    pub host_calls: u32,
    /// Bytes that cross between guest and host over all host calls.
    pub host_bytes: u64,
    /// Bytes of one answer, and of the arguments of one host call.
    pub transfer: usize,
    /// Elements of all tables together.
    pub table_elements: u64,
    /// Handles of resources that are alive at once.
    pub handles: usize,
    /// Lines of the log; more are counted and dropped.
    pub log_lines: u32,
    /// Bytes of one line; the rest is cut off.
    pub log_line: usize,
}

impl Default for Limits {
    /// The ceilings of an operator who says nothing.
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            time: Duration::from_millis(50),
            wait: Duration::from_secs(30),
            fuel: None,
            host_calls: 256,
            host_bytes: 32 << 20,
            transfer: 8 << 20,
            table_elements: 100_000,
            handles: 1_000,
            log_lines: 64,
            log_line: 1_024,
        }
    }
}

impl Limits {
    /// These limits, each at most as large as the other's.
    #[must_use]
    pub fn within(&self, ceilings: &Self) -> Self {
        let fuel = match (self.fuel, ceilings.fuel) {
            (Some(mine), Some(most)) => Some(mine.min(most)),
            (mine, most) => mine.or(most),
        };
        Self {
            memory: self.memory.min(ceilings.memory),
            time: self.time.min(ceilings.time),
            wait: self.wait.min(ceilings.wait),
            fuel,
            host_calls: self.host_calls.min(ceilings.host_calls),
            host_bytes: self.host_bytes.min(ceilings.host_bytes),
            transfer: self.transfer.min(ceilings.transfer),
            table_elements: self.table_elements.min(ceilings.table_elements),
            handles: self.handles.min(ceilings.handles),
            log_lines: self.log_lines.min(ceilings.log_lines),
            log_line: self.log_line.min(ceilings.log_line),
        }
    }

    /// These limits as ceilings, with what a manifest asks for where that is less.
    #[must_use]
    pub fn for_wanted(&self, wanted: &LimitsWanted) -> Self {
        Self {
            memory: wanted.memory.unwrap_or(self.memory),
            time: wanted.time.unwrap_or(self.time),
            fuel: wanted.fuel.or(self.fuel),
            host_calls: wanted.host_calls.unwrap_or(self.host_calls),
            ..self.clone()
        }
        .within(self)
    }

    /// Whole pages of memory, rounded up.
    pub(super) fn memory_slot(&self) -> usize {
        let pages = self.memory.div_ceil(PAGE).clamp(1, 65_536);
        usize::try_from(pages * PAGE).unwrap_or(usize::MAX)
    }
}

/// Which limit a guest ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Memory,
    Tables,
}

/// Counts what the instances of one call hold, and denies what is too much. A guest learns of it as
/// any program does: growing fails. What the call then ends with is put down to the limit.
#[derive(Debug)]
pub(super) struct Budget {
    memory: u64,
    table_elements: u64,
    held: u64,
    elements: u64,
    last: u64,
    last_elements: u64,
    /// The most that was held.
    pub(super) peak: u64,
    /// The last thing denied, by a limit or by the system.
    pub(super) denied: Option<Denied>,
}

impl Budget {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            memory: limits.memory,
            table_elements: limits.table_elements,
            held: 0,
            elements: 0,
            last: 0,
            last_elements: 0,
            peak: 0,
            denied: None,
        }
    }
}

fn growth(current: usize, desired: usize) -> u64 {
    u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX)
}

impl ResourceLimiter for Budget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, Error> {
        self.last = 0;
        let more = growth(current, desired);
        let total = self.held.saturating_add(more);
        if total > self.memory {
            self.denied = Some(Denied::Memory);
            return Ok(false);
        }
        // What a module's own maximum forbids is its own affair.
        if maximum.is_some_and(|most| desired > most) {
            return Ok(false);
        }
        self.held = total;
        self.last = more;
        self.peak = self.peak.max(total);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: Error) -> Result<(), Error> {
        // Also called after a denial, when nothing was added.
        if self.last > 0 {
            self.denied = Some(Denied::Memory);
        }
        self.held = self.held.saturating_sub(std::mem::take(&mut self.last));
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, Error> {
        self.last_elements = 0;
        let more = growth(current, desired);
        let total = self.elements.saturating_add(more);
        if total > self.table_elements {
            self.denied = Some(Denied::Tables);
            return Ok(false);
        }
        // What a module's own maximum forbids is its own affair.
        if maximum.is_some_and(|most| desired > most) {
            return Ok(false);
        }
        self.elements = total;
        self.last_elements = more;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _: Error) -> Result<(), Error> {
        if self.last_elements > 0 {
            self.denied = Some(Denied::Tables);
        }
        self.elements = self.elements.saturating_sub(std::mem::take(&mut self.last_elements));
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

/// Core instances of a component: what the tools of all languages make stays far below.
pub(super) const MAX_INSTANCES: usize = 64;
/// Tables of a component.
pub(super) const MAX_TABLES: usize = 16;
/// Linear memories of a component.
pub(super) const MAX_MEMORIES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(n: usize) -> usize {
        n * 65_536
    }

    #[test]
    fn memories_count_together() {
        let limits = Limits { memory: 4 * PAGE, ..Limits::default() };
        let mut budget = Budget::new(&limits);
        assert!(budget.memory_growing(0, pages(2), None).unwrap());
        assert!(budget.memory_growing(0, pages(2), None).unwrap(), "a second memory");
        assert!(!budget.memory_growing(pages(2), pages(3), None).unwrap());
        assert_eq!(budget.denied, Some(Denied::Memory));
        assert_eq!(budget.peak, 4 * PAGE);
    }

    #[test]
    fn what_the_system_refused_is_not_held() {
        let limits = Limits { memory: 4 * PAGE, ..Limits::default() };
        let mut budget = Budget::new(&limits);
        assert!(budget.memory_growing(0, pages(4), None).unwrap());
        budget.memory_grow_failed(Error::msg("no memory")).unwrap();
        assert_eq!(budget.denied, Some(Denied::Memory), "that it had less is known");
        assert!(budget.memory_growing(0, pages(4), None).unwrap());
        assert!(!budget.memory_growing(0, pages(1), None).unwrap());
        let kept = budget.held;
        budget.memory_grow_failed(Error::msg("denied")).unwrap();
        assert_eq!(budget.held, kept);
    }

    #[test]
    fn a_modules_own_maximum_is_no_limit_of_ours() {
        let mut budget = Budget::new(&Limits::default());
        assert!(!budget.memory_growing(pages(1), pages(3), Some(pages(2))).unwrap());
        budget.memory_grow_failed(Error::msg("its maximum")).unwrap();
        assert!(!budget.table_growing(1, 3, Some(2)).unwrap());
        budget.table_grow_failed(Error::msg("its maximum")).unwrap();
        assert_eq!(budget.denied, None);
    }

    #[test]
    fn the_smaller_limit_holds() {
        let ceilings = Limits { fuel: Some(10), host_calls: 5, ..Limits::default() };
        let wanted = LimitsWanted {
            memory: Some(u64::MAX),
            time: Some(Duration::from_millis(1)),
            fuel: Some(100),
            host_calls: Some(3),
        };
        let limits = ceilings.for_wanted(&wanted);
        assert_eq!(limits.memory, ceilings.memory);
        assert_eq!(limits.time, Duration::from_millis(1));
        assert_eq!((limits.fuel, limits.host_calls), (Some(10), 3));
        assert_eq!(Limits::default().for_wanted(&wanted).fuel, Some(100));
    }
}
