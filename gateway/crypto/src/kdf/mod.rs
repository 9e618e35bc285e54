//! Keys derived from key material: HKDF from the key itself, PBKDF2 and Argon2id from a password
//! that the key peppers.
//!
//! What goes where is written at each function and in `docs/formats/derivation.md`, byte for byte;
//! nothing else is mixed in. What the caller wants bound (registration, purpose, context) it puts
//! into `info` or `salt`. What must stay true: equal inputs give equal outputs for ever.

pub mod argon2id;
pub mod hkdf;
pub mod pbkdf2;
pub mod plan;

use hub_arena::Secret;
use hub_model::algorithm::{Hash, Kind};

use crate::{Error, Material, Result};

/// The most bytes one derivation gives.
pub const MAX_OUTPUT: usize = 1024;
/// The fewest bytes of a salt for a password.
pub const MIN_PASSWORD_SALT: usize = 16;

/// What a secret is derived from besides the key. The kind must be that of the key's algorithm.
#[derive(Clone, Copy)]
pub enum Derivation<'a> {
    /// HKDF (RFC 5869).
    Hkdf {
        /// Salt of the extract step; may be empty.
        salt: &'a [u8],
        /// What the output is for; may be empty.
        info: &'a [u8],
    },
    /// PBKDF2 (RFC 8018 §5.2).
    Pbkdf2 {
        /// The password.
        password: &'a [u8],
        /// At least [`MIN_PASSWORD_SALT`] bytes.
        salt: &'a [u8],
        /// Within [`pbkdf2::ITERATIONS`].
        iterations: u32,
    },
    /// Argon2id (RFC 9106).
    Argon2id {
        /// The password.
        password: &'a [u8],
        /// At least [`MIN_PASSWORD_SALT`] bytes.
        salt: &'a [u8],
        /// What it costs.
        cost: argon2id::Cost,
    },
}

/// Derives a secret of `len` bytes, 1 to [`MAX_OUTPUT`] (Argon2id: 4 or more). Slow for passwords:
/// to be run on a bounded pool.
///
/// # Errors
/// [`Error::WrongUse`] when the key's algorithm is another one; [`Error::Parameter`] for lengths
/// and costs out of bounds; [`Error::Arena`].
pub fn derive(material: &Material, from: &Derivation<'_>, len: usize) -> Result<Secret> {
    if !(1..=MAX_OUTPUT).contains(&len) {
        return Err(Error::Parameter("the output may have 1 to 1024 bytes"));
    }
    let key = material.secret().expose_secret();
    match (material.algorithm().row().kind, *from) {
        (Kind::Hkdf(hash), Derivation::Hkdf { salt, info }) => {
            hkdf::derive(hash, key, salt, info, len)
        }
        (Kind::Pbkdf2(hash), Derivation::Pbkdf2 { password, salt, iterations }) => {
            check_salt(salt)?;
            pbkdf2::derive(hash, key, password, salt, iterations, len)
        }
        (Kind::Argon2id, Derivation::Argon2id { password, salt, cost }) => {
            check_salt(salt)?;
            argon2id::derive(key, password, salt, cost, len)
        }
        _ => Err(Error::WrongUse),
    }
}

/// Derives from a secret that is no key of the hub, such as one agreed on with a peer: HKDF (RFC
/// 5869) to `len` bytes, 1 to [`MAX_OUTPUT`].
///
/// # Errors
/// [`Error::Parameter`] for lengths out of bounds; [`Error::Arena`].
pub fn derive_from(
    hash: Hash,
    secret: &Secret,
    salt: &[u8],
    info: &[u8],
    len: usize,
) -> Result<Secret> {
    if !(1..=MAX_OUTPUT).contains(&len) {
        return Err(Error::Parameter("the output may have 1 to 1024 bytes"));
    }
    hkdf::derive(hash, secret.expose_secret(), salt, info, len)
}

fn check_salt(salt: &[u8]) -> Result<()> {
    if salt.len() < MIN_PASSWORD_SALT {
        return Err(Error::Parameter("the salt of a password needs 16 bytes or more"));
    }
    Ok(())
}

/// Fills a secret, carrying out what went wrong meanwhile.
fn fill(len: usize, write: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Secret> {
    let mut outcome = Ok(());
    let secret = Secret::fill(len, |slot| outcome = write(slot))?;
    outcome.map(|()| secret)
}

#[cfg(test)]
mod tests {
    use hub_model::Algorithm;
    use hub_model::algorithm::ALGORITHMS;

    use super::*;

    const SALT: &[u8] = b"a salt of sixteen";

    fn all() -> [Derivation<'static>; 3] {
        [
            Derivation::Hkdf { salt: b"", info: b"info" },
            Derivation::Pbkdf2 {
                password: b"password",
                salt: SALT,
                iterations: pbkdf2::DEFAULT_ITERATIONS,
            },
            Derivation::Argon2id {
                password: b"password",
                salt: SALT,
                cost: argon2id::Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 },
            },
        ]
    }

    fn refused(algorithm: Algorithm, from: &Derivation<'_>, len: usize) -> Error {
        derive(&Material::generate(algorithm).unwrap(), from, len).unwrap_err()
    }

    #[test]
    fn each_algorithm_takes_its_own_parameters_only() {
        for row in ALGORITHMS.iter().filter(|row| !row.algorithm.is_asymmetric()) {
            let own = match row.kind {
                Kind::Hkdf(_) => Some(0),
                Kind::Pbkdf2(_) => Some(1),
                Kind::Argon2id => Some(2),
                _ => None,
            };
            for (at, from) in all().iter().enumerate() {
                if Some(at) != own {
                    assert!(matches!(refused(row.algorithm, from, 32), Error::WrongUse));
                }
            }
        }
    }

    #[test]
    fn every_input_changes_the_output() {
        let material = Material::generate(Algorithm::HkdfSha384).unwrap();
        let out =
            |salt, info, len| derive(&material, &Derivation::Hkdf { salt, info }, len).unwrap();
        let first = out(b"s", b"i", 100);
        assert_eq!(first.expose_secret(), out(b"s", b"i", 100).expose_secret());
        assert_eq!(first.expose_secret()[..60], *out(b"s", b"i", 60).expose_secret());
        assert_ne!(first.expose_secret(), out(b"t", b"i", 100).expose_secret());
        assert_ne!(first.expose_secret(), out(b"s", b"j", 100).expose_secret());
        let other = Material::generate(Algorithm::HkdfSha384).unwrap();
        let from = Derivation::Hkdf { salt: b"s", info: b"i" };
        assert_ne!(first.expose_secret(), derive(&other, &from, 100).unwrap().expose_secret());
    }

    #[test]
    fn bounds_are_kept() {
        let [hkdf, _, _] = all();
        for len in [0, MAX_OUTPUT + 1, usize::MAX] {
            assert!(matches!(refused(Algorithm::HkdfSha256, &hkdf, len), Error::Parameter(_)));
        }
        let material = Material::generate(Algorithm::HkdfSha256).unwrap();
        assert_eq!(derive(&material, &hkdf, MAX_OUTPUT).unwrap().len(), MAX_OUTPUT);
        let password: &[u8] = b"p";
        for (salt, iterations) in [(SALT, 599_999), (SALT, 10_000_001), (&SALT[..15], 600_000)] {
            let from = Derivation::Pbkdf2 { password, salt, iterations };
            for algorithm in [Algorithm::Pbkdf2Sha256, Algorithm::Pbkdf2Sha512] {
                assert!(matches!(refused(algorithm, &from, 32), Error::Parameter(_)));
            }
        }
        let good = argon2id::Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
        for (salt, cost, len) in [
            (&SALT[..15], good, 32),
            (SALT, good, 3),
            (SALT, argon2id::Cost { memory_kib: 19 * 1024 - 1, ..good }, 32),
            (SALT, argon2id::Cost { memory_kib: 1024 * 1024 + 1, ..good }, 32),
            (SALT, argon2id::Cost { passes: 1, ..good }, 32),
            (SALT, argon2id::Cost { passes: 11, ..good }, 32),
            (SALT, argon2id::Cost { lanes: 0, ..good }, 32),
            (SALT, argon2id::Cost { lanes: 5, ..good }, 32),
        ] {
            let from = Derivation::Argon2id { password, salt, cost };
            assert!(matches!(refused(Algorithm::Argon2id, &from, len), Error::Parameter(_)));
        }
    }
}
