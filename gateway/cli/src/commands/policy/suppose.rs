//! `cipher-hub policy explain` without a decision id: a request that nobody made, over a folder.

use std::path::{Path, PathBuf};

use clap::Args;
use hub_model::clock::{Clock as _, SystemClock};
use hub_policy::Bundle;
use hub_policy::analysis::{Analysis, Clause, Need, PolicyReport, Question, Value as Truth};
use serde_json::{Map, Value, json};

use super::super::super::failure::Failure;
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::super::super::values;
use super::folder::{self, Folder};

/// Candidates shown in full; the others by their ids.
const SHOWN: usize = 3;
/// Fields of `context.caller`, which may be said without it.
const CALLER: [&str; 7] =
    ["channel", "sourceIp", "now", "authMethod", "tls", "mutualTls", "spiffeId"];

/// A request that nobody made.
#[derive(Debug, Args)]
#[command(next_help_heading = "A request that nobody made, over a folder of policies")]
pub(crate) struct SupposeArgs {
    /// Who asks: `Service::"ptc_…"`, or id or name of an entity
    #[arg(long, value_name = "ENTITY", requires_all = ["action", "resource"])]
    pub(super) principal: Option<String>,
    /// What for, such as keys.encrypt
    #[arg(long, value_name = "ACTION", requires = "principal")]
    action: Option<String>,
    /// About what: `Key::"key_…"`, or id or name of an entity
    #[arg(long, value_name = "ENTITY", requires = "principal")]
    resource: Option<String>,
    /// What policies see in `context`, such as sourceIp=10.1.2.3, tls=false, payloadBytes=100,
    /// encryptionContext.order=1
    #[arg(long, value_name = "PATH=VALUE", value_parser = values::pair, requires = "principal")]
    context: Vec<(String, String)>,
    /// Entities in Cedar's JSON; tests/entities.json of the folder when not said
    #[arg(long, value_name = "FILE", requires = "principal")]
    entities: Option<PathBuf>,
    /// The folder; this one, or `policies` in it, when not said
    #[arg(long, value_name = "DIR", requires = "principal")]
    dir: Option<PathBuf>,
}

pub(super) fn run(
    args: &SupposeArgs,
    principal: &str,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let folder = Folder::open(args.dir.as_deref())?;
    let usual = folder.root.join("tests/entities.json");
    let path = args.entities.as_deref().unwrap_or(&usual);
    let mut entities = entities(path)?;
    let action = args.action.as_deref().unwrap_or_default();
    let principal = find(&entities, principal, &["User", "Service", "Device"])?;
    let resource = args.resource.as_deref().unwrap_or_default();
    let resource = find(&entities, resource, &["Key", "Registration", "Hub"])?;
    let mut supposed = Supposed::new(action);
    for (path, value) in &args.context {
        supposed.set(path, value)?;
    }
    let (context, extra) = supposed.finish();
    entities.extend(extra);
    let action = format!("CipherHub::Action::{}", quoted(action));
    let shown = context.clone();
    let question =
        Question::from_json(&principal, &action, &resource, context, Value::Array(entities))
            .map_err(|error| {
                let hint = "docs/policies.md shows the form; entities come from --entities";
                Failure::usage(error.to_string(), hint)
            })?;
    let bundle = Bundle::parse(folder.files.clone()).map_err(|error| folder::failure(&error))?;
    let analysis = bundle.analyze(&question).map_err(|error| folder::failure(&error))?;
    if !session.console.for_people() {
        let mut value = serde_json::to_value(&analysis).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            let request = json!({
                "principal": principal, "action": action, "resource": resource, "context": shown,
            });
            fields.insert("request".to_owned(), request);
        }
        return session.console.item(&value, &[]);
    }
    for line in lines(&folder, &analysis, &shown) {
        session.console.line(&clean(&line))?;
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    // Cedar's string escapes for what can stand in an id are those of JSON.
    Value::from(text).to_string()
}

fn entities(path: &Path) -> Result<Vec<Value>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let mut failure = Failure::file(path, &error);
        failure.hint = "name the participants and keys there are: --entities FILE".to_owned();
        failure
    })?;
    serde_json::from_str(&text).map_err(|error| {
        let message = format!("`{}`: {error}", path.display());
        Failure::usage(message, "a file of entities is a JSON array, as tests/entities.json")
    })
}

/// The uid meant: one written out, with or without the namespace, or id or name of an entity.
fn find(entities: &[Value], text: &str, kinds: &[&str]) -> Result<String, Failure> {
    if text.contains("::\"") {
        let full = text.starts_with("CipherHub::");
        return Ok(if full { text.to_owned() } else { format!("CipherHub::{text}") });
    }
    let mut found = Vec::new();
    for entity in entities {
        let field = |path: &str| entity.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (kind, id, name) = (field("/uid/type"), field("/uid/id"), field("/attrs/name"));
        let of_kind = kinds.iter().any(|k| kind.strip_prefix("CipherHub::") == Some(k));
        if of_kind && (id == text || name == text) {
            found.push(format!("{kind}::{}", quoted(id)));
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let message = format!("no {} `{text}` among the entities", kinds.join(", "));
            Err(Failure::usage(message, "write it out, such as 'Key::\"key_…\"', or add it there"))
        }
        several => {
            let message = format!("`{text}` could be {}", several.join(" or "));
            Err(Failure::usage(message, "write out the one you mean"))
        }
    }
}

/// The context supposed, field by field.
struct Supposed {
    caller: Map<String, Value>,
    pairs: Map<String, Value>,
    payload: u64,
    crypto: bool,
}

impl Supposed {
    fn new(action: &str) -> Self {
        let caller = json!({
            "channel": word("Channel", "tcp"),
            "sourceIp": "127.0.0.1",
            "now": now(),
            "authMethod": word("AuthMethod", "apiKey"),
            "tls": true,
            "mutualTls": false,
        });
        let caller = caller.as_object().cloned().unwrap_or_default();
        let crypto = action.parse().is_ok_and(hub_model::Action::uses_key);
        Self { caller, pairs: Map::new(), payload: 0, crypto }
    }

    fn set(&mut self, path: &str, value: &str) -> Result<(), Failure> {
        let path = path.strip_prefix("context.").unwrap_or(path);
        let field = path.strip_prefix("caller.").unwrap_or(path);
        let wrong = |what: &str| {
            let hint =
                format!("known: {}, payloadBytes, encryptionContext.NAME", CALLER.join(", "));
            Failure::usage(format!("--context {path}={value}: {what}"), hint)
        };
        let truth = || value.parse::<bool>().map_err(|_| wrong("`true` or `false` is wanted"));
        let value = match field {
            "channel" => {
                // Over the Unix socket there are neither addresses nor TLS.
                if value == "unix" {
                    self.caller.remove("sourceIp");
                    self.caller.insert("tls".to_owned(), Value::Bool(false));
                }
                word("Channel", value)
            }
            "authMethod" => word("AuthMethod", value),
            "sourceIp" | "now" | "spiffeId" => Value::from(value),
            "tls" | "mutualTls" => Value::Bool(truth()?),
            "payloadBytes" => {
                self.payload = value.parse().map_err(|_| wrong("a number is wanted"))?;
                return Ok(());
            }
            _ => {
                let Some(name) = path.strip_prefix("encryptionContext.") else {
                    return Err(wrong("no policy can see that"));
                };
                self.pairs.insert(name.to_owned(), Value::from(value));
                return Ok(());
            }
        };
        self.caller.insert(field.to_owned(), value);
        Ok(())
    }

    /// The context, and the entity its encryption context is.
    fn finish(self) -> (Value, Option<Value>) {
        let mut context = json!({ "caller": self.caller });
        if !self.crypto {
            return (context, None);
        }
        let uid = word("EncryptionContext", "supposed");
        if let Some(fields) = context.as_object_mut() {
            fields.insert("encryptionContext".to_owned(), uid.clone());
            fields.insert("payloadBytes".to_owned(), Value::from(self.payload));
        }
        (context, Some(json!({ "uid": uid, "attrs": {}, "parents": [], "tags": self.pairs })))
    }
}

fn word(kind: &str, id: &str) -> Value {
    json!({ "type": format!("CipherHub::{kind}"), "id": id })
}

/// The time in the form Cedar reads: three digits of a second.
fn now() -> String {
    let text = SystemClock.now().to_string();
    let (seconds, _) = text.split_once(['.', 'Z']).unwrap_or((&text, ""));
    format!("{seconds}.000Z")
}

fn lines(folder: &Folder, analysis: &Analysis, context: &Value) -> Vec<String> {
    let decision = if analysis.permitted { "allow" } else { "deny" };
    let by: Vec<&str> = analysis.determining.iter().map(|policy| &*policy.id).collect();
    let by = match (by.as_slice(), analysis.errors.as_slice()) {
        (_, [_, ..]) => "since a policy errs".to_owned(),
        ([], []) => "since no policy permits it".to_owned(),
        (by, []) => format!("by {}", by.join(", ")),
    };
    let mut out = vec![format!("{decision} {by}"), format!("supposed: {}", supposed(context))];
    out.extend(analysis.errors.iter().map(|error| format!("error: {error}")));
    for policy in &analysis.determining {
        out.push(String::new());
        out.push(format!("decided by {}", head(folder, policy)));
        out.extend(policy.text.lines().map(|line| format!("    {line}")));
        out.extend(clauses(policy));
    }
    if analysis.permitted {
        return out;
    }
    let missing: Vec<&PolicyReport> =
        analysis.candidates.iter().filter(|policy| !policy.applies).collect();
    for policy in analysis.candidates.iter().filter(|policy| policy.applies) {
        out.push(String::new());
        out.push(format!("permitted by {}, which a forbid overrides", head(folder, policy)));
    }
    // Where a permit applies already, what other permits lack is of no interest.
    if missing.len() == analysis.candidates.len() {
        for policy in missing.iter().take(SHOWN) {
            out.push(String::new());
            out.push(format!("could permit this: {}", head(folder, policy)));
            out.extend(clauses(policy));
        }
        let more: Vec<&str> = missing.iter().skip(SHOWN).map(|policy| &*policy.id).collect();
        if !more.is_empty() {
            out.push(String::new());
            out.push(format!("further from it: {}", more.join(", ")));
        }
    }
    out.push(String::new());
    out.push("what would have to change:".to_owned());
    out.extend(analysis.changes.iter().map(|change| format!("  - {change}")));
    out
}

fn supposed(context: &Value) -> String {
    let mut said = Vec::new();
    let plain = |value: &Value| match value {
        Value::Object(uid) => uid.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let caller = context.get("caller").and_then(Value::as_object);
    said.extend(
        caller.into_iter().flatten().map(|(name, value)| format!("{name}={}", plain(value))),
    );
    said.extend(context.get("payloadBytes").map(|bytes| format!("payloadBytes={bytes}")));
    said.join(" ")
}

fn head(folder: &Folder, policy: &PolicyReport) -> String {
    let place = if policy.file.starts_with("baseline/") {
        policy.file.to_string()
    } else {
        folder.shown(&policy.file)
    };
    let title = policy.title.as_deref().map(|title| format!(" \"{title}\"")).unwrap_or_default();
    format!("{} {}{title} ({place}:{})", policy.effect, policy.id, policy.line)
}

/// Scope and conditions, each with what it is.
fn clauses(policy: &PolicyReport) -> Vec<String> {
    let mut out = Vec::new();
    for clause in policy.scope.iter().chain(&policy.conditions) {
        clause_lines(clause, 2, &mut out);
    }
    out
}

fn clause_lines(clause: &Clause, depth: usize, out: &mut Vec<String>) {
    let mark = match &clause.value {
        Truth::NotReached => "·",
        _ if clause.holds() => "✓",
        _ => "✗",
    };
    let wanted = if clause.wanted { "" } else { "not " };
    let is = match &clause.value {
        Truth::True => "true".to_owned(),
        Truth::False => "false".to_owned(),
        Truth::Error(why) => format!("error: {why}"),
        Truth::NotReached => "not reached".to_owned(),
    };
    let indent = " ".repeat(depth);
    if let (Some(need), false) = (clause.need, clause.parts.is_empty()) {
        let need = match (need, clause.parts.len()) {
            (_, 1) => "this",
            (Need::All, _) => "all of",
            (Need::Any, _) => "one of",
        };
        out.push(format!("{indent}{mark} {need}:"));
        for part in &clause.parts {
            clause_lines(part, depth + 2, out);
        }
        return;
    }
    let facts: Vec<String> =
        clause.facts.iter().map(|(path, value)| format!("{path} is {value}")).collect();
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    out.push(format!("{indent}{mark} {wanted}{}  is {is}{facts}", clause.text));
}
