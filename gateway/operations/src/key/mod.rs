//! Operations on keys.

mod batch;
mod change;
mod create;
mod crypto;
mod read;
mod rotate;
mod stream;

pub use batch::{BatchKey, Item};
pub use change::UpdateKey;
pub use create::CreateKey;
pub use crypto::{Decrypt, DecryptAny, Encrypt, Rewrap, RewrapAny};
pub use read::{GetKey, GetVersion, ListKeys, ListVersions};
pub use rotate::RotateKey;
pub use stream::{DecryptStream, EncryptStream, StreamBegun, StreamTotals, UseStream};
