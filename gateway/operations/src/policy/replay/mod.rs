//! `policies.replay`: what a candidate would have decided otherwise.
//!
//! The log is read page by page; each page becomes questions, made of what its entries hold and of
//! participants, keys and registrations as they are now, and the questions are decided where that
//! holds nobody up. An entry says at which store revisions it was decided, so it is known where one
//! of those has changed since: such a decision is compared with what the active set says today, and
//! told apart. What cannot be known is counted with its reason.

mod question;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use hub_model::Action;
use hub_model::api::policy::{ReplayPolicies as Body, Replayed, RevisionRef};
use hub_policy::{Bundle, Permit};
use serde::Deserialize;

use super::propose::check_files;
use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::plan::Plan;
use question::{Facts, Recorded};
use tally::Tally;

/// Entries looked at together.
const PAGE: usize = 256;
/// How long one request reads on; the answer says where to go on.
const TIME: Duration = Duration::from_secs(8);
/// The clock of an entry is that of its authentication, so that neighbours can be out of order.
const DISORDER: Duration = Duration::from_secs(60);

/// Decides recorded requests again.
#[derive(Debug)]
pub struct ReplayPolicies {
    /// Which, and under what.
    pub body: Body,
}

impl Operation for ReplayPolicies {
    const ACTION: Action = Action::PoliciesReplay;
    type Place = AtHub;
    type Reply = Replayed;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtHub>) -> Result<Plan<Replayed>, Error> {
        let hub = scene.hub;
        let Ok(_place) = hub.revisions().replays.try_acquire() else {
            return Err(Error::TooMany("two replays are running already; wait for one to end"));
        };
        let candidate = self.candidate(hub).await?;
        let tally = self.run(hub, &candidate).await?;
        let detail = candidate.revision().to_string();
        let reply = tally.finish(detail.clone(), |seq| hub.decision_id(seq));
        Ok(Plan::new(permit, reply).detail(detail))
    }
}

impl ReplayPolicies {
    async fn candidate(&self, hub: &Hub) -> Result<Arc<Bundle>, Error> {
        match (&self.body.revision, &self.body.files) {
            (Some(revision), None) => {
                let reference = revision.parse::<RevisionRef>().map_err(|error| {
                    Error::Invalid { pointer: "/revision", detail: error.to_string() }
                })?;
                hub.revision_bundle(&reference).await
            }
            (None, Some(files)) => {
                check_files(files)?;
                hub.compile(files.clone()).await
            }
            _ => Err(Error::Invalid {
                pointer: "",
                detail: "a candidate is needed: either `revision` or `files`".to_owned(),
            }),
        }
    }

    async fn run(&self, hub: &Hub, candidate: &Arc<Bundle>) -> Result<Tally, Error> {
        let body = &self.body;
        // As of now: this request's own entry comes after it.
        let end = hub.log().appender().position().audit.size;
        let mut next = match (body.after, body.last, body.since) {
            (Some(after), ..) => after,
            (None, Some(last), since) => {
                let earliest = match since {
                    Some(since) => first_since(hub, since, end).await?,
                    None => 0,
                };
                end.saturating_sub(last).max(earliest)
            }
            (None, None, Some(since)) => first_since(hub, since, end).await?,
            (None, None, None) => 0,
        };
        let (active, policies) = (hub.policies().active_bundle(), hub.shared_policies());
        let begun = hub.clock().steady();
        let mut facts = Facts::default();
        let mut tally = Tally::default();
        let until = body.until.map(|until| (until, until.plus(DISORDER)));
        while next < end {
            if hub.clock().steady().saturating_sub(begun) >= TIME {
                tally.next = Some(next);
                break;
            }
            let page = hub.log().page(next, PAGE).await?;
            let mut questions = Vec::new();
            let mut beyond = page.is_empty();
            for (seq, bytes) in page {
                if seq >= end {
                    break;
                }
                next = seq + 1;
                let entry: Recorded = serde_json::from_slice(&bytes)
                    .map_err(|error| Error::Integrity(Box::new(error)))?;
                if until.is_some_and(|(_, far)| entry.time >= far) {
                    beyond = true;
                    break;
                }
                tally.entries += 1;
                let outside = body.since.is_some_and(|since| entry.time < since)
                    || until.is_some_and(|(until, _)| entry.time >= until);
                if outside || entry.decision == "none" {
                    continue;
                }
                match facts.question(hub, seq, entry).await? {
                    Ok(question) => questions.push(question),
                    Err(reason) => tally.undecidable(reason, seq),
                }
            }
            let (policies, active) = (Arc::clone(&policies), Arc::clone(&active));
            let candidate = Arc::clone(candidate);
            let work = move || {
                let decide = |question: question::Question| {
                    let verdict = question.decide(&policies, &active, &candidate);
                    (question, verdict)
                };
                questions.into_iter().map(decide).collect::<Vec<_>>()
            };
            for (question, verdict) in hub.heavy().run(hub.registration(), work).await? {
                tally.add(&question, verdict);
            }
            if beyond {
                break;
            }
        }
        Ok(tally)
    }
}

/// The first entry that can be of `since` or later, by halving: times rise along the log, but for
/// neighbours.
async fn first_since(hub: &Hub, since: hub_model::Timestamp, end: u64) -> Result<u64, Error> {
    #[derive(Deserialize)]
    struct Timed {
        time: hub_model::Timestamp,
    }
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        let missing = || Error::Integrity("an audit entry is missing".into());
        let bytes = hub.log().entry(middle).await?.ok_or_else(missing)?;
        let timed: Timed =
            serde_json::from_slice(&bytes).map_err(|error| Error::Integrity(Box::new(error)))?;
        if timed.time.plus(DISORDER) < since {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
