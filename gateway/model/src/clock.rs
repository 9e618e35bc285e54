//! Time as a value: [`Timestamp`] for instants, [`Clock`] as the only source of them, so that
//! tests own the time.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// An instant: microseconds since 1970-01-01T00:00:00Z, written as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The far end of time: for what has no end.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant this many microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The instant `duration` later; the far end of time on overflow.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// Time passed since `earlier`; zero when `earlier` lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

impl Timestamp {
    /// Appends the text form. What one second has in common is formatted once for each thread.
    pub fn append_to(self, out: &mut String) {
        thread_local! {
            static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
        }
        let (second, mut micros) = (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000));
        if !FOUR_DIGIT_YEARS.contains(&second) {
            out.push_str(&self.to_string());
            return;
        }
        SECOND.with_borrow_mut(|(known, text)| {
            if *known != second {
                *text = self.to_string();
                text.truncate(SECONDS.len());
                *known = second;
            }
            out.push_str(text);
            let mut digits = *b".000000Z";
            for slot in digits.iter_mut().skip(1).take(6).rev() {
                *slot = b'0' + u8::try_from(micros % 10).unwrap_or(0);
                micros /= 10;
            }
            out.push_str(std::str::from_utf8(&digits).unwrap_or_default());
        });
    }
}

/// Seconds whose text has the common form: 1970 to 9999.
const FOUR_DIGIT_YEARS: std::ops::Range<i64> = 0..253_402_207_200;
/// The part of a timestamp before its fraction.
const SECONDS: &str = "2026-01-31T00:00:00";

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => f.write_str("9999-12-30T22:00:00.000000Z"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse::<jiff::Timestamp>()
            .map(|time| Self(time.as_microsecond()))
            .map_err(|_| Error::Time(text.chars().take(64).collect()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

/// The only source of the current time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Time passed since some moment of this process, whatever is done to the date meanwhile.
    fn steady(&self) -> Duration {
        static BEGUN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        BEGUN.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until moved: for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64, AtomicI64);

impl ManualClock {
    /// A clock standing at `start`.
    #[must_use]
    pub const fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.as_micros()), AtomicI64::new(0))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.0.fetch_add(micros, Ordering::SeqCst);
        self.1.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the date forward (or back, by less than nothing) without time passing.
    pub fn jump(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.1.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appended_time_reads_as_a_displayed_one() {
        let far = i64::MAX;
        for micros in [0, 1, -1, 1_795_000_000_000_000, 1_795_000_000_999_999, far, -far, far] {
            for step in [0, 7, 1_000_000, 0] {
                let time = Timestamp::from_micros(micros.saturating_add(step));
                let mut text = String::new();
                time.append_to(&mut text);
                assert_eq!(text, time.to_string());
            }
        }
    }

    #[test]
    fn text_form_is_rfc_3339_with_microseconds() {
        let time: Timestamp = "2026-11-23T21:36:51.000042Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-23T21:36:51.000042Z");
        assert_eq!("2026-11-23T22:36:51.000042+01:00".parse::<Timestamp>().unwrap(), time);
        assert!("tomorrow".parse::<Timestamp>().is_err());
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(Timestamp::from_micros(5));
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().as_micros(), 1_000_005);
    }
}
