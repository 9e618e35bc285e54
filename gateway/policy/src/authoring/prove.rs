//! A comparison by proof: Cedar's symbolic compiler turns both sets into formulas, and the solver
//! cvc5 finds a request that one permits and the other does not, or shows that there is none.
//!
//! The compiler follows Cedar's rule that a policy that errs is skipped; here such a policy denies.
//! So it is also asked whether a policy can err, and a row says where the proof does not reach.

use std::path::Path;
use std::process::Stdio;

use cedar_policy::{EntityUid, Policy, RequestEnv};
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet};

use super::diff::{Basis, Comparison, Row, Side, example};
use crate::Error;
use crate::analysis::Question;
use crate::schema::Words;

/// The longest one question may take the solver, in milliseconds.
const LIMIT: &str = "--tlimit-per=60000";

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// A set is not valid.
    #[error(transparent)]
    Policy(#[from] Error),
    /// The solver does not start, does not answer, or does not know.
    #[error("the solver gave no answer: {0}")]
    Solver(String),
}

/// Proves the rows of a comparison of `a` and `b` that the policies themselves do not decide.
///
/// # Errors
/// [`ProveError`]; rows before the failure are proven.
pub async fn prove(
    comparison: &mut Comparison,
    a: &[(String, String)],
    b: &[(String, String)],
    solver: &Path,
) -> Result<(), ProveError> {
    let (a, b) = (Side::new(a)?, Side::new(b)?);
    let words = Words::load()?;
    let wrong = |error: &dyn std::fmt::Display| ProveError::Solver(error.to_string());
    let mut command = tokio::process::Command::new(solver);
    command.args(["--lang", "smt", LIMIT]).stderr(Stdio::null()).kill_on_drop(true);
    let started = LocalSolver::from_command(&mut command)
        .map_err(|error| ProveError::Solver(format!("`{}`: {error}", solver.display())))?;
    let mut compiler = CedarSymCompiler::new(started).map_err(|error| wrong(&error))?;
    let environments: Vec<RequestEnv> = words.schema.request_envs().collect();
    for row in &mut comparison.rows {
        if row.basis == Basis::SamePolicies {
            continue;
        }
        let Some(environment) = environments.iter().find(|env| is_of(env, row)) else { continue };
        let compile = |side: &Side| {
            CompiledPolicySet::compile(&side.set, environment, &words.schema)
                .map_err(|error| wrong(&error))
        };
        let (first, second) = (compile(&a)?, compile(&b)?);
        let mut examples = [None, None];
        for (place, (from, to)) in examples.iter_mut().zip([(&second, &first), (&first, &second)]) {
            let found = compiler
                .check_implies_with_counterexample_opt(from, to)
                .await
                .map_err(|error| wrong(&error))?;
            *place = found.map(|env| {
                let question = Question { request: env.request, entities: env.entities };
                example("proof", &question, &a.decide(&question), &b.decide(&question))
            });
        }
        let [wider, narrower] = examples;
        // What was tried is easier to read than what a solver makes up; which there is, it decides.
        row.wider = wider.map(|made_up| row.wider.take().unwrap_or(made_up));
        row.narrower = narrower.map(|made_up| row.narrower.take().unwrap_or(made_up));
        row.basis = Basis::Proof;
        row.settle();
        for policy in may_err(&a, &b) {
            let compiled = CompiledPolicy::compile(&policy, environment, &words.schema)
                .map_err(|error| wrong(&error))?;
            let never =
                compiler.check_never_errors_opt(&compiled).await.map_err(|error| wrong(&error))?;
            if !never {
                let id = policy.id();
                row.except.push(format!("requests on which `{id}` errs, which are denied"));
            }
        }
        row.except.sort();
        row.except.dedup();
    }
    Ok(())
}

fn is_of(environment: &RequestEnv, row: &Row) -> bool {
    let action: &EntityUid = environment.action();
    action.id().unescaped() == row.action && environment.principal().basename() == row.principal
}

/// Policies that count: validation leaves overflow as the only error there can be.
fn may_err(a: &Side, b: &Side) -> Vec<Policy> {
    fn counts(value: &serde_json::Value) -> bool {
        const OPERATORS: [&str; 6] = ["+", "-", "*", "neg", "offset", "durationSince"];
        match value {
            serde_json::Value::Object(fields) => fields
                .iter()
                .any(|(name, value)| OPERATORS.contains(&name.as_str()) || counts(value)),
            serde_json::Value::Array(items) => items.iter().any(counts),
            _ => false,
        }
    }
    let all = a.set.policies().chain(b.set.policies());
    all.filter(|policy| policy.to_json().map_or(true, |json| counts(&json))).cloned().collect()
}
