//! The algorithms inside, laid bare for vectors of others (`tests/wycheproof.rs`). Not for use:
//! nothing here erases its inputs or keeps them in the arena.

use hub_arena::Secret;

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
