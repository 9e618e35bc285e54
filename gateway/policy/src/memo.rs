//! Decisions remembered, where that is sound: when no policy that was looked at reads `context`, and
//! no grant that was looked at has an end or asks for pairs of the encryption context.
//!
//! INVARIANT: such a decision is a function of the policy set and of the entities, and the key
//! below names each of those by id and store revision: the participant with its roles and state,
//! the target and its registration. The hub's entity never changes. Each policy set has a memo of
//! its own, so an activation forgets everything.

use std::sync::Arc;

use cedar_policy::{Entities, Entity};
use hub_model::{Action, ParticipantId};
use moka::sync::Cache;

use crate::decide::{Asker, Target};
use crate::entities::Unsayable;
use crate::grants::Link;
use crate::permit::DecisionTrace;

/// Decisions kept per policy set, about 200 bytes each.
const CAPACITY: u64 = 100_000;
/// Sets of entities kept, about 4 KiB each.
const WORLDS: u64 = 5_000;

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

/// The entities of one participant, action and target, as Cedar takes them. They depend on the
/// memo's key alone, so decisions that do read the context still find them made.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) list: Vec<Entity>,
    pub(crate) entities: Entities,
    /// The grants for this participant and action on this target; they change with its revision.
    pub(crate) links: Vec<Link>,
}

/// The remembered entities, for any policy set.
#[derive(Debug)]
pub(crate) struct Worlds(Cache<Key, Arc<World>>);

impl Worlds {
    pub(crate) fn new() -> Self {
        Self(Cache::new(WORLDS))
    }

    pub(crate) fn recall(
        &self,
        key: Key,
        make: impl FnOnce() -> Result<World, Unsayable>,
    ) -> Result<Arc<World>, Unsayable> {
        if let Some(world) = self.0.get(&key) {
            return Ok(world);
        }
        let world = Arc::new(make()?);
        self.0.insert(key, Arc::clone(&world));
        Ok(world)
    }
}
