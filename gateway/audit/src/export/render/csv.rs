//! Comma-separated values (RFC 4180), one entry a record, a record a line.

use serde_json::{Map, Value};

use super::{is_unsafe, text};
use crate::encode::hex;
use crate::merkle::leaf_hash;

/// The columns: members of entries, and the leaf hash by which one finds it in the log.
const COLUMNS: &[&str] = &[
    "seq",
    "time",
    "action",
    "outcome",
    "decision",
    "caller",
    "callerRegistration",
    "credential",
    "identity",
    "address",
    "registration",
    "key",
    "version",
    "participant",
    "detail",
    "context",
    "contextDigest",
    "keyed",
    "policies",
    "revision",
    "entities",
    "beside",
    "payloadBytes",
    "count",
    "dryRun",
    "tls",
    "mutualTls",
    "latency",
    "operation",
    "request",
    "trace",
    "stateDigest",
    "prev",
    "writer",
    "v",
];

pub(super) fn head(out: &mut Vec<u8>) {
    out.extend_from_slice(COLUMNS.join(",").as_bytes());
    out.extend_from_slice(b",hash\r\n");
}

pub(super) fn line(members: &Map<String, Value>, entry: &[u8], out: &mut Vec<u8>) {
    for name in COLUMNS {
        cell(&text(members, name), out);
        out.push(b',');
    }
    out.extend_from_slice(hex(&leaf_hash(entry)).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A cell that no spreadsheet takes for a formula.
fn cell(text: &str, out: &mut Vec<u8>) {
    let mut shown = String::with_capacity(text.len());
    let formula = |c| {
        matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n')
            || matches!(c, '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}')
    };
    // `-` alone is what entries say for no request.
    if text != "-" && text.chars().find(|c| *c != ' ').is_some_and(formula) {
        shown.push('\'');
    }
    for c in text.chars() {
        // A sheet that separates by semicolon would begin a cell there, and take it for a formula.
        if is_unsafe(c) || c == ';' {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    if shown.contains([',', '"', '\'', ' ']) {
        out.push(b'"');
        out.extend_from_slice(shown.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(shown.as_bytes());
    }
}
