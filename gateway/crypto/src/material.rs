//! The key bytes of one version, with what is derived from them once.

use std::fmt;

use hub_arena::Secret;
use hub_model::Algorithm;

use crate::{Error, Result, mac, random};

/// Salt of the extract step (security model §4).
const MESSAGE_LABEL: &[u8] = b"cipher-hub/v1/message";

/// Key bytes with their algorithm. Never leaves the crate other than wrapped.
pub struct Material {
    algorithm: Algorithm,
    secret: Secret,
    /// HKDF-Extract("cipher-hub/v1/message", secret), from which every message's key is expanded.
    prk: Secret,
}

impl Material {
    /// Fresh material for the algorithm.
    ///
    /// # Errors
    /// As [`random::secret`].
    pub fn generate(algorithm: Algorithm) -> Result<Self> {
        Self::from_secret(algorithm, random::secret(algorithm.row().secret_len.ok_or(Error::WrongUse)?)?)
    }

    /// Material of these bytes, as unwrapped or imported.
    ///
    /// # Errors
    /// [`Error::SecretLength`] when the algorithm's keys have another length.
    pub fn from_secret(algorithm: Algorithm, secret: Secret) -> Result<Self> {
        let found = secret.len();
        let expected = algorithm.row().secret_len.ok_or(Error::WrongUse)?;
        if found != expected {
            return Err(Error::SecretLength { what: "key material", found, expected });
        }
        let prk = mac::extract(MESSAGE_LABEL, &secret)?;
        Ok(Self { algorithm, secret, prk })
    }

    /// What the material is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn prk(&self) -> &[u8] {
        self.prk.expose_secret()
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({}, [secret])", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lengths_are_refused_and_debug_is_silent() {
        for len in [0, 16, 31, 33] {
            let secret = Secret::fill(len, |_| ()).unwrap();
            assert!(Material::from_secret(Algorithm::Aes256Gcm, secret).is_err());
        }
        let secret = Secret::copy_from(b"canary-canary-canary-canary-cana").unwrap();
        let material = Material::from_secret(Algorithm::Aes256Gcm, secret).unwrap();
        assert_eq!(format!("{material:?}"), "Material(AES_256_GCM, [secret])");
    }
}
