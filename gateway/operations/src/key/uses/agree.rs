//! `keys.agree`: Diffie-Hellman with a peer, and HKDF-SHA-256 over what comes out. The shared secret
//! is not uniform, and is never shown.

use hub_crypto::asymmetric::{self, encode};
use hub_crypto::kdf;
use hub_model::algorithm::{Hash, Kind};
use hub_model::api::uses::{Agree, Derived, PeerKey};
use hub_model::{EncryptionContext, Purpose};

use super::{Given, Used, bound_info, compute, invalid, output, processing, refusal, secret_bytes};
use crate::Error;
use crate::operation::{AtKey, Scene};

impl Given for Agree {
    fn payload(&self) -> usize {
        0
    }

    fn context(&self) -> Option<&EncryptionContext> {
        Some(&self.context)
    }
}

pub(super) async fn agree(scene: &Scene<'_, AtKey>, body: &Agree) -> Result<Used<Derived>, Error> {
    let (version, material) = processing(scene, Purpose::Agree, body.version).await?;
    let len = output(body.bytes, 1)?;
    let peer = peer(scene.place.hot.key.algorithm.row().kind, &body.peer)?;
    let salt = body.salt.clone().unwrap_or_default();
    let info = bound_info(&body.context, body.info.as_ref());
    let work = move || {
        let shared = material.private()?.agree(&peer)?;
        kdf::derive_from(Hash::Sha256, &shared, salt.expose_secret(), &info, len)
    };
    let secret = compute(scene, false, work).await?.map_err(|error| refusal(error, "/peer"))?;
    Ok(Used::new(Derived { derived: secret_bytes(&secret), version, profile: None }, version))
}

/// The peer's key in raw form.
fn peer(kind: Kind, peer: &PeerKey) -> Result<Vec<u8>, Error> {
    let public = match (&peer.raw, &peer.der, &peer.pem, &peer.jwk) {
        (Some(bytes), None, None, None) | (None, Some(bytes), None, None) => {
            asymmetric::public_key(kind, bytes.expose_secret())
        }
        (None, None, Some(pem), None) => encode::public_from_pem(kind, pem),
        (None, None, None, Some(jwk)) => {
            let jwk = jwk.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
            encode::public_from_jwk(kind, &serde_json::Value::Object(jwk.collect()))
        }
        _ => return invalid("/peer", "give one of `raw`, `der`, `pem` and `jwk`"),
    };
    Ok(public.map_err(|error| refusal(error, "/peer"))?.raw())
}
