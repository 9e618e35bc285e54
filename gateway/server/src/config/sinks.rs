//! `audit.sinks`: where entries of the audit log are sent besides being stored.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use hub_audit::relay::{Bounds, Start, Wanted};
use hub_model::Name;
use serde::{Deserialize, Serialize};

use super::jwt::Span;
use super::{ConfigError, units};

mod plugin;

pub(crate) use plugin::files as plugin_files;
pub use plugin::{EndpointConfig, PluginTarget, SinkLimits, SinkSetting};

/// The most sinks.
const MAX_SINKS: usize = 16;
/// The most entries handed over at once.
const MAX_BATCH: usize = 4096;
/// As many as a plugin gets where nothing is said: it has little time.
const PLUGIN_BATCH: usize = 128;
const MAX_LAG: Duration = Duration::from_secs(3600);
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// One sink. Lists of tables, so from files only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// What metrics, logs and its cursor call it.
    pub name: Name,
    /// What it is.
    pub kind: SinkKind,
    /// What happens when it takes nothing.
    #[serde(default)]
    pub mode: SinkMode,
    /// How entries look.
    #[serde(default)]
    pub format: SinkFormat,
    /// Where it begins when it is new.
    #[serde(default)]
    pub start: SinkStart,
    /// Only entries whose action begins so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// No entries whose action begins so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// `required`: how old an entry may be that is not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag: Option<Span>,
    /// `required`: how many entries may be undelivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag_entries: Option<u64>,
    /// `best-effort`: how many entries may wait; older ones are passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backlog: Option<u64>,
    /// Most entries handed over at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// How long a delivery may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// `file`: where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `file`: the size at which another is begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Bytes>,
    /// `file`: how many full ones are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// `syslog`: `udp://`, `tcp://` or `tls://` with host and port, or `unix:` with a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `syslog`: the facility.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facility: Option<Facility>,
    /// `syslog` over UDP: the largest message; what is larger is named, not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message: Option<Bytes>,
    /// `webhook`, `otlp`: where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `webhook`, `otlp`: a file of header lines, such as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_file: Option<PathBuf>,
    /// PEM certificates to trust, instead of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// `plugin`: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Name>,
    /// `plugin`: its settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, SinkSetting>,
    /// `plugin`: where it may send to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointConfig>,
    /// `plugin`: what a call may use.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: SinkLimits,
    /// Send beyond this machine without TLS: whoever is on the way reads and changes entries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_without_tls: bool,
}

/// What a sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum SinkKind {
    /// A file of lines, rotated by size.
    File,
    /// Standard output.
    Stdout,
    /// RFC 5424.
    Syslog,
    /// Batches by HTTP POST.
    Webhook,
    /// OpenTelemetry logs over HTTP.
    Otlp,
    /// What a plugin makes of it.
    Plugin,
}

units::words! { SinkKind:
    File = "file",
    Stdout = "stdout",
    Syslog = "syslog",
    Webhook = "webhook",
    Otlp = "otlp",
    Plugin = "plugin",
}

impl SinkKind {
    /// As in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stdout => "stdout",
            Self::Syslog => "syslog",
            Self::Webhook => "webhook",
            Self::Otlp => "otlp",
            Self::Plugin => "plugin",
        }
    }
}

/// What happens when a sink takes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum SinkMode {
    /// New work is refused until it does.
    Required,
    /// Nothing, until too much waits; then the oldest are passed over and counted.
    #[default]
    BestEffort,
}

units::words! { SinkMode:
    Required = "required",
    BestEffort = "best-effort",
}

impl SinkMode {
    /// As in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::BestEffort => "best-effort",
        }
    }
}

/// How entries look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum SinkFormat {
    /// As they are stored.
    #[default]
    Json,
    /// ArcSight Common Event Format.
    Cef,
    /// Open Cybersecurity Schema Framework.
    Ocsf,
}

units::words! { SinkFormat:
    Json = "json",
    Cef = "cef",
    Ocsf = "ocsf",
}

/// Where a new sink begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum SinkStart {
    /// With what comes from now on.
    #[default]
    End,
    /// With the first entry of the log.
    Beginning,
}

units::words! { SinkStart:
    End = "end",
    Beginning = "beginning",
}

/// A size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(#[serde(with = "units::size64")] pub u64);

/// A facility of RFC 5424 §6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Facility(pub u8);

/// Names of facilities, by their number.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

impl TryFrom<String> for Facility {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let found = FACILITIES.iter().zip(0..).find(|(name, _)| **name == text);
        found.map(|(_, number)| Self(number)).ok_or_else(|| {
            format!("`{}` should be one of {}", text.escape_debug(), FACILITIES.join(", "))
        })
    }
}

impl From<Facility> for String {
    fn from(facility: Facility) -> Self {
        FACILITIES.get(usize::from(facility.0)).copied().unwrap_or("audit").to_owned()
    }
}

/// Where a sink sends to, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// The size at which another is begun.
        max_size: u64,
        /// How many full ones are kept.
        keep: u32,
    },
    /// Standard output.
    Stdout,
    /// A syslog receiver.
    Syslog {
        /// Where.
        address: SyslogAddress,
        /// Its facility.
        facility: u8,
        /// The largest datagram.
        max_message: usize,
        /// Whom to trust.
        ca_file: Option<PathBuf>,
    },
    /// An HTTP receiver of lines.
    Webhook(HttpTarget),
    /// An OTLP receiver of logs.
    Otlp(HttpTarget),
    /// A plugin.
    Plugin(PluginTarget),
}

/// Where a syslog receiver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// Datagrams (RFC 5426).
    Udp(String, u16),
    /// Counted messages (RFC 6587).
    Tcp(String, u16),
    /// The same over TLS (RFC 5425).
    Tls(String, u16),
    /// A local socket.
    Unix(PathBuf),
}

/// An HTTP receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// Where.
    pub url: Uri,
    /// Lines of headers.
    pub headers_file: Option<PathBuf>,
    /// Whom to trust.
    pub ca_file: Option<PathBuf>,
}

fn is_default(limits: &SinkLimits) -> bool {
    *limits == SinkLimits::default()
}

const fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

impl SinkConfig {
    /// How far behind it may be, if it is required.
    #[must_use]
    pub fn bounds(&self) -> Option<Bounds> {
        (self.mode == SinkMode::Required).then(|| Bounds {
            time: self.max_lag.map_or(Duration::from_secs(5), |span| span.0),
            entries: self.max_lag_entries.unwrap_or(100_000),
        })
    }

    /// How many entries may wait, if it is not required.
    #[must_use]
    pub fn backlog(&self) -> Option<u64> {
        (self.mode == SinkMode::BestEffort).then(|| self.max_backlog.unwrap_or(100_000))
    }

    /// The most entries handed over at once: as many as wait, so that what is behind catches up
    /// with few calls.
    #[must_use]
    pub fn batch(&self) -> usize {
        let usual = if self.kind == SinkKind::Plugin { PLUGIN_BATCH } else { MAX_BATCH };
        self.batch_size.unwrap_or(usual)
    }

    /// What it wants.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted { include: self.include.clone(), exclude: self.exclude.clone() }
    }

    /// Where it begins when it is new.
    #[must_use]
    pub const fn begins(&self) -> Start {
        match self.start {
            SinkStart::End => Start::End,
            SinkStart::Beginning => Start::Beginning,
        }
    }

    /// Where it sends to.
    ///
    /// # Errors
    /// Says what cannot be meant.
    pub fn target(&self) -> Result<Target, String> {
        self.check_common()
            .and_then(|()| self.check_target())
            .map_err(|what| format!("sink `{}`: {what}", self.name))
    }

    fn check_common(&self) -> Result<(), String> {
        let required = self.mode == SinkMode::Required;
        let plugin = self.kind == SinkKind::Plugin;
        let net = matches!(self.kind, SinkKind::Syslog | SinkKind::Webhook | SinkKind::Otlp);
        let http = matches!(self.kind, SinkKind::Webhook | SinkKind::Otlp);
        let (file, syslog) = (self.kind == SinkKind::File, self.kind == SinkKind::Syslog);
        let lines = file || syslog || self.kind == SinkKind::Webhook;
        let other = self.format != SinkFormat::Json;
        for (key, set, fits, whose) in [
            ("max_lag", self.max_lag.is_some(), required, "mode \"required\""),
            ("max_lag_entries", self.max_lag_entries.is_some(), required, "mode \"required\""),
            ("max_backlog", self.max_backlog.is_some(), !required, "mode \"best-effort\""),
            ("path", self.path.is_some(), file, "kind \"file\""),
            ("max_size", self.max_size.is_some(), file, "kind \"file\""),
            ("keep", self.keep.is_some(), file, "kind \"file\""),
            ("address", self.address.is_some(), syslog, "kind \"syslog\""),
            ("facility", self.facility.is_some(), syslog, "kind \"syslog\""),
            ("max_message", self.max_message.is_some(), syslog, "kind \"syslog\""),
            ("url", self.url.is_some(), http, "kinds \"webhook\" and \"otlp\""),
            ("headers_file", self.headers_file.is_some(), http, "kinds \"webhook\" and \"otlp\""),
            ("ca_file", self.ca_file.is_some(), net, "kinds that use TLS"),
            ("format", other, lines, "kinds \"file\", \"syslog\" and \"webhook\""),
            ("plugin", self.plugin.is_some(), plugin, "kind \"plugin\""),
            ("config", !self.config.is_empty(), plugin, "kind \"plugin\""),
            ("endpoints", !self.endpoints.is_empty(), plugin, "kind \"plugin\""),
            ("limits", !is_default(&self.limits), plugin, "kind \"plugin\""),
            (
                "danger_without_tls",
                self.danger_without_tls,
                net || plugin,
                "kinds that use the network",
            ),
        ] {
            if set && !fits {
                return Err(format!("`{key}` is for {whose}"));
            }
        }
        if self.batch() == 0 || self.batch() > MAX_BATCH {
            return Err(format!("`batch_size` must be from 1 to {MAX_BATCH}"));
        }
        if self.timeout.0 > MAX_TIMEOUT {
            return Err("`timeout` may be at most 5m".to_owned());
        }
        let hundred = Duration::from_millis(500);
        if self.max_lag.is_some_and(|span| span.0 < hundred || span.0 > MAX_LAG) {
            return Err("`max_lag` must be from 500ms to 1h".to_owned());
        }
        if self.max_lag_entries == Some(0) || self.max_backlog == Some(0) {
            return Err("`max_lag_entries` and `max_backlog` must be at least 1".to_owned());
        }
        if self.include.iter().chain(&self.exclude).any(String::is_empty) {
            return Err("an empty beginning in `include` or `exclude` is every action".to_owned());
        }
        Ok(())
    }

    fn check_target(&self) -> Result<Target, String> {
        match self.kind {
            SinkKind::Stdout => Ok(Target::Stdout),
            SinkKind::File => {
                let path = self.path.clone().filter(|path| path.file_name().is_some());
                let path = path.ok_or("`path` must name a file")?;
                let max_size = self.max_size.map_or(100 * 1024 * 1024, |size| size.0);
                let keep = self.keep.unwrap_or(10);
                if max_size < 64 * 1024 {
                    return Err("`max_size` must be at least 64KiB".to_owned());
                }
                if keep == 0 || keep > 1000 {
                    return Err("`keep` must be from 1 to 1000".to_owned());
                }
                Ok(Target::File { path, max_size, keep })
            }
            SinkKind::Syslog => self.syslog(),
            SinkKind::Webhook => Ok(Target::Webhook(self.http("/")?)),
            SinkKind::Otlp => Ok(Target::Otlp(self.http("/v1/logs")?)),
            SinkKind::Plugin => Ok(Target::Plugin(self.plugin_target()?)),
        }
    }

    fn syslog(&self) -> Result<Target, String> {
        const FORMS: &str =
            "`address` must be udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:/PATH";
        let text = self.address.as_deref().ok_or(FORMS)?;
        let address = if let Some(path) = text.strip_prefix("unix:") {
            Some(path).filter(|p| p.starts_with('/')).map(|p| SyslogAddress::Unix(p.into()))
        } else {
            text.split_once("://").and_then(|(scheme, rest)| {
                let (host, port) = rest.rsplit_once(':')?;
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let port = port.parse().ok().filter(|port| *port > 0)?;
                let odd = |c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c);
                if host.is_empty() || host.contains(odd) {
                    return None;
                }
                match scheme {
                    "udp" => Some(SyslogAddress::Udp(host, port)),
                    "tcp" => Some(SyslogAddress::Tcp(host, port)),
                    "tls" => Some(SyslogAddress::Tls(host, port)),
                    _ => None,
                }
            })
        };
        let address = address.ok_or(FORMS)?;
        match &address {
            SyslogAddress::Udp(..) if self.mode == SinkMode::Required => {
                return Err("a required sink cannot be udp://: nobody says whether a datagram \
                            arrived; use tls:// or tcp://"
                    .to_owned());
            }
            SyslogAddress::Udp(host, _) | SyslogAddress::Tcp(host, _) => {
                in_the_clear("address", host, "tls://", self.danger_without_tls)?;
            }
            SyslogAddress::Tls(..) | SyslogAddress::Unix(_) => {}
        }
        if self.ca_file.is_some() && !matches!(address, SyslogAddress::Tls(..)) {
            return Err("`ca_file` is for tls://".to_owned());
        }
        let max_message = self.max_message.map_or(8192, |size| size.0);
        let max_message = usize::try_from(max_message).unwrap_or(usize::MAX);
        if !(1024..=65_000).contains(&max_message) {
            return Err("`max_message` must be from 1024 to 65000 bytes".to_owned());
        }
        let facility = self.facility.map_or(13, |facility| facility.0);
        Ok(Target::Syslog { address, facility, max_message, ca_file: self.ca_file.clone() })
    }

    fn http(&self, path: &str) -> Result<HttpTarget, String> {
        let files = (self.headers_file.clone(), self.ca_file.clone());
        http(self.url.as_deref(), files, path, self.danger_without_tls)
    }
}

/// An HTTP receiver; one without a path of its own gets this one.
fn http(
    url: Option<&str>,
    (headers_file, ca_file): (Option<PathBuf>, Option<PathBuf>),
    path: &str,
    danger_without_tls: bool,
) -> Result<HttpTarget, String> {
    const FORM: &str = "`url` must be an https or http URL without user or password";
    let text = url.ok_or(FORM)?;
    let url = text.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
    });
    let url = url.ok_or(FORM)?;
    if url.scheme_str() == Some("http") {
        if ca_file.is_some() {
            return Err("`ca_file` is for https".to_owned());
        }
        in_the_clear("url", url.host().unwrap_or_default(), "https", danger_without_tls)?;
    }
    let url = if url.path() == "/" && url.query().is_none() {
        let mut parts = url.into_parts();
        parts.path_and_query = path.parse().ok();
        Uri::from_parts(parts).map_err(|_| FORM)?
    } else {
        url
    };
    Ok(HttpTarget { url, headers_file, ca_file })
}

/// Entries name who does what: they leave the machine encrypted, or by a word that says danger.
fn in_the_clear(key: &str, host: &str, instead: &str, danger: bool) -> Result<(), String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    if here || danger {
        return Ok(());
    }
    Err(format!(
        "`{key}` leaves this machine without TLS, so entries could be read and changed on the way; \
         use {instead}, or set `danger_without_tls = true`"
    ))
}

/// Checks all sinks.
///
/// # Errors
/// Says which cannot be meant, and why.
pub(super) fn check(sinks: &[SinkConfig]) -> Result<(), ConfigError> {
    let invalid = |message| Err(ConfigError::Invalid { key: "audit.sinks", message });
    if sinks.len() > MAX_SINKS {
        return invalid(format!("there may be at most {MAX_SINKS} sinks"));
    }
    for (at, sink) in sinks.iter().enumerate() {
        let target = match sink.target() {
            Ok(target) => target,
            Err(message) => return invalid(message),
        };
        for other in sinks.get(..at).unwrap_or_default() {
            if other.name == sink.name {
                return invalid(format!("sink `{}`: another has the same `name`", sink.name));
            }
            let twice = match (&target, other.target()) {
                (Target::File { path, .. }, Ok(Target::File { path: taken, .. })) => *path == taken,
                (Target::Stdout, Ok(Target::Stdout)) => true,
                _ => false,
            };
            if twice {
                let name = &sink.name;
                return invalid(format!("sink `{name}`: `{}` writes there already", other.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuditConfig;

    fn read(text: &str) -> Result<AuditConfig, String> {
        let config: AuditConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        check(&config.sinks).map_err(|error| error.to_string())?;
        Ok(config)
    }

    fn sink(kind: &str, lines: &str) -> String {
        format!("[[sinks]]\nname = \"aa\"\nkind = \"{kind}\"\n{lines}\n")
    }

    #[test]
    fn a_sink_needs_little() {
        let config = read(&sink("file", "path = \"/var/log/a.log\"\nkeep = 3")).unwrap();
        let one = &config.sinks[0];
        assert_eq!(one.batch(), 4096, "what is behind goes in large pieces");
        assert_eq!((one.mode, one.start), (SinkMode::BestEffort, SinkStart::End));
        assert_eq!((one.backlog(), one.bounds()), (Some(100_000), None));
        let path = PathBuf::from("/var/log/a.log");
        let wanted = Target::File { path, max_size: 100 << 20, keep: 3 };
        assert_eq!(one.target(), Ok(wanted));
        let again = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<AuditConfig>(&again).unwrap(), config);

        let text = sink("otlp", "url = \"http://[::1]:4318\"\nmode = \"required\"");
        let config = read(&text).unwrap();
        let Ok(Target::Otlp(target)) = config.sinks[0].target() else { panic!() };
        assert_eq!(target.url, "http://[::1]:4318/v1/logs");
        let bounds = Bounds { time: Duration::from_secs(5), entries: 100_000 };
        assert_eq!(config.sinks[0].bounds(), Some(bounds));

        let text = sink("syslog", "address = \"tls://logs.example:6514\"\nfacility = \"local3\"");
        let config = read(&text).unwrap();
        let Ok(Target::Syslog { address, facility, .. }) = config.sinks[0].target() else {
            panic!()
        };
        assert_eq!(address, SyslogAddress::Tls("logs.example".to_owned(), 6514));
        assert_eq!(facility, 19);
    }

    #[test]
    fn a_plugin_gets_settings_as_text_and_endpoints_by_name() {
        let lines = "plugin = \"sink-otlp-http\"\n\
                     config = { region = \"eu\", size = 3, zip = true }\n\
                     limits = { memory = \"8MiB\", time = \"20ms\" }\n\
                     endpoints = [{ name = \"collector\", url = \"https://logs.example/a/b\" }]";
        let config = read(&sink("plugin", lines)).unwrap();
        assert_eq!(config.sinks[0].batch(), 128, "a plugin has little time");
        let Ok(Target::Plugin(target)) = config.sinks[0].target() else { panic!() };
        assert_eq!(target.plugin.as_str(), "sink-otlp-http");
        let given: Vec<_> = target.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(given, ["region=eu", "size=3", "zip=true"]);
        let (name, place) = target.endpoints.first_key_value().unwrap();
        assert_eq!(name.as_str(), "collector");
        assert_eq!(place.url, "https://logs.example/a/b");
        assert_eq!(target.limits.memory, Some(Bytes(8 << 20)));
        let again = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<AuditConfig>(&again).unwrap(), config);
    }

    #[test]
    fn what_cannot_be_meant_of_a_plugin_is_said() {
        let plug = |lines: &str| sink("plugin", &format!("plugin = \"pp\"\n{lines}"));
        let at = |url: &str| plug(&format!("endpoints = [{{ name = \"aa\", url = \"{url}\" }}]"));
        for (text, words) in [
            (sink("plugin", ""), "`plugin` must name"),
            (sink("plugin", "plugin = \"No\""), "not a valid name"),
            (sink("stdout", "plugin = \"pp\""), "`plugin` is for kind \"plugin\""),
            (sink("stdout", "config = { a = 1 }"), "`config` is for kind \"plugin\""),
            (plug("format = \"cef\""), "`format` is for"),
            (plug("url = \"https://a\""), "`url` is for"),
            (plug("config = { a = 1.5 }"), "a whole number"),
            (plug("limits = { time = \"2m\" }"), "`limits.time`"),
            (plug("limits = { files = 2 }"), "files"),
            (plug("endpoints = [{ name = \"aa\" }]"), "url"),
            (at("http://logs.example/"), "endpoint `aa`: `url` leaves this machine without TLS"),
            (at("https://u:p@logs.example/"), "without user or password"),
            (at("ftp://logs.example/"), "`url` must be an https"),
            (at("https://logs.example/?x=1"), "no query"),
            (at("https://logs.example/a/../b"), "must be plain"),
            (at("https://logs.example/a//b"), "must be plain"),
            (at("https://logs.example/a%2fb"), "must be plain"),
            (
                plug(
                    "endpoints = [{ name = \"aa\", url = \"https://a\" }, \
                     { name = \"aa\", url = \"https://b\" }]",
                ),
                "twice",
            ),
        ] {
            let fault = read(&text).unwrap_err();
            assert!(fault.contains(words), "{words}: {fault}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let hook = |lines: &str| sink("webhook", lines);
        for (text, words) in [
            (sink("kafka", ""), "`kafka` should be `file` or `stdout`"),
            (sink("file", ""), "`path` must name a file"),
            (sink("file", "path = \"a\"\nmax_size = \"1KiB\""), "at least 64KiB"),
            (sink("file", "path = \"a\"\nkeep = 0"), "`keep` must be"),
            (sink("file", "path = \"a\"\ncompress = true"), "unknown field `compress`"),
            (sink("stdout", "path = \"a\""), "`path` is for kind \"file\""),
            (sink("stdout", "max_lag = \"1s\""), "`max_lag` is for mode \"required\""),
            (sink("stdout", "mode = \"required\"\nmax_lag = \"1ms\""), "from 500ms"),
            (sink("stdout", "mode = \"required\"\nmax_backlog = 9"), "mode \"best-effort\""),
            (sink("stdout", "mode = \"maybe\""), "`required` or `best-effort`"),
            (sink("stdout", "format = \"xml\""), "`xml` should be `json` or `cef` or `ocsf`"),
            (sink("stdout", "format = \"cef\""), "`format` is for kinds \"file\", \"syslog\""),
            (sink("stdout", "batch_size = 0"), "`batch_size` must be"),
            (sink("stdout", "include = [\"\"]"), "every action"),
            (sink("syslog", ""), "`address` must be"),
            (sink("syslog", "address = \"logs:514\""), "`address` must be"),
            (sink("syslog", "address = \"tls://logs\""), "`address` must be"),
            (sink("syslog", "address = \"unix:log\""), "`address` must be"),
            (sink("syslog", "address = \"tcp://logs:1\""), "without TLS"),
            (sink("syslog", "address = \"udp://::1:1\"\nmode = \"required\""), "cannot be udp"),
            (sink("syslog", "address = \"tls://a:1\"\nfacility = \"local8\""), "local7"),
            (sink("syslog", "address = \"unix:/dev/log\"\nca_file = \"a\""), "for tls://"),
            (hook(""), "`url` must be"),
            (hook("url = \"https://a:b@hook\""), "`url` must be"),
            (hook("url = \"http://hook.example/\""), "without TLS"),
            (hook("url = \"http://localhost/\"\nca_file = \"a\""), "for https"),
            (sink("stdout", "") + &sink("stdout", ""), "the same `name`"),
            (
                sink("stdout", "") + &sink("stdout", "").replace("\"aa\"", "\"bb\""),
                "`aa` writes there already",
            ),
        ] {
            let fault = read(&text).unwrap_err();
            assert!(fault.contains(words), "{words}: {fault}");
        }
        read(&sink("syslog", "address = \"udp://logs:514\"\ndanger_without_tls = true")).unwrap();
    }
}
