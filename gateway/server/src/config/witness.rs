//! `audit.witnesses`: who cosigns checkpoints.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use hub_audit::note::{Kind, VerifierKey};
use hub_model::Name;
use serde::{Deserialize, Serialize};

use super::jwt::Span;

/// The most witnesses.
const MAX_WITNESSES: usize = 16;
/// The longest that is waited for an answer.
const LONGEST: Duration = Duration::from_secs(60);

/// One witness. Lists of tables, so from files only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// What status, metrics and files call it.
    pub name: Name,
    /// Its submission prefix; `/add-checkpoint` is added.
    pub url: String,
    /// Where its own checkpoints are read, when not at `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring_url: Option<String>,
    /// The key it cosigns with, as C2SP vkey of type 4.
    pub verifier_key: String,
    /// PEM certificates to trust for its URL, instead of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long its answer may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Whether the hub starts only when it can be asked.
    #[serde(default)]
    pub required: bool,
}

const fn timeout() -> Span {
    Span(Duration::from_secs(5))
}

/// A URL with nothing in it that does not belong there.
fn url(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.query().is_none()
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    let wanted = "must be an http or https URL without user, password or query";
    uri.ok_or_else(|| wanted.to_owned())
}

impl WitnessConfig {
    /// Where checkpoints are submitted.
    ///
    /// # Errors
    /// Says what cannot be meant.
    pub fn submission(&self) -> Result<Uri, String> {
        url(&self.url).map_err(|why| format!("witness `{}`: `url` {why}", self.name))
    }

    /// Where its own checkpoints are read.
    ///
    /// # Errors
    /// Says what cannot be meant.
    pub fn monitoring(&self) -> Result<Uri, String> {
        let Some(text) = &self.monitoring_url else { return self.submission() };
        url(text).map_err(|why| format!("witness `{}`: `monitoring_url` {why}", self.name))
    }

    /// The key it cosigns with.
    ///
    /// # Errors
    /// Says what cannot be meant.
    pub fn key(&self) -> Result<VerifierKey, String> {
        let fault = |what: &str| format!("witness `{}`: `verifier_key`: {what}", self.name);
        let key =
            VerifierKey::parse(&self.verifier_key).map_err(|error| fault(&error.to_string()))?;
        if key.kind != Kind::Cosignature {
            return Err(fault("that is a key of logs (type 1); witnesses have keys of type 4"));
        }
        Ok(key)
    }
}

/// Checks all witnesses.
///
/// # Errors
/// Says which cannot be meant, and why.
pub(super) fn check(witnesses: &[WitnessConfig]) -> Result<(), String> {
    if witnesses.len() > MAX_WITNESSES {
        return Err(format!("there may be at most {MAX_WITNESSES} witnesses"));
    }
    for (at, witness) in witnesses.iter().enumerate() {
        witness.submission()?;
        witness.monitoring()?;
        let key = witness.key()?;
        if witness.timeout.0 > LONGEST {
            return Err(format!("witness `{}`: `timeout` may be at most 60s", witness.name));
        }
        let before = witnesses.get(..at).unwrap_or_default();
        let same = |other: &&WitnessConfig| {
            other.name == witness.name || other.key().is_ok_and(|other| other.key == key.key)
        };
        if before.iter().any(|other| same(&other)) {
            return Err(format!(
                "witness `{}`: another has the same `name` or key; each has its own",
                witness.name
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuditConfig;

    const ONE: &str = r#"
        [[witnesses]]
        name = "w1"
        url = "https://witness.example"
        verifier_key = "witness.example/w1+18041f2a+BBl/ayPhbIUyxqvIOPrNXqeJvgx2spIDNAOb+os9No1h"
    "#;

    fn fault(text: &str) -> String {
        match toml::from_str::<AuditConfig>(text) {
            Err(error) => error.to_string(),
            Ok(config) => check(&config.witnesses).unwrap_err(),
        }
    }

    #[test]
    fn a_witness_needs_little() {
        let config: AuditConfig = toml::from_str(ONE).unwrap();
        check(&config.witnesses).unwrap();
        assert!(!config.witnesses[0].required);
        assert_eq!(config.witnesses[0].timeout.0, Duration::from_secs(5));
        let back = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<AuditConfig>(&back).unwrap(), config);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (from, to, said) in [
            ("https://witness", "ftp://witness", "http or https"),
            ("https://witness", "https://a:b@witness", "without user"),
            ("18041f2a", "18041f2b", "does not match"),
            ("url =", "uri =", "unknown field"),
            ("verifier_key = \"", "timeout = \"5m\"\nverifier_key = \"", "at most 60s"),
        ] {
            let text = ONE.replace(from, to);
            assert!(fault(&text).contains(said), "{text}: {}", fault(&text));
        }
        let log = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let key = "witness.example/w1+18041f2a+BBl/ayPhbIUyxqvIOPrNXqeJvgx2spIDNAOb+os9No1h";
        assert!(fault(&ONE.replace(key, log)).contains("type 4"));
        assert!(fault(&format!("{ONE}{ONE}")).contains("another has the same"));
    }
}
