//! `kind = "plugin"`: which plugin, its settings, and the places it may send to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use hub_model::Name;
use hub_model::extend::Parameters;
use serde::{Deserialize, Serialize};

use super::{Bytes, HttpTarget, SinkConfig, Span, http};

/// The most endpoints of a sink.
const MAX_ENDPOINTS: usize = 16;
/// The most bytes of a setting's value.
const MAX_VALUE: usize = 4096;

/// A place that the plugin of a sink may send to, by this name alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// What the plugin calls it.
    pub name: Name,
    /// Address and base path.
    pub url: String,
    /// A file of header lines that the plugin never sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_file: Option<PathBuf>,
    /// PEM certificates to trust, instead of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// What a call of the plugin may use, where that is not what its manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkLimits {
    /// All its memories together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// How long it may compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// Instructions, about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Calls of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<u32>,
}

/// A setting as TOML has it; plugins get text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a setting is a text, a whole number, `true` or `false`")]
pub enum SinkSetting {
    /// A text.
    Text(String),
    /// A number.
    Integer(i64),
    /// A yes or no.
    Boolean(bool),
}

impl SinkSetting {
    fn text(&self) -> Box<str> {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Integer(number) => number.to_string().into(),
            Self::Boolean(yes) => yes.to_string().into(),
        }
    }
}

/// A plugin and what it is given, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginTarget {
    /// Its name in the catalogue.
    pub plugin: Name,
    /// Its settings.
    pub settings: Parameters,
    /// Where it may send to.
    pub endpoints: BTreeMap<Name, HttpTarget>,
    /// What a call may use.
    pub limits: SinkLimits,
}

impl SinkConfig {
    pub(super) fn plugin_target(&self) -> Result<PluginTarget, String> {
        let plugin = self.plugin.clone().ok_or("`plugin` must name a plugin")?;
        let mut settings = Parameters::new();
        for (name, value) in &self.config {
            let text = value.text();
            if text.len() > MAX_VALUE || name.len() > 64 {
                return Err(format!("`config.{}` is too long", name.escape_debug()));
            }
            settings.insert(name.as_str().into(), text);
        }
        if self.endpoints.len() > MAX_ENDPOINTS {
            return Err(format!("there may be at most {MAX_ENDPOINTS} `endpoints`"));
        }
        let mut endpoints = BTreeMap::new();
        for one in &self.endpoints {
            let name = &one.name;
            let target = self.endpoint(one).map_err(|why| format!("endpoint `{name}`: {why}"))?;
            if endpoints.insert(name.clone(), target).is_some() {
                return Err(format!("endpoint `{name}` is there twice"));
            }
        }
        let most = Duration::from_secs(60);
        if self.limits.time.is_some_and(|time| time.0.is_zero() || time.0 > most) {
            return Err("`limits.time` must be above 0 and at most 60s".to_owned());
        }
        Ok(PluginTarget { plugin, settings, endpoints, limits: self.limits.clone() })
    }

    fn endpoint(&self, one: &EndpointConfig) -> Result<HttpTarget, String> {
        let files = (one.headers_file.clone(), one.ca_file.clone());
        let target = http(Some(&one.url), files, "/", self.danger_without_tls)?;
        if target.url.query().is_some() {
            return Err("`url` is a base and has no query".to_owned());
        }
        let path = target.url.path();
        let odd = |segment: &str| matches!(segment, "." | "..");
        if path.contains("//") || path.contains('%') || path.split('/').any(odd) {
            return Err("the path of `url` must be plain: no `//`, `.`, `..` or `%`".to_owned());
        }
        Ok(target)
    }
}

/// The files that endpoints need.
pub(crate) fn files(target: &PluginTarget) -> (BTreeSet<&PathBuf>, BTreeSet<&PathBuf>) {
    let all = || target.endpoints.values();
    (
        all().filter_map(|one| one.headers_file.as_ref()).collect(),
        all().filter_map(|one| one.ca_file.as_ref()).collect(),
    )
}
