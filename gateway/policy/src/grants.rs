//! Grants as linked templates: the shipped templates, parsed once, and the links of one request.
//!
//! Cedar fills the slots `?principal` and `?resource` with entities; no text is ever put together.
//! The end of a grant and the pairs it asks for have no slot, so they are checked here, and a grant
//! that does not apply is left out. That can only take a permit away.

use std::sync::{Arc, LazyLock};

use cedar_policy::{ActionConstraint, PolicySet, Template, ValidationMode, Validator};
use cedar_policy_core::ast::{EntityUID, Expr, SlotEnv, SlotId};
use hub_model::{Action, EncryptionContext, Grant, ParticipantId, Timestamp};

use crate::Error;
use crate::decide::{Target, Votes};
use crate::entities::Unsayable;
use crate::memo::World;
use crate::problem::place;
use crate::rule::Judge;
use crate::schema::{TEMPLATES, Words};
use crate::source::{Effect, PolicyInfo};

/// The name of the file of templates, in explanations.
const FILE: &str = "templates/grants.cedar";

/// The templates, by action.
#[derive(Debug)]
pub(crate) struct Templates {
    /// In the order of `Action::ALL`.
    by_action: Vec<Option<Shipped>>,
}

#[derive(Debug)]
struct Shipped {
    /// When it holds, with slots for participant and key.
    condition: Expr,
    info: PolicyInfo,
}

impl Templates {
    /// The templates, loaded at first use.
    pub(crate) fn load() -> Result<&'static Self, Error> {
        static TEMPLATES: LazyLock<Result<Templates, String>> = LazyLock::new(Templates::new);
        TEMPLATES.as_ref().map_err(|why| Error::Schema(why.clone()))
    }

    fn new() -> Result<Self, String> {
        let words = Words::load().map_err(|error| error.to_string())?;
        let all: PolicySet = TEMPLATES.parse().map_err(|e| format!("{FILE}: {e}"))?;
        let validator = Validator::new(words.schema.clone());
        // Their level is for a test to say, as that of the shipped policies.
        let result = validator.validate(&all, ValidationMode::Strict);
        if !result.validation_passed() {
            return Err(format!("{FILE}: {result}"));
        }
        let mut by_action: Vec<Option<Shipped>> = Vec::new();
        by_action.resize_with(Action::ALL.len(), || None);
        for template in all.templates() {
            let shipped = Shipped::of(template)?;
            let action = Action::ALL.iter().copied().find(|action| {
                template.action_constraint()
                    == words
                        .action(*action)
                        .cloned()
                        .map_or(ActionConstraint::Any, ActionConstraint::Eq)
            });
            match action.and_then(|action| by_action.get_mut(action as usize)) {
                Some(slot) => *slot = Some(shipped),
                None => return Err(format!("{FILE}: `{}` is for no action", shipped.info.id)),
            }
        }
        Ok(Self { by_action })
    }

    fn of(&self, action: Action) -> Option<&Shipped> {
        self.by_action.get(action as usize).and_then(Option::as_ref)
    }

    /// The links of the grants for one participant and action on one key. Nothing is allocated
    /// when there are none.
    pub(crate) fn links(
        &'static self,
        action: Action,
        grants: &[&Grant],
        world: &World,
    ) -> Result<Option<Links>, Unsayable> {
        if grants.is_empty() {
            return Ok(None);
        }
        let template = self.of(action).ok_or_else(|| Unsayable("no such grant".to_owned()))?;
        let slots = SlotEnv::from([
            (SlotId::principal(), EntityUID::clone(&world.principal)),
            (SlotId::resource(), EntityUID::clone(&world.resource)),
        ]);
        let link = |grant: &Grant| Link {
            id: grant.policy_id().into(),
            condition: grant.is_conditional().then(|| grant.clone()),
        };
        let grants = grants.iter().map(|grant| link(grant)).collect();
        Ok(Some(Links { condition: &template.condition, slots, grants }))
    }
}

impl Shipped {
    fn of(template: &Template) -> Result<Self, String> {
        let id = template.annotation("id").ok_or_else(|| format!("{FILE}: one has no `@id`"))?;
        let text = template.to_string();
        let offset = TEMPLATES.find(&text).unwrap_or(0);
        let info = PolicyInfo {
            id: id.into(),
            title: template.annotation("title").map(Arc::from),
            file: FILE.into(),
            line: place(TEMPLATES, offset).0,
            effect: Effect::Permit,
            text: text.into(),
        };
        if template.effect() != cedar_policy::Effect::Permit {
            return Err(format!("{FILE}: `{id}` does not permit"));
        }
        Ok(Self { condition: template.as_ref().condition(), info })
    }
}

/// The template of an action, as explanations show it; `None` where none can be granted.
#[must_use]
pub fn template(action: Action) -> Option<PolicyInfo> {
    Templates::load().ok()?.of(action).map(|shipped| shipped.info.clone())
}

/// The grants on a key for one participant and action. Nothing is allocated when there are none.
pub(crate) fn granted<'a>(
    target: &Target<'a>,
    participant: ParticipantId,
    action: Action,
) -> Vec<&'a Grant> {
    match target {
        Target::Key { key, .. } => {
            key.grants.iter().filter(|grant| grant.is_for(participant, action)).collect()
        }
        Target::Hub | Target::Registration(_) => Vec::new(),
    }
}

/// Grants for the same participant, action and key, which are links of one template with the same
/// values: it holds for all of them or for none.
#[derive(Debug)]
pub(crate) struct Links {
    condition: &'static Expr,
    slots: SlotEnv,
    grants: Vec<Link>,
}

#[derive(Debug)]
struct Link {
    /// What policies call it.
    id: Arc<str>,
    /// The grant, where whether it applies depends on the request.
    condition: Option<Grant>,
}

impl Links {
    /// What the grants say that apply now, with this encryption context.
    pub(crate) fn ask(
        &self,
        judge: &Judge<'_>,
        now: Timestamp,
        context: Option<&EncryptionContext>,
        votes: &mut Votes,
    ) {
        let applies =
            |link: &&Link| link.condition.as_ref().is_none_or(|grant| grant.applies(now, context));
        self.vote(judge, self.grants.iter().filter(applies), votes);
    }

    /// What those say that always apply; the others, if the template holds, come back.
    pub(crate) fn look(
        &self,
        judge: &Judge<'_>,
        votes: &mut Votes,
    ) -> impl Iterator<Item = (&Arc<str>, &Grant)> {
        self.vote(judge, self.grants.iter().filter(|link| link.condition.is_none()), votes);
        let holds = judge.holds(self.condition, &self.slots) == Ok(true);
        let conditional = self.grants.iter().filter(move |_| holds);
        conditional.filter_map(|link| Some((&link.id, link.condition.as_ref()?)))
    }

    fn vote<'l>(
        &self,
        judge: &Judge<'_>,
        links: impl Iterator<Item = &'l Link>,
        votes: &mut Votes,
    ) {
        let mut links = links.peekable();
        if links.peek().is_none() {
            return;
        }
        let holds = judge.holds(self.condition, &self.slots);
        for Link { id, .. } in links {
            match holds {
                Ok(true) => votes.permits.push(Arc::clone(id)),
                Ok(false) => {}
                Err(kind) => votes.err(id, kind),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_template_for_each_grantable_action_and_no_other() {
        let templates = Templates::load().unwrap();
        for action in Action::ALL {
            let shipped = templates.of(*action);
            assert_eq!(shipped.is_some(), action.grantable(), "{action}");
            let Some(shipped) = shipped else { continue };
            assert_eq!(*shipped.info.id, format!("grant.{action}"));
            assert!(shipped.info.title.is_some() && shipped.info.line > 4);
            assert!(shipped.info.text.contains("?principal") && template(*action).is_some());
        }
    }

    #[test]
    fn templates_keep_to_their_level() {
        let all: PolicySet = TEMPLATES.parse().unwrap();
        let validator = Validator::new(Words::load().unwrap().schema.clone());
        let result = validator.validate_with_level(&all, ValidationMode::Strict, 1);
        assert!(all.templates().count() > 20 && result.validation_passed(), "{result}");
    }
}
