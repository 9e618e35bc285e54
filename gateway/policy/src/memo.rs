//! Decisions remembered, where that is sound: when no policy that was looked at reads `context`, and
//! no grant that was looked at has an end or asks for pairs of the encryption context.
//!
//! INVARIANT: such a decision is a function of the policy set and of the entities, and the key
//! below names each of those by id and store revision: the participant with its roles and state,
//! the target and its registration. The hub's entity never changes. Each policy set has a memo of
//! its own, so an activation forgets everything.

use std::hash::Hash;
use std::sync::Arc;

use cedar_policy_core::ast::{Context, EntityUID, EntityUIDEntry, Request};
use cedar_policy_core::entities::Entities;
use hub_model::{Action, ParticipantId};
use moka::sync::Cache;

use crate::decide::{Asker, Target};
use crate::entities::{Said, Unsayable};
use crate::grants::Links;
use crate::permit::DecisionTrace;

/// Decisions kept per policy set, about 200 bytes each.
const CAPACITY: u64 = 100_000;
/// Sets of entities kept, about 4 KiB each.
const WORLDS: u64 = 5_000;
/// Entities of participants and of registrations kept, about 2 KiB each.
const ENTITIES: u64 = 5_000;

/// A decision without its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) permitted: bool,
    pub(crate) trace: Arc<DecisionTrace>,
}

/// Everything a context-free decision depends on, besides the policy set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    participant: ParticipantId,
    participant_revision: u64,
    action: Action,
    target: [u8; 16],
    target_revision: u64,
    registration: [u8; 16],
    registration_revision: u64,
}

impl Key {
    pub(crate) fn of(asker: &Asker<'_>, action: Action, target: &Target<'_>) -> Self {
        // The action fixes the kind of target, so ids of two kinds do not meet under one key.
        let (target, target_revision, registration, registration_revision) = match target {
            Target::Hub => ([0; 16], 0, [0; 16], 0),
            Target::Registration(facts) => {
                let id = *facts.registration.id.as_bytes();
                (id, facts.revision, id, facts.revision)
            }
            Target::Key { key, revision, registration } => (
                *key.id.as_bytes(),
                *revision,
                *registration.registration.id.as_bytes(),
                registration.revision,
            ),
        };
        Self {
            participant: asker.participant.id,
            participant_revision: asker.revision,
            action,
            target,
            target_revision,
            registration,
            registration_revision,
        }
    }
}

/// The remembered decisions of one policy set.
#[derive(Debug)]
pub(crate) struct Memo(Cache<Key, Outcome>);

impl Memo {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    pub(crate) fn recall(&self, key: &Key) -> Option<Outcome> {
        self.0.get(key)
    }

    pub(crate) fn remember(&self, key: Key, outcome: Outcome) {
        self.0.insert(key, outcome);
    }
}

/// A request without its context, and the entities it is decided over. All depend on the memo's key
/// alone, so decisions that do read the context still find them made.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) principal: Arc<EntityUID>,
    pub(crate) action: Arc<EntityUID>,
    pub(crate) resource: Arc<EntityUID>,
    pub(crate) entities: Entities,
    /// The grants for this participant and action on this target; they change with its revision.
    pub(crate) links: Option<Links>,
}

impl World {
    /// The request in this context.
    pub(crate) fn request(&self, context: Context) -> Request {
        let known =
            |uid: &Arc<EntityUID>| EntityUIDEntry::Known { euid: Arc::clone(uid), loc: None };
        let (principal, action) = (known(&self.principal), known(&self.action));
        Request::new_unchecked(principal, action, known(&self.resource), Some(context))
    }
}

/// What was made for decisions, for any policy set.
#[derive(Debug)]
pub(crate) struct Worlds {
    worlds: Cache<Key, Arc<World>>,
    /// By id and store revision.
    participants: Cache<(ParticipantId, u64), Said>,
    registrations: Cache<([u8; 16], u64), Said>,
}

impl Worlds {
    pub(crate) fn new() -> Self {
        Self {
            worlds: Cache::new(WORLDS),
            participants: Cache::new(ENTITIES),
            registrations: Cache::new(ENTITIES),
        }
    }

    pub(crate) fn recall(
        &self,
        key: Key,
        make: impl FnOnce() -> Result<World, Unsayable>,
    ) -> Result<Arc<World>, Unsayable> {
        if let Some(world) = self.worlds.get(&key) {
            return Ok(world);
        }
        let world = Arc::new(make()?);
        self.worlds.insert(key, Arc::clone(&world));
        Ok(world)
    }

    /// The participant of `key`.
    pub(crate) fn participant(&self, key: Key, make: impl FnOnce() -> Said) -> Said {
        recall(&self.participants, (key.participant, key.participant_revision), make)
    }

    /// The registration of `key`.
    pub(crate) fn registration(&self, key: Key, make: impl FnOnce() -> Said) -> Said {
        recall(&self.registrations, (key.registration, key.registration_revision), make)
    }
}

fn recall<K>(cache: &Cache<K, Said>, key: K, make: impl FnOnce() -> Said) -> Said
where
    K: Eq + Hash + Send + Sync + 'static,
{
    if let Some(said) = cache.get(&key) {
        return said;
    }
    let said = make();
    cache.insert(key, said.clone());
    said
}
