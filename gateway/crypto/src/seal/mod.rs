//! Seals: ways to the root key from outside the hub. A seal file lists the slots by which a hub
//! can be unsealed; each slot holds the root key wrapped by one seal (`docs/formats/seal.md`).

mod file;
mod io;
mod key_file;

use hub_arena::Secret;
use hub_model::HubId;
use zeroize::Zeroizing;

use crate::wrap::{Binding, WrapPurpose};
use crate::{Error, Kek, Result, RootKey};

pub use self::file::{SealFile, SealSlot};
pub use self::key_file::KeyFileSeal;

/// One way to the root key.
pub trait Seal: Send + Sync {
    /// The kind, as in the seal file.
    fn kind(&self) -> &'static str;

    /// A public name of the key inside, by which a slot tells a wrong key from damage.
    fn check(&self) -> String;

    /// Wraps the root key.
    ///
    /// # Errors
    /// Those of the kind of seal; none for a key file.
    fn wrap(&self, root: &RootKey, hub: HubId) -> Result<Vec<u8>>;

    /// Unwraps the root key.
    ///
    /// # Errors
    /// [`Error::Open`] when the seal is not the one that wrapped it, the hub another, or the bytes
    /// are damaged.
    fn unwrap(&self, wrapped: &[u8], hub: HubId) -> Result<RootKey>;
}

/// The path a wrapped root key is bound to, in every slot alike.
const PATH: &[u8] = b"root-key";

/// The common half of seals that end in a symmetric key: u32 epoch ‖ root key, wrapped.
fn wrap_root(kek: &Kek, root: &RootKey, hub: HubId) -> Vec<u8> {
    // INVARIANT: never grown, so nothing is left behind when it is erased.
    let mut block = Zeroizing::new(Vec::with_capacity(36));
    block.extend_from_slice(&root.epoch().to_be_bytes());
    block.extend_from_slice(root.secret().expose_secret());
    kek.wrap_bytes(&Binding::hub(WrapPurpose::RootKey, hub, PATH), &block)
}

fn unwrap_root(kek: &Kek, wrapped: &[u8], hub: HubId) -> Result<RootKey> {
    let block = kek.unwrap(&Binding::hub(WrapPurpose::RootKey, hub, PATH), wrapped)?;
    let (epoch, key) = block.expose_secret().split_first_chunk::<4>().ok_or(Error::Open)?;
    RootKey::from_secret(Secret::copy_from(key)?, u32::from_be_bytes(*epoch))
}
