//! AES-256 key wrap with padding (RFC 5649, SP 800-38F §6.3).
//!
//! Deterministic, and without associated data: for keys that travel to and from others. Inside
//! the hub secrets are wrapped by [`crate::wrap`].

use aes_kw::{KeyInit as _, KwpAes256};
use hub_arena::Secret;
use zeroize::Zeroizing;

use crate::{Error, Result};

/// A half block: the unit of lengths.
const UNIT: usize = 8;

/// Wraps 1 to 4,096 bytes: 8 more, rounded up to 8.
///
/// # Errors
/// [`Error::Parameter`] without bytes, [`Error::TooLongFor`] above 4,096.
pub fn wrap(kek: &[u8; 32], secret: &[u8]) -> Result<Vec<u8>> {
    if secret.is_empty() {
        return Err(Error::Parameter("there are no bytes to wrap"));
    }
    if secret.len() > hub_arena::MAX_LEN {
        return Err(Error::TooLongFor(hub_arena::MAX_LEN));
    }
    let mut wrapped = vec![0; secret.len().next_multiple_of(UNIT) + UNIT];
    KwpAes256::new(kek.into())
        .wrap_key(secret, &mut wrapped)
        .map_err(|_| Error::TooLongFor(hub_arena::MAX_LEN))?;
    Ok(wrapped)
}

/// Unwraps what [`wrap`] made.
///
/// # Errors
/// [`Error::Open`], whatever the cause; [`Error::Arena`].
pub fn unwrap(kek: &[u8; 32], wrapped: &[u8]) -> Result<Secret> {
    let len = wrapped.len().checked_sub(UNIT).ok_or(Error::Open)?;
    if !(UNIT..=hub_arena::MAX_LEN).contains(&len) || !len.is_multiple_of(UNIT) {
        return Err(Error::Open);
    }
    let mut buffer = Zeroizing::new(vec![0; len]);
    let secret =
        KwpAes256::new(kek.into()).unwrap_key(wrapped, &mut buffer).map_err(|_| Error::Open)?;
    Ok(Secret::copy_from(secret)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        let kek = [7; 32];
        for len in (1..=40_usize).chain([64, 4095, 4096]) {
            let secret: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let wrapped = wrap(&kek, &secret).unwrap();
            assert_eq!(wrapped.len(), len.next_multiple_of(8) + 8);
            assert_eq!(unwrap(&kek, &wrapped).unwrap().expose_secret(), secret);
            assert!(matches!(unwrap(&[8; 32], &wrapped), Err(Error::Open)));
        }
        assert!(wrap(&kek, &[]).is_err());
        assert!(wrap(&kek, &[0; 4097]).is_err());
        for len in [0, 7, 8, 15, 17, 5000] {
            assert!(matches!(unwrap(&kek, &vec![0; len]), Err(Error::Open)));
        }
    }
}
