//! Rows of the route table: grants on keys, and the questions who may do what.

use http::Method;
use hub_model::Action;
use hub_model::action::ResourceKind;
use hub_model::api::{access, grant, page::Page};
use hub_operations::access as ask;
use hub_operations::key as keys;

use super::Route;
use crate::problem::Refusal;
use crate::request::Parts;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const GRANTS: &str = "/v1/registrations/{registration}/keys/{key}/grants";
    const GRANT: &str = "/v1/registrations/{registration}/keys/{key}/grants/{grant}";
    const WHO_CAN: &str = "/v1/registrations/{registration}/keys/{key}:whoCan";
    const ACCESS: &str = "/v1/registrations/{registration}/participants/{participant}:access";
    vec![
        Route::new(Method::POST, GRANTS, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::CreateGrant { registration, key, body: p.json()? })
        })
        .takes::<grant::CreateGrant>()
        .gives::<grant::GrantView>()
        .creates(),
        Route::new(Method::GET, GRANTS, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::ListGrants { registration, key, page: p.page()? })
        })
        .gives::<Page<grant::GrantView>>()
        .paged(),
        Route::new(Method::GET, GRANT, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::GetGrant { registration, key, grant: p.param("grant")? })
        })
        .gives::<grant::GrantView>(),
        // A grant never changes, so there is no version of it that `If-Match` could name.
        Route::new(Method::DELETE, GRANT, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::DeleteGrant { registration, key, grant: p.param("grant")? })
        })
        .empty(),
        Route::new(Method::GET, WHO_CAN, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(ask::WhoCan { registration, key, action: action(p)?, page: p.page()? })
        })
        .gives::<access::WhoCan>()
        .asks(&["action", "pageSize", "pageToken"]),
        Route::new(Method::GET, ACCESS, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ask::AccessOfParticipant { registration, participant, page: p.page()? })
        })
        .gives::<access::ParticipantAccess>()
        .paged(),
    ]
}

/// The action asked about.
fn action(parts: &Parts<'_>) -> Result<Action, Refusal> {
    let named = parts.query.value("action").and_then(|text| text.parse::<Action>().ok());
    named.filter(|action| action.resource_kind() == ResourceKind::Key).ok_or_else(|| {
        let detail = "the query parameter `action` names an action on keys, such as `keys.decrypt`";
        Refusal::new("invalid_query", detail)
    })
}
