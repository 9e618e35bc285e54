//! Rows of registrations.

use http::Method;
use hub_model::api::{page::Page, registration};
use hub_operations::registration as reg;

use super::Route;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v1/registrations", |p| {
            Ok(reg::CreateRegistration { body: p.json()? })
        })
        .takes::<registration::CreateRegistration>()
        .gives::<registration::RegistrationView>()
        .creates(),
        Route::new(Method::GET, "/v1/registrations", |p| {
            Ok(reg::ListRegistrations { page: p.page()? })
        })
        .gives::<Page<registration::RegistrationView>>()
        .paged(),
        Route::new(Method::GET, "/v1/registrations/{registration}", |p| {
            Ok(reg::GetRegistration { registration: p.param("registration")? })
        })
        .gives::<registration::RegistrationView>(),
        Route::new(Method::PATCH, "/v1/registrations/{registration}", |p| {
            Ok(reg::UpdateRegistration { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<registration::PatchRegistration>()
        .gives::<registration::RegistrationView>()
        .needs_match(),
        Route::new(Method::DELETE, "/v1/registrations/{registration}", |p| {
            Ok(reg::DeleteRegistration { registration: p.param("registration")? })
        })
        .empty()
        .needs_match(),
        Route::new(Method::POST, "/v1/registrations/{registration}:freeze", |p| {
            Ok(reg::Freeze::<true> { registration: p.param("registration")? })
        })
        .gives::<registration::RegistrationView>(),
        Route::new(Method::POST, "/v1/registrations/{registration}:unfreeze", |p| {
            Ok(reg::Freeze::<false> { registration: p.param("registration")? })
        })
        .gives::<registration::RegistrationView>(),
    ]
}
