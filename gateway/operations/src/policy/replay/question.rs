//! A recorded decision as a question to ask again, and the facts it is asked with.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use hub_model::action::ResourceKind;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, AuthMethod, EncryptionContext, Key, KeyId, Participant, ParticipantId, Registration,
    RegistrationId, Timestamp,
};
use hub_policy::{Bundle, Circumstances, Policies, RegistrationFacts, RequestFacts, Target};
use hub_store::{Versioned, layout};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Error;
use crate::hub::Hub;

/// Facts of each kind held during a replay.
const MOST_FACTS: usize = 4096;

const OLDER: &str = "the entry does not hold what a decision is made of: it is the end of a stream \
                     or of an earlier version of the hub";
const METHOD: &str = "the entry names a way of authentication that this hub does not know";
const ACTION: &str = "the entry names an action that this hub does not know";
const NO_PARTICIPANT: &str = "the participant is gone";
const NO_REGISTRATION: &str = "the registration is gone";
const NO_KEY: &str = "the key is gone";
const CERTIFICATE: &str = "it depends on a client certificate whose names the entry does not hold";
const KEYED: &str = "the entry holds a hash in place of the address (`audit.keyed`)";
const CONTEXT: &str = "it depends on an encryption context that the entry does not hold";

/// What a replay reads of an entry.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Recorded {
    action: String,
    address: String,
    #[serde(default)]
    beside: Option<String>,
    #[serde(default)]
    caller: Option<String>,
    #[serde(default)]
    caller_registration: Option<RegistrationId>,
    #[serde(default)]
    context: Option<EncryptionContext>,
    #[serde(default)]
    context_digest: Option<IgnoredAny>,
    pub(super) decision: String,
    #[serde(default)]
    entities: Option<[u64; 3]>,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    key: Option<KeyId>,
    #[serde(default)]
    keyed: Vec<String>,
    #[serde(default)]
    mutual_tls: bool,
    #[serde(default)]
    payload_bytes: u64,
    #[serde(default)]
    registration: Option<RegistrationId>,
    pub(super) time: Timestamp,
    #[serde(default)]
    tls: bool,
}

/// Where it was decided.
#[derive(Debug)]
enum Where {
    Hub,
    Registration(Arc<RegistrationFacts>),
    Key(Arc<Versioned<Key>>, Arc<RegistrationFacts>),
}

impl Where {
    fn target(&self) -> Target<'_> {
        match self {
            Self::Hub => Target::Hub,
            Self::Registration(facts) => Target::Registration(facts),
            Self::Key(key, registration) => {
                Target::Key { key: &key.value, revision: key.revision.0, registration }
            }
        }
    }

    /// Where a verb of this kind is asked for: as `perform` does it.
    fn target_of(&self, action: Action) -> Target<'_> {
        match (action.resource_kind(), self) {
            (ResourceKind::Registration, Self::Key(_, facts)) => Target::Registration(facts),
            _ => self.target(),
        }
    }
}

/// A recorded decision, with everything needed to make it again.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) seq: u64,
    pub(super) permitted: bool,
    pub(super) caller: String,
    pub(super) caller_name: String,
    pub(super) action: Action,
    beside: Option<Action>,
    participant: Arc<Versioned<Participant>>,
    place: Where,
    /// Whether one of participant, key and registration has changed since.
    changed: bool,
    context: Option<EncryptionContext>,
    /// Whether that context is the one the action itself was decided with.
    context_known: bool,
    /// Whether there was one that the entry holds hashes of.
    context_hidden: bool,
    payload_bytes: u64,
    method: AuthMethod,
    address: PeerAddress,
    time: Timestamp,
    tls: bool,
    mutual_tls: bool,
    spiffe_id: Option<String>,
}

/// How a question was answered.
#[derive(Debug)]
pub(super) enum Verdict {
    Same,
    /// It falls otherwise than `from`.
    Flip {
        from: bool,
        present: bool,
        policies: Vec<String>,
    },
    Unknown(&'static str),
}

impl Question {
    /// The key, the registration or the hub: its id and its name.
    pub(super) fn resource(&self) -> (String, String) {
        match &self.place {
            Where::Hub => ("hub".to_owned(), "hub".to_owned()),
            Where::Registration(facts) => {
                (facts.registration.id.to_string(), facts.registration.name.to_string())
            }
            Where::Key(key, facts) => {
                let name = format!("{}/{}", facts.registration.name, key.value.name);
                (key.value.id.to_string(), name)
            }
        }
    }

    pub(super) fn decide(
        &self,
        policies: &Policies,
        active: &Bundle,
        candidate: &Bundle,
    ) -> Verdict {
        let (to, by) = match self.under(policies, candidate) {
            Ok(decided) => decided,
            Err(reason) => return Verdict::Unknown(reason),
        };
        let from = if self.changed {
            match self.under(policies, active) {
                Ok((from, _)) => from,
                Err(reason) => return Verdict::Unknown(reason),
            }
        } else {
            self.permitted
        };
        if from == to {
            return Verdict::Same;
        }
        Verdict::Flip { from, present: self.changed, policies: by }
    }

    /// Whether a set permits all that was asked for, and the policies that decide.
    fn under(
        &self,
        policies: &Policies,
        bundle: &Bundle,
    ) -> Result<(bool, Vec<String>), &'static str> {
        let circumstances = Circumstances {
            address: self.address,
            now: self.time,
            method: self.method,
            tls: self.tls,
            mutual_tls: self.mutual_tls,
            spiffe_id: self.spiffe_id.clone(),
        };
        let facts = RequestFacts {
            encryption_context: self.context.as_ref(),
            payload_bytes: self.payload_bytes,
        };
        let beside = self.beside.map(|action| (action, !self.context_hidden));
        let mut permitted_by = Vec::new();
        for (action, known) in std::iter::once((self.action, self.context_known)).chain(beside) {
            let target = self.place.target_of(action);
            let decided = policies.suppose(
                bundle,
                &self.participant.value,
                &circumstances,
                action,
                &target,
                &facts,
            );
            if decided.reads_pairs && !known {
                return Err(CONTEXT);
            }
            // A certificate that the caller did not authenticate by: its names are not recorded.
            if decided.names_spiffe && self.mutual_tls && self.spiffe_id.is_none() {
                return Err(CERTIFICATE);
            }
            let by: Vec<String> = decided.trace.policies.iter().map(ToString::to_string).collect();
            if !decided.permitted {
                return Ok((false, by));
            }
            if permitted_by.is_empty() {
                permitted_by = by;
            }
            // A change of context needs the verb in both contexts, and only the new one is known.
            if action == Action::KeysRebind && decided.reads_pairs {
                return Err(CONTEXT);
            }
        }
        Ok((true, permitted_by))
    }
}

/// Participants, registrations and keys as they are now, each read once.
#[derive(Debug, Default)]
pub(super) struct Facts {
    participants: HashMap<ParticipantId, Option<Arc<Versioned<Participant>>>>,
    registrations: HashMap<RegistrationId, Option<Arc<RegistrationFacts>>>,
    keys: HashMap<KeyId, Option<Arc<Versioned<Key>>>>,
}

impl Facts {
    /// The question of an entry, or why there is none.
    pub(super) async fn question(
        &mut self,
        hub: &Hub,
        seq: u64,
        entry: Recorded,
    ) -> Result<Result<Question, &'static str>, Error> {
        let Some([participant_at, target_at, registration_at]) = entry.entities else {
            return Ok(Err(OLDER));
        };
        let Ok(action) = entry.action.parse::<Action>() else { return Ok(Err(ACTION)) };
        let beside = match entry.beside.as_deref().map(str::parse::<Action>) {
            None => None,
            Some(Ok(beside)) => Some(beside),
            Some(Err(_)) => return Ok(Err(ACTION)),
        };
        let (Some(caller), Some(home)) = (entry.caller, entry.caller_registration) else {
            return Ok(Err(OLDER));
        };
        let Some((method, id)) = identity(&caller) else { return Ok(Err(METHOD)) };
        let keyed = |name: &str| entry.keyed.iter().any(|field| field == name);
        let (hides_context, hides_identity) = (keyed("context"), keyed("identity"));
        let Some(address) = address(&entry.address) else {
            return Ok(Err(if keyed("address") { KEYED } else { OLDER }));
        };
        let Some(participant) = self.participant(hub, home, id).await? else {
            return Ok(Err(NO_PARTICIPANT));
        };
        let caller_is_spiffe = caller.starts_with("spiffe:");
        let mut changed = participant.revision.0 != participant_at;
        let place = match (action.resource_kind(), entry.registration, entry.key) {
            (ResourceKind::Hub, ..) => Where::Hub,
            (ResourceKind::Registration, Some(registration), _) => {
                let Some(facts) = self.registration(hub, registration).await? else {
                    return Ok(Err(NO_REGISTRATION));
                };
                changed |= facts.revision != registration_at;
                Where::Registration(facts)
            }
            (ResourceKind::Key, Some(registration), Some(key)) => {
                let Some(facts) = self.registration(hub, registration).await? else {
                    return Ok(Err(NO_REGISTRATION));
                };
                let Some(key) = self.key(hub, registration, key).await? else {
                    return Ok(Err(NO_KEY));
                };
                changed |= facts.revision != registration_at || key.revision.0 != target_at;
                Where::Key(key, facts)
            }
            _ => return Ok(Err(OLDER)),
        };
        let home = self.registration(hub, home).await?;
        let home = home.map_or_else(String::new, |facts| facts.registration.name.to_string());
        let caller_name = format!("{home}/{}", participant.value.name);
        // Where the context changes, the entry holds the new one.
        // A hash in place of a value is no context, where there was one.
        let hidden = hides_context && entry.context.is_some();
        let context_known =
            entry.context_digest.is_none() && !hidden && beside != Some(Action::KeysRebind);
        Ok(Ok(Question {
            seq,
            permitted: entry.decision == "allow",
            caller,
            caller_name,
            action,
            beside,
            participant,
            place,
            changed,
            context: entry.context.filter(|_| !hidden),
            context_known,
            context_hidden: hidden,
            payload_bytes: entry.payload_bytes,
            method,
            address,
            time: entry.time,
            tls: entry.tls,
            mutual_tls: entry.mutual_tls,
            spiffe_id: entry.identity.filter(|_| caller_is_spiffe && !hides_identity),
        }))
    }

    async fn participant(
        &mut self,
        hub: &Hub,
        home: RegistrationId,
        id: ParticipantId,
    ) -> Result<Option<Arc<Versioned<Participant>>>, Error> {
        if let Some(found) = self.participants.get(&id) {
            return Ok(found.clone());
        }
        let found = hub.store().read::<Participant>(&layout::participant(home, id)).await?;
        let found = found.map(Arc::new);
        make_room(&mut self.participants);
        self.participants.insert(id, found.clone());
        Ok(found)
    }

    async fn registration(
        &mut self,
        hub: &Hub,
        id: RegistrationId,
    ) -> Result<Option<Arc<RegistrationFacts>>, Error> {
        if let Some(found) = self.registrations.get(&id) {
            return Ok(found.clone());
        }
        let found = hub.store().read::<Registration>(&layout::registration(id)).await?;
        let found = found.map(|found| {
            let (registration, revision) = (Arc::new(found.value), found.revision.0);
            Arc::new(RegistrationFacts { registration, revision })
        });
        make_room(&mut self.registrations);
        self.registrations.insert(id, found.clone());
        Ok(found)
    }

    async fn key(
        &mut self,
        hub: &Hub,
        registration: RegistrationId,
        id: KeyId,
    ) -> Result<Option<Arc<Versioned<Key>>>, Error> {
        if let Some(found) = self.keys.get(&id) {
            return Ok(found.clone());
        }
        let found = hub.store().read::<Key>(&layout::key(registration, id)).await?.map(Arc::new);
        make_room(&mut self.keys);
        self.keys.insert(id, found.clone());
        Ok(found)
    }
}

fn make_room<K, V>(facts: &mut HashMap<K, V>) {
    if facts.len() >= MOST_FACTS {
        facts.clear();
    }
}

/// The method and participant of `apikey:ptc_…`, `jwt:<issuer>:ptc_…` and the like.
fn identity(caller: &str) -> Option<(AuthMethod, ParticipantId)> {
    let (name, id) = caller.rsplit_once(':')?;
    let prefix = name.split(':').next()?;
    let method = match prefix {
        "spiffe" => AuthMethod::Mtls,
        _ => AuthMethod::ALL.into_iter().find(|method| method.prefix() == prefix)?,
    };
    Some((method, id.parse().ok()?))
}

fn address(text: &str) -> Option<PeerAddress> {
    if text == "unix" {
        return Some(PeerAddress::Unix);
    }
    text.parse::<IpAddr>().ok().map(PeerAddress::Ip)
}
