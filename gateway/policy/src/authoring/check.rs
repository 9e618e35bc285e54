//! Everything that can be said of a set without a request: what refuses it, and what is odd.

use std::sync::Arc;

use crate::authoring::format;
use crate::bundle::{Bundle, Checks};
use crate::problem::Problem;
use crate::source::{Effect, Parsed};
use crate::{Error, lockout};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A hub refuses the set.
    Error,
    /// A hub takes the set.
    Warning,
}

impl Level {
    /// The word for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What and where.
    pub problem: Problem,
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// Errors first, then by file and place.
    pub findings: Vec<Finding>,
    /// How many files there are besides the baseline.
    pub files: usize,
    /// How many policies there are besides the baseline; 0 where the set cannot be read.
    pub policies: usize,
    /// The digest of the set, where it is valid.
    pub revision: Option<Arc<str>>,
}

impl Checked {
    /// How many findings are of this level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// Checks files as `Bundle::parse` does and goes on where that stops: formatting, policies that
/// change nothing, and every problem in one list.
///
/// # Errors
/// Those of a broken build alone; problems of the files are findings.
pub fn check(files: &[(String, String)]) -> Result<Checked, Error> {
    let mut findings = Vec::new();
    let mut add = |level, problem| findings.push(Finding { level, problem });
    let (mut policies, mut revision) = (0, None);
    match Bundle::compile(files.to_vec(), Checks::All) {
        Err(Error::Refused(problems)) => {
            problems.into_iter().for_each(|problem| add(Level::Error, problem));
        }
        Err(error) => return Err(error),
        Ok(bundle) => {
            policies = bundle.policies.iter().filter(|policy| !policy.baseline).count();
            for problem in bundle.warnings() {
                add(Level::Warning, problem.clone());
            }
            for problem in unused(&bundle, files) {
                add(Level::Warning, problem);
            }
            match lockout::check(&bundle, None) {
                Ok(()) => revision = Some(Arc::clone(bundle.revision())),
                Err(error) => add(Level::Error, locked_out(&bundle, files, &error)),
            }
        }
    }
    for (name, text) in files {
        if let Some(problem) = unformatted(name, text) {
            add(Level::Warning, problem);
        }
    }
    findings.sort_by(|a, b| {
        let key = |f: &Finding| (f.level, Arc::clone(&f.problem.file), f.problem.line);
        key(a).cmp(&key(b))
    });
    Ok(Checked { findings, files: files.len(), policies, revision })
}

/// A finding about a policy.
fn about(parsed: &Parsed, files: &[(String, String)], message: String, help: &str) -> Problem {
    let file = &parsed.info.file;
    let text = files.iter().find(|(name, _)| **name == **file).map_or("", |(_, text)| text);
    Problem::own(file, text, parsed.offset, message, help)
}

fn locked_out(bundle: &Bundle, files: &[(String, String)], error: &Error) -> Problem {
    let by: &[String] = if let Error::LockOut { by, .. } = error { by } else { &[] };
    let named = |parsed: &&Arc<Parsed>| {
        !parsed.baseline && by.iter().any(|id| id.contains(&*parsed.info.id))
    };
    let help = "somebody in `hub/admins` must be able to create registrations and explain \
                decisions, in some way a request can arrive";
    let problem = match bundle.policies.iter().find(named) {
        Some(parsed) => about(parsed, files, error.to_string(), help),
        None => Problem::own(&Arc::from("policies"), "", 0, error.to_string(), help),
    };
    problem.about("lock-out")
}

fn unformatted(name: &str, text: &str) -> Option<Problem> {
    let formatted = format::formatted(text).ok()?;
    let line = format::first_difference(text, &formatted)?;
    let offset = text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
    let offset = if offset < text.len() { offset } else { 0 };
    let help = "run `cipher-hub policy fmt`";
    let message = "not formatted as Cedar's formatter writes it".to_owned();
    Some(Problem::own(&Arc::from(name), text, offset, message, help).about("format"))
}

/// Policies of the author's without which every decision would be the same: another policy says
/// as much to at least the same requests, without conditions or with the same ones.
fn unused(bundle: &Bundle, files: &[(String, String)]) -> Vec<Problem> {
    let mut found = Vec::new();
    let conditions: Vec<serde_json::Value> =
        bundle.policies.iter().map(|parsed| conditions(parsed)).collect();
    let all = || bundle.policies.iter().zip(&bundle.index.scopes).zip(&conditions).enumerate();
    for (at, ((parsed, scope), own)) in all() {
        if parsed.baseline || scope.unreachable() {
            continue;
        }
        let reason = all().find_map(|(other_at, ((other, wider), others))| {
            // A permit outdoes no forbid.
            let stronger =
                other.info.effect == Effect::Forbid || parsed.info.effect == Effect::Permit;
            let always = others.as_array().is_some_and(Vec::is_empty);
            // Of two that say the same, the later one is told of.
            let same = others == own && other.info.effect == parsed.info.effect;
            let twins = same && scope.covers(wider) && at < other_at;
            let outdone =
                at != other_at && stronger && (always || same) && wider.covers(scope) && !twins;
            let verb = match other.info.effect {
                Effect::Permit => "permits",
                Effect::Forbid => "forbids",
            };
            let place = format!("{}:{}", other.info.file, other.info.line);
            outdone.then(|| format!("`{}` ({place}) {verb} all it is about", other.info.id))
        });
        if let Some(reason) = reason {
            let message = format!("policy `{}` changes no decision: {reason}", parsed.info.id);
            let help = "remove it, or narrow the other one";
            found.push(about(parsed, files, message, help).about("unused"));
        }
    }
    found
}

/// The conditions of a policy in Cedar's JSON; what cannot be said is like nothing else.
fn conditions(parsed: &Parsed) -> serde_json::Value {
    let json = parsed.policy.to_json().ok();
    json.and_then(|json| json.get("conditions").cloned())
        .unwrap_or_else(|| serde_json::Value::from(&*parsed.info.id))
}
