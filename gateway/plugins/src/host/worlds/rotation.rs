//! Rotation schedules.

use hub_model::RegistrationId;
use hub_model::extend::{
    Asked, FailureKind, FailurePolicy, Parameters, PluginDigest, PluginFailure, RotationAnswer,
    RotationBounds, RotationQuestion, RotationSchedule,
};

use super::super::bindings::rotation::exports::cipher_hub::plugin::rotation::Decision;
use super::super::call::{Called, Caller};
use super::super::errors::{nonsense, reported};
use super::super::lines::clean;
use super::super::places::For;
use super::calendar::calendar;
use super::rotation_request::{PolicyFacts, RotationRequest, wire};
use super::{fickle, instant};

/// Characters of a reason.
const MAX_REASON: usize = 128;

/// A plugin of the world `rotation-schedule` under an operator's settings.
#[derive(Debug)]
pub struct RotationPlugin(Caller);

impl RotationPlugin {
    pub(in super::super) const fn new(caller: Caller) -> Self {
        Self(caller)
    }

    /// Are the settings usable? Asks `lifecycle.check` in a fresh instance.
    ///
    /// # Errors
    /// [`FailureKind::Refused`] with the plugin's own words, or what else went wrong.
    pub async fn check_settings(&self) -> Result<(), PluginFailure> {
        let called = self.0.call(
            For::Operator,
            false,
            move |store, code| {
                Box::pin(async move {
                    let plugin = code.rotation()?.instantiate_async(&mut *store).await?;
                    plugin.cipher_hub_plugin_lifecycle().call_check(store).await
                })
            },
            |answer| answer.map_err(reported),
        );
        called.await.value
    }

    /// Asks, and says what it cost and what was logged.
    pub async fn decide_traced(&self, request: &RotationRequest) -> Called<RotationAnswer> {
        self.ask(request, true).await
    }

    /// Asks twice, in instances of their own: equal requests must get equal answers.
    ///
    /// # Errors
    /// [`FailureKind::Nonsense`] where they do not.
    pub async fn decide_twice(
        &self,
        request: &RotationRequest,
    ) -> Result<RotationAnswer, PluginFailure> {
        let first = self.ask(request, false).await.value?;
        let second = self.ask(request, false).await.value?;
        if first == second { Ok(first) } else { Err(fickle("dates")) }
    }

    /// Asks `check-policy` with these bounds and parameters, and says what it cost.
    pub async fn check_policy_traced(&self, policy: &PolicyFacts) -> Called<()> {
        self.ask_policy(For::Operator, policy, true).await
    }

    async fn ask(&self, request: &RotationRequest, trace: bool) -> Called<RotationAnswer> {
        let asked = match self.complete(request) {
            Ok(asked) => asked,
            Err(failure) => return Called::never(failure),
        };
        let now = request.now;
        let called = self.0.call(
            For::Registration(&request.key.registration),
            trace,
            move |store, code| {
                Box::pin(async move {
                    let plugin = code.rotation()?.instantiate_async(&mut *store).await?;
                    plugin.cipher_hub_plugin_rotation().call_decide(store, &asked).await
                })
            },
            |answer| match answer.map_err(reported)? {
                Decision::RotateAt(at) => instant(at).map(RotationAnswer::At),
                Decision::RotateNow(reason) => judge_reason(&reason).map(RotationAnswer::Now),
                Decision::AskAgain(at) => {
                    let at = instant(at)?;
                    if at <= now {
                        return Err(nonsense("it wants to be asked again in the past"));
                    }
                    Ok(RotationAnswer::AskAgain(at))
                }
            },
        );
        called.await
    }

    /// Parameters with defaults, and the calendar that they name.
    fn complete(
        &self,
        request: &RotationRequest,
    ) -> Result<
        super::super::bindings::rotation::exports::cipher_hub::plugin::rotation::Request,
        PluginFailure,
    > {
        let mut request = request.clone();
        request.policy.parameters = self.parameters(&request.policy.parameters)?;
        let calendar = match request.calendar.take() {
            Some(calendar) => calendar,
            None => {
                let zone = request.policy.parameters.get("zone").map_or("UTC", |zone| zone);
                let end = request.last_rotation.plus(request.policy.max_interval);
                calendar(zone, request.last_rotation, end, request.now)?
            }
        };
        Ok(wire(&request, &calendar))
    }

    async fn ask_policy(&self, who: For<'_>, policy: &PolicyFacts, trace: bool) -> Called<()> {
        let mut policy = policy.clone();
        policy.parameters = match self.parameters(&policy.parameters) {
            Ok(parameters) => parameters,
            Err(failure) => return Called::never(failure),
        };
        if let Some(zone) = policy.parameters.get("zone") {
            // Better now than when a date is wanted.
            let now = hub_model::Timestamp::from_micros(0);
            if let Err(failure) = calendar(zone, now, now, now) {
                return Called::never(failure);
            }
        }
        let asked = policy.wire();
        let called = self.0.call(
            who,
            trace,
            move |store, code| {
                Box::pin(async move {
                    let plugin = code.rotation()?.instantiate_async(&mut *store).await?;
                    plugin.cipher_hub_plugin_rotation().call_check_policy(store, &asked).await
                })
            },
            |answer| answer.map_err(reported),
        );
        called.await
    }

    fn parameters(&self, given: &Parameters) -> Result<Parameters, PluginFailure> {
        let checked = self.0.loaded.manifest.parameters.check(given);
        checked.map_err(|text| PluginFailure::new(FailureKind::Refused, &text))
    }
}

fn judge_reason(reason: &str) -> Result<Box<str>, PluginFailure> {
    if reason.chars().count() > MAX_REASON {
        return Err(nonsense("its reason has more than 128 characters"));
    }
    Ok(clean(reason, 4 * MAX_REASON).into())
}

/// Tells settings apart; a plugin without any has 0. Rotation plugins reach nothing outside and
/// have no secrets in theirs.
fn fingerprint(settings: &Parameters) -> u64 {
    if settings.is_empty() {
        return 0;
    }
    let texts = settings.iter().flat_map(|(name, value)| [name, value]);
    hub_model::rotation::fingerprint(texts.map(|text| &**text))
}

impl RotationSchedule for RotationPlugin {
    fn digest(&self) -> PluginDigest {
        self.0.loaded.digest()
    }

    fn settings(&self) -> u64 {
        fingerprint(&self.0.settings.config)
    }

    fn on_failure(&self) -> FailurePolicy {
        self.0.settings.failure
    }

    fn decide<'a>(&'a self, question: &'a RotationQuestion<'a>) -> Asked<'a, RotationAnswer> {
        Box::pin(async move { self.ask(&RotationRequest::of(question), false).await.value })
    }

    fn check<'a>(
        &'a self,
        registration: RegistrationId,
        policy: &'a RotationBounds,
    ) -> Asked<'a, ()> {
        Box::pin(async move {
            let registration = registration.to_string();
            let who = For::Registration(&registration);
            self.ask_policy(who, &PolicyFacts::of(policy), false).await.value
        })
    }
}
