//! Lists of days: `2026-12-25`, `12-25` for every year, and from one to another with `..` between.

use cipher_hub_plugin::time::Date;
use cipher_hub_plugin::{Error, Fields, Result};

/// The most days and ranges of a list.
const MAX: usize = 2000;

/// Some days.
#[derive(Debug, Default)]
pub(crate) struct Days(Vec<Range>);

#[derive(Debug)]
enum Range {
    Once(Date, Date),
    /// Month and day; over the end of the year where the first is after the last.
    Yearly((u8, u8), (u8, u8)),
}

impl Days {
    /// Adds those of a setting.
    pub(crate) fn add(&mut self, fields: &Fields, name: &str) -> Result<()> {
        for word in fields.words(name) {
            let (first, last) = word.split_once("..").unwrap_or((word, word));
            let range = match (yearly(first), yearly(last)) {
                (Some(first), Some(last)) => Range::Yearly(first, last),
                _ => match (Date::parse(first), Date::parse(last)) {
                    (Some(first), Some(last)) if first <= last => Range::Once(first, last),
                    _ => {
                        let text = "must be days such as 2026-12-25, 12-25 or 12-24..12-26, not";
                        return Err(Error::invalid(format!("`{name}` {text} `{word}`")));
                    }
                },
            };
            self.0.push(range);
        }
        if self.0.len() > MAX {
            return Err(Error::invalid(format!(
                "`{name}` makes it more than {MAX} ranges of days"
            )));
        }
        Ok(())
    }

    /// Is this day one of them?
    pub(crate) fn contains(&self, date: Date) -> bool {
        let day = (date.month(), date.day());
        self.0.iter().any(|range| match *range {
            Range::Once(first, last) => (first..=last).contains(&date),
            Range::Yearly(first, last) if first <= last => (first..=last).contains(&day),
            Range::Yearly(first, last) => day >= first || day <= last,
        })
    }
}

/// `12-25`; 29 February is a day of leap years.
fn yearly(text: &str) -> Option<(u8, u8)> {
    let date = Date::parse(&format!("2024-{text}"))?;
    Some((date.month(), date.day()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(text: &str) -> Result<Days> {
        let mut days = Days::default();
        days.add(&Fields::from([("holidays", text)]), "holidays")?;
        Ok(days)
    }

    #[test]
    fn finds_days_of_every_kind() {
        let days = days("2026-04-03, 05-01 12-20..01-05\n2026-07-01..2026-07-03").unwrap();
        for (text, there) in [
            ("2026-04-03", true),
            ("2027-04-03", false),
            ("2031-05-01", true),
            ("2026-12-19", false),
            ("2026-12-20", true),
            ("2027-01-05", true),
            ("2027-01-06", false),
            ("2026-07-03", true),
            ("2026-07-04", false),
        ] {
            assert_eq!(days.contains(Date::parse(text).unwrap()), there, "{text}");
        }
    }

    #[test]
    fn names_what_is_no_day() {
        for text in [
            "christmas",
            "2026-02-30",
            "13-01",
            "2026-07-03..2026-07-01",
            "12-24..",
            "12-24..2026-12-26",
        ] {
            let error = days(text).unwrap_err().to_string();
            assert!(error.contains(&format!("not `{text}`")), "{error}");
        }
    }
}
