//! The request of a test case as a hub would have it: participant, target and circumstances in the
//! hub's own types, so that the hub's own engine decides it, slices, memo and all.
//!
//! Tests may call things `reg_acme`; a hub would not. Such ids become others, the same name always
//! the same id, and well-formed ones stay.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{Entities, Entity, EntityUid, EvalResult, Record};
use hub_model::action::ResourceKind;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, AuthMethod, EncryptionContext, HubId, Key, KeyId, Participant, ParticipantId,
    ParticipantKind, Registration, RegistrationId, RoleGrant, Tags, Timestamp,
};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::analysis::Question;
use crate::decide::{Asker, RegistrationFacts, RequestFacts, Target};

/// When everything here was made.
const TIME: Timestamp = Timestamp::from_micros(1_767_571_200_000_000);

/// A request in the hub's own types.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) hub: HubId,
    pub(crate) hub_registration: RegistrationId,
    pub(crate) action: Action,
    revision: u64,
    participant: Participant,
    registration: Option<RegistrationFacts>,
    key: Option<Key>,
    address: PeerAddress,
    now: Timestamp,
    method: AuthMethod,
    tls: bool,
    mutual_tls: bool,
    spiffe_id: Option<String>,
    encryption_context: EncryptionContext,
    payload_bytes: u64,
}

impl Replica {
    /// The facts are those of store revision `revision`, which no other case may have: one case's
    /// facts about an id are not another's.
    ///
    /// # Errors
    /// What of the request no hub could say, in words.
    pub(crate) fn of(question: &Question, revision: u64) -> Result<Self, String> {
        Reader { question, entities: &question.entities, revision }.replica()
    }

    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker {
            participant: &self.participant,
            revision: self.revision,
            address: self.address,
            now: self.now,
            method: self.method,
            tls: self.tls,
            mutual_tls: self.mutual_tls,
            spiffe_id: self.spiffe_id.as_deref(),
            extra_roles: false,
        }
    }

    pub(crate) fn target(&self) -> Target<'_> {
        match (&self.key, &self.registration) {
            (Some(key), Some(registration)) => {
                Target::Key { key, revision: self.revision, registration }
            }
            (_, Some(registration)) => Target::Registration(registration),
            _ => Target::Hub,
        }
    }

    pub(crate) fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            encryption_context: Some(&self.encryption_context),
            payload_bytes: self.payload_bytes,
        }
    }
}

struct Reader<'a> {
    question: &'a Question,
    entities: &'a Entities,
    revision: u64,
}

/// The id with this text, or one made of it.
fn id<T: FromStr + ToString>(text: &str, make: fn([u8; 16]) -> T) -> T {
    if let Ok(id) = text.parse::<T>()
        && id.to_string() == text
    {
        return id;
    }
    let digest = Sha256::digest(text.as_bytes());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    make(bytes)
}

/// A word of the model by its name on the wire.
fn word<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(text))
        .map_err(|_| format!("no hub says {what} `{text}`"))
}

fn attribute(entity: &Entity, name: &str) -> Result<EvalResult, String> {
    match entity.attr(name) {
        Some(Ok(value)) => Ok(value),
        _ => Err(format!("{} has no `{name}`", entity.uid())),
    }
}

fn string(value: EvalResult) -> Result<String, String> {
    match value {
        EvalResult::String(text) => Ok(text),
        EvalResult::EntityUid(uid) => Ok(uid.id().unescaped().to_owned()),
        other => Err(format!("`{other}` is no word")),
    }
}

fn boolean(value: &EvalResult) -> bool {
    *value == EvalResult::Bool(true)
}

fn pairs(entity: &Entity) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    for (name, value) in entity.tags() {
        pairs.insert(name.to_owned(), string(value.map_err(|error| error.to_string())?)?);
    }
    Ok(pairs)
}

fn tags(entity: &Entity) -> Result<Tags, String> {
    Tags::new(pairs(entity)?).map_err(|error| format!("{}: {error}", entity.uid()))
}

impl Reader<'_> {
    fn replica(&self) -> Result<Replica, String> {
        let request = &self.question.request;
        let missing = || "the request is not complete".to_owned();
        let principal = request.principal().ok_or_else(missing)?;
        let resource = request.resource().ok_or_else(missing)?;
        let action = self.question.action().ok_or_else(|| "no hub has this action".to_owned())?;
        let hub_registration = self.hub_registration();
        let (mut registration, mut key) = (None, None);
        match action.resource_kind() {
            ResourceKind::Hub => {}
            ResourceKind::Registration => registration = Some(self.registration(resource)?),
            ResourceKind::Key => {
                let found = self.key(resource)?;
                registration = Some(self.registration(&found.1)?);
                key = Some(found.0);
            }
        }
        let context = request.context().ok_or_else(missing)?;
        let Some(EvalResult::Record(caller)) = context.get("caller") else {
            return Err("the context has no `caller`".to_owned());
        };
        let mut encryption_context = EncryptionContext::default();
        if let Some(EvalResult::EntityUid(uid)) = context.get("encryptionContext")
            && let Some(entity) = self.entities.get(&uid)
        {
            encryption_context = EncryptionContext::new(pairs(entity)?)
                .map_err(|error| format!("encryption context: {error}"))?;
        }
        let payload_bytes = match context.get("payloadBytes") {
            Some(EvalResult::Long(bytes)) => {
                u64::try_from(bytes).map_err(|_| "payloadBytes is negative".to_owned())?
            }
            _ => 0,
        };
        Ok(Replica {
            hub: self.hub(),
            hub_registration,
            action,
            revision: self.revision,
            participant: self.participant(principal, hub_registration)?,
            registration,
            key,
            address: address(&caller)?,
            now: now(&caller)?,
            method: word("authMethod", &string(field(&caller, "authMethod")?)?)?,
            tls: boolean(&field(&caller, "tls")?),
            mutual_tls: boolean(&field(&caller, "mutualTls")?),
            spiffe_id: caller.get("spiffeId").cloned().map(string).transpose()?,
            encryption_context,
            payload_bytes,
        })
    }

    fn get(&self, uid: &EntityUid) -> Result<&Entity, String> {
        self.entities.get(uid).ok_or_else(|| format!("{uid} is not among the entities"))
    }

    fn of_type(&self, kind: &str) -> impl Iterator<Item = &Entity> {
        self.entities.iter().filter(move |entity| entity.uid().type_name().basename() == kind)
    }

    fn hub(&self) -> HubId {
        let uid = self.of_type("Hub").next().map(Entity::uid);
        id(uid.as_ref().map_or("hub", |uid| uid.id().unescaped()), HubId::from_bytes)
    }

    fn hub_registration(&self) -> RegistrationId {
        let own = |entity: &&Entity| attribute(entity, "hub").is_ok_and(|own| boolean(&own));
        let uid = self.of_type("Registration").find(own).map(Entity::uid);
        let text = uid.as_ref().map_or("the hub's own", |uid| uid.id().unescaped());
        id(text, RegistrationId::from_bytes)
    }

    fn participant(&self, uid: &EntityUid, hub: RegistrationId) -> Result<Participant, String> {
        let entity = self.get(uid)?;
        let kind = match uid.type_name().basename() {
            "User" => ParticipantKind::User,
            "Service" => ParticipantKind::Service,
            "Device" => ParticipantKind::Device,
            _ => return Err(format!("{uid} is no participant")),
        };
        let mut roles = Vec::new();
        for parent in self.entities.ancestors(uid).into_iter().flatten() {
            let text = parent.id().unescaped();
            let grant = text.split_once('/').and_then(|(registration, role)| {
                let own = registration == "hub";
                let registration =
                    if own { hub } else { id(registration, RegistrationId::from_bytes) };
                Some(RoleGrant { registration, role: role.parse().ok()? })
            });
            roles.push(grant.ok_or_else(|| format!("no hub has the role {parent}"))?);
        }
        Ok(Participant {
            id: id(uid.id().unescaped(), ParticipantId::from_bytes),
            registration: hub,
            name: name(entity)?,
            kind,
            suspended: boolean(&attribute(entity, "suspended")?),
            tags: tags(entity)?,
            roles,
            grants_in: Default::default(),
            created: TIME,
            updated: TIME,
            generation: 1,
        })
    }

    fn registration(&self, uid: &EntityUid) -> Result<RegistrationFacts, String> {
        let entity = self.get(uid)?;
        let registration = Registration {
            id: id(uid.id().unescaped(), RegistrationId::from_bytes),
            name: name(entity)?,
            description: String::new(),
            environment: word("environment", &string(attribute(entity, "environment")?)?)?,
            frozen: boolean(&attribute(entity, "frozen")?),
            frozen_by_hub: attribute(entity, "frozenByHub").is_ok_and(|value| boolean(&value)),
            quotas: None,
            tags: tags(entity)?,
            created: TIME,
            updated: TIME,
            generation: 1,
            rotation: None,
        };
        Ok(RegistrationFacts { registration: Arc::new(registration), revision: self.revision })
    }

    /// A key, and the registration it says it is of.
    fn key(&self, uid: &EntityUid) -> Result<(Key, EntityUid), String> {
        let entity = self.get(uid)?;
        let EvalResult::EntityUid(of) = attribute(entity, "registration")? else {
            return Err(format!("{uid} has no `registration`"));
        };
        let algorithm = string(attribute(entity, "algorithm")?)?;
        let algorithm = algorithm.parse().map_err(|error| format!("{uid}: {error}"))?;
        let made = Key::new(
            id(of.id().unescaped(), RegistrationId::from_bytes),
            id(uid.id().unescaped(), KeyId::from_bytes),
            name(entity)?,
            algorithm,
            None,
            TIME,
        );
        let (purpose, own) = (string(attribute(entity, "purpose")?)?, made.purpose().name());
        if purpose != own {
            return Err(format!("{uid} is for `{purpose}`; keys of its algorithm are for `{own}`"));
        }
        let key = Key {
            state: word("state", &string(attribute(entity, "state")?)?)?,
            exportable: boolean(&attribute(entity, "exportable")?),
            tags: tags(entity)?,
            ..made
        };
        Ok((key, of))
    }
}

fn name(entity: &Entity) -> Result<hub_model::Name, String> {
    let text = string(attribute(entity, "name")?)?;
    text.parse().map_err(|error| format!("{}: {error}", entity.uid()))
}

fn field(record: &Record, name: &str) -> Result<EvalResult, String> {
    record.get(name).cloned().ok_or_else(|| format!("`context.caller` has no `{name}`"))
}

/// The literal inside `ip("…")`, `datetime("…")` and so on.
fn literal(value: &EvalResult) -> String {
    let text = value.to_string();
    text.split('"').nth(1).unwrap_or_default().to_owned()
}

fn address(caller: &Record) -> Result<PeerAddress, String> {
    let source = caller.get("sourceIp").map(literal);
    match (&*string(field(caller, "channel")?)?, source) {
        ("unix", None) => Ok(PeerAddress::Unix),
        ("tcp", Some(source)) => {
            let source = source.split('/').next().unwrap_or_default();
            let address = source.parse().map_err(|_| format!("`{source}` is no address"))?;
            Ok(PeerAddress::Ip(address))
        }
        _ => Err("requests over tcp have a `sourceIp`, those over unix have none".to_owned()),
    }
}

fn now(caller: &Record) -> Result<Timestamp, String> {
    let value = field(caller, "now")?;
    let text = literal(&value);
    text.parse().map_err(|_| format!("`{value}` is no time of a hub"))
}
