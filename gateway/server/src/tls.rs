//! TLS for the TCP listeners: rustls with aws-lc-rs, 1.3 unless 1.2 is asked for, client
//! certificates where they are asked for, and files that can be replaced while connections are open.
//!
//! INVARIANT: a connection with a client certificate was verified against the trust of now. Each
//! registers in [`live`] before it is served, and each change of trust looks at all of them again.

mod crl;
mod expiry;
mod files;
mod keeper;
mod live;
mod peer;
#[cfg(test)]
mod tests;
mod trust;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hub_auth::ClientCertificate;
use hub_model::clock::SystemClock;
use hub_model::{Clock, Timestamp};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ServerConnection, StoresServerSessions};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::{ClientAuth, TlsConfig, TlsVersion};
use crl::Lists;
use expiry::{Dated, Kind};
use files::Look;
use live::{Chain, Entry, Live};
use trust::Trust;

pub(crate) use keeper::keep;

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

/// The listener's identity, and whom it believes. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: TlsConfig,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Current>,
    /// Counts changes of trust.
    epoch: AtomicU64,
    live: Arc<Live>,
    /// The files as they were before they were last read.
    seen: Mutex<Look>,
    /// Whether what the files say is not what is in use.
    stale: AtomicBool,
    /// When trust changes next by time alone, in microseconds.
    next_change: AtomicI64,
    sessions: Arc<dyn StoresServerSessions>,
}

/// What the files said.
#[derive(Debug)]
struct Current {
    server: Arc<ServerConfig>,
    trust: Option<Arc<Trust>>,
    dated: Vec<Dated>,
}

/// A handshake that begins.
pub(crate) struct Handshake {
    pub(crate) acceptor: TlsAcceptor,
    epoch: u64,
}

/// The other end of a connection with a client certificate. Hold it as long as the connection.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) certificate: Arc<ClientCertificate>,
    /// How long the connection takes new requests.
    pub(crate) age: Duration,
    entry: Entry,
}

impl Shown {
    /// Cancelled when the certificate is no longer believed.
    pub(crate) const fn cut(&self) -> &CancellationToken {
        self.entry.cut()
    }
}

impl Tls {
    /// Reads the files of `config`; `None` when it names none.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what to do.
    pub fn load(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        Self::load_at(config, Arc::new(SystemClock))
    }

    /// As [`Tls::load`], with a clock that says when certificates are good.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn load_at(config: &TlsConfig, clock: Arc<dyn Clock>) -> Result<Option<Self>, TlsError> {
        if config.cert_file.is_none() || config.key_file.is_none() {
            return Ok(None);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        // A resumed session would skip what has been revoked since (CVE-2022-41316): with client
        // certificates each connection shows its own.
        let sessions: Arc<dyn StoresServerSessions> = match config.client_auth {
            ClientAuth::Off => rustls::server::ServerSessionMemoryCache::new(SESSIONS),
            ClientAuth::Optional | ClientAuth::Required => Arc::new(NoServerSessionStorage {}),
        };
        let look = Look::at(config);
        let current = Current::read(config, &clock, &provider, &sessions)?;
        let next_change = AtomicI64::new(current.next_change(clock.now()).as_micros());
        Ok(Some(Self(Arc::new(Shared {
            config: config.clone(),
            clock,
            provider,
            current: ArcSwap::from_pointee(current),
            epoch: AtomicU64::new(0),
            live: Arc::default(),
            seen: Mutex::new(look),
            stale: AtomicBool::new(false),
            next_change,
            sessions,
        }))))
    }

    /// Reads the files again. New connections use what they say now; open ones whose client
    /// certificate is no longer believed are cut, and their number is given. On an error nothing
    /// changes.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn reload(&self) -> Result<usize, TlsError> {
        let shared = &*self.0;
        // Before reading: what changes meanwhile is seen as a change later.
        // Held until stored: of two reloads the one that read earlier must not store later.
        let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Look::at(&shared.config);
        let read = Current::read(&shared.config, &shared.clock, &shared.provider, &shared.sessions);
        shared.stale.store(read.is_err(), Ordering::Relaxed);
        shared.current.store(Arc::new(read?));
        drop(seen);
        Ok(self.look_again())
    }

    /// Cuts open connections whose client certificate is not good by the trust and clock of now.
    fn look_again(&self) -> usize {
        let shared = &*self.0;
        // After what it is about, before the list is read: a connection that registers later sees
        // the new number, and looks by itself.
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        let current = shared.current.load_full();
        let now = shared.clock.now();
        shared.next_change.store(current.next_change(now).as_micros(), Ordering::Relaxed);
        shared.live.cut_unless(|chain| current.believes(chain, now))
    }

    pub(crate) fn handshake(&self) -> Handshake {
        let epoch = self.0.epoch.load(Ordering::SeqCst);
        let server = Arc::clone(&self.0.current.load().server);
        Handshake { acceptor: TlsAcceptor::from(server), epoch }
    }

    /// What a finished handshake has shown; `None` for no certificate, an error for one that is not
    /// believed any more or says nothing that can be read.
    pub(crate) fn shown(
        &self,
        handshake: &Handshake,
        connection: &ServerConnection,
    ) -> Result<Option<Shown>, &'static str> {
        let Some(chain) = connection.peer_certificates() else { return Ok(None) };
        let shared = &*self.0;
        let leaf = chain.first().ok_or("certificate_missing")?;
        let certificate =
            peer::certificate(leaf, &shared.config.client_identity).ok_or("certificate_invalid")?;
        let chain: Chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        let entry = shared.live.enter(Arc::clone(&chain));
        if shared.epoch.load(Ordering::SeqCst) != handshake.epoch
            && !shared.current.load().believes(&chain, shared.clock.now())
        {
            return Err("certificate_revoked");
        }
        // An intermediate may end before the leaf. One that has ended already was not needed.
        let now = shared.clock.now();
        let ends = chain.iter().filter_map(end).filter(|end| *end >= now);
        let left = ends.fold(certificate.not_after, Ord::min).since(now);
        let age = shared.config.client_max_connection_age.min(left);
        Ok(Some(Shown { certificate: Arc::new(certificate), age, entry }))
    }

    /// What an operator should know about ends that are near.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let now = self.0.clock.now();
        let current = self.0.current.load();
        let mut all: Vec<String> = current.dated.iter().filter_map(|d| d.notice(now)).collect();
        if self.stale() {
            all.push(
                "the files of server.tls were changed and cannot be used; the old ones stay \
                      in use (the log says why)"
                    .to_owned(),
            );
        }
        all
    }

    /// Whether what the files say could not be taken into use.
    #[must_use]
    pub fn stale(&self) -> bool {
        self.0.stale.load(Ordering::Relaxed)
    }

    /// The first end among things of a kind.
    fn earliest(&self, kind: Kind) -> Option<Timestamp> {
        let current = self.0.current.load();
        let ends = current.dated.iter().filter(|dated| dated.kind == kind);
        ends.map(|dated| dated.not_after).min()
    }
}

/// Why a handshake failed, when that is about a client's certificate.
pub(crate) fn refusal(error: &std::io::Error) -> Option<&'static str> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(trust::reason(inner)).filter(|reason| *reason != "handshake")
}

/// Sessions remembered where no client certificates are asked for.
const SESSIONS: usize = 256;

impl Current {
    fn read(
        config: &TlsConfig,
        clock: &Arc<dyn Clock>,
        provider: &Arc<CryptoProvider>,
        sessions: &Arc<dyn StoresServerSessions>,
    ) -> Result<Self, TlsError> {
        let none = PathBuf::new();
        let cert = config.cert_file.as_ref().unwrap_or(&none);
        let key = config.key_file.as_ref().unwrap_or(&none);
        let pair = read_pair(cert, key, provider)?;
        let trust = match (config.client_auth, &config.client_ca_file) {
            (ClientAuth::Off, _) | (_, None) => None,
            (asked, Some(path)) => {
                let mandatory = asked == ClientAuth::Required;
                Some(Arc::new(read_trust(config, path, mandatory, provider)?))
            }
        };
        let mut dated: Vec<Dated> = pair.cert.first().and_then(server_dates).into_iter().collect();
        dated.extend(trust.iter().flat_map(|trust| trust.dated().iter().cloned()));
        let versions: &[&rustls::SupportedProtocolVersion] = match config.min_version {
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let time = Arc::new(Time(Arc::clone(clock)));
        let builder = ServerConfig::builder_with_details(Arc::clone(provider), time)
            .with_protocol_versions(versions)?;
        let builder = match &trust {
            None => builder.with_no_client_auth(),
            Some(trust) => builder.with_client_cert_verifier(Arc::clone(trust) as Arc<_>),
        };
        let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.session_storage = Arc::clone(sessions);
        // INVARIANT: no early data, which could be replayed; no tickets where sessions end at once.
        server.max_early_data_size = 0;
        if trust.is_some() {
            server.send_tls13_tickets = 0;
        }
        Ok(Self { server: Arc::new(server), trust, dated })
    }

    fn believes(&self, chain: &Chain, now: Timestamp) -> bool {
        let verified = self.trust.as_ref().map(|trust| trust.verify(chain, unix(now)));
        verified.is_some_and(|outcome| outcome.is_ok())
    }

    fn next_change(&self, now: Timestamp) -> Timestamp {
        self.trust.as_ref().map_or(Timestamp::MAX, |trust| trust.next_change(now))
    }
}

/// The hub's clock, for rustls.
#[derive(Debug)]
struct Time(Arc<dyn Clock>);

impl rustls::time_provider::TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.now()))
    }
}

fn unix(time: Timestamp) -> UnixTime {
    let micros = u64::try_from(time.as_micros()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_micros(micros))
}

fn end(der: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    Some(peer::instant(parsed.validity().not_after))
}

fn server_dates(leaf: &CertificateDer<'_>) -> Option<Dated> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    Some(Dated {
        kind: Kind::Server,
        name: parsed.subject().to_string(),
        not_before: peer::instant(parsed.validity().not_before),
        not_after: peer::instant(parsed.validity().not_after),
    })
}

fn read_trust(
    config: &TlsConfig,
    path: &Path,
    mandatory: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Trust, TlsError> {
    refuse_writable(path)?;
    let asked = !config.client_crl_files.is_empty() || config.client_crl_dir.is_some();
    let lists = asked
        .then(|| Lists::read(&config.client_crl_files, config.client_crl_dir.as_deref()))
        .transpose()?;
    let content = |message: String| TlsError::Content { path: path.into(), message };
    Trust::new(&certificates(path)?, lists, mandatory, provider).map_err(content)
}

/// The certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |message: String| TlsError::Content { path: path.into(), message };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| content(format!("not a PEM certificate: {}", pem_words(&error))))?;
    if chain.is_empty() {
        return Err(content("holds no `BEGIN CERTIFICATE` block".into()));
    }
    Ok(chain)
}

fn read_pair(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let content = |path: &Path, message: String| TlsError::Content { path: path.into(), message };
    let chain = certificates(cert)?;
    refuse_exposed(key)?;
    let secret = PrivateKeyDer::from_pem_slice(&zeroizing(read(key)?))
        .map_err(|error| content(key, format!("no usable private key: {}", pem_words(&error))))?;
    CertifiedKey::from_der(chain, secret, provider).map_err(|error| {
        let message = match error {
            rustls::Error::InconsistentKeys(_) => {
                "the private key does not belong to the certificate".to_owned()
            }
            other => other.to_string(),
        };
        TlsError::Pair { cert: cert.into(), key: key.into(), message }
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })
}

/// Whoever can write it says who is believed.
fn refuse_writable(path: &Path) -> Result<(), TlsError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| TlsError::Read { path: path.into(), source })?;
    if metadata.permissions().mode() & 0o002 == 0 {
        return Ok(());
    }
    let message = "everybody can write this file; run `chmod o-w` on it".to_owned();
    Err(TlsError::Content { path: path.into(), message })
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
mod file_tests {
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
            ..TlsConfig::default()
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

        let current = || tls.0.current.load_full();
        let before = current();
        write(dir.path(), "cert", &two.cert.pem(), 0o644);
        assert!(tls.reload().is_err() && tls.stale(), "half a change is no change");
        assert!(Arc::ptr_eq(&before, &current()));
        write(dir.path(), "key", &two.signing_key.serialize_pem(), 0o600);
        tls.reload().unwrap();
        assert!(!tls.stale());
        assert!(!Arc::ptr_eq(&before, &current()));
    }
}
