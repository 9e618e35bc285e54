//! Rotates on business days: outside weekends, holidays and freeze windows, at a time of day by the
//! clock of a zone. `README.md` says how.

mod days;

use std::time::Duration;

use cipher_hub_plugin::rotation::{self, Decision, Policy, Request, RotationSchedule};
use cipher_hub_plugin::time::{DAY, Date, Time, Timestamp, Weekday};
use cipher_hub_plugin::{Config, Error, Fields, Result, log};

use days::Days;

/// The most days that are looked at, forward or back.
const LOOK: i64 = 1100;

#[derive(Debug)]
struct BusinessCalendar {
    weekend: Vec<Weekday>,
    config: Config,
}

/// What a policy says.
#[derive(Debug)]
struct Rules {
    every: Duration,
    at: Time,
    days: Vec<Weekday>,
    earlier: bool,
    closed: Days,
}

impl RotationSchedule for BusinessCalendar {
    fn new(config: &Config) -> Result<Self> {
        let plugin = Self { weekend: weekdays(config, "weekend")?, config: config.clone() };
        if Weekday::ALL.iter().all(|day| plugin.weekend.contains(day)) {
            return Err(Error::invalid("`weekend` leaves no day to work on"));
        }
        let mut closed = Days::default();
        closed.add(config, "holidays")?;
        closed.add(config, "freeze")?;
        Ok(plugin)
    }

    fn decide(&self, request: &Request) -> Result<Decision> {
        let rules = self.rules(&request.policy.parameters)?;
        if let Some(time) = rules.find(request) {
            return Ok(Decision::RotateAt(time));
        }
        // The key's age counts for more than the calendar.
        log::warn(format!("no business day within the bounds for key {}", request.key.id));
        Ok(Decision::RotateAt(request.latest()))
    }

    fn check_policy(&self, policy: &Policy) -> Result<()> {
        let every = self.rules(&policy.parameters)?.every;
        if every < policy.min_interval || every > policy.max_interval {
            return Err(Error::invalid("`every` must be between minInterval and maxInterval"));
        }
        Ok(())
    }
}

impl BusinessCalendar {
    fn rules(&self, parameters: &Fields) -> Result<Rules> {
        let mut closed = Days::default();
        for fields in [&self.config, parameters] {
            closed.add(fields, "holidays")?;
            closed.add(fields, "freeze")?;
        }
        let mut days = weekdays(parameters, "days")?;
        if days.is_empty() {
            days = Weekday::ALL.to_vec();
        }
        days.retain(|day| !self.weekend.contains(day));
        if days.is_empty() {
            return Err(Error::invalid("`days` has no day that is not of the weekend"));
        }
        let at = parameters.parsed("at", "a time of day such as `02:00`", Time::parse)?;
        let earlier = match parameters.text_or("prefer", "later") {
            "later" => false,
            "earlier" => true,
            _ => return Err(Error::invalid("`prefer` must be `later` or `earlier`")),
        };
        Ok(Rules {
            every: parameters.duration("every")?.unwrap_or(DAY * 90),
            at: at.unwrap_or(Time::MIDNIGHT),
            days,
            earlier,
            closed,
        })
    }
}

impl Rules {
    /// The best time within the bounds and not past.
    fn find(&self, request: &Request) -> Option<Timestamp> {
        let calendar = &request.calendar;
        let (from, to) = (request.earliest().max(request.now), request.latest());
        let wanted = calendar.date(request.last_rotation + self.every);
        let (first, last) = (calendar.date(from), calendar.date(to));
        let time = |date: Date| {
            let open = self.days.contains(&date.weekday()) && !self.closed.contains(date);
            Some(calendar.instant(date, self.at)).filter(|t| open && *t >= from && *t <= to)
        };
        let later = || {
            let start = wanted.max(first);
            let days = (last.days() - start.days()).min(LOOK);
            (0..=days).find_map(|n| time(start.plus_days(n)))
        };
        let earlier = || {
            let start = wanted.min(last);
            let days = (start.days() - first.days()).min(LOOK);
            (0..=days).find_map(|n| time(start.plus_days(-n)))
        };
        if self.earlier { earlier().or_else(later) } else { later().or_else(earlier) }
    }
}

fn weekdays(fields: &Fields, name: &str) -> Result<Vec<Weekday>> {
    let day = |word: &str| {
        Weekday::parse(word).ok_or_else(|| {
            Error::invalid(format!("`{name}` must be days such as `monday`, not `{word}`"))
        })
    };
    fields.words(name).map(day).collect()
}

rotation::export!(BusinessCalendar);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::testing::{at, berlin, logged, rotation_request};

    const SETTINGS: [(&str, &str); 3] = [
        ("weekend", "saturday, sunday"),
        ("holidays", "12-25 12-26 01-01 2026-04-03"),
        ("freeze", "12-15..01-10"),
    ];

    /// Decides for a key last rotated on 2026-01-05 at 10:00 UTC.
    fn decide(now: &str, parameters: &[(&str, &str)]) -> Result<Decision> {
        let mut request = rotation_request();
        request.last_rotation = at("2026-01-05T10:00:00Z");
        request.now = at(now);
        request.calendar = berlin();
        request.policy.parameters = parameters.iter().copied().collect();
        BusinessCalendar::new(&Fields::from(SETTINGS))?.decide(&request)
    }

    #[track_caller]
    fn assert_at(decision: Result<Decision>, time: &str) {
        assert_eq!(decision, Ok(Decision::RotateAt(at(time))));
    }

    #[test]
    fn takes_the_next_business_day_in_local_time() {
        let now = "2026-01-05T10:00:00Z";
        // 90 days later is Sunday, 5 April, in summer time.
        let rules = [("every", "90d"), ("at", "02:30")];
        assert_at(decide(now, &rules), "2026-04-06T00:30:00Z");
        // Good Friday is closed: Thursday before it.
        let rules = [("every", "90d"), ("at", "02:30"), ("prefer", "earlier")];
        assert_at(decide(now, &rules), "2026-04-02T00:30:00Z");
        let rules = [("every", "90d"), ("at", "02:30"), ("days", "wed")];
        assert_at(decide(now, &rules), "2026-04-08T00:30:00Z");
        let rules = [("every", "90d"), ("at", "02:30"), ("holidays", "2026-04-06..2026-04-07")];
        assert_at(decide(now, &rules), "2026-04-08T00:30:00Z");
    }

    #[test]
    fn waits_for_the_end_of_a_freeze() {
        // 20 December; the freeze ends after 10 January, a Sunday, but 366 days are over before.
        let rules = [("every", "349d"), ("at", "02:00")];
        assert_at(decide("2026-01-05T10:00:00Z", &rules), "2026-12-14T01:00:00Z");
    }

    #[test]
    fn a_day_that_was_missed_is_followed_by_the_next() {
        // Friday evening: the next is Monday morning.
        let rules = [("every", "90d"), ("at", "02:00")];
        assert_at(decide("2026-06-05T18:00:00Z", &rules), "2026-06-08T00:00:00Z");
        // In time, to the second.
        assert_at(decide("2026-06-08T00:00:00Z", &rules), "2026-06-08T00:00:00Z");
    }

    #[test]
    fn age_counts_for_more_than_the_calendar() {
        let rules = [("every", "90d"), ("freeze", "01-01..12-31")];
        let _ = logged();
        assert_at(decide("2026-01-05T10:00:00Z", &rules), "2027-01-06T10:00:00Z");
        assert_eq!(logged().len(), 1);
        // Long past: at once, whatever day it is.
        assert_at(decide("2027-06-05T10:00:00Z", &[]), "2027-01-06T10:00:00Z");
    }

    #[test]
    fn refuses_what_leaves_no_day() {
        assert!(BusinessCalendar::new(&Fields::from([("holidays", "x-mas")])).is_err());
        let all = "mon tue wed thu fri sat sun";
        assert!(BusinessCalendar::new(&Fields::from([("weekend", all)])).is_err());
        for wrong in [("days", "sat"), ("days", "someday"), ("at", "2 am"), ("every", "often")] {
            let error = decide("2026-01-05T10:00:00Z", &[wrong]).unwrap_err();
            assert!(matches!(error, Error::InvalidConfig(_)), "{error}");
        }
        let plugin = BusinessCalendar::new(&Fields::from(SETTINGS)).unwrap();
        let mut policy = rotation_request().policy;
        policy.max_interval = DAY * 30;
        assert!(plugin.check_policy(&policy).is_err());
        policy.parameters = Fields::from([("every", "30d")]);
        assert_eq!(plugin.check_policy(&policy), Ok(()));
    }
}
