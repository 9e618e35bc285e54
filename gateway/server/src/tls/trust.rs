//! Which client certificates are believed: the configured authorities, minus what their lists have
//! revoked. A path is built by webpki; what that does not look at is looked at here: whether an
//! anchor is an authority at all, and whether it is still good.

use std::sync::Arc;

use hub_model::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth};
use webpki::{RevocationOptionsBuilder, UnknownStatusPolicy};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::crl::Lists;
use super::expiry::{Dated, Kind};
use super::peer::instant;

/// An authority clients may have their certificates from.
#[derive(Debug)]
struct Anchor {
    trust: TrustAnchor<'static>,
    /// Its name, and the identifier of its key.
    name: Vec<u8>,
    key: Option<Vec<u8>>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Verifies client certificates.
#[derive(Debug)]
pub(super) struct Trust {
    anchors: Vec<Anchor>,
    lists: Option<Lists>,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    /// For everything that is not about the path.
    inner: Arc<dyn ClientCertVerifier>,
    dated: Vec<Dated>,
}

impl Trust {
    /// Trust in these certificates. `lists` is none where revocation is not looked at.
    ///
    /// # Errors
    /// Says in words which certificate cannot be an authority.
    pub(super) fn new(
        authorities: &[CertificateDer<'static>],
        lists: Option<Lists>,
        mandatory: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        let mut anchors = Vec::new();
        let mut dated = Vec::new();
        for der in authorities {
            let certificate = authority(der)?;
            let subject = certificate.subject().to_string();
            let not_before = instant(certificate.validity().not_before);
            let not_after = instant(certificate.validity().not_after);
            let trust = webpki::anchor_from_trusted_cert(der)
                .map_err(|error| format!("`{subject}` cannot be an authority: {error}"))?
                .to_owned();
            store.roots.push(trust.clone());
            let key = key_identifier(&certificate);
            let name = certificate.subject().as_raw().to_vec();
            anchors.push(Anchor { trust, name, key, not_before, not_after });
            let name = subject;
            dated.push(Dated { kind: Kind::ClientCa, name, not_before, not_after });
        }
        if anchors.is_empty() {
            return Err("holds no `BEGIN CERTIFICATE` block".to_owned());
        }
        dated.extend(lists.iter().flat_map(Lists::dated));
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
        let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
        let inner = builder.build().map_err(|error| error.to_string())?;
        let algorithms = provider.signature_verification_algorithms.all;
        Ok(Self { anchors, lists, algorithms, inner, dated })
    }

    /// What of it has an end.
    pub(super) fn dated(&self) -> &[Dated] {
        &self.dated
    }

    /// The next instant at which a certificate that is good now may no longer be, without anything
    /// having been changed.
    pub(super) fn next_change(&self, now: Timestamp) -> Timestamp {
        let ends = self.dated.iter().map(|dated| dated.not_after);
        ends.filter(|end| *end >= now).min().unwrap_or(Timestamp::MAX)
    }

    /// Whether a chain, leaf first, is good at this instant.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let Some((leaf, others)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        // Before anything is computed: what a client sends costs it nothing.
        if others.len() > MAX_INTERMEDIATES {
            return Err(CertificateError::BadEncoding.into());
        }
        let at = seconds(now);
        let mut good = false;
        let mut refused = rustls::Error::from(CertificateError::UnknownIssuer);
        // webpki does not ask whether an anchor is still good: its caller may know better. Here nobody
        // does. One at a time, because of two with one name it would say what is wrong with either.
        let anchors = self.anchors.iter();
        for anchor in anchors.filter(|anchor| anchor.not_before <= at && at <= anchor.not_after) {
            match self.verify_to(anchor, leaf, others, now) {
                Ok(()) => good = true,
                // INVARIANT: what one authority has revoked is not made good by another.
                Err(error) if reason(&error) == "certificate_revoked" => return Err(error),
                // Each anchor would have the whole budget again.
                Err(error) if exhausted(&error) => return Err(error),
                Err(error) if telling(&error) > telling(&refused) => refused = error,
                Err(_) => {}
            }
        }
        if good { Ok(()) } else { Err(refused) }
    }

    fn verify_to(
        &self,
        anchor: &Anchor,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let Some(lists) = &self.lists else {
            return self.verify_path(anchor, leaf, others, now, None);
        };
        // INVARIANT: every combination must agree, so that no list hides what another revokes;
        // only a list that another key has signed has nothing to say.
        let mut verdict = Err(CertificateError::UnknownRevocationStatus.into());
        for combination in lists.combinations() {
            match self.verify_path(anchor, leaf, others, now, Some(&combination)) {
                Ok(()) => verdict = Ok(()),
                Err(rustls::Error::InvalidCertRevocationList(_)) => {}
                Err(refused) => return Err(refused),
            }
        }
        // INVARIANT: a list that webpki did not ask, because another came first, revokes too.
        if verdict.is_ok() && self.named(lists, anchor, leaf, others) {
            return Err(CertificateError::Revoked.into());
        }
        verdict
    }

    /// Whether any list of its issuer names a certificate of the chain. Signatures are not looked
    /// at, so only the list of a key known to be another authority's is left out.
    fn named(
        &self,
        lists: &Lists,
        anchor: &Anchor,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> bool {
        let parse = |der| X509Certificate::from_der(der).map(|(_, certificate)| certificate);
        let above: Vec<_> = others.iter().filter_map(|der| parse(der).ok()).collect();
        let Ok(leaf) = parse(leaf) else { return true };
        std::iter::once(&leaf).chain(&above).any(|certificate| {
            let issuer = certificate.issuer().as_raw();
            let foreign = |key: &[u8]| {
                let own = anchor.name == issuer && anchor.key.as_deref().is_none_or(|k| k == key);
                let sent = above.iter().filter(|one| one.subject().as_raw() == issuer);
                let mut sent = sent.map(key_identifier);
                let mut anchors = self.anchors.iter().filter(|other| other.name == issuer);
                !own && !sent.any(|found| found.is_none_or(|k| k == key))
                    && anchors.any(|other| other.key.as_deref() == Some(key))
            };
            lists.name(issuer, certificate.raw_serial(), foreign)
        })
    }

    fn verify_path(
        &self,
        anchor: &Anchor,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        lists: Option<&[&webpki::CertRevocationList<'_>]>,
    ) -> Result<(), rustls::Error> {
        let leaf = EndEntityCert::try_from(leaf).map_err(words)?;
        let revocation = match lists {
            None => None,
            Some(lists) => {
                let options = RevocationOptionsBuilder::new(lists)
                    .map_err(|_| CertificateError::UnknownRevocationStatus)?;
                Some(
                    options
                        .with_depth(RevocationCheckDepth::Chain)
                        .with_status_policy(UnknownStatusPolicy::Deny)
                        .with_expiration_policy(ExpirationPolicy::Enforce)
                        .build(),
                )
            }
        };
        leaf.verify_for_usage(
            self.algorithms,
            std::slice::from_ref(&anchor.trust),
            others,
            now,
            KeyUsage::client_auth(),
            revocation,
            None,
        )
        .map(|_| ())
        .map_err(words)
    }
}

/// webpki follows six.
const MAX_INTERMEDIATES: usize = 8;

fn key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0.to_vec()),
        _ => None,
    })
}

/// Whether webpki gave up, having computed as much as it may.
fn exhausted(error: &rustls::Error) -> bool {
    use webpki::Error as E;
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(
        other.0.downcast_ref::<E>(),
        Some(
            E::MaximumSignatureChecksExceeded
                | E::MaximumPathBuildCallsExceeded
                | E::MaximumPathDepthExceeded
                | E::MaximumNameConstraintComparisonsExceeded
        )
    )
}

/// How much an error says about a certificate, and not about an authority it is not of.
fn telling(error: &rustls::Error) -> u8 {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => 0,
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => 1,
        _ => 2,
    }
}

impl ClientCertVerifier for Trust {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let mut chain = vec![end_entity.clone()];
        chain.extend_from_slice(intermediates);
        self.verify(&chain, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A certificate that may vouch for others (RFC 5280 §4.2.1.9, §4.2.1.3). A leaf as an anchor would
/// make its holder an authority (CVE-2024-2048).
fn authority<'d>(der: &'d CertificateDer<'_>) -> Result<X509Certificate<'d>, String> {
    let (rest, certificate) = X509Certificate::from_der(der)
        .map_err(|_| "holds a certificate that cannot be read".to_owned())?;
    if !rest.is_empty() {
        return Err("holds a certificate with something after its end".to_owned());
    }
    let subject = certificate.subject();
    let constraints = certificate.basic_constraints().ok().flatten();
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(format!(
            "`{subject}` is no authority (its basicConstraints do not say CA:TRUE), so no client \
             certificate can be issued by it; give the certificate of the authority, not of a client"
        ));
    }
    match certificate.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => {
            Err(format!("`{subject}` is no authority: its keyUsage lacks keyCertSign"))
        }
        Ok(_) => Ok(certificate),
        Err(_) => Err(format!("`{subject}` has a keyUsage that cannot be read")),
    }
}

fn seconds(now: UnixTime) -> Timestamp {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX / 1_000_000);
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

/// webpki's errors as rustls', which choose the alert.
fn words(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } | E::InvalidCertValidity => CertificateError::Expired.into(),
        E::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
        E::CertRevoked => CertificateError::Revoked.into(),
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus.into(),
        E::CrlExpired { .. } => CertificateError::ExpiredRevocationList.into(),
        E::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature.into(),
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose.into(),
        E::InvalidCrlSignatureForPublicKey => rustls::CertRevocationListError::BadSignature.into(),
        E::IssuerNotCrlSigner => CertificateError::UnknownRevocationStatus.into(),
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))).into(),
    }
}

/// Why a handshake was refused, as a word of a fixed table: for metrics and the audit log.
pub(super) fn reason(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::NoCertificatesPresented => "certificate_missing",
        rustls::Error::InvalidCertRevocationList(_) => "certificate_status_unknown",
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate_expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "certificate_not_valid_yet"
            }
            CertificateError::Revoked => "certificate_revoked",
            CertificateError::UnknownRevocationStatus => "certificate_status_unknown",
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => "certificate_crl_expired",
            CertificateError::UnknownIssuer => "certificate_unknown_issuer",
            _ => "certificate_invalid",
        },
        _ => "handshake",
    }
}
