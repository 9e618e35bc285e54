//! A schedule whose dates a plugin gives: who is asked, with what, and within which bounds.

use std::fmt;

use super::Period;
use crate::extend::{Parameters, RotationBounds};
use crate::{Error, Name, Timestamp};

/// Most parameters of a plugin.
const MOST_PARAMETERS: usize = 32;
/// Most bytes of a parameter's name.
const LONGEST_NAME: usize = 64;
/// Most bytes of a parameter's value.
const LONGEST_VALUE: usize = 1024;

/// Dates by a plugin, within bounds that the hub keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSchedule {
    /// The plugin, by its name in the catalogue.
    pub plugin: Name,
    /// For the plugin.
    pub parameters: Parameters,
    /// The least time between two rotations by the schedule.
    pub min_interval: Period,
    /// The most time between two rotations.
    pub max_interval: Period,
}

impl PluginSchedule {
    /// No date before this counts.
    #[must_use]
    pub fn earliest(&self, last: Timestamp) -> Timestamp {
        after(self.min_interval, last)
    }

    /// No date after this counts.
    #[must_use]
    pub fn latest(&self, last: Timestamp) -> Timestamp {
        after(self.max_interval, last)
    }

    /// A date of the plugin as it counts: within the bounds. Should they contradict each other, the
    /// later one holds.
    #[must_use]
    pub fn within(&self, date: Timestamp, last: Timestamp) -> Timestamp {
        date.max(self.earliest(last)).min(self.latest(last))
    }

    /// The bounds as a plugin is told them: the calendar's months and years measured from the last
    /// rotation.
    #[must_use]
    pub fn bounds(&self, last: Timestamp) -> RotationBounds {
        RotationBounds {
            min_interval: self.earliest(last).since(last),
            max_interval: self.latest(last).since(last),
            parameters: self.parameters.clone(),
        }
    }

    /// Tells one schedule from another: an answer to one says nothing of another. Not secret; what
    /// a collision would cost is an answer within the bounds that was given for other parameters.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let (least, most) = (self.min_interval.to_string(), self.max_interval.to_string());
        let parameters = self.parameters.iter().flat_map(|(name, value)| [&**name, &**value]);
        fingerprint([self.plugin.as_str(), &least, &most].into_iter().chain(parameters))
    }

    /// Whether the parameters have the form that any plugin could take.
    pub(super) fn check_parameters(&self) -> Result<(), Error> {
        let refused =
            |detail: String| Err(Error::Rotation { pointer: "schedule/parameters", detail });
        if self.parameters.len() > MOST_PARAMETERS {
            return refused(format!("must be at most {MOST_PARAMETERS}"));
        }
        for (name, value) in &self.parameters {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(allowed) {
                let name: String = name.chars().take(LONGEST_NAME).collect();
                return refused(format!(
                    "{name:?} is not a name of 1 to {LONGEST_NAME} letters, digits, `_`, `.`, `-`"
                ));
            }
            if value.len() > LONGEST_VALUE || value.chars().any(char::is_control) {
                return refused(format!(
                    "the value of `{name}` must have at most {LONGEST_VALUE} bytes, and no control \
                     characters"
                ));
            }
        }
        Ok(())
    }
}

/// Tells one list of texts from another.
#[must_use]
pub fn fingerprint<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for text in texts {
        // The length before each text, so that no two lists read the same.
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes();
        for byte in length.into_iter().chain(text.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

fn after(period: Period, last: Timestamp) -> Timestamp {
    period.after(last).unwrap_or_else(|| last.plus(period.at_most()))
}

impl fmt::Display for PluginSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by plugin {}, {} to {} apart", self.plugin, self.min_interval, self.max_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(json: &str) -> PluginSchedule {
        match serde_json::from_str(json).unwrap() {
            super::super::Schedule::Plugin(it) => it,
            other => panic!("{other}"),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn dates_are_moved_to_the_nearer_bound() {
        let it = schedule(r#"{"plugin":"calendar","minInterval":"P1M","maxInterval":"P1Y"}"#);
        let last = at("2026-01-31T00:00:00Z");
        let (least, most) = (at("2026-02-28T00:00:00Z"), at("2027-01-31T00:00:00Z"));
        for (date, counts) in [
            (Timestamp::from_micros(i64::MIN), least),
            (last, least),
            (at("2026-03-05T00:00:00Z"), at("2026-03-05T00:00:00Z")),
            (Timestamp::MAX, most),
        ] {
            assert_eq!(it.within(date, last), counts);
        }
        assert_eq!(it.bounds(last).min_interval.as_secs(), 28 * 86_400);
        assert_eq!(it.bounds(last).max_interval.as_secs(), 365 * 86_400);
        // Bounds that validation refuses: no panic, and never after the last of them.
        let odd = schedule(r#"{"plugin":"calendar","minInterval":"P9D","maxInterval":"P1D"}"#);
        assert_eq!(odd.within(last, last), odd.latest(last));
    }

    #[test]
    fn every_member_tells_schedules_apart() {
        let some = [
            r#"{"plugin":"calendar","minInterval":"P1D","maxInterval":"P1Y"}"#,
            r#"{"plugin":"calendars","minInterval":"P1D","maxInterval":"P1Y"}"#,
            r#"{"plugin":"calendar","minInterval":"P2D","maxInterval":"P1Y"}"#,
            r#"{"plugin":"calendar","minInterval":"P1D","maxInterval":"P2Y"}"#,
            r#"{"plugin":"calendar","parameters":{"a":"bc"},"minInterval":"P1D","maxInterval":"P1Y"}"#,
            r#"{"plugin":"calendar","parameters":{"ab":"c"},"minInterval":"P1D","maxInterval":"P1Y"}"#,
            r#"{"plugin":"calendar","parameters":{"a":"b","c":""},"minInterval":"P1D","maxInterval":"P1Y"}"#,
        ];
        let prints: std::collections::BTreeSet<_> =
            some.iter().map(|json| schedule(json).fingerprint()).collect();
        assert_eq!(prints.len(), some.len());
        // Frozen: another hash would have every key asked about anew.
        assert_eq!(schedule(some[0]).fingerprint(), 0x8386_1c0e_2d2b_1808);
    }
}
