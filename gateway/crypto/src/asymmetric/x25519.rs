//! X25519 (RFC 7748 §5). Every string of 32 bytes is a public key; a peer whose shared secret is
//! all zeros (a point of small order, §6.1) is refused.
//!
//! The seed lies in the arena. RustCrypto takes it from there for each agreement and erases its
//! copy; aws-lc has its own on its heap, which it cleanses.

use std::sync::Arc;

use aws_lc_rs::agreement;
use hub_arena::Secret;
use hub_model::algorithm::Kind;
use x25519_dalek::StaticSecret;

use super::{PrivateKey, PublicKey, encode};
use crate::provider::Provider;
use crate::{Error, Result};

struct Private {
    seed: Secret,
    aws_lc: Option<agreement::PrivateKey>,
    public: Arc<Public>,
}

struct Public {
    bytes: [u8; 32],
    spki: Vec<u8>,
}

/// The private key of these 32 bytes, which are clamped when used (RFC 7748 §5).
pub(super) fn private(provider: Provider, secret: &Secret) -> Result<Box<dyn PrivateKey>> {
    let own = unwrap(secret)?;
    let public = Arc::new(Public::new(x25519_dalek::PublicKey::from(&own).to_bytes())?);
    let aws_lc = match provider {
        Provider::AwsLc => {
            let key = agreement::PrivateKey::from_private_key(&agreement::X25519, own.as_bytes());
            Some(key.map_err(|_| Error::PrivateKey)?)
        }
        Provider::Auto | Provider::RustCrypto => None,
    };
    Ok(Box::new(Private { seed: Secret::copy_from(own.as_bytes())?, aws_lc, public }))
}

/// A copy on the stack, erased on drop.
fn unwrap(secret: &Secret) -> Result<StaticSecret> {
    let bytes: &[u8; 32] = secret.expose_secret().try_into().map_err(|_| Error::SecretLength {
        what: "an X25519 key",
        found: secret.len(),
        expected: 32,
    })?;
    Ok(StaticSecret::from(*bytes))
}

/// The public key of these 32 bytes.
pub(super) fn public(bytes: &[u8]) -> Result<Arc<dyn PublicKey>> {
    Ok(Arc::new(Public::new(bytes.try_into().map_err(|_| Error::PublicKey)?)?))
}

impl Public {
    fn new(bytes: [u8; 32]) -> Result<Self> {
        let spki = encode::spki(Kind::X25519, &bytes)?;
        Ok(Self { bytes, spki })
    }
}

impl PrivateKey for Private {
    fn public(&self) -> Arc<dyn PublicKey> {
        self.public.clone()
    }

    fn agree(&self, peer: &[u8]) -> Result<Secret> {
        let peer: [u8; 32] = peer.try_into().map_err(|_| Error::PublicKey)?;
        if let Some(key) = &self.aws_lc {
            // Fails for the all-zero secret (checked by the tests).
            let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, peer);
            return agreement::agree(key, peer, Error::PublicKey, |shared| {
                Ok(Secret::copy_from(shared)?)
            });
        }
        let shared = unwrap(&self.seed)?.diffie_hellman(&x25519_dalek::PublicKey::from(peer));
        if !shared.was_contributory() {
            return Err(Error::PublicKey);
        }
        Ok(Secret::copy_from(shared.as_bytes())?)
    }

    fn pkcs8(&self) -> Result<Secret> {
        encode::okp_pkcs8(Kind::X25519, &self.seed)
    }
}

impl PublicKey for Public {
    fn raw(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    fn spki(&self) -> Vec<u8> {
        self.spki.clone()
    }

    fn jwk(&self) -> Vec<(&'static str, String)> {
        encode::okp_jwk("X25519", &self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    const PROVIDERS: [Provider; 2] = [Provider::RustCrypto, Provider::AwsLc];

    #[test]
    fn both_sides_and_both_providers_agree() {
        let (a, b) = (random::secret(32).unwrap(), random::secret(32).unwrap());
        let mut all = Vec::new();
        for first in PROVIDERS {
            for second in PROVIDERS {
                let (a, b) = (private(first, &a).unwrap(), private(second, &b).unwrap());
                all.push(a.agree(&b.public().raw()).unwrap().expose_secret().to_vec());
                all.push(b.agree(&a.public().raw()).unwrap().expose_secret().to_vec());
            }
        }
        assert_eq!(all[0].len(), 32);
        assert!(all.iter().all(|shared| *shared == all[0]));
    }

    #[test]
    fn an_all_zero_secret_and_wrong_lengths_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        for provider in PROVIDERS {
            let key = private(provider, &random::secret(32).unwrap()).unwrap();
            for bad in [&[0; 32][..], &one, &minus_one, &[9; 31], &[9; 33], &[]] {
                assert!(matches!(key.agree(bad), Err(Error::PublicKey)), "{bad:?}");
            }
            let outcome = private(provider, &random::secret(31).unwrap());
            assert!(matches!(outcome, Err(Error::SecretLength { .. })));
        }
    }
}
