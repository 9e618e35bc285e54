//! How durations, sizes, lists and switched-off values are written: `"10s"`, `"64KiB"`, `"a, b"`
//! and `""`.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// Parses `250ms`, `10s`, `5m`, `2h`, `30d`; zero is refused.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).filter(|millis| *millis > 0).map(Duration::from_millis)
}

/// Parses `98304`, `64KiB`, `8MiB`, `1GiB`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit.trim_start()))
}

pub(super) mod duration {
    use super::{Deserializer, Duration, Error, Visitor, fmt, parse_duration};

    pub(in super::super) fn serialize<S: serde::Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let millis = value.as_millis();
        if millis.is_multiple_of(1000) {
            serializer.collect_str(&format_args!("{}s", millis / 1000))
        } else {
            serializer.collect_str(&format_args!("{millis}ms"))
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit such as \"10s\", \"250ms\" or \"30d\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                parse_duration(text)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A duration; `""` is never.
pub(super) mod duration_or_never {
    use super::{Deserializer, Duration, Error, Visitor, duration, fmt, parse_duration};

    pub(in super::super) fn serialize<S: serde::Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            None => serializer.serialize_str(""),
            Some(value) => duration::serialize(value, serializer),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Option<Duration>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit such as \"400d\", or \"\" for never")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Option<Duration>, E> {
                if text.is_empty() {
                    return Ok(None);
                }
                let parsed = parse_duration(text);
                parsed
                    .map(Some)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// Lets an enumeration be read from one of its words.
macro_rules! words {
    ($kind:ident: $($variant:ident = $word:literal,)*) => {
        impl TryFrom<String> for $kind {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                match text.as_str() {
                    $($word => Ok(Self::$variant),)*
                    other => {
                        let known = [$(concat!("`", $word, "`")),*].join(" or ");
                        Err(format!("`{}` should be {known}", other.escape_debug()))
                    }
                }
            }
        }
    };
}

pub(super) use words;

struct Size;

impl Visitor<'_> for Size {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as 98304 or \"64KiB\"")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        u64::try_from(value)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse_size(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

pub(super) mod size64 {
    use super::{Deserializer, Size};

    pub(in super::super) fn serialize<S: serde::Serializer>(
        value: &u64,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(*value)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u64, D::Error> {
        deserializer.deserialize_any(Size)
    }
}

pub(super) mod size {
    use super::{Deserializer, Error, Size};

    pub(in super::super) fn serialize<S: serde::Serializer>(
        value: &usize,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(*value).unwrap_or(u64::MAX))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<usize, D::Error> {
        let value = deserializer.deserialize_any(Size)?;
        usize::try_from(value).map_err(|_| D::Error::custom("this size does not fit"))
    }
}

/// A list, or its members in one string with commas between.
pub(super) fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr,
    D: Deserializer<'de>,
{
    struct Many<T>(PhantomData<T>);
    impl<'de, T: FromStr> Visitor<'de> for Many<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address with its port such as \"127.0.0.1:8420\", or a list of them")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts
                .map(|part| {
                    part.parse()
                        .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(part), &self))
                })
                .collect()
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                all.push(text.parse().map_err(|_| {
                    A::Error::invalid_value(serde::de::Unexpected::Str(&text), &self)
                })?);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Many(PhantomData))
}

/// Paths: a list, or its members in one string with commas between.
pub(super) fn one_or_many_paths<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<PathBuf>, D::Error> {
    let texts = texts(deserializer, "a path, or a list of them")?;
    Ok(texts.into_iter().filter(|text| !text.is_empty()).map(PathBuf::from).collect())
}

/// Words of an enumeration: a list, or its members in one string with commas between.
pub(super) fn one_or_many_words<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: TryFrom<String, Error = String>,
    D: Deserializer<'de>,
{
    let texts = texts(deserializer, "a word, or a list of them")?;
    texts.into_iter().map(|text| T::try_from(text).map_err(D::Error::custom)).collect()
}

fn texts<'de, D: Deserializer<'de>>(
    deserializer: D,
    expecting: &'static str,
) -> Result<Vec<String>, D::Error> {
    struct Many(&'static str);
    impl<'de> Visitor<'de> for Many {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(parts.map(str::to_owned).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(text) = list.next_element()? {
                all.push(text);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Many(expecting))
}

/// A path; the empty one is none.
pub(super) fn maybe_path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let text: String = serde::Deserialize::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

/// An address; the empty one is none.
pub(super) fn maybe_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let mut all = one_or_many(deserializer)?;
    if all.len() > 1 {
        return Err(D::Error::custom("only one address is possible here"));
    }
    Ok(all.pop())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_are_not_zero() {
        assert_eq!(parse_duration("30d"), Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_duration(" 250 ms"), Some(Duration::from_millis(250)));
        for bad in ["", "10", "0s", "-1s", "s", "10 years", "99999999999999999999s", "1é"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("7"), Some(7));
        for bad in ["", "KiB", "1KB", "1.5MiB", "99999999999GiB", "-1"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
