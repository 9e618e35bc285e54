//! Operations on keys.

mod batch;
mod change;
mod create;
mod crypto;
mod export;
mod import;
mod read;
mod rotate;
mod rsa;
mod stream;
mod uses;

pub use batch::{BatchKey, Item};
pub use change::UpdateKey;
pub use create::CreateKey;
pub use crypto::{Decrypt, DecryptAny, Encrypt, Rewrap, RewrapAny};
pub use export::ExportKey;
pub(crate) use import::ImportJob;
pub use import::{CreateImportJob, ImportKey, ImportVersion};
pub use read::{GetKey, GetVersion, ListKeys, ListVersions};
pub use rotate::RotateKey;
pub use stream::{DecryptStream, EncryptStream, StreamBegun, StreamTotals, UseStream};
pub use uses::{
    Agree, Decapsulate, Derive, Encapsulate, GenerateDataKey, GetPublicKey, Jwks, Mac, Sign,
    Unwrap, Verify, VerifyMac, Wrap,
};
