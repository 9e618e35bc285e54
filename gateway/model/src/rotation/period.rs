//! Durations as people write them: ISO 8601, in whole units.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::fmt::temporal::SpanParser;
use jiff::tz::Offset;
use jiff::{Span, SpanFieldwise};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Timestamp};

const DAY: u64 = 86_400;

/// Longest period that is read, in days: 100 years.
const MAX_DAYS: u64 = 36_600;

/// A length of time such as `P30D`, `P1Y6M` or `PT12H`: years, months, weeks, days, hours, minutes
/// and seconds in whole numbers, from zero to 100 years. Years and months are those of the calendar
/// in UTC; the last days of long months become the last day of a shorter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Period(SpanFieldwise);

impl Period {
    /// This many days of 24 hours; at most 36,600.
    #[must_use]
    pub fn days(days: u16) -> Self {
        let days = i64::from(days).min(i64::try_from(MAX_DAYS).unwrap_or(0));
        Self(Span::new().days(days).fieldwise())
    }

    /// The instant this much later; `None` past the end of time.
    #[must_use]
    pub fn after(&self, start: Timestamp) -> Option<Timestamp> {
        let start = jiff::Timestamp::from_microsecond(start.as_micros()).ok()?;
        let end = Offset::UTC.to_datetime(start).checked_add(self.0.0).ok()?;
        let end = Offset::UTC.to_timestamp(end).ok()?;
        Some(Timestamp::from_micros(end.as_microsecond()))
    }

    /// Its shortest possible length: years of 365 days, months of 28.
    #[must_use]
    pub fn at_least(&self) -> Duration {
        self.length(365, 28)
    }

    /// Its longest possible length: years of 366 days, months of 31.
    #[must_use]
    pub fn at_most(&self) -> Duration {
        self.length(366, 31)
    }

    fn length(&self, year: u64, month: u64) -> Duration {
        let span = &self.0.0;
        // INVARIANT: the parser admitted no negative unit.
        let whole = |n: i64| u64::try_from(n).unwrap_or(0);
        let months = whole(span.get_years().into()) * 12 + whole(span.get_months().into());
        let days = (months / 12)
            .saturating_mul(year)
            .saturating_add((months % 12).saturating_mul(month))
            .saturating_add(whole(span.get_weeks().into()).saturating_mul(7))
            .saturating_add(whole(span.get_days().into()));
        let seconds = days
            .saturating_mul(DAY)
            .saturating_add(whole(span.get_hours().into()).saturating_mul(3600))
            .saturating_add(whole(span.get_minutes()).saturating_mul(60))
            .saturating_add(whole(span.get_seconds()));
        Duration::from_secs(seconds)
    }
}

impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Duration(text.chars().take(64).collect());
        // A fraction would be turned into smaller units: the text would not be kept.
        if text.len() > 64 || text.contains(['.', ',']) {
            return Err(refused());
        }
        let span = SpanParser::new().parse_span(text).map_err(|_| refused())?;
        let period = Self(span.fieldwise());
        if span.is_negative() || period.at_most().as_secs() > MAX_DAYS * DAY {
            return Err(refused());
        }
        Ok(period)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.fmt(f)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Period {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::Duration,
            )))
            .description(Some("ISO 8601 duration in whole units, such as `P30D` or `PT12H`."))
            .into()
    }
}

impl utoipa::ToSchema for Period {}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(period: &str, start: &str) -> String {
        let period: Period = period.parse().unwrap();
        period.after(start.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_text_is_kept() {
        for text in ["P30D", "PT12H", "P1Y6M", "P2W", "PT90S", "PT0S", "P100Y", "PT24H"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        assert_eq!(Period::days(30), "P30D".parse().unwrap());
        let json = serde_json::to_string(&Period::days(7)).unwrap();
        assert_eq!(json, "\"P7D\"");
        assert_eq!(serde_json::from_str::<Period>(&json).unwrap(), Period::days(7));
    }

    #[test]
    fn what_is_not_a_whole_forward_duration_is_refused() {
        for text in ["", "P", "30d", "30 days", "-P1D", "PT1.5H", "PT0.5S", "P101Y", "1", "P1D "] {
            assert!(text.parse::<Period>().is_err(), "{text:?}");
        }
        assert!("P".repeat(1000).parse::<Period>().is_err());
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let end = "2027-02-28T10:00:00.000000Z";
        assert_eq!(after("P1M", "2027-01-31T10:00:00Z"), end);
        assert_eq!(after("P1Y", "2028-02-29T00:00:00Z"), "2029-02-28T00:00:00.000000Z");
        assert_eq!(after("P1DT1H", "2026-03-28T23:30:00.5Z"), "2026-03-30T00:30:00.500000Z");
        assert_eq!("P1D".parse::<Period>().unwrap().after(Timestamp::from_micros(i64::MAX)), None);
    }

    #[test]
    fn lengths_enclose_what_the_calendar_gives() {
        for text in ["P1M", "P13M", "P1Y", "P3W2D", "PT36H"] {
            let period: Period = text.parse().unwrap();
            for start in ["2026-01-31T00:00:00Z", "2028-02-01T00:00:00Z", "2027-07-15T12:00:00Z"] {
                let start: Timestamp = start.parse().unwrap();
                let length = period.after(start).unwrap().since(start);
                assert!(period.at_least() <= length && length <= period.at_most(), "{text}");
            }
        }
        assert_eq!("P120M".parse::<Period>().unwrap().at_most().as_secs(), 3660 * DAY);
    }
}
