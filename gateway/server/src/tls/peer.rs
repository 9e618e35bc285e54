//! What a client certificate says about its holder.
//!
//! Read strictly: a certificate whose alternative names are not plain names nobody. The subject, and
//! its common name in particular, never names anybody.

use std::sync::Arc;

use hub_auth::ClientCertificate;
use hub_model::{Identity, Timestamp};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::SubjectAlternativeName;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, X509Certificate};

use crate::config::NameKind;

/// Reads a leaf that was verified. `None` when it cannot be read after all.
pub(super) fn certificate(
    leaf: &CertificateDer<'_>,
    kinds: &[NameKind],
) -> Option<ClientCertificate> {
    let (rest, parsed) = X509Certificate::from_der(leaf).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let validity = parsed.validity();
    Some(ClientCertificate {
        thumbprint: hub_crypto::hash::sha256(leaf),
        identity: identity(&parsed, kinds).map(Arc::new),
        not_before: instant(validity.not_before),
        not_after: instant(validity.not_after),
    })
}

/// Whom it names: the one name of the first of these kinds that it has.
fn identity(certificate: &X509Certificate<'_>, kinds: &[NameKind]) -> Option<Identity> {
    let extension = certificate.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME).ok()??;
    let (rest, names) = SubjectAlternativeName::from_der(extension.value).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let names = &names.general_names;
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return None;
    }
    let dns = || {
        names.iter().filter_map(|name| match name {
            GeneralName::DNSName(text) => Some(*text),
            _ => None,
        })
    };
    let email = || {
        names.iter().filter_map(|name| match name {
            GeneralName::RFC822Name(text) => Some(*text),
            _ => None,
        })
    };
    let uri = || {
        names.iter().filter_map(|name| match name {
            GeneralName::URI(text) => Some(*text),
            _ => None,
        })
    };
    for kind in kinds {
        match kind {
            NameKind::Spiffe if uri().any(is_spiffe) => {
                // X509-SVID §2: exactly one URI, and that a SPIFFE id.
                let id = only(uri())?;
                return is_svid(certificate).then(|| id.parse().ok()).flatten();
            }
            // One spelling: host names and addresses are told apart without regard to case.
            NameKind::Dns if dns().next().is_some() => {
                return named("mtls:dns:", &only(dns())?.to_ascii_lowercase());
            }
            NameKind::Email if email().next().is_some() => {
                return named("mtls:email:", &only(email())?.to_ascii_lowercase());
            }
            NameKind::Uri if uri().next().is_some() => return named("mtls:uri:", only(uri())?),
            NameKind::Spiffe | NameKind::Dns | NameKind::Email | NameKind::Uri => {}
        }
    }
    None
}

fn named(method: &str, name: &str) -> Option<Identity> {
    if !name.is_ascii() {
        return None;
    }
    format!("{method}{name}").parse().ok()
}

fn only<'t>(mut names: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    let first = names.next()?;
    names.next().is_none().then_some(first)
}

fn is_spiffe(uri: &str) -> bool {
    uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
}

/// X509-SVID §4: a leaf is no authority (webpki has seen to that already), signs, and does not sign
/// certificates or lists.
fn is_svid(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.key_usage().ok().flatten();
    let authority = certificate.basic_constraints();
    usage.is_some_and(|usage| {
        let usage = usage.value;
        usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign()
    }) && authority.is_ok_and(|found| !found.is_some_and(|constraints| constraints.value.ca))
}

/// A date of a certificate.
pub(super) fn instant(time: ASN1Time) -> Timestamp {
    Timestamp::from_micros(time.timestamp().saturating_mul(1_000_000))
}
