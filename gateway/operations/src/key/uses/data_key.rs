//! `keys.generateDataKey`: for data that is too large, too often used or too far away for the hub.

use hub_crypto::{Material, random};
use hub_model::api::uses::{DataKey, DataKeyForm, GenerateDataKey, MIN_DATA_KEY};
use hub_model::secret::encode_base64;
use hub_model::{Algorithm, EncryptionContext, Purpose, SecretBytes};

use super::super::crypto::seal;
use super::{Given, Used, compute, invalid, output, protecting, secret_bytes};
use crate::Error;
use crate::heavy::is_slow_to_generate;
use crate::operation::{AtKey, Scene};

impl Given for GenerateDataKey {
    fn payload(&self) -> usize {
        usize::try_from(self.bytes.unwrap_or(32)).unwrap_or(usize::MAX)
    }

    fn context(&self) -> Option<&EncryptionContext> {
        Some(&self.context)
    }
}

pub(super) async fn generate(
    scene: &Scene<'_, AtKey>,
    body: &GenerateDataKey,
) -> Result<Used<DataKey>, Error> {
    let (version, _) = protecting(scene, Purpose::Encrypt).await?;
    let (form, pointer, drawn, public_key) = match (body.key_pair, body.bytes) {
        (Some(_), Some(_)) => return invalid("/bytes", "give `bytes` or `keyPair`, and not both"),
        (Some(algorithm), None) => {
            let (private, public) = pair(scene, algorithm).await?;
            (DataKeyForm::Pkcs8, "/keyPair", private, Some(public))
        }
        (None, bytes) => {
            let secret = random::secret(output(bytes, MIN_DATA_KEY)?)?;
            (DataKeyForm::Random, "/bytes", secret_bytes(&secret), None)
        }
    };
    let ciphertext = seal(scene, &body.context, &drawn, pointer).await?;
    let plaintext = body.plaintext.unwrap_or(true).then_some(drawn);
    Ok(Used::new(DataKey { form, plaintext, ciphertext, version, public_key }, version))
}

/// A private key as PKCS #8, and its public half.
async fn pair(
    scene: &Scene<'_, AtKey>,
    algorithm: Algorithm,
) -> Result<(SecretBytes, String), Error> {
    if !algorithm.is_asymmetric() {
        return invalid("/keyPair", "keys of this algorithm have no public half");
    }
    scene.hub.check_profile(algorithm)?;
    let work = move || {
        let material = Material::generate(algorithm)?;
        let private = material.private()?;
        Ok((secret_bytes(&private.pkcs8()?), encode_base64(&private.public().spki())))
    };
    let slow = is_slow_to_generate(algorithm.row().kind);
    match compute(scene, slow, work).await? {
        Err(hub_crypto::Error::WrongUse) => {
            invalid("/keyPair", "keys of this algorithm have no PKCS #8 form")
        }
        outcome => Ok(outcome?),
    }
}
