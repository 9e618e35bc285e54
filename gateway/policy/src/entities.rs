//! Participant and target as Cedar entities, by typed construction: nothing of a request passes
//! through a parser of policies or JSON, and nothing is interpreted.
//!
//! INVARIANT: every entity here names all its ancestors, since Cedar is told not to look for more:
//! a participant is in its roles, which are in nothing; a key is in its registration and in the
//! hub. Development builds have Cedar check that, and every type against the schema.

use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy_core::ast::{Eid, Entity, EntityUID, PartialValue, Value};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use hub_model::{
    Action, HubId, Key, Participant, Registration, RegistrationId, Role, RoleGrant, Tags,
};

use crate::decide::{RegistrationFacts, Target};
use crate::index::{What, Who};
use crate::memo::{self, World, Worlds};
use crate::schema::Words;

/// Something could not be said in Cedar; the request is denied.
#[derive(Debug)]
pub(crate) struct Unsayable(pub(crate) String);

impl<E: std::error::Error> From<E> for Unsayable {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// An entity and its uid, each shared by all who speak of it.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) uid: Arc<EntityUID>,
    pub(crate) entity: Arc<Entity>,
}

impl Said {
    fn new<const N: usize>(
        uid: &Arc<EntityUID>,
        attributes: [(&'static str, Value); N],
        parents: HashSet<EntityUID>,
        further: HashSet<EntityUID>,
        tags: Option<&Tags>,
    ) -> Self {
        let attributes = attributes.map(|(name, value)| (name.into(), value.into()));
        let tags = tags.into_iter().flat_map(Tags::iter);
        let tags = tags.map(|(name, value)| (name.into(), PartialValue::from(value)));
        let name = EntityUID::clone(uid);
        let entity = Entity::new_with_attr_partial_value(name, attributes, further, parents, tags);
        Self { uid: Arc::clone(uid), entity: Arc::new(entity) }
    }
}

/// An entity of this type with this id.
pub(crate) fn uid(kind: &cedar_policy::EntityTypeName, id: impl AsRef<str>) -> EntityUID {
    EntityUID::from_components(kind.as_ref().clone(), Eid::new(id.as_ref()), None)
}

/// The hub, whose entity is the same for every request.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) id: HubId,
    /// The registration whose participants run the hub.
    pub(crate) registration: RegistrationId,
    said: Said,
}

impl Hub {
    pub(crate) fn new(words: &Words, id: HubId, registration: RegistrationId) -> Self {
        let uid = Arc::new(uid(&words.hub, id.to_string()));
        let roles = [("admins", Role::Admins), ("auditors", Role::Auditors)];
        let roles = roles.map(|(name, role)| (name, self::role(words, "hub", role)));
        let roles = Value::record(roles, None);
        let (parents, further) = Default::default();
        let said = Said::new(&uid, [("roles", roles)], parents, further, None);
        Self { id, registration, said }
    }

    /// Where a grant is filed: roles of the hub's registration are the hub's roles.
    pub(crate) fn who(&self, grant: &RoleGrant) -> Who {
        let own = grant.registration == self.registration;
        Who::Role((!own).then_some(grant.registration), grant.role)
    }

    /// The target and everything it is in, innermost first.
    pub(crate) fn whats(&self, target: &Target<'_>) -> Vec<What> {
        let mut whats = Vec::with_capacity(3);
        match target {
            Target::Hub => {}
            Target::Registration(facts) => whats.push(What::Registration(facts.registration.id)),
            Target::Key { key, registration, .. } => {
                whats.push(What::Key(key.id));
                whats.push(What::Registration(registration.registration.id));
            }
        }
        whats.push(What::Hub(self.id));
        whats
    }

    /// What role ids of a registration start with.
    fn prefix(&self, registration: RegistrationId) -> String {
        if registration == self.registration { "hub".to_owned() } else { registration.to_string() }
    }

    /// The participant with its role parents.
    pub(crate) fn participant(&self, words: &Words, participant: &Participant) -> Said {
        let uid = uid(words.participant(participant.kind), participant.id.to_string());
        let parents = participant.roles.iter().map(|grant| {
            let prefix = self.prefix(grant.registration);
            role_uid(words, &prefix, grant.role)
        });
        let attributes = [
            ("name", participant.name.as_str().into()),
            ("suspended", participant.suspended.into()),
        ];
        let further = HashSet::new();
        let tags = Some(&participant.tags);
        Said::new(&Arc::new(uid), attributes, parents.collect(), further, tags)
    }

    /// A registration with the names of its roles.
    pub(crate) fn registration(&self, words: &Words, registration: &Registration) -> Said {
        let own = registration.id == self.registration;
        let prefix = self.prefix(registration.id);
        let roles = [
            ("owners", if own { Role::Admins } else { Role::Owners }),
            ("operators", Role::Operators),
            ("rotators", Role::Rotators),
            ("auditors", Role::Auditors),
            ("apps", Role::Apps),
        ];
        let roles = roles.map(|(name, role)| (name, self::role(words, &prefix, role)));
        let attributes = [
            ("name", registration.name.as_str().into()),
            ("environment", uid(&words.environment, registration.environment.name()).into()),
            ("frozen", registration.frozen.into()),
            ("frozenByHub", registration.frozen_by_hub.into()),
            ("hub", own.into()),
            ("roles", Value::record(roles, None)),
        ];
        let parents = HashSet::from([EntityUID::clone(&self.said.uid)]);
        let uid = Arc::new(uid(&words.registration, registration.id.to_string()));
        Said::new(&uid, attributes, parents, HashSet::new(), Some(&registration.tags))
    }

    /// A key's facts.
    pub(crate) fn key(&self, words: &Words, key: &Key, registration: &Arc<EntityUID>) -> Said {
        let attributes = [
            ("name", key.name.as_str().into()),
            ("registration", Arc::clone(registration).into()),
            ("purpose", uid(&words.key_purpose, key.purpose().name()).into()),
            ("state", uid(&words.key_state, key.state.name()).into()),
            ("algorithm", key.algorithm.name().into()),
            ("exportable", key.exportable.into()),
        ];
        let parents = HashSet::from([EntityUID::clone(registration)]);
        let further = HashSet::from([EntityUID::clone(&self.said.uid)]);
        let uid = Arc::new(uid(&words.key, key.id.to_string()));
        Said::new(&uid, attributes, parents, further, Some(&key.tags))
    }

    /// Everything level 2 can reach from a request on `target`. Participant and registration are
    /// remembered in `worlds`, where there is one.
    pub(crate) fn entities(
        &self,
        words: &Words,
        participant: &Participant,
        action: Action,
        target: &Target<'_>,
        worlds: Option<(&Worlds, memo::Key)>,
    ) -> Result<World, Unsayable> {
        // INVARIANT: Cedar learns from this entity, not from the schema, which groups the action
        // is in; without it every guard on a group would be silent.
        let unknown = || Unsayable("unknown action".to_owned());
        let action = words.said(action).ok_or_else(unknown)?;
        let principal = match worlds {
            Some((worlds, key)) => worlds.participant(key, || self.participant(words, participant)),
            None => self.participant(words, participant),
        };
        let registration = |facts: &RegistrationFacts| match worlds {
            Some((worlds, key)) => {
                worlds.registration(key, || self.registration(words, &facts.registration))
            }
            None => self.registration(words, &facts.registration),
        };
        let mut list = Vec::with_capacity(4);
        list.push(Arc::clone(&action.entity));
        list.push(principal.entity);
        let resource = match target {
            Target::Hub => self.said.clone(),
            Target::Registration(facts) => registration(facts),
            Target::Key { key, registration: facts, .. } => {
                // INVARIANT: below, the key lies in the registration whose facts these are.
                if key.registration != facts.registration.id {
                    return Err(Unsayable("the key is not of this registration".to_owned()));
                }
                let registration = registration(facts);
                let key = self.key(words, key, &registration.uid);
                list.push(registration.entity);
                key
            }
        };
        list.push(resource.entity);
        // Development builds check the types of everything against the schema, and then decide
        // with the same entities as release builds: given a schema, Cedar would add some.
        if cfg!(debug_assertions) {
            let all = list.iter().map(|entity| Entity::clone(entity).into());
            cedar_policy::Entities::from_entities(all, Some(&words.schema))?;
        }
        let entities = joined(Entities::new(), list)?;
        let (action, resource) = (Arc::clone(&action.uid), resource.uid);
        Ok(World { principal: principal.uid, action, resource, entities, links: None })
    }
}

/// More entities, whose ancestors are complete.
pub(crate) fn joined(
    entities: Entities,
    more: impl IntoIterator<Item = Arc<Entity>>,
) -> Result<Entities, Unsayable> {
    let closure = if cfg!(debug_assertions) {
        TCComputation::EnforceAlreadyComputed
    } else {
        TCComputation::AssumeAlreadyComputed
    };
    let schema = None::<&NoEntitiesSchema>;
    Ok(entities.add_entities(more, schema, closure, Extensions::all_available())?)
}

fn role_uid(words: &Words, prefix: &str, role: Role) -> EntityUID {
    uid(&words.role, format!("{prefix}/{}", role.name()))
}

fn role(words: &Words, prefix: &str, role: Role) -> Value {
    role_uid(words, prefix, role).into()
}
