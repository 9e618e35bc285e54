//! The versions of one key that are in use, and what can be done with them. Dropping a keyring
//! erases every version nobody else holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hub_model::{Algorithm, KeyId, RegistrationId, SecretBytes};

use crate::{Envelope, Error, Material, Result, envelope};

/// A key ready for use: its versions by number and one primary.
#[derive(Clone)]
pub struct Keyring {
    key: KeyId,
    registration: RegistrationId,
    algorithm: Algorithm,
    primary: u32,
    versions: BTreeMap<u32, Arc<Material>>,
}

impl Keyring {
    /// A keyring without versions, which will seal under `primary` once that is inserted.
    #[must_use]
    pub const fn new(
        key: KeyId,
        registration: RegistrationId,
        algorithm: Algorithm,
        primary: u32,
    ) -> Self {
        Self { key, registration, algorithm, primary, versions: BTreeMap::new() }
    }

    /// Adds a version, or replaces one. Material of another algorithm is left out: it could open
    /// nothing of this key.
    pub fn insert(&mut self, version: u32, material: impl Into<Arc<Material>>) {
        let material = material.into();
        if material.algorithm() == self.algorithm {
            self.versions.insert(version, material);
        }
    }

    /// Lets go of the oldest versions until there are `most`; the primary and `keep` stay.
    pub fn limit(&mut self, most: usize, keep: u32) {
        let mut beyond = self.versions.len().saturating_sub(most);
        let primary = self.primary;
        self.versions.retain(|version, _| {
            let goes = beyond > 0 && *version != primary && *version != keep;
            beyond -= usize::from(goes);
            !goes
        });
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// The registration the key belongs to.
    #[must_use]
    pub const fn registration(&self) -> RegistrationId {
        self.registration
    }

    /// The key's algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Number of the version that seals.
    #[must_use]
    pub const fn primary(&self) -> u32 {
        self.primary
    }

    /// The numbers of the versions inside, ascending.
    pub fn versions(&self) -> impl Iterator<Item = u32> + '_ {
        self.versions.keys().copied()
    }

    /// The material of a version, to wrap it anew or share it with another keyring.
    #[must_use]
    pub fn material(&self, version: u32) -> Option<&Arc<Material>> {
        self.versions.get(&version)
    }

    /// Encrypts under the primary version.
    ///
    /// # Errors
    /// [`Error::NoVersion`] when the primary is not in the keyring;
    /// [`Error::PlaintextTooLong`].
    pub fn seal(&self, context: &[u8], plaintext: &[u8]) -> Result<String> {
        let material = self.versions.get(&self.primary).ok_or(Error::NoVersion(self.primary))?;
        envelope::seal(material, self.key, self.primary, self.registration, context, plaintext)
    }

    /// Decrypts under the version the envelope names.
    ///
    /// # Errors
    /// [`Error::Open`], also when that version is not in the keyring.
    pub fn open(&self, envelope: &Envelope, context: &[u8]) -> Result<SecretBytes> {
        let version = envelope.header().version;
        let material = self.versions.get(&version).ok_or(Error::Open)?;
        envelope::open(material, envelope, self.key, version, self.registration, context)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("key", &self.key)
            .field("primary", &self.primary)
            .field("versions", &self.versions.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_versions_go_first_and_the_primary_never() {
        let mut ring = keyring(1, &[1, 2, 3, 4, 5]);
        ring.limit(3, 2);
        assert_eq!(ring.versions().collect::<Vec<_>>(), [1, 2, 5]);
        ring.limit(3, 2);
        assert_eq!(ring.versions().count(), 3);
        ring.limit(0, 5);
        assert_eq!(ring.versions().collect::<Vec<_>>(), [1, 5]);
    }

    fn keyring(primary: u32, versions: &[u32]) -> Keyring {
        let (key, registration) = (KeyId::generate(), RegistrationId::generate());
        let mut ring = Keyring::new(key, registration, Algorithm::Aes256Gcm, primary);
        for version in versions {
            ring.insert(*version, Material::generate(Algorithm::Aes256Gcm).unwrap());
        }
        ring
    }

    #[test]
    fn seals_under_the_primary_and_opens_any_version() {
        let mut ring = keyring(1, &[1, 2]);
        let old = Envelope::parse(&ring.seal(b"ctx", b"one").unwrap()).unwrap();
        ring.primary = 2;
        let new = Envelope::parse(&ring.seal(b"ctx", b"two").unwrap()).unwrap();
        assert_eq!((old.header().version, new.header().version), (1, 2));
        assert_eq!(ring.open(&old, b"ctx").unwrap().expose_secret(), b"one");
        assert_eq!(ring.open(&new, b"ctx").unwrap().expose_secret(), b"two");
        ring.versions.remove(&1);
        assert!(matches!(ring.open(&old, b"ctx"), Err(Error::Open)));
    }

    #[test]
    fn a_missing_primary_and_foreign_material_are_refused() {
        let mut ring = keyring(3, &[1]);
        assert!(matches!(ring.seal(b"", b""), Err(Error::NoVersion(3))));
        ring.insert(3, Material::generate(Algorithm::ChaCha20Poly1305).unwrap());
        assert!(matches!(ring.seal(b"", b""), Err(Error::NoVersion(3))));
    }
}
