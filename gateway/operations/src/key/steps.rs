//! Steps of the lifecycle, on keys and on their versions, and `keys.setPrimary`.

use std::marker::PhantomData;

use hub_model::api::key::{KeyView, ScheduleDestroy as Body, VersionView};
use hub_model::{Action, Key, KeyId, KeyState, RegistrationId, Step};
use hub_policy::Permit;
use hub_store::{Changes, Revision, layout};

use super::agenda::put_key;
use crate::hub::Hub;
use crate::operation::{AtKey, Keeps, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// A step somebody can ask for. The verb is the same for keys and for versions; the entry names the
/// version.
pub trait Verb: Send + Sync + 'static {
    /// The verb.
    const ACTION: Action;
    /// The step.
    const STEP: Step;
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident = $action:ident, $step:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl Verb for $name {
                const ACTION: Action = Action::$action;
                const STEP: Step = Step::$step;
            }
        )*
    };
}

verbs! {
    /// Makes a pending key active.
    Activate = KeysActivate, Activate;
    /// Takes out of use for a while.
    Suspend = KeysSuspend, Suspend;
    /// Puts back into use.
    Resume = KeysResume, Resume;
    /// Ends new protection for ever.
    Deactivate = KeysDeactivate, Deactivate;
    /// Notes that others know it.
    MarkCompromised = KeysMarkCompromised, MarkCompromised;
    /// Starts the waiting period before destruction.
    ScheduleDestroy = KeysScheduleDestroy, ScheduleDestroy;
    /// Ends the waiting period without destruction.
    CancelDestroy = KeysCancelDestroy, CancelDestroy;
}

/// Takes a step with a key.
#[derive(Debug)]
pub struct StepKey<V> {
    registration: Ref<RegistrationId>,
    key: Ref<KeyId>,
    body: Body,
    verb: PhantomData<fn() -> V>,
}

impl<V: Verb> StepKey<V> {
    /// With this key; only scheduling destruction looks at the body.
    #[must_use]
    pub const fn new(registration: Ref<RegistrationId>, key: Ref<KeyId>, body: Body) -> Self {
        Self { registration, key, body, verb: PhantomData }
    }
}

impl<V: Verb> Operation for StepKey<V> {
    const ACTION: Action = V::ACTION;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtKey;
    type Reply = KeyView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtKey>) -> Result<Plan<KeyView>, Error> {
        let mut key = scene.place.hot.key.clone();
        scene.meta.matches_if_given(key.generation)?;
        let from = key.state;
        if V::STEP == Step::ScheduleDestroy {
            key.schedule_destroy(wait(&self.body)?, scene.now)
        } else {
            key.step(V::STEP, scene.now)
        }
        .map_err(refused)?;
        let detail = format!("{from} to {}", key.state);
        let changes = changed(&scene, &mut key)?;
        let view = KeyView::new(&key, scene.place.registration.registration.rotation.as_ref());
        let plan = Plan::new(permit, view).changing(changes).generation(key.generation);
        Ok(plan.detail(detail))
    }
}

/// Takes a step with one version of a key.
#[derive(Debug)]
pub struct StepVersion<V> {
    registration: Ref<RegistrationId>,
    key: Ref<KeyId>,
    version: u32,
    body: Body,
    verb: PhantomData<fn() -> V>,
}

impl<V: Verb> StepVersion<V> {
    /// With this version; only scheduling destruction looks at the body.
    #[must_use]
    pub const fn new(
        registration: Ref<RegistrationId>,
        key: Ref<KeyId>,
        version: u32,
        body: Body,
    ) -> Self {
        Self { registration, key, version, body, verb: PhantomData }
    }
}

impl<V: Verb> Operation for StepVersion<V> {
    const ACTION: Action = V::ACTION;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtKey;
    type Reply = VersionView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<VersionView>, Error> {
        let number = self.version;
        let mut key = scene.place.hot.key.clone();
        scene.meta.matches_if_given(key.generation)?;
        alive(&key)?;
        // A primary that is known to others stops protecting at once: that one step it may take.
        let ends = matches!(V::STEP, Step::Suspend | Step::Deactivate | Step::ScheduleDestroy);
        if ends && number == key.primary {
            return Err(Error::State(format!(
                "version {number} is primary: rotate the key or make another version primary \
                 first, or take the step with the whole key"
            )));
        }
        let version = key.version_mut(number).ok_or(Error::NoVersion(number))?;
        let from = version.state;
        if V::STEP == Step::ScheduleDestroy {
            version.schedule_destroy(wait(&self.body)?, scene.now)
        } else {
            version.step(V::STEP, scene.now)
        }
        .map_err(refused)?;
        let detail = format!("{from} to {}", version.state);
        let changes = changed(&scene, &mut key)?;
        let version = key.version(number).ok_or(Error::NoVersion(number))?;
        let plan = Plan::new(permit, VersionView::new(&key, version)).changing(changes);
        Ok(plan.generation(key.generation).version(number).detail(detail))
    }
}

/// Makes an existing version primary: the way back when a new one makes trouble.
#[derive(Debug)]
pub struct SetPrimary {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Of which key.
    pub key: Ref<KeyId>,
    /// Which version.
    pub version: u32,
}

impl Operation for SetPrimary {
    const ACTION: Action = Action::KeysSetPrimary;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtKey;
    type Reply = KeyView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtKey>) -> Result<Plan<KeyView>, Error> {
        let number = self.version;
        let mut key = scene.place.hot.key.clone();
        scene.meta.matches_if_given(key.generation)?;
        alive(&key)?;
        let state = key.version(number).ok_or(Error::NoVersion(number))?.state;
        if state != KeyState::Active {
            return Err(Error::State(format!(
                "version {number} is {state}: only an active version can be primary"
            )));
        }
        if number < key.min_decrypt_version {
            let least = key.min_decrypt_version;
            return Err(Error::State(format!(
                "version {number} lies below minDecryptVersion {least}"
            )));
        }
        let from = key.primary;
        if from != number {
            key.primary = number;
            // Counts as a rotation, so that the schedule does not take it back at once.
            key.primary_since = Some(scene.now);
        }
        let changes = changed(&scene, &mut key)?;
        let view = KeyView::new(&key, scene.place.registration.registration.rotation.as_ref());
        let plan = Plan::new(permit, view).changing(changes).generation(key.generation);
        Ok(plan.version(number).detail(format!("primary {from} to {number}")))
    }
}

/// A tombstone does not change.
pub(super) fn alive(key: &Key) -> Result<(), Error> {
    if key.state == KeyState::Destroyed {
        return Err(Error::State("the key is destroyed: nothing of it changes".to_owned()));
    }
    Ok(())
}

/// The changed record of a key, checked against the one that was seen.
pub(super) fn changed(scene: &Scene<'_, AtKey>, key: &mut Key) -> Result<Changes, Error> {
    key.updated = scene.now;
    key.generation += 1;
    let registration = &scene.place.registration;
    let mut changes = Changes::new();
    changes
        .check_revision(&layout::key(key.registration, key.id), Revision(scene.place.hot.revision))
        .check_revision(&layout::registration(key.registration), Revision(registration.revision));
    put_key(&mut changes, key, registration.registration.rotation.as_ref(), scene.now)?;
    Ok(changes)
}

fn wait(body: &Body) -> Result<hub_model::Period, Error> {
    body.wait().map_err(|error| Error::Invalid { pointer: "/after", detail: error.to_string() })
}

fn refused(error: hub_model::Error) -> Error {
    Error::State(error.to_string())
}
