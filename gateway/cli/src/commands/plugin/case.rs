//! Cases of `cipher-hub plugin test`, as `docs/plugins/cases.md` describes them: read, checked, and
//! written again with the answers that `--record` keeps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hub_model::extend::Parameters;
use serde::Deserialize;
use serde_json::Value;

use super::values::{Bytes, Length};

/// A case.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Case {
    /// Where it stands.
    #[serde(skip)]
    pub(super) path: PathBuf,
    #[serde(default)]
    pub(super) description: String,
    pub(super) world: String,
    #[serde(default)]
    pub(super) call: Option<Call>,
    #[serde(default)]
    pub(super) config: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) request: Value,
    /// A root key, for a known answer of a plan.
    #[serde(default)]
    pub(super) root: Option<Bytes>,
    /// What a sink's requests are answered with.
    #[serde(default)]
    pub(super) responses: Vec<Value>,
    #[serde(default)]
    pub(super) expect: Option<Value>,
    #[serde(default)]
    pub(super) expect_error: Option<String>,
    #[serde(default)]
    pub(super) expect_text: Option<String>,
}

/// Which function of the world is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Call {
    Decide,
    CheckPolicy,
    Plan,
    Profiles,
    Deliver,
    Probe,
    Check,
}

impl Call {
    /// The word in a case.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::CheckPolicy => "checkPolicy",
            Self::Plan => "plan",
            Self::Profiles => "profiles",
            Self::Deliver => "deliver",
            Self::Probe => "probe",
            Self::Check => "check",
        }
    }

    /// The functions of a world, the first one first.
    pub(super) fn of(world: &str) -> &'static [Self] {
        match world {
            "rotation-schedule" => &[Self::Decide, Self::CheckPolicy, Self::Check],
            "kdf-profile" => &[Self::Plan, Self::Profiles, Self::Check],
            "audit-sink" => &[Self::Deliver, Self::Probe, Self::Check],
            _ => &[],
        }
    }
}

/// Limits below those of the manifest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Limits {
    #[serde(default)]
    pub(super) memory: Option<String>,
    #[serde(default)]
    pub(super) time: Option<Length>,
    #[serde(default)]
    pub(super) fuel: Option<u64>,
    #[serde(default)]
    pub(super) host_calls: Option<u32>,
}

impl Limits {
    /// These limits, where they are below others.
    pub(super) fn within(&self, most: &hub_plugins::Limits) -> Result<hub_plugins::Limits, String> {
        let mut limits = most.clone();
        if let Some(memory) = &self.memory {
            let bytes = size(memory).ok_or("`limits.memory` is a size such as \"16MiB\"")?;
            limits.memory = bytes;
        }
        if let Some(time) = &self.time {
            limits.time = time.from(super::question::epoch());
        }
        limits.fuel = self.fuel.or(limits.fuel);
        limits.host_calls = self.host_calls.unwrap_or(limits.host_calls);
        Ok(limits.within(most))
    }
}

/// `16MiB`.
fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "B" | "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

impl Case {
    /// A case without anything but its call.
    pub(super) fn of(world: &str, call: Call) -> Self {
        Self {
            path: PathBuf::new(),
            description: String::new(),
            world: world.to_owned(),
            call: Some(call),
            config: BTreeMap::new(),
            limits: Limits::default(),
            request: Value::Null,
            root: None,
            responses: Vec::new(),
            expect: None,
            expect_error: None,
            expect_text: None,
        }
    }

    /// Reads a case of a plugin of this world. The message says what is wrong with it.
    pub(super) fn parse(text: &str, world: &str) -> Result<Self, String> {
        let case: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if case.world != world {
            return Err(format!("its world is `{}`, the plugin's `{world}`", case.world));
        }
        if !Call::of(world).contains(&case.call()) {
            let known: Vec<_> = Call::of(world).iter().map(|call| call.name()).collect();
            return Err(format!("`call` of this world is one of {}", known.join(", ")));
        }
        if case.expect.is_some() && case.expect_error.is_some() {
            return Err("`expect` and `expectError` exclude each other".to_owned());
        }
        if case.expect_text.is_some() && case.expect_error.is_none() {
            return Err("`expectText` goes with `expectError`".to_owned());
        }
        if world != "audit-sink" && !case.responses.is_empty() {
            return Err("`responses` are for sinks".to_owned());
        }
        if case.root.is_some() && case.call() != Call::Plan {
            return Err("`root` is for plans".to_owned());
        }
        Ok(case)
    }

    /// The function it calls.
    pub(super) fn call(&self) -> Call {
        self.call.or_else(|| Call::of(&self.world).first().copied()).unwrap_or(Call::Check)
    }

    /// The name of its file.
    pub(super) fn file(&self) -> String {
        let file = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        file.unwrap_or_default()
    }

    /// What people call it.
    pub(super) fn title(&self) -> String {
        let file = self.file();
        match self.description.as_str() {
            "" => file,
            words => format!("{file}: {words}"),
        }
    }

    /// The operator's settings as text, which is how plugins get them.
    pub(super) fn settings(&self) -> Result<Parameters, String> {
        parameters(&self.config).map_err(|name| {
            format!("`config.{name}`: a setting is text, a whole number, or true or false")
        })
    }
}

/// Values by name as text. The error is the name of one that has no text.
pub(super) fn parameters(values: &BTreeMap<String, Value>) -> Result<Parameters, String> {
    values
        .iter()
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(flag) => flag.to_string(),
                Value::Number(number) if !number.is_f64() => number.to_string(),
                _ => return Err(name.clone()),
            };
            Ok((name.as_str().into(), text.into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_says_what_is_wrong_with_it() {
        let parse = |text: &str| Case::parse(text, "rotation-schedule");
        let ok = parse(r#"{"world":"rotation-schedule","expect":{"rotateNow":"x"}}"#).unwrap();
        assert_eq!((ok.call(), ok.config.len()), (Call::Decide, 0));
        for (bad, said) in [
            ("{", "line 1"),
            (r#"{"world":"kdf-profile"}"#, "its world is `kdf-profile`"),
            (r#"{"world":"rotation-schedule","call":"deliver"}"#, "decide, checkPolicy, check"),
            (r#"{"world":"rotation-schedule","expected":1}"#, "unknown field `expected`"),
            (r#"{"world":"rotation-schedule","responses":[{}]}"#, "for sinks"),
            (r#"{"world":"rotation-schedule","expect":1,"expectError":"trap"}"#, "exclude"),
            (r#"{"world":"rotation-schedule","expectText":"trap"}"#, "goes with"),
            (r#"{"world":"rotation-schedule","root":"AA=="}"#, "for plans"),
        ] {
            let message = parse(bad).unwrap_err();
            assert!(message.contains(said), "{bad}: {message}");
        }
    }

    #[test]
    fn settings_become_text() {
        let text = r#"{"world":"audit-sink","config":{"a":1,"b":true,"c":"x"}}"#;
        let settings = Case::parse(text, "audit-sink").unwrap().settings().unwrap();
        assert_eq!(settings.values().map(|v| &**v).collect::<Vec<_>>(), ["1", "true", "x"]);
        let text = r#"{"world":"audit-sink","config":{"a":[1]}}"#;
        let message = Case::parse(text, "audit-sink").unwrap().settings().unwrap_err();
        assert!(message.contains("config.a"), "{message}");
    }
}
