//! `auth`: who callers from outside are.

use hub_auth::Rules;
use hub_auth::rules::{BindRule, MapRule};
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::jwt::{self, JwtConfig};

/// `auth`: identities that others give. Lists of tables, so from files only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Identities that are participants by configuration; the first that matches counts.
    pub map: Vec<MapRule>,
    /// Identities that the owners of registrations may bind to their participants.
    pub bind: Vec<BindRule>,
    /// Issuers of tokens that are taken.
    pub jwt: Vec<JwtConfig>,
}

impl AuthConfig {
    /// The rules, checked.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] says which rule cannot be meant.
    pub fn rules(&self) -> Result<Rules, ConfigError> {
        jwt::check(&self.jwt)
            .map_err(|message| ConfigError::Invalid { key: "auth.jwt", message })?;
        let issuers =
            self.jwt.iter().map(|issuer| (issuer.name.clone(), issuer.leeway.0)).collect();
        Rules::new(self.map.clone(), self.bind.clone())
            .map(|rules| rules.with_issuers(issuers))
            .map_err(|message| ConfigError::Invalid { key: "auth.map", message })
    }
}

/// Permission bits of a file, written in octal digits: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileMode(pub u32);

impl TryFrom<String> for FileMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let value = u32::from_str_radix(&text, 8).ok().filter(|_| text.starts_with('0'));
        // Others than owner and group never: whoever may connect may ask.
        match value.filter(|mode| *mode & !0o660 == 0 && *mode & 0o600 == 0o600) {
            Some(mode) => Ok(Self(mode)),
            None => Err(format!("`{text}` is not \"0600\", \"0640\", \"0620\" or \"0660\"")),
        }
    }
}

impl From<FileMode> for String {
    fn from(mode: FileMode) -> Self {
        format!("{:04o}", mode.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_toml_and_checked() {
        let text = r#"
            [[map]]
            identity = "unix:uid:1000"
            participant = "shop/worker"
            [[bind]]
            identity = "spiffe://prod.example/**"
            registrations = ["shop"]
        "#;
        let config: AuthConfig = toml::from_str(text).unwrap();
        let rules = config.rules().unwrap();
        let user = hub_model::Identity::unix_user(1000);
        assert_eq!(rules.mapped(&user).unwrap().1.as_str(), "worker");
        for (text, word) in [
            ("[[map]]\nidentity = \"uid:1\"\nparticipant = \"a/b\"", "must start with a method"),
            (
                "[[map]]\nidentity = \"unix:uid:1\"\nparticipant = \"a/b\"\nrole = 1",
                "unknown field",
            ),
        ] {
            let error = toml::from_str::<AuthConfig>(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let nobody = "[[map]]\nidentity = \"unix:uid:1\"\nparticipant = \"worker\"";
        assert!(toml::from_str::<AuthConfig>(nobody).unwrap().rules().is_err());
    }

    #[test]
    fn modes_open_the_socket_to_the_group_at_most() {
        for (text, mode) in [("0600", 0o600), ("0660", 0o660)] {
            assert_eq!(FileMode::try_from(text.to_owned()), Ok(FileMode(mode)));
        }
        for text in ["660", "0666", "0777", "0060", "0o660", ""] {
            assert!(FileMode::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
