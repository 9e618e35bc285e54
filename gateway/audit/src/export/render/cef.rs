//! ArcSight Common Event Format, version 0 (Micro Focus, "Implementing ArcSight CEF", revision 25).

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{is_unsafe, millis, text};

pub(super) fn line(members: &Map<String, Value>, hub: &str, out: &mut Vec<u8>) {
    let (action, outcome) = (text(members, "action"), text(members, "outcome"));
    let severity = match (action.as_str(), outcome.as_str()) {
        (action, _) if action.starts_with("abuse.") => 8,
        ("authenticate", _) | (_, "denied") => 6,
        (_, "ok" | "shadow") => 3,
        _ => 5,
    };
    let name = format!("{action} {outcome}");
    let version = env!("CARGO_PKG_VERSION");
    let mut line = format!(
        "CEF:0|Cipher Hub|cipher-hub|{version}|{}|{}|{severity}|",
        header(&action),
        header(&name)
    );
    let mut pairs: Vec<(&str, String)> = vec![
        ("rt", millis(members).to_string()),
        ("externalId", text(members, "seq")),
        ("deviceExternalId", hub.to_owned()),
        ("act", action),
        ("outcome", outcome),
        ("suser", text(members, "caller")),
    ];
    let address = text(members, "address");
    match address.parse() {
        Ok(IpAddr::V4(_)) => pairs.push(("src", address)),
        Ok(IpAddr::V6(_)) => {
            pairs.push(("c6a2Label", "Source IPv6 Address".to_owned()));
            pairs.push(("c6a2", address));
        }
        // `unix`, or the hash of an address.
        Err(_) => pairs.push(("shost", address)),
    }
    for (key, label, member) in [
        ("cs1", "registration", "registration"),
        ("cs2", "key", "key"),
        ("cs3", "policies", "policies"),
        ("cs4", "request", "request"),
        ("cs5", "context", "context"),
        ("cs6", "decision", "decision"),
        ("cn1", "keyVersion", "version"),
    ] {
        let value = text(members, member);
        if !value.is_empty() {
            pairs.push((key, value));
            pairs.push((label_of(key), label.to_owned()));
        }
    }
    for (key, member) in [
        ("duser", "participant"),
        ("reason", "detail"),
        ("cnt", "count"),
        ("in", "payloadBytes"),
        ("requestContext", "trace"),
    ] {
        pairs.push((key, text(members, member)));
    }
    let shown = pairs.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> =
        shown.map(|(key, value)| format!("{key}={}", extension(value))).collect();
    line.push_str(&pairs.join(" "));
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

const fn label_of(key: &str) -> &'static str {
    match key.as_bytes() {
        b"cs1" => "cs1Label",
        b"cs2" => "cs2Label",
        b"cs3" => "cs3Label",
        b"cs4" => "cs4Label",
        b"cs5" => "cs5Label",
        b"cs6" => "cs6Label",
        _ => "cn1Label",
    }
}

/// In the header `\` and `|` are escaped; a line end is not possible.
fn header(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' => out.extend(['\\', c]),
            c if is_unsafe(c) => out.push_str(&format!("\\\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// In a value `\`, `=` and line ends are escaped.
fn extension(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '=' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if is_unsafe(c) => out.push_str(&format!("\\\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}
