//! `keys.getPublicKey`, `registrations.jwks`: what others verify and encrypt with.

use std::collections::BTreeMap;

use hub_crypto::Material;
use hub_crypto::asymmetric::encode;
use hub_model::api::uses::{Jwks as JwksReply, PublicKeyView};
use hub_model::secret::encode_base64;
use hub_model::{Action, Algorithm, Key, KeyId, KeyState, Purpose, RegistrationId};
use hub_policy::Permit;
use hub_store::layout;

use super::{invalid, load};
use crate::hub::Hub;
use crate::operation::{AtKey, AtRegistration, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Most keys that are looked through for a key set.
const MAX_KEYS: usize = 10_000;
/// Most entries of a key set.
const MAX_SET: usize = 1000;
/// Keys read at once.
const PAGE: usize = 500;

/// Reads the public half of a version.
#[derive(Debug)]
pub struct GetPublicKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Of which key.
    pub key: Ref<KeyId>,
    /// Of which version; the primary one when absent.
    pub version: Option<u32>,
}

impl Operation for GetPublicKey {
    const ACTION: Action = Action::KeysGetPublicKey;
    type Place = AtKey;
    type Reply = PublicKeyView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<PublicKeyView>, Error> {
        let key = &scene.place.hot.key;
        if !key.algorithm.is_asymmetric() {
            return invalid("key", "a key of this algorithm has no public half");
        }
        let version = self.version.unwrap_or(key.primary);
        let state = key.effective_state(version).ok_or(Error::NoVersion(version))?;
        if state == KeyState::Destroyed {
            return Err(Error::VersionUnusable { version, state });
        }
        let material = load(&scene, version).await?.ok_or(Error::NoVersion(version))?;
        let public = material.private()?.public();
        let spki = public.spki();
        let view = PublicKeyView {
            algorithm: key.algorithm,
            version,
            kid: kid(key.id, version),
            pem: encode::pem(encode::PUBLIC_LABEL, &spki),
            der: encode_base64(&spki),
            jwk: jwk(key.id, key.algorithm, version, &material)?,
        };
        Ok(Plan::new(permit, view).version(version))
    }
}

/// Reads the key set of a registration: every version of its signing keys that verifies.
#[derive(Debug)]
pub struct Jwks {
    /// Where.
    pub registration: Ref<RegistrationId>,
}

impl Operation for Jwks {
    const ACTION: Action = Action::RegistrationsJwks;
    type Place = AtRegistration;
    type Reply = JwksReply;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<JwksReply>, Error> {
        let (hub, registration) = (scene.hub, scene.place.id());
        let prefix = layout::keys(registration);
        let (mut keys, mut seen, mut after) = (Vec::new(), 0, None);
        loop {
            let page = hub.store().scan::<Key>(&prefix, after.as_ref(), PAGE).await?;
            seen += page.records.len();
            if seen > MAX_KEYS {
                return Err(Error::TooMany("no key set of a registration with over 10,000 keys"));
            }
            for (_, found) in &page.records {
                if found.value.purpose() == Purpose::Sign {
                    add(hub, registration, found.value.id, &mut keys).await?;
                }
            }
            match page.records.last() {
                Some((path, _)) if page.more => after = Some(path.clone()),
                _ => break,
            }
        }
        Ok(Plan::new(permit, JwksReply { keys }))
    }
}

async fn add(
    hub: &Hub,
    registration: RegistrationId,
    id: KeyId,
    keys: &mut Vec<BTreeMap<String, String>>,
) -> Result<(), Error> {
    let hot = match hub.find_key(registration, &Ref::Id(id)).await {
        Ok(hot) => hot,
        // Gone since it was listed.
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let key = &hot.key;
    for version in key.versions.iter().filter(|version| key.processes(version.number)) {
        if keys.len() >= MAX_SET {
            return Err(Error::TooMany("no key set of over 1,000 signing versions"));
        }
        if let Some(material) = hub.material_of(&hot, version.number).await? {
            keys.push(jwk(key.id, key.algorithm, version.number, &material)?);
        }
    }
    Ok(())
}

/// How the public half of a version is named among others: `<key uid>.<version>`.
pub(super) fn kid(key: KeyId, version: u32) -> String {
    format!("{key}.{version}")
}

fn jwk(
    key: KeyId,
    algorithm: Algorithm,
    version: u32,
    material: &Material,
) -> Result<BTreeMap<String, String>, Error> {
    let members = material.private()?.public().jwk();
    let mut jwk: BTreeMap<String, String> =
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if jwk.is_empty() {
        return Ok(jwk);
    }
    jwk.insert("kid".to_owned(), kid(key, version));
    if let Some(alg) = encode::jws_algorithm(algorithm.row().kind) {
        jwk.insert("alg".to_owned(), alg.to_owned());
    }
    if algorithm.row().purpose == Purpose::Sign {
        jwk.insert("use".to_owned(), "sig".to_owned());
    }
    Ok(jwk)
}
