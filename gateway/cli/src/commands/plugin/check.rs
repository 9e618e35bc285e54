//! `cipher-hub plugin check`: would a hub take this plugin, and would its answers hold?

use std::path::PathBuf;

use clap::Args;
use hub_model::extend::{FailureKind, Parameters, PluginFailure};
use hub_plugins::{Capability, Limits, Package, World};
use serde_json::{Value, json};

use super::super::super::failure::{Code, Failure};
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::ask::{self, Host};
use super::case::{Call, Case};
use super::cases;
use super::finding::{Finding, line_of, unloaded, unread};
use super::test::{beside, judge};
use super::values::length_text;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin check payday.wasm
  cipher-hub plugin check payday.wasm --cases more/cases --output json

Looks at manifest, size, imports, exports and limits, and runs every case twice: equal questions have
to get equal answers, and no case may trap or run into a limit. Exits with 3 when a hub would not take
the plugin, or it would fail there.")]
pub(crate) struct CheckArgs {
    /// The plugin
    file: PathBuf,
    /// Cases to run twice; `cases` beside the plugin when not said
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
}

pub(super) async fn run(args: CheckArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let most = u64::try_from(hub_plugins::SizeLimits::default().file).unwrap_or(u64::MAX);
    let bytes = super::read_bytes(&args.file, most)?;
    let mut findings = Vec::new();
    match Package::parse(bytes, &hub_plugins::SizeLimits::default()) {
        Ok(package) => inside(&args, &package, &mut findings).await?,
        Err(error) => findings.push(unread(&error)),
    }
    let errors = findings.iter().filter(|finding| finding.severity == "error").count();
    let warnings = findings.len() - errors;
    if session.console.for_people() {
        for line in findings.iter().flat_map(Finding::lines) {
            session.console.line(&clean(&line))?;
        }
        let line = match (errors, warnings) {
            (0, 0) => "ok".to_owned(),
            (0, warnings) => format!("ok, {warnings} warning(s)"),
            (errors, warnings) => format!("not fit: {errors} error(s), {warnings} warning(s)"),
        };
        session.console.line(&line)?;
    } else {
        let value = json!({
            "fit": errors == 0, "errors": errors, "warnings": warnings, "findings": findings,
        });
        session.console.item(&value, &[])?;
    }
    if errors > 0 { Err(Failure::new(Code::InvalidConfig, "", "")) } else { Ok(()) }
}

async fn inside(
    args: &CheckArgs,
    package: &Package,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let (manifest, text) = (package.manifest(), package.manifest_text());
    limits(package, findings);
    if package.signatures().is_empty() {
        let message = "it is not signed: hubs take it only where `plugins.allow_unsigned` is set";
        findings.push(Finding::warning("unsigned", message));
    }
    let engine = ask::engine()?;
    match engine.inspect(package) {
        Ok(inspected) => {
            for capability in &manifest.capabilities {
                let interface = format!("cipher-hub:plugin/{}@", capability.name());
                if !inspected.imports.iter().any(|import| import.starts_with(&interface)) {
                    let message = format!(
                        "it asks for `{capability}` and does not import it: ask for no more than \
                         is needed"
                    );
                    let rest: Vec<String> = manifest
                        .capabilities
                        .iter()
                        .filter(|other| *other != capability)
                        .map(|other| format!("\"{other}\""))
                        .collect();
                    findings.push(
                        Finding::warning("capability", message)
                            .at(line_of(text, None, "capabilities"))
                            .fix(format!("capabilities = [{}]", rest.join(", "))),
                    );
                }
            }
        }
        Err(error) => {
            findings.push(unloaded(&error, text));
            return Ok(());
        }
    }
    if let Err(error) = engine.load(package) {
        findings.push(unloaded(&error, text));
        return Ok(());
    }
    behaviour(args, package, findings).await
}

/// Limits that a hub with the usual ceilings cuts.
fn limits(package: &Package, findings: &mut Vec<Finding>) {
    let (manifest, text) = (package.manifest(), package.manifest_text());
    let (wanted, most) = (&manifest.limits, Limits::default());
    let mut above = |name: &'static str, said: String, ceiling: String| {
        let message = format!(
            "`limits.{name}` is {said}; hubs grant at most {ceiling} unless their operator says \
             otherwise (`plugins.ceilings`)"
        );
        findings.push(
            Finding::warning("limits", message).at(line_of(text, Some("limits"), name)).fix(
                match ceiling.parse::<u64>() {
                    Ok(number) => format!("{name} = {number}"),
                    Err(_) => format!("{name} = \"{ceiling}\""),
                },
            ),
        );
    };
    let mib = |bytes: u64| format!("{}MiB", bytes.div_ceil(1024 * 1024));
    if let Some(memory) = wanted.memory.filter(|memory| *memory > most.memory) {
        above("memory", mib(memory), mib(most.memory));
    }
    if let Some(time) = wanted.time.filter(|time| *time > most.time) {
        above("time", length_text(time), length_text(most.time));
    }
    if let Some(calls) = wanted.host_calls.filter(|calls| *calls > most.host_calls) {
        above("host_calls", calls.to_string(), most.host_calls.to_string());
    }
    if manifest.world == World::AuditSink && !manifest.capabilities.contains(&Capability::Outbound)
    {
        let message = "a sink without the capability `outbound` reaches nobody";
        findings.push(Finding::warning("capability", message).at(line_of(
            text,
            None,
            "capabilities",
        )));
    }
}

/// Runs `check`, and every case twice.
async fn behaviour(
    args: &CheckArgs,
    package: &Package,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let manifest = package.manifest();
    let host = Host::load(package)?;
    if manifest.config.check(&Parameters::new()).is_ok() {
        let asked = host.ask(&Case::of(manifest.world.name(), Call::Check)).await;
        let (message, breaks) = match asked {
            Ok(asked) => match asked.outcome {
                Ok(_) => (None, false),
                Err(failure) => (Some(failure.to_string()), breaks(&failure)),
            },
            Err(message) => (Some(message), false),
        };
        if let Some(message) = message {
            let message = format!("`lifecycle.check` fails without settings: {message}");
            let finding = if breaks { Finding::error } else { Finding::warning };
            findings.push(finding("check", message));
        }
    }
    let folder = args.cases.clone().unwrap_or_else(|| beside(&args.file));
    if !folder.exists() {
        if args.cases.is_some() {
            let message = format!("`{}` is not there", folder.display());
            return Err(Failure::new(Code::NotFound, message, "name a folder of cases"));
        }
        let message =
            "there are no cases, so whether equal questions get equal answers is not known";
        findings.push(Finding::warning("cases", message));
        return Ok(());
    }
    let (cases, wrong) = cases::folder(&folder, manifest.world.name())?;
    findings.extend(wrong.into_iter().map(|message| Finding::warning("cases", message)));
    let mut others = 0_usize;
    for case in &cases {
        match twice(&host, case).await {
            Ok(as_expected) => others += usize::from(!as_expected),
            Err(finding) => findings.push(finding),
        }
    }
    if others > 0 {
        let message = format!(
            "{others} case(s) get another answer than they expect; `plugin test` shows which"
        );
        findings.push(Finding::warning("cases", message));
    }
    Ok(())
}

/// Whether a hub would meet this failure, too: it is neither an answer of the plugin nor a matter of
/// how busy the machine is.
const fn breaks(failure: &PluginFailure) -> bool {
    match failure.kind {
        FailureKind::Trap
        | FailureKind::Fuel
        | FailureKind::Memory
        | FailureKind::Tables
        | FailureKind::HostCalls
        | FailureKind::Nonsense => true,
        FailureKind::Refused
        | FailureKind::Internal
        | FailureKind::Deadline
        | FailureKind::Busy
        | FailureKind::Unavailable => false,
    }
}

/// Asks twice, in fresh instances. Says whether the answer is the expected one, if one is.
async fn twice(host: &Host, case: &Case) -> Result<bool, Finding> {
    let name = case.file();
    let mut answers = Vec::new();
    let expects = case.expect.is_some() || case.expect_error.is_some();
    let mut as_expected = true;
    for _ in 0..2 {
        let asked = match host.ask(case).await {
            Ok(asked) => asked,
            Err(message) => {
                return Err(Finding::warning("cases", format!("{name}: {message}")));
            }
        };
        as_expected = !expects || judge(case, &asked).is_empty();
        if let Err(failure) = &asked.outcome
            && breaks(failure)
            && !(expects && as_expected)
        {
            return Err(Finding::error("behaviour", format!("{name}: {failure}")));
        }
        let answer = match asked.outcome {
            Ok(answer) => answer.json(),
            Err(failure) => json!({ "error": failure.kind.name(), "text": failure.text }),
        };
        answers.push((answer, Value::from(asked.sent)));
    }
    match answers.as_slice() {
        [first, second] if first != second => {
            let message = format!(
                "{name}: asked twice, it answers {} and {}: equal questions have to get equal \
                 answers",
                first.0, second.0
            );
            Err(Finding::error("determinism", message))
        }
        _ => Ok(as_expected),
    }
}
