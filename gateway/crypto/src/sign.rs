//! Ed25519 (RFC 8032 §5.1), for checkpoints.

use std::fmt;

use ed25519_dalek::Signer as _;
use hub_arena::Secret;

use crate::{Error, Result, random};

/// A signing key: the 32-byte seed, in the arena.
pub struct SigningKey {
    seed: Secret,
    public: VerifyingKey,
}

impl SigningKey {
    /// A fresh key.
    ///
    /// # Errors
    /// As [`random::secret`].
    pub fn generate() -> Result<Self> {
        Self::from_secret(random::secret(32)?)
    }

    /// The key of this seed.
    ///
    /// # Errors
    /// [`Error::SecretLength`].
    pub fn from_secret(seed: Secret) -> Result<Self> {
        let public = VerifyingKey(expand(&seed)?.verifying_key());
        Ok(Self { seed, public })
    }

    /// Signs the message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        // The expanded key lives on the stack for one signature and is erased on drop: once a
        // second at most, so the extra hash is no cost.
        let seed: &[u8; 32] = self.seed.expose_secret().first_chunk().unwrap_or(&[0; 32]);
        ed25519_dalek::SigningKey::from_bytes(seed).sign(message).to_bytes()
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> VerifyingKey {
        self.public
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.seed
    }
}

fn expand(seed: &Secret) -> Result<ed25519_dalek::SigningKey> {
    let bytes: &[u8; 32] = seed.expose_secret().try_into().map_err(|_| Error::SecretLength {
        what: "an Ed25519 seed",
        found: seed.len(),
        expected: 32,
    })?;
    Ok(ed25519_dalek::SigningKey::from_bytes(bytes))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey([secret], {:?})", self.public)
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// [`Error::PublicKey`] when they are not a point of the curve.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self> {
        ed25519_dalek::VerifyingKey::from_bytes(bytes).map(Self).map_err(|_| Error::PublicKey)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Checks a signature, strictly: no small-order keys, no other spelling of the same signature
    /// (RFC 8032 §5.1.7).
    ///
    /// # Errors
    /// [`Error::Signature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        let signature =
            ed25519_dalek::Signature::from_slice(signature).map_err(|_| Error::Signature)?;
        self.0.verify_strict(message, &signature).map_err(|_| Error::Signature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(")?;
        for byte in self.0.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}
