//! `keys.derive`: a secret from the key itself (HKDF) or from a password that the key peppers
//! (PBKDF2, Argon2id). What is computed, byte for byte: `docs/formats/derivation.md`.

use std::sync::Arc;

use hub_crypto::Material;
use hub_crypto::kdf::argon2id::Cost;
use hub_crypto::kdf::{self, Derivation, pbkdf2};
use hub_model::algorithm::Kind;
use hub_model::api::profile::ChosenProfile;
use hub_model::api::uses::{Derive, Derived};
use hub_model::{EncryptionContext, Purpose, SecretBytes};
use hub_store::{Changes, Revision, layout};

use super::{
    Given, Used, bound_info, compute, invalid, output, processing, profile, refusal, secret_bytes,
};
use crate::Error;
use crate::operation::{AtKey, Scene};

/// Most memory of one derivation, in KiB: below what the algorithm allows, for the hub does several
/// at once.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// Most rounds of PBKDF2 in one call: iterations times blocks of output.
const MAX_ROUNDS: u64 = 10_000_000;

impl Given for Derive {
    fn payload(&self) -> usize {
        self.password.as_ref().map_or(0, SecretBytes::len)
    }

    fn context(&self) -> Option<&EncryptionContext> {
        Some(&self.context)
    }

    fn tells_when_dry(&self) -> bool {
        self.profile.is_some()
    }
}

pub(super) async fn derive(
    scene: &Scene<'_, AtKey>,
    body: &Derive,
) -> Result<Used<Derived>, Error> {
    let (version, material) = processing(scene, Purpose::Derive, body.version).await?;
    let kind = scene.place.hot.key.algorithm.row().kind;
    let len = output(body.bytes, 1)?;
    if let Some(chosen) = &body.profile {
        return by_profile(scene, body, chosen, (version, material), len).await;
    }
    let salt = body.salt.clone().unwrap_or_default();
    check_members(kind, body)?;
    let password = body.password.clone();
    let secret = match (kind, password) {
        (Kind::Pbkdf2(hash), Some(password)) => {
            let iterations = body.iterations.unwrap_or(pbkdf2::DEFAULT_ITERATIONS);
            let blocks = u64::try_from(len.div_ceil(hash.len())).unwrap_or(u64::MAX);
            if u64::from(iterations).saturating_mul(blocks) > MAX_ROUNDS {
                return invalid("/iterations", "too many iterations for so many bytes");
            }
            let work = move || {
                let (password, salt) = (password.expose_secret(), salt.expose_secret());
                kdf::derive(&material, &Derivation::Pbkdf2 { password, salt, iterations }, len)
            };
            compute(scene, true, work).await?
        }
        (Kind::Argon2id, Some(password)) => {
            let cost = cost(body)?;
            let work = move || {
                let (password, salt) = (password.expose_secret(), salt.expose_secret());
                kdf::derive(&material, &Derivation::Argon2id { password, salt, cost }, len)
            };
            compute(scene, true, work).await?
        }
        (Kind::Pbkdf2(_) | Kind::Argon2id, None) => {
            return invalid("/password", "keys of this algorithm derive from a password");
        }
        _ => {
            let info = bound_info(&body.context, body.info.as_ref());
            let work = move || {
                let from = Derivation::Hkdf { salt: salt.expose_secret(), info: &info };
                kdf::derive(&material, &from, len)
            };
            compute(scene, false, work).await?
        }
    };
    let secret = secret.map_err(|error| refusal(error, ""))?;
    Ok(Used::new(Derived { derived: secret_bytes(&secret), version, profile: None }, version))
}

/// As a profile of a plugin says.
async fn by_profile(
    scene: &Scene<'_, AtKey>,
    body: &Derive,
    chosen: &ChosenProfile,
    (version, material): (u32, Arc<Material>),
    len: usize,
) -> Result<Used<Derived>, Error> {
    check_members(material.algorithm().row().kind, body)?;
    let wanted = profile::Wanted {
        chosen,
        version,
        material,
        into: None,
        salt: body.salt.as_ref(),
        info: body.info.as_ref(),
        context: &body.context,
        len,
        sized_by: "/bytes",
    };
    let made = Box::pin(profile::derive(scene, wanted)).await?;
    let detail = made.detail();
    let derived = made.secret.as_ref().map(secret_bytes).unwrap_or_default();
    let reply = Derived { derived, version, profile: Some(Box::new(made.used)) };
    let (mut changes, mut held) = (Changes::new(), None);
    if let Some(pinned) = made.pinned {
        let registration = &scene.place.registration;
        let path = layout::registration(registration.registration.id);
        changes.check_revision(&path, Revision(registration.revision));
        held = Some(profile::put_pinned(&mut changes, scene, pinned)?);
    }
    Ok(Used { profiled: Some(Box::new((detail, changes, held))), ..Used::new(reply, version) })
}

fn cost(body: &Derive) -> Result<Cost, Error> {
    let Cost { memory_kib, passes, lanes } = Cost::default();
    let memory_kib = body.memory_kib.unwrap_or(memory_kib);
    if memory_kib > MAX_MEMORY_KIB {
        return invalid("/memoryKib", format!("`memoryKib` may be {MAX_MEMORY_KIB} at most"));
    }
    let (passes, lanes) = (body.passes.unwrap_or(passes), body.lanes.unwrap_or(lanes));
    Ok(Cost { memory_kib, passes, lanes })
}

/// Refuses members that mean nothing for the algorithm: they would bind nothing.
fn check_members(kind: Kind, body: &Derive) -> Result<(), Error> {
    let password = matches!(kind, Kind::Pbkdf2(_) | Kind::Argon2id);
    let stray = if password && body.info.is_some() {
        Some("/info")
    } else if password && !body.context.is_empty() {
        Some("/context")
    } else if !password && body.password.is_some() {
        Some("/password")
    } else if !matches!(kind, Kind::Pbkdf2(_)) && body.iterations.is_some() {
        Some("/iterations")
    } else if !matches!(kind, Kind::Argon2id) && body.memory_kib.is_some() {
        Some("/memoryKib")
    } else if !matches!(kind, Kind::Argon2id) && body.passes.is_some() {
        Some("/passes")
    } else if !matches!(kind, Kind::Argon2id) && body.lanes.is_some() {
        Some("/lanes")
    } else {
        None
    };
    match stray {
        Some(pointer) => invalid(pointer, "keys of this algorithm do not take this"),
        None => Ok(()),
    }
}
