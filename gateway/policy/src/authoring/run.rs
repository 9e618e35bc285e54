//! Runs test cases over a set: by Cedar's authorizer over all of it, as the upstream CLI does, and
//! by the engine a hub decides with. They must agree.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{Authorizer, Decision, PolicySet};
use hub_model::{Action, HubId, RegistrationId};
use serde::Serialize;

use crate::Error;
use crate::authoring::cases::Case;
use crate::authoring::replica::Replica;
use crate::bundle::{Bundle, Checks};
use crate::decide::{Policies, Votes};
use crate::memo::Outcome;

/// What was decided, or is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `allow` or `deny`.
    pub decision: &'static str,
    /// Ids of the policies that determine it, sorted.
    pub policies: Vec<String>,
    /// How many policies err.
    pub errors: usize,
}

/// How one case came out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// The file the case is in.
    pub file: Arc<str>,
    /// The line it starts at, from 1.
    pub line: u32,
    /// Its name.
    pub name: String,
    /// Whether everything is as it is to be.
    pub passed: bool,
    /// What is not, one sentence each.
    pub failures: Vec<String>,
    /// What is to be.
    pub expected: Verdict,
    /// What Cedar says.
    pub actual: Verdict,
    /// Why no hub could receive this request, so that only Cedar decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cedar_alone: Option<String>,
}

/// What no test determines.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// The author's policies: how many there are.
    pub policies: usize,
    /// Those that determine no case.
    pub policies_never: Vec<String>,
    /// Policies of the baseline that determine no case.
    pub baseline_never: Vec<String>,
    /// Actions the author's policies are about: how many there are.
    pub actions: usize,
    /// Those for which no policy of the author's determines a case.
    pub actions_never: Vec<&'static str>,
    /// Actions of the hub that no case asks for.
    pub actions_unasked: Vec<&'static str>,
}

/// How all cases came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Case by case, as given.
    pub cases: Vec<CaseReport>,
    /// What they leave out.
    pub coverage: Coverage,
}

impl Report {
    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.passed).count()
    }
}

/// Runs cases over the baseline and these files.
///
/// # Errors
/// As [`Bundle::parse`], a lock-out aside: a set can be tested without being one to run.
pub fn run(files: &[(String, String)], cases: &[Case]) -> Result<Report, Error> {
    let mut runner = Runner::new(files)?;
    let mut reports = Vec::with_capacity(cases.len());
    for (at, case) in (1..).zip(cases) {
        reports.push(runner.case(case, at)?);
    }
    let coverage = runner.coverage(cases, &reports);
    Ok(Report { cases: reports, coverage })
}

struct Runner<'a> {
    files: &'a [(String, String)],
    bundle: Bundle,
    whole: PolicySet,
    /// The engine for each hub the entities describe; mostly one.
    hubs: HashMap<(HubId, RegistrationId), Policies>,
}

impl<'a> Runner<'a> {
    fn new(files: &'a [(String, String)]) -> Result<Self, Error> {
        let bundle = Bundle::compile(files.to_vec(), Checks::All)?;
        let policies = bundle.policies.iter().map(|parsed| parsed.policy.clone());
        let whole =
            PolicySet::from_policies(policies).map_err(|error| Error::Schema(error.to_string()))?;
        Ok(Self { files, bundle, whole, hubs: HashMap::new() })
    }

    fn case(&mut self, case: &Case, revision: u64) -> Result<CaseReport, Error> {
        let question = &case.question;
        let response =
            Authorizer::new().is_authorized(&question.request, &self.whole, &question.entities);
        let allowed = response.decision() == Decision::Allow;
        let mut policies: Vec<String> =
            response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        let errors: Vec<String> =
            response.diagnostics().errors().map(ToString::to_string).collect();
        let mut failures = Vec::new();
        if allowed != case.allow {
            failures.push(format!("it is to be {}, and is {}", word(case.allow), word(allowed)));
        }
        for id in case.reason.iter().filter(|id| !policies.contains(id)) {
            let known = self.bundle.describe(id).is_some();
            let why = if known { "does not determine it" } else { "is no policy" };
            failures.push(format!("`{id}` {why}"));
        }
        if errors.len() != case.errors {
            let (n, is) = (case.errors, errors.len());
            failures.push(format!("{n} error(s) are to occur, and {is} do"));
        }
        failures.extend(errors.iter().cloned());
        if !errors.is_empty() && allowed {
            failures.push("a hub denies it: there a policy that errs denies".to_owned());
        }
        let mut votes = Votes::default();
        votes.add(&response);
        let plain = votes.outcome(self.bundle.revision());
        let mut cedar_alone = None;
        match Replica::of(question, revision) {
            Ok(replica) => failures.extend(self.disagreement(&plain, &replica)?),
            Err(why) => cedar_alone = Some(why),
        }
        // Expected errors are told of where something else is wrong.
        let passed = failures.len() == errors.len() && errors.len() == case.errors;
        if passed {
            failures.clear();
        }
        Ok(CaseReport {
            file: Arc::clone(&case.file),
            line: case.line,
            name: case.name.clone(),
            passed,
            failures,
            expected: Verdict {
                decision: word(case.allow),
                policies: case.reason.clone(),
                errors: case.errors,
            },
            actual: Verdict { decision: word(allowed), policies, errors: errors.len() },
            cedar_alone,
        })
    }

    /// What a hub decides otherwise than Cedar does over the whole set, if anything.
    fn disagreement(
        &mut self,
        plain: &Outcome,
        replica: &Replica,
    ) -> Result<Option<String>, Error> {
        let hub = (replica.hub, replica.hub_registration);
        if !self.hubs.contains_key(&hub) {
            let bundle = Bundle::compile(self.files.to_vec(), Checks::All)?;
            self.hubs.insert(hub, Policies::unchecked(bundle, hub.0, hub.1)?);
        }
        let Some(policies) = self.hubs.get(&hub) else { return Ok(None) };
        let (asker, target, facts) = (replica.asker(), replica.target(), replica.facts());
        // Twice, so that the second meets what the first left in the memo.
        let first = policies.outcome(&asker, replica.action, &target, &facts);
        let second = policies.outcome(&asker, replica.action, &target, &facts);
        let said = |outcome: &Outcome| {
            let by = outcome.trace.policies.join(", ");
            let by = if by.is_empty() { "no policy".to_owned() } else { by };
            let errors = outcome.trace.errors.iter().map(|error| format!(" ({error})"));
            format!("{} by {by}{}", word(outcome.permitted), errors.collect::<String>())
        };
        if first == *plain && second == *plain {
            return Ok(None);
        }
        // The same request with the ids of a hub, by Cedar over the whole set: where that differs
        // from the case, it is the case that no hub can meet.
        let real = policies.asked(&asker, replica.action, &target, &facts).ok().map(|question| {
            let mut votes = Votes::default();
            let (request, entities) = (&question.request, &question.entities);
            votes.add(&Authorizer::new().is_authorized(request, &self.whole, entities));
            votes.outcome(self.bundle.revision())
        });
        Ok(Some(if real.as_ref() == Some(&first) && first == second {
            format!(
                "on a hub it is {}: there ids look like `key_01jd8r…`, and names such as \
                 `reg_acme` in a policy are never those of the request",
                said(&first)
            )
        } else {
            format!(
                "a fault of Cipher Hub, please report it: its engine says {}, then {}; Cedar says {}",
                said(&first),
                said(&second),
                said(plain)
            )
        }))
    }

    fn coverage(&self, cases: &[Case], reports: &[CaseReport]) -> Coverage {
        let mut determined: BTreeSet<&str> = BTreeSet::new();
        let (mut asked, mut own_determined) = (BTreeSet::new(), BTreeSet::new());
        for (case, report) in cases.iter().zip(reports) {
            determined.extend(report.actual.policies.iter().map(String::as_str));
            let Some(action) = case.question.action() else { continue };
            asked.insert(action.name());
            let own = |id: &String| {
                let found = self.bundle.policies.iter().find(|parsed| *parsed.info.id == **id);
                found.is_some_and(|parsed| !parsed.baseline)
            };
            if report.actual.policies.iter().any(own) {
                own_determined.insert(action.name());
            }
        }
        let mut coverage = Coverage::default();
        let mut about: BTreeSet<&str> = BTreeSet::new();
        for (parsed, scope) in self.bundle.policies.iter().zip(&self.bundle.index.scopes) {
            let id = &*parsed.info.id;
            if parsed.baseline {
                if !determined.contains(id) {
                    coverage.baseline_never.push(id.to_owned());
                }
                continue;
            }
            coverage.policies += 1;
            about.extend(scope.actions.iter().map(|action| action.name()));
            if !determined.contains(id) {
                coverage.policies_never.push(id.to_owned());
            }
        }
        coverage.actions = about.len();
        let all = || Action::ALL.iter().map(|action| action.name());
        coverage.actions_never =
            all().filter(|a| about.contains(a) && !own_determined.contains(a)).collect();
        coverage.actions_unasked = all().filter(|action| !asked.contains(action)).collect();
        coverage
    }
}

const fn word(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}
