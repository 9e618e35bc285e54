//! Authenticated encryption: 256-bit key, 96-bit nonce, 128-bit tag, detached.
//!
//! These are the bare algorithms. Nobody outside the crate seals data with them, because a caller
//! who chooses nonces chooses wrong sooner or later; they are public for the conformance vectors.

pub mod aes_gcm;
pub mod chacha20_poly1305;
mod registry;

pub use self::registry::suite;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// One authenticated cipher. Implementations erase their key schedule before they return.
pub trait Aead: Send + Sync {
    /// Encrypts the buffer in place and gives the tag. `None` when the input is longer than the
    /// algorithm allows (64 GiB and more).
    #[must_use]
    fn seal(
        &self,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]>;

    /// Checks the tag, then decrypts from `input` to `output`, which are equally long. `None`,
    /// with `output` unchanged, when the tag is wrong.
    #[must_use]
    fn open(
        &self,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()>;
}
