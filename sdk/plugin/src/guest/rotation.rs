use std::marker::PhantomData;
use std::time::Duration;

use super::{common, enter};
use crate::bindings::rotation::exports::cipher_hub::plugin::{lifecycle, rotation as bound};
use crate::rotation::{Decision, Key, Policy, Request, RotationSchedule, State, Version};
use crate::time::{Calendar, Timestamp, Transition};

common!(rotation);

#[derive(Debug)]
pub struct Rotation<T>(PhantomData<T>);

impl<T: RotationSchedule + 'static> lifecycle::Guest for Rotation<T> {
    fn check() -> Result<(), PluginError> {
        T::new(&enter()).map(drop).map_err(error)
    }
}

impl<T: RotationSchedule + 'static> bound::Guest for Rotation<T> {
    fn decide(request: bound::Request) -> Result<bound::Decision, PluginError> {
        let answer = T::new(&enter()).and_then(|plugin| plugin.decide(&question(request)));
        Ok(match answer.map_err(error)? {
            Decision::RotateAt(time) => bound::Decision::RotateAt(time.as_millis()),
            Decision::RotateNow(why) => bound::Decision::RotateNow(why),
            Decision::AskAgain(time) => bound::Decision::AskAgain(time.as_millis()),
        })
    }

    fn check_policy(given: bound::Policy) -> Result<(), PluginError> {
        T::new(&enter()).and_then(|plugin| plugin.check_policy(&policy(given))).map_err(error)
    }
}

fn question(request: bound::Request) -> Request {
    let key = request.key;
    Request {
        key: Key {
            id: key.id,
            name: key.name,
            registration: key.registration,
            algorithm: key.algorithm,
            purpose: key.purpose,
            tags: fields(key.tags),
            primary: key.primary,
            versions: key.versions.into_iter().map(version).collect(),
        },
        policy: policy(request.policy),
        calendar: Calendar {
            zone: request.calendar.zone,
            offset_seconds: request.calendar.offset_seconds,
            transitions: request.calendar.transitions.into_iter().map(transition).collect(),
        },
        last_rotation: Timestamp::from_millis(request.last_rotation),
        now: Timestamp::from_millis(request.now),
    }
}

fn policy(policy: bound::Policy) -> Policy {
    Policy {
        min_interval: Duration::from_millis(policy.min_interval),
        max_interval: Duration::from_millis(policy.max_interval),
        parameters: fields(policy.parameters),
    }
}

fn transition(transition: bound::Transition) -> Transition {
    Transition {
        at: Timestamp::from_millis(transition.at),
        offset_seconds: transition.offset_seconds,
    }
}

fn version(version: bound::VersionInfo) -> Version {
    Version {
        number: version.number,
        state: match version.state {
            bound::VersionState::PreActivation => State::PreActivation,
            bound::VersionState::Active => State::Active,
            bound::VersionState::Suspended => State::Suspended,
            bound::VersionState::Deactivated => State::Deactivated,
            bound::VersionState::Compromised => State::Compromised,
            bound::VersionState::DestroyScheduled => State::DestroyScheduled,
            bound::VersionState::Destroyed => State::Destroyed,
        },
        created_at: Timestamp::from_millis(version.created_at),
        primary_since: version.primary_since.map(Timestamp::from_millis),
        protect_operations: version.protect_operations,
        protect_bytes: version.protect_bytes,
        process_operations: version.process_operations,
    }
}
