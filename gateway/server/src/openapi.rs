//! The OpenAPI 3.1 document, generated from the route table. `api/openapi.json` is its committed
//! copy; a test fails when the two differ.

use std::collections::BTreeMap;

use hub_operations::Keeps;
use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::problem;
use crate::routes::{self, Body, Route};

/// A schema with its name and those it refers to.
#[allow(missing_debug_implementations, reason = "utoipa's schemas have none")]
pub struct Named {
    name: String,
    schema: RefOr<Schema>,
    others: Vec<(String, RefOr<Schema>)>,
}

/// Gives a type's schema.
pub type SchemaOf = fn() -> Named;

/// The schema of a type.
#[must_use]
pub fn schema<T: utoipa::ToSchema>() -> Named {
    let mut others = Vec::new();
    T::schemas(&mut others);
    Named { name: T::name().into_owned(), schema: T::schema(), others }
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    add(&mut schemas, schema::<hub_model::api::problem::Problem>);
    for row in routes::table() {
        let operation = operation(&row, &mut schemas);
        let method = row.method.as_str().to_ascii_lowercase();
        paths.entry(row.path.replace("{*", "{")).or_default().insert(method, operation);
    }
    let codes: Vec<_> = problem::KINDS.iter().map(|kind| kind.0).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Cipher Hub",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Key management gateway. Every call is authenticated, decided by Cedar \
                policies and written to a verifiable audit log before it is answered.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:8420", "description": "The default listener" }],
        "security": [{ "apiKey": [] }],
        "tags": [
            { "name": "registrations", "description": "Security boundaries" },
            { "name": "participants", "description": "Users, services and devices" },
            { "name": "credentials", "description": "API keys of participants" },
            { "name": "roles", "description": "Role membership" },
            { "name": "keys", "description": "Keys, their versions and their use" },
            { "name": "audit", "description": "The audit trail" },
            { "name": "policies", "description": "Policies and their decisions" },
            { "name": "system", "description": "The hub itself" },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "chk_<id>_<secret>_<checksum>",
                    "description": "An API key issued to a participant",
                },
            },
            "responses": {
                "Problem": {
                    "description": format!("A problem document (RFC 9457). Codes: {}", codes.join(", ")),
                    "content": { problem_media(): {
                        "schema": { "$ref": "#/components/schemas/Problem" }
                    } },
                },
            },
        },
    })
}

const fn problem_media() -> &'static str {
    hub_model::api::problem::MEDIA_TYPE
}

fn add(schemas: &mut BTreeMap<String, Value>, of: SchemaOf) -> String {
    let named = of();
    let mut put = |name: String, schema: RefOr<Schema>| {
        schemas.entry(name).or_insert_with(|| serde_json::to_value(schema).unwrap_or_default());
    };
    for (name, schema) in named.others {
        put(name, schema);
    }
    put(named.name.clone(), named.schema);
    named.name
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn operation(row: &Route, schemas: &mut BTreeMap<String, Value>) -> Value {
    let tag = row.operation_id.split('.').next().unwrap_or_default();
    let mut success = json!({ "description": "Done" });
    if let Some(response) = row.response {
        let name = add(schemas, response);
        success = json!({
            "description": "Done",
            "content": { media(row): { "schema": reference(&name) } },
        });
    }
    if row.operation_id.starts_with("audit.export") {
        success = json!({
            "description": "Files in blocks (docs/formats/audit-export.md). A connection that \
                breaks off before the block `end` means failure",
            "content": { crate::exporting::EXPORT: { "schema": {
                "type": "string", "format": "binary",
            } } },
        });
    }
    if row.body == Body::Stream {
        success = json!({
            "description": "The bytes, as they are made. A connection that breaks off before the \
                end of the body means failure: what came until then is not the whole",
            "content": { "application/octet-stream": { "schema": {
                "type": "string", "format": "binary",
            } } },
        });
    }
    if let Some(media) = crate::proofs::media(row.operation_id) {
        success = json!({
            "description": "Done",
            "content": { media: { "schema": { "type": "string", "format": "binary" } } },
        });
    }
    let mut operation = json!({
        "operationId": row.operation_id,
        "tags": [tag],
        "summary": row.action.summary(),
        "parameters": parameters(row),
        "responses": {
            row.success.as_str(): success,
            "4XX": { "$ref": "#/components/responses/Problem" },
            "5XX": { "$ref": "#/components/responses/Problem" },
        },
    });
    if let (Some(request), Some(object)) = (row.request, operation.as_object_mut()) {
        let name = add(schemas, request);
        let media = if row.method == http::Method::PATCH {
            "application/merge-patch+json"
        } else {
            media(row)
        };
        object.insert(
            "requestBody".to_owned(),
            json!({
                "required": row.body != Body::JsonOrNothing,
                "content": { media: { "schema": reference(&name) } },
            }),
        );
    }
    if let (Body::Wasm, Some(object)) = (row.body, operation.as_object_mut()) {
        object.insert(
            "requestBody".to_owned(),
            json!({
                "required": true,
                "content": { crate::catalogue::WASM: { "schema": {
                    "type": "string", "format": "binary",
                } } },
            }),
        );
    }
    if let (Body::Stream, Some(object)) = (row.body, operation.as_object_mut()) {
        object.insert(
            "requestBody".to_owned(),
            json!({
                "required": true,
                "content": { "application/octet-stream": { "schema": {
                    "type": "string", "format": "binary",
                } } },
            }),
        );
    }
    operation
}

/// The media type of bodies that have a schema.
fn media(row: &Route) -> &'static str {
    match row.body {
        Body::Lines => crate::rewrapping::LINES,
        _ if row.path.ends_with("/events") && row.operation_id == "operations.events" => {
            "text/event-stream"
        }
        _ => "application/json",
    }
}

fn parameters(row: &Route) -> Vec<Value> {
    let names = row.path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let mut parameters: Vec<Value> = names
        .map(|(name, _)| {
            json!({
                "name": name.trim_start_matches('*'),
                "in": "path",
                "required": true,
                "schema": { "type": if name == "version" { "integer" } else { "string" } },
            })
        })
        .collect();
    let mut query: Vec<&str> = row.query.to_vec();
    if row.dry_run {
        query.push("dryRun");
    }
    for name in query {
        let kind = match name {
            "dryRun" => json!({ "type": "boolean" }),
            "needsRewrap" | "forget" | "activate" => json!({ "type": "boolean" }),
            "pageToken" | "context" | "wait" => json!({ "type": "string" }),
            "format" if row.operation_id.ends_with(".export") => {
                json!({ "type": "string", "enum": ["jsonl", "csv", "cef", "ocsf"] })
            }
            "registration" | "participant" | "caller" | "callerRegistration" | "key" | "action"
            | "outcome" | "request" | "trace" | "operation" | "credential" => {
                json!({ "type": "string" })
            }
            "decision" => json!({ "type": "string", "enum": ["allow", "deny", "none"] }),
            "order" => json!({ "type": "string", "enum": ["desc", "asc"] }),
            "from" | "to" if row.operation_id != "audit.consistency" => {
                json!({ "type": "string", "format": "date-time" })
            }
            _ => json!({ "type": "integer", "minimum": 0 }),
        };
        parameters.push(json!({ "name": name, "in": "query", "schema": kind }));
    }
    if row.body == Body::Stream {
        parameters.push(json!({
            "name": "Cipher-Hub-Context", "in": "header",
            "description": "The encryption context: base64 of a JSON object of strings",
            "schema": { "type": "string" },
        }));
    }
    if row.if_match {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": true,
            "description": "The ETag of the version you have seen",
            "schema": { "type": "string" },
        }));
    }
    if row.keeps != Keeps::Nothing {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "description": "Makes a repetition give the first answer, for 24 hours",
            "schema": { "type": "string", "maxLength": 128 },
        }));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap();
        let generated = format!("{}\n", serde_json::to_string_pretty(&document()).unwrap());
        assert!(committed == generated, "run: cipher-hub openapi > api/openapi.json");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(target)) = map.get("$ref") {
                        let pointer = target.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{target}");
                    }
                    map.values().for_each(|value| walk(value, document));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, document)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
    }
}
