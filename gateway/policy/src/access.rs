//! Who may do what, without a request: what a decision would be whatever a request's context, and
//! which policies it hangs on where that is not certain.
//!
//! Policies that read no context are evaluated as they are. Of those that do, the part that stands
//! before the first mention of `context` is evaluated: a policy whose beginning does not hold never
//! applies, whatever the context. What is left over may apply or may not.
//!
//! INVARIANT: `Always` and `Never` are said only where no context could change them; a policy that
//! might err counts as one that might deny (`worlds.rs` compares with decisions).

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{Policy, PolicyId};
use cedar_policy_core::ast::Context;
use hub_auth::Caller;
use hub_model::{Action, Participant, ParticipantId, ParticipantKind, RegistrationId, Tags};
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::decide::{Active, Asker, Policies, RequestFacts, Target, Votes};
use crate::entities::Unsayable;
use crate::index::{Part, What, Who};
use crate::rule::{Judge, Rule};
use crate::source::Effect;
use crate::{Error, grants};

/// How sure a decision is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// No context permits it.
    Never,
    /// It depends on the context: time, address, method, encryption context, payload.
    Conditional,
    /// Every context permits it.
    Always,
}

/// What a decision would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// How sure it is.
    pub certainty: Certainty,
    /// Policies that speak whatever the context: the permits, or, of `Never`, the forbids.
    pub policies: Vec<Arc<str>>,
    /// Policies and grants that may apply or not, by the context. Empty unless `Conditional`.
    pub conditions: Vec<Arc<str>>,
    /// Why it can never be decided, without values.
    pub errors: Vec<Arc<str>>,
    /// Whether a request would be permitted as the one who asks came: from there, now, with an
    /// empty encryption context.
    pub from_here: bool,
}

/// A permit whose scope names somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub policy: Arc<str>,
    /// The participant it names; `None` for a role of another registration.
    pub participant: Option<ParticipantId>,
}

/// Questions to the policy set that was active when it was made.
#[derive(Debug)]
pub struct Survey {
    policies: Arc<Policies>,
    active: Arc<Active>,
    splits: HashMap<Vec<usize>, Split>,
}

/// A part whose result depends on the context, taken apart.
#[derive(Debug)]
struct Split {
    certain: Vec<Rule>,
    /// The beginnings of permits that read the context.
    permits: Vec<Rule>,
    /// The beginnings of forbids that do.
    forbids: Vec<Rule>,
}

impl Survey {
    /// Of the set that is active now.
    #[must_use]
    pub fn new(policies: Arc<Policies>) -> Self {
        let active = policies.active();
        Self { policies, active, splits: HashMap::new() }
    }

    /// What the decision on this participant would be.
    ///
    /// # Errors
    /// [`Error::Schema`] when a policy cannot be taken apart.
    pub fn prospect(
        &mut self,
        caller: &Caller,
        participant: &Participant,
        action: Action,
        target: &Target<'_>,
    ) -> Result<Prospect, Error> {
        let asker = Asker { participant, revision: 0, ..Asker::of(caller) };
        self.prospect_of(&asker, action, target)
    }

    pub(crate) fn prospect_of(
        &mut self,
        asker: &Asker<'_>,
        action: Action,
        target: &Target<'_>,
    ) -> Result<Prospect, Error> {
        let active = Arc::clone(&self.active);
        let policies = Arc::clone(&self.policies);
        let (engine, bundle) = (policies.engine(), &active.bundle);
        let facts = RequestFacts::default();
        let now = engine.decide(bundle, asker, action, target, &facts, None).0;
        let slice = engine.slice(bundle, asker.participant, action, target);
        for part in slice.parts.iter().filter(|part| part.reads_context) {
            if !self.splits.contains_key(&part.members) {
                let split = Split::of(bundle, part)?;
                self.splits.insert(part.members.clone(), split);
            }
        }
        let mut found = Found::default();
        if let Err(Unsayable(why)) = self.look(&mut found, asker, action, target, &slice.parts) {
            found.certain.errors.push(format!("it cannot be said in Cedar: {why}").into());
        }
        Ok(found.prospect(now.permitted))
    }

    fn look(
        &self,
        found: &mut Found,
        asker: &Asker<'_>,
        action: Action,
        target: &Target<'_>,
        parts: &[&Part],
    ) -> Result<(), Unsayable> {
        let engine = self.policies.engine();
        let granted = grants::granted(target, asker.participant.id, action);
        let world = engine.world(asker.participant, action, target, &granted, None)?;
        let judge = Judge::new(world.request(Context::empty()), &world.entities);
        for part in parts {
            let Some(split) = self.splits.get(&part.members).filter(|_| part.reads_context) else {
                judge.ask(part.rules(), &mut found.certain);
                continue;
            };
            judge.ask(&split.certain, &mut found.certain);
            for (rules, list) in
                [(&split.permits, &mut found.permits), (&split.forbids, &mut found.forbids)]
            {
                let mut votes = Votes::default();
                judge.ask(rules, &mut votes);
                // A beginning that errs makes its policy err.
                found.certain.errors.append(&mut votes.errors);
                list.append(&mut votes.permits);
                list.append(&mut votes.forbids);
            }
        }
        if let Some(links) = &world.links {
            // Those that have not ended apply in some context.
            let conditional = links.look(&judge, &mut found.certain);
            let lasting = conditional.filter(|(_, grant)| !grant.has_ended(asker.now));
            found.grants.extend(lasting.map(|(id, _)| Arc::clone(id)));
        }
        Ok(())
    }

    /// What the decision would be on somebody of another registration who holds no role anywhere
    /// and is named nowhere: the surest of the three kinds of participants.
    ///
    /// # Errors
    /// As [`Survey::prospect`].
    pub fn strangers(
        &mut self,
        caller: &Caller,
        action: Action,
        target: &Target<'_>,
    ) -> Result<Option<Prospect>, Error> {
        let mut surest: Option<Prospect> = None;
        for kind in [ParticipantKind::User, ParticipantKind::Service, ParticipantKind::Device] {
            let stranger = stranger(caller, kind);
            let prospect = self.prospect(caller, &stranger, action, target)?;
            if surest.as_ref().is_none_or(|known| known.certainty < prospect.certainty) {
                surest = Some(prospect);
            }
        }
        Ok(surest.filter(|prospect| prospect.certainty != Certainty::Never))
    }

    /// Permits of the action on the target that name single participants, or roles of other
    /// registrations.
    #[must_use]
    pub fn named(&self, action: Action, target: &Target<'_>) -> Vec<Named> {
        let own = match target {
            Target::Hub => None,
            Target::Registration(facts) => Some(facts.registration.id),
            Target::Key { registration, .. } => Some(registration.registration.id),
        };
        let whats: Vec<What> = self.policies.engine().hub.whats(target);
        let bundle = &self.active.bundle;
        let named = bundle.index.naming(action, &whats).filter_map(|(at, who)| {
            let info = &bundle.policies.get(at)?.info;
            let participant = match who {
                Who::Participant(id) => Some(id),
                // Everybody of the hub is asked about.
                Who::Role(None, _) => return None,
                Who::Role(Some(registration), _) if Some(registration) == own => return None,
                Who::Role(Some(_), _) => None,
            };
            let permit = info.effect == Effect::Permit;
            permit.then(|| Named { policy: Arc::clone(&info.id), participant })
        });
        named.collect()
    }
}

fn stranger(caller: &Caller, kind: ParticipantKind) -> Participant {
    let somebody = caller.participant();
    Participant {
        id: ParticipantId::generate(),
        registration: RegistrationId::generate(),
        kind,
        suspended: false,
        tags: Tags::default(),
        roles: Vec::new(),
        ..somebody.clone()
    }
}

/// What the policies of a slice say before the context is known.
#[derive(Debug, Default)]
struct Found {
    certain: Votes,
    permits: Vec<Arc<str>>,
    forbids: Vec<Arc<str>>,
    /// Grants that apply in some context. They hold no condition that could err.
    grants: Vec<Arc<str>>,
}

impl Found {
    fn prospect(mut self, from_here: bool) -> Prospect {
        let certain = &mut self.certain;
        let mut conditions = Vec::new();
        let (certainty, mut policies) = if !certain.errors.is_empty() || !certain.forbids.is_empty()
        {
            (Certainty::Never, std::mem::take(&mut certain.forbids))
        } else if certain.permits.is_empty() && self.permits.is_empty() && self.grants.is_empty() {
            (Certainty::Never, Vec::new())
        } else if self.forbids.is_empty() && self.permits.is_empty() && !certain.permits.is_empty()
        {
            (Certainty::Always, std::mem::take(&mut certain.permits))
        } else {
            conditions.append(&mut self.forbids);
            conditions.append(&mut self.permits);
            conditions.append(&mut self.grants);
            (Certainty::Conditional, std::mem::take(&mut certain.permits))
        };
        for list in [&mut policies, &mut conditions, &mut certain.errors] {
            list.sort();
            list.dedup();
        }
        let errors = std::mem::take(&mut certain.errors);
        Prospect { certainty, policies, conditions, errors, from_here }
    }
}

impl Split {
    fn of(bundle: &Bundle, part: &Part) -> Result<Self, Error> {
        let (mut certain, mut permits, mut forbids) = (Vec::new(), Vec::new(), Vec::new());
        for &at in &part.members {
            let Some(parsed) = bundle.policies.get(at) else { continue };
            if !bundle.index.reads_context(at) {
                certain.push(Rule::for_its_actions(&parsed.policy));
                continue;
            }
            let beginning = Rule::for_its_actions(&beginning(&parsed.policy)?);
            match parsed.info.effect {
                Effect::Permit => permits.push(beginning),
                Effect::Forbid => forbids.push(beginning),
            }
        }
        Ok(Self { certain, permits, forbids })
    }
}

/// A policy as far as it can be told without the context: its scope, and of its conditions those
/// that stand before the first that reads it.
fn beginning(policy: &Policy) -> Result<Policy, Error> {
    let broken = |error: &dyn std::fmt::Display| Error::Schema(error.to_string());
    let id: PolicyId = policy.id().clone();
    let mut whole = policy.to_json().map_err(|error| broken(&error))?;
    let clauses = whole.get_mut("conditions").and_then(Value::as_array_mut);
    let mut kept = Vec::new();
    for clause in clauses.map(std::mem::take).unwrap_or_default() {
        if !crate::index::mentions_context(&clause) {
            kept.push(clause);
            continue;
        }
        let when = clause.get("kind").and_then(Value::as_str) == Some("when");
        if let Some(body) = clause.get("body").filter(|_| when) {
            let mut conjuncts = Vec::new();
            flatten(body, &mut conjuncts);
            let known =
                conjuncts.into_iter().take_while(|one| !crate::index::mentions_context(one));
            kept.extend(known.map(|one| json!({ "kind": "when", "body": one })));
        }
        break;
    }
    if let Some(whole) = whole.as_object_mut() {
        whole.insert("conditions".to_owned(), Value::Array(kept));
    }
    Policy::from_json(Some(id), whole).map_err(|error| broken(&error))
}

/// The conjuncts of `a && b && …`, in the order they are evaluated in.
fn flatten<'a>(expression: &'a Value, into: &mut Vec<&'a Value>) {
    let both = expression.get("&&").and_then(|and| Some((and.get("left")?, and.get("right")?)));
    match both {
        Some((left, right)) => {
            flatten(left, into);
            flatten(right, into);
        }
        None => into.push(expression),
    }
}
