//! Configuration: defaults, then TOML files, then the environment, then flags.
//!
//! Values are parsed into types that cannot be wrong, unknown names are errors with a suggestion,
//! and a risky setting has a name that says so. Nothing here is a secret: secrets are referred to
//! by file.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hub_model::quota::QuotaRule;
use serde::{Deserialize, Serialize};

mod audit;
mod auth;
mod crypto;
mod environment;
mod jwt;
mod keys;
mod layers;
mod limits;
mod log;
mod plugins;
mod policies;
mod server;
mod sinks;
mod store;
mod tls;
mod units;
mod witness;

pub use audit::AuditConfig;
pub use auth::{AuthConfig, FileMode};
pub use crypto::{CryptoConfig, CryptoProfile, CryptoProvider};
pub use environment::{otel_requested, process_environment, variable};
pub use jwt::{JwtConfig, KeySource};
pub use keys::{KEYS, Key};
pub use layers::{Overrides, variable_of};
pub use limits::{AbuseBlock, AbuseConfig, LimitsConfig, QuotaConfig, WindowConfig};
pub use log::{LogConfig, LogFormat};
pub use plugins::{
    CeilingsConfig, PluginLimitsConfig, PluginSettings, PluginsConfig, SignerConfig,
};
pub use policies::{PoliciesConfig, PoliciesSource};
pub use server::ServerConfig;
pub(crate) use sinks::plugin_files;
pub use sinks::{
    EndpointConfig, HttpTarget, PluginTarget, SinkConfig, SinkFormat, SinkLimits, SinkMode,
    SinkSetting, SyslogAddress, Target as SinkTarget,
};
pub use store::{CacheConfig, SealConfig, SealKind, StoreConfig, StoreEngine};
pub use tls::{ClientAuth, NameKind, TlsConfig, TlsVersion};
pub use witness::WitnessConfig;

/// `sun_path` holds 108 bytes, the last of them zero (unix(7)).
const SUN_PATH_MAX: usize = 107;

/// Where values come from, by setting.
type Origins = BTreeMap<&'static str, String>;

/// Everything that can be set. [`Config::load`] is the way to one; `Config::default()` has no paths
/// filled in and is for tests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the hub keeps what it owns.
    pub data_dir: PathBuf,
    /// The edge.
    pub server: ServerConfig,
    /// Rate gates, quotas, and what may be in work.
    pub limits: LimitsConfig,
    /// Unusual behaviour.
    pub abuse: AbuseConfig,
    /// Logs.
    pub log: LogConfig,
    /// Entries of the caches.
    pub cache: CacheConfig,
    /// Policies beside the built-in ones.
    pub policies: PoliciesConfig,
    /// Plugins.
    pub plugins: PluginsConfig,
    /// The audit log.
    pub audit: AuditConfig,
    /// The store.
    pub store: StoreConfig,
    /// The seal of the root key.
    pub seal: SealConfig,
    /// Providers and algorithms.
    pub crypto: CryptoConfig,
    /// Who callers from outside are.
    pub auth: AuthConfig,
    #[serde(skip)]
    origins: Origins,
    #[serde(skip)]
    notices: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read configuration file `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file says something that cannot be meant; `message` shows line, column and a caret.
    #[error("configuration file `{}`: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// An environment variable with our prefix that is no setting.
    #[error("environment variable `{name}` is no setting{hint}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// A suggestion, or nothing.
        hint: String,
    },
    /// The value of an environment variable.
    #[error("environment variable `{name}`: {message}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A flag.
    #[error("setting `{key}` from a flag: {message}")]
    Flag {
        /// The setting.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// Values that do not go together.
    #[error("{key}: {message}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// What is wrong, and the ways out.
        message: String,
    },
    /// The layers do not merge; another variant names the place where possible.
    #[error("configuration: {0}")]
    Merge(String),
}

impl Config {
    /// Reads `files` in order, then `environment`, then `overrides`, over the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] says where and what.
    pub fn load(
        files: &[PathBuf],
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let (mut config, origins) = layers::merge(files, environment, overrides)?;
        config.origins = origins;
        config.fill_in_paths();
        config.validate()?;
        Ok(config)
    }

    /// What the operator should know although it is no error.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Where the value of `key` comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> &str {
        self.origins.get(key).map_or("default", String::as_str)
    }

    /// Every setting with its effective value and where it comes from.
    #[must_use]
    pub fn show(&self) -> Vec<Shown> {
        let tree = serde_json::to_value(self).unwrap_or_default();
        KEYS.iter()
            .map(|key| {
                let pointer = format!("/{}", key.name.replace('.', "/"));
                let value = match tree.pointer(&pointer) {
                    None | Some(serde_json::Value::Null) => "\"\"".to_owned(),
                    Some(value) => value.to_string(),
                };
                Shown { key: key.name, value, origin: self.origin(key.name).to_owned() }
            })
            .collect()
    }

    /// Paths that were not set lie below `data_dir`.
    fn fill_in_paths(&mut self) {
        if self.data_dir.as_os_str().is_empty() {
            self.data_dir = PathBuf::from("./cipher-hub-data");
        }
        let data = self.data_dir.clone();
        let fill = |path: &mut PathBuf, default: &str| {
            if path.as_os_str().is_empty() {
                *path = data.join(default);
            }
        };
        fill(&mut self.audit.checkpoint_file, "checkpoint/checkpoint");
        fill(&mut self.audit.archive_dir, "audit/archive");
        fill(&mut self.plugins.cache, "plugins/cache");
        fill(&mut self.store.path, "store");
        fill(&mut self.seal.key_file, "seal/seal.key");
        fill(&mut self.seal.file, "seal/seal.json");
        if !self.origins.contains_key("server.unix_socket") {
            self.server.unix_socket = Some(data.join("run/hub.sock"));
        }
        let length = |path: &Path| path.as_os_str().len();
        if let Some(path) = self.server.unix_socket.take_if(|path| length(path) > SUN_PATH_MAX) {
            self.notices.push(format!(
                "the Unix socket is off: its path `{}` has {} bytes, the system allows \
                 {SUN_PATH_MAX}; set server.unix_socket to a shorter one",
                path.display(),
                length(&path),
            ));
        }
    }

    fn validate(&mut self) -> Result<(), ConfigError> {
        let invalid = |key, message: String| Err(ConfigError::Invalid { key, message });
        let server = &self.server;
        if server.listen.is_empty() && server.unix_socket.is_none() {
            let message = "nothing to listen on: set server.listen or server.unix_socket";
            return invalid("server.listen", message.into());
        }
        let tls = server.tls.check()?;
        let outside =
            server.listen.iter().find(|address| !address.ip().to_canonical().is_loopback());
        if let Some(address) = outside
            && !tls
        {
            if !server.danger_listen_without_tls {
                return invalid(
                    "server.listen",
                    format!(
                        "`{address}` is reachable from other machines and there is no TLS, so \
                         API keys and plaintext would cross the network readable; either give a \
                         certificate (server.tls.cert_file and server.tls.key_file) or, where \
                         something in front ends TLS, set server.danger_listen_without_tls = true",
                    ),
                );
            }
            self.notices.push(format!(
                "listening on `{address}` without TLS, as server.danger_listen_without_tls asks",
            ));
        }
        if self.policies.source == PoliciesSource::Files && self.policies.dir.is_none() {
            return invalid("policies.source", "\"files\" needs `policies.dir`".into());
        }
        let beyond_loopback = outside.is_some();
        if let Err((key, message)) = plugins::check(&self.plugins, beyond_loopback) {
            return invalid(key, message);
        }
        self.auth.rules()?;
        sinks::check(&self.audit.sinks)?;
        if let Err(message) = witness::check(&self.audit.witnesses) {
            return invalid("audit.witnesses", message);
        }
        if server.max_batch_body_bytes < server.max_body_bytes {
            let message = "must not be below server.max_body_bytes";
            return invalid("server.max_batch_body_bytes", message.into());
        }
        if let Err((at, why)) = QuotaRule::check_all(&self.limits.quota_rules()) {
            return invalid("limits.quotas", format!("quota {at}: {why}"));
        }
        if self.limits.body_bytes_in_work / 2 < server.max_batch_body_bytes {
            let message = "must be twice server.max_batch_body_bytes: one registration has half";
            return invalid("limits.body_bytes_in_work", message.into());
        }
        if self.limits.wait_timeout.saturating_mul(2) > server.request_timeout {
            let message = "must be at most half of server.request_timeout";
            return invalid("limits.wait_timeout", message.into());
        }
        // Each key must have signed a checkpoint that covers the entry that names the next.
        let least = self.audit.checkpoint_interval.saturating_mul(10).max(Duration::from_secs(1));
        if self.audit.key_overlap < least {
            let message = "must be at least 1s and ten times audit.checkpoint_interval";
            return invalid("audit.key_overlap", message.into());
        }
        if self.audit.archive_entries.get() > 1_000_000 {
            return invalid("audit.archive_entries", "1000000 is the most".into());
        }
        if self.log.filter.parse::<tracing_subscriber::filter::EnvFilter>().is_err() {
            let message = format!("`{}` is no filter, try `info`", self.log.filter.escape_debug());
            return invalid("log.filter", message);
        }
        Ok(())
    }
}

const fn at_least_one(value: u32) -> NonZeroU32 {
    match NonZeroU32::new(value) {
        Some(value) => value,
        None => NonZeroU32::MIN,
    }
}

/// One line of [`Config::show`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The setting.
    pub key: &'static str,
    /// Its value as JSON.
    pub value: String,
    /// Where it comes from.
    pub origin: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {}", self.key, self.value, self.origin)
    }
}

/// The example file: every setting with its default, commented out.
#[must_use]
pub fn example() -> String {
    let mut out = String::from(
        "# Cipher Hub: every setting with its default. Written by `cipher-hub config example`.\n\
         # Order of precedence: flags, CIPHER_HUB_SECTION__KEY variables, files, defaults.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (at, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if at != section {
            let _ = write!(out, "\n[{at}]\n");
            section = at;
        } else {
            out.push('\n');
        }
        let _ = write!(out, "# {}\n# {name} = {}\n", key.about, key.default);
    }
    out
}

#[cfg(test)]
mod tests;
