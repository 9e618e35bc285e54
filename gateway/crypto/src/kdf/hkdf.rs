//! HKDF with SHA-256, SHA-384 or SHA-512 (RFC 5869).
//!
//! ```text
//! prk = HMAC(salt, key)                                          §2.2; an empty salt is one of zeros
//! out = first len bytes of T(1) ‖ T(2) ‖ …,  T(i) = HMAC(prk, T(i-1) ‖ info ‖ u8 i)             §2.3
//! ```

use hmac::{Hmac, KeyInit, Mac};
use hub_arena::Secret;
use hub_model::algorithm::Hash;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::mac::message;
use crate::{Error, Result};

pub(crate) fn derive(
    hash: Hash,
    key: &[u8],
    salt: &[u8],
    info: &[u8],
    len: usize,
) -> Result<Secret> {
    super::fill(len, |out| write(hash, key, salt, info, out))
}

/// Extracts and expands, up to the 255 blocks that HKDF can give.
pub(crate) fn write(
    hash: Hash,
    key: &[u8],
    salt: &[u8],
    info: &[u8],
    out: &mut [u8],
) -> Result<()> {
    if out.len() > 255 * hash.len() {
        return Err(Error::Parameter("HKDF gives 255 digests at most"));
    }
    let prk = message::hmac(hash, salt, &[key])?;
    expand_to(hash, prk.bytes(), info, out)
}

/// Expands alone, up to the 255 blocks that HKDF can give.
pub(crate) fn expand_to(hash: Hash, prk: &[u8], info: &[u8], out: &mut [u8]) -> Result<()> {
    match hash {
        Hash::Sha256 => expand::<Hmac<Sha256>>(prk, info, out),
        Hash::Sha384 => expand::<Hmac<Sha384>>(prk, info, out),
        Hash::Sha512 => expand::<Hmac<Sha512>>(prk, info, out),
    }
}

fn expand<M: Mac + KeyInit + Clone>(prk: &[u8], info: &[u8], out: &mut [u8]) -> Result<()> {
    let keyed = message::keyed::<M>(prk)?;
    // T(i-1): nothing at first.
    let (mut block, mut len) = (Zeroizing::new([0; 64]), 0);
    for (number, slot) in (1..=u8::MAX).zip(out.chunks_mut(M::output_size())) {
        let mut state = keyed.clone();
        state.update(block.get(..len).unwrap_or_default());
        state.update(info);
        state.update(&[number]);
        let tag = Zeroizing::new(state.finalize().into_bytes());
        block.iter_mut().zip(tag.iter()).for_each(|(slot, byte)| *slot = *byte);
        slot.iter_mut().zip(tag.iter()).for_each(|(slot, byte)| *slot = *byte);
        len = M::output_size();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_hkdf_crate() {
        for len in [1, 31, 32, 33, 48, 64, 100, 1024] {
            let mut expected = vec![0; len];
            let (salt, info) = (&[1; 20], &[2; 70]);
            let ours = |hash| derive(hash, &[3; 40], salt, info, len).unwrap();
            hkdf::Hkdf::<Sha256>::new(Some(salt), &[3; 40]).expand(info, &mut expected).unwrap();
            assert_eq!(ours(Hash::Sha256).expose_secret(), expected);
            hkdf::Hkdf::<Sha384>::new(Some(salt), &[3; 40]).expand(info, &mut expected).unwrap();
            assert_eq!(ours(Hash::Sha384).expose_secret(), expected);
            hkdf::Hkdf::<Sha512>::new(Some(salt), &[3; 40]).expand(info, &mut expected).unwrap();
            assert_eq!(ours(Hash::Sha512).expose_secret(), expected);
        }
    }
}
