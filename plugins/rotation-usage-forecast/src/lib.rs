//! Predicts when a key's primary version reaches its limits of use, and rotates before. `README.md`
//! says how.

use std::time::Duration;

use cipher_hub_plugin::rotation::{self, Decision, Policy, Request, RotationSchedule};
use cipher_hub_plugin::time::{DAY, Timestamp};
use cipher_hub_plugin::{Config, Error, Parameters, Result};

/// NIST SP 800-38D, §8.3: the most invocations with random nonces under one key.
const OPERATIONS: u64 = 1 << 32;

#[derive(Debug)]
struct Forecast;

#[derive(Debug)]
struct Rules {
    operations: u64,
    bytes: Option<u64>,
    margin: u64,
    look: Duration,
}

impl RotationSchedule for Forecast {
    fn new(_: &Config) -> Result<Self> {
        Ok(Self)
    }

    fn decide(&self, request: &Request) -> Result<Decision> {
        let rules = Rules::new(&request.policy.parameters)?;
        let key = &request.key;
        let version = key
            .primary_version()
            .ok_or_else(|| Error::internal(format!("{} has no primary version", key.id)))?;
        let uses = [
            ("operations", version.protect_operations, Some(rules.operations)),
            ("bytes", version.protect_bytes, rules.bytes),
        ];
        let since = version.primary_since.unwrap_or(request.last_rotation);
        let mut end: Option<Timestamp> = None;
        for (what, used, limit) in uses {
            let Some(limit) = limit else { continue };
            let threshold = rules.threshold(limit);
            if used >= threshold {
                return Ok(Decision::RotateNow(format!("{used} of at most {limit} {what}")));
            }
            if let Some(time) = reached(used, threshold, since, request.now) {
                end = Some(end.map_or(time, |end| end.min(time)));
            }
        }
        Ok(rules.answer(request, end))
    }

    fn check_policy(&self, policy: &Policy) -> Result<()> {
        Rules::new(&policy.parameters).map(drop)
    }
}

impl Rules {
    fn new(parameters: &Parameters) -> Result<Self> {
        let margin = parameters.integer("margin")?.unwrap_or(10);
        if margin > 90 {
            return Err(Error::invalid("`margin` must be 0 to 90 per cent"));
        }
        let operations = parameters.integer("operations")?.unwrap_or(OPERATIONS);
        if operations == 0 {
            return Err(Error::invalid("`operations` must be at least 1"));
        }
        let look = parameters.duration("look")?.unwrap_or(DAY);
        if look < Duration::from_secs(60) {
            return Err(Error::invalid("`look` must be a minute or more"));
        }
        let bytes = parameters.integer("bytes")?.filter(|bytes| *bytes > 0);
        Ok(Self { operations, bytes, margin, look })
    }

    /// What is left of a limit without its margin; at least 1.
    fn threshold(&self, limit: u64) -> u64 {
        let kept = u128::from(limit) * u128::from(100 - self.margin) / 100;
        u64::try_from(kept).unwrap_or(limit).max(1)
    }

    fn answer(&self, request: &Request, end: Option<Timestamp>) -> Decision {
        let (now, latest) = (request.now, request.latest());
        // Use may grow, so a date is believed only when it is near. Until then it is looked at again
        // when half of the time is over: a doubled rate is seen before the limit.
        let wait = end.map_or(self.look, |end| end.since(now) / 2);
        let again = now + wait.clamp(self.look / 16, self.look);
        match end {
            Some(end) if end <= again => Decision::RotateAt(end.min(latest)),
            _ if again >= latest => Decision::RotateAt(latest),
            _ => Decision::AskAgain(again),
        }
    }
}

/// When `threshold` is reached at the rate so far; none where it never is.
fn reached(used: u64, threshold: u64, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let elapsed = now.since(since).as_millis();
    let left = u128::from(threshold.saturating_sub(used));
    // No use: no rate. Without a time that has passed there is none either.
    if used == 0 || elapsed == 0 {
        return None;
    }
    let millis = left.saturating_mul(elapsed) / u128::from(used);
    Some(now + Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

rotation::export!(Forecast);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::Fields;
    use cipher_hub_plugin::testing::{at, rotation_request};

    /// Ten days after the rotation, with a limit of a thousand operations and a margin of 10 %.
    fn decide(operations: u64, bytes: u64, more: &[(&str, &str)]) -> Result<Decision> {
        let mut request = rotation_request();
        request.now = at("2026-01-11T00:00:00Z");
        request.key.versions[0].protect_operations = operations;
        request.key.versions[0].protect_bytes = bytes;
        let limits = [("operations", "1000"), ("margin", "10")];
        request.policy.parameters = limits.iter().chain(more).copied().collect();
        request.policy.max_interval = DAY * 100;
        Forecast.decide(&request)
    }

    #[test]
    fn rotates_at_once_past_the_margin() {
        let now = |why: &str| Ok(Decision::RotateNow(why.to_owned()));
        assert_eq!(decide(900, 0, &[]), now("900 of at most 1000 operations"));
        assert_eq!(decide(5000, 0, &[]), now("5000 of at most 1000 operations"));
        assert_eq!(decide(1, 95, &[("bytes", "100")]), now("95 of at most 100 bytes"));
        assert_ne!(decide(899, 0, &[]), now("899 of at most 1000 operations"));
    }

    #[test]
    fn names_a_date_when_it_is_near() {
        // 800 in ten days, a hundred left: in 30 hours, looked at in 15.
        let ask = Ok(Decision::AskAgain(at("2026-01-11T15:00:00Z")));
        assert_eq!(decide(800, 0, &[]), ask);
        // 899 in ten days, one left: in 961 seconds, and so before it would be looked at again.
        let date = Ok(Decision::RotateAt(at("2026-01-11T00:16:01.067Z")));
        assert_eq!(decide(899, 0, &[]), date);
        // Bytes come first.
        assert_eq!(decide(1, 899, &[("bytes", "1000")]), date);
    }

    #[test]
    fn asks_again_while_it_is_far() {
        let tomorrow = Ok(Decision::AskAgain(at("2026-01-12T00:00:00Z")));
        assert_eq!(decide(0, 0, &[]), tomorrow);
        assert_eq!(decide(10, 0, &[]), tomorrow);
        assert_eq!(decide(10, u64::MAX, &[]), tomorrow);
        let later = Ok(Decision::AskAgain(at("2026-01-21T00:00:00Z")));
        assert_eq!(decide(10, 0, &[("look", "10d")]), later);
    }

    #[test]
    fn ends_with_the_policys_bounds() {
        let end = Ok(Decision::RotateAt(at("2026-04-11T00:00:00Z")));
        assert_eq!(decide(1, 0, &[("look", "365d")]), end);
        let huge = [("operations", "18446744073709551615"), ("look", "365d")];
        let parameters = Fields::from(huge);
        let mut request = rotation_request();
        request.policy.parameters = parameters;
        request.key.versions[0].protect_operations = u64::MAX / 2;
        request.now = request.last_rotation + Duration::from_millis(1);
        assert!(matches!(Forecast.decide(&request), Ok(Decision::RotateAt(_))));
    }

    #[test]
    fn a_steady_rate_never_passes_the_limit() {
        // One operation a minute, asked when it says so.
        let mut request = rotation_request();
        request.policy.parameters = Fields::from([("operations", "100000"), ("margin", "0")]);
        for asked in 0.. {
            let minutes = request.now.since(request.last_rotation).as_secs() / 60;
            request.key.versions[0].protect_operations = minutes;
            assert!(minutes <= 100_000 && asked < 200);
            match Forecast.decide(&request).unwrap() {
                Decision::AskAgain(time) => request.now = time,
                Decision::RotateAt(time) => {
                    let minutes = time.since(request.last_rotation).as_secs() / 60;
                    assert!((99_900..=100_000).contains(&minutes), "{minutes}");
                    return;
                }
                Decision::RotateNow(why) => panic!("{why}"),
            }
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for wrong in [("margin", "91"), ("operations", "0"), ("look", "1s"), ("bytes", "-1")] {
            assert!(matches!(decide(1, 1, &[wrong]), Err(Error::InvalidConfig(_))), "{wrong:?}");
        }
        let mut request = rotation_request();
        request.key.versions.clear();
        assert!(matches!(Forecast.decide(&request), Err(Error::Internal(_))));
    }
}
