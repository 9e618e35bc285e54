//! Why a request is decided as it is, and what would have to change: every policy that matters
//! taken apart into its scope and the clauses of its conditions, each with what Cedar says of it.
//!
//! The decision here is Cedar's over the whole set with the rule that an error denies, which is
//! what slices and memo give as well (`worlds.rs` tests it). Nothing here is on a request's path.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Entities, EntityUid, EvalResult, Expression, Policy,
    PolicySet, PrincipalConstraint, Request, ResourceConstraint, eval_expression,
};
use hub_model::Action;
use serde::Serialize;

use crate::Error;
use crate::bundle::Bundle;
use crate::clauses::{Join, Kind, conditions, join, one_line, paths, stripped};
use crate::decide::{Votes, kind_of};
use crate::problem::place;
use crate::schema::Words;
use crate::source::{Effect, Parsed};

/// A request and the entities it is decided over, in Cedar's own terms.
#[derive(Clone, Debug)]
pub struct Question {
    pub(crate) request: Request,
    pub(crate) entities: Entities,
}

/// Why something is no question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {message}")]
pub struct QuestionError {
    /// Which part: `principal`, `action`, `resource`, `context`, `entities` or `request`.
    pub part: &'static str,
    /// What Cedar says, with its advice.
    pub message: String,
}

impl QuestionError {
    fn new(part: &'static str, error: &dyn miette::Diagnostic) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = inner.source();
        }
        if let Some(help) = error.help() {
            message.push_str(&format!(" ({help})"));
        }
        Self { part, message }
    }
}

impl Question {
    /// A question from text and JSON in the forms of Cedar's own tools; everything is checked
    /// against the schema.
    ///
    /// # Errors
    /// [`QuestionError`] with the part that is wrong.
    pub fn from_json(
        principal: &str,
        action: &str,
        resource: &str,
        context: serde_json::Value,
        entities: serde_json::Value,
    ) -> Result<Self, QuestionError> {
        let schema = &words()?.schema;
        let entities = Entities::from_json_value(entities, Some(schema))
            .map_err(|error| QuestionError::new("entities", &error))?;
        Self::over(principal, action, resource, context, entities)
    }

    /// The same over entities that are there.
    pub(crate) fn over(
        principal: &str,
        action: &str,
        resource: &str,
        context: serde_json::Value,
        entities: Entities,
    ) -> Result<Self, QuestionError> {
        let schema = &words()?.schema;
        let uid = |part, text: &str| {
            EntityUid::from_str(text).map_err(|error| QuestionError::new(part, &error))
        };
        let (principal, action) = (uid("principal", principal)?, uid("action", action)?);
        let resource = uid("resource", resource)?;
        let context = Context::from_json_value(context, Some((schema, &action)))
            .map_err(|error| QuestionError::new("context", &error))?;
        let request = Request::new(principal, action, resource, context, Some(schema))
            .map_err(|error| QuestionError::new("request", &error))?;
        Ok(Self { request, entities })
    }

    /// The action asked for, if it is one of the hub's.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.request.action().and_then(|uid| uid.id().unescaped().parse().ok())
    }
}

fn words() -> Result<&'static Words, QuestionError> {
    Words::load().map_err(|error| QuestionError { part: "request", message: error.to_string() })
}

/// Why a request is decided as it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// Whether it is permitted.
    pub permitted: bool,
    /// The policies that determine it: forbids of a denial, permits of a permit.
    pub determining: Vec<PolicyReport>,
    /// What went wrong, without values; any entry denies.
    pub errors: Vec<Arc<str>>,
    /// Of a denial, the permits for this action: those that apply first, then by how little is
    /// missing.
    pub candidates: Vec<PolicyReport>,
    /// Of a denial, what would have to change, in words.
    pub changes: Vec<String>,
}

/// One policy against one request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// Its `@id`.
    pub id: Arc<str>,
    /// Its `@title`.
    pub title: Option<Arc<str>>,
    /// The file it is in.
    pub file: Arc<str>,
    /// The line it starts at, from 1.
    pub line: u32,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Its text as written.
    pub text: Arc<str>,
    /// Whether its scope and all its conditions hold.
    pub applies: bool,
    /// Principal, action and resource of its scope.
    pub scope: Vec<Clause>,
    /// Its conditions, `when` and `unless`, in order.
    pub conditions: Vec<Clause>,
}

/// An expression that must come out as [`Clause::wanted`] for the policy to apply.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Clause {
    /// Its text on one line.
    pub text: String,
    /// The line it starts at in its file, from 1.
    pub line: u32,
    /// What it must be: false inside `unless` and `!(…)`.
    pub wanted: bool,
    /// What it is.
    pub value: Value,
    /// Whether all parts are needed or one of them; nothing where there are no parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub need: Option<Need>,
    /// The operands of its `&&` or `||`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Clause>,
    /// What the request says where this clause looks: path and value in Cedar. Values of the
    /// caller's: not for audit entries and logs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String)>,
}

/// What a clause is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be evaluated, and this would deny the request.
    Error(&'static str),
    /// It cannot be evaluated, and need not, since a part before it decides.
    NotReached,
}

/// Which parts of a clause are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Need {
    /// All of them.
    All,
    /// One of them.
    Any,
}

impl Clause {
    /// Whether it is what it must be.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.value == if self.wanted { Value::True } else { Value::False }
    }

    /// The innermost clauses that keep this one from holding, with `any` where one of several
    /// would do.
    fn missing(&self, out: &mut Vec<String>) {
        if self.holds() || self.value == Value::NotReached {
            return;
        }
        match self.need {
            Some(Need::All) => self.parts.iter().for_each(|part| part.missing(out)),
            Some(Need::Any) => {
                let ways: Vec<String> = self
                    .parts
                    .iter()
                    .map(|part| {
                        let mut needed = Vec::new();
                        part.missing(&mut needed);
                        needed.join(" and ")
                    })
                    .filter(|way| !way.is_empty())
                    .collect();
                out.push(ways.join(", or "));
            }
            None => out.push(self.demand(self.wanted)),
        }
    }

    /// The ways in which a clause that holds could stop to hold.
    fn breaking(&self, out: &mut Vec<String>) {
        match self.need {
            Some(Need::All) => self.parts.iter().for_each(|part| part.breaking(out)),
            Some(Need::Any) => {
                let holding = self.parts.iter().filter(|part| part.holds());
                let needed: Vec<String> = holding
                    .map(|part| {
                        let mut ways = Vec::new();
                        part.breaking(&mut ways);
                        ways.join(" or ")
                    })
                    .collect();
                out.push(needed.join(", and "));
            }
            None => out.push(self.demand(!self.wanted)),
        }
    }

    fn demand(&self, wanted: bool) -> String {
        let not = if wanted { "" } else { "not " };
        let mut text = format!("{not}`{}`", self.text);
        match &self.value {
            Value::Error(why) => text.push_str(&format!(" ({why})")),
            _ if !self.facts.is_empty() => {
                let facts: Vec<String> =
                    self.facts.iter().map(|(path, value)| format!("{path} is {value}")).collect();
                text.push_str(&format!(" ({})", facts.join(", ")));
            }
            _ => {}
        }
        text
    }
}

impl PolicyReport {
    /// What keeps it from applying, in words; all of it would have to change.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut out = Vec::new();
        let clauses = self.scope.iter().chain(&self.conditions);
        clauses.for_each(|clause| clause.missing(&mut out));
        out
    }

    /// What would keep it from applying, in words; each alone is enough.
    #[must_use]
    pub fn breaking(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.conditions.iter().for_each(|clause| clause.breaking(&mut out));
        out
    }
}

impl Bundle {
    /// Decides a question over this set and says why, and what would have to change.
    ///
    /// # Errors
    /// [`Error::Schema`] when the set cannot be put together, which its checks exclude.
    pub fn analyze(&self, question: &Question) -> Result<Analysis, Error> {
        let policies = self.policies.iter().map(|parsed| parsed.policy.clone());
        let set =
            PolicySet::from_policies(policies).map_err(|error| Error::Schema(error.to_string()))?;
        let response = Authorizer::new().is_authorized(&question.request, &set, &question.entities);
        let mut votes = Votes::default();
        votes.add(&response);
        let outcome = votes.outcome(self.revision());
        let deciding: HashSet<&str> = outcome.trace.policies.iter().map(AsRef::as_ref).collect();
        let reports = |wanted: &dyn Fn(&Parsed) -> bool| -> Vec<PolicyReport> {
            let chosen = self.policies.iter().filter(|parsed| wanted(parsed));
            chosen.map(|parsed| report(parsed, question)).collect()
        };
        let determining = reports(&|parsed| deciding.contains(&*parsed.info.id));
        let mut candidates = Vec::new();
        if !outcome.permitted
            && let Some(action) = question.action()
        {
            let ids: HashSet<&str> = self.candidates(action).map(|info| &*info.id).collect();
            candidates = reports(&|parsed| ids.contains(&*parsed.info.id));
            candidates.sort_by_key(|candidate| {
                let scope = candidate.scope.iter().filter(|clause| !clause.holds()).count();
                (!candidate.applies, scope, candidate.missing().len())
            });
        }
        let mut analysis = Analysis {
            permitted: outcome.permitted,
            determining,
            errors: outcome.trace.errors.clone(),
            candidates,
            changes: Vec::new(),
        };
        analysis.changes = changes(&analysis);
        Ok(analysis)
    }
}

/// What would have to change for a denied request to be permitted.
fn changes(analysis: &Analysis) -> Vec<String> {
    let mut out = Vec::new();
    if analysis.permitted {
        return out;
    }
    out.extend(analysis.errors.iter().map(|error| format!("mend what errs: {error}")));
    for forbid in &analysis.determining {
        let ways = forbid.breaking();
        out.push(if ways.is_empty() {
            format!("`{}` forbids this whatever the request says", forbid.id)
        } else {
            format!("`{}` must not apply: {}", forbid.id, ways.join(", or "))
        });
    }
    if analysis.candidates.iter().any(|candidate| candidate.applies) {
        return out;
    }
    match analysis.candidates.first() {
        None => out.push("no policy permits this action to anyone; write one that does".to_owned()),
        Some(nearest) => {
            let needs = nearest.missing().join(", and ");
            out.push(format!(
                "a permit must apply; nearest is `{}`, which needs {needs}",
                nearest.id
            ));
        }
    }
    out
}

/// One policy against a question.
fn report(parsed: &Parsed, question: &Question) -> PolicyReport {
    let info = &parsed.info;
    let scope = scope(&parsed.policy, info.line, question);
    let mut conditions_found = Vec::new();
    for (kind, range) in conditions(&info.text) {
        let at = Reader { parsed, question };
        conditions_found.push(at.clause(stripped(&info.text, range), kind == Kind::When));
    }
    let applies = scope.iter().chain(&conditions_found).all(Clause::holds);
    PolicyReport {
        id: Arc::clone(&info.id),
        title: info.title.clone(),
        file: Arc::clone(&info.file),
        line: info.line,
        effect: match info.effect {
            Effect::Permit => "permit",
            Effect::Forbid => "forbid",
        },
        text: Arc::clone(&info.text),
        applies,
        scope,
        conditions: conditions_found,
    }
}

/// The three parts of a policy's head, as expressions; what allows everything is left out.
fn scope(policy: &Policy, line: u32, question: &Question) -> Vec<Clause> {
    let principal = match policy.principal_constraint() {
        PrincipalConstraint::Any => None,
        PrincipalConstraint::In(uid) => Some(format!("principal in {uid}")),
        PrincipalConstraint::Eq(uid) => Some(format!("principal == {uid}")),
        PrincipalConstraint::Is(kind) => Some(format!("principal is {kind}")),
        PrincipalConstraint::IsIn(kind, uid) => Some(format!("principal is {kind} in {uid}")),
    };
    let action = match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(uid) => Some(format!("action == {uid}")),
        ActionConstraint::In(uids) => {
            let uids: Vec<String> = uids.iter().map(ToString::to_string).collect();
            Some(format!("action in [{}]", uids.join(", ")))
        }
    };
    let resource = match policy.resource_constraint() {
        ResourceConstraint::Any => None,
        ResourceConstraint::In(uid) => Some(format!("resource in {uid}")),
        ResourceConstraint::Eq(uid) => Some(format!("resource == {uid}")),
        ResourceConstraint::Is(kind) => Some(format!("resource is {kind}")),
        ResourceConstraint::IsIn(kind, uid) => Some(format!("resource is {kind} in {uid}")),
    };
    let parts = [principal, action, resource].into_iter().flatten();
    parts
        .map(|text| {
            let value = evaluate(question, &text);
            let mut facts = Vec::new();
            if value != Value::True {
                facts.extend(facts_of(question, &text));
            }
            Clause { text, line, wanted: true, value, need: None, parts: Vec::new(), facts }
        })
        .collect()
}

struct Reader<'a> {
    parsed: &'a Parsed,
    question: &'a Question,
}

impl Reader<'_> {
    /// The clause at `range` of the policy's text.
    fn clause(&self, range: std::ops::Range<usize>, wanted: bool) -> Clause {
        let text = &*self.parsed.info.text;
        let own = text.get(range.clone()).unwrap_or("");
        let value = evaluate(self.question, own);
        let (need, ranges, inner) = match join(text, range.clone()) {
            Join::One => (None, Vec::new(), wanted),
            // Of `a && b` both are needed to be true, and one is enough to be false.
            Join::And(parts) => (Some(if wanted { Need::All } else { Need::Any }), parts, wanted),
            Join::Or(parts) => (Some(if wanted { Need::Any } else { Need::All }), parts, wanted),
            Join::Not(inside) => (Some(Need::All), vec![inside], !wanted),
        };
        let readable = ranges.iter().all(|part| {
            text.get(part.clone()).is_some_and(|part| Expression::from_str(part).is_ok())
        });
        let (need, mut parts) = if readable {
            (need, ranges.into_iter().map(|part| self.clause(part, inner)).collect())
        } else {
            (None, Vec::<Clause>::new())
        };
        // Cedar stops at the first operand that decides; those after it may err in peace.
        let mut decided = false;
        for part in &mut parts {
            if decided && matches!(part.value, Value::Error(_)) {
                part.value = Value::NotReached;
            }
            let stops = if need == Some(Need::All) { !part.holds() } else { part.holds() };
            decided |= stops && part.value != Value::NotReached;
        }
        let facts = if parts.is_empty() { facts_of(self.question, own) } else { Vec::new() };
        let (before, _) = place(text, range.start);
        let line = self.parsed.info.line.saturating_add(before.saturating_sub(1));
        Clause { text: one_line(own), line, wanted, value, need, parts, facts }
    }
}

fn evaluate(question: &Question, expression: &str) -> Value {
    let Ok(parsed) = Expression::from_str(expression) else {
        return Value::Error("it cannot be read by itself");
    };
    match eval_expression(&question.request, &question.entities, &parsed) {
        Ok(EvalResult::Bool(true)) => Value::True,
        Ok(EvalResult::Bool(false)) => Value::False,
        Ok(_) => Value::Error("it is neither true nor false"),
        Err(error) => Value::Error(kind_of(&error)),
    }
}

/// What the request says at each path an expression reads; records say nothing by themselves.
fn facts_of(question: &Question, expression: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for path in paths(expression) {
        let Ok(parsed) = Expression::from_str(path) else { continue };
        match eval_expression(&question.request, &question.entities, &parsed) {
            Ok(EvalResult::Record(_)) | Err(_) => {}
            Ok(value) => out.push((path.to_owned(), value.to_string())),
        }
    }
    out
}
