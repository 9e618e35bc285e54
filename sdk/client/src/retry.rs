//! When and how soon a failed call is repeated: full-jitter backoff, an allowance shared by all
//! calls of a client so that retries cannot multiply an outage, and the hub's `Retry-After`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How calls are repeated. Only 429, 503 and connection errors are, and only where doing the call
/// twice equals doing it once.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Most attempts of one call, the first included; 1 switches retries off.
    pub attempts: u32,
    /// The longest pause before the first retry; it doubles with each.
    pub base: Duration,
    /// The longest pause.
    pub cap: Duration,
    /// Retries all calls together may spend before successes earn more: ten successes earn one.
    pub budget: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            base: Duration::from_millis(50),
            cap: Duration::from_secs(2),
            budget: 20,
        }
    }
}

impl RetryPolicy {
    /// No retries.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// The pause before retry number `retry` (from 0): uniform between nothing and the doubled
    /// base ("full jitter"), but at least what the hub asked for.
    pub(crate) fn pause(&self, retry: u32, asked: Option<Duration>) -> Duration {
        let ceiling = self.base.saturating_mul(1 << retry.min(16)).min(self.cap);
        let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
        // Jitter is no secret: without entropy every client simply waits as long.
        let random = getrandom::u64().unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(random % micros.saturating_add(1).max(1));
        asked.map_or(jitter, |asked| asked.saturating_add(jitter))
    }
}

/// The allowance of retries, in tenths.
#[derive(Debug)]
pub(crate) struct Budget {
    tenths: AtomicU32,
    most: u32,
}

impl Budget {
    pub(crate) const fn new(retries: u32) -> Self {
        let most = retries.saturating_mul(10);
        Self { tenths: AtomicU32::new(most), most }
    }

    /// Spends one retry, if there is one.
    pub(crate) fn spend(&self) -> bool {
        self.tenths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(10))
            .is_ok()
    }

    /// A call succeeded.
    pub(crate) fn earn(&self) {
        let _ = self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left < self.most).then_some(left.saturating_add(1))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_the_ceiling_and_above_what_was_asked() {
        let policy = RetryPolicy::default();
        for retry in 0..40 {
            assert!(policy.pause(retry, None) <= policy.cap);
            let asked = Duration::from_secs(3);
            assert!(policy.pause(retry, Some(asked)) >= asked);
        }
    }

    #[test]
    fn ten_successes_earn_one_retry() {
        let budget = Budget::new(1);
        assert!(budget.spend());
        assert!(!budget.spend());
        (0..10).for_each(|_| budget.earn());
        assert!(budget.spend());
        assert!(!budget.spend());
    }
}
