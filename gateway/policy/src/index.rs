//! Which policies can matter to a request, found by its scope and not by scanning.
//!
//! At activation every policy is filed under each action and kind of participant its scope allows,
//! and there under the principal or role and the resource its scope names. Policies filed together
//! become one prebuilt [`Part`]. A request looks up the few places it could match; the parts it
//! finds are evaluated one by one and their results joined, which Cedar's rule allows: any forbid
//! denies, else any permit permits.
//!
//! INVARIANT: a part that is left out holds only policies whose scope does not match the request,
//! and Cedar gives such a policy neither an effect nor an error. Finding too much is harmless where
//! principal and resource are concerned, which rules still ask for; the action is exact.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint,
};
use hub_model::action::ResourceKind;
use hub_model::{Action, HubId, KeyId, ParticipantId, ParticipantKind, RegistrationId, Role};

use crate::rule::Rule;
use crate::schema::Words;
use crate::source::Parsed;

const KINDS: [ParticipantKind; 3] =
    [ParticipantKind::User, ParticipantKind::Service, ParticipantKind::Device];

/// What the scope of a policy can name on the side of the principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// One participant.
    Participant(ParticipantId),
    /// The members of a role of a registration; of the hub, when there is none.
    Role(Option<RegistrationId>, Role),
}

/// What the scope of a policy can name on the side of the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Key(KeyId),
    Registration(RegistrationId),
    Hub(HubId),
}

/// Policies that are always looked at together.
#[derive(Debug)]
pub(crate) struct Part {
    rules: Vec<Arc<Rule>>,
    /// Which policies they are, by their place in the list of all.
    pub(crate) members: Vec<usize>,
    /// Whether the result depends on more than caller, action and target.
    pub(crate) reads_context: bool,
    /// Whether tags of the encryption context matter.
    reads_pairs: bool,
}

/// All policies, by scope.
#[derive(Debug)]
pub(crate) struct Index {
    /// In the order of the policies.
    pub(crate) scopes: Vec<Scope>,
    /// Which read the context, in the same order.
    reads: Vec<Reads>,
    slots: Vec<Slot>,
}

/// The policies for one action and one kind of participant.
#[derive(Debug, Default)]
struct Slot {
    /// Those that name nobody and nothing.
    base: Option<Arc<Part>>,
    /// The others.
    named: HashMap<(Option<Who>, Option<What>), Arc<Part>>,
    /// Every principal side in `named`, so that a request asks only for those that occur.
    whos: HashSet<Who>,
    /// Every resource side in `named`.
    whats: HashSet<What>,
}

/// The parts a request has to look at.
pub(crate) struct Slice<'a> {
    pub(crate) parts: Vec<&'a Part>,
    pub(crate) reads_context: bool,
    pub(crate) reads_pairs: bool,
}

impl Index {
    pub(crate) fn build(words: &Words, policies: &[Arc<Parsed>]) -> Self {
        let scopes: Vec<Scope> = policies.iter().map(|p| Scope::of(words, &p.policy)).collect();
        let mut places: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, scope) in scopes.iter().enumerate() {
            let (Some(who), Some(what)) = (scope.principal.place(), scope.resource.place()) else {
                continue;
            };
            for &action in &scope.actions {
                for &kind in &scope.kinds {
                    places.entry((slot_of(action, kind), who, what)).or_default().push(at);
                }
            }
        }
        let reads: Vec<Reads> = policies.iter().map(|p| Reads::of(&p.policy)).collect();
        // INVARIANT: a policy is filed only under actions for which its scope holds, so its rule
        // need not ask for the action again.
        let rule = |parsed: &Arc<Parsed>| Arc::new(Rule::for_its_actions(&parsed.policy));
        let rules: Vec<Arc<Rule>> = policies.iter().map(rule).collect();
        let mut made: HashMap<Vec<usize>, Arc<Part>> = HashMap::new();
        let mut slots: Vec<Slot> = Vec::new();
        slots.resize_with(Action::ALL.len() * KINDS.len(), Slot::default);
        for ((slot, who, what), members) in places {
            let part = match made.get(&members) {
                Some(part) => Arc::clone(part),
                None => {
                    let part = Arc::new(Part::build(&rules, &reads, &members));
                    made.insert(members, Arc::clone(&part));
                    part
                }
            };
            let Some(slot) = slots.get_mut(slot) else { continue };
            if (who, what) == (None, None) {
                slot.base = Some(part);
            } else {
                slot.whos.extend(who);
                slot.whats.extend(what);
                slot.named.insert((who, what), part);
            }
        }
        Self { scopes, reads, slots }
    }

    /// The parts for a request: `whos` are the participant and its roles, `whats` the resource and
    /// everything it is in.
    pub(crate) fn slice(
        &self,
        action: Action,
        kind: ParticipantKind,
        whos: impl Iterator<Item = Who>,
        whats: &[What],
    ) -> Slice<'_> {
        let mut parts: Vec<&Part> = Vec::new();
        if let Some(slot) = self.slots.get(slot_of(action, kind)) {
            parts.extend(slot.base.as_deref());
            if !slot.named.is_empty() {
                let whats: Vec<Option<What>> = std::iter::once(None)
                    .chain(whats.iter().filter(|what| slot.whats.contains(what)).copied().map(Some))
                    .collect();
                let whos = whos.filter(|who| slot.whos.contains(who)).map(Some);
                for who in std::iter::once(None).chain(whos) {
                    let found = whats.iter().filter_map(|what| slot.named.get(&(who, *what)));
                    parts.extend(found.map(Arc::as_ref));
                }
            }
        }
        let reads_context = parts.iter().any(|part| part.reads_context);
        let reads_pairs = parts.iter().any(|part| part.reads_pairs);
        Slice { parts, reads_context, reads_pairs }
    }

    /// Whether a policy reads the context.
    pub(crate) fn reads_context(&self, at: usize) -> bool {
        self.reads.get(at).is_none_or(|reads| reads.context)
    }

    /// The policies whose scope matches the action and one of these resources, and names somebody.
    pub(crate) fn naming(
        &self,
        action: Action,
        whats: &[What],
    ) -> impl Iterator<Item = (usize, Who)> {
        self.scopes.iter().enumerate().filter_map(move |(at, scope)| {
            let Side::One(who) = scope.principal else { return None };
            let here = match scope.resource {
                Side::Any => true,
                Side::One(what) => whats.contains(&what),
                Side::Never => false,
            };
            (here && scope.actions.contains(&action)).then_some((at, who))
        })
    }

    /// Whether every decision of this action reads the context, so that the memo cannot know it.
    pub(crate) fn always_reads_context(&self, action: Action, kind: ParticipantKind) -> bool {
        let slot = self.slots.get(slot_of(action, kind));
        slot.and_then(|slot| slot.base.as_ref()).is_some_and(|base| base.reads_context)
    }
}

impl Part {
    fn build(rules: &[Arc<Rule>], reads: &[Reads], members: &[usize]) -> Self {
        let reads =
            |what: fn(&Reads) -> bool| members.iter().any(|&at| reads.get(at).is_none_or(what));
        Self {
            rules: members.iter().filter_map(|&at| rules.get(at)).map(Arc::clone).collect(),
            members: members.to_vec(),
            reads_context: reads(|r| r.context),
            reads_pairs: reads(|r| r.pairs),
        }
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(Arc::as_ref)
    }
}

const fn slot_of(action: Action, kind: ParticipantKind) -> usize {
    action as usize * KINDS.len() + kind as usize
}

/// What a policy's head says: to whom, to what and for which actions it can apply.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) actions: Vec<Action>,
    kinds: Vec<ParticipantKind>,
    principal: Side<Who>,
    resource: Side<What>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side<T> {
    Any,
    One(T),
    /// An id that this hub does not give.
    Never,
}

impl<T: Copy> Side<T> {
    const fn place(&self) -> Option<Option<T>> {
        match self {
            Self::Any => Some(None),
            Self::One(named) => Some(Some(*named)),
            Self::Never => None,
        }
    }

    fn of(named: Option<T>) -> Self {
        named.map_or(Self::Never, Self::One)
    }
}

impl Scope {
    fn of(words: &Words, policy: &Policy) -> Self {
        let (principal, kind) = match policy.principal_constraint() {
            PrincipalConstraint::Any => (Side::Any, None),
            PrincipalConstraint::Is(kind) => (Side::Any, Some(kind)),
            // Nobody is a role, but people are in one.
            PrincipalConstraint::Eq(uid) if *uid.type_name() == words.role => (Side::Never, None),
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) => {
                (Side::of(who(words, &uid)), None)
            }
            PrincipalConstraint::IsIn(kind, uid) => (Side::of(who(words, &uid)), Some(kind)),
        };
        let (resource, resource_type) = match policy.resource_constraint() {
            ResourceConstraint::Any => (Side::Any, None),
            ResourceConstraint::Is(kind) => (Side::Any, Some(kind)),
            ResourceConstraint::Eq(uid) => {
                (Side::of(what(words, &uid)), Some(uid.type_name().clone()))
            }
            ResourceConstraint::In(uid) => (Side::of(what(words, &uid)), None),
            ResourceConstraint::IsIn(kind, uid) => (Side::of(what(words, &uid)), Some(kind)),
        };
        let named = policy.action_constraint();
        let in_scope = |action: Action| match &named {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => words.action(action) == Some(uid),
            ActionConstraint::In(uids) => uids.iter().any(|uid| words.action_in(action, uid)),
        };
        let on_type = |action: Action| {
            resource_type.as_ref().is_none_or(|kind| resource_kind(words, action) == kind)
        };
        Self {
            actions: Action::ALL.iter().copied().filter(|a| in_scope(*a) && on_type(*a)).collect(),
            kinds: KINDS
                .into_iter()
                .filter(|k| kind.as_ref().is_none_or(|kind| words.participant(*k) == kind))
                .collect(),
            principal,
            resource,
        }
    }

    /// Whether some request of this kind of participant for this action can match.
    pub(crate) fn meets(&self, action: Action, kind: ParticipantKind) -> bool {
        self.actions.contains(&action) && self.kinds.contains(&kind) && !self.unreachable()
    }

    /// Whether every request that `other` matches is matched by this scope. It may say no where
    /// it is so, never yes where it is not.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let all = |own: &[Action], others: &[Action]| others.iter().all(|a| own.contains(a));
        all(&self.actions, &other.actions)
            && other.kinds.iter().all(|kind| self.kinds.contains(kind))
            && (self.principal == Side::Any || self.principal == other.principal)
            && (self.resource == Side::Any || self.resource == other.resource)
            && !self.unreachable()
    }

    /// Whether no request can match.
    pub(crate) fn unreachable(&self) -> bool {
        self.principal == Side::Never
            || self.resource == Side::Never
            || self.actions.is_empty()
            || self.kinds.is_empty()
    }
}

fn resource_kind(words: &Words, action: Action) -> &EntityTypeName {
    match action.resource_kind() {
        ResourceKind::Hub => &words.hub,
        ResourceKind::Registration => &words.registration,
        ResourceKind::Key => &words.key,
    }
}

/// The value whose text is exactly `text`. Ids and roles have one spelling each, and what is
/// spelled otherwise names nothing.
fn exact<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|value: &T| value.to_string() == text)
}

fn who(words: &Words, uid: &EntityUid) -> Option<Who> {
    let (kind, id) = (uid.type_name(), uid.id().unescaped());
    if *kind == words.role {
        let (registration, role) = id.split_once('/')?;
        let registration = match registration {
            "hub" => None,
            other => Some(exact(other)?),
        };
        return Some(Who::Role(registration, exact(role)?));
    }
    KINDS
        .iter()
        .any(|k| words.participant(*k) == kind)
        .then(|| exact(id).map(Who::Participant))
        .flatten()
}

fn what(words: &Words, uid: &EntityUid) -> Option<What> {
    let (kind, id) = (uid.type_name(), uid.id().unescaped());
    if *kind == words.key {
        exact(id).map(What::Key)
    } else if *kind == words.registration {
        exact(id).map(What::Registration)
    } else if *kind == words.hub {
        exact(id).map(What::Hub)
    } else {
        None
    }
}

/// Whether a part of a policy in JSON mentions the context.
pub(crate) fn mentions_context(json: &serde_json::Value) -> bool {
    let mut reads = Reads { context: false, pairs: false };
    reads.walk(json);
    reads.context
}

/// What of the request a policy mentions, by its JSON form. What cannot be read mentions all.
#[derive(Clone, Copy, Debug)]
struct Reads {
    context: bool,
    /// The encryption context: there is no way to its tags but by this attribute's name.
    pairs: bool,
}

impl Reads {
    fn of(policy: &Policy) -> Self {
        let mut reads = Self { context: false, pairs: false };
        match policy.to_json() {
            Ok(json) => reads.walk(&json),
            Err(_) => reads = Self { context: true, pairs: true },
        }
        reads
    }

    fn walk(&mut self, value: &serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    self.context |= name == "Var" && value.as_str() == Some("context");
                    self.walk(value);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            serde_json::Value::String(text) => self.pairs |= text == "encryptionContext",
            _ => {}
        }
    }
}
