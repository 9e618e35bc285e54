//! Points and scalars of the short Weierstrass curves: what ECDSA and ECDH share. Always by the
//! RustCrypto crates, because it is done once per key and not per operation.

use hub_arena::Secret;
use hub_model::algorithm::{Curve, Hash};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::elliptic_curve::{PublicKey, SecretKey};

use crate::{Error, Result, random};

/// Runs the body with the curve's type.
macro_rules! on_curve {
    ($curve:expr, $type:ident => $body:expr) => {
        match $curve {
            Curve::P256 => {
                type $type = p256::NistP256;
                $body
            }
            Curve::P384 => {
                type $type = p384::NistP384;
                $body
            }
            Curve::P521 => {
                type $type = p521::NistP521;
                $body
            }
            Curve::Secp256k1 => {
                type $type = k256::Secp256k1;
                $body
            }
        }
    };
}
pub(super) use on_curve;

/// Bytes of a scalar, and of a coordinate.
pub(super) const fn len(curve: Curve) -> usize {
    match curve {
        Curve::P256 | Curve::Secp256k1 => 32,
        Curve::P384 => 48,
        Curve::P521 => 66,
    }
}

/// The hash that belongs to the curve (RFC 7518 §3.4, RFC 8812 §3.2).
pub(super) const fn hash(curve: Curve) -> Hash {
    match curve {
        Curve::P256 | Curve::Secp256k1 => Hash::Sha256,
        Curve::P384 => Hash::Sha384,
        Curve::P521 => Hash::Sha512,
    }
}

/// A fresh scalar, uniform in [1, n - 1] by rejection (FIPS 186-5 §A.2.2).
pub(super) fn generate(curve: Curve) -> Result<Secret> {
    loop {
        let mut scalar = random::secret(len(curve))?;
        if curve == Curve::P521 {
            // The order has 521 bits: of the first byte one counts.
            let drawn = scalar;
            scalar = Secret::fill(drawn.len(), |slot| {
                slot.copy_from_slice(drawn.expose_secret());
                if let Some(first) = slot.first_mut() {
                    *first &= 1;
                }
            })?;
        }
        if public_of(curve, scalar.expose_secret()).is_ok() {
            return Ok(scalar);
        }
    }
}

/// The public point of a scalar, uncompressed (SEC 1 §2.3.3).
///
/// # Errors
/// [`Error::SecretLength`]; [`Error::PrivateKey`] for a scalar outside of [1, n - 1].
pub(super) fn public_of(curve: Curve, scalar: &[u8]) -> Result<Vec<u8>> {
    if scalar.len() != len(curve) {
        let (found, expected) = (scalar.len(), len(curve));
        return Err(Error::SecretLength { what: "a private key", found, expected });
    }
    on_curve!(curve, C => {
        let key = SecretKey::<C>::from_slice(scalar).map_err(|_| Error::PrivateKey)?;
        Ok(key.public_key().to_sec1_point(false).as_bytes().to_vec())
    })
}

/// Whether the bytes have the form of a compressed or uncompressed point. Other forms of SEC 1
/// (the point at infinity, hybrid, compact) are refused here, once for all implementations.
pub(super) fn has_point_form(curve: Curve, sec1: &[u8]) -> bool {
    match sec1.first() {
        Some(2 | 3) => sec1.len() == 1 + len(curve),
        Some(4) => sec1.len() == 1 + 2 * len(curve),
        _ => false,
    }
}

/// The point in uncompressed form, after it was found to be on the curve.
///
/// # Errors
/// [`Error::PublicKey`].
pub(super) fn point(curve: Curve, sec1: &[u8]) -> Result<Vec<u8>> {
    if !has_point_form(curve, sec1) {
        return Err(Error::PublicKey);
    }
    on_curve!(curve, C => {
        let key = PublicKey::<C>::from_sec1_bytes(sec1).map_err(|_| Error::PublicKey)?;
        Ok(key.to_sec1_point(false).as_bytes().to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Curve; 4] = [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1];

    #[test]
    fn scalars_out_of_range_are_refused() {
        for curve in ALL {
            let len = len(curve);
            assert!(matches!(public_of(curve, &vec![0; len]), Err(Error::PrivateKey)));
            assert!(matches!(public_of(curve, &vec![0xff; len]), Err(Error::PrivateKey)));
            for len in [0, len - 1, len + 1] {
                let outcome = public_of(curve, &vec![1; len]);
                assert!(matches!(outcome, Err(Error::SecretLength { .. })));
            }
            let mut one = vec![0; len];
            one[len - 1] = 1;
            assert_eq!(public_of(curve, &one).unwrap().len(), 1 + 2 * len);
        }
    }

    #[test]
    fn points_are_checked_and_given_uncompressed() {
        for curve in ALL {
            let secret = generate(curve).unwrap();
            let full = public_of(curve, secret.expose_secret()).unwrap();
            assert_eq!(point(curve, &full).unwrap(), full);
            let len = len(curve);
            let parity = 2 + (full[2 * len] & 1);
            let compressed = [&[parity], &full[1..=len]].concat();
            assert_eq!(point(curve, &compressed).unwrap(), full);

            let mut off = full.clone();
            off[2 * len] ^= 1;
            let hybrid = [&[parity + 4], &full[1..]].concat();
            let compact = [&[5], &full[1..=len]].concat();
            let shorter = full[..2 * len].to_vec();
            let longer = [&full[..], &[0]].concat();
            for bad in [off, hybrid, compact, shorter, longer, vec![0], vec![]] {
                assert!(matches!(point(curve, &bad), Err(Error::PublicKey)), "{curve:?} {bad:?}");
            }
        }
        // A point of one curve is none of another of the same size.
        let secret = generate(Curve::Secp256k1).unwrap();
        let foreign = public_of(Curve::Secp256k1, secret.expose_secret()).unwrap();
        assert!(point(Curve::P256, &foreign).is_err());
    }
}
