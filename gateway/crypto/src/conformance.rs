//! The algorithms inside, laid bare for vectors of others (`tests/wycheproof.rs`). Not for use:
//! nothing here erases its inputs or keeps them in the arena.

use hub_arena::Secret;

use crate::asymmetric::{ml_dsa, ml_kem};
use crate::{Result, mac};

/// HMAC-SHA-256 under a key of any length.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    mac::hmac(key, &[message])
}

/// The first 64 bytes of HKDF-SHA-256. Shorter outputs are its beginnings (RFC 5869 §2.3).
///
/// # Errors
/// [`crate::Error::Arena`].
pub fn hkdf_sha256(salt: &[u8], material: &[u8], info: &[u8]) -> Result<[u8; 64]> {
    let prk = mac::extract(salt, &Secret::copy_from(material)?)?;
    let okm = mac::expand64(prk.expose_secret(), &[info]);
    let mut out = [0; 64];
    for (slot, byte) in out.iter_mut().zip(okm.first.iter().chain(okm.second.iter())) {
        *slot = *byte;
    }
    Ok(out)
}

/// ML-DSA, deterministic, with a context: the signature of a seed (FIPS 204 §5.2).
#[must_use]
pub fn ml_dsa_sign(set: u8, seed: &[u8], context: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    ml_dsa::sign_deterministic(set, seed, context, message)
}

/// ML-DSA with a context (FIPS 204 §5.3).
///
/// # Errors
/// [`crate::Error::PublicKey`], [`crate::Error::Signature`].
pub fn ml_dsa_verify(
    set: u8,
    public: &[u8],
    context: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<()> {
    ml_dsa::verify_within(set, public, context, message, signature)
}

/// ML-KEM encapsulation with given randomness (FIPS 203 §6.2): ciphertext and secret.
///
/// # Errors
/// [`crate::Error::PublicKey`], [`crate::Error::Arena`].
pub fn ml_kem_encapsulate(set: u16, public: &[u8], m: &[u8; 32]) -> Result<(Vec<u8>, Secret)> {
    ml_kem::encapsulate_with(set, public, m)
}
