//! How an entry looks as a line: as it is stored, or in a form that other tools read.

use hub_audit::export::{Format, Renderer};

use super::facts::push_ascii;
use crate::config::SinkFormat;

/// Writes lines.
#[derive(Debug)]
pub(super) struct Lines {
    format: SinkFormat,
    renderer: Option<Renderer>,
}

impl Lines {
    pub(super) fn new(format: SinkFormat, hub: &str) -> Self {
        let form = match format {
            SinkFormat::Json => None,
            SinkFormat::Cef => Some(Format::Cef),
            SinkFormat::Ocsf => Some(Format::Ocsf),
        };
        Self { format, renderer: form.map(|form| Renderer::new(form, hub)) }
    }

    /// What a body of these lines is.
    pub(super) const fn media_type(&self) -> &'static str {
        match self.format {
            SinkFormat::Json | SinkFormat::Ocsf => "application/x-ndjson",
            SinkFormat::Cef => "text/plain; charset=utf-8",
        }
    }

    /// Appends an entry and the end of its line. What cannot be read as an entry goes as it is: a
    /// line too odd for its receiver is better than none.
    pub(super) fn push(&self, entry: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        if let Some(renderer) = &self.renderer {
            match renderer.entry(entry, out) {
                Ok(()) => return,
                Err(_) => out.truncate(start),
            }
        }
        out.extend_from_slice(entry);
        out.push(b'\n');
    }

    /// Appends an entry in printable ASCII, without an end.
    pub(super) fn push_ascii(&self, entry: &[u8], out: &mut Vec<u8>) {
        if self.format == SinkFormat::Json {
            return push_ascii(entry, out);
        }
        let mut line = Vec::new();
        self.push(entry, &mut line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if self.format == SinkFormat::Ocsf {
            return push_ascii(line, out);
        }
        // CEF has no escape for a character. As in its encoder: an escaped backslash before `u`.
        for character in String::from_utf8_lossy(line).chars() {
            match character {
                ' '..='~' => out.push(u8::try_from(character).unwrap_or(b'?')),
                _ => out.extend_from_slice(format!("\\\\u{:04x}", u32::from(character)).as_bytes()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "{\"action\":\"keys.encrypt\",\"detail\":\"a|b=\u{e9}\u{9b}31m\",\"outcome\":\"ok\",\
                         \"seq\":3,\"time\":\"2026-11-26T05:00:00.123456Z\",\"writer\":\"main\"}";

    fn both(format: SinkFormat, entry: &str) -> (String, String) {
        let lines = Lines::new(format, "hub_1");
        let (mut line, mut ascii) = (Vec::new(), Vec::new());
        lines.push(entry.as_bytes(), &mut line);
        lines.push_ascii(entry.as_bytes(), &mut ascii);
        assert!(ascii.iter().all(|byte| (0x20..0x7f).contains(byte)), "{ascii:?}");
        (String::from_utf8(line).unwrap(), String::from_utf8(ascii).unwrap())
    }

    #[test]
    fn lines_are_what_an_export_has() {
        let (line, _) = both(SinkFormat::Json, ENTRY);
        assert_eq!(line, format!("{ENTRY}\n"));
        let (line, ascii) = both(SinkFormat::Cef, ENTRY);
        assert!(line.starts_with("CEF:0|Cipher Hub|cipher-hub|"), "{line}");
        assert!(line.contains(" deviceExternalId=hub_1 "), "{line}");
        assert!(line.ends_with(" reason=a|b\\=\u{e9}\\\\u009b31m\n"), "{line}");
        assert!(ascii.ends_with(" reason=a|b\\=\\\\u00e9\\\\u009b31m"), "{ascii}");
        let (line, ascii) = both(SinkFormat::Ocsf, ENTRY);
        assert!(line.starts_with("{\"activity_id\":"), "{line}");
        let [line, ascii] =
            [line, ascii].map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap());
        assert_eq!(line, ascii);
        assert_eq!(line["metadata"]["sequence"], 3);
        assert_eq!(line["metadata"]["log_provider"], "hub_1");
    }

    #[test]
    fn what_is_no_entry_is_sent_all_the_same() {
        for format in [SinkFormat::Cef, SinkFormat::Ocsf] {
            assert_eq!(both(format, "{").0, "{\n");
        }
    }
}
