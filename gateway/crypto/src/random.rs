//! The one source of randomness. Salts and nonces come from a thread-local CSPRNG seeded by the
//! system (a system call per message would cost as much as the message); keys come straight from
//! the system, written into the arena and nowhere else.

use hub_arena::Secret;
use rand::Rng as _;

use crate::{Error, Result};

/// Fills the buffer with random bytes good for salts, nonces and ids. Not for keys: see
/// [`secret`].
pub fn fill(buffer: &mut [u8]) {
    rand::rng().fill_bytes(buffer);
}

/// The generator behind [`fill`], for crates that draw by themselves.
pub(crate) fn rng() -> impl rand::CryptoRng {
    rand::rng()
}

/// A fresh secret of `len` bytes, from the system's own generator.
///
/// # Errors
/// [`Error::Random`] when the system fails, [`Error::Arena`] when there is no locked memory.
pub fn secret(len: usize) -> Result<Secret> {
    let mut outcome = Ok(());
    let secret = Secret::fill(len, |slot| outcome = getrandom::fill(slot))?;
    outcome.map_err(|_| Error::Random)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ() {
        let (mut a, mut b) = ([0; 24], [0; 24]);
        fill(&mut a);
        fill(&mut b);
        assert_ne!(a, b);
        assert_ne!(secret(32).unwrap().expose_secret(), secret(32).unwrap().expose_secret());
    }
}
