//! Messages sealed under the key itself (security model §4, suites 3 to 6).
//!
//! ```text
//! sealed = head ‖ nonce (by suite) ‖ ciphertext ‖ tag (16)
//! ```
//! The associated data is head ‖ nonce ‖ binding. AES-SIV has it as two components, head ‖ nonce
//! (of no bytes) and binding, so that no byte can move from one to the other.

use zeroize::Zeroizing;

use crate::aead::{Aad, Direct, TAG_LEN};
use crate::{Error, Result};

/// Seals into one buffer allocated once. INVARIANT: `nonce` is fresh from [`crate::random`], other
/// than in tests of the frozen formats.
pub(crate) fn seal(
    cipher: &dyn Direct,
    key: &[u8],
    head: &[u8],
    nonce: &[u8],
    binding: [&[u8]; 2],
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    let header_len = head.len() + nonce.len();
    let mut sealed = Vec::with_capacity(header_len + plaintext.len() + TAG_LEN);
    sealed.extend_from_slice(head);
    sealed.extend_from_slice(nonce);
    let aad = associated(&sealed, binding);
    sealed.extend_from_slice(plaintext);
    let body = sealed.get_mut(header_len..).unwrap_or_default();
    // INVARIANT: key and nonce have the suite's lengths, and a message is far below 64 GiB.
    let tag = cipher
        .seal(key, nonce, Aad { whole: &aad, header_len }, body)
        .ok_or(Error::PlaintextTooLong(plaintext.len()))?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens what [`seal`] made with a head of this length. The caller has checked the head.
pub(crate) fn open(
    cipher: &dyn Direct,
    key: &[u8],
    head_len: usize,
    binding: [&[u8]; 2],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let header_len = head_len + cipher.nonce_len();
    let (header, rest) = sealed.split_at_checked(header_len).ok_or(Error::Open)?;
    let (body, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(Error::Open)?;
    let nonce = header.get(head_len..).ok_or(Error::Open)?;
    let aad = associated(header, binding);
    let mut plaintext = Zeroizing::new(vec![0; body.len()]);
    cipher
        .open(key, nonce, Aad { whole: &aad, header_len }, body, &mut plaintext, tag)
        .ok_or(Error::Open)?;
    Ok(plaintext)
}

fn associated(header: &[u8], [registration, context]: [&[u8]; 2]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(header.len() + registration.len() + context.len());
    for part in [header, registration, context] {
        aad.extend_from_slice(part);
    }
    aad
}
