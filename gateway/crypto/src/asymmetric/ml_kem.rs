//! ML-KEM (FIPS 203): key encapsulation that quantum computers do not break.
//!
//! What is stored is the seed d ‖ z, so that no expanded key ever has to be checked (FIPS 203
//! §7.3 asks for that). A ciphertext of the right length always gives a secret; a wrong one gives
//! another secret (implicit rejection, §6.3), in the same time.

use std::sync::Arc;

use hub_arena::Secret;
use ml_kem::array::sizes::{U32, U64};
use ml_kem::kem::Decapsulator as _;
use ml_kem::{
    B32, Ciphertext, Decapsulate, Kem, Key, KeyExport, KeyInit, MlKem512, MlKem768, MlKem1024,
    Seed, SharedKey, TryKeyInit,
};
use pkcs8::ObjectIdentifier;
use serde_json::Value;
use zeroize::Zeroizing;

use super::seeded::{Expanded, Form};
use super::{PrivateKey, PublicKey};
use crate::{Error, Result, random};

/// Bytes of the seed d ‖ z.
pub(crate) const SEED: usize = 64;
/// Bytes of the secret that is shared.
const SHARED: usize = 32;

/// A parameter set with its encodings.
trait Set:
    Kem<
        SharedKeySize = U32,
        DecapsulationKey: KeyInit<KeySize = U64> + Decapsulate + Send + Sync,
        EncapsulationKey: Send + Sync,
    >
{
    const FORM: Form;

    /// The expanded private key of FIPS 203 §6.1.
    fn expanded(key: &Self::DecapsulationKey) -> Zeroizing<Vec<u8>>;

    /// `ML-KEM.Encaps_internal` (FIPS 203 §6.2).
    fn encapsulate(key: &Self::EncapsulationKey, m: &B32) -> (Ciphertext<Self>, SharedKey);
}

macro_rules! sets {
    ($($number:literal, $set:ident, $name:literal, $oid:literal, $public:literal;)*) => {
        $(impl Set for $set {
            const FORM: Form = Form {
                oid: ObjectIdentifier::new_unwrap($oid),
                alg: $name,
                public: $public,
                choice: true,
                expand: expand::<$set>,
            };

            #[expect(deprecated, reason = "only to compare with what a PKCS #8 has beside the seed")]
            fn expanded(key: &Self::DecapsulationKey) -> Zeroizing<Vec<u8>> {
                let expanded = ml_kem::ExpandedKeyEncoding::to_expanded_bytes(key);
                Zeroizing::new(Zeroizing::new(expanded).to_vec())
            }

            fn encapsulate(key: &Self::EncapsulationKey, m: &B32) -> (Ciphertext<Self>, SharedKey) {
                key.encapsulate_deterministic(m)
            }
        })*

        /// The encodings of a parameter set.
        fn form(set: u16) -> Result<Form> {
            match set {
                $($number => Ok($set::FORM),)*
                _ => Err(Error::WrongUse),
            }
        }

        /// The private key of a stored seed.
        pub(super) fn private_key(set: u16, secret: &Secret) -> Result<Box<dyn PrivateKey>> {
            match set {
                $($number => Ok(Box::new(Private::<$set>::new(secret)?)),)*
                _ => Err(Error::WrongUse),
            }
        }

        /// A public key from its raw form or `SubjectPublicKeyInfo`, after the modulus check of
        /// FIPS 203 §7.2.
        pub(super) fn public_key(set: u16, encoded: &[u8]) -> Result<Arc<dyn PublicKey>> {
            match set {
                $($number => Ok(Arc::new(Public::<$set>::new(encoded)?)),)*
                _ => Err(Error::WrongUse),
            }
        }

        /// For vectors of others ([`crate::conformance`]): encapsulation with given randomness;
        /// ciphertext and secret.
        pub(crate) fn encapsulate_with(
            set: u16,
            public: &[u8],
            m: &[u8; 32],
        ) -> Result<(Vec<u8>, Secret)> {
            match set {
                $($number => Public::<$set>::new(public)?.encapsulate_with(m),)*
                _ => Err(Error::WrongUse),
            }
        }
    };
}

sets! {
    512, MlKem512, "ML-KEM-512", "2.16.840.1.101.3.4.4.1", 800;
    768, MlKem768, "ML-KEM-768", "2.16.840.1.101.3.4.4.2", 1184;
    1024, MlKem1024, "ML-KEM-1024", "2.16.840.1.101.3.4.4.3", 1568;
}

/// The seed of a PKCS #8: the seed alone or with the expanded key (RFC 9935 §6).
///
/// # Errors
/// [`Error::PrivateKey`].
pub(crate) fn private_from_pkcs8(set: u16, der: &[u8]) -> Result<Secret> {
    form(set)?.read_pkcs8(der)
}

/// The seed of a private JWK: `kty` `AKP` as for ML-DSA (RFC 9964 §3), `alg` the name of the
/// parameter set. No RFC says so yet; the form is ours.
///
/// # Errors
/// [`Error::PrivateKey`].
pub(crate) fn private_from_jwk(set: u16, jwk: &Value) -> Result<Secret> {
    form(set)?.read_jwk(jwk)
}

/// The private JWK of a stored seed, as [`private_from_jwk`] reads it.
///
/// # Errors
/// [`Error::PrivateKey`], [`Error::Arena`].
pub(crate) fn private_jwk(set: u16, seed: &Secret) -> Result<Secret> {
    form(set)?.private_jwk(seed)
}

/// The seed as the crate wants it, erased when dropped.
fn seed(bytes: &[u8]) -> Result<Zeroizing<Seed>> {
    Seed::try_from(bytes).map(Zeroizing::new).map_err(|_| Error::PrivateKey)
}

fn expand<K: Set>(bytes: &[u8]) -> Result<Expanded> {
    let key = K::DecapsulationKey::new(&*seed(bytes)?);
    Ok(Expanded { public: key.encapsulation_key().to_bytes().to_vec(), private: K::expanded(&key) })
}

/// A shared key moves into the arena.
pub(super) fn into_arena(shared: SharedKey) -> Result<Secret> {
    Ok(Secret::copy_from(&Zeroizing::new(shared))?)
}

struct Private<K: Set> {
    seed: Secret,
    /// Boxed inside and erased on drop (the crate's feature `zeroize`).
    key: K::DecapsulationKey,
    public: Arc<Public<K>>,
}

impl<K: Set> Private<K> {
    fn new(secret: &Secret) -> Result<Self> {
        if secret.len() != SEED {
            let (found, expected) = (secret.len(), SEED);
            return Err(Error::SecretLength { what: "an ML-KEM seed", found, expected });
        }
        let key = K::DecapsulationKey::new(&*seed(secret.expose_secret())?);
        let public = Arc::new(Public { key: key.encapsulation_key().clone() });
        Ok(Self { seed: Secret::copy_from(secret.expose_secret())?, key, public })
    }
}

impl<K: Set> PrivateKey for Private<K> {
    fn public(&self) -> Arc<dyn PublicKey> {
        Arc::clone(&self.public) as _
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret> {
        into_arena(self.key.decapsulate_slice(ciphertext).map_err(|_| Error::Open)?)
    }

    fn pkcs8(&self) -> Result<Secret> {
        K::FORM.pkcs8(&self.seed)
    }
}

struct Public<K: Set> {
    key: K::EncapsulationKey,
}

impl<K: Set> Public<K> {
    fn new(encoded: &[u8]) -> Result<Self> {
        let raw = Key::<K::EncapsulationKey>::try_from(K::FORM.raw(encoded)?)
            .map_err(|_| Error::PublicKey)?;
        let key = K::EncapsulationKey::new(&raw).map_err(|_| Error::PublicKey)?;
        Ok(Self { key })
    }

    fn encapsulate_with(&self, m: &[u8; 32]) -> Result<(Vec<u8>, Secret)> {
        let (ciphertext, shared) = K::encapsulate(&self.key, m.into());
        Ok((ciphertext.to_vec(), into_arena(shared)?))
    }
}

impl<K: Set> PublicKey for Public<K> {
    fn raw(&self) -> Vec<u8> {
        self.key.to_bytes().to_vec()
    }

    fn spki(&self) -> Vec<u8> {
        K::FORM.spki(&self.raw())
    }

    fn jwk(&self) -> Vec<(&'static str, String)> {
        K::FORM.jwk(&self.raw())
    }

    fn encapsulate(&self) -> Result<(Vec<u8>, Secret)> {
        // The secret is a key, so what it comes from is drawn as keys are.
        let m = random::secret(SHARED)?;
        self.encapsulate_with(m.expose_secret().try_into().map_err(|_| Error::Random)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asymmetric::Message;

    const SETS: [(u16, usize, usize); 3] = [(512, 800, 768), (768, 1184, 1088), (1024, 1568, 1568)];

    #[test]
    fn both_sides_have_the_same_secret() {
        for (set, public_len, ciphertext_len) in SETS {
            let key = private_key(set, &random::secret(SEED).unwrap()).unwrap();
            let public = public_key(set, &key.public().raw()).unwrap();
            assert_eq!(public.raw().len(), public_len);
            let (one, shared) = public.encapsulate().unwrap();
            let (two, other) = public.encapsulate().unwrap();
            assert_eq!((one.len(), shared.len()), (ciphertext_len, 32));
            assert_ne!(one, two);
            assert_ne!(shared.expose_secret(), other.expose_secret());
            let opened = key.decapsulate(&one).unwrap();
            assert_eq!(opened.expose_secret(), shared.expose_secret());
        }
    }

    #[test]
    fn a_wrong_ciphertext_gives_another_secret_always_the_same() {
        for (set, _, ciphertext_len) in SETS {
            let secret = random::secret(SEED).unwrap();
            let key = private_key(set, &secret).unwrap();
            let (ciphertext, shared) = key.public().encapsulate().unwrap();
            for at in [0, 1, ciphertext_len / 2, ciphertext_len - 1] {
                let mut bad = ciphertext.clone();
                bad[at] ^= 0x80;
                let rejected = key.decapsulate(&bad).unwrap();
                assert_ne!(rejected.expose_secret(), shared.expose_secret());
                let again = key.decapsulate(&bad).unwrap();
                assert_eq!(rejected.expose_secret(), again.expose_secret());
                // FIPS 203 §6.3, step 6: J(z ‖ c).
                use shake::{ExtendableOutput as _, Update as _, XofReader as _};
                let mut hash = shake::Shake256::default();
                hash.update(&secret.expose_secret()[32..]);
                hash.update(&bad);
                let mut expected = [0; 32];
                hash.finalize_xof().read(&mut expected);
                assert_eq!(rejected.expose_secret(), expected);
            }
            for len in [0, 1, ciphertext_len - 1, ciphertext_len + 1] {
                assert!(matches!(key.decapsulate(&vec![0; len]), Err(Error::Open)));
            }
        }
    }

    #[test]
    fn coefficients_beyond_the_modulus_are_refused() {
        for (set, public_len, _) in SETS {
            let key = private_key(set, &random::secret(SEED).unwrap()).unwrap();
            let mut raw = key.public().raw();
            assert!(public_key(set, &raw).is_ok());
            // The first coefficient of t̂, 12 bits: q = 3329 itself, then the largest.
            for value in [3329u16, 4095] {
                let [low, high] = value.to_le_bytes();
                raw[0] = low;
                raw[1] = raw[1] & 0xf0 | high;
                assert!(matches!(public_key(set, &raw), Err(Error::PublicKey)));
            }
            assert!(public_key(set, &vec![0; public_len - 1]).is_err());
        }
    }

    #[test]
    fn other_uses_are_refused() {
        let key = private_key(768, &random::secret(SEED).unwrap()).unwrap();
        assert!(matches!(key.sign(Message::Whole(b"")), Err(Error::WrongUse)));
        assert!(matches!(key.agree(&[9; 32]), Err(Error::WrongUse)));
        assert!(matches!(key.public().encrypt(b"", b""), Err(Error::WrongUse)));
        for len in [0, 32, 63, 65, 96] {
            let secret = Secret::fill(len, |_| ()).unwrap();
            assert!(matches!(private_key(768, &secret), Err(Error::SecretLength { .. })));
        }
        assert!(private_key(769, &random::secret(SEED).unwrap()).is_err());
    }

    #[test]
    fn encodings_come_back() {
        for (set, ..) in SETS {
            let other_set = if set == 512 { 768 } else { 512 };
            let secret = random::secret(SEED).unwrap();
            let key = private_key(set, &secret).unwrap();
            let (raw, spki) = (key.public().raw(), key.public().spki());
            assert_eq!(public_key(set, &spki).unwrap().raw(), raw);
            assert!(public_key(other_set, &spki).is_err());
            let pkcs8 = key.pkcs8().unwrap();
            assert_eq!(pkcs8.len(), 86);
            let back = private_from_pkcs8(set, pkcs8.expose_secret()).unwrap();
            assert_eq!(back.expose_secret(), secret.expose_secret());
            assert!(private_from_pkcs8(other_set, pkcs8.expose_secret()).is_err());
            let jwk = private_jwk(set, &secret).unwrap();
            let jwk: Value = serde_json::from_slice(jwk.expose_secret()).unwrap();
            let back = private_from_jwk(set, &jwk).unwrap();
            assert_eq!(back.expose_secret(), secret.expose_secret());
            assert!(private_from_jwk(other_set, &jwk).is_err());
        }
    }
}
