//! Sends audit entries as syslog lines (RFC 5424) over HTTP. `README.md` says how.

use std::fmt::Write as _;

use cipher_hub_plugin::http::Request;
use cipher_hub_plugin::json::{hex, push_replaced};
use cipher_hub_plugin::sink::{
    self, AuditSink, Batch, Chunks, Delivery, Entry, Outbound, Outcome, post, reach,
};
use cipher_hub_plugin::{Config, Error, Result};

#[derive(Debug)]
struct Syslog {
    endpoint: String,
    path: String,
    chunks: Chunks,
    facility: u8,
    hostname: String,
    app: String,
    enterprise: u32,
    counted: bool,
}

impl AuditSink for Syslog {
    fn new(config: &Config) -> Result<Self> {
        let facility = config.parsed("facility", "a facility such as `audit`", facility)?;
        let framing = |word: &str| match word {
            "lines" => Some(false),
            "octet-counting" => Some(true),
            _ => None,
        };
        Ok(Self {
            endpoint: config.text_or("endpoint", "relay").to_owned(),
            path: config.text_or("path", "").to_owned(),
            chunks: Chunks {
                entries: config.integer("entries")?.unwrap_or(500),
                bytes: config.integer("bytes")?.unwrap_or(1 << 20),
            },
            facility: facility.unwrap_or(13),
            hostname: word(config, "hostname", "-", 255)?,
            app: word(config, "app", "cipher-hub", 48)?,
            enterprise: config.integer("enterprise")?.unwrap_or(32473),
            counted: config.parsed("framing", "`lines` or `octet-counting`", framing)?
                == Some(true),
        })
    }

    fn deliver(&self, batch: &Batch, outside: &mut dyn Outbound) -> Result<Delivery> {
        let request = |entries: &[Entry]| self.request(entries);
        post(outside, &self.endpoint, batch, self.chunks, request)
    }

    fn probe(&self, outside: &mut dyn Outbound) -> Result<()> {
        reach(outside, &self.endpoint, &self.request(&[]))
    }
}

impl Syslog {
    fn request(&self, entries: &[Entry]) -> Request {
        let size: usize = entries.iter().map(|entry| entry.json.len() + 500).sum();
        let mut body = String::with_capacity(size);
        let mut line = String::new();
        for entry in entries {
            if self.counted {
                line.clear();
                self.line(&mut line, entry);
                // Writing to a string does not fail.
                let _ = write!(body, "{} {line}", line.len());
            } else {
                self.line(&mut body, entry);
                body.push('\n');
            }
        }
        Request::post(self.path.as_str(), "text/plain; charset=utf-8", body)
    }

    /// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [STRUCTURED-DATA] MSG`
    fn line(&self, line: &mut String, entry: &Entry) {
        let severity = match entry.outcome {
            Outcome::Success => 6,
            Outcome::Denied => 4,
            Outcome::Failure => 3,
        };
        // Writing to a string does not fail.
        let _ = write!(
            line,
            "<{}>1 {} {} {} - {} [audit@{} sequence=\"{}\" outcome=\"{}\" leafHash=\"{}\"",
            u16::from(self.facility) * 8 + severity,
            entry.at,
            self.hostname,
            self.app,
            message_id(&entry.action),
            self.enterprise,
            entry.sequence,
            entry.outcome.name(),
            hex(&entry.leaf_hash),
        );
        for (name, value) in [("actor", &entry.actor), ("registration", &entry.registration)] {
            if let Some(value) = value {
                let _ = write!(line, " {name}=\"");
                push_value(line, value);
                line.push('"');
            }
        }
        line.push_str("] ");
        // Canonical JSON has no line feeds; were there some, they would end the message. What it may
        // have of control characters, U+007F to U+009F, stands in its texts alone: as an escape it
        // is the same JSON, of which the canonical form, and so the leaf hash, can be made again.
        push_replaced(line, &entry.json, begins_control, |out, c| {
            if !c.is_control() {
                out.push(c);
            } else if c < ' ' {
                out.push(' ');
            } else {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        });
    }
}

/// Whether it is a control character, or can be the first byte of one beyond ASCII (U+0080 to U+009F).
const fn begins_control(byte: u8) -> bool {
    byte.is_ascii_control() || byte == 0xc2
}

/// PARAM-VALUE (RFC 5424, §6.3.3).
fn push_value(out: &mut String, value: &str) {
    let special = |byte| matches!(byte, b'"' | b'\\' | b']') || begins_control(byte);
    push_replaced(out, value, special, |out, c| {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    });
}

/// MSGID: at most 32 visible characters of ASCII.
fn message_id(action: &str) -> String {
    let visible = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let id: String = action.chars().map(visible).take(32).collect();
    if id.is_empty() { "-".to_owned() } else { id }
}

fn word(config: &Config, name: &str, default: &str, most: usize) -> Result<String> {
    let text = config.get(name).filter(|text| !text.is_empty()).unwrap_or(default);
    if text.len() > most || !text.chars().all(|c| c.is_ascii_graphic()) {
        let what = format!("`{name}` must be 1 to {most} visible characters of ASCII");
        return Err(Error::invalid(what));
    }
    Ok(text.to_owned())
}

/// RFC 5424, table 1.
fn facility(name: &str) -> Option<u8> {
    match name {
        "auth" => Some(4),
        "authpriv" => Some(10),
        "audit" => Some(13),
        _ => {
            let number: u8 = name.strip_prefix("local")?.parse().ok()?;
            (number < 8).then_some(16 + number)
        }
    }
}

sink::export!(Syslog);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::Fields;
    use cipher_hub_plugin::testing::{Outside, batch, status};

    fn syslog(settings: &[(&str, &str)]) -> Result<Syslog> {
        Syslog::new(&settings.iter().copied().collect())
    }

    fn line(settings: &[(&str, &str)], entry: &Entry) -> String {
        let mut line = String::new();
        syslog(settings).unwrap().line(&mut line, entry);
        line
    }

    #[test]
    fn writes_lines_of_rfc_5424() {
        let mut entry = batch(1).entries.remove(0);
        entry.outcome = Outcome::Failure;
        entry.actor = Some("a\"b]c\\d\n".to_owned());
        entry.registration = None;
        let line = line(&[("hostname", "hub.example"), ("facility", "local7")], &entry);
        let expected = format!(
            "<187>1 2026-11-26T09:00:01Z hub.example cipher-hub - keys.encrypt [audit@32473 \
             sequence=\"1\" outcome=\"failure\" leafHash=\"{}\" actor=\"a\\\"b\\]c\\\\d \"] {{\"seq\":1}}",
            "ab".repeat(32)
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn frames_as_it_was_told() {
        let sent = |settings: &[(&str, &str)]| {
            let mut outside = Outside::new([Ok(status(200))]);
            let delivered = syslog(settings).unwrap().deliver(&batch(2), &mut outside);
            assert_eq!(delivered, Ok(Delivery::Acknowledged(3)));
            String::from_utf8(outside.sent.remove(0).1.body).unwrap()
        };
        let lines = sent(&[]);
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.ends_with("{\"seq\":2}\n"));
        let mut counted = sent(&[("framing", "octet-counting")]);
        for line in lines.lines() {
            let (length, rest) = counted.split_once(' ').unwrap();
            let (frame, rest) = rest.split_at(length.parse().unwrap());
            assert_eq!(frame, line);
            counted = rest.to_owned();
        }
        assert_eq!(counted, "");
    }

    #[test]
    fn no_field_ends_its_line() {
        let mut entry = batch(1).entries.remove(0);
        entry.action = "keys encrypt\n<0>1 forged".to_owned();
        entry.json = "{}\n<0>1 forged".to_owned();
        let line = line(&[], &entry);
        assert!(!line.contains('\n'));
        assert!(line.contains(" keys_encrypt_<0>1_forged [audit@"), "{line}");
    }

    #[test]
    fn the_entry_stays_the_same_json() {
        let mut entry = batch(1).entries.remove(0);
        entry.json = "{\"a\":\"£\u{7f}\u{85}é\u{9f}\u{a0}\"}".to_owned();
        let line = line(&[], &entry);
        let json = line.split_once("] ").unwrap().1;
        assert_eq!(json, "{\"a\":\"£\\u007f\\u0085é\\u009f\u{a0}\"}");
    }

    #[test]
    fn refuses_settings_that_would_break_lines() {
        for wrong in [
            ("hostname", "two words"),
            ("app", "é"),
            ("facility", "local8"),
            ("framing", "x"),
            ("enterprise", "-"),
        ] {
            assert!(matches!(syslog(&[wrong]), Err(Error::InvalidConfig(_))), "{wrong:?}");
        }
        assert!(Syslog::new(&Fields::default()).is_ok());
    }
}
