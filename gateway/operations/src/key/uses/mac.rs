//! `keys.mac`, `keys.verifyMac`.

use hub_crypto::mac as codes;
use hub_model::api::uses::{Mac, MacTag, Verified, VerifyMac};
use hub_model::{Purpose, SecretBytes};

use super::{Given, Used, check_message, processing, protecting};
use crate::Error;
use crate::operation::{AtKey, Scene};

impl Given for Mac {
    fn payload(&self) -> usize {
        self.message.len()
    }
}

impl Given for VerifyMac {
    fn payload(&self) -> usize {
        self.message.len()
    }
}

pub(super) async fn mac(scene: &Scene<'_, AtKey>, body: &Mac) -> Result<Used<MacTag>, Error> {
    let (version, material) = protecting(scene, Purpose::Mac).await?;
    check_message(&body.message)?;
    let mac = SecretBytes::new(codes::compute(&material, body.message.expose_secret())?);
    Ok(Used::new(MacTag { mac, version }, version))
}

pub(super) async fn verify_mac(
    scene: &Scene<'_, AtKey>,
    body: &VerifyMac,
) -> Result<Used<Verified>, Error> {
    let (version, material) = processing(scene, Purpose::Mac, body.version).await?;
    check_message(&body.message)?;
    let (message, mac) = (body.message.expose_secret(), body.mac.expose_secret());
    let valid = match codes::verify(&material, message, mac) {
        Ok(()) => true,
        Err(hub_crypto::Error::Signature) => false,
        Err(error) => return Err(error.into()),
    };
    let detail = (!valid).then_some("invalid");
    Ok(Used { detail, ..Used::new(Verified { valid, version }, version) })
}
