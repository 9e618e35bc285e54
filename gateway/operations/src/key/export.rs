//! `keys.export`: a version of an exportable key, wrapped for the holder of a public key.

use std::sync::Arc;

use hub_crypto::asymmetric::{self, PublicKey, encode};
use hub_crypto::transport;
use hub_model::algorithm::{Hash, Kind};
use hub_model::api::transfer::{ExportKey as Body, ExportedKey, Transport};
use hub_model::secret::decode_base64;
use hub_model::{Action, Algorithm, KeyId, RegistrationId, SecretBytes};
use hub_policy::Permit;

use super::import::{form, format};
use crate::hub::Hub;
use crate::operation::{AtKey, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Exports a version.
#[derive(Debug)]
pub struct ExportKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Of which key.
    pub key: Ref<KeyId>,
    /// Which, and for whom.
    pub body: Body,
}

impl ExportKey {
    /// The recipient's key, of a strength that those who keep keys for others should have.
    fn recipient(&self) -> Result<Arc<dyn PublicKey>, Error> {
        const RSA: [Kind; 2] = [
            Kind::RsaOaep { bits: 3072, hash: Hash::Sha256 },
            Kind::RsaOaep { bits: 4096, hash: Hash::Sha256 },
        ];
        let kinds: &[Kind] = match self.body.transport {
            Transport::RsaOaepAesKwp => &RSA,
            Transport::X25519MlKem768AesKwp => &[Kind::Hybrid],
        };
        let text = self.body.recipient_key.trim();
        let der = if text.starts_with("-----BEGIN") {
            encode::from_pem(encode::PUBLIC_LABEL, text).ok().map(|der| der.to_vec())
        } else {
            decode_base64(text).ok()
        };
        let key = der.and_then(|der| {
            kinds.iter().find_map(|kind| {
                // `SubjectPublicKeyInfo` only: raw forms say too little of what they are.
                asymmetric::public_key(*kind, &der).ok().filter(|key| key.spki() == der)
            })
        });
        key.ok_or_else(|| Error::Invalid {
            pointer: "/recipientKey",
            detail: "not a public key of this transport: PEM or base64 of SubjectPublicKeyInfo, \
                     RSA of 3072 or 4096 bits"
                .to_owned(),
        })
    }
}

impl Operation for ExportKey {
    const ACTION: Action = Action::KeysExport;
    type Place = AtKey;
    type Reply = ExportedKey;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<ExportedKey>, Error> {
        let Scene { hub, place, .. } = scene;
        let (hot, body) = (&place.hot, &self.body);
        // The guardrail says so too; this is what no policy can change.
        if !hot.key.exportable {
            return Err(Error::NotExportable);
        }
        let version = body.version.unwrap_or(hot.key.primary);
        if hot.key.version(version).is_none() {
            return Err(Error::NoVersion(version));
        }
        if !hot.key.processes(version) {
            return Err(Error::Invalid {
                pointer: "/version",
                detail: format!("version {version} is not in a state to be exported"),
            });
        }
        if body.transport == Transport::X25519MlKem768AesKwp {
            hub.check_profile(Algorithm::X25519MlKem768)?;
        }
        let recipient = self.recipient()?;
        let thumbprint = encode::thumbprint(&*recipient);
        let material = hub.material_of(hot, version).await?.ok_or(Error::NoVersion(version))?;
        let (transport, inside) = (form(body.transport), format(body.format));
        let work = move || transport::export(transport, &*recipient, &material, inside);
        let wrapped = hub.heavy().run(hot.key.registration, work).await?;
        let wrapped = wrapped.map_err(|error| match error {
            hub_crypto::Error::Parameter(detail) => {
                Error::Invalid { pointer: "/format", detail: detail.to_owned() }
            }
            other => Error::Crypto(other),
        })?;
        let reply = ExportedKey {
            wrapped: SecretBytes::new(wrapped),
            transport: body.transport,
            format: body.format,
            algorithm: hot.key.algorithm,
            version,
            recipient: thumbprint.clone(),
        };
        Ok(Plan::new(permit, reply).version(version).detail(format!("recipient {thumbprint}")))
    }
}
