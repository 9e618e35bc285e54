//! ECDSA signatures: r ‖ s (IEEE P1363) to `ECDSA-Sig-Value` in DER (RFC 3279 §2.2.3) and back.
//! Strict both ways: DER has one spelling, and r and s lie in [1, n - 1].

use hub_model::algorithm::Curve;
use p256::elliptic_curve::ScalarValue;
use spki::der::asn1::UintRef;
use spki::der::{self, Encode as _, Reader as _, SliceReader};

use super::ec::{self, on_curve};
use crate::{Error, Result};

/// A signature r ‖ s, as [`super::PrivateKey::sign`] gives it, in DER.
///
/// # Errors
/// [`Error::Signature`] when it has another length, or r or s is out of range.
pub fn to_der(curve: Curve, raw: &[u8]) -> Result<Vec<u8>> {
    let (r, s) = raw.split_at_checked(ec::len(curve)).ok_or(Error::Signature)?;
    check(curve, r)?;
    check(curve, s)?;
    let integer = |bytes| UintRef::new(bytes).map_err(|_| Error::Signature);
    [integer(r)?, integer(s)?].to_der().map_err(|_| Error::Signature)
}

/// A signature in DER as r ‖ s, for [`super::PublicKey::verify`].
///
/// # Errors
/// [`Error::Signature`] when it is no canonical DER, has bytes left over, or r or s is out of
/// range.
pub fn from_der(curve: Curve, der: &[u8]) -> Result<Vec<u8>> {
    let (r, s) = parse(der).map_err(|_| Error::Signature)?;
    let mut raw = Vec::with_capacity(2 * ec::len(curve));
    for integer in [r, s] {
        let bytes = integer.as_bytes();
        let padding = ec::len(curve).checked_sub(bytes.len()).ok_or(Error::Signature)?;
        raw.resize(raw.len() + padding, 0);
        raw.extend_from_slice(bytes);
    }
    // Whatever a parser might overlook: there is one DER of this signature.
    if to_der(curve, &raw)? != der {
        return Err(Error::Signature);
    }
    Ok(raw)
}

fn parse(der: &[u8]) -> Result<(UintRef<'_>, UintRef<'_>), der::Error> {
    let mut reader = SliceReader::new(der)?;
    let both = reader.sequence(|inner| Ok::<_, der::Error>((inner.decode()?, inner.decode()?)))?;
    reader.finish()?;
    Ok(both)
}

/// Refuses zero, anything not below the order, and other lengths.
fn check(curve: Curve, scalar: &[u8]) -> Result<()> {
    let in_range = on_curve!(curve, C => {
        ScalarValue::<C>::from_slice(scalar).is_ok_and(|scalar| !bool::from(scalar.is_zero()))
    });
    if in_range && scalar.len() == ec::len(curve) { Ok(()) } else { Err(Error::Signature) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Curve; 4] = [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1];

    /// r = 1 and s = 0x80, whose DER needs a leading zero.
    fn small(curve: Curve) -> Vec<u8> {
        let len = ec::len(curve);
        let mut raw = vec![0; 2 * len];
        (raw[len - 1], raw[2 * len - 1]) = (1, 0x80);
        raw
    }

    #[test]
    fn small_numbers_go_there_and_back() {
        for curve in ALL {
            let der = to_der(curve, &small(curve)).unwrap();
            assert_eq!(der, [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]);
            assert_eq!(from_der(curve, &der).unwrap(), small(curve));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let bad: [&[u8]; 14] = [
            &[],
            &[0x30],
            &[0x30, 0],
            &[0x30, 3, 2, 1, 1],
            &[0x30, 7, 2, 1, 1, 2, 2, 0],
            &[0x30, 7, 2, 1, 1, 2, 2, 0, 0x80, 0],
            &[0x30, 8, 2, 1, 1, 2, 2, 0, 0x80, 0],
            &[0x30, 9, 2, 1, 1, 2, 2, 0, 0x80, 5, 0],
            &[0x30, 0x81, 7, 2, 1, 1, 2, 2, 0, 0x80],
            &[0x30, 0x80, 2, 1, 1, 2, 2, 0, 0x80, 0, 0],
            &[0x30, 8, 2, 2, 0, 1, 2, 2, 0, 0x80],
            &[0x30, 6, 2, 1, 1, 2, 1, 0x80],
            &[0x30, 6, 2, 1, 0, 2, 1, 1],
            &[0x31, 7, 2, 1, 1, 2, 2, 0, 0x80],
        ];
        for curve in ALL {
            for der in bad {
                assert!(matches!(from_der(curve, der), Err(Error::Signature)), "{der:?}");
            }
            let len = ec::len(curve);
            let mut huge = vec![0xff; 2 * len];
            assert!(to_der(curve, &huge).is_err());
            huge[..len].copy_from_slice(&small(curve)[..len]);
            assert!(to_der(curve, &huge).is_err());
            for len in [0, len, 2 * len - 1, 2 * len + 1] {
                assert!(to_der(curve, &vec![1; len]).is_err(), "{len}");
            }
        }
        // Signatures of a larger curve do not fit.
        let mut large = vec![0; 96];
        (large[0], large[95]) = (1, 1);
        let der = to_der(Curve::P384, &large).unwrap();
        assert!(matches!(from_der(Curve::P256, &der), Err(Error::Signature)));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_the_only_spelling(
            tail in proptest::collection::vec(any::<u8>(), 0..80),
            body in proptest::collection::vec(any::<u8>(), 0..16),
        ) {
            for der in [[&[0x30], &tail[..]].concat(), [&[0x30, 8], &body[..]].concat()] {
                for curve in ALL {
                    if let Ok(raw) = from_der(curve, &der) {
                        prop_assert_eq!(to_der(curve, &raw).unwrap(), der.clone());
                    }
                }
            }
        }
    }
}
