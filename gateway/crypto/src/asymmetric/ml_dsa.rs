//! ML-DSA (FIPS 204): signatures that quantum computers do not break.
//!
//! Pure, never prehashed, with an empty context; hedged (FIPS 204 §3.4): every signature draws 32
//! fresh bytes, so that two of one message differ and a fault does not give the key away. What is
//! stored is the seed ξ.

use std::sync::Arc;

use hub_arena::Secret;
use ml_dsa::{
    EncodedSignature, EncodedVerifyingKey, ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87,
    MlDsaParams, Seed, Signature, VerifyingKey,
};
use pkcs8::ObjectIdentifier;
use serde_json::Value;
use zeroize::Zeroizing;

use super::seeded::{Expanded, Form};
use super::{Message, PrivateKey, PublicKey};
use crate::{Error, Result, random};

/// Bytes of the seed ξ.
pub(crate) const SEED: usize = 32;

/// A parameter set with its encodings.
trait Set: MlDsaParams + Send + Sync + 'static {
    const FORM: Form;
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
        })*

        /// The encodings of a parameter set.
        fn form(set: u8) -> Result<Form> {
            match set {
                $($number => Ok($set::FORM),)*
                _ => Err(Error::WrongUse),
            }
        }

        /// The private key of a stored seed.
        pub(super) fn private_key(set: u8, secret: &Secret) -> Result<Box<dyn PrivateKey>> {
            match set {
                $($number => Ok(Box::new(Private::<$set>::new(secret)?)),)*
                _ => Err(Error::WrongUse),
            }
        }

        /// A public key from its raw form or `SubjectPublicKeyInfo`.
        pub(super) fn public_key(set: u8, encoded: &[u8]) -> Result<Arc<dyn PublicKey>> {
            match set {
                $($number => Ok(Arc::new(Public::<$set>::new(encoded)?)),)*
                _ => Err(Error::WrongUse),
            }
        }
    };
}

sets! {
    44, MlDsa44, "ML-DSA-44", "2.16.840.1.101.3.4.3.17", 1312;
    65, MlDsa65, "ML-DSA-65", "2.16.840.1.101.3.4.3.18", 1952;
    87, MlDsa87, "ML-DSA-87", "2.16.840.1.101.3.4.3.19", 2592;
}

/// The seed of a PKCS #8: the seed alone or with the expanded key (RFC 9881 §6).
///
/// # Errors
/// [`Error::PrivateKey`].
pub(crate) fn private_from_pkcs8(set: u8, der: &[u8]) -> Result<Secret> {
    form(set)?.read_pkcs8(der)
}

/// The seed of a private JWK of `kty` `AKP` (RFC 9964 §3).
///
/// # Errors
/// [`Error::PrivateKey`].
pub(crate) fn private_from_jwk(set: u8, jwk: &Value) -> Result<Secret> {
    form(set)?.read_jwk(jwk)
}

/// The private JWK of a stored seed (RFC 9964 §3).
///
/// # Errors
/// [`Error::PrivateKey`], [`Error::Arena`].
pub(crate) fn private_jwk(set: u8, seed: &Secret) -> Result<Secret> {
    form(set)?.private_jwk(seed)
}

/// The seed as the crate wants it, erased when dropped.
fn seed(bytes: &[u8]) -> Result<Zeroizing<Seed>> {
    Seed::try_from(bytes).map(Zeroizing::new).map_err(|_| Error::PrivateKey)
}

fn expand<P: Set>(bytes: &[u8]) -> Result<Expanded> {
    let key = ExpandedSigningKey::<P>::from_seed(&*seed(bytes)?);
    #[expect(deprecated, reason = "only to compare with what a PKCS #8 has beside the seed")]
    let private = Zeroizing::new(key.to_expanded());
    let public = key.verifying_key().encode().to_vec();
    Ok(Expanded { public, private: Zeroizing::new(private.to_vec()) })
}

struct Private<P: Set> {
    seed: Secret,
    /// Boxed and erased on drop (the crate's feature `zeroize`).
    key: Box<ExpandedSigningKey<P>>,
    public: Arc<Public<P>>,
}

impl<P: Set> Private<P> {
    fn new(secret: &Secret) -> Result<Self> {
        if secret.len() != SEED {
            let (found, expected) = (secret.len(), SEED);
            return Err(Error::SecretLength { what: "an ML-DSA seed", found, expected });
        }
        let key = Box::new(ExpandedSigningKey::from_seed(&*seed(secret.expose_secret())?));
        let public = Arc::new(Public { key: key.verifying_key() });
        Ok(Self { seed: Secret::copy_from(secret.expose_secret())?, key, public })
    }
}

impl<P: Set> PrivateKey for Private<P> {
    fn public(&self) -> Arc<dyn PublicKey> {
        Arc::clone(&self.public) as _
    }

    fn sign(&self, message: Message<'_>) -> Result<Vec<u8>> {
        let Message::Whole(message) = message else { return Err(Error::Digest) };
        // Cannot fail in practice: it would take thousands of rejections, each a toss of about
        // one in five.
        let signature = self.key.sign_randomized(message, &[], &mut random::rng());
        Ok(signature.map_err(|_| Error::Random)?.encode().to_vec())
    }

    fn pkcs8(&self) -> Result<Secret> {
        P::FORM.pkcs8(&self.seed)
    }
}

struct Public<P: Set> {
    key: VerifyingKey<P>,
}

impl<P: Set> Public<P> {
    fn new(encoded: &[u8]) -> Result<Self> {
        // Every string of this length is a key (FIPS 204 §7.2, pkDecode).
        let raw = EncodedVerifyingKey::<P>::try_from(P::FORM.raw(encoded)?)
            .map_err(|_| Error::PublicKey)?;
        Ok(Self { key: VerifyingKey::decode(&raw) })
    }

    fn verify_within(&self, context: &[u8], message: &[u8], signature: &[u8]) -> Result<()> {
        let encoded = EncodedSignature::<P>::try_from(signature).map_err(|_| Error::Signature)?;
        let signature = Signature::<P>::decode(&encoded).ok_or(Error::Signature)?;
        if !self.key.verify_with_context(message, context, &signature) {
            return Err(Error::Signature);
        }
        Ok(())
    }
}

impl<P: Set> PublicKey for Public<P> {
    fn raw(&self) -> Vec<u8> {
        self.key.encode().to_vec()
    }

    fn spki(&self) -> Vec<u8> {
        P::FORM.spki(&self.raw())
    }

    fn jwk(&self) -> Vec<(&'static str, String)> {
        P::FORM.jwk(&self.raw())
    }

    fn verify(&self, message: Message<'_>, signature: &[u8]) -> Result<()> {
        let Message::Whole(message) = message else { return Err(Error::Digest) };
        self.verify_within(&[], message, signature)
    }
}

/// For vectors of others ([`crate::conformance`]): the deterministic signature (FIPS 204 §3.4)
/// with a context.
pub(crate) fn sign_deterministic(
    set: u8,
    seed: &[u8],
    context: &[u8],
    message: &[u8],
) -> Option<Vec<u8>> {
    fn sign<P: Set>(seed: &[u8], context: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        let key = ExpandedSigningKey::<P>::from_seed(&Seed::try_from(seed).ok()?);
        Some(key.sign_deterministic(message, context).ok()?.encode().to_vec())
    }
    match set {
        44 => sign::<MlDsa44>(seed, context, message),
        65 => sign::<MlDsa65>(seed, context, message),
        87 => sign::<MlDsa87>(seed, context, message),
        _ => None,
    }
}

/// For vectors of others: verification with a context.
pub(crate) fn verify_within(
    set: u8,
    public: &[u8],
    context: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<()> {
    match set {
        44 => Public::<MlDsa44>::new(public)?.verify_within(context, message, signature),
        65 => Public::<MlDsa65>::new(public)?.verify_within(context, message, signature),
        87 => Public::<MlDsa87>::new(public)?.verify_within(context, message, signature),
        _ => Err(Error::WrongUse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [(u8, usize, usize); 3] = [(44, 1312, 2420), (65, 1952, 3309), (87, 2592, 4627)];

    #[test]
    fn signatures_verify_and_differ() {
        for (set, public_len, signature_len) in SETS {
            let key = private_key(set, &random::secret(SEED).unwrap()).unwrap();
            let public = public_key(set, &key.public().raw()).unwrap();
            assert_eq!(public.raw().len(), public_len);
            for message in [&b""[..], b"a message", &[7; 10_000]] {
                let message = Message::Whole(message);
                let (one, two) = (key.sign(message).unwrap(), key.sign(message).unwrap());
                assert_eq!(one.len(), signature_len);
                assert_ne!(one, two, "hedged");
                public.verify(message, &one).unwrap();
                key.public().verify(message, &two).unwrap();
                for at in [0, 31, 100, signature_len / 2, signature_len - 1] {
                    let mut bad = one.clone();
                    bad[at] ^= 1;
                    assert!(matches!(public.verify(message, &bad), Err(Error::Signature)));
                }
                for len in [0, 1, signature_len - 1] {
                    let short = public.verify(message, &one[..len]);
                    assert!(matches!(short, Err(Error::Signature)));
                }
                let other = Message::Whole(b"another");
                assert!(matches!(public.verify(other, &one), Err(Error::Signature)));
            }
        }
    }

    #[test]
    fn the_empty_context_is_the_one_that_is_used() {
        let key = private_key(44, &random::secret(SEED).unwrap()).unwrap();
        let (raw, signature) = (key.public().raw(), key.sign(Message::Whole(b"m")).unwrap());
        verify_within(44, &raw, b"", b"m", &signature).unwrap();
        assert!(verify_within(44, &raw, b"c", b"m", &signature).is_err());
    }

    #[test]
    fn other_uses_are_refused() {
        let key = private_key(65, &random::secret(SEED).unwrap()).unwrap();
        let digest = Message::Digest(&[1; 32]);
        assert!(matches!(key.sign(digest), Err(Error::Digest)));
        assert!(matches!(key.public().verify(digest, &[1; 3309]), Err(Error::Digest)));
        assert!(matches!(key.decapsulate(&[1; 1088]), Err(Error::WrongUse)));
        assert!(matches!(key.decrypt(b"", b""), Err(Error::WrongUse)));
        assert!(matches!(key.public().encapsulate(), Err(Error::WrongUse)));
        for len in [0, 31, 33, 64] {
            let secret = Secret::fill(len, |_| ()).unwrap();
            assert!(matches!(private_key(65, &secret), Err(Error::SecretLength { .. })));
        }
        assert!(public_key(65, &[0; 1951]).is_err());
        assert!(private_key(66, &random::secret(SEED).unwrap()).is_err());
    }

    #[test]
    fn encodings_come_back() {
        for (set, ..) in SETS {
            let secret = random::secret(SEED).unwrap();
            let key = private_key(set, &secret).unwrap();
            let (raw, spki) = (key.public().raw(), key.public().spki());
            assert_eq!(public_key(set, &spki).unwrap().raw(), raw);
            assert!(public_key(set, &spki[1..]).is_err());
            assert!(public_key(if set == 44 { 65 } else { 44 }, &spki).is_err());
            let pkcs8 = key.pkcs8().unwrap();
            let back = private_from_pkcs8(set, pkcs8.expose_secret()).unwrap();
            assert_eq!(back.expose_secret(), secret.expose_secret());
            let jwk = private_jwk(set, &secret).unwrap();
            let mut jwk: Value = serde_json::from_slice(jwk.expose_secret()).unwrap();
            let back = private_from_jwk(set, &jwk).unwrap();
            assert_eq!(back.expose_secret(), secret.expose_secret());
            for (name, text) in key.public().jwk() {
                assert_eq!(jwk[name], *text);
            }
            assert!(private_from_jwk(if set == 44 { 65 } else { 44 }, &jwk).is_err());
            let other = private_key(set, &random::secret(SEED).unwrap()).unwrap();
            jwk["pub"] = other.public().jwk()[2].1.clone().into();
            assert!(private_from_jwk(set, &jwk).is_err(), "another public key");
        }
    }

    /// The thumbprint that draft-ietf-cose-dilithium-11 (RFC 9964) §3 shows for the seed of zeros.
    #[test]
    fn published_thumbprint() {
        let key = private_key(44, &Secret::fill(SEED, |_| ()).unwrap()).unwrap();
        let members = key.public().jwk();
        let members: Vec<_> =
            members.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        let digest = crate::hash::sha256(format!("{{{}}}", members.join(",")).as_bytes());
        let thumbprint = hub_model::secret::encode_base64_url(&digest);
        assert_eq!(thumbprint, "T4xl70S7MT6Zeq6r9V9fPJGVn76wfnXJ21-gyo0Gu6o");
    }

    /// The three choices of RFC 9881 §6, put together by hand.
    #[test]
    fn an_expanded_key_is_taken_only_beside_its_seed() {
        let long = |tag: u8, parts: &[&[u8]]| {
            let content = parts.concat();
            let len = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82][..], &len, &content].concat()
        };
        let oid = [0x30, 11, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 17];
        let whole = |private: &[u8]| long(0x30, &[&[2, 1, 0], &oid, &long(4, &[private])]);
        let (seed, other) = ([9; 32], [8; 32]);
        let (right, wrong) =
            (expand::<MlDsa44>(&seed).unwrap(), expand::<MlDsa44>(&other).unwrap());
        let both = |expanded: &Expanded| {
            whole(&long(0x30, &[&[4, 32], &seed, &long(4, &[&expanded.private])]))
        };
        assert_eq!(right.private.len(), 2560);
        assert!(private_from_pkcs8(44, &both(&right)).is_ok());
        assert!(matches!(private_from_pkcs8(44, &both(&wrong)), Err(Error::PrivateKey)));
        let alone = whole(&long(4, &[&right.private]));
        assert!(matches!(private_from_pkcs8(44, &alone), Err(Error::PrivateKey)));
        assert!(matches!(private_from_pkcs8(65, &both(&right)), Err(Error::PrivateKey)));
        assert!(private_from_pkcs8(44, b"").is_err());
    }
}
