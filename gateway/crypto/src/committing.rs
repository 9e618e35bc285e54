//! The one construction everything sealed here uses (security model §4, C suites): a fresh key per
//! message, derived from a random salt and from all that the message is bound to, with half of
//! the derived bytes written out as a commitment. A message opens under one key, one header, one
//! binding; nonces cannot repeat, because no key is used twice.
//!
//! ```text
//! sealed = head ‖ salt (24) ‖ commitment (32) ‖ ciphertext ‖ tag (16)
//! okm    = HKDF-Expand(prk, head ‖ salt ‖ binding, 64); key = okm[..32]; commitment = okm[32..]
//! ```
//! The AEAD runs with a nonce of zeros and with head ‖ salt ‖ commitment as associated data.

use hub_arena::Secret;
use zeroize::Zeroizing;

use crate::aead::{Aead, TAG_LEN};
use crate::{Error, Result, mac};

pub(crate) const SALT_LEN: usize = 24;
pub(crate) const COMMITMENT_LEN: usize = 32;
/// What sealing adds to head and plaintext.
pub(crate) const OVERHEAD: usize = SALT_LEN + COMMITMENT_LEN + TAG_LEN;

const NONCE: [u8; 12] = [0; 12];

/// As [`seal_into`], into a buffer allocated once.
pub(crate) fn seal(
    aead: &dyn Aead,
    prk: &[u8],
    head: &[u8],
    salt: &[u8; SALT_LEN],
    binding: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut sealed = Vec::new();
    seal_into(&mut sealed, aead, prk, head, salt, binding, plaintext);
    sealed
}

/// Seals into a buffer, whose content is dropped and whose memory is used again. It must hold no
/// secret: it is not erased when it grows. INVARIANT: `salt` is fresh from [`crate::random`], other
/// than in tests of the frozen formats.
pub(crate) fn seal_into(
    sealed: &mut Vec<u8>,
    aead: &dyn Aead,
    prk: &[u8],
    head: &[u8],
    salt: &[u8; SALT_LEN],
    binding: &[u8],
    plaintext: &[u8],
) {
    sealed.clear();
    sealed.reserve_exact(head.len() + OVERHEAD + plaintext.len());
    sealed.extend_from_slice(head);
    sealed.extend_from_slice(salt);
    let okm = mac::expand64(prk, &[sealed, binding]);
    sealed.extend_from_slice(&*okm.second);
    sealed.extend_from_slice(plaintext);
    let header_len = head.len() + SALT_LEN + COMMITMENT_LEN;
    let (header, body) = sealed.split_at_mut(header_len);
    #[expect(
        clippy::expect_used,
        reason = "INVARIANT: the AEADs refuse only lengths from 64 GiB, which no caller can hold; \
                  aws-lc-rs also when there is no memory, which ends the process elsewhere too"
    )]
    let tag = aead.seal(&okm.first, &NONCE, header, body).expect("a message below 64 GiB");
    sealed.extend_from_slice(&tag);
}

/// Sealed bytes whose commitment has been found right; what is left is the tag.
pub(crate) struct Opening<'a> {
    okm: mac::Okm,
    header: &'a [u8],
    body: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl<'a> Opening<'a> {
    /// Compares the commitment, in constant time, of what [`seal`] made with a head of this
    /// length. The caller has checked the head.
    pub(crate) fn new(
        prk: &[u8],
        head_len: usize,
        binding: &[u8],
        sealed: &'a [u8],
    ) -> Result<Self> {
        let (header, rest) =
            sealed.split_at_checked(head_len + SALT_LEN + COMMITMENT_LEN).ok_or(Error::Open)?;
        let (body, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(Error::Open)?;
        let (salted, found) = header.split_last_chunk::<COMMITMENT_LEN>().ok_or(Error::Open)?;
        let okm = mac::expand64(prk, &[salted, binding]);
        if !mac::ct_eq(&*okm.second, found) {
            return Err(Error::Open);
        }
        Ok(Self { okm, header, body, tag })
    }

    /// Bytes of the plaintext.
    pub(crate) const fn len(&self) -> usize {
        self.body.len()
    }

    /// Checks the tag and decrypts into `output`, which has [`Opening::len`] bytes.
    pub(crate) fn decrypt(self, aead: &dyn Aead, output: &mut [u8]) -> Result<()> {
        aead.open(&self.okm.first, &NONCE, self.header, self.body, output, self.tag)
            .ok_or(Error::Open)
    }

    /// Checks the tag and decrypts into a vector that is erased when dropped.
    pub(crate) fn into_vec(self, aead: &dyn Aead) -> Result<Zeroizing<Vec<u8>>> {
        let mut plaintext = Zeroizing::new(vec![0; self.len()]);
        self.decrypt(aead, &mut plaintext)?;
        Ok(plaintext)
    }

    /// Checks the tag and decrypts straight into the arena.
    pub(crate) fn into_secret(self, aead: &dyn Aead) -> Result<Secret> {
        let mut outcome = Ok(());
        let secret = Secret::fill(self.len(), |slot| outcome = self.decrypt(aead, slot))?;
        outcome.map(|()| secret)
    }
}
