//! `registrations.random`, `registrations.hash`: what needs no key, for every member.

use hub_crypto::hash::digest;
use hub_crypto::random;
use hub_model::algorithm;
use hub_model::api::uses::{
    Hash as HashBody, HashName, Hashed, MAX_MESSAGE, MAX_OUTPUT, Random as RandomBody, RandomBytes,
};
use hub_model::secret::encode_base64;
use hub_model::{Action, RegistrationId, SecretBytes};
use hub_policy::Permit;

use crate::hub::Hub;
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Draws random bytes.
#[derive(Debug)]
pub struct Random {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// How many.
    pub body: RandomBody,
}

impl Operation for Random {
    const ACTION: Action = Action::RegistrationsRandom;
    type Place = AtRegistration;
    type Reply = RandomBytes;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        _scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<RandomBytes>, Error> {
        let bytes = self.body.bytes.unwrap_or(32);
        let len = usize::try_from(bytes).ok().filter(|_| (1..=MAX_OUTPUT).contains(&bytes));
        let len = len.ok_or_else(|| Error::Invalid {
            pointer: "/bytes",
            detail: format!("`bytes` must be between 1 and {MAX_OUTPUT}"),
        })?;
        let random = SecretBytes::new(random::secret(len)?.expose_secret().to_vec());
        Ok(Plan::new(permit, RandomBytes { random }))
    }
}

/// Hashes a message.
#[derive(Debug)]
pub struct Hash {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// What.
    pub body: HashBody,
}

impl Operation for Hash {
    const ACTION: Action = Action::RegistrationsHash;
    type Place = AtRegistration;
    type Reply = Hashed;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        _scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Hashed>, Error> {
        let HashBody { message, algorithm } = &self.body;
        if message.len() > MAX_MESSAGE {
            return Err(Error::Invalid {
                pointer: "/message",
                detail: format!("a message has at most {MAX_MESSAGE} bytes"),
            });
        }
        let function = match algorithm {
            HashName::Sha256 => algorithm::Hash::Sha256,
            HashName::Sha384 => algorithm::Hash::Sha384,
            HashName::Sha512 => algorithm::Hash::Sha512,
        };
        let digest = encode_base64(&digest(function, message.expose_secret()));
        Ok(Plan::new(permit, Hashed { digest, algorithm: *algorithm }))
    }
}
