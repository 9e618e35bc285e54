//! Grants as linked templates: the shipped templates, parsed once, and the links of one request.
//!
//! Cedar fills the slots `?principal` and `?resource` with entities; no text is ever put together.
//! The end of a grant and the pairs it asks for have no slot, so they are checked here, and a grant
//! that does not apply is left out. That can only take a permit away.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cedar_policy::{
    ActionConstraint, EntityUid, PolicyId, PolicySet, SlotId, Template, ValidationMode, Validator,
};
use hub_model::{Action, Grant, ParticipantId};

use crate::Error;
use crate::decide::Target;
use crate::entities::Unsayable;
use crate::problem::place;
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
    id: PolicyId,
    /// The template alone, ready to be linked.
    set: PolicySet,
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
        let result = validator.validate_with_level(&all, ValidationMode::Strict, 1);
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
                None => return Err(format!("{FILE}: `{}` is for no action", shipped.id)),
            }
        }
        Ok(Self { by_action })
    }

    fn of(&self, action: Action) -> Option<&Shipped> {
        self.by_action.get(action as usize).and_then(Option::as_ref)
    }

    /// Links grants of one participant and action on one key into one set.
    pub(crate) fn link<'a>(
        &self,
        action: Action,
        grants: impl Iterator<Item = &'a Grant>,
        (participant, key): (&EntityUid, &EntityUid),
    ) -> Result<PolicySet, Unsayable> {
        let template = self.of(action).ok_or_else(|| Unsayable("no such grant".to_owned()))?;
        let mut set = template.set.clone();
        for grant in grants {
            let values = HashMap::from([
                (SlotId::principal(), participant.clone()),
                (SlotId::resource(), key.clone()),
            ]);
            set.link(template.id.clone(), PolicyId::new(grant.policy_id()), values)?;
        }
        Ok(set)
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
        let id = PolicyId::new(id);
        let mut set = PolicySet::new();
        set.add_template(template.new_id(id.clone())).map_err(|e| e.to_string())?;
        Ok(Self { id, set, info })
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

/// Grants that are looked at together.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) set: PolicySet,
    /// The one grant it is, where whether it applies depends on the request.
    pub(crate) condition: Option<Grant>,
}

/// The links of these grants: one set for all that always apply, one for each other.
pub(crate) fn links(
    templates: &Templates,
    action: Action,
    grants: &[&Grant],
    uids: (&EntityUid, &EntityUid),
) -> Result<Vec<Link>, Unsayable> {
    let mut links = Vec::new();
    let mut always = grants.iter().copied().filter(|grant| !grant.is_conditional()).peekable();
    if always.peek().is_some() {
        links.push(Link { set: templates.link(action, always, uids)?, condition: None });
    }
    for grant in grants.iter().copied().filter(|grant| grant.is_conditional()) {
        let set = templates.link(action, std::iter::once(grant), uids)?;
        links.push(Link { set, condition: Some(grant.clone()) });
    }
    Ok(links)
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
}
