//! Rows of the lifecycle of keys and versions.

use http::Method;
use hub_model::api::key;
use hub_operations::key as keys;

use super::Route;

/// A step of the lifecycle with a key.
fn key_step<V: keys::Verb>(path: &'static str) -> Route {
    Route::new(Method::POST, path, |p| {
        let (registration, key) = (p.param("registration")?, p.param("key")?);
        Ok(keys::StepKey::<V>::new(registration, key, p.json_or_default()?))
    })
    .gives::<key::KeyView>()
}

/// A step of the lifecycle with a version, under an `operationId` of its own.
fn version_step<V: keys::Verb>(path: &'static str, operation_id: &'static str) -> Route {
    Route::new(Method::POST, path, |p| {
        let (registration, key) = (p.param("registration")?, p.param("key")?);
        let (version, body) = (p.number("version")?, p.json_or_default()?);
        Ok(keys::StepVersion::<V>::new(registration, key, version, body))
    })
    .gives::<key::VersionView>()
    .called(operation_id)
}

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    macro_rules! key {
        ($verb:literal) => {
            concat!("/v1/registrations/{registration}/keys/{key}:", $verb)
        };
    }
    macro_rules! version {
        ($verb:literal) => {
            concat!("/v1/registrations/{registration}/keys/{key}/versions/{version}:", $verb)
        };
    }
    vec![
        key_step::<keys::Activate>(key!("activate")),
        key_step::<keys::Suspend>(key!("suspend")),
        key_step::<keys::Resume>(key!("resume")),
        key_step::<keys::Deactivate>(key!("deactivate")),
        key_step::<keys::MarkCompromised>(key!("markCompromised")),
        key_step::<keys::ScheduleDestroy>(key!("scheduleDestroy"))
            .may_take::<key::ScheduleDestroy>(),
        key_step::<keys::CancelDestroy>(key!("cancelDestroy")),
        version_step::<keys::Suspend>(version!("disable"), "keys.disableVersion"),
        version_step::<keys::Resume>(version!("enable"), "keys.enableVersion"),
        version_step::<keys::Deactivate>(version!("deactivate"), "keys.deactivateVersion"),
        version_step::<keys::MarkCompromised>(
            version!("markCompromised"),
            "keys.markVersionCompromised",
        ),
        version_step::<keys::ScheduleDestroy>(
            version!("scheduleDestroy"),
            "keys.scheduleDestroyVersion",
        )
        .may_take::<key::ScheduleDestroy>(),
        version_step::<keys::CancelDestroy>(version!("cancelDestroy"), "keys.cancelDestroyVersion"),
        Route::new(Method::POST, version!("setPrimary"), |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::SetPrimary { registration, key, version: p.number("version")? })
        })
        .gives::<key::KeyView>(),
    ]
}
