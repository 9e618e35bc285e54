//! Failed authentications, refusals by rate, by quota and for want of room, counted by source and
//! reason and written to the audit log once a second: a flood can neither fill the log nor hide in
//! it.
//!
//! What is written is bounded whatever comes: entries of single sources draw on an allowance, and
//! the rest of a second is one entry for each reason, with the sum of it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use hub_auth::Caller;
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_model::{ParticipantId, RegistrationId};
use hub_operations::Hub;

use crate::throttle::Source;

/// Sources told apart within one second; the rest is counted together.
const MAX_SOURCES: usize = 1024;
/// Entries of single sources that may be saved up.
const MOST_ALLOWED: usize = 64;
/// Entries of single sources that are added to the allowance each second.
const ALLOWED: usize = 8;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    source: Source,
    participant: Option<ParticipantId>,
    registration: Option<RegistrationId>,
    policy: Option<Arc<str>>,
    reason: &'static str,
}

#[derive(Clone, Copy)]
struct Tally {
    address: PeerAddress,
    count: u64,
}

/// What has failed since the last second.
#[derive(Default)]
pub struct Failures {
    tallies: Mutex<HashMap<Kind, Tally>>,
    /// Entries of single sources written beyond what the seconds so far allow for.
    spent: Mutex<usize>,
}

impl std::fmt::Debug for Failures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Failures")
    }
}

impl Failures {
    /// Counts a failed authentication, or a refusal before it.
    pub fn count(&self, address: PeerAddress, reason: &'static str) {
        self.add(Kind::of(address, reason), address);
    }

    /// Counts a refusal of an authenticated caller.
    pub fn count_caller(&self, caller: &Caller, reason: &'static str) {
        let address = caller.address();
        let participant = Some(caller.principal().participant);
        self.add(Kind { participant, ..Kind::of(address, reason) }, address);
    }

    /// Counts a refusal by a quota.
    pub fn count_over_quota(
        &self,
        caller: &Caller,
        registration: Option<RegistrationId>,
        policy: Option<Arc<str>>,
    ) {
        let address = caller.address();
        let participant = Some(caller.principal().participant);
        let kind = Kind { participant, registration, policy, ..Kind::of(address, OVER_QUOTA) };
        self.add(kind, address);
    }

    fn add(&self, kind: Kind, address: PeerAddress) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let full = tallies.len() >= MAX_SOURCES && !tallies.contains_key(&kind);
        // Beyond the bound the source is given up, never the count.
        let (kind, address) =
            if full { (kind.together(), PeerAddress::Unix) } else { (kind, address) };
        let tally = tallies.entry(kind).or_insert(Tally { address, count: 0 });
        tally.count += 1;
    }

    /// Writes what was counted.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn flush(&self, hub: &Hub) -> Result<(), hub_operations::Error> {
        let mut left = self.take().into_iter();
        while let Some(Told { kind, tally, sources }) = left.next() {
            let (action, outcome) = match kind.reason {
                RATE_LIMITED => ("throttle.participant", Outcome(RATE_LIMITED)),
                OVER_QUOTA => ("throttle.quota", Outcome(RATE_LIMITED)),
                OVERLOADED => ("throttle.load", Outcome(OVERLOADED)),
                BLOCKED => ("throttle.block", Outcome(BLOCKED)),
                _ => ("authenticate", Outcome("unauthenticated")),
            };
            let detail: Box<str> = kind.detail(sources).into();
            let recorded =
                hub.record_event(action, tally.address, Some(detail), outcome, tally.count).await;
            if let Err(error) = recorded {
                // What could not be written is counted on and written later.
                let rest = std::iter::once(Told { kind, tally, sources }).chain(left);
                self.put_back(rest);
                return Err(error);
            }
        }
        Ok(())
    }

    /// What is to be written now: the most frequent by themselves, as far as the allowance goes,
    /// and the others as one sum for each reason.
    fn take(&self) -> Vec<Told> {
        let tallies = {
            let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tallies)
        };
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = spent.saturating_sub(ALLOWED);
        let mut all: Vec<_> = tallies.into_iter().collect();
        all.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.count));
        let mut told: Vec<Told> = Vec::new();
        let mut together: HashMap<Kind, (u64, u64)> = HashMap::new();
        for (kind, tally) in all {
            if *spent < MOST_ALLOWED && kind != kind.together() {
                *spent += 1;
                told.push(Told { kind, tally, sources: 1 });
            } else {
                let sum = together.entry(kind.together()).or_default();
                *sum = (sum.0 + tally.count, sum.1 + 1);
            }
        }
        told.extend(together.into_iter().map(|(kind, (count, sources))| Told {
            kind,
            tally: Tally { address: PeerAddress::Unix, count },
            sources,
        }));
        told
    }

    fn put_back(&self, told: impl Iterator<Item = Told>) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        for Told { kind, tally: Tally { address, count }, .. } in told {
            tallies.entry(kind).or_insert(Tally { address, count: 0 }).count += count;
        }
    }
}

/// The participant's rate gate refused.
pub(crate) const RATE_LIMITED: &str = "rate_limited";
/// There was no room for more work.
pub(crate) const OVERLOADED: &str = "overloaded";
/// Somebody is blocked for a while.
pub(crate) const BLOCKED: &str = "blocked";
const OVER_QUOTA: &str = "over_quota";

/// One entry to be.
struct Told {
    kind: Kind,
    tally: Tally,
    sources: u64,
}

impl Kind {
    fn of(address: PeerAddress, reason: &'static str) -> Self {
        let source = address.into();
        Self { source, participant: None, registration: None, policy: None, reason }
    }

    /// The same reason, of nobody in particular.
    fn together(&self) -> Self {
        Self::of(PeerAddress::Unix, self.reason)
    }

    fn detail(&self, sources: u64) -> String {
        let mut detail = self.reason.to_owned();
        let mut add = |what: &dyn std::fmt::Display| {
            let _ = write!(detail, " {what}");
        };
        if let Some(policy) = &self.policy {
            add(policy);
        }
        if let Some(registration) = &self.registration {
            add(registration);
        }
        if let Some(participant) = &self.participant {
            add(participant);
        }
        if *self == self.together() && sources > 1 {
            add(&format_args!("(sum of {sources})"));
        }
        detail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(failures: &Failures, sources: u32) {
        for n in 0..sources {
            let address = PeerAddress::Ip(std::net::IpAddr::V4(n.into()));
            failures.count(address, "unknown");
            failures.count(address, "malformed");
        }
    }

    fn sum(told: &[Told]) -> u64 {
        told.iter().map(|told| told.tally.count).sum()
    }

    #[test]
    fn a_flood_is_written_in_few_entries_and_no_count_is_lost() {
        let failures = Failures::default();
        flood(&failures, 5000);
        let told = failures.take();
        assert_eq!((told.len(), sum(&told)), (MOST_ALLOWED + 2, 10_000));
        assert!(told.iter().any(|told| told.kind.detail(told.sources).starts_with("unknown (sum")));
        // And as it goes on, no more than the allowance of each second.
        for _ in 0..20 {
            flood(&failures, 5000);
            let told = failures.take();
            assert_eq!((told.len(), sum(&told)), (ALLOWED + 2, 10_000));
        }
        for _ in 0..MOST_ALLOWED / ALLOWED {
            assert!(failures.take().is_empty());
        }
        flood(&failures, 10);
        assert_eq!(failures.take().len(), 20, "few are told apart again");
    }

    #[test]
    fn the_most_frequent_are_named() {
        let failures = Failures::default();
        flood(&failures, 400);
        let noisy = PeerAddress::Ip([10, 0, 0, 1].into());
        (0..50).for_each(|_| failures.count(noisy, "unknown"));
        let told = failures.take();
        assert!(told.iter().any(|told| told.tally.address == noisy && told.tally.count == 50));
        failures.put_back(told.into_iter());
        assert_eq!(sum(&failures.take()), 850);
    }
}
