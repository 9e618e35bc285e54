//! Secrets wrapped under key-encryption keys (`docs/formats/wrap.md`).
//!
//! What must stay true: a wrapped secret opens only under everything it was bound to when it was
//! wrapped; moved to another path, key, version or hub, or with a weakening attribute changed, it
//! does not open. Names are not bound; uids are.

use std::fmt;

use hub_arena::Secret;
use hub_model::{Algorithm, HubId, KeyId, RegistrationId};

use crate::committing::{self, Opening, SALT_LEN};
use crate::{Error, Material, Result, aead, hash, mac, random};

const LABEL: &[u8] = b"cipher-hub/v1/wrap";
const FORMAT: u8 = 1;
/// format ‖ purpose ‖ epoch of the wrapping key.
const HEAD_LEN: usize = 6;

/// What a wrapped secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WrapPurpose {
    /// Material of one key version, under its registration's KEK.
    Material = 1,
    /// A registration's KEK, under the root key.
    Kek = 2,
    /// The hub's own keys, under the root key.
    SystemKeys = 3,
    /// The root key, under a seal.
    RootKey = 4,
    /// The private key of an import job, under its registration's KEK.
    ImportJob = 5,
}

/// Where key material came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// Drawn inside the hub.
    Generated = 1,
    /// Brought in by a caller.
    Imported = 2,
    /// Derived inside the hub from another key.
    Derived = 3,
}

/// Everything a wrapped secret is bound to, besides format and epoch. Parts that do not apply are
/// absent.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// What the secret is.
    pub purpose: WrapPurpose,
    /// The hub.
    pub hub: HubId,
    /// The path of the record the wrapped bytes lie in.
    pub path: &'a [u8],
    /// The registration it belongs to.
    pub registration: Option<RegistrationId>,
    /// The key it is a version of.
    pub key: Option<KeyId>,
    /// Its version.
    pub version: u32,
    /// Its algorithm.
    pub algorithm: Option<Algorithm>,
    /// Where it came from.
    pub origin: Origin,
    /// Whether it may ever leave the hub.
    pub exportable: bool,
}

impl<'a> Binding<'a> {
    /// The binding of a secret that belongs to the hub as a whole.
    #[must_use]
    pub const fn hub(purpose: WrapPurpose, hub: HubId, path: &'a [u8]) -> Self {
        Self {
            purpose,
            hub,
            path,
            registration: None,
            key: None,
            version: 0,
            algorithm: None,
            origin: Origin::Generated,
            exportable: false,
        }
    }

    /// The binding of a version of a registration's KEK.
    #[must_use]
    pub const fn kek(hub: HubId, path: &'a [u8], owner: RegistrationId, version: u32) -> Self {
        Self { registration: Some(owner), version, ..Self::hub(WrapPurpose::Kek, hub, path) }
    }

    /// Canonical bytes: every part as u32 length ‖ bytes, in this order; an absent part is empty.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        let version = self.version.to_be_bytes();
        let parts: [&[u8]; 9] = [
            &[self.purpose as u8],
            self.hub.as_bytes(),
            self.path,
            self.registration.as_ref().map_or(&[], |id| id.as_bytes()),
            self.key.as_ref().map_or(&[], |id| id.as_bytes()),
            &version,
            self.algorithm.map_or(&[], |algorithm| algorithm.name().as_bytes()),
            &[self.origin as u8],
            &[u8::from(self.exportable)],
        ];
        let mut out = Vec::with_capacity(128 + self.path.len());
        for part in parts {
            // INVARIANT: no part comes near 4 GiB; the path is a record's.
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

/// A key-encryption key: 32 bytes in the arena and the epoch (version) they have in the key above.
pub struct Kek {
    secret: Secret,
    /// HKDF-Extract("cipher-hub/v1/wrap", secret).
    prk: Secret,
    epoch: u32,
}

impl Kek {
    /// A fresh key.
    ///
    /// # Errors
    /// As [`random::secret`].
    pub fn generate(epoch: u32) -> Result<Self> {
        Self::from_secret(random::secret(32)?, epoch)
    }

    /// The key of these 32 bytes.
    ///
    /// # Errors
    /// [`Error::SecretLength`].
    pub fn from_secret(secret: Secret, epoch: u32) -> Result<Self> {
        if secret.len() != 32 {
            let (found, expected) = (secret.len(), 32);
            return Err(Error::SecretLength { what: "a wrapping key", found, expected });
        }
        let prk = mac::extract(LABEL, &secret)?;
        Ok(Self { secret, prk, epoch })
    }

    /// The key's epoch.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Wraps a secret.
    #[must_use]
    pub fn wrap(&self, binding: &Binding<'_>, secret: &Secret) -> Vec<u8> {
        self.wrap_bytes(binding, secret.expose_secret())
    }

    /// Wraps the material of a key version. The algorithm bound is the material's own.
    #[must_use]
    pub fn wrap_material(&self, binding: &Binding<'_>, material: &Material) -> Vec<u8> {
        let binding = Binding { algorithm: Some(material.algorithm()), ..*binding };
        self.wrap(&binding, material.secret())
    }

    /// Wraps another KEK: a registration's under the root key's.
    #[must_use]
    pub fn wrap_kek(&self, binding: &Binding<'_>, kek: &Self) -> Vec<u8> {
        self.wrap(binding, &kek.secret)
    }

    pub(crate) fn wrap_bytes(&self, binding: &Binding<'_>, secret: &[u8]) -> Vec<u8> {
        let mut salt = [0; SALT_LEN];
        random::fill(&mut salt);
        self.wrap_with_salt(binding, secret, &salt)
    }

    /// INVARIANT: a salt other than from [`random`] occurs in tests of the frozen samples only.
    pub(crate) fn wrap_with_salt(
        &self,
        binding: &Binding<'_>,
        secret: &[u8],
        salt: &[u8; SALT_LEN],
    ) -> Vec<u8> {
        let digest = hash::sha256(&binding.canonical());
        let (head, prk) = (self.head(binding), self.prk.expose_secret());
        committing::seal(aead::aes_256_gcm(), prk, &head, salt, &digest, secret)
    }

    /// Unwraps a secret, straight into the arena.
    ///
    /// # Errors
    /// [`Error::Open`], whatever the cause: another key, another binding, another epoch, damage.
    pub fn unwrap(&self, binding: &Binding<'_>, wrapped: &[u8]) -> Result<Secret> {
        if wrapped.get(..HEAD_LEN) != Some(&self.head(binding)) {
            return Err(Error::Open);
        }
        let digest = hash::sha256(&binding.canonical());
        Opening::new(self.prk.expose_secret(), HEAD_LEN, &digest, wrapped)?
            .into_secret(aead::aes_256_gcm())
    }

    /// Unwraps the material of a key version of the algorithm.
    ///
    /// # Errors
    /// As [`Kek::unwrap`]; [`Error::SecretLength`] when it is not material of that algorithm.
    pub fn unwrap_material(
        &self,
        binding: &Binding<'_>,
        algorithm: Algorithm,
        wrapped: &[u8],
    ) -> Result<Material> {
        let binding = Binding { algorithm: Some(algorithm), ..*binding };
        Material::from_secret(algorithm, self.unwrap(&binding, wrapped)?)
    }

    /// Unwraps another KEK; its epoch is the version it is bound to.
    ///
    /// # Errors
    /// As [`Kek::unwrap`].
    pub fn unwrap_kek(&self, binding: &Binding<'_>, wrapped: &[u8]) -> Result<Self> {
        Self::from_secret(self.unwrap(binding, wrapped)?, binding.version)
    }

    /// The epoch of the key that wrapped these bytes, to find that key by. Not authenticated.
    ///
    /// # Errors
    /// [`Error::Open`] when the bytes are not of this format.
    pub fn epoch_of(wrapped: &[u8]) -> Result<u32> {
        match wrapped.first_chunk::<HEAD_LEN>() {
            Some(&[FORMAT, _, a, b, c, d]) => Ok(u32::from_be_bytes([a, b, c, d])),
            _ => Err(Error::Open),
        }
    }

    fn head(&self, binding: &Binding<'_>) -> [u8; HEAD_LEN] {
        let [a, b, c, d] = self.epoch.to_be_bytes();
        [FORMAT, binding.purpose as u8, a, b, c, d]
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({}, [secret])", self.epoch)
    }
}
