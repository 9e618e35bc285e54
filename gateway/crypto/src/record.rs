//! Records as the store sees them: sealed, and bound to the path they lie under
//! (`docs/formats/record.md`). A record moved to another path does not open.

use std::fmt;

use hub_arena::Secret;
use zeroize::Zeroizing;

use crate::committing::{self, Opening, SALT_LEN};
use crate::{Error, Result, aead, hash, mac, random};

const LABEL: &[u8] = b"cipher-hub/v1/record";
const FORMAT: u8 = 1;
/// format ‖ epoch of the record key.
const HEAD_LEN: usize = 5;

/// What sealing adds to a record, in bytes.
pub const OVERHEAD: usize = HEAD_LEN + committing::OVERHEAD;

/// The key records are sealed with.
pub struct RecordKey {
    secret: Secret,
    /// HKDF-Extract("cipher-hub/v1/record", secret).
    prk: Secret,
    epoch: u32,
}

impl RecordKey {
    /// A fresh key, of epoch 1.
    ///
    /// # Errors
    /// As [`random::secret`].
    pub fn generate() -> Result<Self> {
        Self::from_secret(random::secret(32)?, 1)
    }

    /// The key of these 32 bytes.
    ///
    /// # Errors
    /// [`Error::SecretLength`].
    pub fn from_secret(secret: Secret, epoch: u32) -> Result<Self> {
        if secret.len() != 32 {
            let (found, expected) = (secret.len(), 32);
            return Err(Error::SecretLength { what: "a record key", found, expected });
        }
        let prk = mac::extract(LABEL, &secret)?;
        Ok(Self { secret, prk, epoch })
    }

    /// The key's epoch.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Seals a record for the path.
    #[must_use]
    pub fn seal(&self, path: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut salt = [0; SALT_LEN];
        random::fill(&mut salt);
        self.seal_with_salt(path, plaintext, &salt)
    }

    /// INVARIANT: a salt other than from [`random`] occurs in tests of the frozen samples only.
    pub(crate) fn seal_with_salt(
        &self,
        path: &[u8],
        plaintext: &[u8],
        salt: &[u8; SALT_LEN],
    ) -> Vec<u8> {
        let (head, prk) = (self.head(), self.prk.expose_secret());
        committing::seal(aead::aes_256_gcm(), prk, &head, salt, &hash::sha256(path), plaintext)
    }

    /// Opens the record sealed for the path.
    ///
    /// # Errors
    /// [`Error::Open`], whatever the cause.
    pub fn open(&self, path: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        if sealed.get(..HEAD_LEN) != Some(&self.head()) {
            return Err(Error::Open);
        }
        Opening::new(self.prk.expose_secret(), HEAD_LEN, &hash::sha256(path), sealed)?
            .into_vec(aead::aes_256_gcm())
    }

    fn head(&self) -> [u8; HEAD_LEN] {
        let [a, b, c, d] = self.epoch.to_be_bytes();
        [FORMAT, a, b, c, d]
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({}, [secret])", self.epoch)
    }
}
