//! Policies made ready at activation, and Cedar's evaluator over them.
//!
//! [`cedar_policy::Authorizer`] puts the condition of each policy together anew for every request,
//! its list of actions included, and answers a set at a time with maps of everything it looked at.
//! Here the condition is put together once, and each policy is evaluated alone by the same evaluator
//! of the same release (`docs/adr/0036-cedar-core.md`). What a condition says, Cedar alone tells.
//!
//! INVARIANT: a rule says of every request what Cedar's authorizer says of its policy: that it
//! holds, that it does not, or which kind of error it is (the tests of `worlds.rs`).

use std::sync::Arc;

use cedar_policy::Policy;
use cedar_policy_core::ast::{
    ActionConstraint, Expr, ExprKind, Literal, Request, SlotEnv, ValueKind,
};
use cedar_policy_core::entities::Entities;
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use crate::decide::{Votes, kind_of};
use crate::source::Effect;

/// A policy without slots.
#[derive(Debug)]
pub(crate) struct Rule {
    id: Arc<str>,
    effect: Effect,
    condition: Expr,
}

impl Rule {
    /// A policy as it is.
    #[cfg(test)]
    pub(crate) fn whole(policy: &Policy) -> Self {
        let action = policy.as_ref().action_constraint().clone();
        Self::with(policy, &action)
    }

    /// A policy without what its scope says of the action, for requests of actions for which that
    /// holds: a conjunct that is true is left out. Nothing in a scope can err.
    pub(crate) fn for_its_actions(policy: &Policy) -> Self {
        Self::with(policy, &ActionConstraint::Any)
    }

    fn with(policy: &Policy, action: &ActionConstraint) -> Self {
        let ast = policy.as_ref();
        // In Cedar's order, in which the first that does not hold ends the evaluation.
        let parts = [
            Some(ast.principal_constraint().as_expr()),
            Some(action.as_expr()),
            Some(ast.resource_constraint().as_expr()),
            ast.non_scope_constraints().cloned(),
        ];
        // What is true is left out. A last part that is no truth value is caught below.
        let mut parts = parts.into_iter().flatten().filter(|part| !is_true(part)).rev();
        let last = parts.next().unwrap_or_else(|| Expr::val(true));
        let condition = parts.fold(last, |rest, part| Expr::and(part, rest));
        let id: &str = policy.id().as_ref();
        let effect = match policy.effect() {
            cedar_policy::Effect::Permit => Effect::Permit,
            cedar_policy::Effect::Forbid => Effect::Forbid,
        };
        Self { id: id.into(), effect, condition }
    }
}

fn is_true(part: &Expr) -> bool {
    matches!(part.expr_kind(), ExprKind::Lit(Literal::Bool(true)))
}

/// One request over its entities.
pub(crate) struct Judge<'e> {
    evaluator: Evaluator<'e>,
    none: SlotEnv,
}

impl<'e> Judge<'e> {
    pub(crate) fn new(request: Request, entities: &'e Entities) -> Self {
        let evaluator = Evaluator::new(request, entities, Extensions::all_available());
        Self { evaluator, none: SlotEnv::new() }
    }

    /// What these policies say, added to what others said.
    pub(crate) fn ask<'r>(&self, rules: impl IntoIterator<Item = &'r Rule>, votes: &mut Votes) {
        for rule in rules {
            match self.holds(&rule.condition, &self.none) {
                Ok(false) => {}
                Ok(true) => match rule.effect {
                    Effect::Permit => votes.permits.push(Arc::clone(&rule.id)),
                    Effect::Forbid => votes.forbids.push(Arc::clone(&rule.id)),
                },
                Err(kind) => votes.err(&rule.id, kind),
            }
        }
    }

    /// Whether a condition holds, or the kind of its error.
    pub(crate) fn holds(&self, condition: &Expr, slots: &SlotEnv) -> Result<bool, &'static str> {
        let value = self.evaluator.interpret(condition, slots).map_err(|error| kind_of(&error))?;
        match value.value_kind() {
            ValueKind::Lit(Literal::Bool(holds)) => Ok(*holds),
            _ => Err(MIXED),
        }
    }
}

/// The kind of error where a value is of another type than needed.
pub(crate) const MIXED: &str = "it mixes types";
