//! How requests are written in cases (`cases/*.json`): times as RFC 3339 or milliseconds, lengths as
//! ISO 8601 or milliseconds.

use std::time::Duration;

use hub_model::{Period, Timestamp};
use serde::{Deserialize, Deserializer, Serializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Either<T> {
    Millis(u64),
    Text(T),
}

pub(super) mod time {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        match Either::<Timestamp>::deserialize(deserializer)? {
            Either::Text(at) => Ok(at),
            Either::Millis(millis) => {
                super::super::instant(millis).map_err(serde::de::Error::custom)
            }
        }
    }
}

pub(super) mod some_time {
    use super::*;
    use serde::Serialize;

    pub(in super::super) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        match Option::<Either<Timestamp>>::deserialize(deserializer)? {
            None => Ok(None),
            Some(Either::Text(at)) => Ok(Some(at)),
            Some(Either::Millis(millis)) => {
                super::super::instant(millis).map(Some).map_err(serde::de::Error::custom)
            }
        }
    }
}

pub(super) mod length {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        length: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(super::super::duration_millis(*length))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Ok(match Either::<Period>::deserialize(deserializer)? {
            Either::Text(period) => period.at_most(),
            Either::Millis(millis) => Duration::from_millis(millis),
        })
    }
}
