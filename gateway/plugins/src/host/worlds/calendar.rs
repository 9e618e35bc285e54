//! The clock of a time zone for the time that a question is about, so that plugins need no database
//! of zones. From the zones compiled into the program, as all dates of the hub are.

use std::sync::LazyLock;
use std::time::Duration;

use hub_model::Timestamp;
use hub_model::extend::{FailureKind, PluginFailure};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::rotation_request::{CalendarFacts, TransitionFacts};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// As many changes as a calendar has.
const MOST: usize = 64;
/// A calendar goes at least this far beyond now.
const BEYOND_NOW: Duration = Duration::from_secs(366 * 86_400);

/// The calendar of a zone from `start` until `end`, and beyond `now` in any case.
pub(super) fn calendar(
    zone: &str,
    start: Timestamp,
    end: Timestamp,
    now: Timestamp,
) -> Result<CalendarFacts, PluginFailure> {
    let unknown = || {
        let text = format!("`zone` is no time zone of the IANA database: {zone}");
        PluginFailure::new(FailureKind::Refused, &text)
    };
    let rules =
        if zone == "UTC" { TimeZone::UTC } else { ZONES.get(zone).map_err(|_| unknown())? };
    let begun = jiff_time(start);
    let end = jiff_time(end.max(now.plus(BEYOND_NOW)));
    let mut last = rules.to_offset(begun).seconds();
    let offset_seconds = last;
    let mut transitions = Vec::new();
    for change in rules.following(begun).take_while(|change| change.timestamp() <= end) {
        let offset = change.offset().seconds();
        // Names change too; only the distance from UTC counts here.
        if offset != last && transitions.len() < MOST {
            let at = Timestamp::from_micros(change.timestamp().as_microsecond());
            transitions.push(TransitionFacts { at, offset_seconds: offset });
        }
        last = offset;
        if transitions.len() == MOST {
            break;
        }
    }
    Ok(CalendarFacts { zone: zone.to_owned(), offset_seconds, transitions })
}

/// The far ends of time are as far as jiff's go.
fn jiff_time(at: Timestamp) -> jiff::Timestamp {
    let ends = if at.as_micros() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn clocks_are_put_forward_and_back() {
        let (start, end) = (at("2026-01-10T00:00:00Z"), at("2027-01-10T00:00:00Z"));
        let zurich = calendar("Europe/Zurich", start, end, start).unwrap();
        assert_eq!(zurich.offset_seconds, 3600);
        let changes: Vec<_> = zurich.transitions.iter().map(|t| (t.at, t.offset_seconds)).collect();
        assert_eq!(
            changes,
            [(at("2026-03-29T01:00:00Z"), 7200), (at("2026-10-25T01:00:00Z"), 3600)]
        );
    }

    #[test]
    fn utc_never_changes_and_what_is_no_zone_is_refused() {
        let (start, end) = (at("2026-01-10T00:00:00Z"), Timestamp::MAX);
        let utc = calendar("UTC", start, end, start).unwrap();
        assert_eq!((utc.offset_seconds, utc.transitions.len()), (0, 0));
        let refused = calendar("Mars/Olympus", start, end, start).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Refused);
    }

    #[test]
    fn there_are_never_more_than_fit() {
        let start = at("1990-01-10T00:00:00Z");
        let long = calendar("America/New_York", start, Timestamp::MAX, start).unwrap();
        assert_eq!(long.transitions.len(), MOST);
        assert!(long.transitions.is_sorted_by(|a, b| a.at < b.at));
    }
}
