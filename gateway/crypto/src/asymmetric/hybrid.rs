//! X25519 and ML-KEM-768 together, exactly as X-Wing (draft-connolly-cfrg-xwing-kem-10): safe as
//! long as one of the two is.
//!
//! ```text
//! seed (32, stored)  → SHAKE-256 → d ‖ z (64) ‖ X25519 scalar (32)
//! public key 1,216   = ML-KEM-768 (1,184) ‖ X25519 (32)
//! ciphertext 1,120   = ML-KEM-768 (1,088) ‖ X25519 (32)
//! secret             = SHA3-256(ss_M ‖ ss_X ‖ ct_X ‖ pk_X ‖ `\.//^\`)
//! ```
//! What must stay true: the combiner is this one. It leaves the ML-KEM ciphertext out, which is
//! sound for ML-KEM only, because that hashes its own.

use std::sync::Arc;

use hub_arena::Secret;
use ml_kem::ml_kem_768::{DecapsulationKey, EncapsulationKey};
use ml_kem::{B32, Decapsulate as _, Key, KeyExport as _, Seed};
use pkcs8::ObjectIdentifier;
use serde_json::Value;
use sha3::{Digest as _, Sha3_256};
use shake::{ExtendableOutput as _, Shake256, Update as _, XofReader as _};
use x25519_dalek::{PublicKey as X25519, StaticSecret};
use zeroize::Zeroizing;

use super::seeded::{Expanded, Form};
use super::{PrivateKey, PublicKey};
use crate::{Error, Result, random};

/// Bytes of the seed.
pub(crate) const SEED: usize = 32;
/// Bytes of a ciphertext.
pub(crate) const CIPHERTEXT: usize = ML_KEM_CIPHERTEXT + 32;
const ML_KEM_CIPHERTEXT: usize = 1088;
/// The label of the combiner (§5.3 of the draft).
const LABEL: &[u8; 6] = br"\.//^\";

/// The draft gives OID and PKCS #8 (§5.8); the JWK is ours.
const FORM: Form = Form {
    oid: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62253.25722"),
    alg: "X-Wing",
    public: 1216,
    choice: false,
    expand,
};

/// The private key of a stored seed.
pub(super) fn private_key(secret: &Secret) -> Result<Box<dyn PrivateKey>> {
    Ok(Box::new(Private::new(secret)?))
}

/// A public key from its raw form or `SubjectPublicKeyInfo`, after the modulus check of FIPS 203
/// §7.2.
pub(super) fn public_key(encoded: &[u8]) -> Result<Arc<dyn PublicKey>> {
    Ok(Arc::new(Public::new(FORM.raw(encoded)?)?))
}

/// The seed of a PKCS #8 (§5.8.2 of the draft: the bare seed).
///
/// # Errors
/// [`Error::PrivateKey`].
pub(crate) fn private_from_pkcs8(der: &[u8]) -> Result<Secret> {
    FORM.read_pkcs8(der)
}

/// The seed of a private JWK: `kty` `AKP` as for ML-DSA (RFC 9964 §3), `alg` `X-Wing`. The form
/// is ours.
///
/// # Errors
/// [`Error::PrivateKey`].
pub(crate) fn private_from_jwk(jwk: &Value) -> Result<Secret> {
    FORM.read_jwk(jwk)
}

/// The private JWK of a stored seed, as [`private_from_jwk`] reads it.
///
/// # Errors
/// [`Error::PrivateKey`], [`Error::Arena`].
pub(crate) fn private_jwk(seed: &Secret) -> Result<Secret> {
    FORM.private_jwk(seed)
}

fn expand(seed: &[u8]) -> Result<Expanded> {
    let key = Private::new(&Secret::copy_from(seed)?).map_err(|_| Error::PrivateKey)?;
    Ok(Expanded { public: key.public.raw(), private: Zeroizing::default() })
}

/// `expandDecapsulationKey` (§5.2 of the draft).
fn expand_seed(seed: &[u8]) -> Option<(Zeroizing<Seed>, StaticSecret)> {
    let mut expanded = Zeroizing::new([0; 96]);
    let mut hash = Shake256::default();
    hash.update(seed);
    hash.finalize_xof().read(&mut *expanded);
    let (ml_kem, x25519) = expanded.split_first_chunk::<64>()?;
    let x25519 = Zeroizing::new(<[u8; 32]>::try_from(x25519).ok()?);
    Some((Zeroizing::new(Seed::from(*ml_kem)), StaticSecret::from(*x25519)))
}

/// `Combiner` (§5.3 of the draft).
fn combine(
    ml_kem: &[u8],
    x25519: &[u8; 32],
    ciphertext: &X25519,
    public: &X25519,
) -> Result<Secret> {
    let parts: [&[u8]; 5] = [ml_kem, x25519, ciphertext.as_bytes(), public.as_bytes(), LABEL];
    let hash = parts.into_iter().fold(Sha3_256::new(), sha3::Digest::chain_update);
    Ok(Secret::copy_from(&Zeroizing::new(hash.finalize()))?)
}

struct Private {
    seed: Secret,
    /// Boxed inside and erased on drop (the crate's feature `zeroize`).
    ml_kem: DecapsulationKey,
    x25519: Box<StaticSecret>,
    public: Arc<Public>,
}

impl Private {
    fn new(secret: &Secret) -> Result<Self> {
        if secret.len() != SEED {
            let (found, expected) = (secret.len(), SEED);
            return Err(Error::SecretLength { what: "an X-Wing seed", found, expected });
        }
        let seed = Secret::copy_from(secret.expose_secret())?;
        let (ml_kem, x25519) = expand_seed(seed.expose_secret()).ok_or(Error::PrivateKey)?;
        let (ml_kem, x25519) = (DecapsulationKey::from_seed(*ml_kem), Box::new(x25519));
        let public =
            Public { ml_kem: ml_kem.encapsulation_key().clone(), x25519: X25519::from(&*x25519) };
        Ok(Self { seed, ml_kem, x25519, public: Arc::new(public) })
    }
}

impl PrivateKey for Private {
    fn public(&self) -> Arc<dyn PublicKey> {
        Arc::clone(&self.public) as _
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret> {
        let (ml_kem, x25519) = ciphertext.split_at_checked(ML_KEM_CIPHERTEXT).ok_or(Error::Open)?;
        let x25519 = X25519::from(<[u8; 32]>::try_from(x25519).map_err(|_| Error::Open)?);
        let shared = self.ml_kem.decapsulate_slice(ml_kem).map(Zeroizing::new);
        let shared = shared.map_err(|_| Error::Open)?;
        // As in the draft a point of small order is taken: what it gives is hashed with the rest.
        let agreed = self.x25519.diffie_hellman(&x25519);
        combine(&shared, agreed.as_bytes(), &x25519, &self.public.x25519)
    }

    fn pkcs8(&self) -> Result<Secret> {
        FORM.pkcs8(&self.seed)
    }
}

struct Public {
    ml_kem: EncapsulationKey,
    x25519: X25519,
}

impl Public {
    fn new(raw: &[u8]) -> Result<Self> {
        let (ml_kem, x25519) = raw.split_last_chunk::<32>().ok_or(Error::PublicKey)?;
        let ml_kem = Key::<EncapsulationKey>::try_from(ml_kem).map_err(|_| Error::PublicKey)?;
        let ml_kem = EncapsulationKey::new(&ml_kem).map_err(|_| Error::PublicKey)?;
        Ok(Self { ml_kem, x25519: X25519::from(*x25519) })
    }

    /// `EncapsulateDerand` (§5.4.1 of the draft).
    fn encapsulate_with(&self, randomness: &[u8]) -> Result<(Vec<u8>, Secret)> {
        let (m, x25519) = randomness.split_first_chunk::<32>().ok_or(Error::Random)?;
        let m = Zeroizing::new(B32::from(*m));
        let x25519 = Zeroizing::new(<[u8; 32]>::try_from(x25519).map_err(|_| Error::Random)?);
        let x25519 = StaticSecret::from(*x25519);
        let (ml_kem, shared) = self.ml_kem.encapsulate_deterministic(&m);
        let (shared, point) = (Zeroizing::new(shared), X25519::from(&x25519));
        let agreed = x25519.diffie_hellman(&self.x25519);
        let secret = combine(&shared, agreed.as_bytes(), &point, &self.x25519)?;
        Ok(([ml_kem.as_slice(), point.as_bytes()].concat(), secret))
    }
}

impl PublicKey for Public {
    fn raw(&self) -> Vec<u8> {
        [self.ml_kem.to_bytes().as_slice(), self.x25519.as_bytes()].concat()
    }

    fn spki(&self) -> Vec<u8> {
        FORM.spki(&self.raw())
    }

    fn jwk(&self) -> Vec<(&'static str, String)> {
        FORM.jwk(&self.raw())
    }

    fn encapsulate(&self) -> Result<(Vec<u8>, Secret)> {
        self.encapsulate_with(random::secret(64)?.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Appendix C of draft-connolly-cfrg-xwing-kem-10 (`spec/test-vectors.json` of its repository,
    /// commit 9b6ce9e6). Its seeds are SHAKE-128 of nothing, one after the other; long values are
    /// compared through SHA-256: public key, ciphertext, secret.
    #[test]
    fn published_vectors() {
        let vectors = [
            [
                "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb",
                "17cd532d657e44c897ca6583e548a5424fc70bf54f99515a4d2bcf99e3469f33",
                "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384",
            ],
            [
                "c42ba5f8430d7d2c83739338203819f090e8303ce9c8b02107c272bfa5376916",
                "1661ea86d608a1924ba30840cb0a65f13ae051e3aec9cf0f064efc0bc92f2154",
                "f2e86241c64d60f6649fbc6c5b7d17180b780a3f34355e64a85749949c45f150",
            ],
            [
                "6b080d6b84f095342092fa7a22423e58bd681397ad0ef00eac92bd254db4fa95",
                "d3ca5578500344b5896cffc4fd740c9311946b82951df155e6fd86a7966b43c6",
                "953f7f4e8c5b5049bdc771d1dffada0dd961477d1a2ae0988baa7ea6898d893f",
            ],
        ];
        let mut stream = shake::Shake128::default().finalize_xof();
        for [public, ciphertext, shared] in vectors {
            let mut seeds = [0; 96];
            stream.read(&mut seeds);
            let key = Private::new(&Secret::copy_from(&seeds[..32]).unwrap()).unwrap();
            assert_eq!(hex(&sha256(&key.public.raw())), public);
            let (found, secret) = key.public.encapsulate_with(&seeds[32..]).unwrap();
            assert_eq!(hex(&sha256(&found)), ciphertext);
            assert_eq!(hex(secret.expose_secret()), shared);
            assert_eq!(hex(key.decapsulate(&found).unwrap().expose_secret()), shared);
        }
    }

    /// Appendix D of the draft (`x509/xwing.priv`): the seed 00 01 … 1f.
    #[test]
    fn published_pkcs8() {
        let seed: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let text = "MDQCAQAwDQYLKwYBBAGD5i2ByHoEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
        let der = base64_simd::STANDARD.decode_to_vec(text).unwrap();
        assert_eq!(private_from_pkcs8(&der).unwrap().expose_secret(), seed);
        let key = private_key(&Secret::copy_from(&seed).unwrap()).unwrap();
        assert_eq!(key.pkcs8().unwrap().expose_secret(), der);
    }

    #[test]
    fn both_sides_have_the_same_secret_and_encodings_come_back() {
        let secret = random::secret(SEED).unwrap();
        let key = private_key(&secret).unwrap();
        let public = public_key(&key.public().spki()).unwrap();
        assert_eq!(public.raw(), key.public().raw());
        let (ciphertext, shared) = public.encapsulate().unwrap();
        assert_eq!(ciphertext.len(), CIPHERTEXT);
        let opened = key.decapsulate(&ciphertext).unwrap();
        assert_eq!(opened.expose_secret(), shared.expose_secret());
        let jwk = private_jwk(&secret).unwrap();
        let jwk = serde_json::from_slice(jwk.expose_secret()).unwrap();
        assert_eq!(private_from_jwk(&jwk).unwrap().expose_secret(), secret.expose_secret());
    }

    #[test]
    fn wrong_ciphertexts_and_keys() {
        let key = private_key(&random::secret(SEED).unwrap()).unwrap();
        let (ciphertext, shared) = key.public().encapsulate().unwrap();
        for at in [0, 1087, 1088, 1119] {
            let mut bad = ciphertext.clone();
            bad[at] ^= 1;
            let other = key.decapsulate(&bad).unwrap();
            assert_ne!(other.expose_secret(), shared.expose_secret());
        }
        for len in [0, 32, 1088, 1119, 1121] {
            assert!(matches!(key.decapsulate(&vec![0; len]), Err(Error::Open)));
        }
        let mut raw = key.public().raw();
        raw[0] = 0xff;
        raw[1] |= 0x0f;
        assert!(matches!(public_key(&raw), Err(Error::PublicKey)), "modulus check");
        assert!(public_key(&raw[1..]).is_err());
        let short = Secret::fill(96, |_| ()).unwrap();
        assert!(matches!(private_key(&short), Err(Error::SecretLength { .. })));
    }
}
