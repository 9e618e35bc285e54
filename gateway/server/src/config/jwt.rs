//! `auth.jwt`: issuers of tokens that are taken.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use hub_auth::jwt::{Claim, LONGEST_LIFE, MOST_LEEWAY, NamedRole, Settings};
use hub_crypto::jws::JwsAlgorithm;
use hub_model::registration::HUB_REGISTRATION;
use hub_model::{Name, Role};
use serde::{Deserialize, Serialize};

use super::units;

/// The most issuers.
const MAX_ISSUERS: usize = 64;

/// One issuer. Lists of tables, so from files only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// What identities call it: `jwt:<name>:<subject>`.
    pub name: Name,
    /// Its `iss`, as it stands in tokens.
    pub issuer: String,
    /// Tokens are for one of these (`aud`).
    pub audiences: Vec<String>,
    /// A file with its public keys, a JSON Web Key Set; read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// An https URL of its public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// PEM certificates to trust for that URL, instead of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_ca_file: Option<PathBuf>,
    /// How often the URL is fetched.
    #[serde(default = "refresh")]
    pub jwks_refresh: Span,
    /// How long after fetching because of an unknown key nobody fetches for that reason again.
    #[serde(default = "cooldown")]
    pub jwks_cooldown: Span,
    /// How long keys are believed when newer ones cannot be had.
    #[serde(default = "day")]
    pub jwks_max_stale: Span,
    /// What its tokens may be signed by.
    #[serde(default = "algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// By how much clocks may differ.
    #[serde(default = "leeway")]
    pub leeway: Span,
    /// The longest time from `iat` to `exp`.
    #[serde(default = "day")]
    pub max_life: Span,
    /// The longest time since `iat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// The claim that names the subject.
    #[serde(default = "subject")]
    pub subject: String,
    /// The claim that lists groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    /// Roles that groups give: `registration/role`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Vec<String>>,
    /// What other claims must say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub require: BTreeMap<String, Wanted>,
}

/// A duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(#[serde(with = "units::duration")] pub Duration);

/// The `alg` of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Algorithm(pub JwsAlgorithm);

/// What a claim must say: a value, or one of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wanted {
    /// This.
    One(Scalar),
    /// One of these.
    Any(Vec<Scalar>),
}

/// A value of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// True or false.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file.
    File(PathBuf),
    /// An https URL.
    Url {
        /// Where.
        url: Uri,
        /// PEM certificates to trust instead of the machine's.
        ca_file: Option<PathBuf>,
    },
}

const fn refresh() -> Span {
    Span(Duration::from_secs(600))
}

const fn cooldown() -> Span {
    Span(Duration::from_secs(30))
}

const fn day() -> Span {
    Span(LONGEST_LIFE)
}

const fn leeway() -> Span {
    Span(Duration::from_secs(30))
}

fn subject() -> String {
    "sub".to_owned()
}

fn algorithms() -> Vec<Algorithm> {
    JwsAlgorithm::ALL.map(Algorithm).to_vec()
}

impl TryFrom<String> for Algorithm {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        JwsAlgorithm::of_name(&text).map(Self).ok_or_else(|| {
            let known = JwsAlgorithm::ALL.map(JwsAlgorithm::name).join(", ");
            format!("`{}` is no algorithm for tokens here (known: {known})", text.escape_debug())
        })
    }
}

impl From<Algorithm> for String {
    fn from(algorithm: Algorithm) -> Self {
        algorithm.0.name().to_owned()
    }
}

impl From<&Scalar> for serde_json::Value {
    fn from(value: &Scalar) -> Self {
        match value {
            Scalar::Flag(flag) => (*flag).into(),
            Scalar::Number(number) => (*number).into(),
            Scalar::Text(text) => text.as_str().into(),
        }
    }
}

impl JwtConfig {
    /// Where its keys come from.
    ///
    /// # Errors
    /// Says what cannot be meant.
    pub fn source(&self) -> Result<KeySource, String> {
        let fault = |what: &str| Err(format!("issuer `{}`: {what}", self.name));
        match (&self.jwks_file, &self.jwks_url) {
            (Some(path), None) if self.jwks_ca_file.is_none() => Ok(KeySource::File(path.clone())),
            (Some(_), None) => fault("`jwks_ca_file` is for `jwks_url`"),
            (None, Some(url)) => {
                let uri = url.parse::<Uri>().ok().filter(|uri| {
                    uri.scheme_str() == Some("https")
                        && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
                });
                match uri {
                    Some(url) => Ok(KeySource::Url { url, ca_file: self.jwks_ca_file.clone() }),
                    None => fault("`jwks_url` must be an https URL without user or password"),
                }
            }
            _ => fault("one of `jwks_file` and `jwks_url` is needed"),
        }
    }

    /// What its tokens must say, checked.
    ///
    /// # Errors
    /// Says what cannot be meant.
    pub fn settings(&self) -> Result<Settings, String> {
        let fault = |what: String| Err(format!("issuer `{}`: {what}", self.name));
        if self.issuer.is_empty() {
            return fault("`issuer` is empty; it is the `iss` of its tokens".to_owned());
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return fault(
                "`audiences` must name whom tokens are for (`aud`): else tokens for any other \
                 service would be taken"
                    .to_owned(),
            );
        }
        if self.algorithms.is_empty() {
            return fault("`algorithms` is empty".to_owned());
        }
        if self.leeway.0 > MOST_LEEWAY {
            return fault("`leeway` may be at most 5m".to_owned());
        }
        if self.max_life.0 > LONGEST_LIFE || self.jwks_max_stale.0 > LONGEST_LIFE {
            return fault("`max_life` and `jwks_max_stale` may be at most 24h".to_owned());
        }
        let second = Duration::from_secs(1);
        if self.jwks_refresh.0 < second || self.jwks_cooldown.0 < second {
            return fault("`jwks_refresh` and `jwks_cooldown` must be at least 1s".to_owned());
        }
        if !self.roles.is_empty() && self.groups_claim.is_none() {
            return fault("`roles` needs `groups_claim`, the claim that lists groups".to_owned());
        }
        let mut roles = BTreeMap::new();
        for (group, names) in &self.roles {
            let named: Result<Vec<_>, _> = names.iter().map(|text| named_role(text)).collect();
            match named {
                Ok(named) => roles.insert(group.clone(), named),
                Err(what) => return fault(what),
            };
        }
        let require = self.require.iter().map(|(claim, wanted)| {
            let values = match wanted {
                Wanted::One(value) => vec![value.into()],
                Wanted::Any(values) => values.iter().map(Into::into).collect(),
            };
            (Claim::new(claim), values)
        });
        Ok(Settings {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            algorithms: self.algorithms.iter().map(|algorithm| algorithm.0).collect(),
            leeway: self.leeway.0,
            max_life: self.max_life.0,
            max_age: self.max_age.map(|span| span.0),
            subject: Claim::new(&self.subject),
            groups: self.groups_claim.as_ref().map(Claim::new),
            roles,
            require: require.collect(),
            cooldown: self.jwks_url.is_some().then_some(self.jwks_cooldown.0),
        })
    }
}

fn named_role(text: &str) -> Result<NamedRole, String> {
    let known = |hub: bool| {
        let names = Role::ALL.into_iter().filter(|role| role.exists_in(hub)).map(Role::name);
        names.collect::<Vec<_>>().join(", ")
    };
    let Some((registration, role)) = text.split_once('/') else {
        return Err(format!("`{text}` is not `registration/role`"));
    };
    let Ok(name) = registration.parse::<Name>() else {
        return Err(format!("`{registration}` is no name of a registration"));
    };
    let hub = registration == HUB_REGISTRATION;
    match Role::ALL.into_iter().find(|known| known.name() == role && known.exists_in(hub)) {
        Some(role) => Ok((name, role)),
        None => Err(format!("`{text}`: there is no such role (known there: {})", known(hub))),
    }
}

/// Checks all issuers.
///
/// # Errors
/// Says which cannot be meant, and why.
pub(super) fn check(issuers: &[JwtConfig]) -> Result<(), String> {
    if issuers.len() > MAX_ISSUERS {
        return Err(format!("there may be at most {MAX_ISSUERS} issuers"));
    }
    for (at, issuer) in issuers.iter().enumerate() {
        issuer.settings()?;
        issuer.source()?;
        let before = issuers.get(..at).unwrap_or_default();
        if before.iter().any(|other| other.name == issuer.name || other.issuer == issuer.issuer) {
            return Err(format!(
                "issuer `{}`: another has the same `name` or `issuer`; each has its own",
                issuer.name
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuthConfig;

    const CORP: &str = r#"
        [[jwt]]
        name = "corp"
        issuer = "https://login.example"
        audiences = ["hub"]
        jwks_url = "https://login.example/keys"
    "#;

    fn fault(text: &str) -> String {
        match toml::from_str::<AuthConfig>(text) {
            Err(error) => error.to_string(),
            Ok(config) => config.rules().unwrap_err().to_string(),
        }
    }

    #[test]
    fn an_issuer_needs_little_and_the_defaults_are_strict() {
        let config: AuthConfig = toml::from_str(CORP).unwrap();
        let settings = config.jwt[0].settings().unwrap();
        assert_eq!(settings.algorithms, JwsAlgorithm::ALL);
        assert_eq!(settings.max_life, Duration::from_secs(86_400));
        assert_eq!(settings.leeway, Duration::from_secs(30));
        assert_eq!(settings.cooldown, Some(Duration::from_secs(30)));
        assert!(config.rules().unwrap().knows_issuer(&"corp".parse().unwrap()));
        assert!(!config.rules().unwrap().knows_issuer(&"other".parse().unwrap()));
        let back = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<AuthConfig>(&back).unwrap(), config);
    }

    #[test]
    fn roles_and_conditions_are_read() {
        let text = format!(
            "{CORP}
            max_age = \"1h\"
            groups_claim = \"groups\"
            [jwt.roles]
            \"Platform Team\" = [\"shop/operators\", \"hub/auditors\"]
            [jwt.require]
            email_verified = true
            tenant = [\"eu\", 7]"
        );
        let config: AuthConfig = toml::from_str(&text).unwrap();
        let settings = config.jwt[0].settings().unwrap();
        assert_eq!(settings.roles["Platform Team"].len(), 2);
        assert_eq!(settings.require[0].1, [serde_json::json!(true)]);
        assert_eq!(settings.require[1].1, [serde_json::json!("eu"), serde_json::json!(7)]);
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let with = |line: &str| format!("{CORP}\n{line}");
        let without = |line: &str| CORP.replace(line, "");
        for (text, words) in [
            (with("algorithms = [\"none\"]"), "no algorithm for tokens"),
            (with("algorithms = [\"HS256\"]"), "no algorithm for tokens"),
            (with("algorithms = []"), "`algorithms` is empty"),
            (with("jwks_file = \"keys.json\""), "one of `jwks_file` and `jwks_url`"),
            (with("leeway = \"6m\""), "at most 5m"),
            (with("max_life = \"25h\""), "at most 24h"),
            (with("jwks_refresh = \"10ms\""), "at least 1s"),
            (with("audience = [\"x\"]"), "unknown field `audience`"),
            (with("[jwt.roles]\nops = [\"shop/operators\"]"), "groups_claim"),
            (with("groups_claim = \"g\"\n[jwt.roles]\nops = [\"shop/admins\"]"), "no such role"),
            (
                with("groups_claim = \"g\"\n[jwt.roles]\nops = [\"shop\"]"),
                "not `registration/role`",
            ),
            (without("audiences = [\"hub\"]"), "missing field `audiences`"),
            (CORP.replace("[\"hub\"]", "[]"), "whom tokens are for"),
            (CORP.replace("https://login.example/keys", "http://login.example"), "https URL"),
            (CORP.replace("https://login.example/keys", "https://a:b@login.example"), "https URL"),
            (CORP.replace("jwks_url", "jwks_ca_file"), "one of `jwks_file` and `jwks_url`"),
            (format!("{CORP}{CORP}"), "the same `name` or `issuer`"),
        ] {
            let fault = fault(&text);
            assert!(fault.contains(words), "{words}: {fault}");
        }
    }
}
