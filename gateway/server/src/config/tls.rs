//! `server.tls`: who the server says it is, and which client certificates it believes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, units};

/// `server.tls`: certificate and key, or neither; client certificates where they are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM certificate chain, leaf first.
    #[serde(deserialize_with = "units::maybe_path")]
    pub cert_file: Option<PathBuf>,
    /// PEM private key, readable by its owner only.
    #[serde(deserialize_with = "units::maybe_path")]
    pub key_file: Option<PathBuf>,
    /// The oldest TLS version spoken.
    pub min_version: TlsVersion,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// PEM certificates of the authorities whose client certificates are believed.
    #[serde(deserialize_with = "units::maybe_path")]
    pub client_ca_file: Option<PathBuf>,
    /// Certificate revocation lists, PEM or DER.
    #[serde(deserialize_with = "units::one_or_many_paths")]
    pub client_crl_files: Vec<PathBuf>,
    /// A folder of nothing but revocation lists.
    #[serde(deserialize_with = "units::maybe_path")]
    pub client_crl_dir: Option<PathBuf>,
    /// Which names of a client certificate say who the client is, the most wanted first.
    #[serde(deserialize_with = "units::one_or_many_words")]
    pub client_identity: Vec<NameKind>,
    /// How long a connection with a client certificate takes new requests.
    #[serde(with = "units::duration")]
    pub client_max_connection_age: Duration,
    /// How often the files are looked at for changes.
    #[serde(with = "units::duration")]
    pub reload_interval: Duration,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            min_version: TlsVersion::default(),
            client_auth: ClientAuth::Off,
            client_ca_file: None,
            client_crl_files: Vec::new(),
            client_crl_dir: None,
            client_identity: vec![NameKind::Spiffe],
            client_max_connection_age: Duration::from_secs(3600),
            reload_interval: Duration::from_secs(5),
        }
    }
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

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum ClientAuth {
    /// They are not.
    #[default]
    Off,
    /// They are, and may have none. One that is shown must be good.
    Optional,
    /// Nobody connects without.
    Required,
}

units::words! { ClientAuth:
    Off = "off",
    Optional = "optional",
    Required = "required",
}

/// A kind of alternative name (RFC 5280 §4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum NameKind {
    /// A URI that is a SPIFFE id.
    Spiffe,
    /// A host name.
    Dns,
    /// A mail address.
    Email,
    /// Another URI.
    Uri,
}

units::words! { NameKind:
    Spiffe = "spiffe",
    Dns = "dns",
    Email = "email",
    Uri = "uri",
}

impl TlsConfig {
    /// Whether there is TLS at all, of settings that go together.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the setting that is missing or means nothing.
    pub(super) fn check(&self) -> Result<bool, ConfigError> {
        let invalid =
            |key, message: &str| Err(ConfigError::Invalid { key, message: message.to_owned() });
        let tls = match (&self.cert_file, &self.key_file) {
            (Some(_), Some(_)) => true,
            (None, None) => false,
            (Some(_), None) => {
                return invalid("server.tls.key_file", "is needed with server.tls.cert_file");
            }
            (None, Some(_)) => {
                return invalid("server.tls.cert_file", "is needed with server.tls.key_file");
            }
        };
        let asked = self.client_auth != ClientAuth::Off;
        let has_crls = !self.client_crl_files.is_empty() || self.client_crl_dir.is_some();
        if asked && !tls {
            let message = "is needed to ask for client certificates (server.tls.client_auth)";
            return invalid("server.tls.cert_file", message);
        }
        if asked && self.client_ca_file.is_none() {
            let message = "is needed with server.tls.client_auth: whose certificates are believed?";
            return invalid("server.tls.client_ca_file", message);
        }
        if !asked && (self.client_ca_file.is_some() || has_crls) {
            let message = "is \"off\", so server.tls.client_ca_file, client_crl_files and \
                           client_crl_dir would mean nothing; say \"optional\" or \"required\"";
            return invalid("server.tls.client_auth", message);
        }
        let kinds = &self.client_identity;
        let twice = kinds
            .iter()
            .enumerate()
            .any(|(n, kind)| kinds.iter().skip(n + 1).any(|other| kind == other));
        if kinds.is_empty() || twice {
            let message = "names some of \"spiffe\", \"dns\", \"email\" and \"uri\", each once";
            return invalid("server.tls.client_identity", message);
        }
        if self.client_max_connection_age > MAX_AGE {
            let message = "is a day at the most: what a connection has proven gets old";
            return invalid("server.tls.client_max_connection_age", message);
        }
        Ok(tls)
    }
}

const MAX_AGE: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<TlsConfig, String> {
        let config: TlsConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn settings_go_together() {
        let server = "cert_file = \"c\"\nkey_file = \"k\"\n";
        let good = of(&format!(
            "{server}client_auth = \"required\"\nclient_ca_file = \"ca\"\n\
             client_crl_files = [\"a\", \"b\"]\nclient_identity = [\"dns\", \"spiffe\"]"
        ))
        .unwrap();
        assert_eq!(good.client_crl_files.len(), 2);
        assert_eq!(good.client_identity, [NameKind::Dns, NameKind::Spiffe]);
        assert_eq!(of("").unwrap(), TlsConfig::default());
        for (text, word) in [
            ("client_auth = \"required\"\nclient_ca_file = \"ca\"".to_owned(), "cert_file"),
            (format!("{server}client_auth = \"optional\""), "whose certificates"),
            (format!("{server}client_auth = \"maybe\""), "`optional`"),
            (format!("{server}client_ca_file = \"ca\""), "would mean nothing"),
            (format!("{server}client_crl_dir = \"crls\""), "would mean nothing"),
            ("client_identity = []".to_owned(), "each once"),
            ("client_identity = [\"dns\", \"dns\"]".to_owned(), "each once"),
            ("client_identity = [\"cn\"]".to_owned(), "`spiffe`"),
            ("client_max_connection_age = \"2d\"".to_owned(), "a day"),
            ("cert_file = \"c\"".to_owned(), "server.tls.key_file"),
        ] {
            let error = of(&text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
