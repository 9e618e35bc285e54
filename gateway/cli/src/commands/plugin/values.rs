//! Values in cases: instants, lengths of time and bytes, each in the forms that people write.

use std::time::Duration;

use hub_model::secret::{decode_base64, encode_base64};
use hub_model::{Period, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Value, json};

/// An instant: RFC 3339, or milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant(pub(super) Timestamp);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        instant(&Value::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// Reads an instant.
pub(super) fn instant(value: &Value) -> Result<Timestamp, String> {
    let bad = || format!("{value} is no time such as \"2026-12-01T02:00:00Z\"");
    match value {
        Value::String(text) => text.parse().map_err(|_| bad()),
        Value::Number(number) => number
            .as_i64()
            .and_then(|millis| millis.checked_mul(1000))
            .map(Timestamp::from_micros)
            .ok_or_else(bad),
        _ => Err(bad()),
    }
}

/// Writes an instant: to the millisecond, which is all that plugins know.
pub(super) fn instant_text(at: Timestamp) -> String {
    let text = at.to_string();
    let (seconds, fraction) = text.split_once('.').unwrap_or((text.trim_end_matches('Z'), "0Z"));
    match fraction.get(..3) {
        Some(millis) if millis.bytes().any(|b| b != b'0') => format!("{seconds}.{millis}Z"),
        _ => format!("{seconds}Z"),
    }
}

/// A length of time: ISO 8601, a number with a unit, or milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Length {
    /// Of the calendar.
    Period(Period),
    /// Exactly.
    Exact(Duration),
}

impl Length {
    /// How long it is from an instant on.
    pub(super) fn from(&self, start: Timestamp) -> Duration {
        match self {
            Self::Exact(length) => *length,
            Self::Period(period) => {
                let end = period.after(start).unwrap_or(Timestamp::MAX);
                let micros = end.as_micros().saturating_sub(start.as_micros());
                Duration::from_micros(u64::try_from(micros).unwrap_or(0))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        length(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Reads a length of time.
pub(super) fn length(value: &Value) -> Result<Length, String> {
    let bad = || format!("{value} is no length of time such as \"P7D\", \"30s\" or 500");
    match value {
        Value::Number(number) => number
            .as_u64()
            .map(|millis| Length::Exact(Duration::from_millis(millis)))
            .ok_or_else(bad),
        Value::String(text) if text.starts_with('P') => {
            text.parse().map(Length::Period).map_err(|_| bad())
        }
        Value::String(text) => short(text).map(Length::Exact).ok_or_else(bad),
        _ => Err(bad()),
    }
}

/// `10ms`, `30s`, `15m`, `12h`, `7d`.
fn short(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

/// A length of time on the command line, down to microseconds.
pub(super) fn short_length(text: &str) -> Result<Duration, String> {
    let micros = text.strip_suffix("us").and_then(|number| number.parse().ok());
    micros
        .map(Duration::from_micros)
        .or_else(|| short(text))
        .filter(|length| !length.is_zero())
        .ok_or_else(|| "expected a number and us, ms, s, m, h or d, such as `5ms`".to_owned())
}

/// Writes a length of time as short as it is exact.
pub(super) fn length_text(length: Duration) -> String {
    let millis = length.as_millis();
    match [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")]
        .into_iter()
        .find(|(unit, _)| millis != 0 && millis.is_multiple_of(*unit))
    {
        Some((unit, word)) => format!("{}{word}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// Microseconds for people.
pub(super) fn micros_text(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{micros} µs"),
        10_000..10_000_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        _ => format!("{} s", micros / 1_000_000),
    }
}

/// Bytes: Base64, `{"hex": …}` or `{"text": …}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytes(&Value::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// Reads bytes.
pub(super) fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    let bad = || "bytes are Base64, {\"hex\": \"…\"} or {\"text\": \"…\"}".to_owned();
    if let Value::String(text) = value {
        return decode_base64(text).map_err(|_| bad());
    }
    let members = value.as_object().filter(|members| members.len() == 1).ok_or_else(bad)?;
    match (members.get("hex").and_then(Value::as_str), members.get("text").and_then(Value::as_str))
    {
        (Some(hex), _) => unhex(hex).ok_or_else(bad),
        (_, Some(text)) => Ok(text.as_bytes().to_vec()),
        _ => Err(bad()),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Writes bytes: as text where they are printable, else in Base64.
pub(super) fn bytes_value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && !text.contains(|c: char| c.is_control()) => {
            json!({ "text": text })
        }
        _ => Value::String(encode_base64(bytes)),
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_lengths_have_several_forms() {
        let at = instant(&json!("2026-12-01T02:00:00Z")).unwrap();
        assert_eq!(instant(&json!(at.as_micros() / 1000)).unwrap(), at);
        assert_eq!(instant_text(at), "2026-12-01T02:00:00Z");
        assert_eq!(instant_text(Timestamp::from_micros(1_500_999)), "1970-01-01T00:00:01.500Z");
        for bad in [json!("tomorrow"), json!(1.5), json!(null), json!(i64::MAX)] {
            assert!(instant(&bad).is_err(), "{bad}");
        }
        let of = |value: Value| length(&value).unwrap().from(at);
        assert_eq!(of(json!("P1Y")), Duration::from_secs(365 * 86_400));
        assert_eq!(of(json!("90s")), of(json!(90_000)));
        for bad in [json!("10"), json!("s"), json!("1w"), json!(-1), json!("P"), json!("-1s")] {
            assert!(length(&bad).is_err(), "{bad}");
        }
        assert_eq!(short_length("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(short_length("5ms"), Ok(Duration::from_millis(5)));
        assert!(short_length("0ms").is_err() && short_length("5").is_err());
        for text in ["7d", "12h", "15m", "90s", "1500ms", "0ms"] {
            assert_eq!(length_text(of(json!(text))), text);
        }
    }

    #[test]
    fn bytes_have_three_forms() {
        for same in [json!("aGk="), json!({ "hex": "68 69" }), json!({ "text": "hi" })] {
            assert_eq!(bytes(&same).unwrap(), b"hi");
        }
        for bad in
            [json!("hi!"), json!({ "hex": "6" }), json!({ "hex": "68", "text": "" }), json!(1)]
        {
            assert!(bytes(&bad).is_err(), "{bad}");
        }
        assert_eq!(bytes_value(b"hi"), json!({ "text": "hi" }));
        assert_eq!(bytes(&bytes_value(&[0, 255])).unwrap(), [0, 255]);
    }
}
