//! Open Cybersecurity Schema Framework 1.4, one event a line: API Activity (6003) for the use of
//! keys and all reading, Entity Management (3004) for what changes keys, registrations,
//! participants and policies, Authentication (3002) and Authorize Session (3003). The entry itself
//! is in `unmapped`, whole.

use serde_json::{Map, Value, json};

use super::{json_line, millis, text};
use crate::encode::hex;
use crate::merkle::leaf_hash;

/// The class of an action, and the activity in it.
fn class(action: &str) -> (u64, u64) {
    let (noun, verb) = action.split_once('.').unwrap_or((action, ""));
    match (noun, verb) {
        ("authenticate" | "throttle" | "abuse", _) => (3002, if verb.is_empty() { 1 } else { 99 }),
        ("roles", "grant" | "revoke") => (3003, if verb == "grant" { 2 } else { 99 }),
        ("grants", "create" | "delete") => (3003, if verb == "create" { 1 } else { 99 }),
        (
            "keys" | "registrations" | "participants" | "credentials" | "policies" | "quotas"
            | "tokens",
            _,
        ) => match activity(verb) {
            Some(activity) => (3004, activity),
            None => (6003, 99),
        },
        (_, verb) if verb.starts_with("get") || verb.starts_with("list") || verb == "read" => {
            (6003, 2)
        }
        _ => (6003, 99),
    }
}

/// What a verb that changes something does to it.
fn activity(verb: &str) -> Option<u64> {
    Some(match verb {
        "create" | "import" | "importJob" | "issue" | "propose" | "putDataKey" => 1,
        "delete" | "destroy" | "remove" | "revoke" | "deleteDataKey" => 4,
        "get" | "list" | "listVersions" | "getPublicKey" | "getDataKey" | "listDataKeys"
        | "jwks" | "explain" | "validate" | "replay" | "listRevocations" | "useCompromised" => {
            return None;
        }
        "encrypt" | "decrypt" | "rewrap" | "rebind" | "sign" | "verify" | "mac" | "verifyMac"
        | "generateDataKey" | "wrap" | "unwrap" | "derive" | "agree" | "encapsulate"
        | "decapsulate" | "random" | "hash" | "export" => return None,
        _ => 3,
    })
}

pub(super) fn line(members: Map<String, Value>, entry: &[u8], hub: &str, out: &mut Vec<u8>) {
    let (action, outcome) = (text(&members, "action"), text(&members, "outcome"));
    let (class, activity) = class(&action);
    let caller = text(&members, "caller");
    let user = json!({
        "uid": caller.rsplit(':').next().unwrap_or_default(),
        "name": if caller.is_empty() { "-" } else { &caller },
        "org": { "uid": text(&members, "callerRegistration") },
    });
    let ok = matches!(outcome.as_str(), "ok" | "shadow");
    let severity = if ok { 1 } else { if outcome == "denied" { 3 } else { 2 } };
    let mut event = json!({
        "activity_id": activity,
        "actor": { "user": user },
        "category_uid": class / 1000,
        "class_uid": class,
        "message": format!("{action}: {outcome}"),
        "metadata": {
            "correlation_uid": text(&members, "request"),
            "log_name": "audit",
            "log_provider": hub,
            "product": {
                "name": "cipher-hub",
                "vendor_name": "Cipher Hub",
                "version": env!("CARGO_PKG_VERSION"),
            },
            "sequence": members.get("seq").cloned().unwrap_or_default(),
            "uid": hex(&leaf_hash(entry)),
            "version": "1.4.0",
        },
        "severity_id": severity,
        "status_code": outcome,
        "status_id": if ok { 1 } else { 2 },
        "time": millis(&members),
        "type_uid": class * 100 + activity,
    });
    let address = text(&members, "address");
    let parsed = address.parse::<std::net::IpAddr>().is_ok();
    let source = if parsed { json!({ "ip": address }) } else { json!({ "name": address }) };
    let resource = ["key", "participant", "registration"]
        .into_iter()
        .find(|kind| members.contains_key(*kind))
        .map(|kind| json!({ "type": kind, "uid": text(&members, kind) }));
    let more: Vec<(&str, Value)> = match class {
        3002 | 3003 => vec![("user", user), ("src_endpoint", source)],
        3004 => {
            let hub_itself = json!({ "type": "hub", "uid": hub });
            vec![("entity", resource.unwrap_or(hub_itself)), ("src_endpoint", source)]
        }
        _ => {
            let api = json!({
                "operation": action,
                "request": { "uid": text(&members, "request") },
                "service": { "name": "cipher-hub", "uid": hub },
            });
            let resources = Value::Array(resource.into_iter().collect());
            vec![("api", api), ("resources", resources), ("src_endpoint", source)]
        }
    };
    if let Some(object) = event.as_object_mut() {
        object.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        object.insert("unmapped".to_owned(), json!({ "entry": members }));
    }
    json_line(&event, out);
}
