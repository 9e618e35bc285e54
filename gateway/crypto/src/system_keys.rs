//! The root key, and the hub's own keys under it: each random, each with its own epoch
//! (security model §2). One wrapped block holds them all (`docs/formats/wrap.md`).

use hub_arena::Secret;
use hub_model::HubId;
use zeroize::Zeroizing;

use crate::wrap::{Binding, WrapPurpose};
use crate::{Error, HmacKey, Kek, RecordKey, Result, SigningKey, random};

/// The key everything else hangs from. Wrapped by seals, never by anything below it.
#[derive(Debug)]
pub struct RootKey(Kek);

impl RootKey {
    /// A fresh root key.
    ///
    /// # Errors
    /// As [`random::secret`].
    pub fn generate(epoch: u32) -> Result<Self> {
        Kek::generate(epoch).map(Self)
    }

    /// The root key of these 32 bytes.
    ///
    /// # Errors
    /// [`Error::SecretLength`].
    pub fn from_secret(secret: Secret, epoch: u32) -> Result<Self> {
        Kek::from_secret(secret, epoch).map(Self)
    }

    /// The root key as the key that wraps the KEKs of registrations.
    #[must_use]
    pub const fn kek(&self) -> &Kek {
        &self.0
    }

    /// The root key's epoch.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.0.epoch()
    }

    pub(crate) const fn secret(&self) -> &Secret {
        self.0.secret()
    }
}

/// The path the wrapped block is bound to: there is one per hub, wherever it lies.
const PATH: &[u8] = b"system-keys";
const FORMAT: u8 = 1;
/// Keys in the block, each as u32 epoch ‖ 32 bytes.
const KEYS: usize = 6;
const ENTRY_LEN: usize = 4 + 32;
const BLOCK_LEN: usize = 1 + KEYS * ENTRY_LEN;

/// The hub's own keys.
#[derive(Debug)]
pub struct SystemKeys {
    record: RecordKey,
    token: HmacKey,
    privacy: HmacKey,
    digest: HmacKey,
    page_token: HmacKey,
    checkpoint: SigningKey,
    /// In the order of the block.
    epochs: [u32; KEYS],
}

impl SystemKeys {
    /// Fresh keys, all of epoch 1.
    ///
    /// # Errors
    /// As [`random::secret`].
    pub fn generate() -> Result<Self> {
        Self::from_secrets(|| Ok((random::secret(32)?, 1)))
    }

    /// Seals and opens records of the store.
    #[must_use]
    pub const fn record(&self) -> &RecordKey {
        &self.record
    }

    /// Authenticates API keys.
    #[must_use]
    pub const fn token(&self) -> &HmacKey {
        &self.token
    }

    /// Blinds private fields of audit entries.
    #[must_use]
    pub const fn privacy(&self) -> &HmacKey {
        &self.privacy
    }

    /// Keys the state digest.
    #[must_use]
    pub const fn digest(&self) -> &HmacKey {
        &self.digest
    }

    /// Authenticates page tokens.
    #[must_use]
    pub const fn page_token(&self) -> &HmacKey {
        &self.page_token
    }

    /// Signs checkpoints.
    #[must_use]
    pub const fn checkpoint(&self) -> &SigningKey {
        &self.checkpoint
    }

    /// Wraps all keys under the root key.
    #[must_use]
    pub fn wrap(&self, root: &RootKey, hub: HubId) -> Vec<u8> {
        let secrets: [&Secret; KEYS] = [
            self.record.secret(),
            self.token.secret(),
            self.privacy.secret(),
            self.digest.secret(),
            self.page_token.secret(),
            self.checkpoint.secret(),
        ];
        // INVARIANT: never grown, so nothing is left behind when it is erased.
        let mut block = Zeroizing::new(Vec::with_capacity(BLOCK_LEN));
        block.push(FORMAT);
        for (secret, epoch) in secrets.iter().zip(self.epochs) {
            block.extend_from_slice(&epoch.to_be_bytes());
            block.extend_from_slice(secret.expose_secret());
        }
        root.kek().wrap_bytes(&binding(hub), &block)
    }

    /// Unwraps what [`SystemKeys::wrap`] made.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn unwrap(root: &RootKey, hub: HubId, wrapped: &[u8]) -> Result<Self> {
        let block = root.kek().unwrap(&binding(hub), wrapped)?;
        let entries = match block.expose_secret().split_first() {
            Some((&FORMAT, entries)) if block.len() == BLOCK_LEN => entries,
            _ => return Err(Error::Open),
        };
        let mut entries = entries.chunks_exact(ENTRY_LEN);
        Self::from_secrets(|| {
            let entry = entries.next().ok_or(Error::Open)?;
            let (epoch, key) = entry.split_first_chunk::<4>().ok_or(Error::Open)?;
            Ok((Secret::copy_from(key)?, u32::from_be_bytes(*epoch)))
        })
    }

    /// Takes the keys in the order of the block.
    fn from_secrets(mut next: impl FnMut() -> Result<(Secret, u32)>) -> Result<Self> {
        let (record, record_epoch) = next()?;
        let (token, token_epoch) = next()?;
        let (privacy, privacy_epoch) = next()?;
        let (digest, digest_epoch) = next()?;
        let (page_token, page_token_epoch) = next()?;
        let (checkpoint, checkpoint_epoch) = next()?;
        Ok(Self {
            record: RecordKey::from_secret(record, record_epoch)?,
            token: HmacKey::from_secret(token)?,
            privacy: HmacKey::from_secret(privacy)?,
            digest: HmacKey::from_secret(digest)?,
            page_token: HmacKey::from_secret(page_token)?,
            checkpoint: SigningKey::from_secret(checkpoint)?,
            epochs: [
                record_epoch,
                token_epoch,
                privacy_epoch,
                digest_epoch,
                page_token_epoch,
                checkpoint_epoch,
            ],
        })
    }
}

const fn binding(hub: HubId) -> Binding<'static> {
    Binding::hub(WrapPurpose::SystemKeys, hub, PATH)
}
