//! `keys.wrap`, `keys.unwrap`: AES key wrap with padding (RFC 5649). Deterministic, and bound to
//! nothing but the key, as the standard has it.

use hub_crypto::keywrap;
use hub_model::Purpose;
use hub_model::api::crypto::Decrypted;
use hub_model::api::uses::{Unwrap, Wrap, Wrapped};
use hub_model::secret::encode_base64;

use super::{Given, Used, processing, protecting, refusal, secret_bytes};
use crate::Error;
use crate::operation::{AtKey, Scene};

impl Given for Wrap {
    fn payload(&self) -> usize {
        self.plaintext.len()
    }
}

impl Given for Unwrap {
    fn payload(&self) -> usize {
        self.wrapped_key.len()
    }
}

pub(super) async fn wrap(scene: &Scene<'_, AtKey>, body: &Wrap) -> Result<Used<Wrapped>, Error> {
    let (version, material) = protecting(scene, Purpose::Wrap).await?;
    let wrapped = keywrap::wrap_under(&material, body.plaintext.expose_secret())
        .map_err(|error| refusal(error, "/plaintext"))?;
    Ok(Used::new(Wrapped { wrapped_key: encode_base64(&wrapped), version }, version))
}

pub(super) async fn unwrap(
    scene: &Scene<'_, AtKey>,
    body: &Unwrap,
) -> Result<Used<Decrypted>, Error> {
    let (version, material) = processing(scene, Purpose::Wrap, body.version).await?;
    let secret = keywrap::unwrap_under(&material, body.wrapped_key.expose_secret())
        .map_err(|error| refusal(error, "/wrappedKey"))?;
    Ok(Used::new(Decrypted { plaintext: secret_bytes(&secret), version }, version))
}
