//! The clock of a time zone, as the hub hands it over.

use super::{Date, Time, Timestamp};

/// A change of a zone's distance from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When it changes.
    pub at: Timestamp,
    /// Seconds east of UTC from then on.
    pub offset_seconds: i32,
}

/// The clock of the time zone that the parameter `zone` names; UTC without one. Covers the policy's
/// `max-interval` from the last rotation on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// The zone's name.
    pub zone: String,
    /// Seconds east of UTC at the last rotation.
    pub offset_seconds: i32,
    /// Ascending.
    pub transitions: Vec<Transition>,
}

impl Calendar {
    /// The clock of UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { zone: "UTC".to_owned(), offset_seconds: 0, transitions: Vec::new() }
    }

    /// Seconds east of UTC at this time.
    #[must_use]
    pub fn offset_at(&self, at: Timestamp) -> i32 {
        let last = self.transitions.iter().take_while(|t| t.at <= at).last();
        last.map_or(self.offset_seconds, |t| t.offset_seconds)
    }

    /// What calendar and clock there show at this time.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> (Date, Time) {
        let utc = i64::try_from(at.as_millis() / 1000).unwrap_or(i64::MAX);
        let there = utc.saturating_add(i64::from(self.offset_at(at)));
        let seconds = u32::try_from(there.rem_euclid(86_400)).unwrap_or_default();
        (Date::from_days(there.div_euclid(86_400)), Time::from_seconds(seconds))
    }

    /// The date there at this time.
    #[must_use]
    pub fn date(&self, at: Timestamp) -> Date {
        self.local(at).0
    }

    /// When calendar and clock there show this: the first time where clocks are put back, and as much
    /// later where they are put forward and skip it.
    #[must_use]
    pub fn instant(&self, date: Date, time: Time) -> Timestamp {
        let shown = date.days() * 86_400 + i64::from(time.seconds());
        let mut offset = self.offset_seconds;
        for transition in &self.transitions {
            let at = instant(shown, offset);
            if at < transition.at {
                return at;
            }
            // Put forward past it: shown neither before the change nor after it.
            if instant(shown, transition.offset_seconds) < transition.at {
                return at;
            }
            offset = transition.offset_seconds;
        }
        instant(shown, offset)
    }
}

fn instant(shown: i64, offset: i32) -> Timestamp {
    let seconds = u64::try_from(shown - i64::from(offset)).unwrap_or_default();
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    /// Berlin, from January 2026: +1, from 29 March +2, from 25 October +1.
    fn berlin() -> Calendar {
        let transitions = [("2026-03-29T01:00:00Z", 7200), ("2026-10-25T01:00:00Z", 3600)];
        Calendar {
            zone: "Europe/Berlin".to_owned(),
            offset_seconds: 3600,
            transitions: transitions
                .map(|(time, offset_seconds)| Transition { at: at(time), offset_seconds })
                .to_vec(),
        }
    }

    #[test]
    fn follows_summer_time() {
        let calendar = berlin();
        for (date, time, utc) in [
            ("2026-01-15", "02:30", "2026-01-15T01:30:00Z"),
            ("2026-03-29", "01:59:59", "2026-03-29T00:59:59Z"),
            // Skipped: an hour later by the clock.
            ("2026-03-29", "02:30", "2026-03-29T01:30:00Z"),
            ("2026-03-29", "03:00", "2026-03-29T01:00:00Z"),
            ("2026-07-01", "00:00", "2026-06-30T22:00:00Z"),
            // Twice: the first.
            ("2026-10-25", "02:30", "2026-10-25T00:30:00Z"),
            ("2026-10-25", "03:00", "2026-10-25T02:00:00Z"),
            ("2026-12-24", "18:00", "2026-12-24T17:00:00Z"),
        ] {
            let found = calendar.instant(Date::parse(date).unwrap(), Time::parse(time).unwrap());
            assert_eq!(found, at(utc), "{date} {time}");
        }
        let (date, time) = calendar.local(at("2026-06-30T22:00:00Z"));
        assert_eq!((date.to_string(), time), ("2026-07-01".to_owned(), Time::MIDNIGHT));
        assert_eq!(calendar.local(at("2026-10-25T01:30:00Z")).1.to_string(), "02:30:00");
    }

    #[test]
    fn agrees_with_itself_around_the_year() {
        let calendar = berlin();
        let mut time = at("2026-01-01T00:17:00Z");
        while time < at("2027-01-01T00:00:00Z") {
            let (date, shown) = calendar.local(time);
            let first = calendar.instant(date, shown);
            assert!(first == time || calendar.local(first) == (date, shown), "{time}");
            time = time + std::time::Duration::from_secs(1800);
        }
    }
}
