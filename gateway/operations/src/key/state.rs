//! What the state of a version lets a caller do with it. One place for all uses of keys.

use hub_model::{Action, KeyState};
use hub_policy::RequestFacts;

use crate::Error;
use crate::operation::{AtKey, Place as _, Scene};

/// The version that protects new data.
///
/// # Errors
/// [`Error::State`] when key or version do not protect. Who asks may use the key, so may know.
pub(crate) fn protecting(scene: &Scene<'_, AtKey>) -> Result<u32, Error> {
    let key = &scene.place.hot.key;
    if key.protects(key.primary) {
        return Ok(key.primary);
    }
    let state = key.effective_state(key.primary).unwrap_or(KeyState::Destroyed);
    let number = key.primary;
    Err(Error::State(format!(
        "the primary version {number} is {state} and protects nothing: rotate the key"
    )))
}

/// Whether a version may process what it protected.
///
/// # Errors
/// [`Error::DecryptionFailed`] for a version that is not there, and for one that may not be used,
/// unless the caller may read the versions of the key: then [`Error::State`] says why.
pub(crate) fn processing(scene: &Scene<'_, AtKey>, number: u32) -> Result<(), Error> {
    let key = &scene.place.hot.key;
    let Some(state) = key.effective_state(number) else { return Err(Error::DecryptionFailed) };
    if key.processes(number) {
        return Ok(());
    }
    if key.processes_if_permitted(number) && may(scene, Action::KeysUseCompromised) {
        return Ok(());
    }
    if !may(scene, Action::KeysListVersions) {
        return Err(Error::DecryptionFailed);
    }
    let least = key.min_decrypt_version;
    let remedy = match state {
        KeyState::Active | KeyState::Deactivated => {
            format!("lies below minDecryptVersion {least}, which can be lowered to rewrap the data")
        }
        KeyState::Compromised => {
            "is compromised: who is permitted keys.useCompromised can rewrap the data".to_owned()
        }
        KeyState::Suspended => "is suspended: enable it to rewrap the data".to_owned(),
        KeyState::Pending => "is pending: wait for its activation".to_owned(),
        KeyState::DestroyScheduled => {
            "is to be destroyed: cancel that and enable it to rewrap the data".to_owned()
        }
        KeyState::Destroyed => "is destroyed: the data cannot be read again".to_owned(),
    };
    Err(Error::State(format!("version {number} {remedy}")))
}

fn may(scene: &Scene<'_, AtKey>, action: Action) -> bool {
    let facts = RequestFacts::default();
    scene.hub.policies().authorize(scene.caller, action, &scene.place.target(), &facts).is_ok()
}
