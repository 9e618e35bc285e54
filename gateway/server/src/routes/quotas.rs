//! Rows of quotas of registrations, and of blocks.

use http::Method;
use hub_model::Action;
use hub_model::api::quota;
use hub_operations::registration as reg;
use hub_operations::system as sys;

use crate::unblock::UnblockEndpoint;

use super::Route;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const QUOTAS: &str = "/v1/registrations/{registration}/quotas";
    const BOUNDS: &str = "/v1/registrations/{registration}/quotas/bounds";
    vec![
        Route::new(Method::GET, QUOTAS, |p| {
            Ok(reg::GetQuotas { registration: p.param("registration")? })
        })
        .gives::<quota::QuotasView>(),
        Route::new(Method::PUT, QUOTAS, |p| {
            let registration = p.param("registration")?;
            Ok(reg::PutQuotas::<false> { registration, body: p.json()? })
        })
        .takes::<quota::SetQuotas>()
        .gives::<quota::QuotasView>()
        .needs_match(),
        Route::new(Method::DELETE, QUOTAS, |p| {
            Ok(reg::ClearQuotas::<false> { registration: p.param("registration")? })
        })
        .empty()
        .needs_match()
        .called("quotas.clear"),
        Route::new(Method::PUT, BOUNDS, |p| {
            let registration = p.param("registration")?;
            Ok(reg::PutQuotas::<true> { registration, body: p.json()? })
        })
        .takes::<quota::SetQuotas>()
        .gives::<quota::QuotasView>()
        .needs_match(),
        Route::new(Method::DELETE, BOUNDS, |p| {
            Ok(reg::ClearQuotas::<true> { registration: p.param("registration")? })
        })
        .empty()
        .needs_match()
        .called("quotas.clearBounds"),
        Route {
            action: Action::SystemUnblock,
            endpoint: Box::new(UnblockEndpoint),
            ..Route::new(Method::POST, "/v1/system:unblock", |_| Ok(sys::Whoami))
                .may_take::<quota::Unblock>()
                .gives::<quota::Unblocked>()
                .called("system.unblock")
        },
    ]
}
