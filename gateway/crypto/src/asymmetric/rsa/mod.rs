//! RSA (RFC 8017) with moduli of 2048, 3072 or 4096 bits and the public exponent 65537: OAEP
//! (§7.1), PSS (§8.1) and signatures of version 1.5 (§8.2). Decryption of version 1.5 is not here,
//! and `clippy.toml` keeps it out.
//!
//! The stored secret is PKCS #8 in DER with all CRT values. [`import`] checks it with both
//! implementations, so that whichever is chosen later reads it: n = p·q, d·e = 1 modulo p - 1 and
//! q - 1, the CRT values, the size and the exponent; not that p and q are prime. Both check the
//! result of every private operation against the public key before they give it away, and both
//! blind it.
//!
//! The parsed key with its CRT values is held as long as the key object. aws-lc keeps it on its own
//! heap and cleanses it. The `rsa` crate erases d, p, q, d mod p-1 and d mod q-1 on drop, but not
//! q^-1 mod p nor the intermediate values of an operation: a reason more why
//! [`Provider::Auto`] does not choose it here.

mod aws_lc;
mod oaep;
mod rustcrypto;

use std::sync::Arc;

use hub_arena::Secret;
use hub_model::SecretBytes;
use hub_model::algorithm::{Hash, Kind};
use pkcs1::{RsaPrivateKeyRef, RsaPublicKeyRef, UintRef};
use pkcs8::SecretDocument;
use pkcs8::der::{Decode as _, Encode as _};

use super::{Message, PrivateKey, PublicKey, encode, prehash};
use crate::provider::Provider;
use crate::{Error, Result};

/// 65537, big endian (FIPS 186-5 §A.1.1 allows others; nobody uses them).
const EXPONENT: [u8; 3] = [1, 0, 1];

/// How messages are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    Oaep,
    Pss,
    Pkcs1,
}

/// An RSA algorithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheme {
    kind: Kind,
    padding: Padding,
    bits: u16,
    hash: Hash,
}

impl Scheme {
    /// The scheme of the kind, if it is one of RSA.
    pub(super) const fn of(kind: Kind) -> Option<Self> {
        let (padding, bits, hash) = match kind {
            Kind::RsaOaep { bits, hash } => (Padding::Oaep, bits, hash),
            Kind::RsaPss { bits, hash } => (Padding::Pss, bits, hash),
            Kind::RsaPkcs1 { bits, hash } => (Padding::Pkcs1, bits, hash),
            _ => return None,
        };
        Some(Self { kind, padding, bits, hash })
    }

    /// Bytes of the modulus, and of every ciphertext and signature.
    fn len(self) -> usize {
        usize::from(self.bits) / 8
    }

    /// Bytes that OAEP takes at once (RFC 8017 §7.1.1).
    fn longest(self) -> usize {
        self.len() - 2 * self.hash.len() - 2
    }
}

/// The private operations of an implementation. The caller has checked use and lengths.
trait Private: Send + Sync {
    fn sign(&self, scheme: Scheme, digest: &[u8]) -> Result<Vec<u8>>;
    fn decrypt(&self, scheme: Scheme, ciphertext: &[u8], label: &[u8]) -> Result<SecretBytes>;
    fn pkcs8(&self) -> Result<Secret>;
}

/// The public operations of an implementation. The caller has checked use and lengths.
trait Public: Send + Sync {
    fn verify(&self, scheme: Scheme, digest: &[u8], signature: &[u8]) -> Result<()>;
    fn encrypt(&self, scheme: Scheme, plaintext: &[u8], label: &[u8]) -> Result<Vec<u8>>;
}

struct PrivateHalf {
    scheme: Scheme,
    inner: Box<dyn Private>,
    public: Arc<PublicHalf>,
}

struct PublicHalf {
    scheme: Scheme,
    raw: Vec<u8>,
    spki: Vec<u8>,
    inner: Box<dyn Public>,
}

/// A fresh key, as PKCS #8. Takes from tens of milliseconds to many seconds.
pub(super) fn generate(provider: Provider, scheme: Scheme) -> Result<Secret> {
    match provider {
        Provider::AwsLc => aws_lc::generate(scheme),
        Provider::Auto | Provider::RustCrypto => rustcrypto::generate(scheme),
    }
}

/// The private key of a stored secret.
pub(super) fn private(
    provider: Provider,
    scheme: Scheme,
    secret: &Secret,
) -> Result<Box<dyn PrivateKey>> {
    let pkcs8 = secret.expose_secret();
    let pkcs1 = encode::pkcs8_inner(scheme.kind, pkcs8)?;
    let parsed = RsaPrivateKeyRef::from_der(pkcs1.key).map_err(|_| Error::PrivateKey)?;
    let raw = public_of(parsed.modulus.as_bytes(), parsed.public_exponent.as_bytes());
    let raw = raw.map_err(|_| Error::PrivateKey)?;
    let public = PublicHalf::new(provider, scheme, raw).map_err(|_| Error::PrivateKey)?;
    let inner = match provider {
        Provider::AwsLc => aws_lc::private(scheme, pkcs8)?,
        Provider::Auto | Provider::RustCrypto => rustcrypto::private(pkcs8)?,
    };
    Ok(Box::new(PrivateHalf { scheme, inner, public: Arc::new(public) }))
}

/// The public key of an `RSAPublicKey` in DER.
pub(super) fn public(
    provider: Provider,
    scheme: Scheme,
    pkcs1: &[u8],
) -> Result<Arc<dyn PublicKey>> {
    Ok(Arc::new(PublicHalf::new(provider, scheme, pkcs1.to_vec())?))
}

/// `RSAPublicKey` (RFC 8017 §A.1.1) of modulus and exponent, big endian.
pub(super) fn public_of(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>> {
    let integer = |bytes| UintRef::new(bytes).map_err(|_| Error::PublicKey);
    let (modulus, public_exponent) = (integer(modulus)?, integer(exponent)?);
    RsaPublicKeyRef { modulus, public_exponent }.to_der().map_err(|_| Error::PublicKey)
}

/// The stored secret of an `RSAPrivateKey` from outside (RFC 8017 §A.1.2), after every check.
///
/// # Errors
/// [`Error::PrivateKey`], whatever is wrong; [`Error::Arena`].
pub(super) fn import(scheme: Scheme, pkcs1: &[u8]) -> Result<Secret> {
    let parsed = RsaPrivateKeyRef::from_der(pkcs1).map_err(|_| Error::PrivateKey)?;
    // Written anew: DER has one spelling, so attributes and other extras end here.
    let der = SecretDocument::encode_msg(&parsed).map_err(|_| Error::PrivateKey)?;
    let secret = encode::pkcs8(scheme.kind, der.as_bytes())?;
    for provider in [Provider::AwsLc, Provider::RustCrypto] {
        private(provider, scheme, &secret)?;
    }
    Ok(secret)
}

/// The secret of the numbers of a JWK, in the order of `RSAPrivateKey`.
pub(super) fn import_numbers(scheme: Scheme, numbers: [&[u8]; 8]) -> Result<Secret> {
    let integer = |bytes| UintRef::new(bytes).map_err(|_| Error::PrivateKey);
    let [n, e, d, p, q, dp, dq, qi] = numbers;
    let key = RsaPrivateKeyRef {
        modulus: integer(n)?,
        public_exponent: integer(e)?,
        private_exponent: integer(d)?,
        prime1: integer(p)?,
        prime2: integer(q)?,
        exponent1: integer(dp)?,
        exponent2: integer(dq)?,
        coefficient: integer(qi)?,
        other_prime_infos: None,
    };
    let der = SecretDocument::encode_msg(&key).map_err(|_| Error::PrivateKey)?;
    import(scheme, der.as_bytes())
}

impl PublicHalf {
    fn new(provider: Provider, scheme: Scheme, raw: Vec<u8>) -> Result<Self> {
        let key = RsaPublicKeyRef::from_der(&raw).map_err(|_| Error::PublicKey)?;
        let modulus = key.modulus.as_bytes();
        let whole = modulus.first().is_some_and(|first| first & 0x80 != 0);
        let odd = modulus.last().is_some_and(|last| last & 1 == 1);
        let right = modulus.len() == scheme.len() && key.public_exponent.as_bytes() == EXPONENT;
        if !(whole && odd && right) {
            return Err(Error::PublicKey);
        }
        let spki = encode::spki(scheme.kind, &raw)?;
        let inner = match provider {
            Provider::AwsLc => aws_lc::public(scheme, &raw, &spki)?,
            Provider::Auto | Provider::RustCrypto => rustcrypto::public(&raw)?,
        };
        Ok(Self { scheme, raw, spki, inner })
    }
}

impl PrivateKey for PrivateHalf {
    fn public(&self) -> Arc<dyn PublicKey> {
        self.public.clone()
    }

    fn sign(&self, message: Message<'_>) -> Result<Vec<u8>> {
        if self.scheme.padding == Padding::Oaep {
            return Err(Error::WrongUse);
        }
        self.inner.sign(self.scheme, &prehash::digest(self.scheme.hash, message)?)
    }

    fn decrypt(&self, ciphertext: &[u8], label: &[u8]) -> Result<SecretBytes> {
        if self.scheme.padding != Padding::Oaep {
            return Err(Error::WrongUse);
        }
        if ciphertext.len() != self.scheme.len() {
            return Err(Error::Open);
        }
        self.inner.decrypt(self.scheme, ciphertext, label).map_err(|_| Error::Open)
    }

    fn pkcs8(&self) -> Result<Secret> {
        self.inner.pkcs8()
    }
}

impl PublicKey for PublicHalf {
    fn raw(&self) -> Vec<u8> {
        self.raw.clone()
    }

    fn spki(&self) -> Vec<u8> {
        self.spki.clone()
    }

    fn jwk(&self) -> Vec<(&'static str, String)> {
        // INVARIANT: `new` has parsed it.
        RsaPublicKeyRef::from_der(&self.raw)
            .map(|key| encode::rsa_jwk(key.modulus.as_bytes(), key.public_exponent.as_bytes()))
            .unwrap_or_default()
    }

    fn verify(&self, message: Message<'_>, signature: &[u8]) -> Result<()> {
        if self.scheme.padding == Padding::Oaep {
            return Err(Error::WrongUse);
        }
        let digest = prehash::digest(self.scheme.hash, message)?;
        if signature.len() != self.scheme.len() {
            return Err(Error::Signature);
        }
        self.inner.verify(self.scheme, &digest, signature).map_err(|_| Error::Signature)
    }

    fn encrypt(&self, plaintext: &[u8], label: &[u8]) -> Result<Vec<u8>> {
        if self.scheme.padding != Padding::Oaep {
            return Err(Error::WrongUse);
        }
        let longest = self.scheme.longest();
        if plaintext.len() > longest {
            return Err(Error::TooLongFor(longest));
        }
        self.inner.encrypt(self.scheme, plaintext, label)
    }
}

#[cfg(test)]
mod tests;
