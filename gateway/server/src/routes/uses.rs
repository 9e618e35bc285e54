//! Rows of what keys are used for beside encryption, and of what needs no key.

use http::Method;
use hub_model::api::{crypto, key, uses};
use hub_operations::key as keys;
use hub_operations::registration as reg;

use crate::public_key::PublicKeyEndpoint;

use super::Route;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const PUBLIC_KEY: &str = "/v1/registrations/{registration}/keys/{key}/publicKey";
    vec![
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:sign", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Sign { registration, key, body: p.json()? })
        })
        .takes::<uses::Sign>()
        .gives::<uses::Signed>(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:verify", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Verify { registration, key, body: p.json()? })
        })
        .takes::<uses::Verify>()
        .gives::<uses::Verified>(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:mac", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Mac { registration, key, body: p.json()? })
        })
        .takes::<uses::Mac>()
        .gives::<uses::MacTag>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:verifyMac", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::VerifyMac { registration, key, body: p.json()? })
        })
        .takes::<uses::VerifyMac>()
        .gives::<uses::Verified>(),
        Route::new(
            Method::POST,
            "/v1/registrations/{registration}/keys/{key}:generateDataKey",
            |p| {
                let (registration, key) = (p.param("registration")?, p.param("key")?);
                Ok(keys::GenerateDataKey { registration, key, body: p.json_or_default()? })
            },
        )
        .may_take::<uses::GenerateDataKey>()
        .gives::<uses::DataKey>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:wrap", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Wrap { registration, key, body: p.json()? })
        })
        .takes::<uses::Wrap>()
        .gives::<uses::Wrapped>(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:unwrap", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Unwrap { registration, key, body: p.json()? })
        })
        .takes::<uses::Unwrap>()
        .gives::<crypto::Decrypted>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:derive", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Derive { registration, key, body: p.json()? })
        })
        .takes::<uses::Derive>()
        .gives::<uses::Derived>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:deriveKey", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::DeriveKey { registration, key, body: p.json()? })
        })
        .takes::<uses::DeriveKey>()
        .gives::<key::KeyView>()
        .creates()
        .called("keys.deriveKey"),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:agree", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Agree { registration, key, body: p.json()? })
        })
        .takes::<uses::Agree>()
        .gives::<uses::Derived>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:encapsulate", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Encapsulate { registration, key, body: p.json_or_default()? })
        })
        .may_take::<uses::Encapsulate>()
        .gives::<uses::Encapsulated>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:decapsulate", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Decapsulate { registration, key, body: p.json()? })
        })
        .takes::<uses::Decapsulate>()
        .gives::<uses::Decapsulated>()
        .secret(),
        Route {
            query: &["version"],
            endpoint: Box::new(PublicKeyEndpoint),
            ..Route::new(Method::GET, PUBLIC_KEY, crate::public_key::operation)
                .gives::<uses::PublicKeyView>()
        },
        Route::new(Method::GET, "/v1/registrations/{registration}/jwks", |p| {
            Ok(keys::Jwks { registration: p.param("registration")? })
        })
        .gives::<uses::Jwks>(),
        Route::new(Method::POST, "/v1/registrations/{registration}:random", |p| {
            Ok(reg::Random { registration: p.param("registration")?, body: p.json_or_default()? })
        })
        .may_take::<uses::Random>()
        .gives::<uses::RandomBytes>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}:hash", |p| {
            Ok(reg::Hash { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<uses::Hash>()
        .gives::<uses::Hashed>(),
    ]
}
