//! HMAC of messages under key material (FIPS 198-1): the tag is HMAC-SHA-256, -384 or -512 of the
//! message under the key bytes as they are, and nothing is put before, between or after.

use hmac::{Hmac, KeyInit, Mac};
use hub_model::algorithm::{Hash, Kind};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::ct_eq;
use crate::{Error, Material, Result};

/// The tag of a message: 32, 48 or 64 bytes by the hash of the algorithm.
///
/// # Errors
/// [`Error::WrongUse`] when the algorithm is no HMAC.
pub fn compute(material: &Material, message: &[u8]) -> Result<Vec<u8>> {
    tag(material, message).map(|tag| tag.bytes().to_vec())
}

/// Checks a tag in constant time. A shortened tag is no tag.
///
/// # Errors
/// [`Error::Signature`] when it is not the tag of the message; [`Error::WrongUse`] when the
/// algorithm is no HMAC.
pub fn verify(material: &Material, message: &[u8], tag: &[u8]) -> Result<()> {
    let expected = self::tag(material, message)?;
    if ct_eq(expected.bytes(), tag) { Ok(()) } else { Err(Error::Signature) }
}

fn tag(material: &Material, message: &[u8]) -> Result<Tag> {
    let Kind::Hmac(hash) = material.algorithm().row().kind else {
        return Err(Error::WrongUse);
    };
    hmac(hash, material.secret().expose_secret(), &[message])
}

/// An output of HMAC, erased when dropped: it may be a key.
pub(crate) struct Tag {
    bytes: Zeroizing<[u8; 64]>,
    len: usize,
}

impl Tag {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// HMAC of the parts one after the other, under a key of any length (RFC 2104 §2).
pub(crate) fn hmac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Result<Tag> {
    let mut tag = Tag { bytes: Zeroizing::new([0; 64]), len: hash.len() };
    let slot = tag.bytes.get_mut(..hash.len()).unwrap_or_default();
    match hash {
        Hash::Sha256 => write::<Hmac<Sha256>>(key, parts, slot)?,
        Hash::Sha384 => write::<Hmac<Sha384>>(key, parts, slot)?,
        Hash::Sha512 => write::<Hmac<Sha512>>(key, parts, slot)?,
    }
    Ok(tag)
}

fn write<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]], slot: &mut [u8]) -> Result<()> {
    let mut state = keyed::<M>(key)?;
    for part in parts {
        state.update(part);
    }
    slot.copy_from_slice(&Zeroizing::new(state.finalize().into_bytes()));
    Ok(())
}

/// HMAC with its key inside. Fails never: HMAC takes keys of any length.
pub(crate) fn keyed<M: KeyInit>(key: &[u8]) -> Result<M> {
    M::new_from_slice(key).map_err(|_| Error::WrongUse)
}

#[cfg(test)]
mod tests {
    use hub_model::Algorithm;

    use super::*;

    #[test]
    fn tags_verify_whole_and_under_their_key_and_message_only() {
        for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha384, Algorithm::HmacSha512] {
            let material = Material::generate(algorithm).unwrap();
            let tag = compute(&material, b"message").unwrap();
            assert_eq!(Some(tag.len()), algorithm.row().secret_len);
            verify(&material, b"message", &tag).unwrap();
            let other = Material::generate(algorithm).unwrap();
            for refused in [
                verify(&material, b"massage", &tag),
                verify(&material, b"message", &tag[..tag.len() - 1]),
                verify(&material, b"message", b""),
                verify(&material, b"message", &[&tag[..], &[0]].concat()),
                verify(&other, b"message", &tag),
            ] {
                assert!(matches!(refused, Err(Error::Signature)));
            }
        }
    }

    #[test]
    fn other_algorithms_make_no_tags() {
        for algorithm in [Algorithm::Aes256Gcm, Algorithm::HkdfSha256, Algorithm::Aes256Kwp] {
            let material = Material::generate(algorithm).unwrap();
            assert!(matches!(compute(&material, b""), Err(Error::WrongUse)));
            assert!(matches!(verify(&material, b"", b""), Err(Error::WrongUse)));
        }
    }

    #[test]
    fn equals_the_hmac_of_the_hub_s_own_keys() {
        let tag = hmac(Hash::Sha256, &[7; 32], &[b"a", b"b"]).unwrap();
        assert_eq!(tag.bytes(), crate::mac::hmac(&[7; 32], &[b"ab"]));
    }
}
