//! Rows of wrapped data keys that the hub keeps.

use http::{Method, StatusCode};
use hub_model::api::{job, page::Page};
use hub_operations::jobs;
use hub_operations::key as keys;

use super::Route;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const ALL: &str = "/v1/registrations/{registration}/keys/{key}/dataKeys";
    const ONE: &str = "/v1/registrations/{registration}/keys/{key}/dataKeys/{dataKey}";
    vec![
        Route::new(Method::POST, ALL, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::PutDataKey { registration, key, body: p.json()? })
        })
        .takes::<job::PutDataKey>()
        .gives::<job::KeptDataKey>()
        .creates(),
        Route::new(Method::GET, ALL, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::ListDataKeys { registration, key, page: p.page()? })
        })
        .gives::<Page<job::KeptDataKey>>()
        .paged(),
        Route::new(Method::GET, ONE, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::GetDataKey { registration, key, name: p.param("dataKey")? })
        })
        .gives::<job::KeptDataKey>(),
        Route::new(Method::DELETE, ONE, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::DeleteDataKey { registration, key, name: p.param("dataKey")? })
        })
        .empty(),
        Route {
            success: StatusCode::ACCEPTED,
            ..Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:migrate", |p| {
                Ok(jobs::Migrate { registration: p.param("registration")?, key: p.param("key")? })
            })
            .gives::<job::OperationView>()
        },
    ]
}
