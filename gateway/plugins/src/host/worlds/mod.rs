//! One module a world: from the hub's words to the contract's and back, with every answer judged.

mod calendar;
mod json;
mod kdf;
mod kdf_plan;
mod rotation;
mod rotation_request;
mod sink;

pub use kdf::{KdfContext, KdfPlugin};
pub use rotation::RotationPlugin;
pub use rotation_request::{
    CalendarFacts, KeyFacts, PolicyFacts, RotationRequest, TransitionFacts, VersionFacts,
};
pub use sink::{Delivery, SinkBatch, SinkEntry, SinkOutcome, SinkPlugin};

use hub_model::Timestamp;
use hub_model::extend::PluginFailure;

use super::bindings::types::Field;
use super::errors::nonsense;

/// The last instant that answers may name: 9999-12-31T23:59:59.999Z.
const LAST_MILLIS: u64 = 253_402_300_799_999;

/// Milliseconds, as the contract counts. Times before 1970 become 1970.
fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0)
}

/// A time that a plugin names.
fn instant(millis: u64) -> Result<Timestamp, PluginFailure> {
    let micros = i64::try_from(millis).ok().filter(|_| millis <= LAST_MILLIS);
    let micros = micros.and_then(|millis| millis.checked_mul(1000));
    micros.map(Timestamp::from_micros).ok_or_else(|| nonsense("it names a time beyond year 9999"))
}

fn duration_millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn fields<'a, N: AsRef<str> + 'a, V: AsRef<str> + 'a>(
    pairs: impl IntoIterator<Item = (&'a N, &'a V)>,
) -> Vec<Field> {
    let field = |(name, value): (&N, &V)| Field {
        name: name.as_ref().to_owned(),
        value: value.as_ref().to_owned(),
    };
    pairs.into_iter().map(field).collect()
}

/// The same question twice, and not the same answer.
fn fickle(what: &str) -> PluginFailure {
    nonsense(format!("asked twice, it gave two {what}"))
}
