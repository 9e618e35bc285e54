//! PBKDF2 with HMAC-SHA-256 or HMAC-SHA-512 (RFC 8018 §5.2) of a password that the key peppers:
//! whoever has salts and outputs but not the key cannot try passwords.
//!
//! ```text
//! P   = HMAC(key, password)           with the same hash: 32 or 64 bytes, not hex, not base64
//! out = PBKDF2-HMAC(P, salt, iterations, len)
//! ```

use std::ops::RangeInclusive;

use hub_arena::Secret;
use hub_model::algorithm::Hash;
use sha2::{Sha256, Sha384, Sha512};

use crate::mac::message;
use crate::{Error, Result};

/// Iterations where the caller names none.
pub const DEFAULT_ITERATIONS: u32 = 600_000;
/// Iterations that are allowed. Every 32 (SHA-256) or 64 (SHA-512) bytes of output cost as many.
pub const ITERATIONS: RangeInclusive<u32> = DEFAULT_ITERATIONS..=10_000_000;

pub(crate) fn derive(
    hash: Hash,
    key: &[u8],
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    len: usize,
) -> Result<Secret> {
    if !ITERATIONS.contains(&iterations) {
        return Err(Error::Parameter("PBKDF2 takes 600000 to 10000000 iterations"));
    }
    let peppered = message::hmac(hash, key, &[password])?;
    super::fill(len, |out| stretch(hash, peppered.bytes(), salt, iterations, out))
}

/// PBKDF2 itself.
pub(crate) fn stretch(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    out: &mut [u8],
) -> Result<()> {
    match hash {
        Hash::Sha256 => ::pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, out),
        Hash::Sha512 => ::pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, out),
        Hash::Sha384 => ::pbkdf2::pbkdf2_hmac::<Sha384>(password, salt, iterations, out),
    }
    Ok(())
}
