//! Elliptic-curve Diffie-Hellman on P-256 (SP 800-56A §5.7.1.2): the x coordinate of the product.
//! The cofactor is 1, so a peer's point that is on the curve is in the group; the point at infinity
//! has no accepted form, and the product cannot be it.
//!
//! The scalar lies in the arena. RustCrypto takes it from there for each agreement and erases its
//! copy; aws-lc has its own on its heap, which it cleanses.

use std::sync::Arc;

use aws_lc_rs::agreement;
use hub_arena::Secret;
use hub_model::algorithm::{Curve, Kind};
use p256::SecretKey;

use super::{PrivateKey, PublicKey, ec, encode};
use crate::provider::Provider;
use crate::{Error, Result};

const CURVE: Curve = Curve::P256;

struct Private {
    scalar: Secret,
    aws_lc: Option<agreement::PrivateKey>,
    public: Arc<Public>,
}

struct Public {
    point: Vec<u8>,
    spki: Vec<u8>,
}

/// The private key of this scalar.
pub(super) fn private(
    provider: Provider,
    curve: Curve,
    secret: &Secret,
) -> Result<Box<dyn PrivateKey>> {
    if curve != CURVE {
        return Err(Error::WrongUse);
    }
    let bytes = secret.expose_secret();
    let public = Arc::new(Public::new(ec::public_of(CURVE, bytes)?)?);
    let aws_lc = match provider {
        Provider::AwsLc => {
            let key = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, bytes);
            Some(key.map_err(|_| Error::PrivateKey)?)
        }
        Provider::Auto | Provider::RustCrypto => None,
    };
    Ok(Box::new(Private { scalar: Secret::copy_from(bytes)?, aws_lc, public }))
}

/// The public key of this point, compressed or not.
pub(super) fn public(curve: Curve, sec1: &[u8]) -> Result<Arc<dyn PublicKey>> {
    if curve != CURVE {
        return Err(Error::WrongUse);
    }
    Ok(Arc::new(Public::new(ec::point(CURVE, sec1)?)?))
}

impl Public {
    fn new(point: Vec<u8>) -> Result<Self> {
        let spki = encode::spki(Kind::Ecdh(CURVE), &point)?;
        Ok(Self { point, spki })
    }
}

impl PrivateKey for Private {
    fn public(&self) -> Arc<dyn PublicKey> {
        self.public.clone()
    }

    fn agree(&self, peer: &[u8]) -> Result<Secret> {
        // aws-lc would take other forms too.
        if !ec::has_point_form(CURVE, peer) {
            return Err(Error::PublicKey);
        }
        if let Some(key) = &self.aws_lc {
            let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, peer);
            return agreement::agree(key, peer, Error::PublicKey, |shared| {
                Ok(Secret::copy_from(shared)?)
            });
        }
        let peer = p256::PublicKey::from_sec1_bytes(peer).map_err(|_| Error::PublicKey)?;
        let own = SecretKey::from_slice(self.scalar.expose_secret());
        let own = own.map_err(|_| Error::PrivateKey)?;
        Ok(Secret::copy_from(own.diffie_hellman(&peer).raw_secret_bytes())?)
    }

    fn pkcs8(&self) -> Result<Secret> {
        encode::ec_pkcs8(Kind::Ecdh(CURVE), &self.scalar, &self.public.point)
    }
}

impl PublicKey for Public {
    fn raw(&self) -> Vec<u8> {
        self.point.clone()
    }

    fn spki(&self) -> Vec<u8> {
        self.spki.clone()
    }

    fn jwk(&self) -> Vec<(&'static str, String)> {
        encode::ec_jwk(CURVE, &self.point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asymmetric::Message;

    const PROVIDERS: [Provider; 2] = [Provider::RustCrypto, Provider::AwsLc];

    #[test]
    fn both_sides_and_both_providers_agree() {
        let (a, b) = (ec::generate(CURVE).unwrap(), ec::generate(CURVE).unwrap());
        let shared: Vec<Vec<u8>> = PROVIDERS
            .into_iter()
            .flat_map(|provider| {
                let a = private(provider, CURVE, &a).unwrap();
                let b = private(provider, CURVE, &b).unwrap();
                let peer = b.public().raw();
                let compressed = [&[2 + (peer[64] & 1)], &peer[1..33]].concat();
                [a.agree(&peer), a.agree(&compressed), b.agree(&a.public().raw())]
                    .map(|shared| shared.unwrap().expose_secret().to_vec())
            })
            .collect();
        assert_eq!(shared[0].len(), 32);
        assert!(shared.iter().all(|other| *other == shared[0]));
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let secret = ec::generate(CURVE).unwrap();
        for provider in PROVIDERS {
            let key = private(provider, CURVE, &secret).unwrap();
            let good = key.public().raw();
            let mut off = good.clone();
            off[64] ^= 1;
            let hybrid = [&[6 + (good[64] & 1)], &good[1..]].concat();
            let spki = key.public().spki();
            let foreign = ec::generate(Curve::Secp256k1).unwrap();
            let foreign = ec::public_of(Curve::Secp256k1, foreign.expose_secret()).unwrap();
            for bad in [off, hybrid, spki, foreign, good[1..].to_vec(), vec![0], vec![]] {
                assert!(matches!(key.agree(&bad), Err(Error::PublicKey)));
            }
            assert!(matches!(key.sign(Message::Whole(b"")), Err(Error::WrongUse)));
        }
        assert!(matches!(private(Provider::Auto, Curve::P384, &secret), Err(Error::WrongUse)));
    }
}
