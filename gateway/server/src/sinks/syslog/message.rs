//! A message of RFC 5424: everything in it is printable ASCII, so that nothing an entry holds can
//! end a message, begin another or obey a terminal.

use hub_audit::encode::hex;
use hub_audit::relay::Entry;

use super::super::facts::{Facts, Gravity};
use super::super::lines::Lines;

/// The enterprise number that is for documentation (RFC 5612): we have none of our own.
const SD_ID: &str = "audit@32473";

/// Writes messages.
#[derive(Debug)]
pub(super) struct Messages {
    facility: u8,
    host: String,
    process: String,
    hub: String,
    lines: Lines,
}

impl Messages {
    pub(super) fn new(facility: u8, host: &str, process: u32, hub: &str, lines: Lines) -> Self {
        let host = word(host, 255);
        Self { facility, host, process: process.to_string(), hub: hub.to_owned(), lines }
    }

    /// Appends the message of an entry.
    pub(super) fn push(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        self.push_head(entry, out);
        self.lines.push_ascii(entry.bytes, out);
    }

    /// The message of an entry that does not fit: it names the entry by sequence and leaf hash.
    pub(super) fn push_stub(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        self.push_head(entry, out);
        let size = entry.bytes.len();
        out.extend_from_slice(
            format!("{{\"omittedBytes\":{size},\"seq\":{}}}", entry.seq).as_bytes(),
        );
    }

    /// Header and structured data (RFC 5424 §6.2, §6.3), and the space before the message.
    fn push_head(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        let facts = Facts::of(entry);
        let severity = match facts.gravity() {
            Gravity::Warning => 4,
            Gravity::Notice => 5,
            Gravity::Info => 6,
        };
        let priority = u16::from(self.facility) * 8 + severity;
        // RFC 3339 in UTC with six digits, as §6.2.3 allows; what is none is not given on.
        let time = Some(&facts.time)
            .filter(|time| time.len() <= 32 && time.parse::<hub_model::Timestamp>().is_ok());
        let time = time.map_or("-", String::as_str);
        let (host, process) = (&self.host, &self.process);
        let kind = word(&facts.action, 32);
        let head = format!("<{priority}>1 {time} {host} cipher-hub {process} {kind} [{SD_ID}");
        out.extend_from_slice(head.as_bytes());
        let seq = entry.seq.to_string();
        let leaf = hex(entry.leaf);
        for (name, value) in [
            ("hub", Some(&self.hub)),
            ("writer", Some(&facts.writer)),
            ("seq", Some(&seq)),
            ("leaf", Some(&leaf)),
            ("action", Some(&facts.action)),
            ("outcome", Some(&facts.outcome)),
            ("decision", Some(&facts.decision)),
            ("address", Some(&facts.address)),
            ("caller", facts.caller.as_ref()),
            ("registration", facts.registration.as_ref()),
            ("key", facts.key.as_ref()),
        ] {
            let Some(value) = value else { continue };
            out.extend_from_slice(format!(" {name}=\"").as_bytes());
            push_value(value, out);
            out.push(b'"');
        }
        out.extend_from_slice(b"] ");
    }
}

/// A value of structured data: `"`, `\` and `]` escaped (§6.3.3), what is not printable ASCII as `?`.
fn push_value(value: &str, out: &mut Vec<u8>) {
    for character in value.chars().take(256) {
        match character {
            '"' | '\\' | ']' => {
                out.push(b'\\');
                out.push(u8::try_from(character).unwrap_or(b'?'));
            }
            ' '..='~' => out.push(u8::try_from(character).unwrap_or(b'?')),
            _ => out.push(b'?'),
        }
    }
}

/// A word of the header: printable ASCII without spaces, `-` where nothing is left.
fn word(text: &str, most: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use hub_audit::relay::Batch;

    use super::*;
    use crate::config::SinkFormat;

    fn json() -> Lines {
        Lines::new(SinkFormat::Json, "hub_1")
    }

    fn render(bytes: &[u8]) -> String {
        let messages = Messages::new(13, "host\n name", 42, "hub_1", json());
        let batch = Batch::of(9, &[bytes]);
        let mut out = Vec::new();
        messages.push(&batch.entries().next().unwrap(), &mut out);
        assert!(out.iter().all(|byte| (0x20..0x7f).contains(byte)), "{out:?}");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_has_every_part() {
        let entry = r#"{"action":"keys.encrypt","address":"unix","decision":"allow","outcome":"ok","request":"r","seq":9,"time":"2026-11-26T05:00:00.123456Z","writer":"main"}"#;
        let text = render(entry.as_bytes());
        let head = "<110>1 2026-11-26T05:00:00.123456Z hostname cipher-hub 42 keys.encrypt \
                    [audit@32473 hub=\"hub_1\" writer=\"main\" seq=\"9\" leaf=\"";
        assert!(text.starts_with(head), "{text}");
        assert!(text.ends_with(&format!(" address=\"unix\"] {entry}")), "{text}");
    }

    #[test]
    fn nothing_in_an_entry_ends_its_place() {
        let evil = "x\"] <0>1 - - - - - - forged\\\u{1b}[2J\u{9b}31m\r\n\u{0}\u{7f}\u{202e}é";
        let entry = serde_json::json!({
            "action": evil, "address": evil, "caller": evil, "decision": evil, "outcome": evil,
            "registration": evil, "key": evil, "time": evil, "writer": evil,
        });
        let entry = serde_json::to_vec(&entry).unwrap();
        let text = render(&entry);
        let mut fields = text.splitn(7, ' ');
        assert_eq!(fields.next(), Some("<109>1"));
        assert_eq!(fields.next(), Some("-"), "a time that is none is not given on");
        let rest = fields.nth(4).unwrap();
        // The structured data ends at the first bracket that is not escaped.
        let mut escaped = false;
        let end = rest
            .find(|c| {
                let ends = c == ']' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })
            .unwrap();
        let message: serde_json::Value = serde_json::from_str(&rest[end + 2..]).unwrap();
        assert_eq!(message["caller"], evil, "the message says the same as the entry");
    }

    #[test]
    fn what_is_no_entry_is_sent_all_the_same() {
        let text = render(b"\xff\n{");
        assert!(text.starts_with("<110>1 - hostname cipher-hub 42 - ["), "{text}");
        assert!(text.ends_with("\\ufffd\\u000a{"), "{text}");
    }

    #[test]
    fn a_stub_names_what_it_stands_for() {
        let messages = Messages::new(0, "", 1, "h", json());
        let batch = Batch::of(9, &[b"{}"]);
        let mut out = Vec::new();
        messages.push_stub(&batch.entries().next().unwrap(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("<6>1 - - cipher-hub 1 - [audit@32473 hub=\"h\""), "{text}");
        assert!(text.ends_with("] {\"omittedBytes\":2,\"seq\":9}"), "{text}");
    }
}
