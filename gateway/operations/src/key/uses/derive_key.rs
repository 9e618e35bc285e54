//! `keys.derive` into a new stored key, for who may `keys.create` too. What is computed, byte for
//! byte: `docs/formats/derivation.md`.

use std::sync::Arc;

use hub_crypto::Material;
use hub_crypto::kdf::{self, Derivation};
use hub_model::algorithm::Kind;
use hub_model::api::key::KeyView;
use hub_model::api::profile::ChosenProfile;
use hub_model::api::uses::DeriveKey as Body;
use hub_model::usage::Side;
use hub_model::{
    Action, Algorithm, EncryptionContext, Key, KeyId, Origin, Purpose, RegistrationId, SecretBytes,
};
use hub_policy::{Permit, RequestFacts};
use hub_store::layout;

use super::super::create::put_named;
use super::{bound_info, compute, invalid, profile, protecting, refusal};
use crate::hub::Hub;
use crate::operation::{AtKey, Keeps, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref, usage};

/// What the `info` of derived keys begins with.
///
/// INVARIANT: no `info` of `:derive` or `:agree` does: those begin with a canonical context, whose
/// first two bytes count at most 32 pairs. So whoever may derive bytes never gets those of a key.
const LABEL: &[u8] = b"cipher-hub/v1/derive-key";

/// Derives a key from a key.
#[derive(Debug)]
pub struct DeriveKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// From which key.
    pub key: Ref<KeyId>,
    /// What.
    pub body: Body,
}

impl Operation for DeriveKey {
    const ACTION: Action = Action::KeysDerive;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtKey;
    type Reply = KeyView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    fn facts(&self) -> RequestFacts<'_> {
        let bytes = self.body.algorithm.row().secret_len.unwrap_or(0);
        RequestFacts {
            encryption_context: Some(&self.body.context),
            payload_bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        }
    }

    fn needs(&self) -> Option<Action> {
        Some(Action::KeysCreate)
    }

    fn tells_when_dry(&self) -> bool {
        self.body.profile.is_some()
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtKey>) -> Result<Plan<KeyView>, Error> {
        let Scene { hub, place, now, .. } = scene;
        let (body, facts) = (&self.body, &place.registration);
        let (base, material) = protecting(&scene, Purpose::Derive).await?;
        if !matches!(material.algorithm().row().kind, Kind::Hkdf(_)) {
            return Err(Error::Invalid {
                pointer: "",
                detail: "keys are derived from keys of HKDF only".to_owned(),
            });
        }
        let algorithm = body.algorithm;
        let Some(len) = length(algorithm) else {
            return invalid("/algorithm", "keys of AES, ChaCha20, HMAC and HKDF can be derived");
        };
        hub.check_profile(algorithm)?;
        let (registration, id) = (facts.registration.id, KeyId::generate());
        let mut key = Key::new(registration, id, body.name.clone(), algorithm, None, now);
        key.tags = body.tags.clone();
        key.exportable = body.exportable;
        key.origin = Origin::Derived;
        for version in &mut key.versions {
            version.origin = Origin::Derived;
        }
        if let Some(chosen) = &self.body.profile {
            let used = (base, material);
            return self.by_profile(permit, scene, chosen, key, used, len).await;
        }
        let mut changes = put_named(hub, &mut key, facts, now).await?;
        let salt = body.salt.clone().unwrap_or_default();
        let info = info(algorithm, body.name.as_str(), &body.context, body.info.as_ref());
        let work = move || {
            let from = Derivation::Hkdf { salt: salt.expose_secret(), info: &info };
            Material::from_secret(algorithm, kdf::derive(&material, &from, len)?)
        };
        let derived = compute(&scene, false, work).await?.map_err(|error| refusal(error, ""))?;
        usage::count(&scene, base, Side::Process, len).await?;
        let path = layout::version(id, 1);
        let kek = hub.kek(registration).await?;
        let wrapped = kek.wrap_material(&hub.binding(&path, &key, 1), &derived);
        changes.check_absent(&path).put_bytes(&path, wrapped.into());
        let view = KeyView::new(&key, facts.registration.rotation.as_ref());
        // The entry is of the key derived from, at the version used.
        let plan = Plan::new(permit, view).changing(changes).generation(1).version(base);
        Ok(plan.detail(format!("into {id}")))
    }
}

impl DeriveKey {
    /// As a profile of a plugin says.
    async fn by_profile(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
        chosen: &ChosenProfile,
        mut key: Key,
        (base, material): (u32, Arc<Material>),
        len: usize,
    ) -> Result<Plan<KeyView>, Error> {
        let Scene { hub, place, now, .. } = scene;
        let (body, facts, algorithm) = (&self.body, &place.registration, key.algorithm);
        let wanted = profile::Wanted {
            chosen,
            version: base,
            material,
            into: Some((algorithm, &body.name)),
            salt: body.salt.as_ref(),
            info: body.info.as_ref(),
            context: &body.context,
            len,
            sized_by: "/algorithm",
        };
        let made = Box::pin(profile::derive(&scene, wanted)).await?;
        let (id, detail) = (key.id, made.detail());
        let profile::Made { secret, used, pin, pinned } = made;
        key.derived_by = Some(pin);
        let mut changes = put_named(hub, &mut key, facts, now).await?;
        let held = match pinned {
            Some(pinned) => Some(profile::put_pinned(&mut changes, &scene, pinned)?),
            None => None,
        };
        if let Some(secret) = secret {
            let derived = Material::from_secret(algorithm, secret);
            let derived = derived.map_err(|error| refusal(error, ""))?;
            usage::count(&scene, base, Side::Process, len).await?;
            let path = layout::version(id, 1);
            let kek = hub.kek(key.registration).await?;
            let wrapped = kek.wrap_material(&hub.binding(&path, &key, 1), &derived);
            changes.check_absent(&path).put_bytes(&path, wrapped.into());
        }
        let mut view = KeyView::new(&key, facts.registration.rotation.as_ref());
        view.derived_by = Some(used);
        let plan = Plan::new(permit, view).changing(changes).generation(1).version(base);
        Ok(plan.detail(format!("into {id} {detail}")).holding(held))
    }
}

/// How many bytes a key of this algorithm takes, where any bytes will do.
fn length(algorithm: Algorithm) -> Option<usize> {
    let row = algorithm.row();
    let any = matches!(row.kind, Kind::Aead(_) | Kind::Hmac(_) | Kind::Hkdf(_) | Kind::AesKwp);
    row.secret_len.filter(|_| any)
}

/// Label, then algorithm and name after their lengths (u16), then what `:derive` binds.
fn info(
    algorithm: Algorithm,
    name: &str,
    context: &EncryptionContext,
    info: Option<&SecretBytes>,
) -> Vec<u8> {
    let mut bound = LABEL.to_vec();
    for part in [algorithm.name(), name] {
        // INVARIANT: both are far shorter than 64 KiB.
        bound.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        bound.extend_from_slice(part.as_bytes());
    }
    bound.extend_from_slice(&bound_info(context, info));
    bound
}

#[cfg(test)]
mod tests {
    use hub_model::algorithm::ALGORITHMS;

    use super::*;

    #[test]
    fn nothing_bound_can_be_taken_for_anything_else() {
        let none = EncryptionContext::default();
        let (aes, siv) = (Algorithm::Aes256Gcm, Algorithm::Aes256GcmSiv);
        let secret = |bytes: &[u8]| SecretBytes::new(bytes.to_vec());
        let all = [
            info(aes, "ab", &none, None),
            info(siv, "ab", &none, None),
            info(aes, "abc", &none, None),
            info(aes, "ab", &none, Some(&secret(b"c"))),
            info(aes, "ab", &serde_json::from_str(r#"{"a":"b"}"#).unwrap(), None),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one));
            // More pairs than a context may have, so `:derive` never gives HKDF these bytes.
            assert!(u16::from_be_bytes([one[0], one[1]]) > 32);
        }
        assert_eq!(all[0], b"cipher-hub/v1/derive-key\0\x0bAES_256_GCM\0\x02ab\0\0");
    }

    #[test]
    fn keys_with_structure_are_not_derived() {
        for row in ALGORITHMS {
            let derived = length(row.algorithm).is_some();
            let password = matches!(row.kind, Kind::Pbkdf2(_) | Kind::Argon2id);
            assert_eq!(derived, !row.algorithm.is_asymmetric() && !password, "{}", row.name);
        }
    }
}
