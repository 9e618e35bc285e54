//! The endpoint of public keys: JSON, or by `Accept` the PEM text or the JWK alone.

use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hub_auth::Caller;
use hub_model::api::uses::PublicKeyView;
use hub_operations::Meta;
use hub_operations::key::GetPublicKey;

use crate::endpoint::{Endpoint, Of};
use crate::listen::Reply;
use crate::pipeline::{Gateway, encode};
use crate::problem::Refusal;
use crate::request::Parts;
use crate::routes::Route;

const PEM: &str = "application/x-pem-file";
const JWK: &str = "application/jwk+json";

/// Reads the request.
///
/// # Errors
/// 400 for a malformed name, or a version that is none.
pub(crate) fn operation(parts: &Parts<'_>) -> Result<GetPublicKey, Refusal> {
    let version = match parts.query.number("version")? {
        None => None,
        Some(number) => Some(u32::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| {
            Refusal::new("invalid_query", "the query parameter `version` is not a number from 1")
        })?),
    };
    let (registration, key) = (parts.param("registration")?, parts.param("key")?);
    Ok(GetPublicKey { registration, key, version })
}

/// `keys.getPublicKey`.
#[derive(Debug)]
pub(crate) struct PublicKeyEndpoint;

impl Endpoint for PublicKeyEndpoint {
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let wanted = wanted(parts.headers);
            let plain = Of::<GetPublicKey, _>::new(operation);
            let reply = plain.call(gateway, row, caller, parts, meta).await?;
            match wanted {
                Some(form) if reply.status() == StatusCode::OK => in_form(reply, form).await,
                _ => Ok(reply),
            }
        })
    }
}

/// The form wanted, if it is not JSON: the first of ours that `Accept` names.
fn wanted(headers: &HeaderMap) -> Option<&'static str> {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).filter_map(|one| one.split(';').next());
    let ours = [PEM, JWK, "application/json"];
    let first = names.map(str::trim).find_map(|name| ours.into_iter().find(|our| *our == name));
    first.filter(|name| *name != "application/json")
}

async fn in_form(reply: Reply, form: &'static str) -> Result<Reply, Refusal> {
    let internal = || Refusal::new("internal", "the answer could not be written");
    let (mut head, body) = reply.into_parts();
    let body = body.collect().await.map_err(|_| internal())?.to_bytes();
    let view: PublicKeyView = serde_json::from_slice(&body).map_err(|_| internal())?;
    let body = if form == PEM { view.pem.into() } else { encode(&view.jwk, false)? };
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(form));
    Ok(Response::from_parts(head, body.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_named_counts() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(text));
            wanted(&headers)
        };
        assert_eq!(of("*/*"), None);
        assert_eq!(of("application/json, application/jwk+json"), None);
        assert_eq!(of("text/plain, application/jwk+json;q=1"), Some(JWK));
        assert_eq!(of("application/x-pem-file"), Some(PEM));
        assert_eq!(wanted(&HeaderMap::new()), None);
    }
}
