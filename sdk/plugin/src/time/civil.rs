//! Dates, days of the week, times of day: the Gregorian calendar, from the year 1 to 9999.

use std::fmt;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All, from Monday.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// The English name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monday => "Monday",
            Self::Tuesday => "Tuesday",
            Self::Wednesday => "Wednesday",
            Self::Thursday => "Thursday",
            Self::Friday => "Friday",
            Self::Saturday => "Saturday",
            Self::Sunday => "Sunday",
        }
    }

    /// Reads an English name or its first three letters, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|day| {
            let name = day.name();
            name.eq_ignore_ascii_case(text)
                || name.get(..3).is_some_and(|n| n.eq_ignore_ascii_case(text))
        })
    }
}

/// A date, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// A date, if there is such a day.
    #[must_use]
    pub const fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        if year < 1 || year > 9999 || day < 1 || day > days_in(year, month) {
            return None;
        }
        Some(Self { year, month, day })
    }

    /// Reads `2026-12-01`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Self::new(digits(year, 4)?, u8::try_from(digits(month, 2)?).ok()?, small(day)?)
    }

    /// The year.
    #[must_use]
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, from 1.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    #[must_use]
    pub const fn day(self) -> u8 {
        self.day
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn days(self) -> i64 {
        // Years begin in March, so that the day that leap years add is their last; 400 of them have
        // 146,097 days.
        let (year, month) = (self.year as i64, self.month as i64);
        let y = if month <= 2 { year - 1 } else { year };
        let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + self.day as i64 - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// The date this many days after 1970-01-01, within the years 1 to 9999.
    #[must_use]
    pub fn from_days(days: i64) -> Self {
        let z = days.clamp(-719_162, 2_932_896) + 719_468;
        let (era, day) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + of_era + i64::from(month <= 2);
        Self {
            year: u16::try_from(year).unwrap_or(9999),
            month: u8::try_from(month).unwrap_or(12),
            day: u8::try_from(day).unwrap_or(31),
        }
    }

    /// This many days later; earlier where it is negative.
    #[must_use]
    pub fn plus_days(self, days: i64) -> Self {
        Self::from_days(self.days().saturating_add(days))
    }

    /// The day of the week.
    #[must_use]
    pub fn weekday(self) -> Weekday {
        match (self.days() + 3).rem_euclid(7) {
            0 => Weekday::Monday,
            1 => Weekday::Tuesday,
            2 => Weekday::Wednesday,
            3 => Weekday::Thursday,
            4 => Weekday::Friday,
            5 => Weekday::Saturday,
            _ => Weekday::Sunday,
        }
    }

    /// The last day of its month.
    #[must_use]
    pub const fn end_of_month(self) -> Self {
        Self { day: days_in(self.year, self.month), ..self }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

const fn days_in(year: u16, month: u8) -> u8 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 0,
    }
}

/// A time of day, to the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u32);

impl Time {
    /// The first of a day.
    pub const MIDNIGHT: Self = Self(0);

    /// A time of day, if there is such a one; there are no leap seconds.
    #[must_use]
    pub const fn new(hour: u8, minute: u8, second: u8) -> Option<Self> {
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some(Self(hour as u32 * 3600 + minute as u32 * 60 + second as u32))
    }

    /// Reads `02:00` or `02:00:30`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (hour, minute) = (small(parts.next()?)?, small(parts.next()?)?);
        let second = parts.next().map_or(Some(0), small)?;
        if parts.next().is_some() { None } else { Self::new(hour, minute, second) }
    }

    /// This many seconds after midnight, within a day.
    #[must_use]
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds % 86_400)
    }

    /// Seconds since midnight.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.0 / 3600, self.0 / 60 % 60, self.0 % 60)
    }
}

fn digits(text: &str, count: usize) -> Option<u16> {
    let all = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

fn small(text: &str) -> Option<u8> {
    digits(text, 2).and_then(|n| u8::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_day_of_ten_thousand_years() {
        let mut expected = Date::new(1, 1, 1).unwrap();
        assert_eq!(expected.weekday(), Weekday::Monday);
        for days in expected.days()..=Date::new(9999, 12, 31).unwrap().days() {
            let date = Date::from_days(days);
            assert_eq!((date, date.days()), (expected, days));
            expected = if date == date.end_of_month() {
                let next = if date.month() == 12 {
                    (date.year() + 1, 1)
                } else {
                    (date.year(), date.month() + 1)
                };
                match Date::new(next.0, next.1, 1) {
                    Some(next) => next,
                    None => break,
                }
            } else {
                Date::new(date.year(), date.month(), date.day() + 1).unwrap()
            };
        }
        assert_eq!(Date::from_days(0), Date::new(1970, 1, 1).unwrap());
    }

    #[test]
    fn knows_days_of_the_week() {
        assert_eq!(Date::parse("1970-01-01").unwrap().weekday(), Weekday::Thursday);
        assert_eq!(Date::parse("2026-11-26").unwrap().weekday(), Weekday::Thursday);
        assert_eq!(Date::parse("2024-02-29").unwrap().weekday(), Weekday::Thursday);
        assert_eq!(Weekday::parse("SAT"), Some(Weekday::Saturday));
        assert_eq!(Weekday::parse("sunday"), Some(Weekday::Sunday));
        assert_eq!(Weekday::parse("so"), None);
    }

    #[test]
    fn refuses_what_is_no_date_or_time() {
        for text in
            ["2026-02-29", "2026-00-10", "2026-1-1", "+026-01-01", "2026-01-32", "0000-01-01"]
        {
            assert_eq!(Date::parse(text), None, "{text}");
        }
        for text in ["24:00", "2:00", "02:60", "02", "02:00:00:00", "02:0a"] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }
}
