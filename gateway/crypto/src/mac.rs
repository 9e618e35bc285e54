//! HMAC-SHA-256 (RFC 2104, FIPS 198-1) and HKDF-SHA-256 (RFC 5869) built on it, as the hub itself
//! uses them; [`message`] has HMAC under the keys of callers.

pub(crate) mod message;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use hub_arena::Secret;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub use self::message::{compute, verify};
use crate::{Error, Result, hash, random};

/// Whether the bytes are equal, in time that depends on their lengths only.
#[must_use]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// A key for HMAC-SHA-256: 32 bytes in the arena.
pub struct HmacKey(Secret);

impl HmacKey {
    /// A fresh key.
    ///
    /// # Errors
    /// As [`random::secret`].
    pub fn generate() -> Result<Self> {
        random::secret(32).map(Self)
    }

    /// The key of these 32 bytes.
    ///
    /// # Errors
    /// [`Error::SecretLength`].
    pub fn from_secret(secret: Secret) -> Result<Self> {
        if secret.len() != 32 {
            let (found, expected) = (secret.len(), 32);
            return Err(Error::SecretLength { what: "an HMAC key", found, expected });
        }
        Ok(Self(secret))
    }

    /// The tag of the parts one after the other. The caller sees to it that they cannot be cut
    /// differently.
    #[must_use]
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac(self.0.expose_secret(), parts)
    }

    /// Whether this is the tag of the parts, in constant time. A shortened tag is no tag.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        ct_eq(&self.tag(parts), tag)
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey([secret])")
    }
}

/// HMAC-SHA-256 under a key of any length (RFC 2104 §2).
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut state = keyed(key);
    for part in parts {
        state.update(part);
    }
    state.finalize().into_bytes().into()
}

/// HKDF-Extract (RFC 5869 §2.2), written into the arena.
pub(crate) fn extract(salt: &[u8], material: &Secret) -> Result<Secret> {
    let prk = Zeroizing::new(hmac(salt, &[material.expose_secret()]));
    Ok(Secret::copy_from(prk.as_slice())?)
}

/// The two halves of 64 expanded bytes.
pub(crate) struct Okm {
    pub(crate) first: Zeroizing<[u8; 32]>,
    pub(crate) second: Zeroizing<[u8; 32]>,
}

/// HKDF-Expand to 64 bytes (RFC 5869 §2.3): T(1) and T(2). Written out rather than called from the
/// `hkdf` crate, because nothing can fail at this length; tests hold it against that crate and
/// Wycheproof.
pub(crate) fn expand64(prk: &[u8], info: &[&[u8]]) -> Okm {
    // One keyed state for both blocks saves two of nine compressions.
    let keyed = keyed(prk);
    let mut state = keyed.clone();
    for part in info {
        state.update(part);
    }
    state.update(&[1]);
    let first = Zeroizing::<[u8; 32]>::new(state.finalize().into_bytes().into());
    let mut state = keyed;
    state.update(first.as_slice());
    for part in info {
        state.update(part);
    }
    state.update(&[2]);
    let second = Zeroizing::<[u8; 32]>::new(state.finalize().into_bytes().into());
    Okm { first, second }
}

/// RFC 2104 §2: keys longer than a block are hashed, shorter ones padded with zeros.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    if let Some(start) = block.get_mut(..key.len()) {
        start.copy_from_slice(key);
    } else if let Some(start) = block.first_chunk_mut() {
        *start = hash::sha256(key);
    }
    let block: &[u8; 64] = &block;
    Hmac::new(block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_rfc_4231_case_1_and_long_key() {
        let tag = hmac(&[0x0b; 20], &[b"Hi ", b"There"]);
        assert_eq!(tag[..4], [0xb0, 0x34, 0x4c, 0x61]);
        // RFC 4231 §4.7: a key of 131 bytes.
        let data = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hmac(&[0xaa; 131], &[data])[..4], [0x60, 0xe4, 0x31, 0x59]);
    }

    #[test]
    fn expand_equals_the_hkdf_crate() {
        for len in [0, 1, 48, 96, 200] {
            let (prk, info) = ([7; 32], vec![9; len]);
            let mut expected = [0; 64];
            hkdf::Hkdf::<Sha256>::from_prk(&prk).unwrap().expand(&info, &mut expected).unwrap();
            let (head, tail) = info.split_at(len / 2);
            let okm = expand64(&prk, &[head, tail]);
            assert_eq!([*okm.first, *okm.second].concat(), expected);
        }
    }

    #[test]
    fn verify_wants_the_whole_tag() {
        let key = HmacKey::generate().unwrap();
        let tag = key.tag(&[b"a", b"b"]);
        assert!(key.verify(&[b"ab"], &tag));
        assert!(!key.verify(&[b"ab"], &tag[..31]));
        assert!(!key.verify(&[b"ab"], b""));
        assert!(!key.verify(&[b"ac"], &tag));
        assert_eq!(format!("{key:?}"), "HmacKey([secret])");
        assert!(HmacKey::from_secret(Secret::copy_from(&[1; 31]).unwrap()).is_err());
    }
}
