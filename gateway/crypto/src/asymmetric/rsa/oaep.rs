//! Decoding of OAEP (RFC 8017 §7.1.2, step 3), for RustCrypto: `rsa` 0.10 takes any first octet on
//! purpose, where the standard and aws-lc want a zero (Wycheproof: "First byte is 1"). What opens
//! must not depend on the provider.

use hub_model::SecretBytes;
use sha2::Digest;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// The message inside of an encoded one, which is as long as the modulus and is unmasked in place.
///
/// INVARIANT: until the whole verdict is known, time depends on the lengths only (Manger's attack
/// needs nothing but which of the conditions failed).
pub(super) fn decode<D: Digest>(encoded: &mut [u8], label: &[u8]) -> Option<SecretBytes> {
    let len = <D as Digest>::output_size();
    let (first, masked) = encoded.split_first_mut()?;
    let (seed, data) = masked.split_at_mut_checked(len)?;
    unmask::<D>(seed, data);
    unmask::<D>(data, seed);
    let (hash, padded) = data.split_at_checked(len)?;

    let mut valid = first.ct_eq(&0) & hash.ct_eq(D::digest(label).as_slice());
    let (mut searching, mut start) = (Choice::from(1), 0u32);
    for (next, byte) in (1u32..).zip(padded) {
        let (zero, one) = (byte.ct_eq(&0), byte.ct_eq(&1));
        start.conditional_assign(&next, searching & one);
        valid &= !searching | zero | one;
        searching &= !one;
    }
    valid &= !searching;
    if !bool::from(valid) {
        return None;
    }
    padded.get(usize::try_from(start).ok()?..).map(|message| SecretBytes::new(message.to_vec()))
}

/// Adds MGF1 of the seed (RFC 8017 §B.2.1).
fn unmask<D: Digest>(target: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0u32..).zip(target.chunks_mut(<D as Digest>::output_size())) {
        let mask = D::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::Sha256;

    use super::*;

    const LABEL: &[u8] = b"label";

    /// Encodes (§7.1.1, step 2) with these padding bytes before the message.
    fn encoded(first: u8, hash: &[u8], padding: &[u8], message: &[u8]) -> Vec<u8> {
        let mut seed = [7; 32];
        let mut data = [hash, padding, message].concat();
        unmask::<Sha256>(&mut data, &seed);
        unmask::<Sha256>(&mut seed, &data);
        [&[first], &seed[..], &data].concat()
    }

    #[test]
    fn only_the_encoding_of_the_standard_opens() {
        let hash = Sha256::digest(LABEL);
        let open = |first, hash: &[u8], padding: &[u8], message: &[u8]| {
            let opened = decode::<Sha256>(&mut encoded(first, hash, padding, message), LABEL);
            opened.map(|bytes| bytes.expose_secret().to_vec())
        };
        for padding in [&[1][..], &[0, 1], &[0, 0, 0, 0, 1]] {
            for message in [&b""[..], b"message", &[0, 1, 2], &[1; 100]] {
                assert_eq!(open(0, &hash, padding, message).unwrap(), message);
            }
        }
        for first in 1..=255 {
            assert_eq!(open(first, &hash, &[0, 1], b"message"), None);
        }
        assert_eq!(open(0, &Sha256::digest(b""), &[0, 1], b"message"), None);
        for padding in [&[][..], &[0], &[2], &[0, 2, 1], &[0xff, 1], &[0; 100]] {
            assert_eq!(open(0, &hash, padding, b"\x02"), None, "{padding:?}");
        }
        for len in [0, 1, 32, 33, 64] {
            assert!(decode::<Sha256>(&mut vec![0; len], LABEL).is_none());
        }
    }
}
