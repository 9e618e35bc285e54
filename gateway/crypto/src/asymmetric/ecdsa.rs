//! ECDSA (FIPS 186-5 §6) on P-256, P-384, P-521 and secp256k1, each with its hash. Signatures are
//! r ‖ s here; [`super::signature`] turns them into DER and back.
//!
//! RustCrypto signs with the nonces of RFC 6979 with fresh randomness mixed in (§3.6), so that a
//! failing generator does not give the key away and a fault cannot be repeated; aws-lc draws nonces
//! from its own generator with the key and digest mixed in. secp256k1 exists in RustCrypto only:
//! signatures get the low s, both are accepted. Scalars of RustCrypto are boxed and erased on drop,
//! those of aws-lc lie on its own heap, which it cleanses.

use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use hub_arena::Secret;
use hub_model::algorithm::{Curve, Kind};
use k256::ecdsa::EcdsaCurve;
use p256::ecdsa::signature::hazmat::{PrehashVerifier as _, RandomizedPrehashSigner as _};

use super::rng::Salts;
use super::{Message, PrivateKey, PublicKey, ec, encode, prehash};
use crate::provider::Provider;
use crate::{Error, Result};

/// Makes signatures of digests.
trait Signs: Send + Sync {
    fn sign(&self, curve: Curve, digest: &[u8]) -> Result<Vec<u8>>;
}

/// Checks signatures of digests.
trait Verifies: Send + Sync {
    fn verify(&self, curve: Curve, digest: &[u8], signature: &[u8]) -> Result<()>;
}

macro_rules! rustcrypto {
    ($($krate:ident, $curve:ident;)*) => {$(
        impl Signs for $krate::ecdsa::SigningKey {
            fn sign(&self, _: Curve, digest: &[u8]) -> Result<Vec<u8>> {
                let signature: $krate::ecdsa::Signature =
                    self.sign_prehash_with_rng(&mut Salts, digest).map_err(|_| Error::Digest)?;
                Ok(signature.to_bytes().to_vec())
            }
        }

        impl Verifies for $krate::ecdsa::VerifyingKey {
            fn verify(&self, _: Curve, digest: &[u8], signature: &[u8]) -> Result<()> {
                // Refuses r or s of zero, or not below the order.
                let mut signature = $krate::ecdsa::Signature::from_slice(signature)
                    .map_err(|_| Error::Signature)?;
                if <$krate::$curve as EcdsaCurve>::NORMALIZE_S {
                    // The crate refuses a high s on this curve; whoever signs by SEC 1 makes them.
                    signature = signature.normalize_s();
                }
                self.verify_prehash(digest, &signature).map_err(|_| Error::Signature)
            }
        }
    )*};
}

rustcrypto! {
    p256, NistP256;
    p384, NistP384;
    p521, NistP521;
    k256, Secp256k1;
}

impl Signs for EcdsaKeyPair {
    fn sign(&self, curve: Curve, digest: &[u8]) -> Result<Vec<u8>> {
        let digest = prehash::aws_lc(ec::hash(curve), digest)?;
        let signature = self.sign_digest(&digest).map_err(|_| Error::Random)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl Verifies for ParsedPublicKey {
    fn verify(&self, curve: Curve, digest: &[u8], signature: &[u8]) -> Result<()> {
        let digest = prehash::aws_lc(ec::hash(curve), digest)?;
        self.verify_digest_sig(&digest, signature).map_err(|_| Error::Signature)
    }
}

/// What aws-lc has of the curve.
fn aws_lc(
    curve: Curve,
) -> Option<(&'static EcdsaSigningAlgorithm, &'static EcdsaVerificationAlgorithm)> {
    match curve {
        Curve::P256 => Some((&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED)),
        Curve::P384 => Some((&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED)),
        Curve::P521 => Some((&ECDSA_P521_SHA512_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED)),
        // aws-lc-rs has it too, ten times slower than k256.
        Curve::Secp256k1 => None,
    }
}

struct Private {
    curve: Curve,
    /// For export; what signs has its own form of it.
    scalar: Secret,
    signer: Box<dyn Signs>,
    public: Arc<Public>,
}

struct Public {
    curve: Curve,
    point: Vec<u8>,
    spki: Vec<u8>,
    verifier: Box<dyn Verifies>,
}

/// The private key of this scalar.
pub(super) fn private(
    provider: Provider,
    curve: Curve,
    secret: &Secret,
) -> Result<Box<dyn PrivateKey>> {
    let bytes = secret.expose_secret();
    let point = ec::public_of(curve, bytes)?;
    let signer: Box<dyn Signs> = match (provider, aws_lc(curve)) {
        (Provider::AwsLc, Some((algorithm, _))) => Box::new(
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, bytes, &point)
                .map_err(|_| Error::PrivateKey)?,
        ),
        _ => match curve {
            Curve::P256 => boxed(p256::ecdsa::SigningKey::from_slice(bytes))?,
            Curve::P384 => boxed(p384::ecdsa::SigningKey::from_slice(bytes))?,
            Curve::P521 => boxed(p521::ecdsa::SigningKey::from_slice(bytes))?,
            Curve::Secp256k1 => boxed(k256::ecdsa::SigningKey::from_slice(bytes))?,
        },
    };
    let scalar = Secret::copy_from(bytes)?;
    let public = Arc::new(Public::new(provider, curve, point)?);
    Ok(Box::new(Private { curve, scalar, signer, public }))
}

fn boxed<T: Signs + 'static, E>(key: Result<T, E>) -> Result<Box<dyn Signs>> {
    Ok(Box::new(key.map_err(|_| Error::PrivateKey)?))
}

/// The public key of this point, compressed or not.
pub(super) fn public(provider: Provider, curve: Curve, sec1: &[u8]) -> Result<Arc<dyn PublicKey>> {
    Ok(Arc::new(Public::new(provider, curve, ec::point(curve, sec1)?)?))
}

impl Public {
    fn new(provider: Provider, curve: Curve, point: Vec<u8>) -> Result<Self> {
        let verifier: Box<dyn Verifies> = match (provider, aws_lc(curve)) {
            (Provider::AwsLc, Some((_, algorithm))) => {
                Box::new(ParsedPublicKey::new(algorithm, &point).map_err(|_| Error::PublicKey)?)
            }
            _ => match curve {
                Curve::P256 => verifier(p256::ecdsa::VerifyingKey::from_sec1_bytes(&point))?,
                Curve::P384 => verifier(p384::ecdsa::VerifyingKey::from_sec1_bytes(&point))?,
                Curve::P521 => verifier(p521::ecdsa::VerifyingKey::from_sec1_bytes(&point))?,
                Curve::Secp256k1 => verifier(k256::ecdsa::VerifyingKey::from_sec1_bytes(&point))?,
            },
        };
        let spki = encode::spki(Kind::Ecdsa(curve), &point)?;
        Ok(Self { curve, point, spki, verifier })
    }
}

fn verifier<T: Verifies + 'static, E>(key: Result<T, E>) -> Result<Box<dyn Verifies>> {
    Ok(Box::new(key.map_err(|_| Error::PublicKey)?))
}

impl PrivateKey for Private {
    fn public(&self) -> Arc<dyn PublicKey> {
        self.public.clone()
    }

    fn sign(&self, message: Message<'_>) -> Result<Vec<u8>> {
        self.signer.sign(self.curve, &prehash::digest(ec::hash(self.curve), message)?)
    }

    fn pkcs8(&self) -> Result<Secret> {
        encode::ec_pkcs8(Kind::Ecdsa(self.curve), &self.scalar, &self.public.point)
    }
}

impl PublicKey for Public {
    fn raw(&self) -> Vec<u8> {
        self.point.clone()
    }

    fn spki(&self) -> Vec<u8> {
        self.spki.clone()
    }

    fn jwk(&self) -> Vec<(&'static str, String)> {
        encode::ec_jwk(self.curve, &self.point)
    }

    fn verify(&self, message: Message<'_>, signature: &[u8]) -> Result<()> {
        let digest = prehash::digest(ec::hash(self.curve), message)?;
        if signature.len() != 2 * ec::len(self.curve) {
            return Err(Error::Signature);
        }
        self.verifier.verify(self.curve, &digest, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Curve; 4] = [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1];
    const PROVIDERS: [Provider; 2] = [Provider::RustCrypto, Provider::AwsLc];

    #[test]
    fn what_one_provider_signs_the_other_verifies() {
        for curve in ALL {
            let secret = ec::generate(curve).unwrap();
            for signs in PROVIDERS {
                let key = private(signs, curve, &secret).unwrap();
                let signature = key.sign(Message::Whole(b"message")).unwrap();
                let digest = prehash::digest(ec::hash(curve), Message::Whole(b"message")).unwrap();
                let of_digest = key.sign(Message::Digest(&digest)).unwrap();
                for verifies in PROVIDERS {
                    let public = public(verifies, curve, &key.public().raw()).unwrap();
                    public.verify(Message::Whole(b"message"), &signature).unwrap();
                    public.verify(Message::Digest(&digest), &signature).unwrap();
                    public.verify(Message::Whole(b"message"), &of_digest).unwrap();
                    for (message, signature) in [
                        (&b"another"[..], signature.clone()),
                        (b"message", signature[1..].to_vec()),
                        (b"message", [&signature[..], &[0]].concat()),
                        (b"message", vec![]),
                    ] {
                        let outcome = public.verify(Message::Whole(message), &signature);
                        assert!(matches!(outcome, Err(Error::Signature)));
                    }
                    let outcome = public.verify(Message::Digest(&digest[1..]), &signature);
                    assert!(matches!(outcome, Err(Error::Digest)));
                }
            }
        }
    }

    #[test]
    fn r_and_s_must_be_in_range() {
        for curve in ALL {
            let secret = ec::generate(curve).unwrap();
            for provider in PROVIDERS {
                let key = private(provider, curve, &secret).unwrap();
                let good = key.sign(Message::Whole(b"")).unwrap();
                let len = ec::len(curve);
                let order = order(curve);
                for half in [0, len] {
                    for bad in [&vec![0; len], &order, &vec![0xff; len]] {
                        let mut signature = good.clone();
                        signature[half..half + len].copy_from_slice(bad);
                        let outcome = key.public().verify(Message::Whole(b""), &signature);
                        assert!(matches!(outcome, Err(Error::Signature)));
                    }
                }
            }
        }
    }

    /// SEC 2: signing gives low s; both are accepted.
    #[test]
    fn secp256k1_takes_high_s_and_makes_low_s() {
        let secret = ec::generate(Curve::Secp256k1).unwrap();
        let key = private(Provider::RustCrypto, Curve::Secp256k1, &secret).unwrap();
        for message in 0..8u8 {
            let low = key.sign(Message::Whole(&[message])).unwrap();
            assert!(low[32] < 0x80);
            let mut high = low.clone();
            let mut borrow = 0;
            for (i, n) in order(Curve::Secp256k1).iter().enumerate().rev() {
                let difference = i16::from(*n) - i16::from(low[32 + i]) - borrow;
                borrow = i16::from(difference < 0);
                high[32 + i] = u8::try_from(difference.rem_euclid(256)).unwrap();
            }
            assert_ne!(low, high);
            for signature in [low, high] {
                key.public().verify(Message::Whole(&[message]), &signature).unwrap();
            }
        }
    }

    #[test]
    fn keys_of_this_family_only_sign() {
        let secret = ec::generate(Curve::P256).unwrap();
        let key = private(Provider::AwsLc, Curve::P256, &secret).unwrap();
        assert!(matches!(key.decrypt(b"", b""), Err(Error::WrongUse)));
        assert!(matches!(key.agree(&key.public().raw()), Err(Error::WrongUse)));
        assert!(matches!(key.public().encrypt(b"", b""), Err(Error::WrongUse)));
    }

    /// The order of the curve, big endian (SP 800-186 §3.2.1, SEC 2 §2.4.1).
    fn order(curve: Curve) -> Vec<u8> {
        let text = match curve {
            Curve::P256 => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
            Curve::P384 => concat!(
                "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf",
                "581a0db248b0a77aecec196accc52973"
            ),
            Curve::P521 => concat!(
                "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                "fffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e9138",
                "6409"
            ),
            Curve::Secp256k1 => "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        };
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }
}
