//! AES-256 key wrap with padding, KWP (RFC 5649, NIST SP 800-38F §6.3): secrets of any length under
//! a key-encryption key. For callers' keys, and for import and export. Deterministic: equal secrets
//! under one key give equal wrapped bytes; nothing but the length is bound, as the standard has it.
//! The hub's own secrets are wrapped by [`crate::wrap`], which binds them to their place.
//!
//! What must stay true: every failed unwrap is [`Error::Open`].

use aes_kw::KeyInit as _;
use aes_kw::KwpAes256;
use hub_arena::Secret;
use hub_model::Algorithm;

use crate::{Error, Material, Result};

/// The longest secret, in bytes.
pub const MAX_SECRET: usize = 8192;
/// What wrapping adds besides padding to a multiple of it (RFC 5649 §3).
const SEMIBLOCK: usize = 8;

/// Wraps a secret of 1 to [`MAX_SECRET`] bytes. The outcome is 8 bytes longer than the secret
/// padded to a multiple of 8.
///
/// # Errors
/// [`Error::Parameter`] for other lengths.
pub fn wrap(kek: &[u8; 32], secret: &[u8]) -> Result<Vec<u8>> {
    if !(1..=MAX_SECRET).contains(&secret.len()) {
        return Err(Error::Parameter("a secret to be wrapped has 1 to 8192 bytes"));
    }
    let mut wrapped = vec![0; secret.len().next_multiple_of(SEMIBLOCK) + SEMIBLOCK];
    // INVARIANT: the lengths are right, so nothing fails; the feature `zeroize` erases the schedule.
    KwpAes256::new(kek.into()).wrap_key(secret, &mut wrapped).map_err(|_| Error::WrongUse)?;
    Ok(wrapped)
}

/// Unwraps a secret, straight into the arena.
///
/// # Errors
/// [`Error::Open`], whatever the cause: another key, damage, a length no secret gives;
/// [`Error::Arena`].
pub fn unwrap(kek: &[u8; 32], wrapped: &[u8]) -> Result<Secret> {
    let padded = wrapped.len().checked_sub(SEMIBLOCK).ok_or(Error::Open)?;
    if !(SEMIBLOCK..=MAX_SECRET).contains(&padded) || !padded.is_multiple_of(SEMIBLOCK) {
        return Err(Error::Open);
    }
    let mut outcome = Err(Error::Open);
    let padded = Secret::fill(padded, |slot| {
        let unwrapped = KwpAes256::new(kek.into()).unwrap_key(wrapped, slot);
        outcome = unwrapped.map(<[u8]>::len).map_err(|_| Error::Open);
    })?;
    let secret = padded.expose_secret().get(..outcome?).ok_or(Error::Open)?;
    Ok(Secret::copy_from(secret)?)
}

/// Wraps a secret under key material.
///
/// # Errors
/// As [`wrap`]; [`Error::WrongUse`] when the algorithm is not AES_256_KWP.
pub fn wrap_under(material: &Material, secret: &[u8]) -> Result<Vec<u8>> {
    wrap(kek(material)?, secret)
}

/// Unwraps a secret under key material.
///
/// # Errors
/// As [`unwrap`]; [`Error::WrongUse`] when the algorithm is not AES_256_KWP.
pub fn unwrap_under(material: &Material, wrapped: &[u8]) -> Result<Secret> {
    unwrap(kek(material)?, wrapped)
}

fn kek(material: &Material) -> Result<&[u8; 32]> {
    if material.algorithm() != Algorithm::Aes256Kwp {
        return Err(Error::WrongUse);
    }
    material.secret().expose_secret().try_into().map_err(|_| Error::WrongUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEK: [u8; 32] = [7; 32];

    #[test]
    fn every_length_comes_back() {
        let lengths = (1..=65).chain([4095, 4096, 4097, MAX_SECRET - 7, MAX_SECRET]);
        for len in lengths {
            let secret: Vec<u8> = (0..len).map(|i: usize| i.to_le_bytes()[0] ^ 0xa5).collect();
            let wrapped = wrap(&KEK, &secret).unwrap();
            assert_eq!(wrapped.len(), len.div_ceil(8) * 8 + 8);
            assert_eq!(unwrap(&KEK, &wrapped).unwrap().expose_secret(), secret);
        }
        for len in [0, MAX_SECRET + 1] {
            assert!(matches!(wrap(&KEK, &vec![0; len]), Err(Error::Parameter(_))));
        }
    }

    #[test]
    fn every_change_is_one_error() {
        for len in [7, 8, 33] {
            let wrapped = wrap(&KEK, &vec![0; len]).unwrap();
            for at in 0..wrapped.len() {
                let mut changed = wrapped.clone();
                changed[at] ^= 0x10;
                assert!(matches!(unwrap(&KEK, &changed), Err(Error::Open)));
                assert!(matches!(unwrap(&KEK, &wrapped[..at]), Err(Error::Open)));
            }
            let longer = [wrapped.as_slice(), &[0; 8]].concat();
            assert!(matches!(unwrap(&KEK, &longer), Err(Error::Open)));
            assert!(matches!(unwrap(&[8; 32], &wrapped), Err(Error::Open)));
        }
        for len in [0, 8, MAX_SECRET + 16] {
            assert!(matches!(unwrap(&KEK, &vec![0; len]), Err(Error::Open)));
        }
    }

    #[test]
    fn material_of_another_algorithm_wraps_nothing() {
        let material = Material::generate(Algorithm::Aes256Kwp).unwrap();
        let wrapped = wrap_under(&material, b"secret").unwrap();
        assert_eq!(unwrap_under(&material, &wrapped).unwrap().expose_secret(), b"secret");
        let other = Material::generate(Algorithm::Aes256Gcm).unwrap();
        assert!(matches!(wrap_under(&other, b"secret"), Err(Error::WrongUse)));
        assert!(matches!(unwrap_under(&other, &wrapped), Err(Error::WrongUse)));
    }
}
