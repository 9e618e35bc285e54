//! Entries as lines for people's tools. What callers wrote (names, contexts, details) becomes inert
//! on the way: no formula of a spreadsheet, no field of a SIEM, no command of a terminal.

mod cef;
mod csv;
mod ocsf;

use serde_json::{Map, Value};

use super::Format;
use crate::Error;

/// Renders entries of one log, for exports and for whoever else sends lines.
#[derive(Debug)]
pub struct Renderer {
    format: Format,
    hub: String,
}

impl Renderer {
    /// For entries of the log with this origin, or of the hub with this ID.
    #[must_use]
    pub fn new(format: Format, origin: &str) -> Self {
        let hub = origin.strip_suffix(".audit").unwrap_or(origin).to_owned();
        Self { format, hub }
    }

    /// What stands before the first entry.
    pub(super) fn head(&self, out: &mut Vec<u8>) {
        if self.format == Format::Csv {
            csv::head(out);
        }
    }

    /// Appends a line.
    ///
    /// # Errors
    /// [`Error::Batch`] when the entry is no JSON object.
    pub fn entry(&self, entry: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if self.format == Format::Jsonl {
            out.extend_from_slice(entry);
            out.push(b'\n');
            return Ok(());
        }
        let bad = |_| Error::Batch("an entry that is no JSON object".to_owned());
        let members: Map<String, Value> = serde_json::from_slice(entry).map_err(bad)?;
        match self.format {
            Format::Jsonl => {}
            Format::Csv => csv::line(&members, entry, out),
            Format::Cef => cef::line(&members, &self.hub, out),
            Format::Ocsf => ocsf::line(members, entry, &self.hub, out),
        }
        Ok(())
    }
}

/// Control characters (C1 too: some terminals obey them), and those that reorder text or end lines.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The text of a member: strings as they are, what else there is as JSON; empty when absent.
fn text(members: &Map<String, Value>, name: &str) -> String {
    match members.get(name) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let words = items.iter().map(|item| match item {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            words.collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    }
}

/// Milliseconds since 1970 of the entry.
fn millis(members: &Map<String, Value>) -> i64 {
    let time = members.get("time").and_then(Value::as_str);
    let time = time.and_then(|text| text.parse::<hub_model::Timestamp>().ok());
    time.map_or(0, hub_model::Timestamp::as_millis)
}

/// The value as JSON with its names in order, whatever order `serde_json` keeps in this build.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<_> = members.keys().collect();
            names.sort();
            let member = |name: &String| {
                let value = members.get(name).map(sorted).unwrap_or_default();
                format!("{}:{value}", Value::String(name.clone()))
            };
            format!("{{{}}}", names.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// JSON with unsafe characters escaped: they can stand inside strings only, where `\u` means the
/// same.
fn json_line(value: &Value, out: &mut Vec<u8>) {
    let mut units = [0; 2];
    for c in sorted(value).chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut units) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "=cmd|' /C calc'!A0\n\r\t\u{7f}\u{9b}31m\u{202e}|x=\\,\"q\"";

    fn entry(detail: &str) -> Vec<u8> {
        let value = serde_json::json!({
            "action": "keys.encrypt", "address": "2001:db8::1", "caller": "apikey:ptc_1",
            "context": { "@sum": detail }, "decision": "allow", "detail": detail, "outcome": "ok",
            "policies": ["role.app", "-x"], "prev": "00", "request": detail, "seq": 3,
            "time": "2026-11-26T05:00:00.123456Z", "v": 1, "writer": "main",
        });
        value.to_string().into_bytes()
    }

    fn rendered(format: Format, detail: &str) -> String {
        let mut out = Vec::new();
        let renderer = Renderer::new(format, "hub_1.audit");
        renderer.entry(&entry(detail), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_callers_wrote_is_inert_in_every_format() {
        for format in [Format::Csv, Format::Cef, Format::Ocsf] {
            let line = rendered(format, EVIL);
            let ending = if format == Format::Csv { "\r\n" } else { "\n" };
            let line = line.strip_suffix(ending).unwrap();
            assert!(!line.chars().any(is_unsafe), "{line:?}");
        }
        let line = rendered(Format::Csv, EVIL);
        assert!(line.contains(",\"'=cmd|"), "{line}");
        assert!(line.contains("\"\"q\"\""), "{line}");
        for start in ["=", "+", "-", "@", "\t", "\r", "\n", "\u{ff1d}"] {
            let line = rendered(Format::Csv, &format!("{start}1"));
            assert!(line.contains(",'") || line.contains(",\"'"), "{line:?}");
        }
        let line = rendered(Format::Cef, EVIL);
        assert!(line.contains("reason=\\=cmd|' /C calc'!A0\\n\\r"), "{line}");
        assert!(line.contains("|x\\=\\\\,"), "{line}");
        assert_eq!(line.split(" reason=").count(), 2);
        let value: Value = serde_json::from_str(&rendered(Format::Ocsf, EVIL)).unwrap();
        assert_eq!(value["unmapped"]["entry"]["detail"], EVIL);
        assert_eq!(value["class_uid"], 6003);
    }

    #[test]
    fn a_pipe_in_a_header_of_cef_is_escaped() {
        let mut members: Map<String, Value> = Map::new();
        members.insert("action".to_owned(), "a|b\\c\nd".into());
        let mut out = Vec::new();
        cef::line(&members, "hub_1", &mut out);
        let line = String::from_utf8(out).unwrap();
        assert!(line.contains("|a\\|b\\\\c\\\\u000ad|"), "{line}");
    }
}
