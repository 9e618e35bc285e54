//! Rows of long operations.

use http::Method;
use hub_model::api::{job, page::Page};
use hub_operations::jobs;

use crate::watching::EventsEndpoint;

use super::Route;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const ALL: &str = "/v1/registrations/{registration}/operations";
    const ONE: &str = "/v1/registrations/{registration}/operations/{operation}";
    const CANCEL: &str = "/v1/registrations/{registration}/operations/{operation}:cancel";
    const RESUME: &str = "/v1/registrations/{registration}/operations/{operation}:resume";
    const EVENTS: &str = "/v1/registrations/{registration}/operations/{operation}/events";
    vec![
        Route::new(Method::GET, ALL, |p| {
            Ok(jobs::ListOperations { registration: p.param("registration")?, page: p.page()? })
        })
        .gives::<Page<job::OperationView>>()
        .paged(),
        Route::new(Method::GET, ONE, crate::watching::operation).gives::<job::OperationView>(),
        Route::new(Method::POST, CANCEL, |p| {
            let (registration, operation) = (p.param("registration")?, p.param("operation")?);
            Ok(jobs::CancelOperation { registration, operation })
        })
        .gives::<job::OperationView>(),
        Route::new(Method::POST, RESUME, |p| {
            let (registration, operation) = (p.param("registration")?, p.param("operation")?);
            Ok(jobs::ResumeOperation { registration, operation })
        })
        .gives::<job::OperationView>(),
        Route {
            endpoint: Box::new(EventsEndpoint),
            ..Route::new(Method::GET, EVENTS, crate::watching::operation)
                .gives::<job::OperationView>()
                .called("operations.events")
        },
    ]
}
