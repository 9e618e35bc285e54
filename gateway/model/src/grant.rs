//! Grants: some actions of one participant on one key. They lie in the key's record, so that any
//! change of them is a change of the key, whose revision every remembered decision names.

use serde::{Deserialize, Serialize};

use crate::{
    Action, EncryptionContext, Error, GrantId, Participant, ParticipantId, RegistrationId,
    Timestamp,
};

/// Most grants on one key.
pub const MAX_GRANTS: usize = 100;
/// Most pairs a grant may ask for in the encryption context.
pub const MAX_PAIRS: usize = 8;
/// Most bytes of those pairs, in canonical form: all grants of a key are read with it.
pub const MAX_PAIRS_BYTES: usize = 512;
/// Most bytes of a note.
pub const MAX_NOTE: usize = 256;

/// Some actions of one participant on one key. Never changes; it is deleted and another is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Its immutable id.
    pub id: GrantId,
    /// Who may.
    pub participant: ParticipantId,
    /// The registration that participant belongs to: the key's, or the hub's.
    pub home: RegistrationId,
    /// What: actions that [`Action::grantable`] allows, sorted, each once.
    #[serde(with = "words")]
    pub actions: Vec<Action>,
    /// From when on it permits nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Pairs the encryption context of a request must hold; it may hold others beside.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was made.
    pub created: Timestamp,
}

impl Grant {
    /// A grant whose parts fit together.
    ///
    /// # Errors
    /// [`Error::Grant`] names the member that cannot be.
    pub fn new(
        participant: &Participant,
        mut actions: Vec<Action>,
        expires: Option<Timestamp>,
        context: EncryptionContext,
        note: String,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let refuse = |pointer, detail: String| Err(Error::Grant { pointer, detail });
        actions.sort();
        actions.dedup();
        if actions.is_empty() {
            return refuse("/actions", "a grant is for at least one action".to_owned());
        }
        if let Some(action) = actions.iter().find(|action| !action.grantable()) {
            let known = Action::ALL.iter().filter(|a| a.grantable()).map(|a| a.name());
            let known = known.collect::<Vec<_>>().join(", ");
            let detail = format!("`{action}` cannot be granted on a single key (known: {known})");
            return refuse("/actions", detail);
        }
        if expires.is_some_and(|end| end <= now) {
            return refuse("/expireTime", "the end must lie ahead".to_owned());
        }
        if context.iter().count() > MAX_PAIRS || context.canonical().len() > MAX_PAIRS_BYTES {
            let detail = format!("at most {MAX_PAIRS} pairs and {MAX_PAIRS_BYTES} bytes");
            return refuse("/context", detail);
        }
        // A read has no encryption context, so it could never hold the pairs: better said than
        // granted in vain.
        if !context.is_empty()
            && let Some(action) = actions.iter().find(|action| !action.uses_key())
        {
            let detail =
                format!("`{action}` has no encryption context; give it a grant of its own");
            return refuse("/context", detail);
        }
        if note.len() > MAX_NOTE || note.chars().any(char::is_control) {
            let detail = format!("a note is one line of at most {MAX_NOTE} bytes");
            return refuse("/note", detail);
        }
        Ok(Self {
            id: GrantId::generate(),
            participant: participant.id,
            home: participant.registration,
            actions,
            expires,
            context,
            note,
            created: now,
        })
    }

    /// Whether it is for this participant and action, at some time and in some context.
    #[must_use]
    pub fn is_for(&self, participant: ParticipantId, action: Action) -> bool {
        self.participant == participant && self.actions.contains(&action)
    }

    /// Whether what it permits depends on when and with which encryption context one asks.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.expires.is_some() || !self.context.is_empty()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Whether it permits its actions at this time, with this encryption context.
    #[must_use]
    pub fn applies(&self, now: Timestamp, context: Option<&EncryptionContext>) -> bool {
        let holds = |(name, value): (&str, &str)| {
            context.and_then(|context| context.value(name)).is_some_and(|given| given == value)
        };
        !self.has_ended(now) && self.context.iter().all(holds)
    }

    /// What policies and audit entries call it.
    #[must_use]
    pub fn policy_id(&self) -> String {
        format!("{POLICY_PREFIX}{}", self.id)
    }
}

/// What the policy ids of grants and of their templates start with.
pub const POLICY_PREFIX: &str = "grant.";

/// Actions by their names.
pub mod words {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Action;

    /// Writes names.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(actions: &[Action], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(actions.iter().map(|action| action.name()))
    }

    /// Reads names.
    ///
    /// # Errors
    /// For a word that is no action.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Action>, D::Error> {
        let names = <Vec<std::borrow::Cow<'de, str>>>::deserialize(deserializer)?;
        if names.len() > Action::ALL.len() {
            return Err(serde::de::Error::custom("more actions than there are"));
        }
        let parse =
            |name: &std::borrow::Cow<'_, str>| name.parse().map_err(serde::de::Error::custom);
        names.iter().map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ParticipantKind;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
    }

    fn somebody() -> Participant {
        Participant {
            id: ParticipantId::from_bytes([1; 16]),
            registration: RegistrationId::from_bytes([2; 16]),
            name: "checkout".parse().unwrap(),
            kind: ParticipantKind::Service,
            suspended: false,
            tags: crate::Tags::default(),
            roles: Vec::new(),
            grants_in: BTreeMap::new(),
            created: at(0),
            updated: at(0),
            generation: 1,
        }
    }

    fn pairs(list: &[(&str, &str)]) -> EncryptionContext {
        let owned = list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        EncryptionContext::new(owned.collect()).unwrap()
    }

    fn made(
        actions: &[Action],
        expires: Option<Timestamp>,
        context: EncryptionContext,
    ) -> Result<Grant, Error> {
        Grant::new(&somebody(), actions.to_vec(), expires, context, String::new(), at(0))
    }

    fn pointer(made: Result<Grant, Error>) -> &'static str {
        match made.unwrap_err() {
            Error::Grant { pointer, .. } => pointer,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn only_uses_and_reads_of_keys_are_granted() {
        for action in Action::ALL {
            let outcome = made(&[*action], None, EncryptionContext::default());
            assert_eq!(outcome.is_ok(), action.grantable(), "{action}");
        }
        assert_eq!(pointer(made(&[], None, EncryptionContext::default())), "/actions");
        let twice = [Action::KeysDecrypt, Action::KeysEncrypt, Action::KeysDecrypt];
        let grant = made(&twice, None, EncryptionContext::default()).unwrap();
        assert_eq!(grant.actions, [Action::KeysEncrypt, Action::KeysDecrypt]);
        assert!(!grant.is_conditional() && grant.applies(at(1_000_000), None));
    }

    #[test]
    fn it_ends_at_its_end_and_not_later() {
        let grant = made(&[Action::KeysGet], Some(at(60)), EncryptionContext::default()).unwrap();
        assert!(grant.is_conditional());
        assert!(grant.applies(at(59), None) && !grant.applies(at(60), None));
        assert_eq!(pointer(made(&[Action::KeysGet], Some(at(0)), pairs(&[]))), "/expireTime");
    }

    #[test]
    fn every_pair_must_be_there_and_equal() {
        let asked = pairs(&[("tenant", "eu"), ("a", "1")]);
        let grant = made(&[Action::KeysDecrypt], None, asked).unwrap();
        let applies = |list: &[(&str, &str)]| grant.applies(at(1), Some(&pairs(list)));
        assert!(applies(&[("tenant", "eu"), ("a", "1"), ("other", "x")]));
        for bad in [&[("tenant", "eu")][..], &[("tenant", "us"), ("a", "1")], &[]] {
            assert!(!applies(bad), "{bad:?}");
        }
        assert!(!grant.applies(at(1), None));
        let reads = made(&[Action::KeysDecrypt, Action::KeysGet], None, pairs(&[("a", "1")]));
        assert_eq!(pointer(reads), "/context");
        let long = pairs(&[("a", &"x".repeat(MAX_PAIRS_BYTES))]);
        assert_eq!(pointer(made(&[Action::KeysDecrypt], None, long)), "/context");
    }

    #[test]
    fn records_read_back_and_keys_without_grants_have_none() {
        let grant = made(&[Action::KeysDecrypt], Some(at(9)), pairs(&[("a", "1")])).unwrap();
        let text = serde_json::to_string(&grant).unwrap();
        assert!(text.contains(r#""actions":["keys.decrypt"]"#), "{text}");
        assert_eq!(serde_json::from_str::<Grant>(&text).unwrap(), grant);
        assert!(serde_json::from_str::<Grant>(&text.replace("keys.decrypt", "keys.all")).is_err());
        let key = crate::Key::new(
            RegistrationId::from_bytes([2; 16]),
            crate::KeyId::from_bytes([3; 16]),
            "orders".parse().unwrap(),
            crate::Algorithm::Aes256Gcm,
            None,
            at(0),
        );
        let bare = serde_json::to_string(&key).unwrap();
        assert!(!bare.contains("grants"), "records of keys without grants are as they were");
        let key = crate::Key { grants: vec![grant], ..key };
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<crate::Key>(&text).unwrap(), key);
    }
}
