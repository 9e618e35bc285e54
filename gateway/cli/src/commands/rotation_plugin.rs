//! Rotation by a plugin: the flags that name one, and how its dates are shown.

use clap::Args;
use hub_model::api::key::KeyView;
use hub_model::api::next_rotation::RotationSource;
use hub_model::{Name, Period};
use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::super::output::{clean, time};
use super::super::values;

/// The least and the most time between rotations where nothing is said.
const BOUNDS: (&str, &str) = ("P1D", "P1Y");

/// A plugin that says when.
#[derive(Debug, Default, Args)]
pub(crate) struct PluginArgs {
    /// Rotate when this plugin of the hub says, within --min-interval and --max-interval
    #[arg(long = "rotation-plugin", value_name = "NAME")]
    plugin: Option<Name>,
    /// Tell the plugin this, as zone=Europe/Zurich; again for more
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair, requires = "plugin")]
    param: Vec<(String, String)>,
    /// With a plugin: never rotate sooner than this after the last rotation; P1D when absent
    #[arg(long, value_name = "DURATION", requires = "plugin")]
    min_interval: Option<Period>,
    /// With a plugin: rotate this long after the last rotation at the latest; P1Y when absent
    #[arg(long, value_name = "DURATION", requires = "plugin")]
    max_interval: Option<Period>,
}

impl PluginArgs {
    /// The schedule of the policy; none where no plugin is named.
    pub(crate) fn schedule(&self) -> Result<Option<Value>, Failure> {
        let Some(plugin) = &self.plugin else { return Ok(None) };
        let mut parameters = Map::new();
        for (name, value) in &self.param {
            if parameters.insert(name.clone(), json!(value)).is_some() {
                let message = format!("parameter `{name}` is given twice");
                return Err(Failure::usage(message, "give each parameter once"));
            }
        }
        let text = |period: Option<Period>, otherwise: &str| {
            period.map_or_else(|| otherwise.to_owned(), |period| period.to_string())
        };
        let mut schedule = json!({
            "plugin": plugin.as_str(),
            "minInterval": text(self.min_interval, BOUNDS.0),
            "maxInterval": text(self.max_interval, BOUNDS.1),
        });
        if let Some(members) = schedule.as_object_mut().filter(|_| !parameters.is_empty()) {
            members.insert("parameters".to_owned(), Value::Object(parameters));
        }
        Ok(Some(schedule))
    }
}

/// When the key is rotated next, and who says so, on one line.
pub(crate) fn next_text(view: &KeyView) -> String {
    let Some(next) = &view.next_rotation else {
        // An older hub says only when.
        return view.next_rotation_time.map(time).unwrap_or_default();
    };
    let mut text = time(next.time);
    let plugin = next.plan.as_ref().map(|plan| plan.plugin.to_string()).unwrap_or_default();
    match next.source {
        RotationSource::Schedule => {}
        RotationSource::MaxAge => text.push_str("  by maxAge"),
        RotationSource::Plugin => text.push_str(&format!("  by plugin {plugin}")),
        RotationSource::MaxInterval => text.push_str("  by maxInterval"),
        RotationSource::Undecided => {
            text.push_str("  at the latest, by maxInterval; no plugin has decided yet");
        }
    }
    let Some(plan) = &next.plan else { return text };
    if let Some(reason) = plan.reason.as_deref().filter(|reason| !reason.is_empty()) {
        text.push_str(&format!(": {}", clean(reason)));
    }
    if let Some(failure) = &plan.failure {
        let (failure, times) = (clean(failure), plan.failures);
        text.push_str(&format!("; {plugin} gives no answer ({failure}, {times} in a row)"));
    }
    if let Some(again) = plan.ask_again_time {
        text.push_str(&format!("; {plugin} is asked again {}", time(again)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_make_the_schedule() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut args = PluginArgs {
            plugin: Some("calendar".parse().unwrap()),
            param: vec![pair("zone", "Europe/Zurich"), pair("holidays", "2026-12-25")],
            min_interval: Some("P7D".parse().unwrap()),
            max_interval: None,
        };
        let schedule = args.schedule().unwrap().unwrap();
        assert_eq!(schedule["minInterval"], "P7D");
        assert_eq!(schedule["maxInterval"], "P1Y");
        assert_eq!(schedule["parameters"]["holidays"], "2026-12-25");
        let _valid: hub_model::rotation::Schedule = serde_json::from_value(schedule).unwrap();
        args.param.push(pair("zone", "UTC"));
        assert!(args.schedule().is_err());
        assert!(PluginArgs::default().schedule().unwrap().is_none());
    }
}
