//! Rows of the hub as a whole.

use http::Method;
use hub_model::Action;
use hub_model::api::{audit, participant, system};
use hub_operations::system as sys;

use crate::endpoint::StatusEndpoint;

use super::Route;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    vec![
        Route {
            query: crate::exporting::QUERY,
            endpoint: Box::new(crate::exporting::ExportEndpoint(crate::exporting::of_hub)),
            ..Route::new(Method::GET, "/v1/audit/export", crate::exporting::of_hub)
                .called("audit.export")
        },
        Route {
            query: crate::exporting::WITHIN,
            endpoint: Box::new(crate::exporting::ExportEndpoint(crate::exporting::of_registration)),
            ..Route::new(
                Method::GET,
                "/v1/registrations/{registration}/audit/export",
                crate::exporting::of_registration,
            )
            .called("audit.exportRegistration")
        },
        Route {
            dry_run: false,
            ..Route::new(Method::POST, "/v1/policies:explain", |p| {
                Ok(sys::Explain { body: p.json()? })
            })
            .takes::<audit::Explain>()
            .gives::<audit::Explanation>()
        },
        Route {
            action: Action::SystemStatus,
            endpoint: Box::new(StatusEndpoint),
            ..Route::new(Method::GET, "/v1/system/status", |_| Ok(sys::Whoami))
                .gives::<system::Status>()
                .called("system.status")
        },
        Route::new(Method::GET, "/v1/whoami", |_| Ok(sys::Whoami)).gives::<participant::Whoami>(),
    ]
}
