//! [`Policies`]: the active policy set and the decisions it makes.
//!
//! A decision takes the parts of the set that can match (`index.rs`), evaluates each, and joins the
//! results: an error anywhere denies, then a forbid denies, then a permit permits, else it is
//! denied. Where nothing looked at depends on the request itself, the memo answers.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cedar_policy::{AuthorizationError, Authorizer, Context, Decision, Entities, EvaluationError};
use hub_auth::Caller;
use hub_model::action::ResourceKind;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, AuthMethod, EncryptionContext, HubId, Key, Participant, Registration, RegistrationId,
    Timestamp,
};

use crate::bundle::Bundle;
use crate::entities::{Hub, Unsayable, context};
use crate::index::{Slice, Who};
use crate::memo::{self, Memo, Outcome, Worlds};
use crate::permit::{DecisionTrace, Denial, Permit, Subject};
use crate::schema::Words;
use crate::source::PolicyInfo;
use crate::{Error, lockout};

/// A registration as read, and the store revision it was read at.
#[derive(Clone, Debug)]
pub struct RegistrationFacts {
    /// The registration.
    pub registration: Arc<Registration>,
    /// Its store revision: any change of the facts changes it.
    pub revision: u64,
}

/// What a request is about.
#[derive(Clone, Debug)]
pub enum Target<'a> {
    /// The hub itself.
    Hub,
    /// A registration.
    Registration(&'a RegistrationFacts),
    /// A key.
    Key {
        /// Its facts.
        key: &'a Key,
        /// Their store revision.
        revision: u64,
        /// The registration it belongs to.
        registration: &'a RegistrationFacts,
    },
}

/// What a policy can know of the request itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFacts<'a> {
    /// The encryption context, of cryptographic operations; none is an empty one.
    pub encryption_context: Option<&'a EncryptionContext>,
    /// Bytes of plaintext, ciphertext or message, all items together.
    pub payload_bytes: u64,
}

/// Who asks, from where and when: what a decision needs of a [`Caller`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) participant: &'a Participant,
    pub(crate) revision: u64,
    pub(crate) address: PeerAddress,
    pub(crate) now: Timestamp,
    pub(crate) method: AuthMethod,
    pub(crate) tls: bool,
    pub(crate) mutual_tls: bool,
    pub(crate) spiffe_id: Option<&'a str>,
}

impl<'a> Asker<'a> {
    fn of(caller: &'a Caller) -> Self {
        Self {
            participant: caller.participant(),
            revision: caller.participant_revision(),
            address: caller.address(),
            now: caller.now(),
            method: caller.method(),
            tls: caller.tls(),
            mutual_tls: caller.mutual_tls(),
            spiffe_id: caller.spiffe_id(),
        }
    }
}

/// The active policy set of a hub.
#[derive(Debug)]
pub struct Policies {
    engine: Engine,
    worlds: Worlds,
    active: ArcSwap<Active>,
}

#[derive(Debug)]
struct Active {
    bundle: Bundle,
    memo: Memo,
}

impl Policies {
    /// Starts with a policy set, for the hub with this id, whose own participants are those of
    /// `hub_registration` (the registration named `hub`).
    ///
    /// # Errors
    /// [`Error::LockOut`] when the set would shut out every administrator of this very hub.
    pub fn new(
        bundle: Bundle,
        hub: HubId,
        hub_registration: RegistrationId,
    ) -> Result<Self, Error> {
        let engine = Engine::new(hub, hub_registration)?;
        lockout::check(&bundle, Some(&engine))?;
        Ok(Self::start(engine, bundle))
    }

    fn start(engine: Engine, bundle: Bundle) -> Self {
        let active = ArcSwap::from_pointee(Active { bundle, memo: Memo::new() });
        Self { engine, worlds: Worlds::new(), active }
    }

    /// Decides with another set from now on. On an error the old one stays.
    ///
    /// # Errors
    /// As [`Policies::new`].
    pub fn activate(&self, bundle: Bundle) -> Result<(), Error> {
        lockout::check(&bundle, Some(&self.engine))?;
        self.active.store(Arc::new(Active { bundle, memo: Memo::new() }));
        Ok(())
    }

    /// Whether the caller may do `action` on `target`.
    ///
    /// # Errors
    /// A [`Denial`], also when the question cannot be decided.
    pub fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
    ) -> Result<Permit, Denial> {
        let outcome = self.outcome(&Asker::of(caller), action, target, facts);
        let (registration, key) = match target {
            Target::Hub => (None, None),
            Target::Registration(facts) => (Some(facts.registration.id), None),
            Target::Key { key, registration, .. } => {
                (Some(registration.registration.id), Some(key.id))
            }
        };
        let principal = caller.principal().clone();
        let subject = Subject { action, principal, registration, key, trace: outcome.trace };
        if outcome.permitted { Ok(Permit::new(subject)) } else { Err(Denial::new(subject)) }
    }

    /// Whether the caller may know that a registration exists: it belongs to it, holds a role in
    /// it, or may read its facts. Decides between "not found" and "forbidden".
    #[must_use]
    pub fn may_see(&self, caller: &Caller, facts: &RegistrationFacts) -> bool {
        let (participant, id) = (caller.participant(), facts.registration.id);
        participant.registration == id
            || participant.roles.iter().any(|grant| grant.registration == id)
            || {
                let target = Target::Registration(facts);
                let asker = Asker::of(caller);
                let request = RequestFacts::default();
                self.outcome(&asker, Action::RegistrationsGet, &target, &request).permitted
            }
    }

    /// The digest of the active set: SHA-256, hex.
    #[must_use]
    pub fn revision(&self) -> Arc<str> {
        Arc::clone(self.active.load().bundle.revision())
    }

    /// The first twelve digits of [`Policies::revision`], for people.
    #[must_use]
    pub fn revision_short(&self) -> Arc<str> {
        let full = self.revision();
        full.get(..12).map_or_else(|| Arc::clone(&full), Arc::from)
    }

    /// A policy of the active set.
    #[must_use]
    pub fn describe(&self, policy_id: &str) -> Option<PolicyInfo> {
        self.active.load().bundle.describe(policy_id).cloned()
    }

    /// The permits of the active set whose scope can match an action: what would have to apply.
    #[must_use]
    pub fn candidates(&self, action: Action) -> Vec<PolicyInfo> {
        self.active.load().bundle.candidates(action).cloned().collect()
    }

    /// A set that was not checked, for tests of what happens then.
    #[cfg(test)]
    pub(crate) fn unchecked(
        bundle: Bundle,
        hub: HubId,
        hub_registration: RegistrationId,
    ) -> Result<Self, Error> {
        let engine = Engine::new(hub, hub_registration)?;
        Ok(Self::start(engine, bundle))
    }

    #[cfg(test)]
    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn outcome(
        &self,
        asker: &Asker<'_>,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
    ) -> Outcome {
        let active = self.active.load();
        let key = memo::Key::of(asker, action, target);
        if !active.bundle.index.always_reads_context(action, asker.participant.kind)
            && let Some(outcome) = active.memo.recall(&key)
        {
            return outcome;
        }
        let worlds = Some((&self.worlds, key));
        let (outcome, context_free) =
            self.engine.decide(&active.bundle, asker, action, target, facts, worlds);
        if context_free {
            active.memo.remember(key, outcome.clone());
        }
        outcome
    }
}

/// Evaluates; knows the hub, but no policies.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) words: &'static Words,
    pub(crate) hub: Hub,
    authorizer: Authorizer,
}

impl Engine {
    pub(crate) fn new(hub: HubId, registration: RegistrationId) -> Result<Self, Error> {
        let words = Words::load()?;
        let hub =
            Hub::new(words, hub, registration).map_err(|Unsayable(why)| Error::Schema(why))?;
        Ok(Self { words, hub, authorizer: Authorizer::new() })
    }

    /// The decision, and whether it depends on the memo's key alone. Entities are remembered in
    /// `worlds`, if the participant and target are real.
    pub(crate) fn decide(
        &self,
        bundle: &Bundle,
        asker: &Asker<'_>,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
        worlds: Option<(&Worlds, memo::Key)>,
    ) -> (Outcome, bool) {
        let mut votes = Votes::default();
        if let Some(why) = mismatch(action, target) {
            votes.errors.push(why.into());
            return (votes.outcome(&bundle.revision), false);
        }
        let own = std::iter::once(Who::Participant(asker.participant.id));
        let roles = asker.participant.roles.iter().map(|grant| self.hub.who(grant));
        let whats = self.hub.whats(target);
        let slice = bundle.index.slice(action, asker.participant.kind, own.chain(roles), &whats);
        let evaluated = self.evaluate(&slice, asker, action, target, facts, worlds, &mut votes);
        if let Err(Unsayable(why)) = evaluated {
            votes.errors.push(format!("the request cannot be said in Cedar: {why}").into());
        }
        (votes.outcome(&bundle.revision), !slice.reads_context)
    }

    fn evaluate(
        &self,
        slice: &Slice<'_>,
        asker: &Asker<'_>,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
        worlds: Option<(&Worlds, memo::Key)>,
        votes: &mut Votes,
    ) -> Result<(), Unsayable> {
        // A development build makes every context, and so checks it against the schema.
        let (mut said, mut extra) = (Context::empty(), None);
        if slice.reads_context || cfg!(debug_assertions) {
            let made = context(self.words, asker, action, facts)?;
            if slice.reads_context {
                (said, extra) = made;
            }
        }
        let participant = asker.participant;
        let make = || self.hub.entities(self.words, participant, action, target);
        let world = match worlds {
            // A context-free decision is remembered itself.
            Some((worlds, key)) if slice.reads_context => worlds.recall(key, make)?,
            _ => Arc::new(make()?),
        };
        let joined;
        let entities = match extra.filter(|_| slice.reads_pairs) {
            Some(extra) => {
                let list = world.list.iter().cloned().chain(std::iter::once(extra));
                joined = Entities::from_entities(list, None)?;
                &joined
            }
            None => &world.entities,
        };
        let request = self.hub.request(self.words, participant, action, target, said)?;
        for part in &slice.parts {
            votes.add(&self.authorizer.is_authorized(&request, &part.set, entities));
        }
        Ok(())
    }
}

/// Why a target cannot be that of the action.
fn mismatch(action: Action, target: &Target<'_>) -> Option<&'static str> {
    match (action.resource_kind(), target) {
        (ResourceKind::Hub, Target::Hub)
        | (ResourceKind::Registration, Target::Registration(_)) => None,
        (ResourceKind::Key, Target::Key { key, registration, .. }) => {
            let own = key.registration == registration.registration.id;
            (!own).then_some("the key is not of this registration")
        }
        _ => Some("the action does not apply to this kind of target"),
    }
}

/// What the evaluated parts say, joined.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    permits: Vec<Arc<str>>,
    forbids: Vec<Arc<str>>,
    errors: Vec<Arc<str>>,
}

impl Votes {
    /// Adds one part's answer: the reasons of a denial are forbids, those of an allowance permits.
    pub(crate) fn add(&mut self, response: &cedar_policy::Response) {
        let reasons = response.diagnostics().reason().map(|id| Arc::from(AsRef::<str>::as_ref(id)));
        match response.decision() {
            Decision::Allow => self.permits.extend(reasons),
            Decision::Deny => self.forbids.extend(reasons),
        }
        self.errors.extend(response.diagnostics().errors().map(words_of));
    }

    pub(crate) fn outcome(mut self, revision: &Arc<str>) -> Outcome {
        // A role granted twice finds its part twice.
        self.errors.sort();
        self.errors.dedup();
        let permitted =
            self.errors.is_empty() && self.forbids.is_empty() && !self.permits.is_empty();
        // With an error, what permitted did not determine anything.
        let mut policies = if permitted { self.permits } else { self.forbids };
        policies.sort();
        policies.dedup();
        let revision = Arc::clone(revision);
        let trace = DecisionTrace { policies: policies.into(), revision, errors: self.errors };
        Outcome { permitted, trace: Arc::new(trace) }
    }
}

/// An evaluation error by policy and kind. Cedar's own text can show values of the request.
fn words_of(error: &AuthorizationError) -> Arc<str> {
    let AuthorizationError::PolicyEvaluationError(error) = error;
    let kind = match error.inner() {
        EvaluationError::EntityDoesNotExist(_) => "it reads an entity that is not there",
        EvaluationError::EntityAttrDoesNotExist(_) | EvaluationError::RecordAttrDoesNotExist(_) => {
            "it reads an attribute or tag that is not there"
        }
        EvaluationError::TypeError(_) => "it mixes types",
        EvaluationError::IntegerOverflow(_) => "a number overflows",
        EvaluationError::FailedExtensionFunctionExecution(_) => "a function fails",
        EvaluationError::RecursionLimit(_) => "it is nested too deeply",
        _ => "it cannot be evaluated",
    };
    format!("policy `{}`: {kind}", error.policy_id()).into()
}
