//! Rows of tokens of other issuers.

use http::Method;
use hub_model::api::{page::Page, token};
use hub_operations::token as tkn;

use super::Route;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const ALL: &str = "/v1/tokenRevocations";
    const RESTORE: &str = "/v1/tokenRevocations/{revocation}:restore";
    vec![
        Route::new(Method::POST, ALL, |p| Ok(tkn::RevokeTokens { body: p.json()? }))
            .takes::<token::RevokeTokens>()
            .gives::<token::TokenRevocationView>()
            .creates(),
        Route::new(Method::GET, ALL, |p| Ok(tkn::ListTokenRevocations { page: p.page()? }))
            .gives::<Page<token::TokenRevocationView>>()
            .paged(),
        Route::new(Method::POST, RESTORE, |p| {
            Ok(tkn::RestoreTokens { revocation: p.param("revocation")? })
        })
        .empty(),
    ]
}
