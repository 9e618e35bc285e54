//! Names with values: settings, parameters, tags, encryption contexts.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use crate::{Error, Result};

/// Names with values, ascending by name. The host has checked settings and parameters against the
/// manifest and filled in its defaults; the getters here turn text into types, and say which setting
/// is wrong where the manifest could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

/// The operator's settings of this plugin.
pub type Config = Fields;

/// What a rotation policy or a request to derive says to this plugin.
pub type Parameters = Fields;

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Fields {
    /// Of fields with the same name the last counts.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let all: BTreeMap<String, String> =
            fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self(all.into_iter().collect())
    }
}

impl<N: Into<String>, V: Into<String>, const K: usize> From<[(N, V); K]> for Fields {
    fn from(fields: [(N, V); K]) -> Self {
        fields.into_iter().collect()
    }
}

impl Fields {
    /// The value, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All of them, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A text that has to be there, and not be empty.
    ///
    /// # Errors
    /// It is missing or empty.
    pub fn text(&self, name: &str) -> Result<&str> {
        self.get(name).filter(|v| !v.is_empty()).ok_or_else(|| missing(name))
    }

    /// A text, or what is taken in its place.
    #[must_use]
    pub fn text_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.get(name).unwrap_or(default)
    }

    /// An integer, if it is there.
    ///
    /// # Errors
    /// It is not an integer of this type.
    pub fn integer<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.parsed(name, "an integer in range", |v| v.parse().ok())
    }

    /// `true` or `false`, if it is there.
    ///
    /// # Errors
    /// It is neither.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        self.parsed(name, "`true` or `false`", |v| v.parse().ok())
    }

    /// A length of time, if it is there; see [`duration`] for how it is written.
    ///
    /// # Errors
    /// It is not one.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>> {
        self.parsed(name, "a length of time such as `P7D`, `90d` or `30s`", duration)
    }

    /// Words separated by commas or white space; none where it is absent.
    pub fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        let text = self.get(name).unwrap_or_default();
        text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty())
    }

    /// A value of a type of one's own.
    ///
    /// # Errors
    /// `read` says no: the message says that `what` was expected.
    pub fn parsed<T>(
        &self,
        name: &str,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(name).filter(|v| !v.is_empty()) else { return Ok(None) };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::invalid(format!("`{name}` must be {what}, not `{value}`"))),
        }
    }
}

fn missing(name: &str) -> Error {
    Error::invalid(format!("`{name}` is missing"))
}

/// Reads a length of time: ISO 8601 in weeks, days, hours, minutes and seconds (`P7D`, `PT1H30M`), a
/// number with a unit of `us`, `ms`, `s`, `m`, `h`, `d` or `w` (`90d`), or milliseconds (`1500`). Months and
/// years have no fixed length and are not read, except `P1Y` for 365 days, and the like.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let millis = match text.strip_prefix('P') {
        Some(rest) => iso(rest)?,
        None if text.ends_with("us") => {
            return text.strip_suffix("us")?.parse().ok().map(Duration::from_micros);
        }
        None => {
            let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(match unit {
                "" | "ms" => 1,
                "s" => 1000,
                "m" => MINUTE,
                "h" => HOUR,
                "d" => DAY,
                "w" => 7 * DAY,
                _ => return None,
            })?
        }
    };
    Some(Duration::from_millis(millis))
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn iso(text: &str) -> Option<u64> {
    let (days, clock) = match text.split_once('T') {
        Some((days, clock)) if !clock.is_empty() => (days, clock),
        Some(_) => return None,
        None if text.is_empty() => return None,
        None => (text, ""),
    };
    let mut sum = 0_u64;
    for (part, units) in [
        (days, [('Y', 365 * DAY), ('W', 7 * DAY), ('D', DAY)]),
        (clock, [('H', HOUR), ('M', MINUTE), ('S', 1000)]),
    ] {
        let (mut rest, mut units) = (part, units.into_iter());
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let mut tail = tail.chars();
            let unit = tail.next()?;
            // The iterator goes on, so that no unit comes twice or out of order.
            let (_, factor) = units.find(|(letter, _)| *letter == unit)?;
            sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
            rest = tail.as_str();
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lengths_of_time() {
        for (text, millis) in [
            ("1500", 1500),
            ("10ms", 10),
            ("30s", 30_000),
            ("15m", 15 * MINUTE),
            ("12h", 12 * HOUR),
            ("90d", 90 * DAY),
            ("P7D", 7 * DAY),
            ("P2W", 14 * DAY),
            ("PT1H30M", 90 * MINUTE),
            ("P1DT1S", DAY + 1000),
            ("P1Y", 365 * DAY),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "d", "P", "PT", "P1M", "P1D1D", "PT1S1H", "-1d", "1.5h", "1 d", "PD", "10x"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn reads_microseconds() {
        assert_eq!(duration("250us"), Some(Duration::from_micros(250)));
        assert_eq!(duration("us"), None);
    }

    #[test]
    fn names_the_setting_that_is_wrong() {
        let fields = Fields::from([("days", "seven"), ("list", "a, b\nc,,"), ("empty", "")]);
        let error = fields.integer::<u8>("days").unwrap_err();
        assert_eq!(error, Error::invalid("`days` must be an integer in range, not `seven`"));
        assert_eq!(fields.words("list").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(fields.text("empty"), Err(Error::invalid("`empty` is missing")));
        assert_eq!(fields.integer::<u8>("absent"), Ok(None));
    }
}
