//! Failed authentications and refusals by rate, counted by source and reason and written to the
//! audit log once a second: a flood can neither fill the log nor hide in it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_model::{ParticipantId, Principal};
use hub_operations::Hub;

use crate::throttle::Source;

/// Sources told apart within one second; the rest is counted together.
const MAX_SOURCES: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    source: Source,
    participant: Option<ParticipantId>,
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
}

impl std::fmt::Debug for Failures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Failures")
    }
}

impl Failures {
    /// Counts a failed authentication.
    pub fn count(&self, address: PeerAddress, reason: &'static str) {
        self.add(Kind { source: address.into(), participant: None, reason }, address);
    }

    /// Counts a refusal by the participant's rate gate.
    pub fn count_limited(
        &self,
        principal: &Principal,
        address: PeerAddress,
        _operation: &'static str,
    ) {
        let participant = Some(principal.participant);
        self.add(Kind { source: address.into(), participant, reason: "rate_limited" }, address);
    }

    fn add(&self, kind: Kind, address: PeerAddress) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let full = tallies.len() >= MAX_SOURCES && !tallies.contains_key(&kind);
        // Beyond the bound the source is given up, never the count.
        let kind =
            if full { Kind { source: Source::Unix, participant: None, ..kind } } else { kind };
        let tally = tallies.entry(kind).or_insert(Tally { address, count: 0 });
        tally.count += 1;
    }

    /// Writes what was counted.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn flush(&self, hub: &Hub) -> Result<(), hub_operations::Error> {
        let tallies = {
            let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tallies)
        };
        let mut left = tallies.into_iter();
        while let Some((kind, tally)) = left.next() {
            let limited = kind.reason == "rate_limited";
            let (action, outcome) = if limited {
                ("throttle.participant", Outcome("rate_limited"))
            } else {
                ("authenticate", Outcome("unauthenticated"))
            };
            let detail: Box<str> = match kind.participant {
                Some(participant) => format!("{} {participant}", kind.reason).into(),
                None => kind.reason.into(),
            };
            let recorded =
                hub.record_event(action, tally.address, Some(detail), outcome, tally.count).await;
            if let Err(error) = recorded {
                // What could not be written is counted on and written later.
                self.put_back(std::iter::once((kind, tally)).chain(left));
                return Err(error);
            }
        }
        Ok(())
    }

    fn put_back(&self, counted: impl Iterator<Item = (Kind, Tally)>) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, Tally { address, count }) in counted {
            tallies.entry(kind).or_insert(Tally { address, count: 0 }).count += count;
        }
    }
}
