//! Times without a clock and without a time zone database: the hub says what time it is, and which
//! offsets from UTC a zone has.

mod calendar;
mod civil;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

pub use calendar::{Calendar, Transition};
pub use civil::{Date, Time, Weekday};

/// A day, where no zone makes it longer or shorter.
pub const DAY: Duration = Duration::from_secs(86_400);

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last one there is: the end of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// This many milliseconds after the Unix epoch, [`Timestamp::MAX`] at most.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Reads RFC 3339: `2026-12-01T02:00:00Z`, `2026-12-01T03:00:00.5+01:00`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let zone = rest.find(['Z', 'z', '+', '-'])?;
        let (clock, zone) = rest.split_at_checked(zone)?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) || clock.len() != 8
        {
            return None;
        }
        let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        let offset = match zone.strip_prefix(['+', '-']) {
            None if zone.len() == 1 => 0,
            None => return None,
            Some(of) if of.len() == 5 => {
                let seconds = i64::from(Time::parse(of)?.seconds());
                if zone.starts_with('-') { -seconds } else { seconds }
            }
            Some(_) => return None,
        };
        let day = Date::parse(date)?.days();
        let seconds = day * 86_400 + i64::from(Time::parse(clock)?.seconds()) - offset;
        let millis = u64::try_from(seconds * 1000 + millis).ok()?;
        (millis <= Self::MAX.0).then_some(Self(millis))
    }

    /// How long after `earlier` this is; nothing if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Ends at [`Timestamp::MAX`].
    fn add(self, length: Duration) -> Self {
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Ends at the epoch.
    fn sub(self, length: Duration) -> Self {
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC; with three digits of a second's fraction where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = Calendar::utc().local(*self);
        write!(f, "{date}T{time}")?;
        match self.0 % 1000 {
            0 => f.write_str("Z"),
            millis => write!(f, ".{millis:03}Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_rfc_3339() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-12-01T02:00:00Z", 1_796_090_400_000),
            ("2024-02-29T23:59:59.250Z", 1_709_251_199_250),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp(millis)), "{text}");
            assert_eq!(Timestamp(millis).to_string(), text);
        }
        let other = Timestamp::parse("2026-12-01T03:30:00.0000+01:30");
        assert_eq!(other, Some(Timestamp(1_796_090_400_000)));
        for bad in [
            "",
            "2026-12-01",
            "2026-12-01T02:00Z",
            "2026-13-01T02:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T02:00:00",
            "2026-12-01T02:00:00.Z",
            "1969-12-31T23:59:59Z",
            "2026-12-01T02:00:00Zz",
            "2026-12-01T02:00:00+0100",
            "täglich 12:00",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn stays_within_bounds() {
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp(5) - DAY, Timestamp(0));
        assert_eq!(Timestamp(5).since(Timestamp(7)), Duration::ZERO);
    }
}
