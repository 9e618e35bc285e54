//! The only home of key bytes: algorithms, keyrings, envelopes, seals.
//!
//! Synchronous, without `unsafe`, and without I/O except the two files of `seal/`. What must stay
//! true: no function hands key bytes to another crate, callers choose no nonce or salt, and every
//! failed open is the single [`Error::Open`]. Byte layouts are frozen in `docs/formats/`.

pub mod aead;
pub mod asymmetric;
mod committing;
#[doc(hidden)]
pub mod conformance;
mod direct;
pub mod envelope;
mod error;
#[cfg(test)]
mod frozen;
pub mod hash;
pub mod import;
mod jwk;
pub mod jws;
pub mod kdf;
pub mod keyring;
pub mod keywrap;
pub mod mac;
pub mod material;
pub mod provider;
pub mod random;
pub mod record;
pub mod seal;
pub mod sign;
pub mod signing_keys;
pub mod stream;
pub mod system_keys;
pub mod transport;
pub mod wrap;

pub use hub_arena::{Secret, status as arena_status};

pub use crate::envelope::{Envelope, Header, MAX_PLAINTEXT};
pub use crate::error::Error;
pub use crate::import::KeyFormat;
pub use crate::keyring::Keyring;
pub use crate::mac::{HmacKey, ct_eq};
pub use crate::material::Material;
pub use crate::record::RecordKey;
pub use crate::seal::{KeyFileSeal, Seal, SealFile, SealSlot};
pub use crate::sign::{SigningKey, VerifyingKey};
pub use crate::system_keys::{RootKey, SystemKeys};
pub use crate::transport::TransportForm;
pub use crate::wrap::{Binding, Kek, Origin, WrapPurpose};

/// The shorthand of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
