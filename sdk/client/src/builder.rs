//! Making a [`Client`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hub_model::secret::SecretText;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use zeroize::Zeroizing;

use crate::client::{Options, Shared};
use crate::connect::Connector;
use crate::retry::Budget;
use crate::token::{Credential, TokenFile};
use crate::{Address, Client, Error, RetryPolicy};

/// Most bytes an API key file may hold.
const MAX_KEY_FILE: u64 = 4096;

/// Settings of a [`Client`]. Begin with [`Client::builder`].
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    address: String,
    api_key: Option<SecretText>,
    api_key_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    timeout: Duration,
    connect_timeout: Duration,
    retry: RetryPolicy,
}

impl ClientBuilder {
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            api_key: None,
            api_key_file: None,
            token_file: None,
            ca_file: None,
            certificate: None,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            retry: RetryPolicy::default(),
        }
    }

    /// The API key (`chk_…`).
    pub fn api_key(mut self, key: SecretText) -> Self {
        self.api_key = Some(key);
        self
    }

    /// A file that holds the API key; white space around it is ignored. Read once, by
    /// [`Self::build`].
    pub fn api_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.api_key_file = Some(path.into());
        self
    }

    /// A file that holds a token (JWT) of an issuer that the hub knows, used where no API key is
    /// given; white space around it is ignored. Read again when it changes, as projected tokens of
    /// Kubernetes do.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// A file of PEM certificates to trust in addition to the machine's authorities.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Files of the certificate to show to the hub (PEM, leaf first) and of its private key, which
    /// others must not be able to read. Read again for new connections when they have changed, so
    /// short-lived certificates can be renewed in place. Means nothing without https.
    pub fn client_certificate(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((cert.into(), key.into()));
        self
    }

    /// The deadline of every call, its retries included; 30 seconds when not said.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long one connection may take to come about; 5 seconds when not said.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How calls are repeated.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// The client. Nothing is sent yet; connections come about with the first call, which must be
    /// made inside a Tokio runtime.
    ///
    /// # Errors
    /// A malformed address or API key, an unreadable file, or an API key that would cross the
    /// network in the clear.
    pub fn build(self) -> Result<Client, Error> {
        let address: Arc<Address> = Arc::new(self.address.parse()?);
        let api_key = match (self.api_key, &self.api_key_file) {
            (Some(key), _) => Some(key),
            (None, Some(path)) => Some(read_api_key(path)?),
            (None, None) => None,
        };
        let proves = api_key.is_some() || self.token_file.is_some();
        if proves && !address.is_private() {
            return Err(Error::PlainHttp(address.to_string()));
        }
        let credential = match (&api_key, &self.token_file) {
            (Some(key), _) => Credential::Fixed(authorization(key)?),
            (None, Some(path)) => Credential::File(TokenFile::open(path)?),
            (None, None) => Credential::None,
        };
        let connector = Connector::new(
            address.clone(),
            self.ca_file.as_deref(),
            self.certificate,
            self.connect_timeout,
        )?;
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(64)
            .build(connector);
        let shared = Shared {
            http,
            base: address.base(),
            address: address.to_string(),
            credential,
            budget: Budget::new(self.retry.budget),
            retry: self.retry,
        };
        Ok(Client::new(shared, Options::new(self.timeout)))
    }
}

/// Reads an API key file, without leaving a copy behind.
fn read_api_key(path: &Path) -> Result<SecretText, Error> {
    use std::io::Read as _;

    let unreadable = |source| Error::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // INVARIANT: the capacity exceeds what is read, so the vector never moves.
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
    file.take(MAX_KEY_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::ApiKey)?.trim();
    Ok(SecretText::new(text.to_owned()))
}

fn authorization(key: &SecretText) -> Result<HeaderValue, Error> {
    let key = key.expose_secret();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::ApiKey);
    }
    let text = Zeroizing::new(format!("Bearer {key}"));
    let mut value = HeaderValue::from_str(&text).map_err(|_| Error::ApiKey)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_key_stays_on_this_machine_without_tls() {
        let key = || SecretText::new("chk_x".to_owned());
        let build = |address| Client::builder(address).api_key(key()).build();
        assert!(matches!(build("http://10.0.0.1:80"), Err(Error::PlainHttp(_))));
        assert!(build("http://127.0.0.1:80").is_ok());
        assert!(Client::builder("http://10.0.0.1:80").build().is_ok());
    }

    #[test]
    fn api_keys_are_checked_and_never_shown() {
        for bad in ["", "chk_ x", "chk_\n", "chk_é"] {
            let built = Client::builder("http://127.0.0.1:80")
                .api_key(SecretText::new(bad.to_owned()))
                .build();
            assert!(matches!(built, Err(Error::ApiKey)), "{bad:?}");
        }
        let client = Client::builder("http://127.0.0.1:80")
            .api_key(SecretText::new("chk_canary".to_owned()))
            .build()
            .unwrap();
        assert!(!format!("{client:?}").contains("canary"));
    }
}
