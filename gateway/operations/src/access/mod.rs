//! Who may do what: answered by the policies themselves, without a request.

mod participant;
mod who_can;

pub use participant::AccessOfParticipant;
pub use who_can::WhoCan;

use std::sync::Arc;

use hub_model::api::access::{AccessDecision, Prospect as View};
use hub_model::{Key, Participant};
use hub_policy::{Certainty, Prospect, RegistrationFacts, Target};

use crate::Error;
use crate::page::PageRequest;

/// Participants asked about on one page, when nothing else was asked, and at most.
const PARTICIPANTS: (usize, usize) = (50, 200);
/// Keys asked about on one page: each takes a decision for every action.
const KEYS: (usize, usize) = (20, 100);

/// What is asked about, apart from the hub: slow questions are answered on other threads.
struct Place {
    registration: Arc<RegistrationFacts>,
    key: Key,
    revision: u64,
}

impl Place {
    fn target(&self) -> Target<'_> {
        let Self { registration, key, revision } = self;
        Target::Key { key, revision: *revision, registration }
    }
}

fn limit(page: &PageRequest, (usual, most): (usize, usize)) -> Result<usize, Error> {
    match page.size {
        None => Ok(usual),
        Some(size) if (1..=most).contains(&size) => Ok(size),
        Some(_) => Err(Error::Invalid {
            pointer: "pageSize",
            detail: format!("`pageSize` must be between 1 and {most} here"),
        }),
    }
}

fn view(prospect: Prospect) -> View {
    let decision = match prospect.certainty {
        Certainty::Always => AccessDecision::Always,
        Certainty::Conditional => AccessDecision::Conditional,
        Certainty::Never => AccessDecision::Never,
    };
    let words = |list: Vec<Arc<str>>| list.iter().map(ToString::to_string).collect();
    View {
        decision,
        policies: words(prospect.policies),
        conditions: words(prospect.conditions),
        from_here: (decision == AccessDecision::Conditional).then_some(prospect.from_here),
        errors: words(prospect.errors),
    }
}

/// What was asked about on one page, and where to go on.
struct Asked {
    participants: Vec<Participant>,
    next: Option<String>,
}
