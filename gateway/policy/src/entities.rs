//! Participant, target and request facts as Cedar entities and context, by typed construction:
//! nothing of a request passes through a parser of policies or JSON.

use cedar_policy::{
    Context, Entities, Entity, EntityUid, Request, RestrictedExpression as Expression,
};
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, HubId, Key, Participant, Registration, RegistrationId, Role, RoleGrant, Tags, Timestamp,
};

use crate::decide::{Asker, RequestFacts, Target};
use crate::index::{What, Who};
use crate::memo::World;
use crate::schema::{Words, uid};

/// Something could not be said in Cedar; the request is denied.
#[derive(Debug)]
pub(crate) struct Unsayable(pub(crate) String);

impl<E: std::error::Error> From<E> for Unsayable {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The hub, whose entity is the same for every request.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) id: HubId,
    /// The registration whose participants run the hub.
    pub(crate) registration: RegistrationId,
    uid: EntityUid,
    entity: Entity,
}

impl Hub {
    pub(crate) fn new(
        words: &Words,
        id: HubId,
        registration: RegistrationId,
    ) -> Result<Self, Unsayable> {
        let uid = uid(&words.hub, id.to_string());
        let roles = Expression::new_record([
            ("admins".to_owned(), role(words, "hub", Role::Admins)),
            ("auditors".to_owned(), role(words, "hub", Role::Auditors)),
        ])?;
        let entity = Entity::new_with_tags(uid.clone(), [("roles".to_owned(), roles)], [], [])?;
        Ok(Self { id, registration, uid, entity })
    }

    #[cfg(test)]
    pub(crate) const fn entity(&self) -> &Entity {
        &self.entity
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
    pub(crate) fn participant(
        &self,
        words: &Words,
        participant: &Participant,
    ) -> Result<Entity, Unsayable> {
        let parents = participant.roles.iter().map(|grant| {
            let prefix = self.prefix(grant.registration);
            uid(&words.role, format!("{prefix}/{}", grant.role.name()))
        });
        Ok(Entity::new_with_tags(
            participant_uid(words, participant),
            [
                ("name".to_owned(), Expression::new_string(participant.name.as_str().to_owned())),
                ("suspended".to_owned(), Expression::new_bool(participant.suspended)),
            ],
            parents,
            tags(&participant.tags),
        )?)
    }

    /// A registration with the names of its roles.
    pub(crate) fn registration(
        &self,
        words: &Words,
        registration: &Registration,
    ) -> Result<Entity, Unsayable> {
        let own = registration.id == self.registration;
        let prefix = self.prefix(registration.id);
        let owners = if own { Role::Admins } else { Role::Owners };
        let roles = Expression::new_record([
            ("owners".to_owned(), role(words, &prefix, owners)),
            ("operators".to_owned(), role(words, &prefix, Role::Operators)),
            ("rotators".to_owned(), role(words, &prefix, Role::Rotators)),
            ("auditors".to_owned(), role(words, &prefix, Role::Auditors)),
            ("apps".to_owned(), role(words, &prefix, Role::Apps)),
        ])?;
        let environment = uid(&words.environment, registration.environment.name());
        Ok(Entity::new_with_tags(
            registration_uid(words, registration.id),
            [
                ("name".to_owned(), Expression::new_string(registration.name.as_str().to_owned())),
                ("environment".to_owned(), Expression::new_entity_uid(environment)),
                ("frozen".to_owned(), Expression::new_bool(registration.frozen)),
                ("hub".to_owned(), Expression::new_bool(own)),
                ("roles".to_owned(), roles),
            ],
            [self.uid.clone()],
            tags(&registration.tags),
        )?)
    }

    /// Everything level 2 can reach from a request on `target`.
    pub(crate) fn entities(
        &self,
        words: &Words,
        participant: &Participant,
        action: Action,
        target: &Target<'_>,
    ) -> Result<World, Unsayable> {
        let mut list = Vec::with_capacity(5);
        // INVARIANT: Cedar learns from this entity, not from the schema, which groups the action
        // is in; without it every guard on a group would be silent.
        let unknown = || Unsayable("unknown action".to_owned());
        list.push(words.action_entity(action).ok_or_else(unknown)?.clone());
        list.push(self.participant(words, participant)?);
        match target {
            Target::Hub => list.push(self.entity.clone()),
            Target::Registration(facts) => {
                list.push(self.registration(words, &facts.registration)?);
            }
            Target::Key { key: facts, registration, .. } => {
                list.push(self.registration(words, &registration.registration)?);
                list.push(key(words, facts)?);
            }
        }
        // Development builds check the types of everything against the schema, and then decide
        // with the same entities as release builds: given a schema, Cedar would add some.
        if cfg!(debug_assertions) {
            Entities::from_entities(list.clone(), Some(&words.schema))?;
        }
        let entities = Entities::from_entities(list.clone(), None)?;
        Ok(World { list, entities })
    }

    /// The request itself.
    pub(crate) fn request(
        &self,
        words: &Words,
        participant: &Participant,
        action: Action,
        target: &Target<'_>,
        context: Context,
    ) -> Result<Request, Unsayable> {
        let resource = match target {
            Target::Hub => self.uid.clone(),
            Target::Registration(facts) => registration_uid(words, facts.registration.id),
            Target::Key { key, .. } => uid(&words.key, key.id.to_string()),
        };
        let action =
            words.action(action).ok_or_else(|| Unsayable("unknown action".to_owned()))?.clone();
        Ok(Request::new(participant_uid(words, participant), action, resource, context, None)?)
    }
}

fn participant_uid(words: &Words, participant: &Participant) -> EntityUid {
    uid(words.participant(participant.kind), participant.id.to_string())
}

fn registration_uid(words: &Words, id: RegistrationId) -> EntityUid {
    uid(&words.registration, id.to_string())
}

fn role(words: &Words, prefix: &str, role: Role) -> Expression {
    Expression::new_entity_uid(uid(&words.role, format!("{prefix}/{}", role.name())))
}

fn tags(tags: &Tags) -> impl Iterator<Item = (String, Expression)> {
    tags.iter().map(|(name, value)| (name.to_owned(), Expression::new_string(value.to_owned())))
}

/// A key's facts.
pub(crate) fn key(words: &Words, key: &Key) -> Result<Entity, Unsayable> {
    let registration = registration_uid(words, key.registration);
    let purpose = uid(&words.key_purpose, key.purpose().name());
    let state = uid(&words.key_state, key.state.name());
    Ok(Entity::new_with_tags(
        uid(&words.key, key.id.to_string()),
        [
            ("name".to_owned(), Expression::new_string(key.name.as_str().to_owned())),
            ("registration".to_owned(), Expression::new_entity_uid(registration.clone())),
            ("purpose".to_owned(), Expression::new_entity_uid(purpose)),
            ("state".to_owned(), Expression::new_entity_uid(state)),
            ("algorithm".to_owned(), Expression::new_string(key.algorithm.to_string())),
            ("exportable".to_owned(), Expression::new_bool(key.exportable)),
        ],
        [registration],
        tags(&key.tags),
    )?)
}

/// The context of a request, and the entity its encryption context is.
pub(crate) fn context(
    words: &Words,
    asker: &Asker<'_>,
    action: Action,
    facts: &RequestFacts<'_>,
) -> Result<(Context, Option<Entity>), Unsayable> {
    let unix = asker.address == PeerAddress::Unix;
    let channel = uid(&words.channel, if unix { "unix" } else { "tcp" });
    let method = uid(&words.auth_method, asker.method.name());
    let mut caller = Vec::with_capacity(6);
    caller.push(("channel".to_owned(), Expression::new_entity_uid(channel)));
    if let PeerAddress::Ip(address) = asker.address {
        let address = address.to_canonical().to_string();
        caller.push(("sourceIp".to_owned(), Expression::new_ip(address)));
    }
    caller.push(("now".to_owned(), Expression::new_datetime(datetime(asker.now))));
    caller.push(("authMethod".to_owned(), Expression::new_entity_uid(method)));
    caller.push(("tls".to_owned(), Expression::new_bool(asker.tls)));
    caller.push(("mutualTls".to_owned(), Expression::new_bool(asker.mutual_tls)));
    if let Some(id) = asker.spiffe_id {
        caller.push(("spiffeId".to_owned(), Expression::new_string(id.to_owned())));
    }
    let mut pairs = vec![("caller".to_owned(), Expression::new_record(caller)?)];
    let mut extra = None;
    if uses_key(action) {
        let id = uid(&words.encryption_context, "request");
        let pairs_of = facts.encryption_context.into_iter().flat_map(|context| context.iter());
        let tags = pairs_of.map(|(n, v)| (n.to_owned(), Expression::new_string(v.to_owned())));
        extra = Some(Entity::new_with_tags(id.clone(), [], [], tags)?);
        let bytes = i64::try_from(facts.payload_bytes).unwrap_or(i64::MAX);
        pairs.push(("encryptionContext".to_owned(), Expression::new_entity_uid(id)));
        pairs.push(("payloadBytes".to_owned(), Expression::new_long(bytes)));
    }
    let context = Context::from_pairs(pairs)?;
    if cfg!(debug_assertions)
        && let Some(action) = words.action(action)
    {
        context.validate(&words.schema, action)?;
    }
    Ok((context, extra))
}

/// Whether the schema gives the action the context of cryptographic operations.
pub(crate) const fn uses_key(action: Action) -> bool {
    action.uses_key()
}

/// `YYYY-MM-DDThh:mm:ss.SSSZ`: Cedar takes milliseconds, and exactly three digits of them.
fn datetime(time: Timestamp) -> String {
    let mut text = time.to_string();
    text.truncate("YYYY-MM-DDThh:mm:ss.SSS".len());
    text.push('Z');
    text
}
