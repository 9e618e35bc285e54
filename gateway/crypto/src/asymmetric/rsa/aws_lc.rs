//! RSA by aws-lc: five to ten times as fast (docs/performance.md).

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepAlgorithm, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaEncoding, RsaParameters};
use hub_arena::Secret;
use hub_model::SecretBytes;
use hub_model::algorithm::Hash;
use zeroize::Zeroizing;

use super::super::prehash;
use super::{Padding, Private, Public, Scheme};
use crate::{Error, Result};

pub(super) fn generate(scheme: Scheme) -> Result<Secret> {
    let size = match scheme.bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        _ => return Err(Error::WrongUse),
    };
    export(KeyPair::generate(size).and_then(|key| key.as_der()))
}

/// [`Pkcs8V1Der`] erases itself on drop.
fn export(der: Result<Pkcs8V1Der<'static>, Unspecified>) -> Result<Secret> {
    Ok(Secret::copy_from(der.map_err(|_| Error::Random)?.as_ref())?)
}

pub(super) fn private(scheme: Scheme, pkcs8: &[u8]) -> Result<Box<dyn Private>> {
    if scheme.padding == Padding::Oaep {
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| Error::PrivateKey)?;
        // A second reference to the same key, not a copy.
        let oaep = OaepPrivateDecryptingKey::new(key.clone()).map_err(|_| Error::PrivateKey)?;
        return Ok(Box::new(Decrypting { key, oaep }));
    }
    Ok(Box::new(KeyPair::from_pkcs8(pkcs8).map_err(|_| Error::PrivateKey)?))
}

pub(super) fn public(scheme: Scheme, raw: &[u8], spki: &[u8]) -> Result<Box<dyn Public>> {
    if let Some(parameters) = parameters(scheme) {
        let key = ParsedPublicKey::new(parameters, raw).map_err(|_| Error::PublicKey)?;
        return Ok(Box::new(key));
    }
    let key = PublicEncryptingKey::from_der(spki).map_err(|_| Error::PublicKey)?;
    Ok(Box::new(OaepPublicEncryptingKey::new(key).map_err(|_| Error::PublicKey)?))
}

/// How signatures are checked; PSS wants a salt as long as the digest.
fn parameters(scheme: Scheme) -> Option<&'static RsaParameters> {
    match (scheme.padding, scheme.hash) {
        (Padding::Oaep, _) => None,
        (Padding::Pss, Hash::Sha256) => Some(&signature::RSA_PSS_2048_8192_SHA256),
        (Padding::Pss, Hash::Sha384) => Some(&signature::RSA_PSS_2048_8192_SHA384),
        (Padding::Pss, Hash::Sha512) => Some(&signature::RSA_PSS_2048_8192_SHA512),
        (Padding::Pkcs1, Hash::Sha256) => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        (Padding::Pkcs1, Hash::Sha384) => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        (Padding::Pkcs1, Hash::Sha512) => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
    }
}

/// How signatures are made; PSS with a salt as long as the digest.
fn encoding(scheme: Scheme) -> Option<&'static dyn RsaEncoding> {
    match (scheme.padding, scheme.hash) {
        (Padding::Oaep, _) => None,
        (Padding::Pss, Hash::Sha256) => Some(&signature::RSA_PSS_SHA256),
        (Padding::Pss, Hash::Sha384) => Some(&signature::RSA_PSS_SHA384),
        (Padding::Pss, Hash::Sha512) => Some(&signature::RSA_PSS_SHA512),
        (Padding::Pkcs1, Hash::Sha256) => Some(&signature::RSA_PKCS1_SHA256),
        (Padding::Pkcs1, Hash::Sha384) => Some(&signature::RSA_PKCS1_SHA384),
        (Padding::Pkcs1, Hash::Sha512) => Some(&signature::RSA_PKCS1_SHA512),
    }
}

const fn oaep(hash: Hash) -> &'static OaepAlgorithm {
    match hash {
        Hash::Sha256 => &OAEP_SHA256_MGF1SHA256,
        Hash::Sha384 => &OAEP_SHA384_MGF1SHA384,
        Hash::Sha512 => &OAEP_SHA512_MGF1SHA512,
    }
}

impl Private for KeyPair {
    fn sign(&self, scheme: Scheme, digest: &[u8]) -> Result<Vec<u8>> {
        let encoding = encoding(scheme).ok_or(Error::WrongUse)?;
        let digest = prehash::aws_lc(scheme.hash, digest)?;
        let mut signature = vec![0; scheme.len()];
        self.sign_digest(encoding, &digest, &mut signature).map_err(|_| Error::PrivateKey)?;
        Ok(signature)
    }

    fn decrypt(&self, _: Scheme, _: &[u8], _: &[u8]) -> Result<SecretBytes> {
        Err(Error::WrongUse)
    }

    fn pkcs8(&self) -> Result<Secret> {
        export(self.as_der())
    }
}

struct Decrypting {
    key: PrivateDecryptingKey,
    oaep: OaepPrivateDecryptingKey,
}

impl Private for Decrypting {
    fn sign(&self, _: Scheme, _: &[u8]) -> Result<Vec<u8>> {
        Err(Error::WrongUse)
    }

    fn decrypt(&self, scheme: Scheme, ciphertext: &[u8], label: &[u8]) -> Result<SecretBytes> {
        let mut buffer = Zeroizing::new(vec![0; scheme.len()]);
        let plaintext = self
            .oaep
            .decrypt(oaep(scheme.hash), ciphertext, &mut buffer, Some(label))
            .map_err(|_| Error::Open)?;
        Ok(SecretBytes::new(plaintext.to_vec()))
    }

    fn pkcs8(&self) -> Result<Secret> {
        export(self.key.as_der())
    }
}

impl Public for ParsedPublicKey {
    fn verify(&self, scheme: Scheme, digest: &[u8], signature: &[u8]) -> Result<()> {
        let digest = prehash::aws_lc(scheme.hash, digest)?;
        self.verify_digest_sig(&digest, signature).map_err(|_| Error::Signature)
    }

    fn encrypt(&self, _: Scheme, _: &[u8], _: &[u8]) -> Result<Vec<u8>> {
        Err(Error::WrongUse)
    }
}

impl Public for OaepPublicEncryptingKey {
    fn verify(&self, _: Scheme, _: &[u8], _: &[u8]) -> Result<()> {
        Err(Error::WrongUse)
    }

    fn encrypt(&self, scheme: Scheme, plaintext: &[u8], label: &[u8]) -> Result<Vec<u8>> {
        let mut ciphertext = vec![0; scheme.len()];
        OaepPublicEncryptingKey::encrypt(
            self,
            oaep(scheme.hash),
            plaintext,
            &mut ciphertext,
            Some(label),
        )
        .map_err(|_| Error::TooLongFor(scheme.longest()))?;
        Ok(ciphertext)
    }
}
