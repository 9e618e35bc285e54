//! The Cedar schema, and the words of it that requests are made of.
//!
//! The schema is read once. `hub_model` and the schema say the same actions and vocabularies; the
//! tests below hold them together.

use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};
use cedar_policy_core::ast;
use hub_model::{Action, ParticipantKind};

use crate::Error;
use crate::entities::Said;

/// The schema as shipped.
pub const TEXT: &str = include_str!("../../../policies/hub.cedarschema");

/// Policies that are part of every set: name and text.
pub const BASELINE: [(&str, &str); 5] = [
    (
        "baseline/10-guardrails.cedar",
        include_str!("../../../policies/baseline/10-guardrails.cedar"),
    ),
    ("baseline/20-roles.cedar", include_str!("../../../policies/baseline/20-roles.cedar")),
    ("baseline/30-grants.cedar", include_str!("../../../policies/baseline/30-grants.cedar")),
    ("baseline/40-limits.cedar", include_str!("../../../policies/baseline/40-limits.cedar")),
    ("baseline/60-reports.cedar", include_str!("../../../policies/baseline/60-reports.cedar")),
];

/// The templates that grants are linked from.
pub const TEMPLATES: &str = include_str!("../../../policies/templates/grants.cedar");

/// The loaded schema and the names in it.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) schema: Schema,
    pub(crate) user: EntityTypeName,
    pub(crate) service: EntityTypeName,
    pub(crate) device: EntityTypeName,
    pub(crate) role: EntityTypeName,
    pub(crate) hub: EntityTypeName,
    pub(crate) registration: EntityTypeName,
    pub(crate) key: EntityTypeName,
    pub(crate) key_state: EntityTypeName,
    pub(crate) key_purpose: EntityTypeName,
    pub(crate) environment: EntityTypeName,
    pub(crate) auth_method: EntityTypeName,
    pub(crate) channel: EntityTypeName,
    pub(crate) encryption_context: EntityTypeName,
    /// In the order of `Action::ALL`.
    actions: Vec<ActionWords>,
}

/// An action in the schema.
#[derive(Debug)]
struct ActionWords {
    uid: EntityUid,
    /// The groups it is in.
    groups: Vec<EntityUid>,
    /// The action with its groups as ancestors, without which `action in` holds for no group.
    said: Said,
}

impl Words {
    /// The words, loaded at first use.
    pub(crate) fn load() -> Result<&'static Self, Error> {
        static WORDS: LazyLock<Result<Words, String>> = LazyLock::new(Words::new);
        WORDS.as_ref().map_err(|why| Error::Schema(why.clone()))
    }

    fn new() -> Result<Self, String> {
        let (schema, _warnings) =
            Schema::from_cedarschema_str(TEXT).map_err(|error| format!("{error:?}"))?;
        let name = |text: &str| {
            EntityTypeName::from_str(&format!("CipherHub::{text}")).map_err(|e| e.to_string())
        };
        let entities = schema.action_entities().map_err(|e| e.to_string())?;
        let action_type = name("Action")?;
        let mut actions = Vec::with_capacity(Action::ALL.len());
        for action in Action::ALL {
            let uid =
                EntityUid::from_type_name_and_id(action_type.clone(), EntityId::new(action.name()));
            let missing = || format!("action `{action}` is not in the schema");
            let groups = entities.ancestors(&uid).ok_or_else(missing)?.cloned().collect();
            let entity: &ast::Entity = entities.get(&uid).ok_or_else(missing)?.as_ref();
            let name = Arc::new(entity.uid().clone());
            let said = Said { uid: name, entity: Arc::new(entity.clone()) };
            actions.push(ActionWords { uid, groups, said });
        }
        Ok(Self {
            user: name("User")?,
            service: name("Service")?,
            device: name("Device")?,
            role: name("Role")?,
            hub: name("Hub")?,
            registration: name("Registration")?,
            key: name("Key")?,
            key_state: name("KeyState")?,
            key_purpose: name("KeyPurpose")?,
            environment: name("Environment")?,
            auth_method: name("AuthMethod")?,
            channel: name("Channel")?,
            encryption_context: name("EncryptionContext")?,
            schema,
            actions,
        })
    }

    /// The uid of an action.
    pub(crate) fn action(&self, action: Action) -> Option<&EntityUid> {
        self.actions.get(action as usize).map(|words| &words.uid)
    }

    /// The entity of an action, with its groups.
    pub(crate) fn said(&self, action: Action) -> Option<&Said> {
        self.actions.get(action as usize).map(|words| &words.said)
    }

    /// Whether `scope` is the action or a group it is in.
    pub(crate) fn action_in(&self, action: Action, scope: &EntityUid) -> bool {
        self.actions
            .get(action as usize)
            .is_some_and(|words| words.uid == *scope || words.groups.contains(scope))
    }

    /// The entity type of a kind of participant.
    pub(crate) const fn participant(&self, kind: ParticipantKind) -> &EntityTypeName {
        match kind {
            ParticipantKind::User => &self.user,
            ParticipantKind::Service => &self.service,
            ParticipantKind::Device => &self.device,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hub_model::action::ResourceKind;
    use hub_model::{AuthMethod, Environment, KeyState, Purpose};

    use super::*;
    use crate::context::uses_key;

    #[test]
    fn schema_and_model_say_the_same_actions() {
        let words = Words::load().unwrap();
        let groups: BTreeSet<String> =
            words.schema.action_groups().map(|g| g.id().unescaped().to_owned()).collect();
        let concrete: BTreeSet<String> = words
            .schema
            .actions()
            .map(|uid| uid.id().unescaped().to_owned())
            .filter(|id| !groups.contains(id) && id.contains('.'))
            .collect();
        let known: BTreeSet<String> = Action::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(concrete, known);
        let all = words.schema.actions().count();
        assert_eq!(all, known.len() + groups.len(), "an action is neither known nor a group");
    }

    #[test]
    fn every_action_has_its_resource_and_every_participant() {
        let words = Words::load().unwrap();
        for action in Action::ALL {
            let uid = words.action(*action).unwrap();
            let resources: Vec<_> = words.schema.resources_for_action(uid).unwrap().collect();
            let expected = match action.resource_kind() {
                ResourceKind::Hub => &words.hub,
                ResourceKind::Registration => &words.registration,
                ResourceKind::Key => &words.key,
            };
            assert_eq!(resources, [expected], "{action}");
            let principals: BTreeSet<String> =
                words.schema.principals_for_action(uid).unwrap().map(ToString::to_string).collect();
            let everyone = ["CipherHub::Device", "CipherHub::Service", "CipherHub::User"];
            assert_eq!(principals, everyone.map(str::to_owned).into(), "{action}");
        }
    }

    #[test]
    fn the_context_of_cryptography_is_that_of_the_schema() {
        let words = Words::load().unwrap();
        let kind = words.action(Action::KeysEncrypt).unwrap().type_name().clone();
        let group = EntityUid::from_type_name_and_id(kind, EntityId::new("UseKey"));
        for action in Action::ALL {
            assert_eq!(words.action_in(*action, &group), uses_key(*action), "{action}");
        }
    }

    /// Ids of an enumerated entity type, from the schema's own text.
    fn vocabulary(name: &str) -> BTreeSet<&'static str> {
        let line = TEXT.lines().find(|l| l.trim().starts_with(&format!("entity {name} enum")));
        line.unwrap().split('"').skip(1).step_by(2).collect()
    }

    #[test]
    fn vocabularies_hold_every_word_of_the_model() {
        let states = vocabulary("KeyState");
        assert_eq!(states, KeyState::ALL.map(KeyState::name).into());
        let environments = vocabulary("Environment");
        for environment in [Environment::Dev, Environment::Staging, Environment::Production] {
            assert!(environments.contains(environment.name()));
        }
        assert_eq!(environments.len(), 3);
        for method in AuthMethod::ALL {
            assert!(vocabulary("AuthMethod").contains(method.name()));
        }
        for row in hub_model::algorithm::ALGORITHMS {
            assert!(vocabulary("KeyPurpose").contains(row.purpose.name()));
        }
        assert!(vocabulary("KeyPurpose").contains(Purpose::Encrypt.name()));
        assert_eq!(vocabulary("Channel"), ["tcp", "unix"].into());
    }
}
