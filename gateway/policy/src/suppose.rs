//! Decisions about requests that nobody makes: recorded ones made again, and supposed ones.
//!
//! What comes out is no [`Permit`](crate::Permit): a caller made from stored facts opens nothing.

use std::sync::Arc;

use hub_model::principal::PeerAddress;
use hub_model::{Action, AuthMethod, Participant, Timestamp};

use crate::bundle::Bundle;
use crate::decide::{Asker, Policies, RequestFacts, Target};
use crate::permit::DecisionTrace;

/// Who would ask, from where and when.
#[derive(Clone, Copy, Debug)]
pub struct Supposed<'a> {
    /// Who.
    pub participant: &'a Participant,
    /// From where.
    pub address: PeerAddress,
    /// When.
    pub now: Timestamp,
    /// How it would have authenticated.
    pub method: AuthMethod,
    /// Whether over an encrypted channel.
    pub tls: bool,
    /// Whether with a client certificate.
    pub mutual_tls: bool,
}

/// How a supposed request would be decided.
#[derive(Clone, Debug)]
pub struct Supposition {
    /// Whether it would be permitted.
    pub permitted: bool,
    /// By which policies.
    pub trace: Arc<DecisionTrace>,
    /// Whether a policy that was looked at reads tags of the encryption context: without knowing
    /// them, the decision is not known either.
    pub reads_pairs: bool,
}

impl Policies {
    /// How `bundle`, active or not, would decide.
    #[must_use]
    pub fn suppose(
        &self,
        bundle: &Bundle,
        supposed: &Supposed<'_>,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
    ) -> Supposition {
        let asker = Asker {
            participant: supposed.participant,
            revision: 0,
            address: supposed.address,
            now: supposed.now,
            method: supposed.method,
            tls: supposed.tls,
            mutual_tls: supposed.mutual_tls,
        };
        let reads_pairs = self.engine.slice(bundle, &asker, action, target).reads_pairs;
        let (outcome, _) = self.engine.decide(bundle, &asker, action, target, facts, None);
        Supposition { permitted: outcome.permitted, trace: outcome.trace, reads_pairs }
    }
}
