//! `cipher-hub policy diff`: what a change of the policies would allow and deny.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use hub_policy::authoring::Verdict;
use hub_policy::authoring::diff::{Basis, Comparison, Example, Relation, Row, diff};
use serde_json::Value;

use super::super::super::failure::{Code, Failure};
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::folder::{self, Folder};
use super::test;

/// The name of the set that has the baseline alone.
const BASELINE: &str = "baseline";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy diff baseline policies
  cipher-hub policy diff /etc/cipher-hub/policies policies --fail-on-wider
  git worktree add ../before main && cipher-hub policy diff ../before/policies policies
  cipher-hub policy diff before after --prove --solver /usr/bin/cvc5")]
pub(crate) struct DiffArgs {
    /// The folder before; `baseline` for no policies of your own
    #[arg(value_name = "A")]
    before: PathBuf,
    /// The folder after
    #[arg(value_name = "B")]
    after: PathBuf,
    /// Requests to generate for each kind of caller and action whose policies differ
    #[arg(long, value_name = "N", default_value_t = 500)]
    requests: usize,
    /// Prove it, by Cedar's symbolic compiler and the solver cvc5
    #[arg(long)]
    prove: bool,
    /// The solver's program
    #[arg(long, value_name = "PATH", default_value = "cvc5")]
    solver: PathBuf,
    /// Exit with 1 when B allows what A denies
    #[arg(long)]
    fail_on_wider: bool,
}

pub(super) async fn run(args: &DiffArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let (before, mut cases) = open(&args.before)?;
    let (after, more) = open(&args.after)?;
    cases.extend(more);
    let mut comparison =
        diff(&before, &after, &cases, args.requests).map_err(|error| folder::failure(&error))?;
    if args.prove {
        prove(&mut comparison, &before, &after, &args.solver).await?;
    }
    if session.console.for_people() {
        for line in lines(&comparison) {
            session.console.line(&clean(&line))?;
        }
    } else {
        session.console.item(&comparison, &[])?;
    }
    if args.fail_on_wider && comparison.rows.iter().any(|row| row.wider.is_some()) {
        let message = "B allows what A denies";
        return Err(Failure::new(Code::Failed, message, "leave out --fail-on-wider if it should"));
    }
    Ok(())
}

type Read = (Vec<(String, String)>, Vec<hub_policy::authoring::Case>);

fn open(path: &Path) -> Result<Read, Failure> {
    if path == Path::new(BASELINE) && !path.exists() {
        return Ok((Vec::new(), Vec::new()));
    }
    let folder = Folder::open(Some(path))?;
    // A folder need not have tests, and bad ones are the affair of `policy test`.
    let cases = test::read(&folder, &[]).map(|(cases, _)| cases).unwrap_or_default();
    Ok((folder.files, cases))
}

#[cfg(feature = "prove")]
async fn prove(
    comparison: &mut Comparison,
    before: &[(String, String)],
    after: &[(String, String)],
    solver: &Path,
) -> Result<(), Failure> {
    let proof = hub_policy::authoring::prove::prove(comparison, before, after, solver);
    Box::pin(proof).await.map_err(|error| {
        let hint = "install cvc5 1.0.3 or newer and name it with --solver, or leave out --prove";
        Failure::new(Code::Failed, error.to_string(), hint)
    })
}

#[cfg(not(feature = "prove"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn prove(
    _comparison: &mut Comparison,
    _before: &[(String, String)],
    _after: &[(String, String)],
    _solver: &Path,
) -> Result<(), Failure> {
    let message = "this program was built without the feature `prove`";
    Err(Failure::new(Code::Failed, message, "leave out --prove"))
}

fn lines(comparison: &Comparison) -> Vec<String> {
    // Rows that differ in the same way, by the same policies, are told of together.
    let mut groups: BTreeMap<(&str, &str, Vec<String>), Vec<&Row>> = BTreeMap::new();
    for row in comparison.rows.iter().filter(|row| row.relation != Relation::Same) {
        let by = |example: &Option<Example>| {
            example.as_ref().map(|e| format!("{} {}", said(&e.a), said(&e.b))).unwrap_or_default()
        };
        let why = vec![by(&row.wider), by(&row.narrower)];
        groups.entry((row.relation.name(), row.resource, why)).or_default().push(row);
    }
    let mut out = Vec::new();
    for ((relation, resource, _), rows) in &groups {
        let (principals, actions) = (
            distinct(rows.iter().map(|row| row.principal)),
            distinct(rows.iter().map(|row| row.action)),
        );
        out.push(format!("B is {relation} for {} on {resource}:", principals.join(", ")));
        out.push(format!("  {}", actions.join(" ")));
        let examples = rows.first().map(|row| (row.wider.as_ref(), row.narrower.as_ref()));
        let (wider, narrower) = examples.unwrap_or_default();
        for (what, example) in [("more", wider), ("less", narrower)] {
            if let Some(example) = example {
                out.push(format!("  {what} is allowed, for example ({}):", example.source));
                out.extend(shown(example).into_iter().map(|line| format!("    {line}")));
            }
        }
        let except = distinct(rows.iter().flat_map(|row| row.except.iter().map(String::as_str)));
        out.extend(except.into_iter().map(|except| format!("  not proven: {except}")));
        out.push(String::new());
    }
    out.extend(summary(comparison));
    out
}

fn distinct<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut out: Vec<&str> = Vec::new();
    for item in items {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}

fn said(verdict: &Verdict) -> String {
    let by = verdict.policies.join(", ");
    match (verdict.errors, by.is_empty()) {
        (0, true) => format!("{} by no policy", verdict.decision),
        (0, false) => format!("{} by {by}", verdict.decision),
        _ => format!("{} since a policy errs", verdict.decision),
    }
}

fn shown(example: &Example) -> Vec<String> {
    let field = |name: &str| example.request.get(name).cloned().unwrap_or_default();
    let text = |name: &str| field(name).as_str().unwrap_or_default().replace("CipherHub::", "");
    let mut out = vec![
        format!("{} asks for {} on {}", text("principal"), text("action"), text("resource")),
        format!("context {}", plain(&field("context"))),
    ];
    for entity in example.entities.as_array().into_iter().flatten() {
        out.push(format!("entity  {}", plain(entity)));
    }
    out.push(format!("A: {}", said(&example.a)));
    out.push(format!("B: {}", said(&example.b)));
    out
}

/// JSON on one line, with entities as their ids.
fn plain(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            if let Some(inner) = fields.get("__entity") {
                return plain(inner);
            }
            if let Some(call) = fields.get("__extn") {
                return call.get("arg").map(plain).unwrap_or_default();
            }
            if let (Some(kind), Some(id)) = (fields.get("type"), fields.get("id"))
                && let (Some(kind), Some(id)) = (kind.as_str(), id.as_str())
            {
                return format!("{}::\"{id}\"", kind.trim_start_matches("CipherHub::"));
            }
            let empty = |value: &Value| {
                value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(serde_json::Map::is_empty)
            };
            let fields = fields.iter().filter(|(_, value)| !empty(value));
            let fields: Vec<String> =
                fields.map(|(name, value)| format!("{name}: {}", plain(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn summary(comparison: &Comparison) -> Vec<String> {
    let count =
        |wanted: &dyn Fn(&Row) -> bool| comparison.rows.iter().filter(|row| wanted(row)).count();
    let mut out = vec!["kinds of caller and actions:".to_owned()];
    let equal = count(&|row| row.basis == Basis::SamePolicies);
    out.push(format!("  {equal} same, since the same policies can apply"));
    for (basis, how) in [
        (
            Basis::Requests,
            format!(
                "by {} requests of tests and {} generated ones, not a proof",
                comparison.tests, comparison.generated
            ),
        ),
        (Basis::Proof, "by proof".to_owned()),
    ] {
        let of = |relation| count(&|row| row.basis == basis && row.relation == relation);
        let parts: Vec<String> =
            [Relation::Same, Relation::Wider, Relation::Narrower, Relation::Incomparable]
                .into_iter()
                .map(|relation| (of(relation), relation))
                .filter(|(number, _)| *number > 0)
                .map(|(number, relation)| format!("{number} {}", relation.name()))
                .collect();
        if !parts.is_empty() {
            out.push(format!("  {}: {how}", parts.join(", ")));
        }
    }
    out
}
