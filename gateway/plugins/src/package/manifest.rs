//! The manifest of a plugin: who it is, what it wants, what it can be told. Text in TOML, within
//! the file (`docs/formats/plugin.md`). What it wants is a wish: the operator's ceilings hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hub_model::Name;
use hub_model::extend::FailurePolicy;
use serde::{Deserialize, Deserializer, Serialize};

use super::schema::{RawSetting, Schema};
use super::{PackageError, units};

/// The version of the package `cipher-hub:plugin` that this hub speaks.
pub(super) const CONTRACT: &str = "0.1";

/// What a plugin is for, and so what it exports and may import: worlds of `wit/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// Says when keys are rotated.
    RotationSchedule,
    /// Plans derivations of keys.
    KdfProfile,
    /// Takes entries of the audit log elsewhere.
    AuditSink,
}

impl World {
    /// The word in manifests and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RotationSchedule => "rotation-schedule",
            Self::KdfProfile => "kdf-profile",
            Self::AuditSink => "audit-sink",
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a plugin may call: the interface of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Lines in the log of the hub.
    Log,
    /// The operator's settings.
    Config,
    /// Requests to configured endpoints.
    Outbound,
}

impl Capability {
    /// The word in manifests and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Config => "config",
            Self::Outbound => "outbound",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A version: [Semantic Versioning](https://semver.org) 2.0.0, and ordered as it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > 64 {
            return Err("a version has at most 64 characters".to_owned());
        }
        let wrong = |_| format!("`{text}` is no version such as `1.2.0` (semver.org)");
        text.parse().map(Self).map_err(wrong)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Limits of a call that the plugin says it does with. Absent: the operator's ceiling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsWanted {
    /// All linear memories together, in bytes.
    pub memory: Option<u64>,
    /// Time of a call.
    pub time: Option<Duration>,
    /// Fuel of a call: about an instruction each.
    pub fuel: Option<u64>,
    /// Calls of the host during a call.
    pub host_calls: Option<u32>,
}

/// The manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What the plugin is called, in policies, requests and settings.
    pub name: Name,
    /// Which version of it.
    pub version: Version,
    /// What it is for.
    pub world: World,
    /// Which version of the contract it is written to.
    pub contract: Box<str>,
    /// What it does, in a sentence.
    pub description: Box<str>,
    /// An SPDX expression.
    pub license: Option<Box<str>>,
    /// Where to read more.
    pub homepage: Option<Box<str>>,
    /// What it may call.
    pub capabilities: BTreeSet<Capability>,
    /// What is done when it gives no answer, where the operator says nothing.
    pub failure: FailurePolicy,
    /// What it says it does with.
    pub limits: LimitsWanted,
    /// The operator's settings.
    pub config: Schema,
    /// What a rotation policy or a request may say to it.
    pub parameters: Schema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Name,
    version: Version,
    world: World,
    contract: Box<str>,
    description: Box<str>,
    license: Option<Box<str>>,
    homepage: Option<Box<str>>,
    #[serde(default)]
    capabilities: Vec<Capability>,
    #[serde(default)]
    failure: FailurePolicy,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    config: BTreeMap<Box<str>, RawSetting>,
    #[serde(default)]
    parameters: BTreeMap<Box<str>, RawSetting>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    memory: Option<String>,
    time: Option<String>,
    fuel: Option<u64>,
    host_calls: Option<u32>,
}

impl Manifest {
    /// Reads the text.
    ///
    /// # Errors
    /// [`PackageError::Manifest`] says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, PackageError> {
        read(text).map_err(|text| PackageError::Manifest(text.chars().take(512).collect()))
    }
}

fn read(text: &str) -> Result<Manifest, String> {
    let raw: Raw = toml::from_str(text).map_err(|error| place(text, &error))?;
    if &*raw.contract != CONTRACT {
        let shown: String = raw.contract.chars().take(32).collect();
        return Err(format!("`contract`: this hub speaks {CONTRACT}, and not `{shown}`"));
    }
    line("description", &raw.description, 1, 256)?;
    if let Some(license) = &raw.license {
        line("license", license, 1, 128)?;
    }
    if let Some(homepage) = &raw.homepage {
        line("homepage", homepage, 1, 256)?;
        if !homepage.starts_with("https://") {
            return Err("`homepage` begins with `https://`".to_owned());
        }
    }
    let capabilities: BTreeSet<Capability> = raw.capabilities.iter().copied().collect();
    if capabilities.len() != raw.capabilities.len() {
        return Err("`capabilities` names one twice".to_owned());
    }
    if capabilities.contains(&Capability::Outbound) && raw.world != World::AuditSink {
        return Err("`capabilities`: `outbound` is for the world `audit-sink` alone".to_owned());
    }
    if raw.world == World::KdfProfile && raw.failure == FailurePolicy::FallBack {
        return Err("`failure`: another key is no answer, so `fall-back` is not for the world \
                    `kdf-profile`"
            .to_owned());
    }
    if raw.world == World::AuditSink && !raw.parameters.is_empty() {
        return Err("`parameters`: nobody gives any to an audit sink; use `config`".to_owned());
    }
    Ok(Manifest {
        name: raw.name,
        version: raw.version,
        world: raw.world,
        contract: raw.contract,
        description: raw.description,
        license: raw.license,
        homepage: raw.homepage,
        capabilities,
        failure: raw.failure,
        limits: limits(&raw.limits)?,
        config: Schema::read(raw.config).map_err(|text| format!("`config`: {text}"))?,
        parameters: Schema::read(raw.parameters).map_err(|text| format!("`parameters`: {text}"))?,
    })
}

/// What the parser says, and the line: without the lines themselves, which it would quote.
fn place(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

fn line(what: &str, text: &str, least: usize, most: usize) -> Result<(), String> {
    if !(least..=most).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        return Err(format!("`{what}` has {least} to {most} characters, in one line"));
    }
    Ok(())
}

fn limits(raw: &RawLimits) -> Result<LimitsWanted, String> {
    let memory = raw.memory.as_deref().map(|text| {
        units::size(text).ok_or("`limits.memory` is a size such as `16MiB`".to_owned())
    });
    let time = raw.time.as_deref().map(|text| {
        units::duration(text).ok_or("`limits.time` is a duration such as `10ms`".to_owned())
    });
    if raw.fuel == Some(0) {
        return Err("`limits.fuel` is at least 1, or absent".to_owned());
    }
    Ok(LimitsWanted {
        memory: memory.transpose()?,
        time: time.transpose()?,
        fuel: raw.fuel,
        host_calls: raw.host_calls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "rotation-business-calendar"
version = "1.2.0"
world = "rotation-schedule"
contract = "0.1"
description = "Rotates on business days."
license = "Apache-2.0"
homepage = "https://example.org/calendar"
capabilities = ["log", "config"]
failure = "fall-back"
[limits]
memory = "16MiB"
time = "10ms"
fuel = 50_000_000
host_calls = 64
[config.region]
type = "string"
description = "Which holidays."
required = true
[parameters.zone]
type = "string"
default = "UTC"
"#;

    #[test]
    fn every_member_is_read() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!(manifest.name.as_str(), "rotation-business-calendar");
        assert_eq!(manifest.version.to_string(), "1.2.0");
        assert_eq!(manifest.world, World::RotationSchedule);
        assert_eq!(manifest.failure, FailurePolicy::FallBack);
        assert_eq!(manifest.limits.memory, Some(16 << 20));
        assert_eq!(manifest.limits.time, Some(Duration::from_millis(10)));
        assert_eq!(manifest.limits.fuel, Some(50_000_000));
        assert!(manifest.capabilities.contains(&Capability::Log));
        assert_eq!(manifest.config.iter().count(), 1);
        assert_eq!(manifest.parameters.iter().next().unwrap().0, "zone");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let change = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            Manifest::parse(&GOOD.replace(from, to)).unwrap_err().to_string()
        };
        for (from, to, text) in [
            ("contract = \"0.1\"", "contract = \"9.0\"", "this hub speaks 0.1, and not `9.0`"),
            ("1.2.0", "1.2", "line 3: `1.2` is no version"),
            ("rotation-schedule", "rotation", "line 4: unknown variant `rotation`"),
            ("license", "licence", "line 7: unknown field `licence`"),
            ("\"log\", ", "\"outbound\", ", "`outbound` is for the world `audit-sink` alone"),
            ("\"log\", ", "\"config\", ", "names one twice"),
            ("https://example.org", "http://example.org", "`homepage` begins with"),
            ("16MiB", "16", "`limits.memory` is a size"),
            ("10ms", "10", "`limits.time` is a duration"),
            ("50_000_000", "0", "`limits.fuel` is at least 1"),
            ("fuel = ", "cores = ", "unknown field `cores`"),
            ("default = \"UTC\"", "default = []", "`parameters`: `zone`: a default is"),
            ("Rotates on business days.", "", "`description` has 1 to 256 characters"),
            ("\nname = ", "\n= ", "line 2: "),
        ] {
            let said = change(from, to);
            assert!(said.contains(text), "{said}");
        }
        let kdf = GOOD.replace("rotation-schedule", "kdf-profile");
        assert!(Manifest::parse(&kdf).unwrap_err().to_string().contains("another key"));
        let sink = GOOD.replace("rotation-schedule", "audit-sink");
        assert!(Manifest::parse(&sink).unwrap_err().to_string().contains("audit sink"));
    }

    #[test]
    fn versions_are_ordered() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.10.0") > version("1.9.0"));
        assert!(version("2.0.0-rc.1") < version("2.0.0"));
        assert!("1".repeat(65).parse::<Version>().is_err());
    }
}
