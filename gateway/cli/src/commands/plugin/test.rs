//! `cipher-hub plugin test`: cases against a plugin in the real host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use hub_model::extend::{FailureKind, PluginFailure};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::super::failure::{Code, Failure};
use super::super::super::output::{Row, clean};
use super::super::super::run::Session;
use super::ask::{Asked, Host};
use super::case::Case;
use super::cases;
use super::values::{micros_text, short_length};
use super::{answer, script};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin test payday.wasm
  cipher-hub plugin test payday.wasm --cases more/cases --filter 'summer time'
  cipher-hub plugin test payday.wasm --record
  cipher-hub plugin test payday.wasm --record=all
  cipher-hub plugin test payday.wasm --time 5s
  cipher-hub plugin test payday.wasm --output json

docs/plugins/cases.md describes cases. Exits with 1 when one fails.")]
pub(crate) struct TestArgs {
    /// The plugin
    file: PathBuf,
    /// A case, or a folder of them; `cases` beside the plugin when not said
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
    /// Run only cases whose name or description has this in it
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// The time a call gets, in place of the manifest's: for machines that are slow or busy
    #[arg(long, value_name = "TIME", value_parser = short_length)]
    time: Option<Duration>,
    /// Write what was answered into cases, as what is expected from now on: `missing` into those
    /// that expect nothing yet, `all` also into those that expect something else
    #[arg(
        long,
        value_enum,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "missing"
    )]
    record: Option<Record>,
    /// Show the log of every case, not only of those that fail
    #[arg(long)]
    log: bool,
}

/// Cases that `--record` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Record {
    /// Those that expect nothing yet.
    Missing,
    /// All whose answer is not as expected.
    All,
}

impl Record {
    fn takes(self, case: &Case) -> bool {
        self == Self::All || (case.expect.is_none() && case.expect_error.is_none())
    }
}

/// How a case went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    case: String,
    description: String,
    passed: bool,
    /// What it was answered is expected from now on.
    recorded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Value>,
    fuel: u64,
    memory_bytes: u64,
    time_micros: u64,
    host_calls: u32,
    log: Vec<Value>,
    requests: Vec<Value>,
    differences: Vec<String>,
}

impl Report {
    /// One whose answer was recorded expects that answer from now on.
    const fn failed(&self) -> bool {
        !self.passed && !self.recorded
    }
}

impl Row for Report {
    const HEAD: &'static [&'static str] =
        &["", "CASE", "FUEL", "MEMORY", "TIME", "HOST CALLS", "LOG", "DESCRIPTION"];

    fn cells(&self) -> Vec<String> {
        vec![
            match (self.passed, self.recorded) {
                (true, _) => "ok",
                (false, true) => "recorded",
                (false, false) => "FAILED",
            }
            .to_owned(),
            self.case.clone(),
            self.fuel.to_string(),
            super::size(usize::try_from(self.memory_bytes).unwrap_or(usize::MAX)),
            micros_text(self.time_micros),
            self.host_calls.to_string(),
            self.log.len().to_string(),
            self.description.clone(),
        ]
    }
}

/// Where a plugin's cases are, when nothing is said.
pub(super) fn beside(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join("cases")
}

pub(super) async fn run(args: TestArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let package = super::package(&args.file)?;
    let folder = args.cases.clone().unwrap_or_else(|| beside(&args.file));
    if !folder.exists() {
        let message = format!("`{}` is not there", folder.display());
        let hint = "--cases names a folder of cases; docs/plugins/cases.md describes them";
        return Err(Failure::new(Code::NotFound, message, hint));
    }
    let (mut cases, problems) = cases::folder(&folder, package.manifest().world.name())?;
    if let Some(filter) = &args.filter {
        cases.retain(|case| case.title().contains(filter.as_str()));
    }
    if cases.is_empty() && problems.is_empty() {
        let message = format!("`{}` has no case to run", folder.display());
        return Err(Failure::new(Code::Failed, message, "cases are files *.json"));
    }
    let host = Host::load_with_time(&package, args.time)?;
    let mut reports = Vec::new();
    for case in &cases {
        let (mut report, outcome) = one(&host, case).await;
        // What could not be asked has nothing to record.
        let wanted = args.record.is_some_and(|which| which.takes(case)) && !report.passed;
        if let Some(outcome) = outcome.filter(|_| wanted)
            && !session.global.dry_run
        {
            match &outcome {
                Ok(answer) => cases::record(case, Ok(&with_requests(answer, &report.requests)))?,
                Err(failure) => cases::record(case, Err(kind_word(failure)))?,
            }
            report.recorded = true;
            session.console.note(&format!("recorded {}", case.path.display()));
        }
        reports.push(report);
    }
    let failed = reports.iter().filter(|report| report.failed()).count() + problems.len();
    show(&reports, &problems, failed, args.log, session)?;
    if failed > 0 { Err(Failure::new(Code::Failed, "", "")) } else { Ok(()) }
}

/// Runs a case. The second is what it was answered, where it could be asked at all.
async fn one(host: &Host, case: &Case) -> (Report, Option<Result<Value, PluginFailure>>) {
    let mut report = Report {
        case: case.file(),
        description: case.description.clone(),
        passed: false,
        recorded: false,
        answer: None,
        failure: None,
        fuel: 0,
        memory_bytes: 0,
        time_micros: 0,
        host_calls: 0,
        log: Vec::new(),
        requests: Vec::new(),
        differences: Vec::new(),
    };
    let asked = match host.ask(case).await {
        Ok(asked) => asked,
        Err(message) => {
            report.differences.push(message);
            return (report, None);
        }
    };
    report.fuel = asked.fuel;
    report.memory_bytes = asked.memory;
    report.time_micros = u64::try_from(asked.elapsed.as_micros()).unwrap_or(u64::MAX);
    report.host_calls = asked.host_calls;
    report.log =
        asked.log.iter().map(|(level, text)| json!({ "level": level, "text": text })).collect();
    report.differences = judge(case, &asked);
    report.passed = report.differences.is_empty();
    let outcome = match &asked.outcome {
        Ok(answer) => Ok(answer.json()),
        Err(failure) => Err(failure.clone()),
    };
    match &outcome {
        Ok(answer) => report.answer = Some(answer.clone()),
        Err(failure) => {
            report.failure = Some(json!({ "kind": failure.kind.name(), "text": failure.text }));
        }
    }
    report.requests = asked.sent;
    (report, Some(outcome))
}

/// What a case expects where this was answered and sent.
fn with_requests(answer: &Value, sent: &[Value]) -> Value {
    let mut members = match answer {
        Value::Object(members) if !sent.is_empty() => members.clone(),
        _ => return answer.clone(),
    };
    // Headers that every request has say nothing of this one.
    let told = sent.iter().filter_map(Value::as_object).map(|request| {
        let told = ["endpoint", "method", "path", "body"];
        let members = request.iter().filter(|(name, _)| told.contains(&name.as_str()));
        Value::Object(
            members.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>(),
        )
    });
    members.insert("requests".to_owned(), told.collect());
    Value::Object(members)
}

/// What is not as the case expects.
pub(super) fn judge(case: &Case, asked: &Asked) -> Vec<String> {
    match (&asked.outcome, &case.expect, &case.expect_error) {
        (Ok(answer), Some(expect), _) => {
            let wanted = match answer::normal(expect) {
                Ok(wanted) => wanted,
                Err(message) => return vec![message],
            };
            let mut out = answer::differences(&wanted, &answer.json());
            if let Some(requests) = wanted.get("requests") {
                out.extend(script::differences(requests, &asked.sent));
            }
            out
        }
        (Ok(answer), None, Some(kind)) => {
            vec![format!("expected the error {kind}, got {}", answer.json())]
        }
        (Err(failure), Some(expect), _) => vec![format!("expected {expect}, got {failure}")],
        (Err(failure), None, Some(kind)) if !is_kind(failure, kind) => {
            vec![format!("expected the error {kind}, got {failure}")]
        }
        (Err(failure), None, Some(_)) => {
            let text = case.expect_text.as_deref().unwrap_or_default();
            if failure.text.contains(text) {
                return Vec::new();
            }
            vec![format!("expected the text {text:?} in {:?}", failure.text)]
        }
        (Ok(answer), None, None) => {
            vec![format!("expects nothing (--record writes it); got {}", answer.json())]
        }
        (Err(failure), None, None) => {
            vec![format!("expects nothing (--record writes it); got {failure}")]
        }
    }
}

/// Whether a failure is what a case calls `kind`. The hub does the same with settings that are
/// unusable and with what is not served, so both words are one kind.
fn is_kind(failure: &PluginFailure, kind: &str) -> bool {
    match kind {
        "invalid-config" | "unsupported" => failure.kind == FailureKind::Refused,
        kind => failure.kind.name() == kind,
    }
}

/// The word for a failure in a case.
fn kind_word(failure: &PluginFailure) -> &'static str {
    match failure.kind {
        FailureKind::Refused => "invalid-config",
        kind => kind.name(),
    }
}

fn show(
    reports: &[Report],
    problems: &[String],
    failed: usize,
    log: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let passed = reports.iter().filter(|report| report.passed).count();
    let recorded = reports.iter().filter(|report| report.recorded).count();
    if !session.console.for_people() {
        let value = json!({
            "passed": passed, "failed": failed, "recorded": recorded, "cases": reports,
            "problems": problems,
        });
        return session.console.item(&value, &[]);
    }
    if !reports.is_empty() {
        session.console.list(reports)?;
    }
    for report in reports.iter().filter(|report| log || report.failed()) {
        for line in details(report) {
            session.console.line(&clean(&line))?;
        }
    }
    for problem in problems {
        session.console.line(&clean(&format!("error: {problem}")))?;
    }
    let recorded = if recorded > 0 { format!(", {recorded} recorded") } else { String::new() };
    session.console.line(&format!("{passed} passed, {failed} failed{recorded}"))
}

/// The log of a case, and what is wrong with it.
fn details(report: &Report) -> Vec<String> {
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut lines = vec![format!("{}:", report.case)];
    for line in &report.log {
        lines.push(format!("  log {}: {}", text(line, "level"), text(line, "text")));
    }
    lines.extend(report.differences.iter().map(|line| format!("  {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_recorded_with_the_answer() {
        let answer = json!({ "acknowledged": 12 });
        assert_eq!(with_requests(&answer, &[]), answer);
        let sent = [json!({
            "endpoint": "there", "method": "POST", "path": "", "headers": { "a": "b" },
            "body": { "text": "x" },
        })];
        let recorded = with_requests(&answer, &sent);
        let wanted = json!({ "acknowledged": 12, "requests": [
            { "endpoint": "there", "method": "POST", "path": "", "body": { "text": "x" } },
        ]});
        assert_eq!(recorded, wanted);
        assert_eq!(script::differences(&recorded["requests"], &sent), Vec::<String>::new());
    }

    #[test]
    fn recording_leaves_what_is_expected_alone() {
        let case = |text: &str| Case::parse(text, "rotation-schedule").unwrap();
        let asks = r#"{"world": "rotation-schedule", "call": "check""#;
        let new = case(&format!("{asks}}}"));
        let old = case(&format!(r#"{asks}, "expectError": "trap"}}"#));
        assert!(Record::Missing.takes(&new) && !Record::Missing.takes(&old));
        assert!(Record::All.takes(&new) && Record::All.takes(&old));
    }

    #[test]
    fn errors_of_guests_have_two_words() {
        let refused = PluginFailure::new(FailureKind::Refused, "x");
        assert!(is_kind(&refused, "invalid-config") && is_kind(&refused, "unsupported"));
        assert!(!is_kind(&refused, "internal"));
        let fuel = PluginFailure::new(FailureKind::Fuel, "x");
        assert!(is_kind(&fuel, "fuel") && !is_kind(&fuel, "invalid-config"));
        assert_eq!((kind_word(&refused), kind_word(&fuel)), ("invalid-config", "fuel"));
    }
}
