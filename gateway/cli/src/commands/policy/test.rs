//! `cipher-hub policy test`: decision cases in Cedar's own format, over the baseline and a folder.

use std::path::PathBuf;

use clap::Args;
use hub_policy::Problem;
use hub_policy::authoring::{
    Case, CaseReport, Coverage, Library, Report, Verdict, run as run_cases,
};
use serde_json::json;

use super::super::super::failure::{Code, Failure};
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::folder::{self, Folder};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy test
  cipher-hub policy test policies --coverage
  cipher-hub policy test --filter 'plain TCP'
  cipher-hub policy test --tests more/network.test.json --output json")]
pub(crate) struct TestArgs {
    /// The folder; this one, or `policies` in it, when not said
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Name the policies and actions that no case determines
    #[arg(long)]
    coverage: bool,
    /// Run only cases whose name or file has this in it
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Test files, or folders of them, instead of those of the folder
    #[arg(long, value_name = "PATH")]
    tests: Vec<PathBuf>,
}

/// Cases of these files, and what is wrong with others.
pub(super) fn read(
    folder: &Folder,
    said: &[PathBuf],
) -> Result<(Vec<Case>, Vec<Problem>), Failure> {
    let mut library = Library::new();
    let (mut cases, mut problems) = (Vec::new(), Vec::new());
    for path in folder.test_files(said)? {
        let shown = path.display().to_string();
        let shown = shown.strip_prefix("./").unwrap_or(&shown);
        let (more, wrong) =
            library.read(&path, shown).map_err(|error| Failure::file(&path, &error))?;
        cases.extend(more);
        problems.extend(wrong);
    }
    Ok((cases, problems))
}

pub(super) fn run(args: &TestArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let folder = Folder::open(args.dir.as_deref())?;
    let (mut cases, problems) = read(&folder, &args.tests)?;
    if let Some(filter) = &args.filter {
        cases.retain(|case| case.name.contains(filter) || case.file.contains(filter.as_str()));
    }
    if cases.is_empty() && problems.is_empty() {
        let what = if args.filter.is_some() { "case matches" } else { "`*.test.json` is there" };
        let hint = "`tests` in policy.toml, or --tests, says where they are";
        return Err(Failure::new(Code::Failed, format!("nothing to test: no {what}"), hint));
    }
    let report = run_cases(&folder.files, &cases).map_err(|error| folder::failure(&error))?;
    let failed = report.failed() + problems.len();
    let passed = report.cases.len() - report.failed();
    if session.console.for_people() {
        for line in lines(&report, &problems, args.coverage) {
            session.console.line(&clean(&line))?;
        }
        session.console.line(&format!("{passed} passed, {failed} failed"))?;
    } else {
        let problems: Vec<_> = problems
            .iter()
            .map(|problem| {
                json!({
                    "file": problem.file,
                    "line": problem.line,
                    "column": problem.column,
                    "message": problem.message,
                })
            })
            .collect();
        let value = json!({
            "passed": passed,
            "failed": failed,
            "cases": report.cases,
            "problems": problems,
            "coverage": report.coverage,
        });
        session.console.item(&value, &[])?;
    }
    if failed > 0 {
        return Err(Failure::new(Code::Failed, "", ""));
    }
    Ok(())
}

fn lines(report: &Report, problems: &[Problem], coverage: bool) -> Vec<String> {
    let mut out = Vec::new();
    for problem in problems {
        out.push(format!(
            "{}:{}:{}: error: {}",
            problem.file, problem.line, problem.column, problem.message
        ));
        out.extend(problem.rendered.lines().map(str::to_owned));
        out.push(String::new());
    }
    for case in report.cases.iter().filter(|case| !case.passed) {
        out.extend(failed(case));
        out.push(String::new());
    }
    let alone: Vec<&CaseReport> =
        report.cases.iter().filter(|case| case.cedar_alone.is_some()).collect();
    if !alone.is_empty() {
        out.push(format!("{} of these no hub could receive, so Cedar alone decided:", alone.len()));
        for case in alone {
            let why = case.cedar_alone.as_deref().unwrap_or_default();
            out.push(format!("  {}:{} {}: {why}", case.file, case.line, case.name));
        }
        out.push(String::new());
    }
    if coverage {
        out.extend(covered(&report.coverage));
        out.push(String::new());
    }
    out
}

fn failed(case: &CaseReport) -> Vec<String> {
    let said = |verdict: &Verdict| {
        let by = verdict.policies.join(", ");
        let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
        let errors = match verdict.errors {
            0 => String::new(),
            errors => format!(", {errors} error(s)"),
        };
        format!("{}{by}{errors}", verdict.decision)
    };
    let mut out = vec![
        format!("{}:{}: FAILED {}", case.file, case.line, case.name),
        format!("  expected {}", said(&case.expected)),
        format!("  actual   {}", said(&case.actual)),
    ];
    out.extend(case.failures.iter().map(|failure| format!("  - {failure}")));
    out
}

fn covered(coverage: &Coverage) -> Vec<String> {
    let mut out = Vec::new();
    let mut part = |what: &str, all: usize, never: Vec<&str>| {
        out.push(format!("coverage: {} of {all} {what} determine a case", all - never.len()));
        out.extend(never.into_iter().map(|one| format!("  never: {one}")));
    };
    let never = coverage.policies_never.iter().map(String::as_str).collect();
    part("policies here", coverage.policies, never);
    part("actions these policies are about", coverage.actions, coverage.actions_never.clone());
    out
}
