//! `cipher-hub policy check`: everything that is wrong with a folder, once or at every change.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use hub_policy::authoring::{Checked, Finding, Level, check};
use notify::{RecursiveMode, Watcher as _};
use serde_json::{Value, json};

use super::super::super::Format;
use super::super::super::failure::{Code, Failure};
use super::super::super::output::{clean, json_text};
use super::super::super::run::Session;
use super::folder::{self, Folder};
use super::init::SCHEMA;

/// Changes that come within this time of each other are one.
const QUIET: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy check
  cipher-hub policy check policies --watch
  cipher-hub policy check --output sarif > policies.sarif
  cipher-hub policy check --output github --deny-warnings")]
pub(crate) struct CheckArgs {
    /// The folder; this one, or `policies` in it, when not said
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Check again whenever a file changes, until interrupted
    #[arg(long)]
    watch: bool,
    /// Exit with 3 for warnings too
    #[arg(long)]
    deny_warnings: bool,
}

pub(super) async fn run(args: &CheckArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    if args.watch {
        return watch(args, session).await;
    }
    once(args, session)
}

fn once(args: &CheckArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let folder = Folder::open(args.dir.as_deref())?;
    let checked = check(&folder.files).map_err(|error| folder::failure(&error))?;
    let stale = stale(&folder);
    let text = match session.global.output {
        Format::Table => human(&folder, &checked, stale.as_deref()),
        Format::Json => pretty(&report(&folder, &checked))?,
        Format::Ndjson => json_text(&report(&folder, &checked), false)?,
        Format::Sarif => pretty(&sarif(&folder, &checked))?,
        Format::Github => github(&folder, &checked),
    };
    if !text.is_empty() {
        session.console.line(text.trim_end_matches('\n'))?;
    }
    let (errors, warnings) = (checked.count(Level::Error), checked.count(Level::Warning));
    if errors > 0 || (args.deny_warnings && warnings > 0) {
        // What is wrong has been said.
        return Err(Failure::new(Code::InvalidConfig, "", ""));
    }
    Ok(())
}

fn pretty(value: &Value) -> Result<String, Failure> {
    json_text(value, true)
}

/// A copy of the schema that is not this program's misleads editors, nobody else.
fn stale(folder: &Folder) -> Option<String> {
    let copy = std::fs::read_to_string(folder.root.join(SCHEMA)).ok()?;
    (copy != hub_policy::schema::TEXT).then(|| {
        format!(
            "note: {} is not the schema of this program; renew it: cipher-hub policy schema > {0}",
            folder.shown(SCHEMA)
        )
    })
}

fn human(folder: &Folder, checked: &Checked, stale: Option<&str>) -> String {
    let mut out = String::new();
    for finding in &checked.findings {
        let problem = &finding.problem;
        out.push_str(&format!(
            "{}:{}:{}: {}: {}\n",
            clean(&folder.shown(&problem.file)),
            problem.line,
            problem.column,
            finding.level.name(),
            clean(&problem.message)
        ));
        // The report says the message once more, where the source lines are.
        for line in problem.rendered.lines() {
            out.push_str(&clean(line));
            out.push('\n');
        }
        out.push('\n');
    }
    if let Some(stale) = stale {
        out.push_str(&format!("{}\n", clean(stale)));
    }
    out.push_str(&summary(checked));
    out
}

fn summary(checked: &Checked) -> String {
    let (errors, warnings) = (checked.count(Level::Error), checked.count(Level::Warning));
    match &checked.revision {
        Some(revision) => format!(
            "ok: {} in {}, {}, revision {}",
            count(checked.policies, "policy", "policies"),
            count(checked.files, "file", "files"),
            count(warnings, "warning", "warnings"),
            revision.get(..12).unwrap_or(revision)
        ),
        None => format!(
            "not ok: {}, {}",
            count(errors, "error", "errors"),
            count(warnings, "warning", "warnings")
        ),
    }
}

fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

fn report(folder: &Folder, checked: &Checked) -> Value {
    let finding = |finding: &Finding| {
        let problem = &finding.problem;
        json!({
            "level": finding.level.name(),
            "rule": problem.rule,
            "file": folder.shown(&problem.file),
            "line": problem.line,
            "column": problem.column,
            "endLine": problem.end.0,
            "endColumn": problem.end.1,
            "message": problem.message,
            "help": problem.help,
        })
    };
    json!({
        "valid": checked.revision.is_some(),
        "revision": checked.revision.as_deref(),
        "files": checked.files,
        "policies": checked.policies,
        "findings": checked.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn message(finding: &Finding) -> String {
    let problem = &finding.problem;
    match &problem.help {
        Some(help) => format!("{}. {help}", problem.message),
        None => problem.message.clone(),
    }
}

/// SARIF 2.1.0.
fn sarif(folder: &Folder, checked: &Checked) -> Value {
    let mut rules: Vec<&str> = checked.findings.iter().map(|f| f.problem.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let result = |finding: &Finding| {
        let problem = &finding.problem;
        json!({
            "ruleId": problem.rule,
            "level": finding.level.name(),
            "message": { "text": message(finding) },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": uri(&folder.shown(&problem.file)) },
                "region": {
                    "startLine": problem.line,
                    "startColumn": problem.column,
                    "endLine": problem.end.0,
                    "endColumn": problem.end.1,
                },
            }}],
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "cipher-hub policy check",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| json!({ "id": rule })).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": checked.findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

/// A relative reference (RFC 3986) to a path.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Workflow commands of GitHub Actions.
fn github(folder: &Folder, checked: &Checked) -> String {
    let escape = |text: &str, property: bool| {
        let mut text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        if property {
            text = text.replace(':', "%3A").replace(',', "%2C");
        }
        clean(&text)
    };
    let mut out = String::new();
    for finding in &checked.findings {
        let problem = &finding.problem;
        out.push_str(&format!(
            "::{} file={},line={},col={},endLine={},endColumn={},title={}::{}\n",
            finding.level.name(),
            escape(&folder.shown(&problem.file), true),
            problem.line,
            problem.column,
            problem.end.0,
            problem.end.1,
            escape(problem.rule, true),
            escape(&message(finding), false)
        ));
    }
    out
}

/// Checks at every change under the folder.
async fn watch(args: &CheckArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let root = Folder::place(args.dir.as_deref());
    let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let failed = |error: notify::Error| {
        Failure::new(Code::Failed, format!("cannot watch: {error}"), "check without --watch")
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // A reader that is gone needs no event.
        if event.is_ok_and(|event| counts(&event)) {
            let _ = sender.send(());
        }
    })
    .map_err(failed)?;
    watcher.watch(&root, RecursiveMode::Recursive).map_err(failed)?;
    loop {
        if std::io::stdout().is_terminal() && session.console.for_people() {
            session.console.data(b"\x1b[2J\x1b[H")?;
        }
        if session.console.for_people() {
            session.console.line(&format!("checking {}", clean(&root.display().to_string())))?;
        }
        match once(args, session) {
            Err(failure) if failure.message.is_empty() && failure.code == Code::Failed => {
                return Err(failure);
            }
            Err(failure) => session.console.failure(&failure),
            Ok(()) => {}
        }
        if changes.recv().await.is_none() {
            return Ok(());
        }
        // An editor's save is several events; wait until there are no more.
        while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
    }
}

/// Whether an event may change what a check says. Reading files is an event too.
fn counts(event: &notify::Event) -> bool {
    let policy = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(".cedar") || name == hub_policy::folder::MARKER || name == SCHEMA
    };
    !event.kind.is_access()
        && (event.paths.iter().any(|path| policy(path) || path.extension().is_none()))
}
