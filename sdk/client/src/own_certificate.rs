//! The certificate a client shows, read again when its files have changed: what rotates it (SPIRE,
//! cert-manager) writes new files and tells nobody.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::Error;

/// Files of a certificate and its key, and what they said.
pub(crate) struct OwnCertificate {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: Mutex<(Looks, Arc<CertifiedKey>)>,
}

/// What the system says about both files.
type Looks = [Option<(u64, u64, i64, i64)>; 2];

impl OwnCertificate {
    /// Reads both files.
    pub(crate) fn read(
        cert: PathBuf,
        key: PathBuf,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let looks = [look(&cert), look(&key)];
        let current = Mutex::new((looks, Arc::new(pair(&cert, &key, &provider)?)));
        Ok(Self { cert, key, provider, current })
    }
}

impl std::fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnCertificate").field("cert", &self.cert).finish_non_exhaustive()
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let looks = [look(&self.cert), look(&self.key)];
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Half a change does not load; the old pair is shown until the other half is there.
        if current.0 != looks
            && let Ok(fresh) = pair(&self.cert, &self.key, &self.provider)
        {
            *current = (looks, Arc::new(fresh));
        }
        Some(Arc::clone(&current.1))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn look(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.dev(), facts.ino(), facts.mtime(), facts.mtime_nsec()))
}

fn pair(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    let pem = std::fs::read(cert).map_err(unreadable(cert))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain
        .ok_or_else(|| Error::Tls(format!("`{}` holds no PEM certificate", cert.display())))?;
    let mode = std::fs::metadata(key).map_err(unreadable(key))?.permissions().mode();
    if mode & 0o007 != 0 {
        let message = "others can read this private key; run `chmod 600` on it";
        return Err(Error::Tls(format!("`{}`: {message}", key.display())));
    }
    let pem = Zeroizing::new(std::fs::read(key).map_err(unreadable(key))?);
    let secret = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| Error::Tls(format!("`{}` holds no private key", key.display())))?;
    CertifiedKey::from_der(chain, secret, provider).map_err(|error| {
        let (cert, key) = (cert.display(), key.display());
        Error::Tls(format!("`{cert}` and `{key}` do not go together: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_files_are_shown_once_both_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        let write = |path: &Path, text: &str| {
            let beside = path.with_extension("new");
            std::fs::write(&beside, text).unwrap();
            std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::rename(beside, path).unwrap();
        };
        let make = || rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
        let (one, two) = (make(), make());
        write(&cert, &one.cert.pem());
        write(&key, &one.signing_key.serialize_pem());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let read = || OwnCertificate::read(cert.clone(), key.clone(), Arc::clone(&provider));
        let own = read().unwrap();
        let shown = || own.resolve(&[], &[]).unwrap().cert.first().cloned().unwrap();
        assert_eq!(shown(), *one.cert.der());
        write(&cert, &two.cert.pem());
        assert_eq!(shown(), *one.cert.der(), "half a change");
        assert!(read().unwrap_err().to_string().contains("do not go together"));
        write(&key, &two.signing_key.serialize_pem());
        assert_eq!(shown(), *two.cert.der());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read().unwrap_err().to_string().contains("chmod 600"));
    }
}
