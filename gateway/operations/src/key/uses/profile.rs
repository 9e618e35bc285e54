//! Derivation by profiles of plugins: the plugin is asked for a plan, the plan is checked and
//! carried out here, and the key remembers which code said so. Decisions: `docs/adr/0032-*.md`;
//! what is computed, byte for byte: `docs/formats/derivation.md`.
//!
//! What must stay true: the plugin gets nothing secret; what policy decides about (registration,
//! key, encryption context, and name and algorithm of a stored key) is bound into slot 0 here, so
//! that no plugin can give the bytes of one to another; the same request gives the same bytes for
//! as long as the code it was answered by is installed, and is refused when it is not.

use std::sync::Arc;

use hub_crypto::Material;
use hub_crypto::kdf::plan::CheckedPlan;
use hub_crypto::kdf::{self, Derivation};
use hub_model::algorithm::Kind;
use hub_model::api::profile::{ChosenProfile, UsedProfile, shown};
use hub_model::extend::{
    FailureKind, KdfInService, KdfProfiles, KdfQuestion, KdfVersion, PluginFailure,
};
use hub_model::pin::MAX_PINS;
use hub_model::{Algorithm, EncryptionContext, Key, Name, ProfilePin, SecretBytes};
use hub_store::{Changes, Revision, layout};

use super::super::agenda::put_key;
use super::{compute, invalid, refusal};
use crate::Error;
use crate::operation::{AtKey, Scene};
use crate::pins::Pinned;
use crate::plan::Held;

/// What slot 0 is bound to begins with this.
///
/// INVARIANT: no `info` of `:derive` or `:agree` does, for those begin with a canonical context,
/// whose first two bytes count at most 32 pairs; and that of `:deriveKey` has another label.
const LABEL: &[u8] = b"cipher-hub/v1/kdf-plugin";

/// What is to be derived.
pub(super) struct Wanted<'a> {
    pub(super) chosen: &'a ChosenProfile,
    pub(super) version: u32,
    pub(super) material: Arc<Material>,
    /// For a stored key: its algorithm and name.
    pub(super) into: Option<(Algorithm, &'a Name)>,
    pub(super) salt: Option<&'a SecretBytes>,
    pub(super) info: Option<&'a SecretBytes>,
    pub(super) context: &'a EncryptionContext,
    pub(super) len: usize,
    /// Which member of the request says how many bytes are wanted.
    pub(super) sized_by: &'static str,
}

/// What was derived.
pub(super) struct Made {
    /// The bytes; none in a dry run.
    pub(super) secret: Option<hub_crypto::Secret>,
    pub(super) used: UsedProfile,
    /// What a stored key is marked with.
    pub(super) pin: ProfilePin,
    /// The root key with its new pin, where it is new.
    pub(super) pinned: Option<FirstPin>,
}

/// A pin that is not in the store yet.
pub(super) struct FirstPin {
    key: Key,
    /// That of the plugin's record that answered; none without a catalogue.
    revision: Option<u64>,
    /// Until it is committed, no plugin is changed or removed.
    held: Held,
}

impl Made {
    /// For the audit entry: plugin, profile and the beginning of the digest.
    pub(super) fn detail(&self) -> String {
        let UsedProfile { plugin, profile, digest, .. } = &self.used;
        let digest: String = digest.to_string().chars().take(16).collect();
        format!("by {plugin}/{profile} {digest}")
    }
}

pub(super) async fn derive(scene: &Scene<'_, AtKey>, wanted: Wanted<'_>) -> Result<Made, Error> {
    let Wanted { chosen, version, material, into, context, len, .. } = wanted;
    let algorithm = material.algorithm();
    let (Kind::Hkdf(_), Some(root_len)) = (algorithm.row().kind, algorithm.row().secret_len) else {
        return invalid("/profile", "profiles of plugins derive from keys of HKDF only");
    };
    let ChosenProfile { plugin, profile, parameters, .. } = chosen;
    let KdfInService { profiles, revision } = followed(scene, chosen).await?;
    let digest = profiles.digest();
    let (plugin_name, settings) = (plugin.clone(), profiles.settings());
    let pin = ProfilePin { plugin: plugin_name, profile: profile.clone(), digest, settings };
    let pinned = pin_to(scene, &pin)?;
    let length = offered(&*profiles, chosen, len, wanted.sized_by)?;
    let question = KdfQuestion {
        profile,
        key: &scene.place.hot.key,
        version,
        into,
        salt: wanted.salt.map(SecretBytes::expose_secret).unwrap_or_default(),
        info: wanted.info.map(SecretBytes::expose_secret).unwrap_or_default(),
        context,
        length,
        parameters,
    };
    let plan = profiles.plan(&question).await.map_err(|failure| failed(plugin, &failure))?;
    let checked = CheckedPlan::check(Arc::clone(&plan), root_len, len).map_err(|error| {
        tracing::warn!(%plugin, %profile, %digest, %error, "a plugin's plan is refused");
        let what = format!("its plan for `{profile}` is refused: {error}");
        Error::PluginFailed { plugin: plugin.clone(), what: what.into() }
    })?;
    let mut used = UsedProfile::from(&pin);
    if scene.meta.dry_run {
        used.plan = Some(shown(&plan));
        return Ok(Made { secret: None, used, pin, pinned: None });
    }
    let info = info(plugin, profile, into, context);
    let slow = checked.is_slow();
    let work = move || {
        let from = Derivation::Hkdf { salt: b"", info: &info };
        checked.run(&kdf::derive(&material, &from, root_len)?)
    };
    let secret = compute(scene, slow, work).await?.map_err(|error| refusal(error, "/profile"))?;
    let pinned = match pinned {
        Some(key) => {
            Some(FirstPin { key, revision, held: scene.hub.plugins_may_be_pinned().await })
        }
        None => None,
    };
    Ok(Made { secret: Some(secret), used, pin, pinned })
}

/// The profiles meant. Where they would give the key its first pin, they are those that the
/// plugin's record says now: a pin must not come to be with settings that were just taken away.
async fn followed(scene: &Scene<'_, AtKey>, chosen: &ChosenProfile) -> Result<KdfInService, Error> {
    let (hub, plugin) = (scene.hub, &chosen.plugin);
    for again in [false, true] {
        let found = profiles_of(scene, chosen)?;
        let digest = found.profiles.digest();
        let pins = &scene.place.hot.key.profile_pins;
        let pinned = |pin: &ProfilePin| pin.is_for(plugin, &chosen.profile) && pin.digest == digest;
        let Some(revision) = found.revision.filter(|_| !pins.iter().any(pinned)) else {
            return Ok(found);
        };
        let record = hub.plugin_record(plugin).await?;
        if record.is_some_and(|record| record.revision == Revision(revision)) {
            return Ok(found);
        }
        if !again {
            hub.follow_plugins().await;
        }
    }
    let kind = FailureKind::Unavailable.name();
    Err(Error::PluginUnavailable { plugin: plugin.clone(), kind })
}

/// The profiles of the digest named, else of the one that the key is pinned to, else of the one in
/// service.
fn profiles_of(scene: &Scene<'_, AtKey>, chosen: &ChosenProfile) -> Result<KdfInService, Error> {
    let key = &scene.place.hot.key;
    let ChosenProfile { plugin, profile, digest: named, .. } = chosen;
    let mut pins = key.profile_pins.iter().filter(|pin| pin.is_for(plugin, profile));
    let pin = pins.clone().next();
    let version = match (*named, pin) {
        (Some(digest), _) if pins.any(|pin| pin.digest == digest) => KdfVersion::Pinned(digest),
        (Some(digest), _) => KdfVersion::Named(digest),
        (None, Some(pin)) => KdfVersion::Pinned(pin.digest),
        (None, None) => KdfVersion::Active,
    };
    let missing = |reason: &str| match (named, pin) {
        (Some(named), _) => Error::ProfileChanged(format!(
            "plugin `{plugin}` with digest {named} cannot be asked here: {reason}"
        )),
        (None, Some(pin)) => Error::ProfilePinned(format!(
            "this key derives by `{plugin}/{profile}` of digest {} alone, so that equal requests \
             give equal bytes, and that cannot be asked: {reason}. Install or enable it again, or \
             name another digest for other bytes",
            pin.digest
        )),
        (None, None) => Error::Invalid { pointer: "/profile/plugin", detail: reason.to_owned() },
    };
    let found = scene.hub.plugins().kdf(key.registration, plugin, version);
    let found = found.map_err(|failure| match failure.kind {
        FailureKind::Unavailable if failure.text.is_empty() => missing("it is not in service"),
        FailureKind::Unavailable => missing(&failure.text),
        _ => failed(plugin, &failure),
    })?;
    let profiles = &found.profiles;
    match version.digest() {
        Some(digest) if profiles.digest() != digest => {
            return Err(missing(&format!("what answers has digest {}", profiles.digest())));
        }
        _ => {}
    }
    let answers = profiles.digest();
    let before = key.profile_pins.iter().find(|pin| {
        pin.is_for(plugin, profile) && pin.digest == answers && pin.settings != profiles.settings()
    });
    if before.is_some() {
        return Err(Error::ProfileChanged(format!(
            "plugin `{plugin}` has other settings than when this key first derived by it, and \
             might give other bytes: set them as they were"
        )));
    }
    Ok(found)
}

/// The length, when the profile is there and gives as many bytes.
fn offered(
    profiles: &dyn KdfProfiles,
    chosen: &ChosenProfile,
    len: usize,
    sized_by: &'static str,
) -> Result<u32, Error> {
    let (offers, wanted) = (profiles.profiles(), &chosen.profile);
    let Some(profile) = offers.iter().find(|profile| profile.id == *wanted) else {
        let known: Vec<_> = offers.iter().map(|profile| profile.id.as_str()).collect();
        let (plugin, known) = (&chosen.plugin, known.join("`, `"));
        let detail = format!("plugin `{plugin}` has no profile `{wanted}`; it has `{known}`");
        return invalid("/profile/profile", detail);
    };
    match u32::try_from(len) {
        Ok(length) if length <= profile.max_length => Ok(length),
        _ => invalid(sized_by, format!("`{wanted}` gives {} bytes at most", profile.max_length)),
    }
}

/// The root key with this pin, where it has not got it; refused when it has too many.
fn pin_to(scene: &Scene<'_, AtKey>, pin: &ProfilePin) -> Result<Option<Key>, Error> {
    let mut key = scene.place.hot.key.clone();
    if key.profile_pins.contains(pin) {
        return Ok(None);
    }
    if key.profile_pins.len() >= MAX_PINS {
        return Err(Error::TooMany("a key derives by 32 profiles of plugins at most"));
    }
    key.profile_pins.push(pin.clone());
    key.updated = scene.now;
    key.generation += 1;
    Ok(Some(key))
}

/// Stores the root key with its new pin, and the note for whoever would uninstall the plugin. The
/// changes check the registration already. What is given back is held until they are committed.
pub(super) fn put_pinned(
    changes: &mut Changes,
    scene: &Scene<'_, AtKey>,
    first: FirstPin,
) -> Result<Held, Error> {
    let FirstPin { mut key, revision, held } = first;
    let Some(pin) = key.profile_pins.last() else { return Ok(held) };
    if let Some(revision) = revision {
        changes.check_revision(&layout::plugin(&pin.plugin), Revision(revision));
    }
    let note_at = layout::plugin_pin(pin.digest, key.id);
    let place = scene.place;
    let path = layout::key(key.registration, key.id);
    changes.check_revision(&path, Revision(place.hot.revision));
    let note = Pinned { registration: key.registration, key: key.id };
    changes.put(&note_at, &note)?;
    put_key(changes, &mut key, place.registration.registration.rotation.as_ref(), scene.now)?;
    Ok(held)
}

/// What a caller is told of a plugin that gave no plan. Only what it says to whoever asked is shown.
fn failed(plugin: &Name, failure: &PluginFailure) -> Error {
    let PluginFailure { kind, text } = failure;
    if *kind == FailureKind::Refused {
        return Error::Invalid {
            pointer: "/profile",
            detail: format!("plugin `{plugin}` says: {text}"),
        };
    }
    tracing::warn!(%plugin, kind = kind.name(), %text, "a plugin gave no plan");
    let plugin = plugin.clone();
    match kind {
        FailureKind::Busy | FailureKind::Deadline => {
            Error::PluginUnavailable { plugin, kind: kind.name() }
        }
        _ => Error::PluginFailed {
            plugin,
            what: format!("it gave no plan ({})", kind.name()).into(),
        },
    }
}

/// Label, plugin and profile after their lengths (u16), then what it is for: 0 for bytes; 1 and
/// algorithm and name after their lengths for a stored key. Then the canonical context.
fn info(
    plugin: &Name,
    profile: &Name,
    into: Option<(Algorithm, &Name)>,
    context: &EncryptionContext,
) -> Vec<u8> {
    let mut bound = LABEL.to_vec();
    let push = |bound: &mut Vec<u8>, part: &str| {
        // INVARIANT: all are far shorter than 64 KiB.
        bound.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        bound.extend_from_slice(part.as_bytes());
    };
    push(&mut bound, plugin.as_str());
    push(&mut bound, profile.as_str());
    bound.push(u8::from(into.is_some()));
    if let Some((algorithm, name)) = into {
        push(&mut bound, algorithm.name());
        push(&mut bound, name.as_str());
    }
    bound.extend_from_slice(&context.canonical());
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_bound_can_be_taken_for_anything_else() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let (a, ab, b) = (name("plug-a"), name("plug-ab"), name("plug-b"));
        let none = EncryptionContext::default();
        let tenant: EncryptionContext = serde_json::from_str(r#"{"a":"b"}"#).unwrap();
        let (aes, siv) = (Algorithm::Aes256Gcm, Algorithm::Aes256GcmSiv);
        let all = [
            info(&a, &b, None, &none),
            info(&b, &a, None, &none),
            info(&ab, &b, None, &none),
            info(&a, &b, None, &tenant),
            info(&a, &b, Some((aes, &a)), &none),
            info(&a, &b, Some((siv, &a)), &none),
            info(&a, &b, Some((aes, &b)), &none),
            info(&a, &b, Some((aes, &b)), &tenant),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one));
            assert!(u16::from_be_bytes([one[0], one[1]]) > 32);
            assert!(!one.starts_with(b"cipher-hub/v1/derive-key"));
        }
        assert_eq!(all[0], b"cipher-hub/v1/kdf-plugin\0\x06plug-a\0\x06plug-b\0\0\0");
    }

    #[test]
    fn only_what_is_meant_for_callers_is_shown() {
        let plugin = "tree".parse().unwrap();
        let shown = |kind| {
            let error = failed(&plugin, &PluginFailure::new(kind, "inner"));
            (error.code(), error.to_string().contains("inner"))
        };
        assert_eq!(shown(FailureKind::Refused), ("invalid_argument", true));
        assert_eq!(shown(FailureKind::Busy), ("plugin_unavailable", false));
        assert_eq!(shown(FailureKind::Deadline), ("plugin_unavailable", false));
        for kind in [FailureKind::Trap, FailureKind::Internal, FailureKind::Nonsense] {
            assert_eq!(shown(kind), ("plugin_failed", false));
        }
    }
}
