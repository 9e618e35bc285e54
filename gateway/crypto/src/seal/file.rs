//! The seal file: which slots unseal this hub. JSON, outside the store directory, no secret in it
//! (`docs/formats/seal.md`).

use std::path::Path;

use hub_model::HubId;
use serde::{Deserialize, Serialize};

use super::{Seal, io};
use crate::{Error, Result, RootKey};

/// Slots a hub can have (security model §2).
const MAX_SLOTS: usize = 8;
const MAX_LEN: usize = 64 * 1024;

/// The slots of one hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealFile {
    format: Format,
    /// The hub the root key belongs to.
    pub hub: HubId,
    /// The root key's epoch.
    pub epoch: u32,
    /// The ways to the root key.
    pub slots: Vec<SealSlot>,
}

/// One way to the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealSlot {
    /// Its number, unique in the file.
    pub id: u32,
    /// The kind of seal ([`Seal::kind`]).
    pub kind: String,
    /// What people call it.
    pub label: String,
    /// Where the seal's key is to be found, as the kind understands it; a path for `key-file`.
    pub location: String,
    /// The root key, wrapped by the seal.
    #[serde(with = "base64_text")]
    pub wrapped: Vec<u8>,
    /// The public name of the seal's key ([`Seal::check`]).
    pub check: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "cipher-hub-seal-1")]
    V1,
}

impl SealFile {
    /// A file without slots.
    #[must_use]
    pub const fn new(hub: HubId, epoch: u32) -> Self {
        Self { format: Format::V1, hub, epoch, slots: Vec::new() }
    }

    /// Adds a slot that leads to the root key, and gives its number.
    ///
    /// # Errors
    /// Those of the seal.
    pub fn add(
        &mut self,
        seal: &dyn Seal,
        root: &RootKey,
        label: &str,
        location: &str,
    ) -> Result<u32> {
        let id = self.slots.iter().map(|slot| slot.id).max().map_or(1, |id| id.saturating_add(1));
        self.slots.push(SealSlot {
            id,
            kind: seal.kind().to_owned(),
            label: label.to_owned(),
            location: location.to_owned(),
            wrapped: seal.wrap(root, self.hub)?,
            check: seal.check(),
        });
        Ok(id)
    }

    /// Unwraps the root key through a slot.
    ///
    /// # Errors
    /// [`Error::WrongSeal`] when the seal is not the slot's; [`Error::Open`] when it is, but the
    /// slot is damaged or of another hub.
    pub fn unseal(&self, slot: &SealSlot, seal: &dyn Seal) -> Result<RootKey> {
        if slot.kind != seal.kind() || slot.check != seal.check() {
            return Err(Error::WrongSeal { kind: seal.kind() });
        }
        let root = seal.unwrap(&slot.wrapped, self.hub)?;
        if root.epoch() == self.epoch { Ok(root) } else { Err(Error::Open) }
    }

    /// Reads and checks a seal file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read; [`Error::Unfit`] when it is no seal file, of an
    /// unknown format, or could have been written by other users.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let unfit = |problem| Error::Unfit { path: path.to_owned(), problem };
        let content = io::read(path, MAX_LEN, false)?;
        let file: Self = serde_json::from_slice(&content).map_err(|_| {
            unfit("is not a seal file of format `cipher-hub-seal-1`, or is damaged")
        })?;
        if file.slots.is_empty() || file.slots.len() > MAX_SLOTS {
            return Err(unfit("must have 1 to 8 slots"));
        }
        let ids = file.slots.iter().map(|slot| slot.id);
        if ids.collect::<std::collections::BTreeSet<_>>().len() != file.slots.len() {
            return Err(unfit("has two slots of one number"));
        }
        Ok(file)
    }

    /// Writes the file in one step, with mode 0600: temporary file, sync, rename, sync of the
    /// directory.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut content = serde_json::to_vec_pretty(self)
            .map_err(|source| io::failed("write", path, source.into()))?;
        content.push(b'\n');
        io::replace(path, &content)
    }
}

mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}
