//! Keys in the forms of other systems: `SubjectPublicKeyInfo`, PKCS #8, PEM and JWK, in and out.
//!
//! What must stay true: parsing takes DER only (one spelling), algorithm identifiers must be those
//! of the kind to the byte, and a private key whose form also carries a public one is refused when
//! the two do not belong together. Nothing here says why a private key was refused. Base64 of
//! secrets is read and written in constant time.

mod der;
mod jwk;

use std::sync::Arc;

use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use hub_arena::Secret;
use hub_model::algorithm::{Curve, Hash, Kind};
use zeroize::Zeroizing;

pub use self::der::private_from_pkcs8;
pub(super) use self::der::{ec_pkcs8, okp_pkcs8, pkcs8, pkcs8_inner, public_bits, spki};
pub(super) use self::jwk::{ec_jwk, okp_jwk, rsa_jwk};
pub use self::jwk::{private_from_jwk, public_from_jwk};
use super::PublicKey;
use crate::{Error, Result, hash};

/// The label of public keys in PEM (RFC 7468 §13).
pub const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// The label of PKCS #8 in PEM (RFC 7468 §10).
pub const PRIVATE_LABEL: &str = "PRIVATE KEY";

/// PEM text (RFC 7468): lines of 64 characters, each ended by a line feed. The caller erases it
/// when `der` is secret.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    // In one piece from the start: a string that grows leaves copies of secrets behind.
    let mut text = String::with_capacity(2 * (label.len() + 18) + der.len().div_ceil(48) * 65);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut line = Zeroizing::new([0; 64]);
    for chunk in der.chunks(48) {
        // INVARIANT: 48 bytes are 64 characters.
        text.push_str(Base64::encode(chunk, line.as_mut_slice()).unwrap_or_default());
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

/// The DER inside of the one PEM block of this label.
///
/// # Errors
/// [`Error::PrivateKey`] when the label ends in `PRIVATE KEY`, else [`Error::PublicKey`].
pub fn from_pem(label: &str, text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let decode = || {
        let mut decoder = pem_rfc7468::Decoder::new(text.trim().as_bytes()).ok()?;
        if decoder.type_label() != label {
            return None;
        }
        let mut bytes = Zeroizing::new(vec![0; decoder.remaining_len()]);
        decoder.decode(&mut bytes).ok()?;
        Some(bytes)
    };
    decode().ok_or(if label.ends_with(PRIVATE_LABEL) {
        Error::PrivateKey
    } else {
        Error::PublicKey
    })
}

/// A public key from PEM: `PUBLIC KEY`.
///
/// # Errors
/// [`Error::PublicKey`].
pub fn public_from_pem(kind: Kind, text: &str) -> Result<Arc<dyn PublicKey>> {
    super::public_key(kind, &from_pem(PUBLIC_LABEL, text)?)
}

/// The stored secret of a private key in PEM: `PRIVATE KEY`, unencrypted.
///
/// # Errors
/// As [`private_from_pkcs8`].
pub fn private_from_pem(kind: Kind, text: &str) -> Result<Secret> {
    private_from_pkcs8(kind, &from_pem(PRIVATE_LABEL, text)?)
}

/// The JWK thumbprint with SHA-256 (RFC 7638 §3), base64url without padding: 43 characters.
#[must_use]
pub fn thumbprint(key: &dyn PublicKey) -> String {
    // The members come in the order wanted; names and values need no escapes (§3.3).
    let members: Vec<_> =
        key.jwk().iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
    let text = format!("{{{}}}", members.join(","));
    base64url(&hash::sha256(text.as_bytes()))
}

/// The `alg` of JWS (RFC 7518 §3.1, RFC 8037 §3.1, RFC 8812 §3.2, RFC
/// 9964 §4) that keys of the kind sign by.
#[must_use]
pub const fn jws_algorithm(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::RsaPkcs1 { hash: Hash::Sha256, .. } => "RS256",
        Kind::RsaPkcs1 { hash: Hash::Sha384, .. } => "RS384",
        Kind::RsaPkcs1 { hash: Hash::Sha512, .. } => "RS512",
        Kind::RsaPss { hash: Hash::Sha256, .. } => "PS256",
        Kind::RsaPss { hash: Hash::Sha384, .. } => "PS384",
        Kind::RsaPss { hash: Hash::Sha512, .. } => "PS512",
        Kind::Ecdsa(Curve::P256) => "ES256",
        Kind::Ecdsa(Curve::P384) => "ES384",
        Kind::Ecdsa(Curve::P521) => "ES512",
        Kind::Ecdsa(Curve::Secp256k1) => "ES256K",
        Kind::Ed25519 => "EdDSA",
        Kind::MlDsa(44) => "ML-DSA-44",
        Kind::MlDsa(65) => "ML-DSA-65",
        Kind::MlDsa(87) => "ML-DSA-87",
        _ => return None,
    })
}

/// Base64url without padding.
fn base64url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

#[cfg(test)]
mod tests;
