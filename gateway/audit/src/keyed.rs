//! Fields of entries that an operator does not want in the clear: recorded as a keyed hash, so that
//! equal values can be told equal, and nobody without the hub's privacy key learns or guesses them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hub_crypto::SystemKeys;
use serde::{Serialize, Serializer};

/// A field that can be keyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The caller's address.
    Address,
    /// The values of the encryption context; their names stay.
    Context,
    /// The identity from outside.
    Identity,
}

impl Field {
    /// Every field, in the order of entries.
    pub const ALL: [Self; 3] = [Self::Address, Self::Context, Self::Identity];

    /// As in entries and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Context => "context",
            Self::Identity => "identity",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|field| field.name() == text);
        found.ok_or_else(|| format!("`{text}` is not one of address, context, identity"))
    }
}

impl TryFrom<String> for Field {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Which fields are keyed, and the key.
#[derive(Clone, Debug)]
pub struct Keyed {
    keys: Arc<SystemKeys>,
    fields: Vec<Field>,
}

impl Keyed {
    /// These fields, under the hub's privacy key.
    #[must_use]
    pub fn new(keys: Arc<SystemKeys>, mut fields: Vec<Field>) -> Self {
        fields.sort();
        fields.dedup();
        Self { keys, fields }
    }

    /// The keyed fields, in the order of entries.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether this field is keyed.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }

    /// `hmac:` and the first 16 bytes of HMAC-SHA-256 over `audit ‖ 00 ‖ field ‖ 00 ‖ name ‖ 00 ‖
    /// value`, in hex. The name is that of a pair of the context, else empty. 128 bits: no two
    /// values of a log meet by chance.
    #[must_use]
    pub fn hash(&self, field: Field, name: &str, value: &[u8]) -> String {
        let zero: &[u8] = &[0];
        let (kind, name) = (field.name().as_bytes(), name.as_bytes());
        let tag = self.keys.privacy().tag(&[b"audit", zero, kind, zero, name, zero, value]);
        format!("hmac:{}", crate::encode::hex(tag.get(..16).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_tell_fields_names_values_and_hubs_apart() {
        let keyed = || Keyed::new(Arc::new(SystemKeys::generate().unwrap()), vec![Field::Context]);
        let (one, other) = (keyed(), keyed());
        let hash = one.hash(Field::Context, "tenant", b"eu");
        assert_eq!(hash, one.hash(Field::Context, "tenant", b"eu"));
        assert_eq!(hash.len(), "hmac:".len() + 32);
        for different in [
            one.hash(Field::Context, "tenant", b"us"),
            one.hash(Field::Context, "region", b"eu"),
            one.hash(Field::Identity, "tenant", b"eu"),
            other.hash(Field::Context, "tenant", b"eu"),
        ] {
            assert_ne!(hash, different);
        }
        assert!(one.has(Field::Context) && !one.has(Field::Address));
        assert!("caller".parse::<Field>().is_err());
    }
}
