//! Routes of the archives of the audit log.

use http::{Method, StatusCode};
use hub_model::api::archive as body;
use hub_operations::system as sys;

use super::Route;

/// Every route of archives.
pub(super) fn rows() -> Vec<Route> {
    vec![
        Route {
            success: StatusCode::ACCEPTED,
            ..Route::new(Method::POST, "/v1/audit:archive", |p| {
                Ok(sys::ArchiveAudit { body: p.json()? })
            })
            .takes::<body::ArchiveAudit>()
            .gives::<body::ArchivePlan>()
        },
        Route::new(Method::GET, "/v1/audit/archives", |_| Ok(sys::ListArchives))
            .gives::<body::ArchiveList>()
            .called("audit.listArchives"),
    ]
}
