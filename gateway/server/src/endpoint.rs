//! What answers the requests of one row: an operation, the process's status, a batch.

use std::marker::PhantomData;
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Method, Response};
use hub_auth::Caller;
use hub_model::Action;
use hub_model::api::crypto::{Batch, BatchAnswer, BatchAnswerItem, BatchResult};
use hub_operations::key::BatchKey;
use hub_operations::system::Status;
use hub_operations::{Done, Error, Failure, Meta, Operation};

use crate::inbound::EdgeError;
use crate::listen::Reply;
use crate::pipeline::{Gateway, encode};
use crate::problem::Refusal;
use crate::request::Parts;
use crate::routes::Route;

/// What answers the requests of one row.
pub trait Endpoint: Send + Sync {
    /// Answers one request.
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>>;
}

impl std::fmt::Debug for dyn Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Endpoint")
    }
}

/// An endpoint that is one operation.
pub struct Of<O, F> {
    build: F,
    operation: PhantomData<fn() -> O>,
}

impl<O, F> Of<O, F> {
    /// The endpoint that builds the operation like this.
    pub const fn new(build: F) -> Self {
        Self { build, operation: PhantomData }
    }
}

impl<O, F> Endpoint for Of<O, F>
where
    O: Operation + 'static,
    F: Fn(&Parts<'_>) -> Result<O, Refusal> + Send + Sync,
{
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let operation = match (self.build)(&parts) {
                Ok(operation) => operation,
                Err(refusal) => return Err(gateway.fallen(row, caller, &meta, refusal).await),
            };
            let mut location = None;
            let performed = perform(gateway, row, caller, &operation, &meta, |answer| {
                location = O::location(answer, parts.text("registration"));
            });
            let mut answered = performed.await?;
            if let Some(location) = location.and_then(|path| HeaderValue::try_from(path).ok()) {
                answered.headers_mut().insert(LOCATION, location);
                answered.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Ok(answered)
        })
    }
}

/// Does an operation and puts its outcome into an answer.
pub(crate) async fn perform<O: Operation>(
    gateway: &Gateway,
    row: &Route,
    caller: &Caller,
    operation: &O,
    meta: &Meta,
    look: impl FnOnce(&O::Reply),
) -> Result<Reply, Refusal> {
    let outcome = gateway.hub.perform(caller, operation, meta).await;
    answer::<O>(gateway, row, meta, outcome, look)
}

/// Puts the outcome of an operation into an answer.
pub(crate) fn answer<O: Operation>(
    gateway: &Gateway,
    row: &Route,
    meta: &Meta,
    outcome: Result<Done<O::Reply>, Failure>,
    look: impl FnOnce(&O::Reply),
) -> Result<Reply, Refusal> {
    gateway.metrics.audit_events.inc();
    match outcome {
        Ok(mut done) => {
            let left = done.left.take();
            gateway.metrics.policy_decision(Some(true));
            gateway.count_crypto::<O>(done.algorithm, None);
            let changed = row.method != Method::GET && !meta.dry_run && !O::ACTION.uses_key();
            match row.action {
                Action::RegistrationsDelete if changed => gateway.swept.notify_one(),
                Action::KeysMigrate | Action::OperationsCancel | Action::OperationsResume
                    if changed =>
                {
                    gateway.hub.jobs_moved();
                }
                _ => {}
            }
            if let Some(reply) = &done.reply {
                look(reply);
            }
            let mut answered = gateway.respond(row, done, changed, O::json)?;
            if let Some(left) = left {
                crate::quotas::write_headers(&left, answered.headers_mut());
            }
            Ok(answered)
        }
        Err(failure) => {
            if matches!(failure.error, Error::Denied { .. }) {
                gateway.metrics.policy_decision(Some(false));
            }
            gateway.count_crypto::<O>(failure.algorithm, Some(failure.error.code()));
            Err(Refusal::from(&failure))
        }
    }
}

/// `system.status`: the process adds what only it knows.
#[derive(Debug)]
pub struct StatusEndpoint;

impl Endpoint for StatusEndpoint {
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        _parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let mut facts = (gateway.status)();
            facts.blocks = gateway.abuse.blocks();
            let operation = Status { facts };
            perform(gateway, row, caller, &operation, &meta, |_| {}).await
        })
    }
}

/// `keys.batch`: each item is an operation of its own.
#[derive(Debug)]
pub struct BatchEndpoint;

impl Endpoint for BatchEndpoint {
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let decoded = parts.param("registration").and_then(|registration| {
                let batch: Batch = parts.json()?;
                Ok((BatchKey { registration }, batch))
            });
            let (target, batch) = match decoded {
                Ok(decoded) => decoded,
                Err(refusal) => return Err(gateway.fallen(row, caller, &meta, refusal).await),
            };
            // Each item has its entry; without one the request would have none at all.
            if batch.items.is_empty() {
                let refusal = Refusal::new("invalid_argument", "a batch has at least one item");
                let refusal = refusal.at("/items");
                return Err(gateway.fallen(row, caller, &meta, refusal).await);
            }
            let long = |r: &Option<String>| r.as_ref().is_some_and(|r| r.len() > 128);
            if batch.items.iter().any(|item| long(&item.reference)) {
                let refusal = Refusal::new("invalid_argument", "a `ref` has at most 128 bytes");
                return Err(gateway.fallen(row, caller, &meta, refusal).await);
            }
            if let Err(limited) = gateway.throttle.charge(caller, batch.items.len() - 1) {
                gateway.metrics.rate_limited(&limited);
                let refusal = Refusal::from(&EdgeError::from(limited));
                return Err(gateway.fallen(row, caller, &meta, refusal).await);
            }
            let started = Instant::now();
            let items = target.perform(&gateway.hub, caller, batch.items, &meta).await;
            tracing::debug!(items = items.len(), took = ?started.elapsed(), "batch");
            gateway.metrics.audit_events.inc_by(u64::try_from(items.len()).unwrap_or(0));
            let items = items
                .into_iter()
                .map(|item| match item.outcome {
                    Ok(result) => BatchAnswerItem {
                        reference: item.reference,
                        status: match result {
                            Some(BatchResult::Key(_)) => 201,
                            _ => 200,
                        },
                        result,
                        problem: None,
                    },
                    Err(failure) => {
                        let refusal = Refusal::from(&failure);
                        BatchAnswerItem {
                            reference: item.reference,
                            status: refusal.status().as_u16(),
                            result: None,
                            problem: Some(refusal.document(None, None)),
                        }
                    }
                })
                .collect();
            let body = encode(&BatchAnswer { items }, true)?;
            let mut reply = Response::new(body.into());
            let json = HeaderValue::from_static("application/json");
            reply.headers_mut().insert(CONTENT_TYPE, json);
            Ok(reply)
        })
    }
}
