//! `keys.encapsulate`, `keys.decapsulate`: key encapsulation (FIPS 203, X-Wing).

use hub_model::Purpose;
use hub_model::api::uses::{Decapsulate, Decapsulated, Encapsulate, Encapsulated};
use hub_model::secret::encode_base64;

use super::{Given, Used, compute, processing, protecting, refusal, secret_bytes};
use crate::Error;
use crate::operation::{AtKey, Scene};

impl Given for Encapsulate {
    fn payload(&self) -> usize {
        0
    }
}

impl Given for Decapsulate {
    fn payload(&self) -> usize {
        self.ciphertext.len()
    }
}

pub(super) async fn encapsulate(
    scene: &Scene<'_, AtKey>,
    _body: &Encapsulate,
) -> Result<Used<Encapsulated>, Error> {
    let (version, material) = protecting(scene, Purpose::Encapsulate).await?;
    let work = move || material.private()?.public().encapsulate();
    let (ciphertext, secret) = compute(scene, false, work).await??;
    let (ciphertext, shared_secret) = (encode_base64(&ciphertext), secret_bytes(&secret));
    Ok(Used::new(Encapsulated { ciphertext, shared_secret, version }, version))
}

pub(super) async fn decapsulate(
    scene: &Scene<'_, AtKey>,
    body: &Decapsulate,
) -> Result<Used<Decapsulated>, Error> {
    let (version, material) = processing(scene, Purpose::Encapsulate, body.version).await?;
    let ciphertext = body.ciphertext.clone();
    let work = move || material.private()?.decapsulate(ciphertext.expose_secret());
    let secret =
        compute(scene, false, work).await?.map_err(|error| refusal(error, "/ciphertext"))?;
    Ok(Used::new(Decapsulated { shared_secret: secret_bytes(&secret), version }, version))
}
