//! What a witness is told: a TOML file, flags, or both.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hub_audit::note::{Kind, VerifierKey, good_name};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use super::WitnessError;

/// Settings of a witness.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its name in signatures: a URL without scheme, such as `witness.example/w1`.
    #[serde(default)]
    pub name: String,
    /// Where it listens.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// Where key and state lie.
    #[serde(default = "data_dir")]
    pub data_dir: PathBuf,
    /// PEM certificate chain, for TLS.
    #[serde(default)]
    pub tls_cert_file: Option<PathBuf>,
    /// Its PEM private key.
    #[serde(default)]
    pub tls_key_file: Option<PathBuf>,
    /// The logs it knows.
    #[serde(default)]
    pub logs: Vec<LogSettings>,
}

/// A log that a witness knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// The first line of its checkpoints; the name of its keys when not said.
    #[serde(default)]
    pub origin: Option<String>,
    /// Its keys, as C2SP vkeys: two or more around a rotation.
    pub verifier_keys: Vec<String>,
}

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8450))
}

fn data_dir() -> PathBuf {
    PathBuf::from("./cipher-hub-witness")
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            listen: listen(),
            data_dir: data_dir(),
            tls_cert_file: None,
            tls_key_file: None,
            logs: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// [`WitnessError::Settings`] with line and column.
    pub fn read(path: &Path) -> Result<Self, WitnessError> {
        let failed = |what: &dyn std::fmt::Display| {
            WitnessError::Settings(format!("`{}`: {what}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        toml::from_str(&text).map_err(|error| failed(&error))
    }

    /// The logs by origin.
    ///
    /// # Errors
    /// [`WitnessError::Settings`] says what cannot be meant.
    pub(super) fn keys(&self) -> Result<Vec<(String, Vec<VerifierKey>)>, WitnessError> {
        let mut logs: Vec<(String, Vec<VerifierKey>)> = Vec::new();
        for log in &self.logs {
            let fault = |what: String| WitnessError::Settings(format!("a log: {what}"));
            let mut keys = Vec::new();
            for text in &log.verifier_keys {
                let key = VerifierKey::parse(text).map_err(|error| fault(error.to_string()))?;
                if key.kind != Kind::Ed25519 {
                    return Err(fault(format!("`{}` is a key of witnesses", key.name)));
                }
                keys.push(key);
            }
            let named = keys.first().map(|key| key.name.clone());
            let origin = log.origin.clone().or(named);
            let origin = origin.ok_or_else(|| fault("it has no `verifier_keys`".to_owned()))?;
            match logs.iter_mut().find(|(known, _)| *known == origin) {
                Some((_, known)) => known.extend(keys),
                None => logs.push((origin, keys)),
            }
        }
        Ok(logs)
    }

    pub(super) fn check(&self) -> Result<(), WitnessError> {
        let fault = |what: &str| Err(WitnessError::Settings(what.to_owned()));
        if !good_name(&self.name) {
            return fault(
                "a witness needs a name without spaces and `+`, such as witness.example/w1",
            );
        }
        if self.tls_cert_file.is_some() != self.tls_key_file.is_some() {
            return fault("TLS needs both a certificate and its key");
        }
        self.keys().map(drop)
    }

    pub(super) fn tls(&self) -> Result<Option<Arc<rustls::ServerConfig>>, WitnessError> {
        let (Some(cert), Some(key)) = (&self.tls_cert_file, &self.tls_key_file) else {
            return Ok(None);
        };
        let fault = |path: &Path, what: &dyn std::fmt::Display| {
            WitnessError::Settings(format!("`{}`: {what}", path.display()))
        };
        let pem = std::fs::read(cert).map_err(|error| fault(cert, &error))?;
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| fault(cert, &error))?;
        let pem = hub_store::durable_file::read_private(key).map_err(|error| fault(key, &error))?;
        let pem = pem.ok_or_else(|| fault(key, &"there is no such file"))?;
        let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| fault(key, &error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(cert, &error))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| fault(cert, &error))?;
        Ok(Some(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn a_log_is_named_by_its_key() {
        let text = format!("name = \"w\"\n[[logs]]\nverifier_keys = [\"{LOG}\"]");
        let settings: Settings = toml::from_str(&text).unwrap();
        settings.check().unwrap();
        let logs = settings.keys().unwrap();
        assert_eq!((logs[0].0.as_str(), logs[0].1.len()), ("example.com/foo", 1));
        let twice: Settings =
            toml::from_str(&format!("{text}\n[[logs]]\nverifier_keys = [\"{LOG}\"]")).unwrap();
        assert_eq!(twice.keys().unwrap()[0].1.len(), 2);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "name = \"a b\"",
            "name = \"\"",
            "name = \"w\"\ntls_cert_file = \"x\"",
            "name = \"w\"\n[[logs]]\nverifier_keys = []",
            "name = \"w\"\n[[logs]]\nverifier_keys = [\"x+y\"]",
            "name = \"w\"\n[[logs]]\nverifier_keys = [\"witness.example/w1+18041f2a+BBl/ayPhbIUyxqvIOPrNXqeJvgx2spIDNAOb+os9No1h\"]",
        ] {
            let settings: Settings = toml::from_str(text).unwrap();
            assert!(settings.check().is_err(), "{text}");
        }
        assert!(toml::from_str::<Settings>("nam = \"w\"").is_err());
    }
}
