//! Authenticated encryption with 128-bit tags, detached.
//!
//! These are the bare algorithms. Nobody outside the crate seals data with them, because a caller
//! who chooses nonces chooses wrong sooner or later; they are public for the conformance vectors.
//! What must stay true: a failed open leaves no plaintext in its output, and key schedules are
//! erased when they are done with.

pub mod aes_gcm;
pub mod aes_gcm_raw;
pub mod aes_gcm_siv;
pub mod aes_siv;
pub mod aws_lc;
pub mod chacha20_poly1305;
mod registry;
pub mod xchacha20_poly1305;

pub use self::registry::{Suite, aes_256_gcm, aes_256_gcm_siv, chacha20_poly1305, suite};

/// Bytes of a key of an [`Aead`].
pub const KEY_LEN: usize = 32;
/// Bytes of a nonce of an [`Aead`].
pub const NONCE_LEN: usize = 12;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// One authenticated cipher with a 256-bit key and a 96-bit nonce. Implementations erase their key
/// schedule before they return.
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

    /// Checks the tag and decrypts from `input` to `output`, which are equally long. `None`, with
    /// `output` unchanged or all zeros, when the tag is wrong.
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

    /// The cipher with this key inside, for many messages under it (the chunks of a stream). `None`
    /// when there is no memory for it.
    #[must_use]
    fn load(&self, key: &[u8; KEY_LEN]) -> Option<Box<dyn LoadedAead>>;
}

/// An [`Aead`] with its key inside, erased when dropped.
pub trait LoadedAead: Send + Sync {
    /// As [`Aead::seal`].
    #[must_use]
    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], buffer: &mut [u8])
    -> Option<[u8; TAG_LEN]>;

    /// Encrypts from `input` to `output`, which are equally long, and gives the tag. `None`, with
    /// no plaintext left in `output`, when [`LoadedAead::seal`] refuses or the lengths differ.
    #[must_use]
    fn seal_to(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        if input.len() != output.len() {
            return None;
        }
        output.copy_from_slice(input);
        let tag = self.seal(nonce, aad, output);
        if tag.is_none() {
            output.fill(0);
        }
        tag
    }

    /// As [`Aead::open`].
    #[must_use]
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()>;
}

/// Associated data in its two parts: most ciphers take them as one string, S2V as two.
#[derive(Clone, Copy, Debug)]
pub struct Aad<'a> {
    /// Both parts, one after the other.
    pub whole: &'a [u8],
    /// How many bytes the first part, the header, has.
    pub header_len: usize,
}

impl<'a> Aad<'a> {
    /// The header and what follows it.
    #[must_use]
    pub fn parts(&self) -> [&'a [u8]; 2] {
        self.whole.split_at_checked(self.header_len).map_or([self.whole, &[]], |(a, b)| [a, b])
    }
}

/// A cipher that is used under the key itself (suites 3 to 6), with lengths of its own.
/// Implementations erase their key schedule before they return.
pub trait Direct: Send + Sync {
    /// Bytes of a nonce; 0 for deterministic encryption.
    fn nonce_len(&self) -> usize;

    /// Encrypts the buffer in place and gives the tag. `None` when key or nonce have another length
    /// or the input is longer than the algorithm allows (64 GiB and more).
    #[must_use]
    fn seal(
        &self,
        key: &[u8],
        nonce: &[u8],
        aad: Aad<'_>,
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]>;

    /// Checks the tag and decrypts from `input` to `output`, which are equally long. `None`, with
    /// `output` unchanged or all zeros, when the tag or the length of key or nonce is wrong.
    #[must_use]
    fn open(
        &self,
        key: &[u8],
        nonce: &[u8],
        aad: Aad<'_>,
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()>;
}

/// What every implementation must do, for its own tests.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Seals and opens, loaded and not; every damage fails and leaves no plaintext.
    pub(crate) fn keeps_the_promises_of_aead(cipher: &dyn Aead) {
        let (key, nonce, aad, plain) = ([1; KEY_LEN], [2; NONCE_LEN], b"aad", b"some plaintext");
        let loaded = cipher.load(&key).unwrap();
        let mut sealed = *plain;
        let tag = cipher.seal(&key, &nonce, aad, &mut sealed).unwrap();
        let mut again = *plain;
        assert_eq!(loaded.seal(&nonce, aad, &mut again), Some(tag));
        assert_eq!(sealed, again);
        let mut output = [0; 14];
        cipher.open(&key, &nonce, aad, &sealed, &mut output, &tag).unwrap();
        assert_eq!(&output, plain);
        output.fill(0);
        loaded.open(&nonce, aad, &sealed, &mut output, &tag).unwrap();
        assert_eq!(&output, plain);
        for (nonce, aad, at, bad) in [
            ([3; NONCE_LEN], &aad[..], 0, 0),
            (nonce, &b"aae"[..], 0, 0),
            (nonce, aad, 13, 0),
            (nonce, aad, 0, 1),
        ] {
            let (mut input, mut wrong) = (sealed, tag);
            // One of ciphertext and tag, where neither nonce nor associated data is wrong.
            input[at] ^= u8::from(at > 0);
            wrong[15] ^= bad;
            for loaded_too in [false, true] {
                let mut output = [0; 14];
                let refused = if loaded_too {
                    loaded.open(&nonce, aad, &input, &mut output, &wrong)
                } else {
                    cipher.open(&key, &nonce, aad, &input, &mut output, &wrong)
                };
                assert!(refused.is_none() && output == [0; 14]);
            }
        }
    }

    /// As above for ciphers under the key itself.
    pub(crate) fn keeps_the_promises_of_direct(cipher: &dyn Direct, key_len: usize) {
        let (key, nonce) = (vec![1; key_len], vec![2; cipher.nonce_len()]);
        let aad = Aad { whole: b"headerbinding", header_len: 6 };
        let plain = b"some plaintext";
        let mut sealed = *plain;
        let tag = cipher.seal(&key, &nonce, aad, &mut sealed).unwrap();
        let mut output = [0; 14];
        cipher.open(&key, &nonce, aad, &sealed, &mut output, &tag).unwrap();
        assert_eq!(&output, plain);
        let refuse = |key: &[u8], nonce: &[u8], aad, input: &[u8], tag: &[u8; TAG_LEN]| {
            let mut output = [0; 14];
            let refused = cipher.open(key, nonce, aad, input, &mut output, tag);
            assert!(refused.is_none() && output == [0; 14]);
        };
        let mut wrong = tag;
        wrong[0] ^= 1;
        refuse(&key, &nonce, aad, &sealed, &wrong);
        let other = Aad { whole: b"headerbindinh", header_len: 6 };
        refuse(&key, &nonce, other, &sealed, &tag);
        refuse(&vec![3; key_len], &nonce, aad, &sealed, &tag);
        refuse(&key[1..], &nonce, aad, &sealed, &tag);
        refuse(&key, &[&nonce[..], &[2]].concat(), aad, &sealed, &tag);
        assert!(cipher.seal(&key[1..], &nonce, aad, &mut sealed).is_none());
        assert!(cipher.seal(&key, &[&nonce[..], &[2]].concat(), aad, &mut sealed).is_none());
    }
}
