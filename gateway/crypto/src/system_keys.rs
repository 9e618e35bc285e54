//! The root key, and the hub's own keys under it: each random, each with its own epoch
//! (security model §2). One wrapped block holds them all (`docs/formats/wrap.md`).

use std::sync::{Arc, PoisonError, RwLock};

use hub_arena::Secret;
use hub_model::{HubId, Timestamp};
use zeroize::Zeroizing;

use crate::signing_keys::{CheckpointKeys, Previous};
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
/// Without a previous signing key: as it has always been, so that older programs open it.
const FORMAT: u8 = 1;
/// With the previous signing key: u32 epoch ‖ 32 bytes ‖ u64 end of the overlap, in microseconds.
const FORMAT_PREVIOUS: u8 = 2;
/// Keys in the block, each as u32 epoch ‖ 32 bytes.
const KEYS: usize = 6;
const ENTRY_LEN: usize = 4 + 32;
const BLOCK_LEN: usize = 1 + KEYS * ENTRY_LEN;
const PREVIOUS_LEN: usize = ENTRY_LEN + 8;

/// The hub's own keys.
#[derive(Debug)]
pub struct SystemKeys {
    record: RecordKey,
    token: HmacKey,
    privacy: HmacKey,
    digest: HmacKey,
    page_token: HmacKey,
    /// Replaced by a rotation, once that is durable.
    checkpoint: RwLock<Arc<CheckpointKeys>>,
    /// Of the first five, in the order of the block.
    epochs: [u32; KEYS - 1],
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

    /// What checkpoints are signed with now.
    #[must_use]
    pub fn checkpoint_keys(&self) -> Arc<CheckpointKeys> {
        Arc::clone(&self.checkpoint.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Signs with these from now on, unless later ones are there already. To be called once they
    /// are durable.
    pub fn follow_checkpoint_keys(&self, keys: Arc<CheckpointKeys>) {
        let mut current = self.checkpoint.write().unwrap_or_else(PoisonError::into_inner);
        if keys.epoch() >= current.epoch() {
            *current = keys;
        }
    }

    /// Wraps all keys under the root key.
    #[must_use]
    pub fn wrap(&self, root: &RootKey, hub: HubId) -> Vec<u8> {
        self.wrap_with(root, hub, &self.checkpoint_keys())
    }

    /// Wraps all keys under the root key, with these for checkpoints.
    #[must_use]
    pub fn wrap_with(&self, root: &RootKey, hub: HubId, signing: &CheckpointKeys) -> Vec<u8> {
        let secrets: [&Secret; KEYS] = [
            self.record.secret(),
            self.token.secret(),
            self.privacy.secret(),
            self.digest.secret(),
            self.page_token.secret(),
            signing.active().secret(),
        ];
        let epochs = self.epochs.iter().copied().chain([signing.epoch()]);
        // INVARIANT: never grown, so nothing is left behind when it is erased.
        let mut block = Zeroizing::new(Vec::with_capacity(BLOCK_LEN + PREVIOUS_LEN));
        block.push(if signing.previous().is_some() { FORMAT_PREVIOUS } else { FORMAT });
        for (secret, epoch) in secrets.iter().zip(epochs) {
            block.extend_from_slice(&epoch.to_be_bytes());
            block.extend_from_slice(secret.expose_secret());
        }
        if let Some(previous) = signing.previous() {
            block.extend_from_slice(&previous.epoch.to_be_bytes());
            block.extend_from_slice(previous.key.secret().expose_secret());
            block.extend_from_slice(&previous.until.as_micros().to_be_bytes());
        }
        root.kek().wrap_bytes(&binding(hub), &block)
    }

    /// Unwraps what [`SystemKeys::wrap`] made.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn unwrap(root: &RootKey, hub: HubId, wrapped: &[u8]) -> Result<Self> {
        let block = root.kek().unwrap(&binding(hub), wrapped)?;
        let (entries, previous) = match block.expose_secret().split_first() {
            Some((&FORMAT, entries)) if block.len() == BLOCK_LEN => (entries, None),
            Some((&FORMAT_PREVIOUS, rest)) if block.len() == BLOCK_LEN + PREVIOUS_LEN => {
                let (entries, previous) =
                    rest.split_at_checked(BLOCK_LEN - 1).ok_or(Error::Open)?;
                (entries, Some(previous))
            }
            _ => return Err(Error::Open),
        };
        let mut entries = entries.chunks_exact(ENTRY_LEN);
        let keys = Self::from_secrets(|| take(entries.next().ok_or(Error::Open)?))?;
        let Some(bytes) = previous else { return Ok(keys) };
        let (entry, until) = bytes.split_at_checked(ENTRY_LEN).ok_or(Error::Open)?;
        let (secret, epoch) = take(entry)?;
        let until = until.try_into().map_err(|_| Error::Open)?;
        let until = Timestamp::from_micros(i64::from_be_bytes(until));
        let previous = Previous { key: Arc::new(SigningKey::from_secret(secret)?), epoch, until };
        let signing = keys.checkpoint_keys().with_previous(Some(previous));
        keys.follow_checkpoint_keys(Arc::new(signing));
        Ok(keys)
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
            checkpoint: RwLock::new(Arc::new(CheckpointKeys::new(
                SigningKey::from_secret(checkpoint)?,
                checkpoint_epoch,
            ))),
            epochs: [record_epoch, token_epoch, privacy_epoch, digest_epoch, page_token_epoch],
        })
    }
}

/// An entry of the block: u32 epoch ‖ 32 bytes.
fn take(entry: &[u8]) -> Result<(Secret, u32)> {
    let (epoch, key) = entry.split_first_chunk::<4>().ok_or(Error::Open)?;
    Ok((Secret::copy_from(key)?, u32::from_be_bytes(*epoch)))
}

const fn binding(hub: HubId) -> Binding<'static> {
    Binding::hub(WrapPurpose::SystemKeys, hub, PATH)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The layout of `docs/formats/wrap.md`, byte by byte.
    #[test]
    fn the_block_of_an_overlap_ends_with_the_key_before() {
        let root = RootKey::generate(1).unwrap();
        let hub = HubId::from_bytes([7; 16]);
        let keys = SystemKeys::generate().unwrap();
        let open = |wrapped: &[u8]| root.kek().unwrap(&binding(hub), wrapped).unwrap();
        let alone = open(&keys.wrap(&root, hub));
        assert_eq!((alone.expose_secret()[0], alone.len()), (1, 217));
        let now = Timestamp::from_micros(1_795_000_000_000_000);
        let old = keys.checkpoint_keys();
        let rotated = old.rotated(now, Duration::from_secs(1)).unwrap();
        let block = open(&keys.wrap_with(&root, hub, &rotated));
        let bytes = block.expose_secret();
        assert_eq!((bytes[0], bytes.len()), (2, 261));
        assert_eq!(bytes[1..181], alone.expose_secret()[1..181]);
        assert_eq!(bytes[181..185], [0, 0, 0, 2]);
        assert_eq!(bytes[185..217], *rotated.active().secret().expose_secret());
        assert_eq!(bytes[217..221], [0, 0, 0, 1]);
        assert_eq!(bytes[221..253], *old.active().secret().expose_secret());
        assert_eq!(bytes[253..], 1_795_000_001_000_000_i64.to_be_bytes());
    }
}
