//! `cipher-hub plugin plan`: what a KDF profile would have the hub do.

use std::path::PathBuf;

use clap::Args;
use hub_model::Algorithm;
use hub_model::extend::{KdfPlan, KdfStep};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::super::failure::{Code, Failure};
use super::super::super::output::Row;
use super::super::super::run::Session;
use super::super::super::values;
use super::answer::{Answer, hash_name, plan_json};
use super::ask::Host;
use super::case::Case;
use super::values::bytes_value;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin plan labels.wasm --profile counter --info session
  cipher-hub plugin plan labels.wasm --profile counter --algorithm AES_256_GCM --name session
  cipher-hub plugin plan labels.wasm --profile counter --param tenant=eu --output json

Slot 0 is the root key; each step gives the slot of its number, and the last one the derived key.
Nothing is derived: a plan has no secret in it.")]
pub(crate) struct PlanArgs {
    /// The plugin
    file: PathBuf,
    /// The profile; `--output json` of `plugin test` on `profiles` names them
    #[arg(long, value_name = "ID")]
    profile: String,
    /// Bytes wanted
    #[arg(long, default_value_t = 32)]
    length: u32,
    /// For a stored key of this algorithm
    #[arg(long, requires = "name")]
    algorithm: Option<Algorithm>,
    /// The name of the stored key
    #[arg(long, requires = "algorithm")]
    name: Option<String>,
    /// What the bytes are for, as text
    #[arg(long, default_value = "", hide_default_value = true)]
    info: String,
    /// Salt, as text
    #[arg(long, default_value = "", hide_default_value = true)]
    salt: String,
    /// Pair of the encryption context
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    context: Vec<(String, String)>,
    /// Parameter of the request
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    param: Vec<(String, String)>,
    /// Setting of the operator
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    config: Vec<(String, String)>,
}

pub(super) async fn run(args: PlanArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let package = super::package(&args.file)?;
    let world = package.manifest().world.name();
    if world != "kdf-profile" {
        let message = format!("`{}` is of the world {world}", args.file.display());
        return Err(Failure::usage(message, "plans are made by the world kdf-profile"));
    }
    let object = |pairs: Vec<(String, String)>| {
        pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect::<Map<_, _>>()
    };
    // What is absent is null, as in a case that leaves it out.
    let context = json!({
        "length": args.length,
        "info": { "text": args.info },
        "salt": { "text": args.salt },
        "encryptionContext": object(args.context),
        "parameters": object(args.param),
        "algorithm": args.algorithm.map(|algorithm| algorithm.to_string()),
        "name": args.name,
    });
    let case = json!({
        "world": world,
        "config": object(args.config),
        "request": { "profile": args.profile, "context": context },
    });
    let unusable = |message: String| Failure::usage(message, "see --help for the form of values");
    let case = Case::parse(&case.to_string(), world).map_err(unusable)?;
    let asked = Host::load(&package)?.ask(&case).await.map_err(unusable)?;
    let plan = match asked.outcome {
        Ok(Answer::Plan(plan, _)) => plan,
        Ok(other) => return Err(Failure::new(Code::Failed, other.json().to_string(), "")),
        Err(failure) => {
            let hint = "`plugin test` shows the log of the call";
            return Err(Failure::new(Code::Failed, failure.to_string(), hint));
        }
    };
    if session.console.for_people() {
        session.console.list(&steps(&plan))?;
    } else {
        session.console.item(&json!({ "plan": plan_json(&plan) }), &[])?;
    }
    // A hub would not carry it out: it is shown all the same.
    super::ask::check_plan(&plan, args.length)
        .map_err(|error| Failure::new(Code::InvalidConfig, error, "docs/plugins/kdf.md"))
}

/// A step as a line.
#[derive(Debug, Serialize)]
struct Step {
    cells: Vec<String>,
}

impl Row for Step {
    const HEAD: &'static [&'static str] = &["SLOT", "STEP", "OF", "BYTES", "WITH"];

    fn cells(&self) -> Vec<String> {
        self.cells.clone()
    }
}

fn steps(plan: &KdfPlan) -> Vec<Step> {
    plan.steps.iter().enumerate().map(|(index, step)| line(index + 1, step)).collect()
}

fn line(number: usize, step: &KdfStep) -> Step {
    let text = |bytes: &[u8]| match bytes_value(bytes) {
        Value::Object(members) => members.get("text").map(Value::to_string).unwrap_or_default(),
        Value::String(base64) if base64.is_empty() => "nothing".to_owned(),
        other => format!("base64 {}", other.as_str().unwrap_or_default()),
    };
    let (name, of, length, with) = match step {
        KdfStep::Extract { hash, salt, ikm } => (
            format!("hkdf-extract {}", hash_name(*hash)),
            ikm.to_string(),
            None,
            format!("salt {}", text(salt)),
        ),
        KdfStep::Expand { hash, prk, info, length } => (
            format!("hkdf-expand {}", hash_name(*hash)),
            prk.to_string(),
            Some(*length),
            format!("info {}", text(info)),
        ),
        KdfStep::Hmac { hash, key, message } => (
            format!("hmac {}", hash_name(*hash)),
            key.to_string(),
            None,
            format!("message {}", text(message)),
        ),
        KdfStep::HmacSlot { hash, key, message, suffix } => (
            format!("hmac {}", hash_name(*hash)),
            key.to_string(),
            None,
            format!("message slot {message} and {}", text(suffix)),
        ),
        KdfStep::Pbkdf2 { hash, password, salt, iterations, length } => (
            format!("pbkdf2 {}", hash_name(*hash)),
            password.to_string(),
            Some(*length),
            format!("{iterations} iterations, salt {}", text(salt)),
        ),
        KdfStep::Concat { parts } => {
            let parts: Vec<_> = parts.iter().map(u32::to_string).collect();
            ("concat".to_owned(), parts.join(" "), None, String::new())
        }
        KdfStep::Truncate { input, length } => {
            ("truncate".to_owned(), input.to_string(), Some(*length), String::new())
        }
    };
    let length = length.map_or_else(String::new, |length| length.to_string());
    Step { cells: vec![number.to_string(), name, of, length, with] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub_model::algorithm::Hash;

    #[test]
    fn steps_are_lines() {
        let plan = KdfPlan {
            steps: vec![
                KdfStep::Extract { hash: Hash::Sha256, salt: Vec::new(), ikm: 0 },
                KdfStep::Expand { hash: Hash::Sha256, prk: 1, info: b"a".to_vec(), length: 32 },
                KdfStep::HmacSlot { hash: Hash::Sha512, key: 1, message: 2, suffix: vec![0] },
                KdfStep::Concat { parts: vec![2, 3] },
                KdfStep::Truncate { input: 4, length: 16 },
            ],
        };
        let lines: Vec<String> = steps(&plan).iter().map(|step| step.cells.join("|")).collect();
        assert_eq!(
            lines,
            [
                "1|hkdf-extract sha256|0||salt nothing",
                "2|hkdf-expand sha256|1|32|info \"a\"",
                "3|hmac sha512|1||message slot 2 and base64 AA==",
                "4|concat|2 3||",
                "5|truncate|4|16|",
            ]
        );
    }
}
