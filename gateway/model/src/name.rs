//! User-chosen names and labels. Compared as bytes; nothing is folded or trimmed, so a look-alike
//! is simply another name, and a name outside the alphabet does not exist.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Error;

/// The most tags one record may carry.
pub const MAX_TAGS: usize = 32;

/// A name of a registration, participant or key: `[a-z][a-z0-9-]{1,62}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^[a-z][a-z0-9-]{1,62}$", example = "orders")]
pub struct Name(Box<str>);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bytes = text.as_bytes();
        let tail = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let well_formed = (2..=63).contains(&bytes.len())
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.iter().all(tail);
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(Error::Name(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Labels on a record: at most 32 pairs, readable in policies as Cedar tags. Never secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(value_type = BTreeMap<String, String>, example = json!({"team": "payments"}))]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Checks every pair.
    ///
    /// # Errors
    /// [`Error::Tag`] names the first bad pair; [`Error::TooManyTags`] when there are more than 32.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, Error> {
        if pairs.len() > MAX_TAGS {
            return Err(Error::TooManyTags(MAX_TAGS));
        }
        for (name, value) in &pairs {
            let tail = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._/-".contains(b);
            let well_formed = (1..=63).contains(&name.len())
                && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
                && name.as_bytes().iter().all(tail)
                && value.len() <= 256
                && !value.chars().any(char::is_control);
            if !well_formed {
                return Err(Error::Tag(name.chars().take(80).collect()));
            }
        }
        Ok(Self(pairs))
    }

    /// Pairs in byte order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one tag.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether there is no tag.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tags after a merge patch (RFC 7396): a null removes, a value sets.
    ///
    /// # Errors
    /// As [`Tags::new`].
    pub fn merged(&self, patch: BTreeMap<String, Option<String>>) -> Result<Self, Error> {
        let mut pairs = self.0.clone();
        for (name, value) in patch {
            match value {
                Some(value) => pairs.insert(name, value),
                None => pairs.remove(&name),
            };
        }
        Self::new(pairs)
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(deserializer.deserialize_map(UniquePairs)?).map_err(serde::de::Error::custom)
    }
}

/// Reads an object whose names are unique: two readers of a body must not see different tags.
struct UniquePairs;

impl<'de> Visitor<'de> for UniquePairs {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            if pairs.len() >= MAX_TAGS {
                return Err(A::Error::custom(Error::TooManyTags(MAX_TAGS)));
            }
            if pairs.insert(name, value).is_some() {
                return Err(A::Error::custom("a tag occurs twice"));
            }
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_occurs_once() {
        assert!(serde_json::from_str::<Tags>(r#"{"a":"1","b":"1"}"#).is_ok());
        assert!(serde_json::from_str::<Tags>(r#"{"a":"1","a":"1"}"#).is_err());
    }

    #[test]
    fn names_have_one_spelling() {
        for good in ["ab", "orders", "a1-b2", &"a".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a",
            "1a",
            "-a",
            "Orders",
            "a b",
            "ADMIN ",
            "root\u{200b}",
            "ａdmin",
            "a:b",
            "a/b",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn merge_patch_removes_by_null() {
        let tags = Tags::new(BTreeMap::from([("a".into(), "1".into())])).unwrap();
        let patch = BTreeMap::from([("a".into(), None), ("b".into(), Some("2".into()))]);
        let merged = tags.merged(patch).unwrap();
        assert_eq!(merged.iter().collect::<Vec<_>>(), [("b", "2")]);
    }
}
