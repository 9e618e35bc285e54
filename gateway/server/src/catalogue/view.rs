//! A plugin as shown.

use std::collections::BTreeMap;

use hub_model::api::plugin::{
    PluginHealth, PluginLimits, PluginSetting, PluginState, PluginStats, PluginView,
};
use hub_operations::plugin::{Installed, PluginRecord};
use hub_plugins::{Limits, Manifest, Schema, Stats};

use super::Catalogue;
use super::serve::Shelved;

impl Catalogue {
    /// How plugins fare, by name.
    pub(crate) fn health(&self) -> Vec<PluginHealth> {
        let service = self.service.load();
        let mut all: Vec<PluginHealth> = service
            .iter()
            .map(|(name, shelved)| {
                let enabled = shelved.record.value.enabled;
                let state = match (enabled, &shelved.problem, &shelved.active) {
                    (false, ..) => PluginState::Disabled,
                    (true, Some(_), _) => PluginState::Failed,
                    (true, None, None) => PluginState::Installed,
                    (true, None, Some(_)) => PluginState::InService,
                };
                let loaded = shelved.active.as_ref().map(|active| &active.loaded);
                let stats = loaded.map(|loaded| loaded.stats()).unwrap_or_default();
                PluginHealth {
                    name: name.clone(),
                    state,
                    problem: shelved.wrong(),
                    version: loaded.map(|loaded| loaded.manifest().version.to_string()),
                    calls: stats.calls,
                    failures: stats.failures.iter().map(|(_, count)| count).sum(),
                }
            })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    pub(super) fn view(&self, record: &PluginRecord) -> PluginView {
        let shelved = self.service.load().get(&record.name).cloned();
        let shelved = shelved.as_deref();
        // What is said of an older record is not said of this one.
        let shelved_so = shelved.filter(|shelved| shelved.record.value == *record);
        let failed = shelved_so.is_some_and(|shelved| shelved.problem.is_some());
        let state = match (record.enabled, record.active) {
            (false, _) => PluginState::Disabled,
            (true, None) => PluginState::Installed,
            (true, Some(_)) if failed => PluginState::Failed,
            (true, Some(_)) => PluginState::InService,
        };
        let problem = shelved_so.and_then(Shelved::wrong);
        let subject = record.subject().map(|version| version.digest);
        let loaded = subject.and_then(|digest| self.known(&digest));
        let manifest = loaded.as_ref().map(|loaded| loaded.manifest());
        let active = record.active.and_then(|digest| record.installed(digest));
        let of_config = self.config.of(&record.name);
        let mut config = record.config.clone();
        config.extend(of_config.iter().flat_map(|said| said.config.clone()));
        let mut limits = PluginLimits::default();
        let mut failure = of_config.and_then(|said| said.failure).or(record.failure);
        if let Some(manifest) = manifest {
            if let Ok(filled) = manifest.config.check_each(&config) {
                config = filled;
            }
            limits = shown_limits(&self.limits(record, manifest));
            failure = Some(self.on_failure(record, manifest));
        }
        let text = |(name, value): (Box<str>, Box<str>)| (name.into(), value.into());
        PluginView {
            name: record.name.clone(),
            world: record.world.to_string(),
            state,
            problem,
            enabled: record.enabled,
            active: record.active,
            version: active.map(|version| version.version.to_string()),
            previous: record.previous,
            description: manifest.map_or_else(String::new, |m| m.description.to_string()),
            capabilities: manifest.map_or_else(Vec::new, |manifest| capabilities(manifest)),
            config: config.into_iter().map(text).collect(),
            config_schema: manifest.map_or_else(BTreeMap::new, |m| shown_schema(&m.config)),
            parameters_schema: manifest.map_or_else(BTreeMap::new, |m| shown_schema(&m.parameters)),
            failure: failure.unwrap_or_default(),
            limits,
            registrations: record.registrations.clone(),
            versions: record.versions.iter().map(Installed::view).collect(),
            stats: loaded.map_or_else(PluginStats::default, |loaded| shown_stats(&loaded.stats())),
        }
    }
}

fn capabilities(manifest: &Manifest) -> Vec<String> {
    manifest.capabilities.iter().map(ToString::to_string).collect()
}

fn shown_schema(schema: &Schema) -> BTreeMap<String, PluginSetting> {
    let one = |(name, setting): (&str, &hub_plugins::Setting)| {
        let shown = PluginSetting {
            takes: setting.kind.to_string(),
            description: setting.description.to_string(),
            required: setting.required,
            default: setting.default.as_deref().map(str::to_owned),
        };
        (name.to_owned(), shown)
    };
    schema.iter().map(one).collect()
}

fn shown_limits(limits: &Limits) -> PluginLimits {
    PluginLimits {
        memory_bytes: Some(limits.memory),
        time_micros: Some(u64::try_from(limits.time.as_micros()).unwrap_or(u64::MAX)),
        fuel: limits.fuel,
        host_calls: Some(limits.host_calls),
    }
}

fn shown_stats(stats: &Stats) -> PluginStats {
    PluginStats {
        calls: stats.calls,
        failures: stats.failures.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        fuel: stats.fuel,
        time_micros: u64::try_from(stats.time.as_micros()).unwrap_or(u64::MAX),
        memory_peak_bytes: stats.memory_peak,
        overrun_micros: u64::try_from(stats.overrun.as_micros()).unwrap_or(u64::MAX),
        log_lines_dropped: stats.log_lines_dropped,
    }
}
