//! Configuration: defaults, then TOML files, then the environment, then flags.
//!
//! This is the only file that reads the environment. Values are parsed into types that cannot be
//! wrong, unknown names are errors with a suggestion, and a risky setting has a name that says so.
//! Nothing here is a secret: secrets are referred to by file.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::config::{Environment, File, FileFormat};
use hub_audit::keyed::Field;
use hub_model::quota::QuotaRule;
use hub_model::secret::SecretText;
use serde::{Deserialize, Serialize};

mod auth;
mod jwt;
mod keys;
mod limits;
mod plugins;
mod sinks;
mod tls;
mod units;
mod witness;

pub use auth::{AuthConfig, FileMode};
pub use jwt::{JwtConfig, KeySource};
pub use keys::{KEYS, Key};
pub use limits::{AbuseBlock, AbuseConfig, LimitsConfig, QuotaConfig, WindowConfig};
pub use plugins::{
    CeilingsConfig, PluginLimitsConfig, PluginSettings, PluginsConfig, SignerConfig,
};
pub(crate) use sinks::plugin_files;
pub use sinks::{
    EndpointConfig, HttpTarget, PluginTarget, SinkConfig, SinkFormat, SinkLimits, SinkMode,
    SinkSetting, SyslogAddress, Target as SinkTarget,
};
pub use tls::{ClientAuth, NameKind, TlsConfig};
pub use witness::WitnessConfig;

const PREFIX: &str = "CIPHER_HUB_";
/// `sun_path` holds 108 bytes, the last of them zero (unix(7)).
const SUN_PATH_MAX: usize = 107;

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
    origins: BTreeMap<&'static str, String>,
    #[serde(skip)]
    notices: Vec<String>,
}

/// `server`: sockets, TLS, sizes and times of the edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// TCP addresses of the API.
    #[serde(deserialize_with = "units::one_or_many")]
    pub listen: Vec<SocketAddr>,
    /// The Unix socket of the API; `None` is off.
    #[serde(deserialize_with = "units::maybe_path")]
    pub unix_socket: Option<PathBuf>,
    /// Who may connect to it.
    pub unix_socket_mode: FileMode,
    /// Health and metrics, plain HTTP; `None` is off.
    #[serde(deserialize_with = "units::maybe_address")]
    pub management_listen: Option<SocketAddr>,
    /// Certificate of the TCP listeners.
    pub tls: TlsConfig,
    /// Serve plain HTTP beyond loopback: credentials and plaintext cross the network readable.
    pub danger_listen_without_tls: bool,
    /// Largest body of an ordinary request.
    #[serde(with = "units::size")]
    pub max_body_bytes: usize,
    /// Largest body of a batch request.
    #[serde(with = "units::size")]
    pub max_batch_body_bytes: usize,
    /// Time to send a request head.
    #[serde(with = "units::duration")]
    pub read_head_timeout: Duration,
    /// Time to send a request body.
    #[serde(with = "units::duration")]
    pub read_body_timeout: Duration,
    /// Time for a TLS handshake.
    #[serde(with = "units::duration")]
    pub tls_handshake_timeout: Duration,
    /// Time for a whole request; installations of plugins have five minutes.
    #[serde(with = "units::duration")]
    pub request_timeout: Duration,
    /// How long a connection may stay without a request.
    #[serde(with = "units::duration")]
    pub idle_timeout: Duration,
    /// How long requests in flight may take to finish after a stop.
    #[serde(with = "units::duration")]
    pub drain_timeout: Duration,
    /// Connections in all.
    pub max_connections: NonZeroU32,
    /// Connections per address (IPv6: per /64).
    pub max_connections_per_address: NonZeroU32,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[default]
    #[serde(rename = "1.3")]
    V1_3,
}

units::words! { TlsVersion:
    V1_2 = "1.2",
    V1_3 = "1.3",
}

/// `log`: what is written to standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Directives as in `RUST_LOG`, which is an alias.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// Text.
    Text,
}

units::words! { LogFormat:
    Auto = "auto",
    Json = "json",
    Text = "text",
}

/// `cache`: entries kept, not bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Keyrings.
    pub keys: u64,
    /// Credentials.
    pub credentials: u64,
    /// Policy decisions.
    pub decisions: u64,
}

/// `policies`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoliciesConfig {
    /// Directory of extra local policies.
    #[serde(deserialize_with = "units::maybe_path")]
    pub dir: Option<PathBuf>,
    /// What decides which policies are active.
    pub source: PoliciesSource,
}

/// What decides which policies are active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum PoliciesSource {
    /// The files of `dir` where it is set, else the API.
    #[default]
    Auto,
    /// The revision activated over the API; before the first, the baseline.
    Api,
    /// The files of `dir`.
    Files,
    /// The baseline alone, whatever else there is: the way back from policies that lock out.
    Baseline,
}

units::words! { PoliciesSource:
    Auto = "auto",
    Api = "api",
    Files = "files",
    Baseline = "baseline",
}

/// `audit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Time between signed checkpoints while entries arrive.
    #[serde(with = "units::duration")]
    pub checkpoint_interval: Duration,
    /// The newest checkpoint, best kept on another disk than the store.
    pub checkpoint_file: PathBuf,
    /// A checkpoint also after this many entries, looked at five times a second; 0 is never.
    pub checkpoint_entries: u64,
    /// For how long the signing key before signs beside a new one.
    #[serde(with = "units::duration")]
    pub key_overlap: Duration,
    /// Who cosigns checkpoints.
    pub witnesses: Vec<WitnessConfig>,
    /// Time between submissions to witnesses while entries arrive.
    #[serde(with = "units::duration")]
    pub witness_interval: Duration,
    /// Free disk space below which requests are refused, so that none goes unlogged.
    #[serde(with = "units::size64")]
    pub low_space_mark: u64,
    /// How long entries stay in the store before they go into archives; `None` is for ever.
    #[serde(with = "units::duration_or_never")]
    pub retention: Option<Duration>,
    /// Where archives lie.
    pub archive_dir: PathBuf,
    /// Entries of one archive, about.
    pub archive_entries: NonZeroU32,
    /// Fields of entries that are recorded as keyed hashes: `address`, `context`, `identity`.
    #[serde(deserialize_with = "units::one_or_many_words")]
    pub keyed: Vec<Field>,
    /// Where entries are sent besides.
    pub sinks: Vec<SinkConfig>,
}

/// `store`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Which engine.
    pub engine: StoreEngine,
    /// Where the engine keeps its files.
    pub path: PathBuf,
}

/// A storage engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum StoreEngine {
    /// The embedded engine.
    #[default]
    Fjall,
    /// In memory: everything is gone at the end.
    Memory,
}

units::words! { StoreEngine:
    Fjall = "fjall",
    Memory = "memory",
}

/// `seal`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SealConfig {
    /// What wraps the root key.
    pub kind: SealKind,
    /// The key file of `key-file`.
    pub key_file: PathBuf,
    /// The seal file: slots, no secret.
    pub file: PathBuf,
}

/// What wraps the root key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum SealKind {
    /// A key in a file.
    #[default]
    KeyFile,
}

units::words! { SealKind:
    KeyFile = "key-file",
}

/// `crypto`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CryptoConfig {
    /// What computes, where there are two.
    pub provider: CryptoProvider,
    /// Which algorithms new keys may have.
    pub profile: CryptoProfile,
}

/// What computes primitives that there are two implementations of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub enum CryptoProvider {
    /// RustCrypto, and aws-lc where that is too slow.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// RustCrypto wherever it has the primitive.
    #[serde(rename = "rustcrypto")]
    RustCrypto,
    /// aws-lc wherever it has the primitive.
    #[serde(rename = "aws-lc")]
    AwsLc,
}

units::words! { CryptoProvider:
    Auto = "auto",
    RustCrypto = "rustcrypto",
    AwsLc = "aws-lc",
}

impl From<CryptoProvider> for hub_crypto::provider::Provider {
    fn from(provider: CryptoProvider) -> Self {
        match provider {
            CryptoProvider::Auto => Self::Auto,
            CryptoProvider::RustCrypto => Self::RustCrypto,
            CryptoProvider::AwsLc => Self::AwsLc,
        }
    }
}

/// Which algorithms new keys may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum CryptoProfile {
    /// Every one.
    #[default]
    Any,
    /// Those that FIPS and NIST recommendations approve. Selects algorithms; is no validated module.
    FipsAlgorithms,
}

units::words! { CryptoProfile:
    Any = "any",
    FipsAlgorithms = "fips-algorithms",
}

impl From<CryptoProfile> for hub_model::algorithm::Profile {
    fn from(profile: CryptoProfile) -> Self {
        match profile {
            CryptoProfile::Any => Self::Any,
            CryptoProfile::FipsAlgorithms => Self::FipsAlgorithms,
        }
    }
}

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
        let mut origins = BTreeMap::new();
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
        let merged = builder.build().and_then(::config::Config::try_deserialize::<Self>);
        let mut config = merged.map_err(|error| culprit(&error, &variables, overrides))?;
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

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8420))],
            unix_socket: None,
            unix_socket_mode: FileMode(0o600),
            management_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            tls: TlsConfig::default(),
            danger_listen_without_tls: false,
            max_body_bytes: 96 * 1024,
            max_batch_body_bytes: 8 * 1024 * 1024,
            read_head_timeout: Duration::from_secs(10),
            read_body_timeout: Duration::from_secs(10),
            tls_handshake_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
            max_connections: at_least_one(10_000),
            max_connections_per_address: at_least_one(256),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Auto }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { keys: 10_000, credentials: 10_000, decisions: 100_000 }
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_file: PathBuf::new(),
            checkpoint_entries: 1000,
            key_overlap: Duration::from_secs(7 * 86_400),
            witnesses: Vec::new(),
            witness_interval: Duration::from_secs(10),
            low_space_mark: 64 * 1024 * 1024,
            retention: None,
            archive_dir: PathBuf::new(),
            archive_entries: at_least_one(100_000),
            keyed: Vec::new(),
            sinks: Vec::new(),
        }
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

/// One environment variable that is ours.
struct Setting {
    key: &'static str,
    value: String,
}

/// Reads a file and checks it alone, because only the TOML parser knows lines and columns.
fn read_file(
    path: &Path,
    origins: &mut BTreeMap<&'static str, String>,
) -> Result<String, ConfigError> {
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

/// What the command line client takes from the environment.
#[derive(Clone, Debug, Default)]
pub struct ClientEnvironment {
    /// `CIPHER_HUB_ADDR`.
    pub address: Option<String>,
    /// `CIPHER_HUB_API_KEY`.
    pub api_key: Option<SecretText>,
    /// `CIPHER_HUB_TOKEN_FILE`.
    pub token_file: Option<PathBuf>,
    /// `CIPHER_HUB_CONTEXT`.
    pub context: Option<String>,
    /// `CIPHER_HUB_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// `CIPHER_HUB_CERT_FILE`.
    pub cert_file: Option<PathBuf>,
    /// `CIPHER_HUB_KEY_FILE`.
    pub key_file: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `NO_COLOR` is there and not empty.
    pub no_color: bool,
}

/// The environment of the command line client.
#[must_use]
pub fn client_environment() -> ClientEnvironment {
    let text = |name| variable(name);
    ClientEnvironment {
        address: text("CIPHER_HUB_ADDR"),
        api_key: text("CIPHER_HUB_API_KEY").map(SecretText::new),
        token_file: text("CIPHER_HUB_TOKEN_FILE").map(PathBuf::from),
        context: text("CIPHER_HUB_CONTEXT"),
        ca_file: text("CIPHER_HUB_CA_FILE").map(PathBuf::from),
        cert_file: text("CIPHER_HUB_CERT_FILE").map(PathBuf::from),
        key_file: text("CIPHER_HUB_KEY_FILE").map(PathBuf::from),
        home: text("HOME").map(PathBuf::from),
        config_home: text("XDG_CONFIG_HOME").map(PathBuf::from),
        no_color: text("NO_COLOR").is_some(),
    }
}

/// Every variable that is valid Unicode, for [`Config::load`].
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Whether the standard variables ask for spans over OTLP.
#[must_use]
pub fn otel_requested() -> bool {
    otel_requested_by(variable)
}

fn otel_requested_by(variable: impl Fn(&'static str) -> Option<String>) -> bool {
    let is = |name, word: &str| variable(name).is_some_and(|v| v.eq_ignore_ascii_case(word));
    let endpoint = variable("OTEL_EXPORTER_OTLP_ENDPOINT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"));
    endpoint.is_some() && !is("OTEL_SDK_DISABLED", "true") && !is("OTEL_TRACES_EXPORTER", "none")
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
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
mod tests {
    use super::*;

    fn load(
        toml: &str,
        env: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hub.toml");
        std::fs::write(&file, toml).unwrap();
        let mut overrides = Overrides::new();
        for (key, value) in flags {
            overrides.set(*key, *value);
        }
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(&[file], env, &overrides)
    }

    fn error(toml: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        load(toml, env, flags).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_complete_and_local() {
        let config = Config::load(&[], [], &Overrides::new()).unwrap();
        assert_eq!(config.server.listen, ["127.0.0.1:8420".parse().unwrap()]);
        assert_eq!(config.store.path, Path::new("./cipher-hub-data/store"));
        assert_eq!(
            config.audit.checkpoint_file,
            Path::new("./cipher-hub-data/checkpoint/checkpoint")
        );
        assert_eq!(
            config.server.unix_socket.as_deref(),
            Some(Path::new("./cipher-hub-data/run/hub.sock"))
        );
        assert!(config.notices().is_empty());
    }

    #[test]
    fn every_layer_overrides_the_one_below() {
        let toml = "[server]\nmax_body_bytes = 1000\nread_head_timeout = \"3s\"\n";
        let env = [("CIPHER_HUB_SERVER__MAX_BODY_BYTES", "2KiB")];
        assert_eq!(load(toml, &[], &[]).unwrap().server.max_body_bytes, 1000);
        let config = load(toml, &env, &[]).unwrap();
        assert_eq!(config.server.max_body_bytes, 2048, "the variable must win over the file");
        assert_eq!(config.server.read_head_timeout, Duration::from_secs(3));
        assert_eq!(
            config.origin("server.max_body_bytes"),
            "environment variable CIPHER_HUB_SERVER__MAX_BODY_BYTES"
        );
        assert!(config.origin("server.read_head_timeout").starts_with("file "));
        let config = load(toml, &env, &[("server.max_body_bytes", "4096")]).unwrap();
        assert_eq!(config.server.max_body_bytes, 4096);
        assert_eq!(config.origin("server.max_body_bytes"), "flag");
    }

    #[test]
    fn the_environment_sets_every_kind_of_value() {
        let config = load(
            "",
            &[
                ("CIPHER_HUB__DATA_DIR", "/data"),
                ("CIPHER_HUB_SERVER__LISTEN", "127.0.0.1:1, [::1]:2"),
                ("CIPHER_HUB_SERVER__UNIX_SOCKET", ""),
                ("CIPHER_HUB_SERVER__MANAGEMENT_LISTEN", ""),
                ("CIPHER_HUB_SERVER__DANGER_LISTEN_WITHOUT_TLS", "true"),
                ("CIPHER_HUB_SERVER__TLS__MIN_VERSION", "1.2"),
                ("CIPHER_HUB_SERVER__MAX_CONNECTIONS", "5"),
                ("CIPHER_HUB_CACHE__KEYS", "7"),
                ("CIPHER_HUB_STORE__ENGINE", "memory"),
                ("CIPHER_HUB_CRYPTO__PROVIDER", "aws-lc"),
                ("CIPHER_HUB_CRYPTO__PROFILE", "fips-algorithms"),
                ("CIPHER_HUB_AUDIT__CHECKPOINT_INTERVAL", "250ms"),
                ("RUST_LOG", "debug"),
            ],
            &[],
        )
        .unwrap();
        assert_eq!(config.server.listen.len(), 2);
        assert_eq!(config.server.unix_socket, None);
        assert_eq!(config.server.management_listen, None);
        assert!(config.server.danger_listen_without_tls);
        assert_eq!(config.server.tls.min_version, TlsVersion::V1_2);
        assert_eq!(config.server.max_connections.get(), 5);
        assert_eq!(config.cache.keys, 7);
        assert_eq!(config.store.engine, StoreEngine::Memory);
        assert_eq!(config.crypto.provider, CryptoProvider::AwsLc);
        assert_eq!(config.crypto.profile, CryptoProfile::FipsAlgorithms);
        assert_eq!(config.audit.checkpoint_interval, Duration::from_millis(250));
        assert_eq!(config.log.filter, "debug");
        assert_eq!(config.seal.file, Path::new("/data/seal/seal.json"));
    }

    #[test]
    fn rust_log_yields_to_our_own_name() {
        let env = [("RUST_LOG", "debug"), ("CIPHER_HUB_LOG__FILTER", "warn")];
        assert_eq!(load("", &env, &[]).unwrap().log.filter, "warn");
    }

    #[test]
    fn errors_in_a_file_show_line_column_and_caret() {
        let text = error("[server]\nmax_connections = \"many\"\n", &[], &[]);
        assert!(text.contains("line 2, column 19") && text.contains("^^^"), "{text}");
        let text = error("[server]\nlisten_on = 1\n", &[], &[]);
        assert!(
            text.contains("line 2, column 1") && text.contains("did you mean `listen`"),
            "{text}"
        );
        let text = error("[server]\nidle_timeout = \"ten\"\n", &[], &[]);
        assert!(text.contains("line 2") && text.contains("10s"), "{text}");
    }

    #[test]
    fn unknown_variables_are_errors_but_service_links_are_not() {
        let text = error("", &[("CIPHER_HUB_SERVER__LISTN", "x")], &[]);
        assert!(text.contains("did you mean `CIPHER_HUB_SERVER__LISTEN`"), "{text}");
        load("", &[("CIPHER_HUB_PORT", "tcp://10.0.0.1:80"), ("CIPHER_HUB_ADDR", "x")], &[])
            .unwrap();
        assert!(error("", &[], &[("server.listn", "x")]).contains("did you mean `server.listen`"));
    }

    #[test]
    fn a_bad_value_names_its_variable_or_flag() {
        let text = error("", &[("CIPHER_HUB_SERVER__MAX_BODY_BYTES", "big")], &[]);
        assert!(text.contains("`CIPHER_HUB_SERVER__MAX_BODY_BYTES`: "), "{text}");
        let text = error("", &[("CIPHER_HUB_SERVER__MAX_CONNECTIONS", "0")], &[]);
        assert!(text.contains("`CIPHER_HUB_SERVER__MAX_CONNECTIONS`"), "{text}");
        let text = error("", &[], &[("log.format", "xml")]);
        assert!(text.contains("`log.format`") && text.contains("json"), "{text}");
        let text = error("", &[("CIPHER_HUB_CRYPTO__PROVIDER", "openssl")], &[]);
        assert!(
            text.contains("`CIPHER_HUB_CRYPTO__PROVIDER`") && text.contains("aws-lc"),
            "{text}"
        );
        let text = error("[crypto]\nprofile = \"fips\"\n", &[], &[]);
        assert!(text.contains("line 2") && text.contains("fips-algorithms"), "{text}");
    }

    #[test]
    fn beyond_loopback_needs_tls_or_a_word_that_says_danger() {
        let text = error("server.listen = \"0.0.0.0:8420\"", &[], &[]);
        assert!(text.contains("server.tls.cert_file"), "{text}");
        assert!(text.contains("server.danger_listen_without_tls"), "{text}");
        let toml = "[server]\nlisten = \"[::]:1\"\ndanger_listen_without_tls = true";
        assert_eq!(load(toml, &[], &[]).unwrap().notices().len(), 1);
        let toml =
            "[server]\nlisten = \"0.0.0.0:1\"\ntls = { cert_file = \"c\", key_file = \"k\" }";
        load(toml, &[], &[]).unwrap();
        let text = error("server.tls.cert_file = \"c\"", &[], &[]);
        assert!(text.starts_with("server.tls.key_file"), "{text}");
    }

    #[test]
    fn an_overlap_of_signing_keys_has_room_for_checkpoints() {
        let overlap = |interval: &str, overlap: &str| {
            let toml = format!(
                "[audit]\ncheckpoint_interval = \"{interval}\"\nkey_overlap = \"{overlap}\"\n"
            );
            load(&toml, &[], &[]).map(drop)
        };
        overlap("1s", "10s").unwrap();
        overlap("10ms", "1s").unwrap();
        overlap("1h", "7d").unwrap();
        for (interval, short) in [("1s", "9s"), ("10ms", "999ms"), ("1s", "1ms"), ("1d", "7d")] {
            let text = overlap(interval, short).unwrap_err().to_string();
            assert!(text.contains("audit.key_overlap"), "{text}");
        }
    }

    #[test]
    fn a_socket_path_that_does_not_fit_is_off_with_a_notice() {
        let long = format!("/{}", "x".repeat(120));
        let config = load("", &[("CIPHER_HUB_SERVER__UNIX_SOCKET", &long)], &[]).unwrap();
        assert_eq!(config.server.unix_socket, None);
        assert!(config.notices()[0].contains("107"));
    }

    #[test]
    fn the_key_table_is_the_structure() {
        let config = Config::load(&[], [], &Overrides::new()).unwrap();
        let tree = serde_json::to_value(&config).unwrap();
        let mut found = Vec::new();
        fn walk(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(map) => map.iter().for_each(|(name, value)| {
                    let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    walk(&at, value, found);
                }),
                _ => found.push(at.to_owned()),
            }
        }
        walk("", &tree, &mut found);
        let mut known: Vec<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        known.sort();
        found.sort();
        assert_eq!(known, found);
        assert_eq!(config.show().len(), KEYS.len());
    }

    #[test]
    fn the_example_file_says_the_defaults() {
        let committed = include_str!("../config.example.toml");
        assert_eq!(committed, example(), "write it again with `cipher-hub config example`");
        let set: String = committed
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.split_once(" = ").is_some_and(|(k, _)| !k.contains(' ')) => rest,
                _ => line,
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let mut config = load(&set, &[], &[]).unwrap();
        config.origins.clear();
        let plain = Config::load(&[], [], &Overrides::new()).unwrap();
        assert_eq!(config, plain);
        let docs = include_str!("../../../docs/configuration.md");
        for key in KEYS {
            assert!(docs.contains(&format!("`{}`", key.name)), "docs miss {}", key.name);
        }
    }

    #[test]
    fn standard_variables_switch_spans_on_and_off() {
        let ask = |set: &'static [(&str, &str)]| {
            otel_requested_by(move |name| {
                set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
            })
        };
        assert!(!ask(&[]));
        assert!(ask(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")]));
        assert!(ask(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318")]));
        assert!(!ask(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "x"), ("OTEL_SDK_DISABLED", "TRUE")]));
        assert!(!ask(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "x"), ("OTEL_TRACES_EXPORTER", "none")]));
    }
}
