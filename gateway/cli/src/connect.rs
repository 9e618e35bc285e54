//! Which hub to talk to, and as whom: flags, environment and remembered contexts.
//!
//! INVARIANT: the API key of a context goes to that context's address only.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cipher_hub_client::{Address, Client};
use hub_model::secret::SecretText;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::failure::{Code, Failure};
use super::files::write_private;
use super::{ClientEnvironment, Global};

/// A remembered hub.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Its address.
    pub address: String,
    /// The API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretText>,
    /// PEM certificates to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The PEM certificate to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The registration meant when none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
}

/// The file of contexts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// All of them, by name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// Remembers a hub under a name and makes it the current one.
pub fn save_context(
    config_dir: Option<&Path>,
    name: &str,
    context: Context,
) -> Result<PathBuf, Failure> {
    check_name(name)?;
    let mut contexts = Contexts::load(config_dir)?;
    contexts.contexts.insert(name.to_owned(), context);
    contexts.current = Some(name.to_owned());
    contexts.save(config_dir)
}

/// Our folder for settings, from `HOME` and `XDG_CONFIG_HOME` (a relative one is to be ignored, XDG
/// base directory specification).
pub(crate) fn settings_folder(home: Option<&Path>, config_home: Option<&Path>) -> Option<PathBuf> {
    let base = match config_home.filter(|path| path.is_absolute()) {
        Some(path) => path.to_owned(),
        None => home?.join(".config"),
    };
    Some(base.join("cipher-hub"))
}

/// Context names may look like `demo/auditor`.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Failure::usage(
        format!("`{name}` cannot name a context"),
        "use 1 to 64 letters, digits, and - _ . /",
    ))
}

impl Contexts {
    /// Reads the file; there are none without one.
    pub(crate) fn load(config_dir: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = config_dir.map(file) else { return Ok(Self::default()) };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::file(&path, &error)),
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(Failure::new(
                Code::Failed,
                format!("`{}` holds API keys and others may open it", path.display()),
                format!("chmod 600 {}", path.display()),
            ));
        }
        let text = fs::read_to_string(&path).map_err(|error| Failure::file(&path, &error))?;
        let text = Zeroizing::new(text);
        // The parser's message shows the line, which may hold a key.
        toml::from_str(&text).map_err(|_| {
            Failure::new(
                Code::Failed,
                format!("`{}` is not a file of contexts", path.display()),
                "correct it, or remove it and log in again: cipher-hub login",
            )
        })
    }

    /// Writes the file, readable by its owner only.
    pub(crate) fn save(&self, config_dir: Option<&Path>) -> Result<PathBuf, Failure> {
        let Some(folder) = config_dir else {
            return Err(Failure::new(
                Code::Failed,
                "there is no folder for settings",
                "set HOME or XDG_CONFIG_HOME",
            ));
        };
        let path = file(folder);
        let failed = |error: io::Error| Failure::file(&path, &error);
        let text = toml::to_string(self).map_err(|error| failed(io::Error::other(error)))?;
        let text = Zeroizing::new(text);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        write_private(&path, text.as_bytes()).map_err(failed)?;
        Ok(path)
    }
}

fn file(config_dir: &Path) -> PathBuf {
    config_dir.join("contexts.toml")
}

/// Where `cipher-hub serve` listens when nothing else is said.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8420";

/// A hub to talk to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) api_key: Option<SecretText>,
    /// A file with a token, where there is no API key.
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    /// The certificate to show, and its key.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// The registration meant when none is said.
    pub(crate) registration: Option<String>,
    /// The context it came from.
    pub(crate) context: Option<String>,
}

impl Target {
    /// Flags win over the environment, which wins over the context; a context that is named by a
    /// flag brings its own key.
    pub(crate) fn resolve(
        global: &Global,
        environment: &ClientEnvironment,
    ) -> Result<Self, Failure> {
        let contexts = Contexts::load(environment.config_dir.as_deref())?;
        let named = global.context.as_ref().or(environment.context.as_ref());
        if let Some(name) = named
            && !contexts.contexts.contains_key(name)
        {
            return Err(Failure::new(
                Code::NotFound,
                format!("there is no context `{name}`"),
                "see them: cipher-hub context list; make one: cipher-hub login --name NAME",
            ));
        }
        let said = global.address.as_ref().or(environment.address.as_ref());
        let name = named.or(contexts.current.as_ref());
        let context = name.and_then(|name| contexts.contexts.get(name));
        // Only what belongs to the address in use.
        let context =
            context.filter(|context| said.is_none_or(|said| same_hub(said, &context.address)));
        let token_file = global.token_file.as_ref().or(environment.token_file.as_ref());
        let has_key =
            environment.api_key.is_some() || global.api_key_file.is_some() || token_file.is_some();
        let address = match said.or(context.map(|context| &context.address)) {
            Some(address) => address.clone(),
            // Whoever holds a key and says no address means the hub beside him.
            None if has_key => DEFAULT_ADDRESS.to_owned(),
            None => {
                return Err(Failure::new(
                    Code::NotAuthenticated,
                    "no hub is known",
                    "export CIPHER_HUB_API_KEY, or cipher-hub login --address https://…, or to \
                     try things: cipher-hub dev",
                ));
            }
        };
        let of_context = context.and_then(|context| context.api_key.clone());
        let of_environment = environment.api_key.clone();
        let api_key = if global.context.is_some() && of_context.is_some() {
            of_context
        } else {
            // A token that the environment names is meant for where this runs, more than what
            // somebody once logged in with.
            of_environment.or(of_context.filter(|_| token_file.is_none()))
        };
        let ca_file = global.ca_file.as_ref().or(environment.ca_file.as_ref());
        let ca_file = ca_file.or(context.and_then(|context| context.ca_file.as_ref()));
        let certificate = given_certificate(global, environment)?;
        let of_context = context.and_then(|c| c.cert_file.clone().zip(c.key_file.clone()));
        Ok(Self {
            address,
            api_key,
            token_file: token_file.cloned(),
            ca_file: ca_file.cloned(),
            certificate: certificate.or(of_context),
            registration: context.and_then(|context| context.registration.clone()),
            context: context.and(name).cloned(),
        })
    }

    /// A client for it.
    pub(crate) fn client(self, global: &Global) -> Result<Client, Failure> {
        let mut builder = Client::builder(self.address);
        if let Some(path) = &global.api_key_file {
            builder = builder.api_key_file(path);
        } else if let Some(path) = global.token_file.as_ref() {
            builder = builder.token_file(path);
        } else if let Some(key) = self.api_key {
            builder = builder.api_key(key);
        } else if let Some(path) = self.token_file {
            builder = builder.token_file(path);
        }
        if let Some(path) = self.ca_file {
            builder = builder.ca_file(path);
        }
        if let Some((cert, key)) = self.certificate {
            builder = builder.client_certificate(cert, key);
        }
        let builder = builder.timeout(global.timeout.unwrap_or(Duration::from_secs(30)));
        Ok(builder.build()?.with_dry_run(global.dry_run))
    }
}

/// The certificate and key of flags, else of the environment: always both.
pub(crate) fn given_certificate(
    global: &Global,
    environment: &ClientEnvironment,
) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
    let said = (&global.cert_file, &global.key_file);
    let said = if matches!(said, (None, None)) {
        (&environment.cert_file, &environment.key_file)
    } else {
        said
    };
    match said {
        (Some(cert), Some(key)) => Ok(Some((cert.clone(), key.clone()))),
        (None, None) => Ok(None),
        _ => Err(Failure::usage(
            "a client certificate has two files",
            "give both --cert-file and --key-file (CIPHER_HUB_CERT_FILE, CIPHER_HUB_KEY_FILE)",
        )),
    }
}

fn same_hub(left: &str, right: &str) -> bool {
    match (left.parse::<Address>(), right.parse::<Address>()) {
        (Ok(left), Ok(right)) => left == right,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(address: &str) -> Context {
        Context {
            address: address.to_owned(),
            api_key: Some(SecretText::new("chk_context".to_owned())),
            ca_file: None,
            cert_file: None,
            key_file: None,
            registration: Some("demo".to_owned()),
        }
    }

    fn key(global: &Global, environment: &ClientEnvironment) -> Option<String> {
        let target = Target::resolve(global, environment).unwrap();
        target.api_key.map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn the_key_of_a_context_goes_to_its_address_only() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("cipher-hub");
        save_context(Some(&folder), "dev", context("https://127.0.0.1:8443")).unwrap();
        let environment =
            ClientEnvironment { config_dir: Some(folder.clone()), ..ClientEnvironment::default() };
        let at = |address: &str| Global { address: Some(address.to_owned()), ..Global::default() };
        assert_eq!(key(&Global::default(), &environment).as_deref(), Some("chk_context"));
        assert_eq!(
            key(&at("https://127.0.0.1:8443/"), &environment).as_deref(),
            Some("chk_context")
        );
        assert_eq!(key(&at("https://elsewhere:8443"), &environment), None);
        let named = Global { context: Some("dev".to_owned()), ..at("https://elsewhere:8443") };
        assert_eq!(key(&named, &environment), None);

        let richer = ClientEnvironment {
            api_key: Some(SecretText::new("chk_env".to_owned())),
            ..environment
        };
        assert_eq!(key(&Global::default(), &richer).as_deref(), Some("chk_env"));
        let named = Global { context: Some("dev".to_owned()), ..Global::default() };
        assert_eq!(key(&named, &richer).as_deref(), Some("chk_context"));
    }

    #[test]
    fn a_file_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = save_context(Some(folder.path()), "dev", context("unix:/x")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Contexts::load(Some(folder.path())).is_err());
    }

    #[test]
    fn a_broken_file_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        write_private(&file(folder.path()), b"api_key = chk_canary").unwrap();
        let failure = Contexts::load(Some(folder.path())).unwrap_err();
        assert!(!failure.message.contains("canary"));
    }
}
