//! Rows of bodies that are answered while they are read.

use http::{Method, StatusCode};
use hub_model::Action;
use hub_model::api::crypto;
use hub_operations::Keeps;

use crate::openapi::schema;
use crate::rewrapping::RewrapStreamEndpoint;
use crate::streaming::StreamEndpoint;

use super::{Body, Route};

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    let row = |path, action, operation_id, endpoint| Route {
        method: Method::POST,
        path,
        action,
        operation_id,
        success: StatusCode::OK,
        body: Body::Stream,
        request: None,
        response: None,
        query: &["context"],
        keeps: Keeps::Nothing,
        if_match: false,
        dry_run: true,
        secret: true,
        endpoint,
    };
    vec![
        row(
            "/v1/registrations/{registration}/keys/{key}:encryptStream",
            Action::KeysEncrypt,
            "keys.encryptStream",
            Box::new(StreamEndpoint::<false>),
        ),
        row(
            "/v1/registrations/{registration}/keys/{key}:decryptStream",
            Action::KeysDecrypt,
            "keys.decryptStream",
            Box::new(StreamEndpoint::<true>),
        ),
        Route {
            body: Body::Lines,
            request: Some(schema::<crypto::RewrapLine>),
            response: Some(schema::<crypto::RewrapLineAnswer>),
            query: &[],
            dry_run: false,
            secret: false,
            // Each line is authorized by itself.
            ..row(
                "/v1/registrations/{registration}:rewrapStream",
                Action::KeysRewrap,
                "registrations.rewrapStream",
                Box::new(RewrapStreamEndpoint),
            )
        },
    ]
}
