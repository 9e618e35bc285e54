//! Questions about a running hub: what would be decided if this participant asked, in these
//! circumstances. The answer comes with its reasons (`analysis.rs`); nothing is permitted by it.

use std::sync::Arc;

use hub_model::principal::PeerAddress;
use hub_model::{Action, AuthMethod, Participant, Timestamp};

use crate::Error;
use crate::analysis::{Analysis, Question, QuestionError};
use crate::context::context;
use crate::decide::{Asker, Policies, RequestFacts, Target};
use crate::entities::{Unsayable, joined};

/// How a request that nobody made would have come.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// From where.
    pub address: PeerAddress,
    /// When.
    pub now: Timestamp,
    /// With which kind of credential.
    pub method: AuthMethod,
    /// Over TLS.
    pub tls: bool,
    /// With a client certificate.
    pub mutual_tls: bool,
    /// The SPIFFE id in it.
    pub spiffe_id: Option<String>,
}

impl Policies {
    /// What the request would be in Cedar.
    ///
    /// # Errors
    /// [`QuestionError`] where the request cannot be said; such a request would be denied.
    pub fn question(
        &self,
        participant: &Participant,
        circumstances: &Circumstances,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
    ) -> Result<Question, QuestionError> {
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
        self.asked(&asker, action, target, facts)
            .map_err(|Unsayable(message)| QuestionError { part: "request", message })
    }

    pub(crate) fn asked(
        &self,
        asker: &Asker<'_>,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
    ) -> Result<Question, Unsayable> {
        let engine = self.engine();
        let (said, pairs) = context(engine.words, asker, action, facts)?;
        let hub = &engine.hub;
        let world = hub.entities(engine.words, asker.participant, action, target, None)?;
        let request = world.request(said).into();
        let entities = joined(world.entities, pairs.map(Arc::new))?.into();
        Ok(Question { request, entities })
    }

    /// Why the active set would decide a question as it would.
    ///
    /// # Errors
    /// As [`crate::Bundle::analyze`].
    pub fn analyze(&self, question: &Question) -> Result<Analysis, Error> {
        self.with_bundle(|bundle| bundle.analyze(question))
    }
}
