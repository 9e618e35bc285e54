//! The algorithms inside, laid bare for vectors of others (`tests/wycheproof*.rs`). Not for use:
//! nothing here erases its inputs or keeps them in the arena.

use hub_arena::Secret;
use hub_model::algorithm::Hash;

use crate::asymmetric::{ml_dsa, ml_kem};
use crate::mac::message;
use crate::{Result, kdf};

/// HMAC under a key of any length.
///
/// # Errors
/// None in practice.
pub fn hmac(hash: Hash, key: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    message::hmac(hash, key, &[message]).map(|tag| tag.bytes().to_vec())
}

/// HKDF from a key of any length.
///
/// # Errors
/// [`crate::Error::Parameter`] beyond 255 digests of output.
pub fn hkdf(hash: Hash, salt: &[u8], material: &[u8], info: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; len];
    kdf::hkdf::write(hash, material, salt, info, &mut out).map(|()| out)
}

/// The HKDF-SHA-256 of 64 bytes that the hub's own formats use.
///
/// # Errors
/// [`crate::Error::Arena`].
pub fn hkdf_sha256(salt: &[u8], material: &[u8], info: &[u8]) -> Result<[u8; 64]> {
    let prk = crate::mac::extract(salt, &hub_arena::Secret::copy_from(material)?)?;
    let okm = crate::mac::expand64(prk.expose_secret(), &[info]);
    let mut out = [0; 64];
    for (slot, byte) in out.iter_mut().zip(okm.first.iter().chain(okm.second.iter())) {
        *slot = *byte;
    }
    Ok(out)
}

/// PBKDF2 without pepper and bounds.
///
/// # Errors
/// [`crate::Error::WrongUse`] for SHA-384.
pub fn pbkdf2(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    len: usize,
) -> Result<Vec<u8>> {
    let mut out = vec![0; len];
    kdf::pbkdf2::stretch(hash, password, salt, iterations, &mut out).map(|()| out)
}

/// HMAC-SHA-256 as the hub's own formats use it.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    crate::mac::hmac(key, &[message])
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
