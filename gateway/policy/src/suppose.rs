//! Decisions about requests that nobody makes: recorded ones made again, and supposed ones.
//!
//! What comes out is no [`Permit`](crate::Permit): a caller made from stored facts opens nothing.

use std::sync::Arc;

use hub_model::{Action, Participant};

use crate::asking::Circumstances;
use crate::bundle::Bundle;
use crate::decide::{Asker, Policies, RequestFacts, Target};
use crate::grants;
use crate::permit::DecisionTrace;

/// How a supposed request would be decided.
#[derive(Clone, Debug)]
pub struct Supposition {
    /// Whether it would be permitted.
    pub permitted: bool,
    /// By which policies.
    pub trace: Arc<DecisionTrace>,
    /// Whether a policy or grant that was looked at reads tags of the encryption context: without knowing
    /// them, the decision is not known either.
    pub reads_pairs: bool,
    /// Whether there is a certificate and a policy of the whole set speaks of the SPIFFE id in it.
    pub names_spiffe: bool,
}

impl Policies {
    /// How `bundle`, active or not, would decide.
    #[must_use]
    pub fn suppose(
        &self,
        bundle: &Bundle,
        participant: &Participant,
        circumstances: &Circumstances,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
    ) -> Supposition {
        let asker = Asker {
            participant,
            revision: 0,
            address: circumstances.address,
            now: circumstances.now,
            method: circumstances.method,
            tls: circumstances.tls,
            mutual_tls: circumstances.mutual_tls,
            spiffe_id: circumstances.spiffe_id.as_deref(),
            extra_roles: false,
        };
        let granted = grants::granted(target, participant.id, action);
        let reads_pairs = self.engine.slice(bundle, participant, action, target).reads_pairs
            || granted.iter().any(|grant| !grant.context.is_empty());
        let (outcome, _) = self.engine.decide(bundle, &asker, action, target, facts, None);
        let names_spiffe = circumstances.mutual_tls
            && bundle.policies().any(|policy| policy.text.contains("spiffeId"));
        let (permitted, trace) = (outcome.permitted, outcome.trace);
        Supposition { permitted, trace, reads_pairs, names_spiffe }
    }
}
