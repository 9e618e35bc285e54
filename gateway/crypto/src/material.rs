//! The key bytes of one version, with what is derived from them once.

use std::fmt;

use hub_arena::Secret;
use hub_model::Algorithm;

use crate::asymmetric::{self, PrivateKey};
use crate::{Error, Result, mac, random};

/// Salt of the extract step (security model §4).
const MESSAGE_LABEL: &[u8] = b"cipher-hub/v1/message";

/// Key bytes with their algorithm. Never leaves the crate other than wrapped.
pub struct Material {
    algorithm: Algorithm,
    secret: Secret,
    prepared: Prepared,
}

/// What is made of the secret once, so that operations need not.
enum Prepared {
    /// Nothing: the secret is used as it is.
    Plain,
    /// HKDF-Extract("cipher-hub/v1/message", secret), from which every message's key is expanded
    /// (suites 1 and 2).
    Prk(Secret),
    /// The private key of an algorithm with a public half.
    Private(Box<dyn PrivateKey>),
}

impl Material {
    /// Fresh material for the algorithm. Slow for RSA, which looks for primes.
    ///
    /// # Errors
    /// As [`random::secret`] and [`asymmetric::generate`].
    pub fn generate(algorithm: Algorithm) -> Result<Self> {
        let row = algorithm.row();
        let secret = if algorithm.is_asymmetric() {
            asymmetric::generate(row.kind)?
        } else {
            random::secret(row.secret_len.ok_or(Error::WrongUse)?)?
        };
        Self::from_secret(algorithm, secret)
    }

    /// Material of these bytes, as unwrapped or imported.
    ///
    /// # Errors
    /// [`Error::SecretLength`] when the algorithm's keys have another length;
    /// [`Error::PrivateKey`] when they are no private key of it.
    pub fn from_secret(algorithm: Algorithm, secret: Secret) -> Result<Self> {
        let (row, found) = (algorithm.row(), secret.len());
        if let Some(expected) = row.secret_len.filter(|expected| *expected != found) {
            return Err(Error::SecretLength { what: "key material", found, expected });
        }
        let prepared = if algorithm.is_asymmetric() {
            Prepared::Private(asymmetric::private_key(row.kind, &secret)?)
        } else if let Some(1 | 2) = algorithm.suite() {
            Prepared::Prk(mac::extract(MESSAGE_LABEL, &secret)?)
        } else {
            Prepared::Plain
        };
        Ok(Self { algorithm, secret, prepared })
    }

    /// What the material is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The private key, to sign, decrypt, agree or decapsulate with, and its public half.
    ///
    /// # Errors
    /// [`Error::WrongUse`] when the algorithm has no public half.
    pub fn private(&self) -> Result<&dyn PrivateKey> {
        match &self.prepared {
            Prepared::Private(key) => Ok(key.as_ref()),
            Prepared::Plain | Prepared::Prk(_) => Err(Error::WrongUse),
        }
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// What keys of messages are expanded from (suites 1 and 2).
    pub(crate) fn prk(&self) -> Result<&[u8]> {
        match &self.prepared {
            Prepared::Prk(prk) => Ok(prk.expose_secret()),
            Prepared::Plain | Prepared::Private(_) => Err(Error::WrongUse),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({}, [secret])", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use hub_model::algorithm::ALGORITHMS;

    use super::*;

    #[test]
    fn wrong_lengths_are_refused_and_debug_is_silent() {
        for row in ALGORITHMS {
            let Some(right) = row.secret_len else { continue };
            for len in [0, 16, right - 1, right + 1] {
                let secret = Secret::fill(len, |_| ()).unwrap();
                let refused = Material::from_secret(row.algorithm, secret);
                assert!(matches!(refused, Err(Error::SecretLength { .. })), "{}", row.name);
            }
        }
        let secret = Secret::copy_from(b"canary-canary-canary-canary-cana").unwrap();
        let material = Material::from_secret(Algorithm::Aes256Gcm, secret).unwrap();
        assert_eq!(format!("{material:?}"), "Material(AES_256_GCM, [secret])");
    }

    #[test]
    fn symmetric_material_holds_what_its_algorithm_needs() {
        for row in ALGORITHMS.iter().filter(|row| !row.algorithm.is_asymmetric()) {
            let material = Material::generate(row.algorithm).unwrap();
            assert_eq!(Some(material.secret().len()), row.secret_len);
            assert_eq!(material.prk().is_ok(), matches!(row.algorithm.suite(), Some(1 | 2)));
            assert!(matches!(material.private(), Err(Error::WrongUse)));
        }
    }

    /// RSA is left out: its keys take seconds, and tests of its own.
    #[test]
    fn asymmetric_material_holds_its_private_key() {
        let rows = ALGORITHMS.iter().filter(|row| row.algorithm.is_asymmetric());
        for row in rows.filter(|row| row.secret_len.is_some()) {
            let material = Material::generate(row.algorithm).unwrap();
            let again = Secret::copy_from(material.secret().expose_secret()).unwrap();
            let again = Material::from_secret(row.algorithm, again).unwrap();
            let raw = |material: &Material| material.private().unwrap().public().raw();
            assert_eq!(raw(&material), raw(&again), "{}", row.name);
            assert!(matches!(material.prk(), Err(Error::WrongUse)));
        }
    }
}
