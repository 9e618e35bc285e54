//! Signatures that others make over JSON web tokens (RFC 7515, RFC 7518 §3): verified here, never
//! made.
//!
//! By aws-lc whatever the provider: these are not the hub's own keys, and the same library already
//! verifies the certificates of the same peers. INVARIANT: there is no variant for `none` or for an
//! HMAC, so no header can ask for one.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents,
};

use crate::{Error, Result};

/// The fewest and the most bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// An algorithm of RFC 7518 §3.1 or RFC 8037 §3.1, of those that are asymmetric and not weak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JwsAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519 (RFC 8037).
    EdDsa,
}

impl JwsAlgorithm {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Its `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this `alg`, which is case-sensitive.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A public key that tokens are verified with.
#[derive(Debug)]
pub struct JwsKey(Form);

#[derive(Debug)]
enum Form {
    Rsa { n: Box<[u8]>, e: Box<[u8]> },
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
}

/// A curve of ECDSA keys (RFC 7518 §6.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwsCurve {
    /// P-256.
    P256,
    /// P-384.
    P384,
}

impl JwsKey {
    /// An RSA key of modulus and exponent, big endian.
    ///
    /// # Errors
    /// [`Error::PublicKey`] when the modulus has fewer than 2048 or more than 8192 bits, or the
    /// exponent is not odd, below 3 or above 40 bits.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        let odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last & 1 == 1);
        let exponent = (1..=5).contains(&e.len()) && odd(e) && e != [1];
        if !RSA_BITS.contains(&bits) || !odd(n) || !exponent {
            return Err(Error::PublicKey);
        }
        Ok(Self(Form::Rsa { n: n.into(), e: e.into() }))
    }

    /// A key on a curve, by the coordinates of its point.
    ///
    /// # Errors
    /// [`Error::PublicKey`] when they are not of the curve's length, or no point of it.
    pub fn ec(curve: JwsCurve, x: &[u8], y: &[u8]) -> Result<Self> {
        let length = match curve {
            JwsCurve::P256 => 32,
            JwsCurve::P384 => 48,
        };
        if x.len() != length || y.len() != length {
            return Err(Error::PublicKey);
        }
        let point = [&[4], x, y].concat();
        let form = match curve {
            JwsCurve::P256 => Form::P256(parsed(&ECDSA_P256_SHA256_FIXED, &point)?),
            JwsCurve::P384 => Form::P384(parsed(&ECDSA_P384_SHA384_FIXED, &point)?),
        };
        Ok(Self(form))
    }

    /// An Ed25519 key.
    ///
    /// # Errors
    /// [`Error::PublicKey`].
    pub fn ed25519(x: &[u8]) -> Result<Self> {
        if x.len() != 32 {
            return Err(Error::PublicKey);
        }
        Ok(Self(Form::Ed25519(parsed(&ED25519, x)?)))
    }

    /// Whether signatures of this algorithm are made by keys of this kind.
    #[must_use]
    pub const fn fits(&self, algorithm: JwsAlgorithm) -> bool {
        use JwsAlgorithm as A;
        match self.0 {
            Form::Rsa { .. } => {
                matches!(algorithm, A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512)
            }
            Form::P256(_) => matches!(algorithm, A::Es256),
            Form::P384(_) => matches!(algorithm, A::Es384),
            Form::Ed25519(_) => matches!(algorithm, A::EdDsa),
        }
    }

    /// Verifies a signature as RFC 7518 §3 writes it: ECDSA as r ‖ s, PSS with a salt as long as
    /// the hash.
    ///
    /// # Errors
    /// [`Error::Signature`], also for an algorithm that the key does not fit.
    pub fn verify(&self, algorithm: JwsAlgorithm, message: &[u8], signature: &[u8]) -> Result<()> {
        let verified = match &self.0 {
            Form::Rsa { n, e } => {
                let parameters = rsa_parameters(algorithm).ok_or(Error::Signature)?;
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            Form::P256(key) | Form::P384(key) | Form::Ed25519(key) => {
                if !self.fits(algorithm) {
                    return Err(Error::Signature);
                }
                key.verify_sig(message, signature)
            }
        };
        verified.map_err(|_| Error::Signature)
    }
}

fn parsed(
    algorithm: &'static dyn aws_lc_rs::signature::VerificationAlgorithm,
    bytes: &[u8],
) -> Result<ParsedPublicKey> {
    ParsedPublicKey::new(algorithm, bytes).map_err(|_| Error::PublicKey)
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

const fn rsa_parameters(algorithm: JwsAlgorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        JwsAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        JwsAlgorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        JwsAlgorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        JwsAlgorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        JwsAlgorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
        JwsAlgorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
        JwsAlgorithm::Es256 | JwsAlgorithm::Es384 | JwsAlgorithm::EdDsa => return None,
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        B64.decode(text).unwrap()
    }

    #[test]
    fn rfc_7515_a_3_es256() {
        let key = JwsKey::ec(
            JwsCurve::P256,
            &bytes("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
            &bytes("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
        )
        .unwrap();
        let message = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dH\
                       A6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = bytes(
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1\
             Q",
        );
        key.verify(JwsAlgorithm::Es256, message.as_bytes(), &signature).unwrap();
        for algorithm in JwsAlgorithm::ALL {
            let good = key.verify(algorithm, message.as_bytes(), &signature).is_ok();
            assert_eq!(good, algorithm == JwsAlgorithm::Es256);
        }
        let mut wrong = signature.clone();
        wrong[5] ^= 1;
        assert!(key.verify(JwsAlgorithm::Es256, message.as_bytes(), &wrong).is_err());
        assert!(key.verify(JwsAlgorithm::Es256, message.as_bytes(), &signature[1..]).is_err());
        assert!(key.verify(JwsAlgorithm::Es256, b"", &signature).is_err());
    }

    #[test]
    fn rfc_8037_a_4_eddsa() {
        let key = JwsKey::ed25519(&bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")).unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = bytes(
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KA\
             g",
        );
        key.verify(JwsAlgorithm::EdDsa, message, &signature).unwrap();
        assert!(key.verify(JwsAlgorithm::EdDsa, b"other", &signature).is_err());
    }

    #[test]
    fn weak_and_broken_keys_are_refused() {
        let modulus = |bits: usize| {
            let mut n = vec![0xff; bits / 8];
            n[0] = 0x80;
            n
        };
        assert!(JwsKey::rsa(&modulus(2048), &[1, 0, 1]).is_ok());
        assert!(JwsKey::rsa(&[&[0], &modulus(2048)[..]].concat(), &[3]).is_ok());
        for bits in [512, 1024, 2040, 8200] {
            assert!(JwsKey::rsa(&modulus(bits), &[1, 0, 1]).is_err(), "{bits}");
        }
        for e in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 0, 1]] {
            assert!(JwsKey::rsa(&modulus(2048), e).is_err(), "{e:?}");
        }
        let mut short = modulus(2048);
        short[0] = 0x7f;
        assert!(JwsKey::rsa(&short, &[1, 0, 1]).is_err(), "2047 bits");
        assert!(JwsKey::rsa(&[], &[1, 0, 1]).is_err());
        assert!(JwsKey::ec(JwsCurve::P256, &[1; 32], &[1; 32]).is_err(), "no point");
        assert!(JwsKey::ec(JwsCurve::P384, &[1; 32], &[1; 32]).is_err());
        assert!(JwsKey::ed25519(&[1; 31]).is_err());
    }

    #[test]
    fn names_are_case_sensitive_and_hold_nothing_symmetric() {
        for name in ["none", "None", "HS256", "HS512", "es256", "ES512", "RS1", ""] {
            assert_eq!(JwsAlgorithm::of_name(name), None, "{name}");
        }
        assert_eq!(JwsAlgorithm::of_name("EdDSA"), Some(JwsAlgorithm::EdDsa));
    }
}
