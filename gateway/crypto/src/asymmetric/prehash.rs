//! What is signed, as a digest: both providers sign digests only, so that one hash implementation
//! serves all and a digest from outside takes the same path as a message.

use aws_lc_rs::digest;
use hub_model::algorithm::Hash;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::Message;
use crate::{Error, Result};

/// The digest of the message, or the given one if it has the right length.
pub(super) fn digest(hash: Hash, message: Message<'_>) -> Result<Vec<u8>> {
    match message {
        Message::Whole(bytes) => Ok(match hash {
            Hash::Sha256 => Sha256::digest(bytes).to_vec(),
            Hash::Sha384 => Sha384::digest(bytes).to_vec(),
            Hash::Sha512 => Sha512::digest(bytes).to_vec(),
        }),
        Message::Digest(bytes) if bytes.len() == hash.len() => Ok(bytes.to_vec()),
        Message::Digest(_) => Err(Error::Digest),
    }
}

/// A digest as aws-lc-rs wants it.
pub(super) fn aws_lc(hash: Hash, bytes: &[u8]) -> Result<digest::Digest> {
    let algorithm = match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    };
    digest::Digest::import_less_safe(bytes, algorithm).map_err(|_| Error::Digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_have_exactly_the_length_of_the_hash() {
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let whole = digest(hash, Message::Whole(b"abc")).unwrap();
            assert_eq!(digest(hash, Message::Digest(&whole)).unwrap(), whole);
            assert_eq!(aws_lc(hash, &whole).unwrap().as_ref(), whole);
            for len in [0, 20, hash.len() - 1, hash.len() + 1] {
                let outcome = digest(hash, Message::Digest(&vec![7; len]));
                assert!(matches!(outcome, Err(Error::Digest)), "{hash:?} {len}");
            }
        }
    }
}
