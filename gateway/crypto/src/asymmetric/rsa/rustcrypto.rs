//! RSA by the `rsa` crate, blinded.

use hub_arena::Secret;
use hub_model::SecretBytes;
use hub_model::algorithm::Hash;
use pkcs1::DecodeRsaPublicKey as _;
use pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rsa::hazmat::rsa_decrypt_and_check;
use rsa::{BoxedUint, Oaep, Pkcs1v15Sign, Pss};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::super::rng::{Keys, Salts};
use super::oaep;
use super::{Padding, Private, Public, Scheme};
use crate::{Error, Result};

/// Runs the body with the hash's type.
macro_rules! with_hash {
    ($hash:expr, $type:ident => $body:expr) => {
        match $hash {
            Hash::Sha256 => {
                type $type = Sha256;
                $body
            }
            Hash::Sha384 => {
                type $type = Sha384;
                $body
            }
            Hash::Sha512 => {
                type $type = Sha512;
                $body
            }
        }
    };
}

pub(super) fn generate(scheme: Scheme) -> Result<Secret> {
    let key = rsa::PrivateKey::new(&mut Keys, usize::from(scheme.bits));
    export(&key.map_err(|_| Error::Random)?)
}

pub(super) fn private(pkcs8: &[u8]) -> Result<Box<dyn Private>> {
    Ok(Box::new(rsa::PrivateKey::from_pkcs8_der(pkcs8).map_err(|_| Error::PrivateKey)?))
}

pub(super) fn public(raw: &[u8]) -> Result<Box<dyn Public>> {
    Ok(Box::new(rsa::PublicKey::from_pkcs1_der(raw).map_err(|_| Error::PublicKey)?))
}

fn export(key: &rsa::PrivateKey) -> Result<Secret> {
    let der = key.to_pkcs8_der().map_err(|_| Error::PrivateKey)?;
    Ok(Secret::copy_from(der.as_bytes())?)
}

impl Private for rsa::PrivateKey {
    fn sign(&self, scheme: Scheme, digest: &[u8]) -> Result<Vec<u8>> {
        let signature = match scheme.padding {
            Padding::Oaep => return Err(Error::WrongUse),
            Padding::Pss => with_hash!(scheme.hash, D => {
                self.sign_with_rng(&mut Salts, Pss::<D>::new(), digest)
            }),
            Padding::Pkcs1 => with_hash!(scheme.hash, D => {
                self.sign_with_rng(&mut Salts, Pkcs1v15Sign::new::<D>(), digest)
            }),
        };
        signature.map_err(|_| Error::PrivateKey)
    }

    fn decrypt(&self, scheme: Scheme, ciphertext: &[u8], label: &[u8]) -> Result<SecretBytes> {
        let bits = u32::from(scheme.bits);
        let ciphertext = BoxedUint::from_be_slice(ciphertext, bits).map_err(|_| Error::Open)?;
        let encoded = rsa_decrypt_and_check(self, Some(&mut Salts), &ciphertext);
        let encoded = Zeroizing::new(encoded.map_err(|_| Error::Open)?);
        // INVARIANT: as long as the modulus, whose width the number has.
        let mut encoded = Zeroizing::new(encoded.to_be_bytes());
        with_hash!(scheme.hash, D => oaep::decode::<D>(&mut encoded, label)).ok_or(Error::Open)
    }

    fn pkcs8(&self) -> Result<Secret> {
        export(self)
    }
}

impl Public for rsa::PublicKey {
    fn verify(&self, scheme: Scheme, digest: &[u8], signature: &[u8]) -> Result<()> {
        let outcome = match scheme.padding {
            Padding::Oaep => return Err(Error::WrongUse),
            Padding::Pss => with_hash!(scheme.hash, D => {
                rsa::PublicKey::verify(self, Pss::<D>::new(), digest, signature)
            }),
            Padding::Pkcs1 => with_hash!(scheme.hash, D => {
                rsa::PublicKey::verify(self, Pkcs1v15Sign::new::<D>(), digest, signature)
            }),
        };
        outcome.map_err(|_| Error::Signature)
    }

    fn encrypt(&self, scheme: Scheme, plaintext: &[u8], label: &[u8]) -> Result<Vec<u8>> {
        let ciphertext = with_hash!(scheme.hash, D => {
            rsa::PublicKey::encrypt(self, &mut Salts, Oaep::<D>::new_with_label(label), plaintext)
        });
        ciphertext.map_err(|_| Error::TooLongFor(scheme.longest()))
    }
}
