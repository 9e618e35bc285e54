//! Typed ids: 16 bytes (UUIDv7), written as a prefix and 26 characters of lower-case Crockford
//! base32 (`key_01jd8r…`), so that ids sort by creation and cannot be mistaken for one another.

use std::fmt;
use std::str::FromStr;

use crate::Error;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Writes 16 bytes as 26 base32 characters (the first carries only 3 bits).
fn encode(bytes: [u8; 16], out: &mut [u8; 26]) {
    let value = u128::from_be_bytes(bytes);
    // Words of twelve characters, so that nothing but the cut is 128-bit arithmetic.
    let word = |value: u128| (value & ((1 << 60) - 1)) as u64;
    let write = |slots: &mut [u8], mut word: u64| {
        for slot in slots.iter_mut().rev() {
            *slot = ALPHABET.get((word & 31) as usize).copied().unwrap_or(b'0');
            word >>= 5;
        }
    };
    let (first, rest) = out.split_at_mut(2);
    let (second, third) = rest.split_at_mut(12);
    write(first, word(value >> 120));
    write(second, word(value >> 60));
    write(third, word(value));
}

fn decode(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 26 {
        return None;
    }
    let mut value: u128 = 0;
    for (position, byte) in text.iter().enumerate() {
        let digit = ALPHABET.iter().position(|a| a == byte)?;
        if position == 0 && digit > 7 {
            return None;
        }
        value = (value << 5) | u128::try_from(digit).ok()?;
    }
    Some(value.to_be_bytes())
}

/// The text form of an id.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; 32],
    len: usize,
}

impl IdText {
    fn new(prefix: &str, id: [u8; 16]) -> Self {
        let mut bytes = [0; 32];
        let len = prefix.len() + 26;
        let mut text = [0; 26];
        encode(id, &mut text);
        // INVARIANT: prefixes have at most six bytes, the underscore included.
        if let Some((head, tail)) = bytes.get_mut(..len).map(|b| b.split_at_mut(prefix.len())) {
            head.copy_from_slice(prefix.as_bytes());
            tail.copy_from_slice(&text);
        }
        Self { bytes, len }
    }
}

impl std::ops::Deref for IdText {
    type Target = str;

    fn deref(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What every text form starts with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id: time-ordered and unguessable enough to be unique (UUIDv7, RFC 9562 §5.7).
            #[must_use]
            pub fn generate() -> Self {
                Self(*uuid::Uuid::now_v7().as_bytes())
            }

            /// The id of these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Appends the text form, without the detour of formatting.
            pub fn append_to(&self, out: &mut String) {
                out.push_str(&self.text());
            }

            /// The text form, without an allocation.
            #[must_use]
            pub fn text(&self) -> IdText {
                IdText::new(concat!($prefix, "_"), self.0)
            }

            /// The 16 bytes, as bound into formats.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|rest| decode(rest.as_bytes()))
                    .map(Self)
                    .ok_or_else(|| Error::Id {
                        kind: $kind,
                        prefix: $prefix,
                        text: text.chars().take(64).collect(),
                    })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-7][0-9a-hjkmnp-tv-z]{25}$")))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    )*};
}

ids! {
    /// A hub: one installation with one root key.
    HubId, "hub", "hub";
    /// A service registration: one security boundary.
    RegistrationId, "reg", "registration";
    /// A participant of a registration: user, device or service.
    ParticipantId, "ptc", "participant";
    /// A key, over all its versions.
    KeyId, "key", "key";
    /// A credential record, by which it is listed and revoked (not the public id inside an API key).
    CredentialId, "crd", "credential";
    /// One request, as echoed in `X-Request-Id` when the caller gave none.
    RequestId, "req", "request";
    /// A key to wrap one key with, for its import.
    ImportJobId, "job", "import job";
    /// Identifies a long operation.
    OperationId, "op", "operation";
    /// The revocation of a token of another issuer: a keyed hash of what it revokes.
    TokenRevocationId, "trv", "token revocation";
    /// A grant: some actions of one participant on one key.
    GrantId, "gnt", "grant";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appended_id_reads_as_a_displayed_one() {
        let id = KeyId::generate();
        let mut text = "x".to_owned();
        id.append_to(&mut text);
        assert_eq!(text, format!("x{id}"));
    }
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_form_round_trips(bytes: [u8; 16]) {
            let id = KeyId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        }

        #[test]
        fn any_text_is_refused_or_canonical(text in "key_[0-9a-z]{24,28}") {
            if let Ok(id) = text.parse::<KeyId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn prefixes_keep_kinds_apart() {
        let key = KeyId::generate().to_string();
        assert!(key.parse::<RegistrationId>().is_err());
        assert!("key_8zzzzzzzzzzzzzzzzzzzzzzzzz".parse::<KeyId>().is_err(), "130 bits do not fit");
    }

    #[test]
    fn ids_sort_by_creation() {
        let mut ids: Vec<_> = (0..100).map(|_| KeyId::generate()).collect();
        let texts: Vec<_> = ids.iter().map(ToString::to_string).collect();
        ids.sort();
        let mut sorted = texts.clone();
        sorted.sort();
        assert_eq!(texts, sorted);
    }
}
