//! Keys with a public half: signatures, asymmetric encryption, agreement, encapsulation.
//!
//! One file per family, one arm per family in [`generate`], [`private_key`] and [`public_key`].
//! A private key is made from the secret that lies in the arena, once per hot key, and may hold a
//! prepared form of it on the heap (RSA with CRT values, say), which it erases when dropped.
//! What must stay true: a private key does what its algorithm is for and nothing else; every
//! failed decryption or decapsulation is [`Error::Open`], every failed verification
//! [`Error::Signature`].
//!
//! Two implementations stand behind the classic families, RustCrypto and aws-lc
//! ([`crate::provider`]). They read the same stored secrets, and what one signs or encrypts the
//! other verifies or decrypts. What they keep in memory: RustCrypto's prepared keys are boxed and
//! erased on drop (every crate has its `zeroize` feature on; see `rsa` for what that crate
//! misses), aws-lc's lie on its own heap, which it cleanses when it frees. Neither lies in the
//! arena.

mod ec;
mod ecdh;
mod ecdsa;
mod ed25519;
pub mod encode;
pub(crate) mod hybrid;
pub(crate) mod ml_dsa;
pub(crate) mod ml_kem;
mod prehash;
mod rng;
mod rsa;
mod seeded;
pub mod signature;
mod x25519;

use std::sync::Arc;

use hub_arena::Secret;
use hub_model::SecretBytes;
use hub_model::algorithm::{Curve, Kind};

use crate::provider::{self, Provider};
use crate::{Error, Result, random};

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The message itself.
    Whole(&'a [u8]),
    /// Its digest, by the hash of the algorithm. Refused where the algorithm has no prehashed form
    /// (Ed25519, ML-DSA).
    Digest(&'a [u8]),
}

/// A private key, ready for use.
pub trait PrivateKey: Send + Sync {
    /// The public half.
    fn public(&self) -> Arc<dyn PublicKey>;

    /// Signs. Raw form: RSA as is; ECDSA r ‖ s, each as long as the curve's order (IEEE P1363);
    /// Ed25519 and ML-DSA as in their standards.
    ///
    /// # Errors
    /// [`Error::WrongUse`] for keys that do not sign, [`Error::Digest`] for a digest of the wrong
    /// length or where none can be signed.
    fn sign(&self, _message: Message<'_>) -> Result<Vec<u8>> {
        Err(Error::WrongUse)
    }

    /// Decrypts what [`PublicKey::encrypt`] made with the same label.
    ///
    /// # Errors
    /// [`Error::Open`], whatever the cause; [`Error::WrongUse`].
    fn decrypt(&self, _ciphertext: &[u8], _label: &[u8]) -> Result<SecretBytes> {
        Err(Error::WrongUse)
    }

    /// The secret shared with the peer whose raw public key this is (SEC 1 point, compressed or
    /// not; 32 bytes for X25519). Not uniform: to be put through a KDF.
    ///
    /// # Errors
    /// [`Error::PublicKey`] when it is not a point of the curve, or of small order.
    fn agree(&self, _peer: &[u8]) -> Result<Secret> {
        Err(Error::WrongUse)
    }

    /// The secret that [`PublicKey::encapsulate`] gave with this ciphertext: 32 bytes.
    ///
    /// # Errors
    /// [`Error::Open`] when the ciphertext has another length; a wrong one gives another secret
    /// (implicit rejection, FIPS 203 §6.3).
    fn decapsulate(&self, _ciphertext: &[u8]) -> Result<Secret> {
        Err(Error::WrongUse)
    }

    /// The key as PKCS #8 (RFC 5958), in DER: for export.
    ///
    /// # Errors
    /// [`Error::WrongUse`] where no standard gives such a form.
    fn pkcs8(&self) -> Result<Secret> {
        Err(Error::WrongUse)
    }
}

/// A public key, ready for use.
pub trait PublicKey: Send + Sync {
    /// The raw form: RSA as `RSAPublicKey` DER (RFC 8017 §A.1.1); curves as uncompressed SEC 1
    /// point; everything else as the bytes of its standard.
    fn raw(&self) -> Vec<u8>;

    /// `SubjectPublicKeyInfo` in DER (RFC 5280 §4.1.2.7).
    fn spki(&self) -> Vec<u8>;

    /// The public members of its JWK (RFC 7518 §6, RFC 8037, and for ML-DSA and ML-KEM `kty` of
    /// `AKP`), in the order their thumbprint wants (RFC 7638); `kty` is among them.
    fn jwk(&self) -> Vec<(&'static str, String)>;

    /// Checks a signature in raw form.
    ///
    /// # Errors
    /// [`Error::Signature`]; [`Error::Digest`]; [`Error::WrongUse`].
    fn verify(&self, _message: Message<'_>, _signature: &[u8]) -> Result<()> {
        Err(Error::WrongUse)
    }

    /// Encrypts, bound to the label.
    ///
    /// # Errors
    /// [`Error::TooLongFor`] above what the modulus takes; [`Error::WrongUse`].
    fn encrypt(&self, _plaintext: &[u8], _label: &[u8]) -> Result<Vec<u8>> {
        Err(Error::WrongUse)
    }

    /// A fresh secret of 32 bytes and the ciphertext that carries it.
    ///
    /// # Errors
    /// [`Error::WrongUse`].
    fn encapsulate(&self) -> Result<(Vec<u8>, Secret)> {
        Err(Error::WrongUse)
    }
}

/// A fresh secret of this kind: what is stored, wrapped. RSA: PKCS #8 DER. Curves: the scalar, big
/// endian. Ed25519, X25519, ML-DSA: the 32-byte seed. ML-KEM: d ‖ z. Hybrid: the 32-byte seed.
///
/// # Errors
/// [`Error::Arena`], [`Error::Random`]; [`Error::WrongUse`] for kinds without a public half.
pub fn generate(kind: Kind) -> Result<Secret> {
    generate_by(provider::current(), kind)
}

/// As [`generate`], by this provider.
///
/// # Errors
/// As [`generate`].
pub fn generate_by(provider: Provider, kind: Kind) -> Result<Secret> {
    if let Some(scheme) = rsa::Scheme::of(kind) {
        return rsa::generate(chosen(provider, kind), scheme);
    }
    match kind {
        Kind::Ecdsa(curve) | Kind::Ecdh(curve) => ec::generate(curve),
        Kind::Ed25519 | Kind::X25519 => random::secret(32),
        Kind::MlDsa(_) => random::secret(ml_dsa::SEED),
        Kind::MlKem(_) => random::secret(ml_kem::SEED),
        Kind::Hybrid => random::secret(hybrid::SEED),
        _ => Err(Error::WrongUse),
    }
}

/// The private key of a stored secret.
///
/// # Errors
/// [`Error::SecretLength`], [`Error::PrivateKey`] when it is no such key.
pub fn private_key(kind: Kind, secret: &Secret) -> Result<Box<dyn PrivateKey>> {
    private_key_by(provider::current(), kind, secret)
}

/// As [`private_key`], by this provider.
///
/// # Errors
/// As [`private_key`].
pub fn private_key_by(
    provider: Provider,
    kind: Kind,
    secret: &Secret,
) -> Result<Box<dyn PrivateKey>> {
    let provider = chosen(provider, kind);
    if let Some(scheme) = rsa::Scheme::of(kind) {
        return rsa::private(provider, scheme, secret);
    }
    match kind {
        Kind::Ecdsa(curve) => ecdsa::private(provider, curve, secret),
        Kind::Ecdh(curve) => ecdh::private(provider, curve, secret),
        Kind::Ed25519 => ed25519::private(provider, secret),
        Kind::X25519 => x25519::private(provider, secret),
        Kind::MlDsa(set) => ml_dsa::private_key(set, secret),
        Kind::MlKem(set) => ml_kem::private_key(set, secret),
        Kind::Hybrid => hybrid::private_key(secret),
        _ => Err(Error::WrongUse),
    }
}

/// A public key from its `SubjectPublicKeyInfo` or raw form (curves: compressed too).
///
/// # Errors
/// [`Error::PublicKey`].
pub fn public_key(kind: Kind, encoded: &[u8]) -> Result<Arc<dyn PublicKey>> {
    public_key_by(provider::current(), kind, encoded)
}

/// As [`public_key`], by this provider.
///
/// # Errors
/// As [`public_key`].
pub fn public_key_by(provider: Provider, kind: Kind, encoded: &[u8]) -> Result<Arc<dyn PublicKey>> {
    let provider = chosen(provider, kind);
    // No raw form of a kind is a `SubjectPublicKeyInfo` of it: points begin with 2, 3 or 4,
    // `RSAPublicKey` with an integer, and 32 bytes are too few.
    let raw = encode::public_bits(kind, encoded).unwrap_or(encoded);
    if let Some(scheme) = rsa::Scheme::of(kind) {
        return rsa::public(provider, scheme, raw);
    }
    match kind {
        Kind::Ecdsa(curve) => ecdsa::public(provider, curve, raw),
        Kind::Ecdh(curve) => ecdh::public(curve, raw),
        Kind::Ed25519 => ed25519::public(provider, raw),
        Kind::X25519 => x25519::public(raw),
        Kind::MlDsa(set) => ml_dsa::public_key(set, encoded),
        Kind::MlKem(set) => ml_kem::public_key(set, encoded),
        Kind::Hybrid => hybrid::public_key(encoded),
        _ => Err(Error::PublicKey),
    }
}

/// The implementation that computes for keys of the kind: never [`Provider::Auto`].
///
/// `Auto` takes aws-lc where RustCrypto takes more than twice the time of OpenSSL 3.0 for an
/// operation (`examples/asymmetric.rs`, `docs/adr/0013-providers.md`), else RustCrypto. The
/// post-quantum families have one implementation and do not ask.
fn chosen(provider: Provider, kind: Kind) -> Provider {
    match (provider, kind) {
        // The only one there is.
        (_, Kind::Ecdsa(Curve::Secp256k1)) => Provider::RustCrypto,
        (
            Provider::Auto,
            Kind::RsaOaep { .. }
            | Kind::RsaPss { .. }
            | Kind::RsaPkcs1 { .. }
            | Kind::Ecdsa(Curve::P256)
            | Kind::Ecdh(Curve::P256),
        ) => Provider::AwsLc,
        (Provider::Auto, _) => Provider::RustCrypto,
        (provider, _) => provider,
    }
}
