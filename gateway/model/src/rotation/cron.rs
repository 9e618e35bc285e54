//! Cron expressions of five fields, on civil time: minute, hour, day of month, month, day of week.
//!
//! Fields hold `*`, numbers, names (`jan`, `mon`), lists, ranges and steps. As in every cron since
//! Vixie's, when both days are restricted either suffices, and a day field that begins with `*`
//! does not count as restricted. Zones and clock changes are `schedule.rs`'s business.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};

use crate::Error;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A cron expression. Each field is a set of bits, bit n standing for the number n.
#[derive(Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether one of the two days may be any day, so that both fields must match.
    both_days: bool,
}

impl Cron {
    /// Whether a date matches.
    #[must_use]
    pub fn matches(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month())
            && if self.both_days { day && weekday } else { day || weekday }
    }

    /// The first time of a matching day, or the first in a later minute than `after`.
    #[must_use]
    pub fn time(&self, after: Option<Time>) -> Option<Time> {
        let (hour, minute) = match after {
            None => (first(self.hours, 0)?, first(self.minutes, 0)?),
            Some(time) => {
                let (hour, minute) = (time.hour(), time.minute());
                match first(self.minutes, minute.saturating_add(1)) {
                    Some(minute) if has(self.hours, hour) => (hour, minute),
                    _ => (first(self.hours, hour.saturating_add(1))?, first(self.minutes, 0)?),
                }
            }
        };
        Time::new(hour, minute, 0, 0).ok()
    }

    /// How many minutes of an hour match.
    #[must_use]
    pub const fn per_hour(&self) -> u32 {
        self.minutes.count_ones()
    }
}

fn has(set: u64, n: i8) -> bool {
    u32::try_from(n).is_ok_and(|n| set.checked_shr(n).is_some_and(|rest| rest & 1 == 1))
}

/// The least member from `start` up.
fn first(set: u64, start: i8) -> Option<i8> {
    let start = u32::try_from(start).ok()?;
    let rest = set & u64::MAX.checked_shl(start)?;
    (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).ok()).flatten()
}

impl FromStr for Cron {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > 256 {
            return Err(Error::Schedule("a cron expression has at most 256 bytes".to_owned()));
        }
        let lower = text.trim().to_ascii_lowercase();
        let spelled = match NICKNAMES.iter().find(|(name, _)| *name == lower) {
            Some((_, meaning)) => *meaning,
            None => lower.as_str(),
        };
        let fields: Vec<&str> = spelled.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(Error::Schedule(format!(
                "`{text}` is not a cron expression (minute, hour, day of month, month, day of \
                 week; or one of {})",
                NICKNAMES.map(|(name, _)| name).join(", "),
            )));
        };
        let weekdays = set(weekday, "day of week", 0, 7, &WEEKDAYS)?;
        Ok(Self {
            text: text.trim().to_owned(),
            minutes: set(minute, "minute", 0, 59, &[])?,
            hours: set(hour, "hour", 0, 23, &[])?,
            days: set(day, "day of month", 1, 31, &[])?,
            months: set(month, "month", 1, 12, &MONTHS)?,
            // Sunday is 0 and 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            both_days: day.starts_with('*') || weekday.starts_with('*'),
        })
    }
}

/// The members of one field.
fn set(field: &str, what: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, Error> {
    let refused = |why: String| Error::Schedule(format!("`{field}` is not a cron {what}: {why}"));
    let number = |text: &str| -> Result<u32, Error> {
        let named = names.iter().position(|name| *name == text);
        let number = match named {
            // The months' names begin at 1, those of weekdays at 0.
            Some(place) => u32::try_from(place).ok().and_then(|place| place.checked_add(least)),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            None => None,
        };
        number
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| refused(format!("`{text}` is not within {least} to {most}")))
    };
    let mut members = 0u64;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => {
                let (from, to) = (number(from)?, number(to)?);
                // A week may end on its Sunday, as in `sat-sun`.
                (from, if to == 0 && most == 7 && from > 0 { 7 } else { to })
            }
            None if step.is_some() => {
                return Err(refused("a step needs `*` or a range before it".to_owned()));
            }
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(refused(format!("`{range}` runs backwards")));
        }
        let step = match step {
            None => 1,
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|step| (1..=60).contains(step))
                .ok_or_else(|| refused(format!("`{text}` is not a step of 1 to 60")))?,
        };
        for n in (from..=to).step_by(step) {
            members |= 1 << n;
        }
    }
    Ok(members)
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap()
    }

    fn members(set: u64) -> Vec<u32> {
        (0..64).filter(|n| set >> n & 1 == 1).collect()
    }

    #[test]
    fn fields_hold_lists_ranges_steps_and_names() {
        let it = cron("*/15 8-10,22 1,10-12/2 JAN,mar-May/2 Mon-fri");
        assert_eq!(members(it.minutes), [0, 15, 30, 45]);
        assert_eq!(members(it.hours), [8, 9, 10, 22]);
        assert_eq!(members(it.days), [1, 10, 12]);
        assert_eq!(members(it.months), [1, 3, 5]);
        assert_eq!(members(it.weekdays), [1, 2, 3, 4, 5]);
        assert_eq!(members(cron("0 0 * * 7").weekdays), [0]);
        assert_eq!(members(cron("0 0 * * sat-sun").weekdays), [0, 6]);
        assert_eq!(members(cron("0 0 * * 5-7").weekdays), [0, 5, 6]);
        assert_eq!(members(cron("0 0 * * *").weekdays), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(cron(" @Daily ").to_string(), "@Daily");
        assert_eq!(cron("@yearly").months, 1 << 1);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "5/2 * * * *",
            "*/0 * * * *",
            "*/61 * * * *",
            ", * * * *",
            "1,, * * * *",
            "- * * * *",
            "1- * * * *",
            "+1 * * * *",
            "-1 * * * *",
            "* * * foo *",
            "* * * 1jan *",
            "mon * * * *",
            "@reboot",
            "* * L * *",
            "1-2-3 * * * *",
            "* * * * mon#2",
            "? * * * *",
            "99999999999 * * * *",
            "*/ * * * *",
            "** * * * *",
        ] {
            assert!(text.parse::<Cron>().is_err(), "{text:?}");
        }
        let error = "61 * * * *".parse::<Cron>().unwrap_err();
        assert_eq!(error.to_string(), "`61` is not a cron minute: `61` is not within 0 to 59");
    }

    #[test]
    fn either_day_suffices_when_both_are_restricted() {
        let either = cron("0 0 13 * fri");
        assert!(either.matches(date(2026, 11, 13)), "Friday the 13th");
        assert!(either.matches(date(2026, 11, 20)), "another Friday");
        assert!(either.matches(date(2026, 12, 13)), "a Sunday");
        assert!(!either.matches(date(2026, 12, 14)));
        let both = cron("0 0 */2 * fri");
        assert!(both.matches(date(2026, 11, 13)));
        assert!(!both.matches(date(2026, 11, 20)), "an even day");
        assert!(!both.matches(date(2026, 11, 15)), "a Sunday");
        assert!(cron("0 0 29 2 *").matches(date(2028, 2, 29)));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-*/, 0-9a-z@]{0,30}") {
            let _ = text.parse::<Cron>();
        }

        #[test]
        fn the_next_time_is_the_first_that_matches(
            minutes in 1u64..1 << 60,
            hours in 1u64..1 << 24,
            hour in 0i8..24,
            minute in 0i8..60,
        ) {
            let it = Cron { minutes, hours, ..cron("* * * * *") };
            let naive = |from: i32| {
                (from..1440).find(|n| minutes >> (n % 60) & 1 == 1 && hours >> (n / 60) & 1 == 1)
            };
            let number = |time: Time| i32::from(time.hour()) * 60 + i32::from(time.minute());
            let after = Time::constant(hour, minute, 30, 0);
            prop_assert_eq!(it.time(None).map(number), naive(0));
            prop_assert_eq!(it.time(Some(after)).map(number), naive(number(after) + 1));
        }
    }
}
