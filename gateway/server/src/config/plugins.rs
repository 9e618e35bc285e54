//! `plugins`: whether and which plugins are taken, by whom they may be signed, and what the
//! operator says of each.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hub_model::extend::{FailurePolicy, Parameters, PluginDigest};
use hub_model::{Name, Timestamp};
use hub_plugins::{Limits, LimitsWanted, Signer, Trust, parse_public_key};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

use super::units;

/// The most signers, and the most plugins that the configuration says something of.
const MAX_SIGNERS: usize = 64;
const MAX_SETTINGS: usize = 256;

/// `plugins`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// Whether any plugin is loaded.
    pub enabled: bool,
    /// Where files are found that are put into service.
    #[serde(deserialize_with = "units::maybe_path")]
    pub folder: Option<PathBuf>,
    /// Whether files that nobody signed are taken.
    pub allow_unsigned: bool,
    /// The most bytes of a file.
    #[serde(with = "units::size64")]
    pub max_size: u64,
    /// Calls at once, of all plugins.
    pub concurrency: u32,
    /// Where compiled plugins are kept.
    pub cache: PathBuf,
    /// Who may sign plugins.
    pub signers: Vec<SignerConfig>,
    /// What no call may exceed.
    pub ceilings: CeilingsConfig,
    /// What the operator says of single plugins.
    pub settings: Vec<PluginSettings>,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            folder: None,
            allow_unsigned: false,
            max_size: 64 << 20,
            concurrency: 16,
            cache: PathBuf::new(),
            signers: Vec::new(),
            ceilings: CeilingsConfig::default(),
            settings: Vec::new(),
        }
    }
}

/// `plugins.ceilings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CeilingsConfig {
    /// Memory of a call, in bytes.
    #[serde(with = "units::size64")]
    pub memory: u64,
    /// Time of a call.
    #[serde(with = "units::duration")]
    pub time: Duration,
    /// Fuel of a call; 0 is as much as the time allows.
    pub fuel: u64,
    /// Calls of the host during a call.
    pub host_calls: u32,
}

impl Default for CeilingsConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self { memory: limits.memory, time: limits.time, fuel: 0, host_calls: limits.host_calls }
    }
}

/// Who may sign plugins, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// What views call them.
    pub name: Name,
    /// `ed25519:` and their public key in base64.
    pub key: String,
    /// From when plugins by them may be installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

/// What the operator says of one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginSettings {
    /// Which.
    pub name: Name,
    /// Settings; those set over the API hold where this says nothing.
    #[serde(
        default,
        deserialize_with = "parameters",
        skip_serializing_if = "Parameters::is_empty"
    )]
    pub config: Parameters,
    /// What is done when it gives no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailurePolicy>,
    /// Limits of a call.
    #[serde(default)]
    pub limits: PluginLimitsConfig,
    /// Names of the registrations it serves; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrations: Option<Vec<Name>>,
    /// The only versions that are taken; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digests: Option<Vec<PluginDigest>>,
}

/// Limits of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginLimitsConfig {
    /// Memory.
    #[serde(default, deserialize_with = "some_size", skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<super::jwt::Span>,
    /// Fuel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Calls of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<u32>,
}

impl PluginLimitsConfig {
    /// As what a plugin could want.
    #[must_use]
    pub fn wanted(&self) -> LimitsWanted {
        LimitsWanted {
            memory: self.memory,
            time: self.time.map(|time| time.0),
            fuel: self.fuel,
            host_calls: self.host_calls,
        }
    }
}

fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    units::size64::deserialize(deserializer).map(Some)
}

/// A value as text: what a plugin sees.
struct Text(Box<str>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;
        impl Visitor<'_> for AsText {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a whole number or a boolean")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.into()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string().into()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string().into()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string().into()))
            }
        }
        deserializer.deserialize_any(AsText)
    }
}

fn parameters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Parameters, D::Error> {
    let texts = std::collections::BTreeMap::<Box<str>, Text>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|(name, Text(text))| (name, text)).collect())
}

impl PluginsConfig {
    /// What no call may exceed.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            memory: self.ceilings.memory,
            time: self.ceilings.time,
            fuel: Some(self.ceilings.fuel).filter(|fuel| *fuel > 0),
            host_calls: self.ceilings.host_calls,
            ..Limits::default()
        }
    }

    /// Who may sign plugins.
    ///
    /// # Errors
    /// Names the signer whose key is none.
    pub fn trust(&self) -> Result<Trust, String> {
        let signer = |signer: &SignerConfig| {
            let SignerConfig { name, key, not_before, not_after } = signer;
            let key = parse_public_key(key).map_err(|why| format!("signer `{name}`: {why}"))?;
            if not_before.zip(*not_after).is_some_and(|(from, until)| from > until) {
                return Err(format!("signer `{name}`: `not_after` is before `not_before`"));
            }
            let (not_before, not_after) = (*not_before, *not_after);
            Ok(Signer { name: name.clone(), key, not_before, not_after })
        };
        Ok(Trust { signers: self.signers.iter().map(signer).collect::<Result<_, String>>()? })
    }

    /// What the operator says of this plugin.
    #[must_use]
    pub fn of(&self, plugin: &Name) -> Option<&PluginSettings> {
        self.settings.iter().find(|settings| settings.name == *plugin)
    }
}

/// What cannot be meant, with the setting that says it.
pub(super) fn check(
    config: &PluginsConfig,
    beyond_loopback: bool,
) -> Result<(), (&'static str, String)> {
    if config.signers.len() > MAX_SIGNERS {
        return Err(("plugins.signers", format!("at most {MAX_SIGNERS}")));
    }
    config.trust().map_err(|why| ("plugins.signers", why))?;
    if config.allow_unsigned && beyond_loopback {
        let why = "is for development, and this hub listens beyond loopback; sign plugins \
                   (`cipher-hub plugin sign`) and name the signer in plugins.signers";
        return Err(("plugins.allow_unsigned", why.to_owned()));
    }
    if !(1 << 10..=1 << 30).contains(&config.max_size) {
        return Err(("plugins.max_size", "must be between 1KiB and 1GiB".to_owned()));
    }
    if !(1..=256).contains(&config.concurrency) {
        return Err(("plugins.concurrency", "must be between 1 and 256".to_owned()));
    }
    let CeilingsConfig { memory, time, .. } = config.ceilings;
    if !(65_536..=4 << 30).contains(&memory) {
        return Err(("plugins.ceilings.memory", "must be between 64KiB and 4GiB".to_owned()));
    }
    if time > Duration::from_secs(60) {
        return Err(("plugins.ceilings.time", "60s is the most".to_owned()));
    }
    let settings = &config.settings;
    if settings.len() > MAX_SETTINGS {
        return Err(("plugins.settings", format!("at most {MAX_SETTINGS}")));
    }
    for (place, one) in settings.iter().enumerate() {
        if settings.iter().take(place).any(|other| other.name == one.name) {
            return Err(("plugins.settings", format!("`{}` is there twice", one.name)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PluginsConfig, String> {
        let config: PluginsConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        check(&config, false).map_err(|(key, why)| format!("{key}: {why}"))?;
        Ok(config)
    }

    #[test]
    fn settings_are_text_whatever_they_are_written_as() {
        let config = parse(
            "[[settings]]\nname = \"calendar\"\nconfig = { days = 5, strict = true, zone = \"UTC\" }\n\
             limits = { memory = \"1MiB\", time = \"5ms\" }\nregistrations = [\"shop\"]",
        )
        .unwrap();
        let one = config.of(&"calendar".parse().unwrap()).unwrap();
        let texts: Vec<_> = one.config.values().map(|text| &**text).collect();
        assert_eq!(texts, ["5", "true", "UTC"]);
        assert_eq!(one.limits.wanted().memory, Some(1 << 20));
        assert_eq!(one.limits.wanted().time, Some(Duration::from_millis(5)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let key = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let good = format!("signers = [{{ name = \"us\", key = \"{key}\" }}]");
        assert_eq!(parse(&good).unwrap().trust().unwrap().signers.len(), 1);
        for wrong in [
            "signers = [{ name = \"us\", key = \"AAAA\" }]",
            "signers = [{ name = \"us\" }]",
            "max_size = 1",
            "concurrency = 0",
            "ceilings = { memory = \"1KiB\" }",
            "ceilings = { time = \"2m\" }",
            "ceilings = { cores = 1 }",
            "settings = [{ name = \"aa\" }, { name = \"aa\" }]",
            "settings = [{ name = \"aa\", digests = [\"xx\"] }]",
            "settings = [{ name = \"aa\", config = { a = 1.5 } }]",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let reversed = format!(
            "signers = [{{ name = \"us\", key = \"{key}\", not_before = \"2027-01-01T00:00:00Z\", \
             not_after = \"2026-01-01T00:00:00Z\" }}]"
        );
        assert!(parse(&reversed).unwrap_err().contains("`not_after` is before"));
        let unsigned = PluginsConfig { allow_unsigned: true, ..PluginsConfig::default() };
        assert!(check(&unsigned, false).is_ok());
        assert_eq!(check(&unsigned, true).unwrap_err().0, "plugins.allow_unsigned");
    }
}
