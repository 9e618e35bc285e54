//! What sinks that do not send an entry as it is say about it.

use hub_audit::relay::Entry;
use serde::Deserialize;

/// The members of an entry that receivers index (`docs/formats/audit.md`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Facts {
    pub(super) action: String,
    pub(super) address: String,
    pub(super) caller: Option<String>,
    pub(super) decision: String,
    pub(super) key: Option<String>,
    pub(super) outcome: String,
    pub(super) registration: Option<String>,
    pub(super) request: String,
    pub(super) time: String,
    pub(super) trace: Option<String>,
    pub(super) writer: String,
}

/// How grave an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gravity {
    /// It was done.
    Info,
    /// It was not done.
    Notice,
    /// It was denied, or is unusual.
    Warning,
}

impl Facts {
    /// Of an entry; one that cannot be read says nothing here and is sent all the same.
    pub(super) fn of(entry: &Entry<'_>) -> Self {
        serde_json::from_slice(entry.bytes).unwrap_or_default()
    }

    pub(super) fn gravity(&self) -> Gravity {
        let unusual = ["abuse.", "throttle.", "sinks.behind", "sinks.dropped"];
        if self.outcome == "denied" || unusual.iter().any(|begin| self.action.starts_with(begin)) {
            Gravity::Warning
        } else if matches!(self.outcome.as_str(), "ok" | "shadow" | "") {
            Gravity::Info
        } else {
            Gravity::Notice
        }
    }
}

/// JSON in ASCII alone: every other character as its escape, which says the same.
pub(super) fn push_ascii(json: &[u8], out: &mut Vec<u8>) {
    if json.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        out.extend_from_slice(json);
        return;
    }
    for character in String::from_utf8_lossy(json).chars() {
        if matches!(character, ' '..='~') {
            out.push(u8::try_from(character).unwrap_or(b'?'));
            continue;
        }
        let mut units = [0; 2];
        for unit in character.encode_utf16(&mut units) {
            out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_say_the_same() {
        let text = "{\"a\":\"é\u{7f}\u{9b}\u{202e}😀\"}";
        let mut ascii = Vec::new();
        push_ascii(text.as_bytes(), &mut ascii);
        assert!(ascii.iter().all(u8::is_ascii_graphic), "{ascii:?}");
        let value: serde_json::Value = serde_json::from_slice(&ascii).unwrap();
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }

    #[test]
    fn gravity_follows_the_outcome() {
        for (action, outcome, gravity) in [
            ("keys.encrypt", "ok", Gravity::Info),
            ("keys.encrypt", "denied", Gravity::Warning),
            ("keys.encrypt", "not_found", Gravity::Notice),
            ("abuse.guessing", "ok", Gravity::Warning),
        ] {
            let (action, outcome) = (action.to_owned(), outcome.to_owned());
            assert_eq!(Facts { action, outcome, ..Facts::default() }.gravity(), gravity);
        }
    }
}
