//! For tests: what `entities.rs` and `context.rs` say, said with the constructors of Cedar's public
//! interface, which interpret every value and find every ancestor themselves.

use cedar_policy::{
    Context, Entity, EntityId, EntityTypeName, EntityUid, Request,
    RestrictedExpression as Expression,
};
use hub_model::principal::PeerAddress;
use hub_model::{Action, Key, Participant, Registration, RegistrationId, Role, Tags, Timestamp};

use crate::context::uses_key;
use crate::decide::{Asker, RequestFacts, Target};
use crate::entities::{Hub, Unsayable};
use crate::schema::Words;

fn uid(kind: &EntityTypeName, id: impl AsRef<str>) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn hub_uid(words: &Words, hub: &Hub) -> EntityUid {
    uid(&words.hub, hub.id.to_string())
}

pub(crate) fn hub_entity(words: &Words, hub: &Hub) -> Result<Entity, Unsayable> {
    let roles = Expression::new_record([
        ("admins".to_owned(), role(words, "hub", Role::Admins)),
        ("auditors".to_owned(), role(words, "hub", Role::Auditors)),
    ])?;
    Ok(Entity::new_with_tags(hub_uid(words, hub), [("roles".to_owned(), roles)], [], [])?)
}

fn prefix(hub: &Hub, registration: RegistrationId) -> String {
    if registration == hub.registration { "hub".to_owned() } else { registration.to_string() }
}

pub(crate) fn participant(
    hub: &Hub,
    words: &Words,
    participant: &Participant,
) -> Result<Entity, Unsayable> {
    let parents = participant.roles.iter().map(|grant| {
        let prefix = prefix(hub, grant.registration);
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

pub(crate) fn registration(
    hub: &Hub,
    words: &Words,
    registration: &Registration,
) -> Result<Entity, Unsayable> {
    let own = registration.id == hub.registration;
    let prefix = prefix(hub, registration.id);
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
            ("frozenByHub".to_owned(), Expression::new_bool(registration.frozen_by_hub)),
            ("hub".to_owned(), Expression::new_bool(own)),
            ("roles".to_owned(), roles),
        ],
        [hub_uid(words, hub)],
        tags(&registration.tags),
    )?)
}

/// What `Hub::entities` finds, with their parents only.
pub(crate) fn entities(
    hub: &Hub,
    words: &Words,
    participant: &Participant,
    action: Action,
    target: &Target<'_>,
) -> Result<Vec<Entity>, Unsayable> {
    let uid = words.action(action).ok_or(Unsayable(String::new()))?;
    let actions = words.schema.action_entities()?;
    let mut list: Vec<Entity> = actions.get(uid).cloned().into_iter().collect();
    list.push(self::participant(hub, words, participant)?);
    match target {
        Target::Hub => list.push(hub_entity(words, hub)?),
        Target::Registration(facts) => list.push(registration(hub, words, &facts.registration)?),
        Target::Key { key, registration: facts, .. } => {
            list.push(registration(hub, words, &facts.registration)?);
            list.push(self::key(words, key)?);
        }
    }
    Ok(list)
}

/// The request itself.
pub(crate) fn request(
    hub: &Hub,
    words: &Words,
    participant: &Participant,
    action: Action,
    target: &Target<'_>,
    context: Context,
) -> Result<Request, Unsayable> {
    let resource = match target {
        Target::Hub => hub_uid(words, hub),
        Target::Registration(facts) => registration_uid(words, facts.registration.id),
        Target::Key { key, .. } => uid(&words.key, key.id.to_string()),
    };
    let action = words.action(action).cloned().ok_or(Unsayable(String::new()))?;
    Ok(Request::new(participant_uid(words, participant), action, resource, context, None)?)
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

/// `YYYY-MM-DDThh:mm:ss.SSSZ`: Cedar takes milliseconds, and exactly three digits of them.
fn datetime(time: Timestamp) -> String {
    let mut text = time.to_string();
    text.truncate("YYYY-MM-DDThh:mm:ss.SSS".len());
    text.push('Z');
    text
}
