//! `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) and PKCS #8 (RFC 5958) of the classic families.

use hub_arena::Secret;
use hub_model::algorithm::{Curve, Kind};
use pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use pkcs8::der::{Decode as _, Encode as _};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef, SecretDocument};
use sec1::{EcParameters, EcPrivateKey};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

use crate::asymmetric::{self, ec, rsa};
use crate::{Error, Result, ct_eq};

/// `rsaEncryption` (RFC 8017 §A.1), for every padding: the hub binds the padding itself.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey` (RFC 5480 §2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 8410 §3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// RFC 8410 §3.
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

/// The named curve (RFC 5480 §2.1.1.1, SEC 2 §A.2).
const fn curve_oid(curve: Curve) -> &'static ObjectIdentifier {
    const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
    const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
    match curve {
        Curve::P256 => &P256,
        Curve::P384 => &P384,
        Curve::P521 => &P521,
        Curve::Secp256k1 => &SECP256K1,
    }
}

fn identifier(kind: Kind) -> Option<AlgorithmIdentifierRef<'static>> {
    let (oid, parameters) = match kind {
        // NULL, not absent (RFC 4055 §1.2).
        Kind::RsaOaep { .. } | Kind::RsaPss { .. } | Kind::RsaPkcs1 { .. } => {
            (RSA, Some(AnyRef::NULL))
        }
        Kind::Ecdsa(curve) | Kind::Ecdh(curve) => (EC, Some(curve_oid(curve).into())),
        Kind::Ed25519 => (ED25519, None),
        Kind::X25519 => (X25519, None),
        _ => return None,
    };
    Some(AlgorithmIdentifierRef { oid, parameters })
}

/// `SubjectPublicKeyInfo` of a public key in raw form.
pub(in crate::asymmetric) fn spki(kind: Kind, raw: &[u8]) -> Result<Vec<u8>> {
    let algorithm = identifier(kind).ok_or(Error::WrongUse)?;
    let subject_public_key = BitStringRef::from_bytes(raw).map_err(|_| Error::PublicKey)?;
    let info = SubjectPublicKeyInfoRef { algorithm, subject_public_key };
    info.to_der().map_err(|_| Error::PublicKey)
}

/// What a `SubjectPublicKeyInfo` of the kind carries: the raw form (curves also compressed).
///
/// # Errors
/// [`Error::PublicKey`] when it is none, or of another algorithm or curve.
pub(in crate::asymmetric) fn public_bits(kind: Kind, der: &[u8]) -> Result<&[u8]> {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| Error::PublicKey)?;
    if Some(info.algorithm) != identifier(kind) {
        return Err(Error::PublicKey);
    }
    let bits = info.subject_public_key;
    if bits.unused_bits() != 0 {
        return Err(Error::PublicKey);
    }
    Ok(bits.raw_bytes())
}

/// PKCS #8 of what the algorithm puts inside.
pub(in crate::asymmetric) fn pkcs8(kind: Kind, inner: &[u8]) -> Result<Secret> {
    let algorithm = identifier(kind).ok_or(Error::WrongUse)?;
    let inner = OctetStringRef::new(inner).map_err(|_| Error::PrivateKey)?;
    let info = PrivateKeyInfoRef::new(algorithm, inner);
    let der = SecretDocument::encode_msg(&info).map_err(|_| Error::PrivateKey)?;
    Ok(Secret::copy_from(der.as_bytes())?)
}

/// PKCS #8 of a scalar with its public point (RFC 5915 §3; the curve is in the outer identifier).
pub(in crate::asymmetric) fn ec_pkcs8(kind: Kind, scalar: &Secret, point: &[u8]) -> Result<Secret> {
    let private_key = scalar.expose_secret();
    let key = EcPrivateKey { private_key, parameters: None, public_key: Some(point) };
    let der = SecretDocument::encode_msg(&key).map_err(|_| Error::PrivateKey)?;
    pkcs8(kind, der.as_bytes())
}

/// PKCS #8 of 32 bytes: an octet string in the octet string (RFC 8410 §7).
pub(in crate::asymmetric) fn okp_pkcs8(kind: Kind, seed: &Secret) -> Result<Secret> {
    let inner = OctetStringRef::new(seed.expose_secret()).map_err(|_| Error::PrivateKey)?;
    let der = Zeroizing::new(inner.to_der().map_err(|_| Error::PrivateKey)?);
    pkcs8(kind, &der)
}

/// What PKCS #8 carries.
pub(in crate::asymmetric) struct Inner<'a> {
    /// The private key in the form of its algorithm.
    pub(in crate::asymmetric) key: &'a [u8],
    /// The public key, in version 2 (RFC 5958 §2).
    public: Option<&'a [u8]>,
}

/// Takes PKCS #8 of the kind apart.
///
/// # Errors
/// [`Error::PrivateKey`] when it is none, or of another algorithm or curve.
pub(in crate::asymmetric) fn pkcs8_inner(kind: Kind, der: &[u8]) -> Result<Inner<'_>> {
    let info = PrivateKeyInfoRef::from_der(der).map_err(|_| Error::PrivateKey)?;
    if Some(info.algorithm) != identifier(kind) {
        return Err(Error::PrivateKey);
    }
    let public = match info.public_key {
        None => None,
        Some(bits) => Some(bits.as_bytes().ok_or(Error::PrivateKey)?),
    };
    Ok(Inner { key: info.private_key.as_bytes(), public })
}

/// The stored secret of a private key in PKCS #8, unencrypted, DER: RSA again as PKCS #8 (written
/// anew), curves as scalar, Ed25519 and X25519 as 32 bytes.
///
/// # Errors
/// [`Error::PrivateKey`] when it is no such key, one of another algorithm, curve or size, or one
/// whose parts do not belong together; [`Error::Arena`].
pub fn private_from_pkcs8(kind: Kind, der: &[u8]) -> Result<Secret> {
    let inner = pkcs8_inner(kind, der)?;
    match kind {
        Kind::RsaOaep { .. } | Kind::RsaPss { .. } | Kind::RsaPkcs1 { .. } => {
            let scheme = rsa::Scheme::of(kind).ok_or(Error::PrivateKey)?;
            let secret = rsa::import(scheme, inner.key)?;
            let public = asymmetric::private_key(kind, &secret)?.public();
            matching(inner.public.is_none_or(|given| given == public.raw()))?;
            Ok(secret)
        }
        Kind::Ecdsa(curve) | Kind::Ecdh(curve) => {
            let key = EcPrivateKey::from_der(inner.key).map_err(|_| Error::PrivateKey)?;
            matching(key.parameters.is_none_or(
                |named| matches!(named, EcParameters::NamedCurve(oid) if oid == *curve_oid(curve)),
            ))?;
            ec_secret(curve, key.private_key, [key.public_key, inner.public])
        }
        Kind::Ed25519 | Kind::X25519 => {
            let seed = <&OctetStringRef>::from_der(inner.key).map_err(|_| Error::PrivateKey)?;
            okp_secret(kind, seed.as_bytes(), inner.public)
        }
        _ => Err(Error::PrivateKey),
    }
}

/// The secret of a scalar, if it belongs to the points given with it.
pub(super) fn ec_secret(curve: Curve, scalar: &[u8], given: [Option<&[u8]>; 2]) -> Result<Secret> {
    let own = ec::public_of(curve, scalar).map_err(|_| Error::PrivateKey)?;
    for point in given.into_iter().flatten() {
        let point = ec::point(curve, point).map_err(|_| Error::PrivateKey)?;
        matching(point == own)?;
    }
    Ok(Secret::copy_from(scalar)?)
}

/// The secret of a seed, if it belongs to the public key given with it.
pub(super) fn okp_secret(kind: Kind, seed: &[u8], given: Option<&[u8]>) -> Result<Secret> {
    matching(seed.len() == 32)?;
    let secret = Secret::copy_from(seed)?;
    if let Some(given) = given {
        let own = asymmetric::private_key(kind, &secret)?.public().raw();
        matching(ct_eq(&own, given))?;
    }
    Ok(secret)
}

fn matching(so: bool) -> Result<()> {
    if so { Ok(()) } else { Err(Error::PrivateKey) }
}
