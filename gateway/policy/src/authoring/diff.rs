//! What one set permits and another does not, per kind of caller and action.
//!
//! Where the policies that can apply are the same, so is every decision, and that is certain.
//! Elsewhere both sets decide the requests of the tests and some drawn at random ([`super::draw`]):
//! a difference that is found is one, and what is not found may still be there. A proof is the
//! affair of [`super::prove`].

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, PolicySet};
use hub_model::action::ResourceKind;
use hub_model::{Action, HubId, ParticipantKind};
use serde::Serialize;
use serde_json::{Value, json};

use super::cases::Case;
use super::draw::{Draw, HUB, Numbers, Vocabulary};
use super::run::Verdict;
use crate::Error;
use crate::analysis::Question;
use crate::bundle::{Bundle, Checks};
use crate::decide::{Policies, Votes};
use crate::memo::Outcome;
use crate::source::Parsed;

const KINDS: [(ParticipantKind, &str); 3] = [
    (ParticipantKind::User, "User"),
    (ParticipantKind::Service, "Service"),
    (ParticipantKind::Device, "Device"),
];
/// The seed of every comparison.
const SEED: u64 = 0x6369_7068_6572;

/// How the second set stands to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Relation {
    /// Nothing differs.
    Same,
    /// It permits more, and nothing less.
    Wider,
    /// It permits less, and nothing more.
    Narrower,
    /// It permits some things more and others less.
    Incomparable,
}

impl Relation {
    /// The word for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Wider => "wider",
            Self::Narrower => "narrower",
            Self::Incomparable => "incomparable",
        }
    }
}

/// How it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Basis {
    /// The same policies can apply on both sides.
    SamePolicies,
    /// By the requests that were tried; a difference is one, its absence is not proven.
    Requests,
    /// By proof, over every request there can be.
    Proof,
}

/// A request the two sets decide differently.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// The test it is from, `generated` or `proof`.
    pub source: String,
    /// Principal, action, resource and context, as in a test file.
    pub request: Value,
    /// The entities, as in a file of entities.
    pub entities: Value,
    /// What the first set decides.
    pub a: Verdict,
    /// What the second set decides.
    pub b: Verdict,
}

/// One kind of caller and one action.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// `User`, `Service` or `Device`.
    pub principal: &'static str,
    /// The action.
    pub action: &'static str,
    /// `Key`, `Registration` or `Hub`.
    pub resource: &'static str,
    /// How the second set stands to the first.
    pub relation: Relation,
    /// How that is known.
    pub basis: Basis,
    /// What the second permits and the first does not.
    pub wider: Option<Example>,
    /// What the first permits and the second does not.
    pub narrower: Option<Example>,
    /// What a proof does not cover, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

impl Row {
    pub(super) fn settle(&mut self) {
        self.relation = match (self.wider.is_some(), self.narrower.is_some()) {
            (false, false) => Relation::Same,
            (true, false) => Relation::Wider,
            (false, true) => Relation::Narrower,
            (true, true) => Relation::Incomparable,
        };
    }
}

/// Two sets compared.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Every kind of caller and action.
    pub rows: Vec<Row>,
    /// How many requests of tests were decided by both.
    pub tests: usize,
    /// How many generated ones.
    pub generated: usize,
}

/// A set of policies, in the forms a comparison needs.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) policies: Policies,
    pub(super) set: PolicySet,
}

impl Side {
    pub(super) fn new(files: &[(String, String)]) -> Result<Self, Error> {
        let bundle = Bundle::compile(files.to_vec(), Checks::All)?;
        let all = bundle.policies.iter().map(|parsed| parsed.policy.clone());
        let set =
            PolicySet::from_policies(all).map_err(|error| Error::Schema(error.to_string()))?;
        Ok(Self { policies: Policies::unchecked(bundle, HubId::from_bytes([0x11; 16]), HUB)?, set })
    }

    pub(super) fn decide(&self, question: &Question) -> Outcome {
        let mut votes = Votes::default();
        let (request, entities) = (&question.request, &question.entities);
        votes.add(&Authorizer::new().is_authorized(request, &self.set, entities));
        votes.outcome(&self.policies.revision())
    }

    /// The policies whose scope this caller and action can meet, as far as decisions go.
    fn applicable(&self, action: Action, kind: ParticipantKind) -> BTreeSet<String> {
        self.policies.with_bundle(|bundle| {
            let all = bundle.policies.iter().zip(&bundle.index.scopes);
            let fit = all.filter(|(_, scope)| scope.meets(action, kind));
            fit.map(|(parsed, _)| meaning(parsed)).collect()
        })
    }
}

/// A policy without its annotations.
fn meaning(parsed: &Parsed) -> String {
    match parsed.policy.to_json() {
        Ok(mut json) => {
            if let Some(fields) = json.as_object_mut() {
                fields.remove("annotations");
            }
            json.to_string()
        }
        Err(_) => parsed.info.text.to_string(),
    }
}

pub(super) fn verdict(outcome: &Outcome) -> Verdict {
    Verdict {
        decision: if outcome.permitted { "allow" } else { "deny" },
        policies: outcome.trace.policies.iter().map(ToString::to_string).collect(),
        errors: outcome.trace.errors.len(),
    }
}

/// A question as it stands in test files. Actions and closed vocabularies come with the schema.
pub(super) fn written(question: &Question) -> (Value, Value) {
    let request = &question.request;
    let text = |uid: Option<&cedar_policy::EntityUid>| uid.map(ToString::to_string);
    let context = request.context().and_then(|context| context.to_json_value().ok());
    let asked = json!({
        "principal": text(request.principal()),
        "action": text(request.action()),
        "resource": text(request.resource()),
        "context": context,
    });
    let known = ["User", "Service", "Device", "Hub", "Registration", "Key", "EncryptionContext"];
    let mut entities: Vec<_> = question
        .entities
        .iter()
        .filter(|entity| known.contains(&entity.uid().type_name().basename()))
        .collect();
    // Cedar keeps them in no order.
    entities.sort_by_key(|entity| entity.uid());
    let entities = entities.into_iter().filter_map(|entity| entity.to_json_value().ok());
    (asked, Value::Array(entities.collect()))
}

pub(super) fn example(source: &str, question: &Question, a: &Outcome, b: &Outcome) -> Example {
    let (request, entities) = written(question);
    Example { source: source.to_owned(), request, entities, a: verdict(a), b: verdict(b) }
}

/// Compares two sets by the requests of `cases` and `per_row` generated ones for each kind of
/// caller and action whose policies differ.
///
/// # Errors
/// As [`Bundle::parse`] for either set, a lock-out aside.
pub fn diff(
    a: &[(String, String)],
    b: &[(String, String)],
    cases: &[Case],
    per_row: usize,
) -> Result<Comparison, Error> {
    let (a, b) = (Side::new(a)?, Side::new(b)?);
    let parsed = |side: &Side| side.policies.with_bundle(|bundle| bundle.policies.clone());
    let (of_a, of_b) = (parsed(&a), parsed(&b));
    let words = Vocabulary::of(of_a.iter().chain(&of_b));
    let known = |list: &[std::sync::Arc<Parsed>]| -> BTreeSet<String> {
        list.iter().map(|parsed| meaning(parsed)).collect()
    };
    let (meant_a, meant_b) = (known(&of_a), known(&of_b));
    let changed: Vec<&Parsed> = of_a
        .iter()
        .chain(&of_b)
        .filter(|parsed| meant_a.contains(&meaning(parsed)) != meant_b.contains(&meaning(parsed)))
        .map(AsRef::as_ref)
        .collect();
    let mut comparison = Comparison { rows: Vec::new(), tests: 0, generated: 0 };
    for &action in Action::ALL {
        for (kind, principal) in KINDS {
            let mut row = Row {
                principal,
                action: action.name(),
                resource: match action.resource_kind() {
                    ResourceKind::Hub => "Hub",
                    ResourceKind::Registration => "Registration",
                    ResourceKind::Key => "Key",
                },
                relation: Relation::Same,
                basis: Basis::SamePolicies,
                wider: None,
                narrower: None,
                except: Vec::new(),
            };
            if a.applicable(action, kind) != b.applicable(action, kind) {
                row.basis = Basis::Requests;
                comparison.tests += by_tests(&mut row, &a, &b, cases);
                let asked = Asked { a: &a, b: &b, words: &words, changed: &changed };
                comparison.generated += asked.generated(&mut row, action, kind, per_row)?;
                row.settle();
            }
            comparison.rows.push(row);
        }
    }
    Ok(comparison)
}

/// The requests of the tests that are of this row; how many there were.
fn by_tests(row: &mut Row, a: &Side, b: &Side, cases: &[Case]) -> usize {
    let mut count = 0;
    for case in cases {
        let question = &case.question;
        let principal = question.request.principal();
        let of_row = question.action().is_some_and(|action| action.name() == row.action)
            && principal.is_some_and(|uid| uid.type_name().basename() == row.principal);
        if !of_row {
            continue;
        }
        count += 1;
        let (first, second) = (a.decide(question), b.decide(question));
        if first.permitted == second.permitted {
            continue;
        }
        let source = format!("{}:{} {}", case.file, case.line, case.name);
        let place = if second.permitted { &mut row.wider } else { &mut row.narrower };
        place.get_or_insert_with(|| example(&source, question, &first, &second));
    }
    count
}

struct Asked<'a> {
    a: &'a Side,
    b: &'a Side,
    words: &'a Vocabulary,
    changed: &'a [&'a Parsed],
}

impl Asked<'_> {
    fn generated(
        &self,
        row: &mut Row,
        action: Action,
        kind: ParticipantKind,
        most: usize,
    ) -> Result<usize, Error> {
        // A seed for each row, so that a row does not depend on those before it.
        let at = Action::ALL.iter().position(|one| *one == action).unwrap_or(0);
        let seed = SEED ^ (u64::try_from(at).unwrap_or(0) << 8) ^ kind as u64;
        let mut numbers = Numbers::new(seed);
        for count in 0..most {
            let mut draw = Draw::random(action, kind, self.words, &mut numbers);
            if numbers.odds(50)
                && let Some(policy) = numbers.one(self.changed)
            {
                draw.meet(policy);
            }
            let Some(second_permits) = self.differs(&draw) else { continue };
            let place = if second_permits { &row.wider } else { &row.narrower };
            if place.is_none() {
                let made = self.simplest(draw, second_permits);
                let example = self.example(&made)?;
                if second_permits {
                    row.wider = example;
                } else {
                    row.narrower = example;
                }
            }
            if row.wider.is_some() && row.narrower.is_some() {
                return Ok(count + 1);
            }
        }
        Ok(most)
    }

    /// Whether the sets differ on it, and then whether the second permits.
    fn differs(&self, draw: &Draw) -> Option<bool> {
        let made = draw.made()?;
        let (asker, target, facts) = (made.asker(), made.target(), made.facts());
        let decide = |side: &Side| {
            side.policies.with_bundle(|bundle| {
                let engine = side.policies.engine();
                engine.decide(bundle, &asker, draw.action, &target, &facts, None).0.permitted
            })
        };
        let (first, second) = (decide(self.a), decide(self.b));
        (first != second).then_some(second)
    }

    /// The same difference with as few peculiar facts as it takes.
    fn simplest(&self, mut draw: Draw, second_permits: bool) -> Draw {
        while let Some(simpler) =
            draw.simpler().into_iter().find(|one| self.differs(one) == Some(second_permits))
        {
            draw = simpler;
        }
        draw
    }

    fn example(&self, draw: &Draw) -> Result<Option<Example>, Error> {
        let Some(made) = draw.made() else { return Ok(None) };
        let question = self
            .a
            .policies
            .asked(&made.asker(), draw.action, &made.target(), &made.facts())
            .map_err(|unsayable| Error::Schema(unsayable.0))?;
        let (first, second) = (self.a.decide(&question), self.b.decide(&question));
        Ok(Some(example("generated", &question, &first, &second)))
    }
}
