//! How key bytes travel in and out: wrapped for a transport key (`docs/formats/transport.md`).
//!
//! What must stay true: a body that does not unwrap gives one error, whatever the cause, and after
//! the same work, so that nobody learns from many tries how far each of them came.

use std::str::FromStr;

use hub_arena::Secret;
use hub_model::Algorithm;
use pkcs8::der::asn1::{AnyRef, UintRef};
use pkcs8::der::{Decode as _, Reader as _};

use crate::asymmetric::{PrivateKey, PublicKey, hybrid};
use crate::import::{self, KeyFormat};
use crate::{Error, Material, Result, keywrap, mac, random};

/// The most bytes a key in transport may have, in any format: what the arena takes.
pub const MAX_KEY: usize = keywrap::MAX_SECRET;

const INFO: &[u8] = b"cipher-hub/v1/transport\0";
/// Bytes of an AES-256 key.
const KEK: usize = 32;

/// How key bytes are wrapped for transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportForm {
    /// An ephemeral AES-256 key under RSA-OAEP (SHA-256, MGF1 with SHA-256, no label), then the
    /// key bytes under AES-KWP: what Google Cloud KMS calls `RSA_OAEP_3072_SHA256_AES_256` and
    /// AWS KMS `RSA_AES_KEY_WRAP_SHA_256`. Modulus of 2,048 to 4,096 bits.
    RsaOaepAesKwp,
    /// X-Wing, then the key bytes under AES-KWP: hybrid post-quantum.
    X25519MlKem768AesKwp,
}

impl TransportForm {
    /// Every form.
    pub const ALL: [Self; 2] = [Self::RsaOaepAesKwp, Self::X25519MlKem768AesKwp];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaOaepAesKwp => "RSA_OAEP_AES_KWP",
            Self::X25519MlKem768AesKwp => "X25519_ML_KEM_768_AES_KWP",
        }
    }
}

impl FromStr for TransportForm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|form| form.name() == text)
            .ok_or(Error::Parameter("not a transport form"))
    }
}

/// Wraps key bytes for the holder of the transport key. `algorithm` is that of the key that
/// travels; the hybrid form binds it.
///
/// # Errors
/// [`Error::WrongUse`] when the transport key is not of the form; [`Error::TooLongFor`] above
/// [`MAX_KEY`], [`Error::Parameter`] without bytes; [`Error::Random`], [`Error::Arena`].
pub fn wrap(
    form: TransportForm,
    public: &dyn PublicKey,
    secret: &[u8],
    algorithm: Algorithm,
) -> Result<Vec<u8>> {
    if secret.is_empty() {
        return Err(Error::Parameter("there are no key bytes to wrap"));
    }
    if secret.len() > MAX_KEY {
        return Err(Error::TooLongFor(MAX_KEY));
    }
    let (mut body, kek) = match form {
        TransportForm::RsaOaepAesKwp => {
            rsa_len(public).ok_or(Error::WrongUse)?;
            let kek = random::secret(KEK)?;
            (public.encrypt(kek.expose_secret(), b"")?, kek)
        }
        TransportForm::X25519MlKem768AesKwp => {
            let (ciphertext, shared) = public.encapsulate()?;
            if ciphertext.len() != hybrid::CIPHERTEXT {
                return Err(Error::WrongUse);
            }
            (ciphertext, derive(&shared, algorithm)?)
        }
    };
    body.extend_from_slice(&keywrap::wrap(kek_bytes(&kek)?, secret)?);
    Ok(body)
}

/// Wraps the material of a key, in this format, for the holder of the transport key.
///
/// # Errors
/// [`Error::Parameter`] for a format the key's algorithm does not have; else those of [`wrap`].
pub fn export(
    form: TransportForm,
    public: &dyn PublicKey,
    material: &Material,
    format: KeyFormat,
) -> Result<Vec<u8>> {
    let bytes = import::serialize(material.algorithm(), material.secret(), format)?;
    wrap(form, public, bytes.expose_secret(), material.algorithm())
}

/// Unwraps what [`wrap`] made for the public half of `private`.
///
/// # Errors
/// [`Error::Open`], whatever the cause: another key, form or algorithm, damage, another length.
/// [`Error::Arena`], [`Error::Random`].
pub fn unwrap(
    form: TransportForm,
    private: &dyn PrivateKey,
    body: &[u8],
    algorithm: Algorithm,
) -> Result<Secret> {
    let len = match form {
        TransportForm::RsaOaepAesKwp => rsa_len(&*private.public()).ok_or(Error::Open)?,
        TransportForm::X25519MlKem768AesKwp => hybrid::CIPHERTEXT,
    };
    let (head, wrapped) = body.split_at_checked(len).ok_or(Error::Open)?;
    // Longer than any key wrapped: refused before anything is computed.
    if wrapped.len() > MAX_KEY + 8 {
        return Err(Error::Open);
    }
    let kek = match form {
        TransportForm::RsaOaepAesKwp => match private.decrypt(head, b"") {
            Ok(kek) if kek.len() == KEK => Secret::copy_from(kek.expose_secret())?,
            // On with a key that opens nothing.
            _ => random::secret(KEK)?,
        },
        TransportForm::X25519MlKem768AesKwp => {
            derive(&private.decapsulate(head).map_err(open)?, algorithm)?
        }
    };
    keywrap::unwrap(kek_bytes(&kek)?, wrapped)
}

/// HKDF-SHA-256 (RFC 5869) without salt, bound to the algorithm of the key that travels.
fn derive(shared: &Secret, algorithm: Algorithm) -> Result<Secret> {
    let prk = mac::extract(b"", shared)?;
    let okm = mac::expand64(prk.expose_secret(), &[INFO, algorithm.name().as_bytes()]);
    Ok(Secret::copy_from(okm.first.as_slice())?)
}

/// INVARIANT: every key-encryption key here is made with [`KEK`] bytes.
fn kek_bytes(kek: &Secret) -> Result<&[u8; KEK]> {
    kek.expose_secret().try_into().map_err(|_| Error::Open)
}

/// A transport key of the wrong kind is, to whoever sent the body, one more reason to fail.
fn open(error: Error) -> Error {
    match error {
        Error::Arena(_) | Error::Random => error,
        _ => Error::Open,
    }
}

/// Bytes of the modulus of an RSA key, 2,048 to 4,096 bits: as long are its ciphertexts.
fn rsa_len(public: &dyn PublicKey) -> Option<usize> {
    let raw = public.raw();
    // RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER } (RFC 8017 §A.1.1)
    let len = AnyRef::from_der(&raw).ok()?.sequence(|reader| {
        let modulus = reader.decode::<UintRef<'_>>()?;
        reader.decode::<UintRef<'_>>()?;
        Ok::<_, pkcs8::der::Error>(modulus.as_bytes().len())
    });
    len.ok().filter(|len| (256..=512).contains(len))
}
