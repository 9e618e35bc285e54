//! Time zones by name, and the one instant that a wall clock's time stands for.
//!
//! The zones are those compiled into the program, never the machine's: every node of a cluster and
//! every restart of the same build must find the same dates.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::Error;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The name of a time zone of the IANA database, such as `Europe/Zurich`.
///
/// Only the shape of the name is checked when it is read, so that a stored record stays readable
/// whatever the compiled-in database holds; [`Zone::is_known`] says the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(String);

impl Zone {
    /// Universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self("UTC".to_owned())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether the compiled-in database has it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        ZONES.get(&self.0).is_ok()
    }

    /// Its rules; those of UTC when the database does not have it, since a rotation some hours off
    /// is better than none.
    pub(super) fn rules(&self) -> TimeZone {
        ZONES.get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

/// The one instant for a wall clock's time: the first of the two when the hour is repeated, and the
/// moment the clock is put forward when the time is skipped.
///
/// INVARIANT: a later wall time never gives an earlier instant; `Schedule::next` relies on it.
pub(super) fn instant(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            // As if the clock had not been put forward: at or after the moment it was.
            let late = before.to_timestamp(wall).ok()?;
            let just_after = Timestamp::from_microsecond(late.as_microsecond() + 1).ok()?;
            zone.preceding(just_after).next().map(|change| change.timestamp())
        }
    }
}

impl FromStr for Zone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let shaped = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-/".contains(&b));
        if !shaped {
            let text: String = text.chars().take(64).collect();
            return Err(Error::Schedule(format!("`{text}` is not the name of a time zone")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn zones_come_with_the_program() {
        for name in ["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe"] {
            let zone: Zone = name.parse().unwrap();
            assert!(zone.is_known(), "{name}");
        }
        let lost: Zone = "Mars/Olympus_Mons".parse().unwrap();
        assert!(!lost.is_known());
        assert_eq!(lost.rules(), TimeZone::UTC);
        for bad in ["", "Europe Zurich", "../../etc/passwd", &"a".repeat(65)] {
            assert!(bad.parse::<Zone>().is_err() || bad.starts_with('.'), "{bad:?}");
        }
    }

    #[test]
    fn skipped_and_repeated_times_are_one_instant_each() {
        let zurich = "Europe/Zurich".parse::<Zone>().unwrap().rules();
        let at = |wall| instant(&zurich, wall).unwrap().to_string();
        let skipped = date(2026, 3, 29);
        assert_eq!(at(skipped.at(1, 59, 0, 0)), "2026-03-29T00:59:00Z");
        assert_eq!(at(skipped.at(2, 0, 0, 0)), "2026-03-29T01:00:00Z");
        assert_eq!(at(skipped.at(2, 59, 0, 0)), "2026-03-29T01:00:00Z");
        assert_eq!(at(skipped.at(3, 0, 0, 0)), "2026-03-29T01:00:00Z");
        assert_eq!(at(skipped.at(3, 1, 0, 0)), "2026-03-29T01:01:00Z");
        let repeated = date(2026, 10, 25);
        assert_eq!(at(repeated.at(2, 30, 0, 0)), "2026-10-25T00:30:00Z");
        assert_eq!(at(repeated.at(3, 0, 0, 0)), "2026-10-25T02:00:00Z");
        // Far ahead, where the database holds a rule instead of dates.
        assert_eq!(at(date(2090, 3, 26).at(2, 30, 0, 0)), "2090-03-26T01:00:00Z");
    }
}
