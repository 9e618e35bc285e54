//! [`Policies`]: the active policy set and the decisions it makes.
//!
//! A decision takes the parts of the set that can match (`index.rs`), evaluates each, and joins the
//! results: an error anywhere denies, then a forbid denies, then a permit permits, else it is
//! denied. Where nothing looked at depends on the request itself, the memo answers.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cedar_policy::{AuthorizationError, Decision, EvaluationError};
use cedar_policy_core::ast::Context;
use hub_auth::Caller;
use hub_model::action::ResourceKind;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, AuthMethod, EncryptionContext, Grant, HubId, Key, Participant, Registration,
    RegistrationId, Timestamp,
};

use crate::bundle::Bundle;
use crate::context::context;
use crate::entities::{Hub, Unsayable, joined};
use crate::grants::Templates;
use crate::index::{Slice, Who};
use crate::memo::{self, Memo, Outcome, World, Worlds};
use crate::permit::{DecisionTrace, Denial, Permit, Subject};
use crate::rule::{Judge, MIXED};
use crate::schema::Words;
use crate::shadow::Shadow;
use crate::source::PolicyInfo;
use crate::{Error, grants, lockout};

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
    /// Whether the participant has roles that its record at `revision` does not have.
    pub(crate) extra_roles: bool,
}

impl<'a> Asker<'a> {
    pub(crate) fn of(caller: &'a Caller) -> Self {
        Self {
            participant: caller.participant(),
            revision: caller.participant_revision(),
            address: caller.address(),
            now: caller.now(),
            method: caller.method(),
            tls: caller.tls(),
            mutual_tls: caller.mutual_tls(),
            spiffe_id: caller.spiffe_id(),
            extra_roles: caller.has_extra_roles(),
        }
    }
}

/// The active policy set of a hub.
#[derive(Debug)]
pub struct Policies {
    pub(crate) engine: Arc<Engine>,
    worlds: Worlds,
    active: ArcSwap<Active>,
    pub(crate) shadow: Shadow,
}

/// A policy set and what it has decided.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) bundle: Arc<Bundle>,
    memo: Memo,
}

impl Active {
    pub(crate) fn new(bundle: Arc<Bundle>) -> Self {
        Self { bundle, memo: Memo::new() }
    }

    pub(crate) fn outcome(
        &self,
        engine: &Engine,
        worlds: Option<&Worlds>,
        asker: &Asker<'_>,
        (action, target): (Action, &Target<'_>),
        facts: &RequestFacts<'_>,
    ) -> Outcome {
        // INVARIANT: the memo's key knows the roles by the record's revision, so whoever has others
        // is neither answered from what is remembered nor remembered.
        if asker.extra_roles {
            return engine.decide(&self.bundle, asker, action, target, facts, None).0;
        }
        let key = memo::Key::of(asker, action, target);
        if !self.bundle.index.always_reads_context(action, asker.participant.kind)
            && let Some(outcome) = self.memo.recall(&key)
        {
            return outcome;
        }
        let worlds = worlds.map(|worlds| (worlds, key));
        let (outcome, context_free) =
            engine.decide(&self.bundle, asker, action, target, facts, worlds);
        if context_free {
            self.memo.remember(key, outcome.clone());
        }
        outcome
    }
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
        let active = ArcSwap::from_pointee(Active::new(Arc::new(bundle)));
        let engine = Arc::new(engine);
        Self { engine, worlds: Worlds::new(), active, shadow: Shadow::default() }
    }

    /// Decides with another set from now on. On an error the old one stays.
    ///
    /// # Errors
    /// As [`Policies::new`].
    pub fn activate(&self, bundle: impl Into<Arc<Bundle>>) -> Result<(), Error> {
        let bundle = bundle.into();
        self.check(&bundle)?;
        self.active.store(Arc::new(Active::new(bundle)));
        Ok(())
    }

    /// Whether administrators of this very hub could run it under a set.
    ///
    /// # Errors
    /// [`Error::LockOut`].
    pub fn check(&self, bundle: &Bundle) -> Result<(), Error> {
        lockout::check(bundle, Some(&self.engine))
    }

    /// The set that decides now.
    #[must_use]
    pub fn active_bundle(&self) -> Arc<Bundle> {
        Arc::clone(&self.active.load().bundle)
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
        if self.shadow.is_on() {
            self.shadow.offer(caller, action, target, facts, outcome.permitted);
        }
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

    /// Whether the caller may know that a registration exists: it belongs to it, holds a role or a
    /// grant in it, or may read its facts. Decides between "not found" and "forbidden".
    #[must_use]
    pub fn may_see(&self, caller: &Caller, facts: &RegistrationFacts) -> bool {
        let (participant, id) = (caller.participant(), facts.registration.id);
        participant.registration == id
            || participant.roles.iter().any(|grant| grant.registration == id)
            || participant.grants_in.contains_key(&id)
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

    /// A set whose hub was not asked whether it locks itself out: for tests of a set, and of what
    /// happens without checks.
    pub(crate) fn unchecked(
        bundle: Bundle,
        hub: HubId,
        hub_registration: RegistrationId,
    ) -> Result<Self, Error> {
        let engine = Engine::new(hub, hub_registration)?;
        Ok(Self::start(engine, bundle))
    }

    /// Does something with the active set.
    pub(crate) fn with_bundle<T>(&self, then: impl FnOnce(&Bundle) -> T) -> T {
        then(&self.active.load().bundle)
    }

    /// The set that is active now, for questions that take longer than a decision.
    pub(crate) fn active(&self) -> Arc<Active> {
        self.active.load_full()
    }

    pub(crate) fn engine(&self) -> &Engine {
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
        active.outcome(&self.engine, Some(&self.worlds), asker, (action, target), facts)
    }
}

/// Evaluates; knows the hub, but no policies.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) words: &'static Words,
    pub(crate) hub: Hub,
    templates: &'static Templates,
}

impl Engine {
    pub(crate) fn new(hub: HubId, registration: RegistrationId) -> Result<Self, Error> {
        let words = Words::load()?;
        let hub = Hub::new(words, hub, registration);
        let templates = Templates::load()?;
        Ok(Self { words, hub, templates })
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
        let slice = self.slice(bundle, asker.participant, action, target);
        let granted = grants::granted(target, asker.participant.id, action);
        // INVARIANT: what depends on the end or the pairs of a grant is never remembered, also
        // while that grant does not apply.
        let conditional = granted.iter().any(|grant| grant.is_conditional());
        let asked = Asked { slice: &slice, granted: &granted, conditional };
        let evaluated = self.evaluate(&asked, asker, action, target, facts, worlds, &mut votes);
        if let Err(Unsayable(why)) = evaluated {
            votes.errors.push(format!("the request cannot be said in Cedar: {why}").into());
        }
        (votes.outcome(&bundle.revision), !slice.reads_context && !conditional)
    }

    /// The parts of a set that a participant's request looks at.
    pub(crate) fn slice<'b>(
        &self,
        bundle: &'b Bundle,
        participant: &Participant,
        action: Action,
        target: &Target<'_>,
    ) -> Slice<'b> {
        let own = std::iter::once(Who::Participant(participant.id));
        let roles = participant.roles.iter().map(|grant| self.hub.who(grant));
        let whats = self.hub.whats(target);
        bundle.index.slice(action, participant.kind, own.chain(roles), &whats)
    }

    /// The entities of a request, and the links of its grants. Those of participant and
    /// registration are remembered in `worlds`, where there is one.
    pub(crate) fn world(
        &self,
        participant: &Participant,
        action: Action,
        target: &Target<'_>,
        granted: &[&Grant],
        worlds: Option<(&Worlds, memo::Key)>,
    ) -> Result<World, Unsayable> {
        let mut world = self.hub.entities(self.words, participant, action, target, worlds)?;
        world.links = self.templates.links(action, granted, &world)?;
        Ok(world)
    }

    fn evaluate(
        &self,
        asked: &Asked<'_>,
        asker: &Asker<'_>,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
        worlds: Option<(&Worlds, memo::Key)>,
        votes: &mut Votes,
    ) -> Result<(), Unsayable> {
        let Asked { slice, granted, conditional } = *asked;
        // A development build makes every context, and so checks it against the schema.
        let (mut said, mut extra) = (Context::empty(), None);
        if slice.reads_context || cfg!(debug_assertions) {
            let made = context(self.words, asker, action, facts)?;
            if slice.reads_context {
                (said, extra) = made;
            }
        }
        let make = || self.world(asker.participant, action, target, granted, worlds);
        let world = match worlds {
            // A context-free decision is remembered itself.
            Some((worlds, key)) if slice.reads_context || conditional => {
                worlds.recall(key, make)?
            }
            _ => Arc::new(make()?),
        };
        let with_pairs;
        let entities = match extra.filter(|_| slice.reads_pairs) {
            Some(extra) => {
                with_pairs = joined(world.entities.clone(), [Arc::new(extra)])?;
                &with_pairs
            }
            None => &world.entities,
        };
        let judge = Judge::new(world.request(said), entities);
        for part in &slice.parts {
            judge.ask(part.rules(), votes);
        }
        if let Some(links) = &world.links {
            links.ask(&judge, asker.now, facts.encryption_context, votes);
        }
        Ok(())
    }
}

/// What a decision looks at.
struct Asked<'a> {
    slice: &'a Slice<'a>,
    granted: &'a [&'a Grant],
    /// Whether a grant depends on the request.
    conditional: bool,
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
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Votes {
    pub(crate) permits: Vec<Arc<str>>,
    pub(crate) forbids: Vec<Arc<str>>,
    pub(crate) errors: Vec<Arc<str>>,
}

impl Votes {
    /// Adds one part's answer: the reasons of a denial are forbids, those of an allowance permits.
    pub(crate) fn add(&mut self, response: &cedar_policy::Response) {
        let reasons = response.diagnostics().reason().map(|id| Arc::from(AsRef::<str>::as_ref(id)));
        match response.decision() {
            Decision::Allow => self.permits.extend(reasons),
            Decision::Deny => self.forbids.extend(reasons),
        }
        for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
            self.err(error.policy_id().as_ref(), kind_of(error.inner()));
        }
    }

    /// Adds a policy that cannot be evaluated.
    pub(crate) fn err(&mut self, policy: &str, kind: &str) {
        self.errors.push(format!("policy `{policy}`: {kind}").into());
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

/// The kind of an evaluation error. Cedar's own text can show values of the request.
pub(crate) const fn kind_of(error: &EvaluationError) -> &'static str {
    match error {
        EvaluationError::EntityDoesNotExist(_) => "it reads an entity that is not there",
        EvaluationError::EntityAttrDoesNotExist(_) | EvaluationError::RecordAttrDoesNotExist(_) => {
            "it reads an attribute or tag that is not there"
        }
        EvaluationError::TypeError(_) => MIXED,
        EvaluationError::IntegerOverflow(_) => "a number overflows",
        EvaluationError::FailedExtensionFunctionExecution(_) => "a function fails",
        EvaluationError::RecursionLimit(_) => "it is nested too deeply",
        _ => "it cannot be evaluated",
    }
}
