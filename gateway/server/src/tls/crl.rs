//! Certificate revocation lists (RFC 5280 §5), as files. Complete lists only: webpki refuses delta
//! and indirect ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hub_model::Timestamp;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT,
};
use x509_parser::prelude::{CertificateRevocationList as Parsed, FromDer as _};

use super::expiry::{Dated, Kind};
use super::peer::instant;
use super::{TlsError, read, refuse_writable};

/// The most lists; each is looked at by every handshake.
const MAX_LISTS: usize = 1000;

/// The newest list of each issuer, key and scope.
#[derive(Debug)]
pub(super) struct Lists {
    /// By issuer and scope: usually one, several while an authority changes its key under one name.
    groups: Vec<Vec<Known>>,
    dated: Vec<Dated>,
}

#[derive(Debug)]
struct Known {
    list: CertRevocationList<'static>,
    issuer: Vec<u8>,
    /// The identifier of the key that has signed it, where it says so.
    key: Option<Vec<u8>>,
}

/// A list and what decides whether it is the newest.
pub(super) struct Found {
    known: Known,
    dated: Dated,
    number: Vec<u8>,
}

/// Issuer and scope.
pub(super) type Scope = (Vec<u8>, Option<Vec<u8>>);

impl Lists {
    /// Reads the files, and all files of the folder. Those that say nothing else than a newer one
    /// of the same issuer are left out (RFC 5280 §5.2.3).
    ///
    /// # Errors
    /// A file that cannot be read or holds no list, or no list at all: then nothing would be known
    /// about any certificate.
    pub(super) fn read(files: &[PathBuf], folder: Option<&Path>) -> Result<Self, TlsError> {
        let mut paths = files.to_vec();
        if let Some(folder) = folder {
            let found = files_in(folder)?;
            if found.is_empty() {
                let message = "holds no revocation list; it is refused rather than believing \
                               revoked certificates";
                return Err(content(folder, message));
            }
            paths.extend(found);
        }
        let mut groups: BTreeMap<Scope, BTreeMap<Option<Vec<u8>>, Found>> = BTreeMap::new();
        let mut count = 0_usize;
        for path in &paths {
            for der in ders(path)? {
                count += 1;
                if count > MAX_LISTS {
                    return Err(content(path, "there are too many revocation lists"));
                }
                let (scope, key, found) = parse(path, &der)?;
                let group = groups.entry(scope).or_default();
                match group.get(&key) {
                    Some(there) if there.age() >= found.age() => {}
                    _ => {
                        group.insert(key, found);
                    }
                }
            }
        }
        let mut dated = Vec::new();
        let groups = groups.into_values().map(|group| {
            // Keys can be told apart only where every list names its own.
            let one = group.contains_key(&None);
            let mut all: Vec<Found> = group.into_values().collect();
            all.sort_by(|a, b| b.age().cmp(&a.age()));
            if one {
                all.truncate(1);
            }
            all.into_iter()
                .map(|found| {
                    dated.push(found.dated);
                    found.known
                })
                .collect()
        });
        let groups = groups.collect();
        Ok(Self { groups, dated })
    }

    /// Selections of one list of each group: webpki believes the first list of an issuer's name,
    /// whichever key has signed it.
    pub(super) fn combinations(&self) -> impl Iterator<Item = Vec<&CertRevocationList<'static>>> {
        let most = self.groups.iter().map(Vec::len).max().unwrap_or(0);
        (0..most).map(|n| {
            let one = |group: &'_ Vec<Known>| n % group.len().max(1);
            let chosen = self.groups.iter().filter_map(|group| group.get(one(group)));
            chosen.map(|known| &known.list).collect()
        })
    }

    /// Whether any list of this issuer names the number, whatever its scope: webpki asks only one.
    /// `foreign` tells keys whose lists say nothing about this certificate.
    pub(super) fn name(
        &self,
        issuer: &[u8],
        serial: &[u8],
        foreign: impl Fn(&[u8]) -> bool,
    ) -> bool {
        let of_issuer = self.groups.iter().flatten().filter(|known| known.issuer == issuer);
        let mut asked = of_issuer.filter(|known| !known.key.as_deref().is_some_and(&foreign));
        // A list that cannot be searched is no reason to believe.
        asked.any(|known| !matches!(known.list.find_serial(serial), Ok(None)))
    }

    /// When they end.
    pub(super) fn dated(&self) -> impl Iterator<Item = Dated> {
        self.dated.iter().cloned()
    }
}

impl Found {
    /// Greater is newer. Numbers grow (§5.2.3); shorter ones are smaller.
    fn age(&self) -> (Timestamp, usize, &[u8]) {
        (self.dated.not_before, self.number.len(), &self.number)
    }
}

fn content(path: &Path, message: &str) -> TlsError {
    TlsError::Content { path: path.into(), message: message.to_owned() }
}

/// Regular files of a folder, in order. Names that begin with a dot are how Kubernetes swaps all of
/// them at once.
pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let failed = |source| TlsError::Read { path: folder.into(), source };
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        if !hidden && std::fs::metadata(&path).map_err(failed)?.is_file() {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// The lists of a file: one in DER, or some in PEM.
fn ders(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    refuse_writable(path)?;
    let bytes = read(path)?;
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match lists {
        Ok(lists) if !lists.is_empty() => Ok(lists),
        _ => Err(content(path, "holds no revocation list (`BEGIN X509 CRL`, or DER)")),
    }
}

pub(super) fn parse(
    path: &Path,
    der: &CertificateRevocationListDer<'_>,
) -> Result<(Scope, Option<Vec<u8>>, Found), TlsError> {
    let failed = |error: &dyn std::fmt::Display| {
        content(path, &format!("holds a revocation list that cannot be used: {error}"))
    };
    let owned = OwnedCertRevocationList::from_der(der).map_err(|error| failed(&error))?;
    let (_, parsed) = Parsed::from_der(der).map_err(|_| failed(&"it cannot be read"))?;
    let Some(end) = parsed.next_update() else {
        return Err(failed(&"it does not say when the next one comes (nextUpdate)"));
    };
    let extension = |oid| {
        let mut found = parsed.extensions().iter().filter(|extension| extension.oid == oid);
        found.next().map(|extension| extension.value.to_vec())
    };
    let scope = extension(OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
    let key = extension(OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER);
    let number = parsed.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default();
    let dated = Dated {
        kind: Kind::ClientCrl,
        name: parsed.issuer().to_string(),
        not_before: instant(parsed.last_update()),
        not_after: instant(end),
    };
    let issuer = parsed.tbs_cert_list.issuer.as_raw().to_vec();
    let key_identifier = parsed.extensions().iter().find_map(|one| match one.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(found) => {
            found.key_identifier.as_ref().map(|key| key.0.to_vec())
        }
        _ => None,
    });
    let known = Known { list: owned.into(), issuer: issuer.clone(), key: key_identifier };
    Ok(((issuer, scope), key, Found { known, dated, number }))
}
