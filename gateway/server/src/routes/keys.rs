//! Rows of keys and their versions.

use http::Method;
use hub_model::api::{key, page::Page};
use hub_operations::key as keys;

use super::Route;

const PAGED_KEYS: &[&str] = &["pageSize", "pageToken", "needsRewrap"];

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const ALL: &str = "/v1/registrations/{registration}/keys";
    const ONE: &str = "/v1/registrations/{registration}/keys/{key}";
    const ROTATE: &str = "/v1/registrations/{registration}/keys/{key}:rotate";
    const VERSIONS: &str = "/v1/registrations/{registration}/keys/{key}/versions";
    const VERSION: &str = "/v1/registrations/{registration}/keys/{key}/versions/{version}";
    vec![
        Route::new(Method::POST, ALL, |p| {
            Ok(keys::CreateKey { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<key::CreateKey>()
        .gives::<key::KeyView>()
        .creates(),
        Route::new(Method::GET, ALL, |p| {
            let (registration, page) = (p.param("registration")?, p.page()?);
            Ok(keys::ListKeys { registration, page, needs_rewrap: p.query.flag("needsRewrap")? })
        })
        .gives::<Page<key::KeyView>>()
        .asks(PAGED_KEYS),
        Route::new(Method::GET, ONE, |p| {
            Ok(keys::GetKey { registration: p.param("registration")?, key: p.param("key")? })
        })
        .gives::<key::KeyView>(),
        Route::new(Method::PATCH, ONE, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::UpdateKey { registration, key, body: p.json()? })
        })
        .takes::<key::PatchKey>()
        .gives::<key::KeyView>()
        .needs_match(),
        Route::new(Method::POST, ROTATE, |p| {
            Ok(keys::RotateKey { registration: p.param("registration")?, key: p.param("key")? })
        })
        .gives::<key::KeyView>(),
        Route::new(Method::GET, VERSIONS, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::ListVersions { registration, key, page: p.page()? })
        })
        .gives::<Page<key::VersionView>>()
        .paged(),
        Route::new(Method::GET, VERSION, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::GetVersion { registration, key, version: p.number("version")? })
        })
        .gives::<key::VersionView>()
        .called("keys.getVersion"),
    ]
}
