//! Routes of policy revisions.

use http::Method;
use hub_model::api::page::Page;
use hub_model::api::policy as body;
use hub_operations::policy as pol;

use super::{Body, Route};

/// Every route of policy revisions.
pub(super) fn rows() -> Vec<Route> {
    const ALL: &str = "/v1/policies/revisions";
    const ONE: &str = "/v1/policies/revisions/{revision}";
    const ACTIVATE: &str = "/v1/policies/revisions/{revision}:activate";
    const SHADOW: &str = "/v1/policies/revisions/{revision}:shadow";
    vec![
        Route {
            body: Body::Batch,
            ..Route::new(Method::POST, ALL, |p| Ok(pol::ProposeRevision { body: p.json()? }))
                .takes::<body::ProposeRevision>()
                .gives::<body::RevisionView>()
                .creates()
        },
        Route::new(Method::GET, ALL, |p| Ok(pol::ListRevisions { page: p.page()? }))
            .gives::<Page<body::RevisionView>>()
            .paged(),
        Route::new(Method::GET, ONE, |p| Ok(pol::GetRevision { revision: p.param("revision")? }))
            .gives::<body::RevisionView>(),
        Route::new(Method::DELETE, ONE, |p| {
            Ok(pol::DeleteRevision { revision: p.param("revision")? })
        })
        .empty()
        .needs_match(),
        Route::new(Method::POST, ACTIVATE, |p| {
            Ok(pol::Activate { revision: p.param("revision")? })
        })
        .gives::<body::Activated>()
        .needs_match(),
        Route::new(Method::POST, "/v1/policies:rollback", |_| Ok(pol::Rollback))
            .gives::<body::Activated>()
            .needs_match(),
        Route::new(Method::POST, SHADOW, |p| Ok(pol::Shadow { revision: p.param("revision")? }))
            .gives::<body::Shadowed>(),
        Route::new(Method::DELETE, "/v1/policies/shadow", |_| Ok(pol::EndShadow))
            .empty()
            .called("policies.endShadow"),
        Route {
            body: Body::Batch,
            dry_run: false,
            ..Route::new(Method::POST, "/v1/policies:validate", |p| {
                Ok(pol::ValidatePolicies { body: p.json()? })
            })
            .takes::<body::ValidatePolicies>()
            .gives::<body::PolicyCheck>()
        },
        Route {
            body: Body::Batch,
            dry_run: false,
            ..Route::new(Method::POST, "/v1/policies:replay", |p| {
                Ok(pol::ReplayPolicies { body: p.json()? })
            })
            .takes::<body::ReplayPolicies>()
            .gives::<body::Replayed>()
        },
    ]
}
