//! The encryption context: non-secret pairs bound to a ciphertext as associated data, logged in
//! the audit trail and readable in policies.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// Most pairs in one context.
pub const MAX_PAIRS: usize = 32;
/// Most bytes in the canonical form of one context.
pub const MAX_BYTES: usize = 8 * 1024;

/// A checked encryption context. Its canonical bytes are: `u16` count, then the pairs in byte
/// order of their names, each `u16` length ‖ name ‖ `u32` length ‖ value, big endian, UTF-8 as
/// given (`docs/formats/ciphertext.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`Error::ContextTooLarge`].
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, Error> {
        let size: usize = 2 + pairs.iter().map(|(n, v)| 6 + n.len() + v.len()).sum::<usize>();
        if pairs.len() > MAX_PAIRS || size > MAX_BYTES {
            return Err(Error::ContextTooLarge);
        }
        Ok(Self(pairs))
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pairs in byte order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one pair.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let room = |(name, value): (&String, &String)| 6 + name.len() + value.len();
        let mut out = Vec::with_capacity(2 + self.0.iter().map(room).sum::<usize>());
        // INVARIANT: the limits above keep every length below its field's range.
        out.extend_from_slice(&u16::try_from(self.0.len()).unwrap_or(u16::MAX).to_be_bytes());
        for (name, value) in &self.0 {
            out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        out
    }
}

impl Serialize for EncryptionContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EncryptionContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = EncryptionContext;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<EncryptionContext, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if pairs.len() >= MAX_PAIRS {
                        return Err(A::Error::custom(Error::ContextTooLarge));
                    }
                    if pairs.insert(name, value).is_some() {
                        return Err(A::Error::custom(
                            "a name occurs twice in the encryption context",
                        ));
                    }
                }
                EncryptionContext::new(pairs).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl utoipa::PartialSchema for EncryptionContext {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        <BTreeMap<String, String> as utoipa::PartialSchema>::schema()
    }
}

impl utoipa::ToSchema for EncryptionContext {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_bytes_are_frozen() {
        let context: EncryptionContext =
            serde_json::from_str(r#"{"tenant":"eu","a":"\u00e9"}"#).unwrap();
        let expected = [
            &[0, 2][..],
            &[0, 1, b'a', 0, 0, 0, 2, 0xc3, 0xa9],
            &[0, 6, b't', b'e', b'n', b'a', b'n', b't', 0, 0, 0, 2, b'e', b'u'],
        ]
        .concat();
        assert_eq!(context.canonical(), expected);
    }

    #[test]
    fn duplicates_and_excess_are_refused() {
        assert!(serde_json::from_str::<EncryptionContext>(r#"{"a":"1","a":"1"}"#).is_err());
        assert!(serde_json::from_str::<EncryptionContext>(r#"{"a":1}"#).is_err());
        let many: BTreeMap<_, _> = (0..33).map(|i| (format!("n{i}"), String::new())).collect();
        assert_eq!(EncryptionContext::new(many), Err(Error::ContextTooLarge));
        let large = BTreeMap::from([("a".to_owned(), "x".repeat(MAX_BYTES))]);
        assert_eq!(EncryptionContext::new(large), Err(Error::ContextTooLarge));
    }

    proptest! {
        #[test]
        fn different_contexts_have_different_bytes(
            a in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..4),
            b in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..4),
        ) {
            let (left, right) =
                (EncryptionContext::new(a.clone()).unwrap(), EncryptionContext::new(b.clone()).unwrap());
            prop_assert_eq!(a == b, left.canonical() == right.canonical());
        }
    }
}
