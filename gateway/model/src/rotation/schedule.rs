//! When to rotate: after a period, by a cron expression, on days of the calendar, or as a plugin
//! says.
//!
//! A schedule is a set of dates. [`Schedule::next`] is the first of them after a given one, and
//! depends on nothing else. That of a plugin has no dates of its own: what the plugin said of a key
//! is kept with the key ([`super::Planned`]).

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::zone::instant;
use super::{Cron, Period, PluginSchedule, Zone};
use crate::extend::Parameters;
use crate::{Error, Name, Timestamp};

/// How far ahead a date is looked for: 29 February is 8 years from the one before 2100 to the one
/// after.
const HORIZON_DAYS: usize = 9 * 366;

/// Dates compared when the least distance between dates is looked for.
const SAMPLES: usize = 60;

/// When to rotate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Body", into = "Body")]
pub enum Schedule {
    /// This long after the last rotation.
    Period(Period),
    /// By a cron expression, on the clock of a time zone.
    Cron {
        /// The expression.
        cron: Cron,
        /// The zone.
        zone: Zone,
    },
    /// On a day of some months, on the clock of a time zone.
    Calendar(Calendar),
    /// When a plugin says.
    Plugin(PluginSchedule),
}

/// A day and time in some months of every year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    months: BTreeSet<u8>,
    day: Day,
    time: Time,
    zone: Zone,
}

/// A day of a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// The day of this number.
    Number(u8),
    /// The last day, whichever that is.
    Last,
}

impl Schedule {
    /// The first date after `last`; `None` when there is none within nine years, and for plugins.
    #[must_use]
    pub fn next(&self, last: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Plugin(_) => None,
            Self::Period(period) => period.after(last).filter(|date| *date > last),
            Self::Cron { cron, zone } => {
                walk(zone, last, |date| cron.matches(date), |after| cron.time(after))
            }
            Self::Calendar(it) => walk(
                &it.zone,
                last,
                |date| it.matches(date),
                |after| Some(it.time).filter(|time| after.is_none_or(|after| *time > after)),
            ),
        }
    }

    /// The least time between two dates from `now` on; `None` when there are no two.
    #[must_use]
    pub fn least_gap(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Period(period) => return Some(period.at_least()),
            Self::Plugin(it) => return Some(it.min_interval.at_least()),
            Self::Cron { .. } | Self::Calendar(_) => {}
        }
        let mut gaps = Vec::new();
        let mut date = self.next(now)?;
        while let (true, Some(next)) = (gaps.len() < SAMPLES, self.next(date)) {
            gaps.push(next.since(date));
            date = next;
        }
        gaps.into_iter().min()
    }

    /// The time zone, where it has one.
    #[must_use]
    pub const fn zone(&self) -> Option<&Zone> {
        match self {
            Self::Period(_) | Self::Plugin(_) => None,
            Self::Cron { zone, .. } => Some(zone),
            Self::Calendar(it) => Some(&it.zone),
        }
    }
}

/// The first instant after `last` whose wall time is on a matching day at a matching time.
fn walk(
    zone: &Zone,
    last: Timestamp,
    matches: impl Fn(Date) -> bool,
    time: impl Fn(Option<Time>) -> Option<Time>,
) -> Option<Timestamp> {
    let rules = zone.rules();
    let start = jiff::Timestamp::from_microsecond(last.as_micros()).ok()?;
    let mut wall = rules.to_datetime(start);
    // More than once only within a repeated hour, whose times belong to its first pass.
    loop {
        wall = next_wall(wall, &matches, &time)?;
        let date = instant(&rules, wall)?;
        if date > start {
            return Some(Timestamp::from_micros(date.as_microsecond()));
        }
    }
}

fn next_wall(
    after: DateTime,
    matches: impl Fn(Date) -> bool,
    time: impl Fn(Option<Time>) -> Option<Time>,
) -> Option<DateTime> {
    let mut day = after.date();
    if matches(day)
        && let Some(time) = time(Some(after.time()))
    {
        return Some(day.to_datetime(time));
    }
    for _ in 0..HORIZON_DAYS {
        day = day.tomorrow().ok()?;
        if matches(day) {
            return time(None).map(|time| day.to_datetime(time));
        }
    }
    None
}

impl Calendar {
    fn matches(&self, date: Date) -> bool {
        u8::try_from(date.month()).is_ok_and(|month| self.months.contains(&month))
            && match self.day {
                Day::Number(day) => u8::try_from(date.day()) == Ok(day),
                Day::Last => date.day() == date.days_in_month(),
            }
    }
}

impl fmt::Display for Schedule {
    /// For people: `every P30D`, `0 3 1 * * in Europe/Zurich`, `last day of months 2, 7 at 03:00 in
    /// UTC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Period(period) => write!(f, "every {period}"),
            Self::Cron { cron, zone } => write!(f, "{cron} in {zone}"),
            Self::Calendar(it) => {
                let months: Vec<_> = it.months.iter().map(ToString::to_string).collect();
                match it.day {
                    Day::Number(day) => write!(f, "day {day}")?,
                    Day::Last => f.write_str("last day")?,
                }
                write!(f, " of months {} at {} in {}", months.join(", "), clock(it.time), it.zone)
            }
            Self::Plugin(it) => it.fmt(f),
        }
    }
}

fn clock(time: Time) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// When to rotate: exactly one of `period`, `cron`, `calendar` and `plugin`.
#[derive(Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    /// This long after the last rotation: one hour to ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    period: Option<Period>,
    /// A cron expression of five fields, or `@daily` and the like; at most one date an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "0 3 1 * *")]
    cron: Option<String>,
    /// The IANA time zone of `cron`; `UTC` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Europe/Zurich")]
    time_zone: Option<String>,
    /// A day of some months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    calendar: Option<CalendarBody>,
    /// The plugin that says when, from the hub's catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "rotation-business-calendar")]
    plugin: Option<Name>,
    /// With `plugin`: what it is to be told, texts by name; at most 32 of 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    parameters: Option<Parameters>,
    /// With `plugin`: no date closer to the last rotation counts. One hour to ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_interval: Option<Period>,
    /// With `plugin`: no date further from the last rotation counts. `minInterval` to ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_interval: Option<Period>,
}

impl Body {
    /// Whether it has members that only a plugin's schedule has.
    const fn of_plugin(&self) -> bool {
        self.plugin.is_some()
            || self.parameters.is_some()
            || self.min_interval.is_some()
            || self.max_interval.is_some()
    }
}

/// A day of some months.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CalendarBody {
    /// The months, 1 to 12.
    months: Vec<u8>,
    /// The day of the month, which each of the months must have every year, or `last`.
    #[schema(inline)]
    day: Day,
    /// The time of day as `HH:MM`; `00:00` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "03:00")]
    time: Option<String>,
    /// The IANA time zone; `UTC` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Europe/Zurich")]
    time_zone: Option<String>,
}

impl TryFrom<Body> for Schedule {
    type Error = Error;

    fn try_from(body: Body) -> Result<Self, Error> {
        let of_plugin = body.of_plugin();
        match body {
            Body { period: Some(period), cron: None, time_zone: None, calendar: None, .. }
                if !of_plugin =>
            {
                Ok(Self::Period(period))
            }
            Body { period: None, cron: Some(cron), time_zone, calendar: None, .. }
                if !of_plugin =>
            {
                Ok(Self::Cron { cron: cron.parse()?, zone: zone(time_zone)? })
            }
            Body {
                period: None, cron: None, time_zone: None, calendar: Some(calendar), ..
            } if !of_plugin => calendar.try_into().map(Self::Calendar),
            Body {
                period: None,
                cron: None,
                time_zone: None,
                calendar: None,
                plugin: Some(plugin),
                parameters,
                min_interval: Some(min_interval),
                max_interval: Some(max_interval),
            } => {
                let parameters = parameters.unwrap_or_default();
                Ok(Self::Plugin(PluginSchedule { plugin, parameters, min_interval, max_interval }))
            }
            _ => Err(Error::Schedule(
                "a schedule has exactly one of `period`, `cron` (with `timeZone`), `calendar` and \
                 `plugin` (with `minInterval`, `maxInterval` and perhaps `parameters`)"
                    .to_owned(),
            )),
        }
    }
}

fn zone(name: Option<String>) -> Result<Zone, Error> {
    name.map_or_else(|| Ok(Zone::utc()), |name| name.parse())
}

impl TryFrom<CalendarBody> for Calendar {
    type Error = Error;

    fn try_from(body: CalendarBody) -> Result<Self, Error> {
        let refused = |why: String| Err(Error::Schedule(why));
        let months: BTreeSet<u8> = body.months.into_iter().collect();
        if months.is_empty() || months.iter().any(|month| !(1..=12).contains(month)) {
            return refused("`months` must hold at least one of 1 to 12, and nothing else".into());
        }
        if let Day::Number(day) = body.day {
            let short = months.iter().find(|month| !(1..=days_every_year(**month)).contains(&day));
            if let Some(month) = short {
                return refused(format!("month {month} does not have a day {day} every year"));
            }
        }
        let text = body.time.as_deref().unwrap_or("00:00");
        let Some(time) = time_of_day(text) else {
            let text: String = text.chars().take(64).collect();
            return refused(format!("`{text}` is not a time of day as `HH:MM`"));
        };
        Ok(Self { months, day: body.day, time, zone: zone(body.time_zone)? })
    }
}

const fn days_every_year(month: u8) -> u8 {
    match month {
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

impl From<Schedule> for Body {
    fn from(schedule: Schedule) -> Self {
        let none = Self::default();
        match schedule {
            Schedule::Period(period) => Self { period: Some(period), ..none },
            Schedule::Cron { cron, zone } => Self {
                cron: Some(cron.to_string()),
                time_zone: Some(zone.name().to_owned()),
                ..none
            },
            Schedule::Calendar(it) => {
                let calendar = CalendarBody {
                    months: it.months.into_iter().collect(),
                    day: it.day,
                    time: Some(clock(it.time)),
                    time_zone: Some(it.zone.name().to_owned()),
                };
                Self { calendar: Some(calendar), ..none }
            }
            Schedule::Plugin(it) => Self {
                plugin: Some(it.plugin),
                parameters: (!it.parameters.is_empty()).then_some(it.parameters),
                min_interval: Some(it.min_interval),
                max_interval: Some(it.max_interval),
                ..none
            },
        }
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(day) => serializer.serialize_u8(*day),
            Self::Last => serializer.serialize_str("last"),
        }
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Day;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a day of 1 to 31, or `last`")
            }

            fn visit_u64<E: serde::de::Error>(self, day: u64) -> Result<Day, E> {
                match u8::try_from(day) {
                    Ok(number @ 1..=31) => Ok(Day::Number(number)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(day), &self)),
                }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Day, E> {
                match text {
                    "last" => Ok(Day::Last),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl utoipa::PartialSchema for Day {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
        OneOfBuilder::new()
            .item(
                ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(31)),
            )
            .item(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["last"])))
            .into()
    }
}

impl utoipa::ToSchema for Day {}

impl utoipa::PartialSchema for Schedule {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        Body::schema()
    }
}

impl utoipa::ToSchema for Schedule {
    fn schemas(
        schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>,
    ) {
        Body::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(json: &str) -> Schedule {
        serde_json::from_str(json).unwrap()
    }

    fn cron(text: &str, zone: &str) -> Schedule {
        Schedule::Cron { cron: text.parse().unwrap(), zone: zone.parse().unwrap() }
    }

    /// The next `count` dates, without their microseconds.
    fn dates(schedule: &Schedule, start: &str, count: usize) -> Vec<String> {
        let mut date: Timestamp = start.parse().unwrap();
        let mut all = Vec::new();
        for _ in 0..count {
            date = schedule.next(date).unwrap();
            all.push(date.to_string().replace(":00.000000Z", "Z"));
        }
        all
    }

    #[test]
    fn the_forms_are_read_and_written_back() {
        for json in [
            r#"{"period":"P30D"}"#,
            r#"{"cron":"0 3 1 * *","timeZone":"Europe/Zurich"}"#,
            r#"{"calendar":{"months":[1,7],"day":1,"time":"03:00","timeZone":"UTC"}}"#,
            r#"{"calendar":{"months":[2],"day":"last","time":"23:59","timeZone":"Asia/Tokyo"}}"#,
            r#"{"plugin":"calendar","minInterval":"P7D","maxInterval":"P1Y"}"#,
            r#"{"plugin":"calendar","parameters":{"zone":"UTC"},"minInterval":"P7D","maxInterval":"P1Y"}"#,
        ] {
            assert_eq!(serde_json::to_string(&schedule(json)).unwrap(), json);
        }
        assert_eq!(schedule(r#"{"cron":"@daily"}"#), cron("@daily", "UTC"));
        assert_eq!(
            schedule(r#"{"calendar":{"months":[7,1,7],"day":1}}"#).to_string(),
            "day 1 of months 1, 7 at 00:00 in UTC"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_in_words() {
        for (json, word) in [
            ("{}", "exactly one"),
            (r#"{"period":"P1D","cron":"@daily"}"#, "exactly one"),
            (r#"{"period":"P1D","timeZone":"UTC"}"#, "exactly one"),
            (r#"{"calendar":{"months":[1],"day":1},"timeZone":"UTC"}"#, "exactly one"),
            (r#"{"plugin":"calendar"}"#, "exactly one"),
            (r#"{"plugin":"calendar","minInterval":"P1D"}"#, "exactly one"),
            (r#"{"minInterval":"P1D","maxInterval":"P1Y"}"#, "exactly one"),
            (r#"{"period":"P1D","parameters":{}}"#, "exactly one"),
            (
                r#"{"plugin":"calendar","period":"P1D","minInterval":"P1D","maxInterval":"P1Y"}"#,
                "exactly one",
            ),
            (r#"{"plugin":"No","minInterval":"P1D","maxInterval":"P1Y"}"#, "not a valid name"),
            (r#"{"every":"P1D"}"#, "unknown field"),
            (r#"{"cron":"@reboot"}"#, "not a cron expression"),
            (r#"{"cron":"@daily","timeZone":"no zone"}"#, "time zone"),
            (r#"{"calendar":{"months":[],"day":1}}"#, "`months`"),
            (r#"{"calendar":{"months":[13],"day":1}}"#, "`months`"),
            (r#"{"calendar":{"months":[2],"day":29}}"#, "month 2 does not have a day 29"),
            (r#"{"calendar":{"months":[1,4],"day":31}}"#, "month 4 does not have a day 31"),
            (r#"{"calendar":{"months":[1],"day":0}}"#, "a day of 1 to 31"),
            (r#"{"calendar":{"months":[1],"day":"first"}}"#, "a day of 1 to 31"),
            (r#"{"calendar":{"months":[1],"day":1,"time":"24:00"}}"#, "time of day"),
            (r#"{"calendar":{"months":[1],"day":1,"time":"3:00"}}"#, "time of day"),
        ] {
            let error = serde_json::from_str::<Schedule>(json).unwrap_err().to_string();
            assert!(error.contains(word), "{json}: {error}");
            assert!(!error.contains("Body"), "{error}");
        }
    }

    #[test]
    fn dates_follow_the_wall_clock() {
        let monthly = cron("0 3 1 * *", "Europe/Zurich");
        assert_eq!(
            dates(&monthly, "2026-02-15T00:00:00Z", 3),
            ["2026-03-01T02:00Z", "2026-04-01T01:00Z", "2026-05-01T01:00Z"]
        );
        let ends = schedule(r#"{"calendar":{"months":[2,12],"day":"last","time":"06:30"}}"#);
        assert_eq!(
            dates(&ends, "2026-12-31T06:30:00Z", 3),
            ["2027-02-28T06:30Z", "2027-12-31T06:30Z", "2028-02-29T06:30Z"]
        );
        let leap = cron("0 0 29 2 *", "UTC");
        assert_eq!(
            dates(&leap, "2095-01-01T00:00:00Z", 2),
            ["2096-02-29T00:00Z", "2104-02-29T00:00Z"]
        );
        let never = cron("0 0 30 2 *", "UTC");
        assert_eq!(never.next("2026-01-01T00:00:00Z".parse().unwrap()), None);
        assert_eq!(monthly.next(Timestamp::from_micros(i64::MAX)), None);
    }

    #[test]
    fn a_skipped_time_is_one_date_at_the_change() {
        let daily = cron("30 2 * * *", "Europe/Zurich");
        assert_eq!(
            dates(&daily, "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]
        );
        // Rotated by hand right after the change: the skipped time is past.
        assert_eq!(dates(&daily, "2026-03-29T01:00:01Z", 1), ["2026-03-30T00:30Z"]);
        let both = cron("30 2,3 * * *", "Europe/Zurich");
        assert_eq!(
            dates(&both, "2026-03-29T00:00:00Z", 3),
            ["2026-03-29T01:00Z", "2026-03-29T01:30Z", "2026-03-30T00:30Z"]
        );
    }

    #[test]
    fn a_repeated_time_is_one_date_in_its_first_pass() {
        let daily = cron("30 2 * * *", "Europe/Zurich");
        assert_eq!(
            dates(&daily, "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]
        );
        let hourly = cron("@hourly", "Europe/Zurich");
        assert_eq!(
            dates(&hourly, "2026-10-24T23:30:00Z", 3),
            ["2026-10-25T00:00Z", "2026-10-25T02:00Z", "2026-10-25T03:00Z"]
        );
        // Asked within the second pass of the hour.
        assert_eq!(dates(&daily, "2026-10-25T01:10:00Z", 1), ["2026-10-26T01:30Z"]);
    }

    #[test]
    fn a_day_that_a_zone_left_out_is_one_date() {
        let samoa = cron("0 12 * * *", "Pacific/Apia");
        assert_eq!(
            dates(&samoa, "2011-12-29T00:00:00Z", 3),
            ["2011-12-29T22:00Z", "2011-12-30T10:00Z", "2011-12-30T22:00Z"]
        );
    }

    #[test]
    fn the_least_gap_is_found_among_the_next_dates() {
        let now = "2026-01-10T00:00:00Z".parse().unwrap();
        let days = |n: u64| Some(Duration::from_secs(n * 86_400));
        assert_eq!(cron("0 0 1 * *", "UTC").least_gap(now), days(28));
        assert_eq!(cron("0 0 1,5 * *", "UTC").least_gap(now), days(4));
        assert_eq!(schedule(r#"{"period":"P1M"}"#).least_gap(now), days(28));
        assert_eq!(cron("0 0 31 4 *", "UTC").least_gap(now), None);
    }

    proptest! {
        /// Against the slow way: every minute of three days around a change, seen on the wall.
        #[test]
        fn next_is_the_first_minute_whose_wall_time_matches(
            minute in 0u8..60,
            hours in proptest::sample::subsequence((0u8..24).collect::<Vec<_>>(), 1..24),
            (zone, start) in proptest::sample::select(vec![
                ("Europe/Zurich", "2026-03-28T00:00:00Z"),
                ("Europe/Zurich", "2026-10-24T00:00:00Z"),
                ("America/New_York", "2026-03-07T12:00:00Z"),
                ("America/New_York", "2026-10-31T12:00:00Z"),
                ("Australia/Lord_Howe", "2026-04-04T00:00:00Z"),
                ("Australia/Lord_Howe", "2026-10-03T00:00:00Z"),
                ("Africa/Cairo", "2026-04-23T12:00:00Z"),
            ]),
            asked in 0i64..2 * 1440 * 60,
        ) {
            let hours: Vec<_> = hours.iter().map(ToString::to_string).collect();
            let text = format!("{minute} {} * * *", hours.join(","));
            let Schedule::Cron { cron, zone } = cron(&text, zone) else { unreachable!() };
            let start: Timestamp = start.parse().unwrap();
            let asked = Timestamp::from_micros(start.as_micros() + asked * 1_000_000);
            let rules = zone.rules();
            // A wall time counts when the wall first reaches or passes it.
            let wall = |t: i64| rules.to_datetime(jiff::Timestamp::from_microsecond(t).unwrap());
            let mut seen = wall(start.as_micros());
            let mut expected = None;
            for n in 1..=4 * 1440i64 {
                let t = start.as_micros() + n * 60_000_000;
                let now = wall(t);
                let mut reached = false;
                while seen < now {
                    seen = seen.checked_add(jiff::Span::new().minutes(1)).unwrap();
                    let midnight = Time::midnight();
                    let hit = if seen.time() == midnight {
                        cron.time(None) == Some(midnight)
                    } else {
                        let before = seen.checked_sub(jiff::Span::new().minutes(1)).unwrap();
                        cron.time(Some(before.time())) == Some(seen.time())
                    };
                    reached |= hit;
                }
                if reached && t > asked.as_micros() {
                    expected = Some(Timestamp::from_micros(t));
                    break;
                }
            }
            let schedule = Schedule::Cron { cron, zone };
            prop_assert_eq!(schedule.next(asked), expected);
        }

        #[test]
        fn dates_only_go_forward(
            text in proptest::sample::select(vec![
                "30 2 * * *", "@hourly", "0 0 29 2 *", "0 12 */3 * mon", "15 1,2,3 * 3,10 sun",
            ]),
            zone in proptest::sample::select(vec![
                "UTC", "Europe/Zurich", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns",
            ]),
            start in 0i64..4_000_000_000_000_000,
            ahead in 0i64..4_000_000_000_000,
        ) {
            let schedule = cron(text, zone);
            let (a, b) = (Timestamp::from_micros(start), Timestamp::from_micros(start + ahead));
            let (next_a, next_b) = (schedule.next(a).unwrap(), schedule.next(b).unwrap());
            prop_assert!(a < next_a);
            prop_assert!(next_a <= next_b, "later asked, earlier answered");
            // Asked anywhere before the date, the answer is the same: `now` plays no part.
            if b < next_a {
                prop_assert_eq!(next_a, next_b);
            }
        }
    }
}
