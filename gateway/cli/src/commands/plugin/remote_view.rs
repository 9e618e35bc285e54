//! How plugins of a hub are shown.

use std::collections::BTreeMap;

use hub_model::Name;
use hub_model::api::plugin::{PluginLimits, PluginState, PluginView};

use super::super::super::failure::Failure;
use super::super::super::output::{Row, clean, time};
use super::super::super::run::Session;
use super::values::micros_text;

pub(super) const fn state(state: PluginState) -> &'static str {
    match state {
        PluginState::InService => "in service",
        PluginState::Disabled => "disabled",
        PluginState::Installed => "installed",
        PluginState::Failed => "failed",
    }
}

pub(super) fn show(session: &mut Session<'_>, view: &PluginView) -> Result<(), Failure> {
    session.console.item(view, &facts(view))?;
    if !session.console.for_people() {
        return Ok(());
    }
    for version in &view.versions {
        let active = if view.active == Some(version.digest) { "*" } else { " " };
        let signer = version.signer.as_ref().map_or("nobody", Name::as_str);
        let line = format!(
            "{active} {}  {}  signed by {signer}, installed {}",
            version.version,
            version.digest,
            time(version.install_time)
        );
        session.console.line(&clean(&line))?;
    }
    Ok(())
}

fn facts(view: &PluginView) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("name", view.name.to_string()),
        ("world", view.world.clone()),
        ("state", state(view.state).to_owned()),
    ];
    facts.extend(view.problem.iter().map(|problem| ("problem", problem.clone())));
    facts.extend(view.version.iter().map(|version| ("version", version.clone())));
    facts.extend([
        ("description", view.description.clone()),
        ("capabilities", view.capabilities.join(" ")),
        ("registrations", registrations(view)),
        ("on failure", view.failure.name().to_owned()),
        ("limits", limits(&view.limits)),
        ("calls", calls(view)),
    ]);
    facts
}

fn registrations(view: &PluginView) -> String {
    match &view.registrations {
        None => "all".to_owned(),
        Some(list) if list.is_empty() => "none".to_owned(),
        Some(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

fn limits(limits: &PluginLimits) -> String {
    let mut words = Vec::new();
    words.extend(limits.memory_bytes.map(|bytes| format!("memory {} KiB", bytes / 1024)));
    words.extend(limits.time_micros.map(|time| format!("time {}", micros_text(time))));
    words.extend(limits.fuel.map(|fuel| format!("fuel {fuel}")));
    words.extend(limits.host_calls.map(|calls| format!("host calls {calls}")));
    words.join(", ")
}

fn calls(view: &PluginView) -> String {
    let mut text = view.stats.calls.to_string();
    for (kind, count) in &view.stats.failures {
        text.push_str(&format!(", {kind} {count}"));
    }
    text
}

/// The settings in effect, and what each takes.
pub(super) fn shown_settings(session: &mut Session<'_>, view: &PluginView) -> Result<(), Failure> {
    let takes: BTreeMap<&str, String> = view
        .config_schema
        .iter()
        .map(|(name, setting)| {
            let value = view.config.get(name).map_or("not set", String::as_str);
            let what = &setting.description;
            let gap = if what.is_empty() { "" } else { "; " };
            (name.as_str(), format!("{value}  ({}{gap}{what})", setting.takes))
        })
        .collect();
    let mut facts: Vec<(&str, String)> = takes.into_iter().collect();
    facts.extend([
        ("on failure", view.failure.name().to_owned()),
        ("limits", limits(&view.limits)),
        ("registrations", registrations(view)),
    ]);
    session.console.item(view, &facts)
}

impl Row for PluginView {
    const HEAD: &'static [&'static str] =
        &["NAME", "WORLD", "VERSION", "STATE", "REGISTRATIONS", "CALLS", "DESCRIPTION"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.world.clone(),
            self.version.clone().unwrap_or_default(),
            state(self.state).to_owned(),
            registrations(self),
            calls(self),
            self.description.clone(),
        ]
    }
}
