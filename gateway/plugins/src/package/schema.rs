//! The schema of settings and parameters: what a plugin takes, in words that an operator reads.
//! Values are text, as the guest sees them; a schema says which texts are good.

use std::collections::BTreeMap;
use std::fmt;

use hub_model::extend::Parameters;
use serde::Deserialize;

use super::units;

/// The most settings of a schema.
const MAX_SETTINGS: usize = 64;
/// The most characters of a value, where the schema says nothing, and at all.
const USUAL_LENGTH: u32 = 4_096;
const MAX_LENGTH: u32 = 16_384;
/// The most choices of a setting.
const MAX_CHOICES: usize = 64;

/// What is taken, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema(BTreeMap<Box<str>, Setting>);

/// One setting or parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Which texts are good.
    pub kind: SettingKind,
    /// What it is for, in a sentence.
    pub description: Box<str>,
    /// Whether it must be given.
    pub required: bool,
    /// What holds where nothing is given.
    pub default: Option<Box<str>>,
}

/// Kinds of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Any text without control characters but line feeds and tabs.
    Text {
        /// The most characters.
        max_length: u32,
    },
    /// A number in decimal digits.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// A number with `us`, `ms`, `s`, `m`, `h` or `d`.
    Duration,
    /// One of these.
    Choice(Vec<Box<str>>),
}

/// A value that the schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// Which setting. It may be one that the schema does not have.
    pub setting: Box<str>,
    /// What is wrong with it, and what it should be.
    pub text: Box<str>,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.setting, self.text)
    }
}

impl std::error::Error for SettingError {}

impl Schema {
    /// Whether nothing is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Settings, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(name, setting)| (&**name, setting))
    }

    /// The values with defaults filled in, if each is one that the schema allows.
    ///
    /// # Errors
    /// A sentence that names the setting and says what it should be.
    pub fn check(&self, given: &Parameters) -> Result<Parameters, String> {
        self.check_each(given).map_err(|error| error.to_string())
    }

    /// As [`Self::check`], with the name of the wrong setting apart.
    ///
    /// # Errors
    /// The first setting that is wrong, by name.
    pub fn check_each(&self, given: &Parameters) -> Result<Parameters, SettingError> {
        if let Some(unknown) = given.keys().find(|name| !self.0.contains_key(*name)) {
            return Err(SettingError {
                setting: unknown.chars().take(80).collect(),
                text: self.unknown().into(),
            });
        }
        let mut checked = Parameters::new();
        for (name, setting) in &self.0 {
            let value = match given.get(name) {
                Some(value) => {
                    let wrong =
                        |text: String| SettingError { setting: name.clone(), text: text.into() };
                    setting.kind.check(value).map_err(wrong)?;
                    value
                }
                None if setting.required => {
                    let text = format!("is missing: {}", setting.kind);
                    return Err(SettingError { setting: name.clone(), text: text.into() });
                }
                None => match &setting.default {
                    Some(default) => default,
                    None => continue,
                },
            };
            checked.insert(name.clone(), value.clone());
        }
        Ok(checked)
    }

    fn unknown(&self) -> String {
        if self.0.is_empty() {
            return "is not known: the plugin takes none".to_owned();
        }
        let names: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
        format!("is not known; there are {}", names.join(", "))
    }

    /// Reads a table of the manifest.
    pub(super) fn read(table: BTreeMap<Box<str>, RawSetting>) -> Result<Self, String> {
        if table.len() > MAX_SETTINGS {
            return Err(format!("there are more than {MAX_SETTINGS}"));
        }
        let read = |(name, raw): (Box<str>, RawSetting)| {
            let shown: String = name.chars().take(80).collect();
            let tail = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let good =
                name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(tail);
            if !good || name.len() > 63 {
                return Err(format!(
                    "`{shown}`: a name has 1 to 63 letters, digits, `-`, `_`, `.`"
                ));
            }
            let setting = raw.read().map_err(|text| format!("`{shown}`: {text}"))?;
            Ok((name, setting))
        };
        table.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl SettingKind {
    fn check(&self, value: &str) -> Result<(), String> {
        let good = match self {
            Self::Text { max_length } => {
                let fits = value.chars().count() <= usize::try_from(*max_length).unwrap_or(0);
                fits && !value.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
            }
            Self::Integer { min, max } => value
                .parse::<i64>()
                .is_ok_and(|number| number.to_string() == value && (*min..=*max).contains(&number)),
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Duration => units::duration(value).is_some(),
            Self::Choice(choices) => choices.iter().any(|choice| **choice == *value),
        };
        if good { Ok(()) } else { Err(format!("is not {self}")) }
    }
}

impl fmt::Display for SettingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { max_length } => {
                write!(
                    f,
                    "text of at most {max_length} characters, none of them control characters"
                )
            }
            Self::Integer { min: i64::MIN, max: i64::MAX } => f.write_str("a whole number"),
            Self::Integer { min, max: i64::MAX } => write!(f, "a whole number from {min}"),
            Self::Integer { min: i64::MIN, max } => write!(f, "a whole number up to {max}"),
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Boolean => f.write_str("`true` or `false`"),
            Self::Duration => f.write_str("a duration such as `250ms`, `10s` or `30d`"),
            Self::Choice(choices) => {
                f.write_str("one of ")?;
                for (index, choice) in choices.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "`{choice}`")?;
                }
                Ok(())
            }
        }
    }
}

/// A setting as the manifest writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSetting {
    r#type: RawKind,
    description: Option<String>,
    #[serde(default)]
    required: bool,
    default: Option<toml::Value>,
    choices: Option<Vec<Box<str>>>,
    min: Option<i64>,
    max: Option<i64>,
    max_length: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawKind {
    String,
    Integer,
    Boolean,
    Duration,
    Choice,
}

impl RawSetting {
    fn read(self) -> Result<Setting, String> {
        let only = |given: bool, what: &str, kind: RawKind, name: &str| {
            if given && self.r#type != kind {
                return Err(format!("`{what}` is for the type `{name}`"));
            }
            Ok(())
        };
        only(self.choices.is_some(), "choices", RawKind::Choice, "choice")?;
        only(self.min.is_some() || self.max.is_some(), "min/max", RawKind::Integer, "integer")?;
        only(self.max_length.is_some(), "max_length", RawKind::String, "string")?;
        let kind = match self.r#type {
            RawKind::String => {
                let max_length = self.max_length.unwrap_or(USUAL_LENGTH);
                if max_length == 0 || max_length > MAX_LENGTH {
                    return Err(format!("`max_length` is 1 to {MAX_LENGTH}"));
                }
                SettingKind::Text { max_length }
            }
            RawKind::Integer => {
                let (min, max) = (self.min.unwrap_or(i64::MIN), self.max.unwrap_or(i64::MAX));
                if min > max {
                    return Err("`min` is above `max`".to_owned());
                }
                SettingKind::Integer { min, max }
            }
            RawKind::Boolean => SettingKind::Boolean,
            RawKind::Duration => SettingKind::Duration,
            RawKind::Choice => {
                let choices = self.choices.unwrap_or_default();
                let plain = |choice: &str| {
                    !choice.is_empty()
                        && choice.len() <= 128
                        && !choice.chars().any(char::is_control)
                };
                if choices.is_empty()
                    || choices.len() > MAX_CHOICES
                    || !choices.iter().all(|choice| plain(choice))
                {
                    return Err(format!(
                        "`choices` are 1 to {MAX_CHOICES} texts of 1 to 128 bytes"
                    ));
                }
                SettingKind::Choice(choices)
            }
        };
        let default = match self.default {
            None => None,
            Some(_) if self.required => {
                return Err("what is required has no default".to_owned());
            }
            Some(toml::Value::String(text)) => Some(text),
            Some(toml::Value::Integer(number)) => Some(number.to_string()),
            Some(toml::Value::Boolean(value)) => Some(value.to_string()),
            Some(_) => return Err("a default is text, a whole number or a boolean".to_owned()),
        };
        if let Some(default) = &default {
            kind.check(default).map_err(|text| format!("the default {text}"))?;
        }
        let description = self.description.unwrap_or_default();
        if description.chars().count() > 512 || description.chars().any(char::is_control) {
            return Err("a description has at most 512 characters, in one line".to_owned());
        }
        Ok(Setting {
            kind,
            description: description.into(),
            required: self.required,
            default: default.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Result<Schema, String> {
        Schema::read(toml::from_str(text).map_err(|error| error.message().to_owned())?)
    }

    fn given(pairs: &[(&str, &str)]) -> Parameters {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    const ALL: &str = r#"
        region = { type = "choice", choices = ["eu", "us"], required = true }
        days = { type = "integer", min = 1, max = 31, default = 7 }
        wait = { type = "duration", default = "10s" }
        strict = { type = "boolean" }
        note = { type = "string", max_length = 5, description = "A note." }
    "#;

    #[test]
    fn defaults_are_filled_in() {
        let schema = schema(ALL).unwrap();
        let checked = schema.check(&given(&[("region", "eu"), ("strict", "true")])).unwrap();
        let wanted = [("days", "7"), ("region", "eu"), ("strict", "true"), ("wait", "10s")];
        assert_eq!(checked, given(&wanted));
        assert_eq!(schema.check(&checked).unwrap(), checked);
    }

    #[test]
    fn a_wrong_value_is_named_with_what_it_should_be() {
        let schema = schema(ALL).unwrap();
        for (pairs, text) in [
            (&[][..], "`region` is missing: one of `eu`, `us`"),
            (&[("region", "mars")], "`region` is not one of `eu`, `us`"),
            (&[("region", "eu"), ("days", "0")], "`days` is not a whole number from 1 to 31"),
            (&[("region", "eu"), ("days", "07")], "`days` is not a whole number from 1 to 31"),
            (
                &[("region", "eu"), ("wait", "10")],
                "`wait` is not a duration such as `250ms`, `10s` or `30d`",
            ),
            (&[("region", "eu"), ("strict", "yes")], "`strict` is not `true` or `false`"),
            (
                &[("region", "eu"), ("note", "\u{0}")],
                "`note` is not text of at most 5 characters, none of them control characters",
            ),
            (
                &[("region", "eu"), ("note", "öööööö")],
                "`note` is not text of at most 5 characters, none of them control characters",
            ),
            (
                &[("region", "eu"), ("zone", "UTC")],
                "`zone` is not known; there are `days`, `note`, `region`, `strict`, `wait`",
            ),
        ] {
            assert_eq!(schema.check(&given(pairs)).unwrap_err(), text);
        }
        let none = Schema::default().check(&given(&[("a", "b")])).unwrap_err();
        assert_eq!(none, "`a` is not known: the plugin takes none");
    }

    #[test]
    fn a_schema_makes_sense() {
        for wrong in [
            r#"a = { type = "float" }"#,
            r#"a = { type = "string", min = 1 }"#,
            r#"a = { type = "string", secret = true }"#,
            r#"a = { type = "integer", min = 2, max = 1 }"#,
            r#"a = { type = "integer", default = "x" }"#,
            r#"a = { type = "integer", default = 1.5 }"#,
            r#"a = { type = "choice" }"#,
            r#"a = { type = "choice", choices = ["b"], default = "c" }"#,
            r#"a = { type = "boolean", default = true, required = true }"#,
            r#"a = { type = "string", max_length = 0 }"#,
            r#""ä" = { type = "string" }"#,
            r#""" = { type = "string" }"#,
        ] {
            assert!(schema(wrong).is_err(), "{wrong}");
        }
    }
}
