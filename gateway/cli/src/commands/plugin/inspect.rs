//! `cipher-hub plugin inspect`: what a plugin says of itself and what is in it, without running it.

use std::path::PathBuf;

use clap::Args;
use hub_plugins::{Inspected, Manifest, Package, Schema};
use serde_json::{Map, Value, json};

use super::super::super::failure::Failure;
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::values::length_text;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin inspect payday.wasm
  cipher-hub plugin inspect payday.wasm --output json | jq -r .digest

Nothing of the plugin runs. Key ids of signatures are what the file says: `plugin verify` checks them.")]
pub(crate) struct InspectArgs {
    /// The plugin
    file: PathBuf,
}

pub(super) fn run(args: &InspectArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let package = super::package(&args.file)?;
    let inspected = super::ask::engine()?.inspect(&package);
    if !session.console.for_people() {
        return session.console.item(&whole(&package, inspected.as_ref().ok()), &[]);
    }
    let manifest = package.manifest();
    let mut facts = facts(&package);
    match &inspected {
        Ok(inside) => {
            facts.push(("imports", list(&inside.imports)));
            facts.push(("exports", list(&inside.exports)));
        }
        Err(error) => facts.push(("component", format!("cannot be read: {error}"))),
    }
    session.console.item(&(), &facts)?;
    for (title, schema) in [("config", &manifest.config), ("parameters", &manifest.parameters)] {
        for line in settings(title, schema) {
            session.console.line(&clean(&line))?;
        }
    }
    Ok(())
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

fn facts(package: &Package) -> Vec<(&'static str, String)> {
    let manifest = package.manifest();
    let words: Vec<_> = manifest.capabilities.iter().map(|one| one.name().to_owned()).collect();
    let signers: Vec<_> =
        package.signatures().iter().map(|signature| signature.key_id().to_owned()).collect();
    let mut facts = vec![
        ("name", manifest.name.to_string()),
        ("version", manifest.version.to_string()),
        ("world", manifest.world.name().to_owned()),
        ("description", manifest.description.to_string()),
    ];
    facts.extend(manifest.license.iter().map(|license| ("license", license.to_string())));
    facts.extend(manifest.homepage.iter().map(|homepage| ("homepage", homepage.to_string())));
    facts.extend([
        ("contract", manifest.contract.to_string()),
        ("digest", format!("sha256:{}", package.digest())),
        ("size", super::size(package.bytes().len())),
        ("signed by", list(&signers)),
        ("capabilities", list(&words)),
        ("on failure", manifest.failure.name().to_owned()),
        ("limits", limits(manifest)),
    ]);
    facts
}

/// The limits a manifest asks for.
fn limits(manifest: &Manifest) -> String {
    let wanted = &manifest.limits;
    let mut words = Vec::new();
    words.extend(wanted.memory.map(|bytes| format!("memory {} KiB", bytes / 1024)));
    words.extend(wanted.time.map(|time| format!("time {}", length_text(time))));
    words.extend(wanted.fuel.map(|fuel| format!("fuel {fuel}")));
    words.extend(wanted.host_calls.map(|calls| format!("host calls {calls}")));
    if words.is_empty() { "those of the operator".to_owned() } else { words.join(", ") }
}

fn settings(title: &str, schema: &Schema) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, setting) in schema.iter() {
        let how = match (&setting.default, setting.required) {
            (_, true) => ", required".to_owned(),
            (Some(default), _) => format!(", `{default}` when absent"),
            (None, false) => String::new(),
        };
        let what = &setting.description;
        let gap = if what.is_empty() { "" } else { ": " };
        lines.push(format!("{title}.{name}{gap}{what} ({}{how})", setting.kind));
    }
    lines
}

/// Everything, for programs.
fn whole(package: &Package, inspected: Option<&Inspected>) -> Value {
    let manifest = package.manifest();
    let mut value = json!({
        "name": manifest.name,
        "version": manifest.version,
        "world": manifest.world,
        "contract": manifest.contract,
        "description": manifest.description,
        "license": manifest.license,
        "homepage": manifest.homepage,
        "capabilities": manifest.capabilities,
        "failure": manifest.failure,
        "limits": {
            "memory": manifest.limits.memory,
            "time": manifest.limits.time.map(length_text),
            "fuel": manifest.limits.fuel,
            "hostCalls": manifest.limits.host_calls,
        },
        "config": schema(&manifest.config),
        "parameters": schema(&manifest.parameters),
        "digest": package.digest(),
        "size": package.bytes().len(),
        "signatures": package
            .signatures()
            .iter()
            .map(|signature| json!({ "keyId": signature.key_id() }))
            .collect::<Vec<_>>(),
    });
    if let (Some(inside), Some(members)) = (inspected, value.as_object_mut()) {
        members.insert("imports".to_owned(), json!(inside.imports));
        members.insert("exports".to_owned(), json!(inside.exports));
    }
    value
}

fn schema(schema: &Schema) -> Value {
    let settings: Map<String, Value> = schema
        .iter()
        .map(|(name, setting)| {
            let value = json!({
                "description": setting.description,
                "form": setting.kind.to_string(),
                "required": setting.required,
                "default": setting.default,
            });
            (name.to_owned(), value)
        })
        .collect();
    Value::Object(settings)
}
