//! Routes of checkpoints and of the keys that sign them.

use http::Method;
use hub_model::api::checkpoint as body;
use hub_model::api::page::Page;
use hub_operations::system as sys;

use super::Route;

/// Every route of checkpoints.
pub(super) fn rows() -> Vec<Route> {
    const ALL: &str = "/v1/audit/checkpoints";
    const ONE: &str = "/v1/audit/checkpoints/{size}";
    const KEYS: &str = "/v1/audit/signing-keys";
    const ROTATE: &str = "/v1/audit/signing-keys:rotate";
    vec![
        Route::new(Method::GET, ALL, |p| Ok(sys::ListCheckpoints { page: p.page()? }))
            .gives::<Page<body::CheckpointView>>()
            .paged()
            .called("audit.listCheckpoints"),
        Route::new(Method::GET, ONE, |p| Ok(sys::GetCheckpoint { which: p.param("size")? }))
            .gives::<body::CheckpointView>()
            .called("audit.readCheckpoints"),
        Route::new(Method::GET, KEYS, |_| Ok(sys::ListSigningKeys))
            .gives::<body::SigningKeys>()
            .called("audit.listSigningKeys"),
        Route::new(Method::POST, ROTATE, |_| Ok(sys::RotateSigningKey::default()))
            .gives::<body::RotatedSigningKey>(),
    ]
}
