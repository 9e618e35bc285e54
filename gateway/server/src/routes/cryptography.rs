//! Rows of encryption.

use http::{Method, StatusCode};
use hub_model::Action;
use hub_model::api::crypto;
use hub_operations::Keeps;
use hub_operations::key as keys;

use crate::endpoint::BatchEndpoint;
use crate::openapi::schema;

use super::{Body, Route};

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const ENCRYPT: &str = "/v1/registrations/{registration}/keys/{key}:encrypt";
    const DECRYPT: &str = "/v1/registrations/{registration}/keys/{key}:decrypt";
    const REWRAP: &str = "/v1/registrations/{registration}/keys/{key}:rewrap";
    vec![
        Route::new(Method::POST, ENCRYPT, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Encrypt { registration, key, body: p.json()? })
        })
        .takes::<crypto::Encrypt>()
        .gives::<crypto::Encrypted>(),
        Route::new(Method::POST, DECRYPT, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Decrypt::new(registration, key, p.json()?))
        })
        .takes::<crypto::Decrypt>()
        .gives::<crypto::Decrypted>()
        .secret(),
        Route::new(Method::POST, REWRAP, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Rewrap::new(registration, key, p.json()?))
        })
        .takes::<crypto::Rewrap>()
        .gives::<crypto::Rewrapped>(),
        Route::new(Method::POST, "/v1/registrations/{registration}:decrypt", |p| {
            Ok(keys::DecryptAny::new(p.param("registration")?, p.json()?))
        })
        .takes::<crypto::Decrypt>()
        .gives::<crypto::Decrypted>()
        .called("registrations.decrypt")
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}:rewrap", |p| {
            Ok(keys::RewrapAny::new(p.param("registration")?, p.json()?))
        })
        .takes::<crypto::Rewrap>()
        .gives::<crypto::Rewrapped>()
        .called("registrations.rewrap"),
        Route {
            method: Method::POST,
            path: "/v1/registrations/{registration}/keys:batch",
            // Each item is authorized as the verb it names.
            action: Action::KeysEncrypt,
            operation_id: "keys.batch",
            success: StatusCode::OK,
            body: Body::Batch,
            request: Some(schema::<crypto::Batch>),
            response: Some(schema::<crypto::BatchAnswer>),
            query: &[],
            keeps: Keeps::Nothing,
            if_match: false,
            dry_run: true,
            secret: true,
            endpoint: Box::new(BatchEndpoint),
        },
    ]
}
