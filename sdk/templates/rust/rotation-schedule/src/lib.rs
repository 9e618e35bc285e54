//! Rotates keys every so often, on one day of the week, at a time of day.

use std::time::Duration;

use cipher_hub_plugin::rotation::{self, Decision, Policy, Request, RotationSchedule};
use cipher_hub_plugin::time::{DAY, Time, Weekday};
use cipher_hub_plugin::{Config, Error, Parameters, Result, log};

struct Plugin {
    weekday: Weekday,
}

/// What a policy says.
struct Rules {
    every: Duration,
    at: Time,
}

impl RotationSchedule for Plugin {
    fn new(config: &Config) -> Result<Self> {
        let weekday = config.parsed("weekday", "a day such as `tuesday`", Weekday::parse)?;
        Ok(Self { weekday: weekday.unwrap_or(Weekday::Tuesday) })
    }

    fn decide(&self, request: &Request) -> Result<Decision> {
        let rules = rules(&request.policy.parameters)?;
        // What was missed is made up for on the next such day.
        let from = (request.last_rotation + rules.every).max(request.now);
        let first = request.calendar.date(from);
        let days = (0..14).map(|n| first.plus_days(n)).filter(|d| d.weekday() == self.weekday);
        let times = days.map(|date| request.calendar.instant(date, rules.at));
        let Some(time) = times.into_iter().find(|time| *time >= from) else {
            return Err(Error::internal("there is such a day every week"));
        };
        log::debug(format!("{} rotates at {time}", request.key.name));
        Ok(Decision::RotateAt(time))
    }

    fn check_policy(&self, policy: &Policy) -> Result<()> {
        if rules(&policy.parameters)?.every > policy.max_interval {
            return Err(Error::invalid("`every` must not be longer than maxInterval"));
        }
        Ok(())
    }
}

fn rules(parameters: &Parameters) -> Result<Rules> {
    let at = parameters.parsed("at", "a time of day such as `02:00`", Time::parse)?;
    Ok(Rules {
        every: parameters.duration("every")?.unwrap_or(DAY * 90),
        at: at.unwrap_or(Time::MIDNIGHT),
    })
}

rotation::export!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::testing::{at, berlin, rotation_request};

    fn plugin() -> Plugin {
        Plugin::new(&Config::from([("weekday", "tuesday")])).unwrap()
    }

    #[test]
    fn waits_for_the_day() {
        let mut request = rotation_request();
        request.last_rotation = at("2026-01-05T10:00:00Z");
        request.calendar = berlin();
        request.policy.parameters = Parameters::from([("every", "90d"), ("at", "02:30")]);
        // 5 April is a Sunday; on Tuesday it is summer.
        let expected = Decision::RotateAt(at("2026-04-07T00:30:00Z"));
        assert_eq!(plugin().decide(&request), Ok(expected));
    }

    #[test]
    fn refuses_an_interval_that_never_comes() {
        let mut policy = rotation_request().policy;
        policy.max_interval = DAY * 30;
        assert!(plugin().check_policy(&policy).is_err());
    }
}
