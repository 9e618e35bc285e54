//! Rows of import and export.

use http::Method;
use hub_model::api::{key, transfer};
use hub_operations::key as keys;

use super::Route;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const JOB: &str = "/v1/registrations/{registration}/keys:importJob";
    const IMPORT: &str = "/v1/registrations/{registration}/keys:import";
    const VERSION: &str = "/v1/registrations/{registration}/keys/{key}:importVersion";
    const EXPORT: &str = "/v1/registrations/{registration}/keys/{key}:export";
    vec![
        Route::new(Method::POST, JOB, |p| {
            Ok(keys::CreateImportJob { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<transfer::CreateImportJob>()
        .gives::<transfer::ImportJobView>()
        .creates(),
        Route::new(Method::POST, IMPORT, |p| {
            Ok(keys::ImportKey { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<transfer::ImportKey>()
        .gives::<key::KeyView>()
        .creates(),
        Route::new(Method::POST, VERSION, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::ImportVersion { registration, key, body: p.json()? })
        })
        .takes::<transfer::ImportVersion>()
        .gives::<key::KeyView>(),
        Route::new(Method::POST, EXPORT, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::ExportKey { registration, key, body: p.json()? })
        })
        .takes::<transfer::ExportKey>()
        .gives::<transfer::ExportedKey>()
        .secret(),
    ]
}
