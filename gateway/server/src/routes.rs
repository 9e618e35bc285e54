//! The route table: one row per endpoint. The row drives routing, the Cedar action, the audit
//! entry, the span, the body limit and the OpenAPI document.

use http::{Method, StatusCode};
use hub_model::Action;
use hub_operations::{Keeps, Operation};

use crate::endpoint::{Endpoint, Of};
use crate::openapi::{SchemaOf, schema};
use crate::problem::Refusal;
use crate::request::Parts;

mod access;
mod archives;
mod audit;
mod checkpoints;
mod cryptography;
mod data_keys;
mod keys;
mod lifecycle;
mod operations;
mod participants;
mod plugins;
mod policies;
mod quotas;
mod registrations;
mod streams;
mod system;
mod tokens;
mod transfers;
mod uses;

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// JSON up to the ordinary limit.
    Json,
    /// JSON up to the ordinary limit, or nothing.
    JsonOrNothing,
    /// JSON up to the limit of batches.
    Batch,
    /// Bytes of any number, read piece by piece while they are answered.
    Stream,
    /// Any number of lines of JSON, read and answered line by line.
    Lines,
    /// The file of a plugin, read when the caller was found to be permitted.
    Wasm,
}

/// One endpoint.
#[derive(Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The verb it stands for: also the `operationId`, unless several paths share the verb.
    pub action: Action,
    /// The `operationId`.
    pub operation_id: &'static str,
    /// The status of success.
    pub success: StatusCode,
    /// What the body may be.
    pub body: Body,
    /// The body's schema.
    pub request: Option<SchemaOf>,
    /// The answer's schema.
    pub response: Option<SchemaOf>,
    /// Known query parameters.
    pub query: &'static [&'static str],
    /// Whether `Idempotency-Key` is understood.
    pub keeps: Keeps,
    /// Whether `If-Match` is demanded.
    pub if_match: bool,
    /// Whether `?dryRun=true` is understood: wherever something changes or a key is used.
    pub dry_run: bool,
    /// Whether the answer holds a secret, and its buffer is erased after sending.
    pub secret: bool,
    /// What answers.
    pub endpoint: Box<dyn Endpoint>,
}

const PAGED: &[&str] = &["pageSize", "pageToken"];

impl Route {
    pub(crate) fn new<O, F>(method: Method, path: &'static str, build: F) -> Self
    where
        O: Operation + 'static,
        F: Fn(&Parts<'_>) -> Result<O, Refusal> + Send + Sync + 'static,
    {
        let dry_run = method != Method::GET;
        Self {
            method,
            path,
            action: O::ACTION,
            operation_id: O::ACTION.name(),
            success: StatusCode::OK,
            body: Body::None,
            request: None,
            response: None,
            query: &[],
            keeps: O::KEEPS,
            if_match: false,
            dry_run,
            secret: false,
            endpoint: Box::new(Of::new(build)),
        }
    }

    pub(crate) fn takes<T: utoipa::ToSchema>(self) -> Self {
        Self { body: Body::Json, request: Some(schema::<T>), ..self }
    }

    pub(crate) fn may_take<T: utoipa::ToSchema>(self) -> Self {
        Self { body: Body::JsonOrNothing, request: Some(schema::<T>), ..self }
    }

    pub(crate) fn gives<T: utoipa::ToSchema>(self) -> Self {
        Self { response: Some(schema::<T>), ..self }
    }

    pub(crate) fn creates(self) -> Self {
        Self { success: StatusCode::CREATED, ..self }
    }

    pub(crate) fn empty(self) -> Self {
        Self { success: StatusCode::NO_CONTENT, ..self }
    }

    pub(crate) fn asks(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    pub(crate) fn paged(self) -> Self {
        Self { query: PAGED, ..self }
    }

    fn needs_match(self) -> Self {
        Self { if_match: true, ..self }
    }

    fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    pub(crate) fn called(self, operation_id: &'static str) -> Self {
        Self { operation_id, ..self }
    }
}

/// Every endpoint.
#[must_use]
pub fn table() -> Vec<Route> {
    let mut rows = registrations::rows();
    rows.extend(participants::rows());
    rows.extend(keys::rows());
    rows.extend(access::rows());
    rows.extend(lifecycle::rows());
    rows.extend(cryptography::rows());
    rows.extend(uses::rows());
    rows.extend(transfers::rows());
    rows.extend(streams::rows());
    rows.extend(data_keys::rows());
    rows.extend(operations::rows());
    rows.extend(policies::rows());
    rows.extend(plugins::rows());
    rows.extend(checkpoints::rows());
    rows.extend(quotas::rows());
    rows.extend(audit::rows());
    rows.extend(system::rows());
    rows.extend(tokens::rows());
    rows.extend(crate::proofs::rows());
    rows.extend(archives::rows());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_route_and_every_operation_id_is_unique() {
        let rows = table();
        let mut ids: Vec<_> = rows.iter().map(|row| row.operation_id).collect();
        // Asked for beside another verb, never by itself.
        let beside = [Action::KeysUseCompromised, Action::KeysRebind, Action::AuditOwnReceipt];
        for action in Action::ALL.iter().filter(|action| !beside.contains(action)) {
            assert!(ids.contains(&action.name()), "no route for {action}");
        }
        ids.sort_unstable();
        let before = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), before);
    }

    #[test]
    fn changes_of_existing_records_demand_if_match() {
        for row in table() {
            let quotas = row.path.contains("/quotas");
            let whole = (row.path.ends_with('}') || quotas)
                && !row.path.contains("/members/")
                && !row.path.contains("/dataKeys/")
                && !row.path.contains("/grants/")
                && !row.path.contains("/credentials/");
            let changes = row.method == Method::PATCH
                || row.method == Method::DELETE
                || (quotas && row.method == Method::PUT);
            // Activation changes which policies are active, a record that no path names.
            let activates = matches!(row.operation_id, "policies.activate" | "policies.rollback");
            let demands = (whole && changes) || activates;
            assert_eq!(row.if_match, demands, "{} {}", row.method, row.path);
        }
    }
}
