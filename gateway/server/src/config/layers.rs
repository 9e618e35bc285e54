//! Layers: files, variables and flags, and which of them is to blame.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::config::{Environment, File, FileFormat};

use super::{Config, ConfigError, KEYS, Origins, keys};

const PREFIX: &str = "CIPHER_HUB_";

/// Values from flags, by key; they win over everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides(BTreeMap<String, String>);

impl Overrides {
    /// No flags.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` (as in the file, with dots) to `value` (as in the environment).
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.insert(key.into(), value.into());
        self
    }
}

/// Files in order, then variables, then flags, over the defaults; and where each value comes from.
pub(super) fn merge(
    files: &[PathBuf],
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<(Config, Origins), ConfigError> {
    let mut origins = Origins::new();
    let mut builder = ::config::Config::builder();
    for path in files {
        let text = read_file(path, &mut origins)?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let variables = our_variables(environment)?;
    for (name, setting) in &variables {
        origins.insert(setting.key, format!("environment variable {name}"));
    }
    builder = builder.add_source(source_of(variables.values()));
    for (key, value) in &overrides.0 {
        let known = keys::find(key).ok_or_else(|| ConfigError::Flag {
            key: key.clone(),
            message: format!("no such setting{}", keys::suggest(key, |known| known.into())),
        })?;
        origins.insert(known.name, "flag".into());
        builder = builder
            .set_override(key, value.as_str())
            .map_err(|error| ConfigError::Merge(error.to_string()))?;
    }
    let merged = builder.build().and_then(::config::Config::try_deserialize::<Config>);
    let config = merged.map_err(|error| culprit(&error, &variables, overrides))?;
    Ok((config, origins))
}

/// One environment variable that is ours.
struct Setting {
    key: &'static str,
    value: String,
}

/// Reads a file and checks it alone, because only the TOML parser knows lines and columns.
fn read_file(path: &Path, origins: &mut Origins) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str::<Config>(&text).map_err(|error| {
        let hint = keys::suggest_member(error.message());
        let message = format!("{}{hint}", error.to_string().trim_end());
        ConfigError::Parse { path: path.to_owned(), message }
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    for key in KEYS {
        let mut parts = key.name.split('.');
        let first = parts.next().and_then(|part| table.get(part));
        if parts.try_fold(first, |at, part| Some(at?.get(part))).flatten().is_some() {
            origins.insert(key.name, format!("file {}", path.display()));
        }
    }
    Ok(text)
}

/// Picks the variables that are ours: those with `__`, so that Kubernetes service links such as
/// `CIPHER_HUB_PORT=tcp://…` never count. `RUST_LOG` is an alias of the log filter.
fn our_variables(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, Setting>, ConfigError> {
    let mut ours = BTreeMap::new();
    let mut alias = None;
    for (name, value) in environment {
        if name == "RUST_LOG" && !value.is_empty() {
            alias = Some(value);
            continue;
        }
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        // `CIPHER_HUB__DATA_DIR` is the form of a key without a section.
        let rest = match rest.strip_prefix('_') {
            Some(rest) => rest,
            None if rest.contains("__") => rest,
            None => continue,
        };
        let key = rest.to_ascii_lowercase().replace("__", ".");
        let Some(known) = keys::find(&key) else {
            let hint = keys::suggest(&key, variable_of);
            return Err(ConfigError::UnknownVariable { name, hint });
        };
        ours.insert(name, Setting { key: known.name, value });
    }
    if let Some(value) = alias
        && !ours.values().any(|setting| setting.key == "log.filter")
    {
        ours.insert("RUST_LOG".into(), Setting { key: "log.filter", value });
    }
    Ok(ours)
}

/// The name of the variable of a setting.
#[must_use]
pub fn variable_of(key: &str) -> String {
    let (link, name) = if key.contains('.') { ("", key) } else { ("_", key) };
    format!("{PREFIX}{link}{}", name.replace('.', "__").to_ascii_uppercase())
}

/// Variables as a layer. INVARIANT: `prefix_separator` is set; without it `config` takes the
/// separator `__` there too, matches no variable, and says nothing.
fn source_of<'a>(settings: impl Iterator<Item = &'a Setting>) -> Environment {
    let named = settings
        .map(|setting| {
            let name = setting.key.replace('.', "__").to_ascii_uppercase();
            (format!("{PREFIX}{name}"), setting.value.clone())
        })
        .collect();
    Environment::with_prefix("CIPHER_HUB").prefix_separator("_").separator("__").source(Some(named))
}

/// Finds the variable or flag that is to blame, by trying each alone.
fn culprit(
    error: &::config::ConfigError,
    variables: &BTreeMap<String, Setting>,
    overrides: &Overrides,
) -> ConfigError {
    let alone = |source: Environment| {
        let built = ::config::Config::builder().add_source(source).build();
        built.and_then(::config::Config::try_deserialize::<Config>).err().map(|e| plain(&e))
    };
    for (name, setting) in variables {
        if let Some(message) = alone(source_of(std::iter::once(setting))) {
            return ConfigError::Variable { name: name.clone(), message };
        }
    }
    for (key, value) in &overrides.0 {
        let Some(known) = keys::find(key) else { continue };
        let setting = Setting { key: known.name, value: value.clone() };
        if let Some(message) = alone(source_of(std::iter::once(&setting))) {
            return ConfigError::Flag { key: key.clone(), message };
        }
    }
    ConfigError::Merge(plain(error))
}

/// The message without the parts that name our stand-in source.
fn plain(error: &::config::ConfigError) -> String {
    let mut error = error;
    while let ::config::ConfigError::At { error: inner, .. } = error {
        error = inner;
    }
    match error {
        ::config::ConfigError::Type { unexpected, expected, .. } => {
            format!("invalid type: {unexpected}, expected {expected}")
        }
        other => other.to_string(),
    }
}
