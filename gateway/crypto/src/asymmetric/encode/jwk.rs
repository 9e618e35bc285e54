//! JSON Web Keys: RFC 7517, RFC 7518 §6 (RSA, EC), RFC 8037 (OKP), RFC 8812 (secp256k1).

use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hub_arena::Secret;
use hub_model::Purpose;
use hub_model::algorithm::{ALGORITHMS, Curve, Hash, Kind};
use serde_json::Value;
use zeroize::Zeroizing;

use super::base64url;
use super::der::{ec_secret, okp_secret};
use crate::asymmetric::{self, PublicKey, ec, rsa};
use crate::{Error, Result};

const fn curve_name(curve: Curve) -> &'static str {
    match curve {
        Curve::P256 => "P-256",
        Curve::P384 => "P-384",
        Curve::P521 => "P-521",
        Curve::Secp256k1 => "secp256k1",
    }
}

/// The members of an RSA key, of big-endian numbers without leading zeros.
pub(in crate::asymmetric) fn rsa_jwk(
    modulus: &[u8],
    exponent: &[u8],
) -> Vec<(&'static str, String)> {
    vec![("e", base64url(exponent)), ("kty", "RSA".to_owned()), ("n", base64url(modulus))]
}

/// The members of a curve's key, of its uncompressed point.
pub(in crate::asymmetric) fn ec_jwk(curve: Curve, point: &[u8]) -> Vec<(&'static str, String)> {
    let (x, y) = point.split_at_checked(1 + ec::len(curve)).unwrap_or_default();
    let x = x.get(1..).unwrap_or_default();
    let (crv, kty) = (curve_name(curve).to_owned(), "EC".to_owned());
    vec![("crv", crv), ("kty", kty), ("x", base64url(x)), ("y", base64url(y))]
}

/// The members of an octet key pair.
pub(in crate::asymmetric) fn okp_jwk(crv: &str, public: &[u8]) -> Vec<(&'static str, String)> {
    vec![("crv", crv.to_owned()), ("kty", "OKP".to_owned()), ("x", base64url(public))]
}

/// A public key from a JWK. Private members are left alone.
///
/// # Errors
/// [`Error::PublicKey`] when a member is missing or not of the kind, or when `alg`, `use` or
/// `key_ops` say that the key is for something else.
pub fn public_from_jwk(kind: Kind, jwk: &Value) -> Result<Arc<dyn PublicKey>> {
    let raw = Jwk(jwk).public(kind).ok_or(Error::PublicKey)?;
    asymmetric::public_key(kind, &raw)
}

/// The stored secret of a private JWK. RSA keys must have all of `p`, `q`, `dp`, `dq`, `qi`, and
/// no `oth`; the public members must be there and belong to the private ones.
///
/// # Errors
/// [`Error::PrivateKey`], whatever is wrong; [`Error::Arena`].
pub fn private_from_jwk(kind: Kind, jwk: &Value) -> Result<Secret> {
    let jwk = Jwk(jwk);
    let public = jwk.public(kind).ok_or(Error::PrivateKey)?;
    let number = |name| jwk.number(name).ok_or(Error::PrivateKey);
    match kind {
        Kind::RsaOaep { .. } | Kind::RsaPss { .. } | Kind::RsaPkcs1 { .. } => {
            if jwk.0.get("oth").is_some() {
                return Err(Error::PrivateKey);
            }
            let scheme = rsa::Scheme::of(kind).ok_or(Error::PrivateKey)?;
            let (n, e, d) = (number("n")?, number("e")?, number("d")?);
            let (p, q) = (number("p")?, number("q")?);
            let (dp, dq, qi) = (number("dp")?, number("dq")?, number("qi")?);
            rsa::import_numbers(scheme, [&n, &e, &d, &p, &q, &dp, &dq, &qi])
        }
        Kind::Ecdsa(curve) | Kind::Ecdh(curve) => {
            let scalar = jwk.bytes("d").ok_or(Error::PrivateKey)?;
            ec_secret(curve, &scalar, [Some(&public), None])
        }
        Kind::Ed25519 | Kind::X25519 => {
            let seed = jwk.bytes("d").ok_or(Error::PrivateKey)?;
            okp_secret(kind, &seed, Some(&public))
        }
        _ => Err(Error::PrivateKey),
    }
}

struct Jwk<'a>(&'a Value);

impl Jwk<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Base64url without padding, in constant time and in its one spelling (RFC 7515 §2).
    fn bytes(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        Base64UrlUnpadded::decode_vec(self.text(name)?).ok().map(Zeroizing::new)
    }

    /// `Base64urlUInt` (RFC 7518 §2): big endian without leading zeros.
    fn number(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.bytes(name).filter(|bytes| bytes.first().is_some_and(|first| *first != 0))
    }

    /// The public key in raw form, if the members fit the kind. Not yet checked to be a key.
    fn public(&self, kind: Kind) -> Option<Vec<u8>> {
        if !self.allows(kind) {
            return None;
        }
        let is = |kty, crv| self.text("kty") == Some(kty) && self.text("crv") == crv;
        match kind {
            Kind::RsaOaep { .. } | Kind::RsaPss { .. } | Kind::RsaPkcs1 { .. } => {
                let (n, e) = (self.number("n")?, self.number("e")?);
                is("RSA", None).then(|| rsa::public_of(&n, &e).ok()).flatten()
            }
            Kind::Ecdsa(curve) | Kind::Ecdh(curve) => {
                // As long as the field's elements (RFC 7518 §6.2.1.2).
                let coordinate = |name| self.bytes(name).filter(|at| at.len() == ec::len(curve));
                let (x, y) = (coordinate("x")?, coordinate("y")?);
                is("EC", Some(curve_name(curve))).then(|| [&[4], &x[..], &y[..]].concat())
            }
            Kind::Ed25519 => {
                is("OKP", Some("Ed25519")).then(|| self.bytes("x"))?.map(|x| x.to_vec())
            }
            Kind::X25519 => is("OKP", Some("X25519")).then(|| self.bytes("x"))?.map(|x| x.to_vec()),
            _ => None,
        }
    }

    /// Whether `alg`, `use` and `key_ops`, where they are there, speak of what keys of the kind do
    /// (RFC 7517 §4.2 to §4.4). Unknown operations are no objection (§4.3).
    fn allows(&self, kind: Kind) -> bool {
        let signs = super::jws_algorithm(kind).is_some();
        let algorithm = self
            .0
            .get("alg")
            .is_none_or(|alg| alg.as_str().is_some_and(|alg| algorithms(kind, alg)));
        let usage = self
            .0
            .get("use")
            .is_none_or(|usage| usage.as_str() == Some(if signs { "sig" } else { "enc" }));
        let foreign: &[&str] = match purpose(kind) {
            Some(Purpose::Sign) => {
                &["encrypt", "decrypt", "wrapKey", "unwrapKey", "deriveKey", "deriveBits"]
            }
            Some(Purpose::Agree) => {
                &["sign", "verify", "encrypt", "decrypt", "wrapKey", "unwrapKey"]
            }
            _ => &["sign", "verify", "deriveKey", "deriveBits"],
        };
        let operations = self.0.get("key_ops").is_none_or(|operations| {
            operations.as_array().is_some_and(|operations| {
                operations.iter().all(|operation| {
                    operation.as_str().is_some_and(|operation| !foreign.contains(&operation))
                })
            })
        });
        algorithm && usage && operations
    }
}

fn purpose(kind: Kind) -> Option<Purpose> {
    ALGORITHMS.iter().find(|row| row.kind == kind).map(|row| row.purpose)
}

/// Whether keys of the kind are used under this `alg`.
fn algorithms(kind: Kind, alg: &str) -> bool {
    match kind {
        // The last two are registered by the Web Cryptography API.
        Kind::RsaOaep { hash: Hash::Sha256, .. } => alg == "RSA-OAEP-256",
        Kind::RsaOaep { hash: Hash::Sha384, .. } => alg == "RSA-OAEP-384",
        Kind::RsaOaep { hash: Hash::Sha512, .. } => alg == "RSA-OAEP-512",
        Kind::X25519 | Kind::Ecdh(_) => alg == "ECDH-ES" || alg.starts_with("ECDH-ES+"),
        // RFC 9864 §2.2 names the curve.
        Kind::Ed25519 if alg == "Ed25519" => true,
        _ => super::jws_algorithm(kind) == Some(alg),
    }
}
