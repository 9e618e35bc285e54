//! Ed25519 (RFC 8032 §5.1), pure: the message itself is signed, never a digest.
//!
//! Verification is strict with either provider, as in [`crate::sign`]: keys and commitments of
//! small order are refused, and so are keys spelled with a y not below p (§5.1.3). The seed lies in
//! the arena; the prepared key is boxed and erased on drop by RustCrypto, or lies on the heap of
//! aws-lc, which it cleanses.

use std::sync::Arc;

use aws_lc_rs::signature::{self, Ed25519KeyPair, ParsedPublicKey};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use hub_arena::Secret;
use hub_model::algorithm::Kind;

use super::{Message, PrivateKey, PublicKey, encode};
use crate::provider::Provider;
use crate::{Error, Result};

struct Private {
    seed: Secret,
    signer: Signer,
    public: Arc<Public>,
}

enum Signer {
    RustCrypto(Box<SigningKey>),
    AwsLc(Ed25519KeyPair),
}

struct Public {
    key: VerifyingKey,
    aws_lc: Option<ParsedPublicKey>,
    spki: Vec<u8>,
}

/// The private key of this seed.
pub(super) fn private(provider: Provider, secret: &Secret) -> Result<Box<dyn PrivateKey>> {
    let seed: &[u8; 32] = secret.expose_secret().try_into().map_err(|_| Error::SecretLength {
        what: "an Ed25519 seed",
        found: secret.len(),
        expected: 32,
    })?;
    let signing = Box::new(SigningKey::from_bytes(seed));
    let public = Arc::new(Public::new(provider, signing.verifying_key())?);
    let signer = match provider {
        Provider::AwsLc => {
            let public = public.key.as_bytes();
            let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public);
            Signer::AwsLc(pair.map_err(|_| Error::PrivateKey)?)
        }
        Provider::Auto | Provider::RustCrypto => Signer::RustCrypto(signing),
    };
    Ok(Box::new(Private { seed: Secret::copy_from(seed)?, signer, public }))
}

/// The public key of these 32 bytes.
pub(super) fn public(provider: Provider, bytes: &[u8]) -> Result<Arc<dyn PublicKey>> {
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| Error::PublicKey)?;
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| Error::PublicKey)?;
    if key.is_weak() || !is_canonical(bytes) {
        return Err(Error::PublicKey);
    }
    Ok(Arc::new(Public::new(provider, key)?))
}

/// Whether y is below p = 2^255 - 19.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

impl Public {
    fn new(provider: Provider, key: VerifyingKey) -> Result<Self> {
        let aws_lc = match provider {
            Provider::AwsLc => {
                let parsed = ParsedPublicKey::new(&signature::ED25519, key.as_bytes());
                Some(parsed.map_err(|_| Error::PublicKey)?)
            }
            Provider::Auto | Provider::RustCrypto => None,
        };
        let spki = encode::spki(Kind::Ed25519, key.as_bytes())?;
        Ok(Self { key, aws_lc, spki })
    }
}

impl PrivateKey for Private {
    fn public(&self) -> Arc<dyn PublicKey> {
        self.public.clone()
    }

    fn sign(&self, message: Message<'_>) -> Result<Vec<u8>> {
        let Message::Whole(message) = message else { return Err(Error::Digest) };
        match &self.signer {
            Signer::RustCrypto(key) => Ok(key.sign(message).to_bytes().to_vec()),
            Signer::AwsLc(key) => {
                let signature = key.try_sign(message).map_err(|_| Error::PrivateKey)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }

    fn pkcs8(&self) -> Result<Secret> {
        encode::okp_pkcs8(Kind::Ed25519, &self.seed)
    }
}

impl PublicKey for Public {
    fn raw(&self) -> Vec<u8> {
        self.key.to_bytes().to_vec()
    }

    fn spki(&self) -> Vec<u8> {
        self.spki.clone()
    }

    fn jwk(&self) -> Vec<(&'static str, String)> {
        encode::okp_jwk("Ed25519", self.key.as_bytes())
    }

    fn verify(&self, message: Message<'_>, signature: &[u8]) -> Result<()> {
        let Message::Whole(message) = message else { return Err(Error::Digest) };
        let signature: &[u8; 64] = signature.try_into().map_err(|_| Error::Signature)?;
        let Some(key) = &self.aws_lc else {
            let signature = ed25519_dalek::Signature::from_bytes(signature);
            return self.key.verify_strict(message, &signature).map_err(|_| Error::Signature);
        };
        // aws-lc takes an R of small order; strict verification does not.
        let weak = signature
            .first_chunk()
            .and_then(|r| VerifyingKey::from_bytes(r).ok())
            .is_none_or(|r| r.is_weak());
        if weak {
            return Err(Error::Signature);
        }
        key.verify_sig(message, signature).map_err(|_| Error::Signature)
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::scalar::{Scalar, clamp_integer};
    use sha2::{Digest as _, Sha512};

    use super::*;
    use crate::random;

    const PROVIDERS: [Provider; 2] = [Provider::RustCrypto, Provider::AwsLc];

    #[test]
    fn both_providers_make_the_same_signature_and_verify_it() {
        let seed = random::secret(32).unwrap();
        let signatures = PROVIDERS.map(|signs| {
            let key = private(signs, &seed).unwrap();
            let signature = key.sign(Message::Whole(b"message")).unwrap();
            for verifies in PROVIDERS {
                let public = public(verifies, &key.public().raw()).unwrap();
                public.verify(Message::Whole(b"message"), &signature).unwrap();
                for (message, signature) in [
                    (&b"another"[..], signature.clone()),
                    (b"message", signature[1..].to_vec()),
                    (b"message", vec![0; 64]),
                ] {
                    let outcome = public.verify(Message::Whole(message), &signature);
                    assert!(matches!(outcome, Err(Error::Signature)));
                }
                let outcome = public.verify(Message::Digest(&[0; 64]), &signature);
                assert!(matches!(outcome, Err(Error::Digest)));
            }
            assert!(matches!(key.sign(Message::Digest(&[0; 64])), Err(Error::Digest)));
            signature
        });
        assert_eq!(signatures[0], signatures[1]);
    }

    #[test]
    fn small_order_and_other_spellings_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut order_two = [0xff; 32];
        (order_two[0], order_two[31]) = (0xec, 0x7f);
        // y from p to p + 18.
        let spelled: Vec<[u8; 32]> = (0..19)
            .map(|y| {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (0xed + y, 0x7f);
                bytes
            })
            .collect();
        for provider in PROVIDERS {
            for bad in [identity, order_two, [0; 32]].iter().chain(&spelled) {
                assert!(matches!(public(provider, bad), Err(Error::PublicKey)), "{bad:?}");
            }
            assert!(public(provider, &[1; 31]).is_err());
        }
    }

    /// R = identity and s = h·a satisfy the equation of RFC 8032 §5.1.7; strict verification wants
    /// an R of large order all the same.
    #[test]
    fn a_commitment_of_small_order_is_refused() {
        let seed = [7; 32];
        let expanded = Sha512::digest(seed);
        let a = Scalar::from_bytes_mod_order(clamp_integer(expanded[..32].try_into().unwrap()));
        let honest = SigningKey::from_bytes(&seed).verifying_key();
        let mut identity = [0; 32];
        identity[0] = 1;
        let input = [&identity[..], honest.as_bytes(), b"message"].concat();
        let h = Scalar::from_bytes_mod_order_wide(&Sha512::digest(input).into());
        let signature = [identity, (h * a).to_bytes()].concat();

        let lax = ParsedPublicKey::new(&signature::ED25519, honest.as_bytes()).unwrap();
        lax.verify_sig(b"message", &signature).unwrap();
        for provider in PROVIDERS {
            let key = public(provider, honest.as_bytes()).unwrap();
            let outcome = key.verify(Message::Whole(b"message"), &signature);
            assert!(matches!(outcome, Err(Error::Signature)));
        }
    }

    #[test]
    fn seeds_have_32_bytes() {
        for len in [0, 31, 33, 64] {
            let outcome = private(Provider::AwsLc, &random::secret(len).unwrap());
            assert!(matches!(outcome, Err(Error::SecretLength { .. })));
        }
    }
}
