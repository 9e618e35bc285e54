//! TLS for the TCP listeners: rustls with aws-lc-rs, 1.3 unless 1.2 is asked for, and a certificate
//! that can be replaced while connections are open.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::{TlsConfig, TlsVersion};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("`{}`: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Others can read the key.
    #[error(
        "`{}` has mode {mode:04o}: others can read this private key; run `chmod 600` on it",
        path.display()
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Certificate and key do not work together.
    #[error("`{}` and `{}`: {message}", cert.display(), key.display())]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// rustls refuses the settings.
    #[error("tls: {0}")]
    Setup(#[from] rustls::Error),
}

/// The listener's identity. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls {
    files: Arc<(PathBuf, PathBuf)>,
    current: Arc<Current>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files of `config`; `None` when it names none.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what to do.
    pub fn load(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) else {
            return Ok(None);
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Arc::new(Current(ArcSwap::from(read_pair(cert, key, &provider)?)));
        let versions: &[&rustls::SupportedProtocolVersion] = match config.min_version {
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let files = Arc::new((cert.clone(), key.clone()));
        Ok(Some(Self { files, current, server: Arc::new(server) }))
    }

    /// Reads the files again. New connections use what they say now; on an error nothing changes.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let (cert, key) = &*self.files;
        let pair = read_pair(cert, key, &aws_lc_rs::default_provider())?;
        self.current.0.store(pair);
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.server))
    }
}

/// The certificate of the next handshake.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn read_pair(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let content = |path: &Path, message: String| TlsError::Content { path: path.into(), message };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|error| content(cert, format!("not a PEM certificate: {}", pem_words(&error))))?;
    if chain.is_empty() {
        return Err(content(cert, "holds no `BEGIN CERTIFICATE` block".into()));
    }
    refuse_exposed(key)?;
    let secret = PrivateKeyDer::from_pem_slice(&zeroizing(read(key)?))
        .map_err(|error| content(key, format!("no usable private key: {}", pem_words(&error))))?;
    let pair = CertifiedKey::from_der(chain, secret, provider).map_err(|error| {
        let message = match error {
            rustls::Error::InconsistentKeys(_) => {
                "the private key does not belong to the certificate".to_owned()
            }
            other => other.to_string(),
        };
        TlsError::Pair { cert: cert.into(), key: key.into(), message }
    })?;
    Ok(Arc::new(pair))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })
}

/// Group access is left to the operator: Kubernetes gives it to a pod's `fsGroup`.
fn refuse_exposed(path: &Path) -> Result<(), TlsError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| TlsError::Read { path: path.into(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(TlsError::Exposed { path: path.into(), mode });
    }
    Ok(())
}

/// The key text is erased after parsing.
fn zeroizing(text: Vec<u8>) -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new(text)
}

fn pem_words(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "there is no such PEM block in it".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn load(cert: &Path, key: &Path) -> Result<Option<Tls>, TlsError> {
        Tls::load(&TlsConfig {
            cert_file: Some(cert.into()),
            key_file: Some(key.into()),
            min_version: TlsVersion::V1_3,
        })
    }

    #[test]
    fn mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let two = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let cert = write(dir.path(), "cert", &one.cert.pem(), 0o644);
        let key = write(dir.path(), "key", &one.signing_key.serialize_pem(), 0o600);
        let other = write(dir.path(), "other", &two.signing_key.serialize_pem(), 0o600);
        let exposed = write(dir.path(), "exposed", &one.signing_key.serialize_pem(), 0o644);
        let error = |cert: &Path, key: &Path| load(cert, key).unwrap_err().to_string();

        let tls = load(&cert, &key).unwrap().unwrap();
        assert!(error(&cert, &exposed).contains("chmod 600"));
        assert!(error(&cert, &other).contains("does not belong"));
        assert!(error(&key, &key).contains("BEGIN CERTIFICATE"));
        assert!(error(&cert, &cert.with_file_name("none")).contains("cannot read"));
        let not_a_key = write(dir.path(), "not", &one.cert.pem(), 0o600);
        assert!(error(&cert, &not_a_key).contains("no usable private key"));

        let before = tls.current.0.load_full();
        write(dir.path(), "cert", &two.cert.pem(), 0o644);
        assert!(tls.reload().is_err(), "half a change is no change");
        assert!(Arc::ptr_eq(&before, &tls.current.0.load_full()));
        write(dir.path(), "key", &two.signing_key.serialize_pem(), 0o600);
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.current.0.load_full()));
    }
}
