//! `cipher-hub dev-ca`: an authority in a folder, for trying mutual TLS. Its key lies beside its
//! certificate; for production there are authorities that keep theirs better.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hub_model::clock::SystemClock;
use hub_model::{Clock as _, Identity, Timestamp};
use hub_store::durable_file::{self, FolderError, make_private};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// Certificates begin this long before they are made: clocks differ.
const SLACK: Duration = Duration::from_secs(60);
/// File names that are taken.
const RESERVED: [&str; 3] = ["ca", "crl", "index"];

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file that is there already.
    #[error("`{}` is there already and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// A folder without an authority.
    #[error("there is no authority in `{}`", .0.display())]
    NoAuthority(PathBuf),
    /// A file that cannot be read or written.
    #[error("`{}`: {message}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A name no certificate can have.
    #[error("{0}")]
    Name(String),
    /// A certificate this authority has not issued.
    #[error("`{0}` is no certificate, serial number or name this authority has issued")]
    NotIssued(String),
    /// It cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Made(#[from] rcgen::Error),
}

/// What a certificate is for, and whom it names.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// A server: host names and addresses.
    Server {
        /// Host names.
        dns: Vec<String>,
        /// Addresses.
        ip: Vec<IpAddr>,
    },
    /// A client.
    Client {
        /// A SPIFFE id.
        spiffe: Option<String>,
        /// Host names.
        dns: Vec<String>,
        /// Mail addresses.
        email: Vec<String>,
        /// Other URIs.
        uri: Vec<String>,
    },
}

/// A certificate that was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The certificate.
    pub(crate) cert: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Its serial number, in hexadecimal digits.
    pub(crate) serial: String,
    /// Its end.
    pub(crate) not_after: Timestamp,
}

/// What the authority has done.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Index {
    crl_number: u64,
    issued: Vec<Issued>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Issued {
    serial: String,
    name: String,
    not_after: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<Timestamp>,
}

/// An authority's folder.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// The authority of a folder, which may not be there yet.
    #[must_use]
    pub(crate) fn at(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { folder: std::path::absolute(&folder).unwrap_or(folder) }
    }

    /// Its certificate.
    #[must_use]
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Its revocation list.
    #[must_use]
    pub(crate) fn list(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    fn index(&self) -> PathBuf {
        self.folder.join("index.json")
    }

    /// Makes it, with an empty revocation list. Gives its end.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is one; else why it cannot be written.
    pub(crate) fn init(
        &self,
        name: &str,
        life: Duration,
        list: Duration,
    ) -> Result<Timestamp, Error> {
        let files = [self.certificate(), self.key(), self.list(), self.index()];
        if let Some(there) = files.into_iter().find(|path| path.exists()) {
            return Err(Error::Exists(there));
        }
        make_private(&self.folder)?;
        let end = SystemClock.now().plus(life);
        let mut params = dated(name, end);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write(&self.key(), Zeroizing::new(key.serialize_pem()).as_bytes())?;
        write(&self.certificate(), certificate.pem().as_bytes())?;
        self.keep(&Index::default())?;
        self.write_list(list)?;
        Ok(end)
    }

    /// Issues a certificate into `NAME.pem` and `NAME.key`.
    ///
    /// # Errors
    /// A name that cannot be, files that are there, or no authority.
    pub(crate) fn issue(
        &self,
        name: &str,
        subject: &Subject,
        life: Duration,
    ) -> Result<Made, Error> {
        check_name(name)?;
        let (cert, key_file) = (self.file(name, "pem"), self.file(name, "key"));
        if let Some(there) = [&cert, &key_file].into_iter().find(|path| path.exists()) {
            return Err(Error::Exists(there.clone()));
        }
        let issuer = self.issuer()?;
        let mut index = self.read_index()?;
        let end = SystemClock.now().plus(life);
        let mut params = dated(name, end);
        params.subject_alt_names = names(subject)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match subject {
            Subject::Server { .. } => ExtendedKeyUsagePurpose::ServerAuth,
            Subject::Client { .. } => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let mut serial = [0_u8; 16];
        hub_crypto::random::fill(&mut serial);
        // Positive, and of one length (RFC 5280 §4.1.2.2).
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let serial = hex(&serial);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        // In the index first: what is not in it cannot be revoked by name.
        let issued =
            Issued { serial: serial.clone(), name: name.to_owned(), not_after: end, revoked: None };
        index.issued.push(issued);
        self.keep(&index)?;
        write(&key_file, Zeroizing::new(key.serialize_pem()).as_bytes())?;
        write(&cert, certificate.pem().as_bytes())?;
        Ok(Made { cert, key: key_file, serial, not_after: end })
    }

    /// Revokes a certificate given by file, serial number or name (the newest of that name), and
    /// writes the list. Gives the serial number.
    ///
    /// # Errors
    /// [`Error::NotIssued`]; or files that cannot be read or written.
    pub(crate) fn revoke(&self, which: &str, list: Duration) -> Result<String, Error> {
        let mut index = self.read_index()?;
        let serial = serial_of_file(Path::new(which))
            .unwrap_or_else(|| which.replace(':', "").to_ascii_lowercase());
        let issued = &mut index.issued;
        let found = issued.iter().rposition(|one| one.serial == serial);
        let found = found.or_else(|| issued.iter().rposition(|one| one.name == which));
        let one = found.and_then(|at| issued.get_mut(at));
        let one = one.ok_or_else(|| Error::NotIssued(which.to_owned()))?;
        one.revoked.get_or_insert(SystemClock.now());
        let serial = one.serial.clone();
        self.keep(&index)?;
        self.write_list(list)?;
        Ok(serial)
    }

    /// Writes the revocation list again, good for `life`; gives its end.
    ///
    /// # Errors
    /// No authority, or files that cannot be written.
    pub(crate) fn write_list(&self, life: Duration) -> Result<Timestamp, Error> {
        let issuer = self.issuer()?;
        let mut index = self.read_index()?;
        index.crl_number += 1;
        let now = SystemClock.now();
        let end = now.plus(life);
        let revoked = index.issued.iter().filter_map(|one| {
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&unhex(&one.serial)?),
                revocation_time: date(one.revoked?),
                reason_code: None,
                invalidity_date: None,
            })
        });
        let params = CertificateRevocationListParams {
            this_update: date(now),
            next_update: date(end),
            crl_number: SerialNumber::from(index.crl_number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&issuer)?.pem()?;
        self.keep(&index)?;
        write(&self.list(), list.as_bytes())?;
        Ok(end)
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{name}.{extension}"))
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, Error> {
        if !self.certificate().exists() {
            return Err(Error::NoAuthority(self.folder.clone()));
        }
        let certificate = read(&self.certificate())?;
        let key = KeyPair::from_pem(&Zeroizing::new(read(&self.key())?))?;
        Ok(Issuer::from_ca_cert_pem(&certificate, key)?)
    }

    fn read_index(&self) -> Result<Index, Error> {
        let path = self.index();
        if !path.exists() {
            return Err(Error::NoAuthority(self.folder.clone()));
        }
        serde_json::from_str(&read(&path)?)
            .map_err(|error| Error::File { path, message: error.to_string() })
    }

    fn keep(&self, index: &Index) -> Result<(), Error> {
        let path = self.index();
        let text = serde_json::to_string_pretty(index)
            .map_err(|error| Error::File { path: path.clone(), message: error.to_string() })?;
        write(&path, text.as_bytes())
    }
}

fn dated(name: &str, end: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let begin = SystemClock.now().as_micros();
    let slack = i64::try_from(SLACK.as_micros()).unwrap_or_default();
    params.not_before = date(Timestamp::from_micros(begin.saturating_sub(slack)));
    params.not_after = date(end);
    params
}

/// Dates of certificates have whole seconds. Beyond what they can say: their last.
fn date(time: Timestamp) -> OffsetDateTime {
    const LAST: i64 = 253_402_300_799;
    let seconds = time.as_micros().div_euclid(1_000_000).clamp(0, LAST);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn names(subject: &Subject) -> Result<Vec<SanType>, Error> {
    let text = |text: &String| {
        Ia5String::try_from(text.as_str())
            .map_err(|_| Error::Name(format!("`{text}` is not ASCII")))
    };
    let mut all = Vec::new();
    match subject {
        Subject::Server { dns, ip } => {
            for name in dns {
                all.push(SanType::DnsName(text(name)?));
            }
            all.extend(ip.iter().copied().map(SanType::IpAddress));
        }
        Subject::Client { spiffe, dns, email, uri } => {
            let known = |method: &str, name: &String| {
                format!("{method}{name}").parse::<Identity>().map_err(|error| {
                    Error::Name(format!("no client can be known by `{name}`: {error}"))
                })
            };
            if let Some(id) = spiffe {
                known("", id)?;
                all.push(SanType::URI(text(id)?));
            }
            for name in uri {
                known("mtls:uri:", name)?;
                all.push(SanType::URI(text(name)?));
            }
            for name in dns {
                known("mtls:dns:", name)?;
                all.push(SanType::DnsName(text(name)?));
            }
            for name in email {
                known("mtls:email:", name)?;
                all.push(SanType::Rfc822Name(text(name)?));
            }
        }
    }
    Ok(all)
}

fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let good = (1..=64).contains(&name.len())
        && name.bytes().all(allowed)
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && !RESERVED.contains(&name);
    if good {
        return Ok(());
    }
    Err(Error::Name(format!(
        "`{name}` cannot name files here: 1 to 64 letters, digits and - _ . that begin with a \
         letter or digit, and not `ca`, `crl` or `index`"
    )))
}

/// The serial number of a PEM certificate, if that is what lies there.
fn serial_of_file(path: &Path) -> Option<String> {
    let der = CertificateDer::from_pem_file(path).ok()?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    Some(hex(parsed.raw_serial()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::File { path: path.into(), message: error.to_string() })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    durable_file::write_atomic(path, bytes, 0o600)
        .map_err(|error| Error::File { path: path.into(), message: error.to_string() })
}

/// Names of a server when nothing was asked: this machine.
#[must_use]
pub(crate) fn this_machine() -> Subject {
    let loopback: BTreeSet<IpAddr> =
        [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])].into();
    Subject::Server { dns: vec!["localhost".to_owned()], ip: loopback.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn client(spiffe: &str) -> Subject {
        let spiffe = Some(spiffe.to_owned());
        Subject::Client { spiffe, dns: vec![], email: vec![], uri: vec![] }
    }

    #[test]
    fn files_are_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::at(dir.path().join("ca"));
        let subject = client("spiffe://dev.example/a");
        assert!(matches!(ca.issue("a", &subject, DAY), Err(Error::NoAuthority(_))));
        ca.init("test", DAY, DAY).unwrap();
        let made = ca.issue("a", &subject, DAY).unwrap();
        assert!(matches!(ca.init("test", DAY, DAY), Err(Error::Exists(_))));
        assert!(matches!(ca.issue("a", &subject, DAY), Err(Error::Exists(_))));
        for name in ["ca", "../a", ".a", "", "a/b", "index"] {
            assert!(matches!(ca.issue(name, &subject, DAY), Err(Error::Name(_))), "{name}");
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("ca")), 0o700);
        for path in [&made.cert, &made.key, &ca.certificate(), &ca.list(), &ca.key(), &ca.index()] {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
        for bad in ["spiffe://Dev.example/a", "spiffe://dev.example", "http://a"] {
            let issued = ca.issue("b", &client(bad), DAY);
            assert!(matches!(issued, Err(Error::Name(_))), "{bad}");
        }
    }

    #[test]
    fn what_is_revoked_is_on_the_list_by_whatever_it_was_called() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::at(dir.path());
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        ca.init("test", DAY, DAY).unwrap();
        let made: Vec<Made> = ["a", "b", "c", "d"]
            .into_iter()
            .map(|name| ca.issue(name, &client("spiffe://dev.example/x"), DAY).unwrap())
            .collect();
        let colons = made[1].serial.to_ascii_uppercase();
        let colons: Vec<&str> = (0..16).map(|n| colons.get(2 * n..2 * n + 2).unwrap()).collect();
        assert_eq!(ca.revoke(&made[0].cert.display().to_string(), DAY).unwrap(), made[0].serial);
        assert_eq!(ca.revoke(&colons.join(":"), DAY).unwrap(), made[1].serial);
        assert_eq!(ca.revoke("c", DAY).unwrap(), made[2].serial);
        assert!(matches!(ca.revoke("nobody", DAY), Err(Error::NotIssued(_))));
        let pem = std::fs::read(ca.list()).unwrap();
        let der = rustls_pki_types::CertificateRevocationListDer::from_pem_slice(&pem).unwrap();
        let list = webpki::OwnedCertRevocationList::from_der(&der).unwrap();
        let list = webpki::CertRevocationList::from(list);
        for (n, made) in made.iter().enumerate() {
            let found = list.find_serial(&unhex(&made.serial).unwrap()).unwrap().is_some();
            assert_eq!(found, n < 3, "{n}");
        }
    }
}
