//! `system.unblock`: blocks are lifted when the entry that says so is durable.

use futures_util::future::BoxFuture;
use hub_auth::Caller;
use hub_model::api::quota::Unblock as Body;
use hub_operations::Meta;
use hub_operations::system::Unblock;

use crate::endpoint::{Endpoint, perform};
use crate::listen::Reply;
use crate::pipeline::Gateway;
use crate::problem::Refusal;
use crate::request::Parts;
use crate::routes::Route;

/// What answers the requests.
#[derive(Debug)]
pub(crate) struct UnblockEndpoint;

impl Endpoint for UnblockEndpoint {
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let body: Body = match parts.json_or_default() {
                Ok(body) => body,
                Err(refusal) => return Err(gateway.fallen(row, caller, &meta, refusal).await),
            };
            let found = gateway.abuse.named(body.block.as_deref());
            let operation = Unblock { body, found };
            let reply = perform(gateway, row, caller, &operation, &meta, |_| {}).await?;
            if !meta.dry_run {
                gateway.abuse.lift(operation.body.block.as_deref());
            }
            Ok(reply)
        })
    }
}
