//! Bytes in transit that must not be printed, logged, compared in variable time or left behind:
//! plaintexts and credentials. Key material never has this form outside `crypto`.

use std::fmt;

use base64_simd::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::Error;

/// Decodes standard or URL-safe base64, padded or not. Stray bits and other spellings of the same
/// bytes are refused.
///
/// # Errors
/// [`Error::Base64`].
pub fn decode_base64(text: &str) -> Result<Vec<u8>, Error> {
    // The common spelling first; the others differ in a character it refuses.
    let bytes = text.as_bytes();
    let (standard, url_safe) = if bytes.len().is_multiple_of(4) {
        (STANDARD, URL_SAFE)
    } else {
        (STANDARD_NO_PAD, URL_SAFE_NO_PAD)
    };
    let decoded = standard.decode_to_vec(bytes).or_else(|_| url_safe.decode_to_vec(bytes));
    decoded.map_err(|_| Error::Base64)
}

/// Writes standard base64 with padding.
#[must_use]
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(bytes)
}

/// Appends standard base64 with padding.
pub fn append_base64(bytes: &[u8], out: &mut Vec<u8>) {
    STANDARD.encode_append(bytes, out);
}

/// Bytes of standard base64 with padding.
#[must_use]
pub const fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

/// Writes URL-safe base64 without padding.
#[must_use]
pub fn encode_base64_url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Bytes that are erased when dropped and shown as `[secret]`. On the wire: base64.
#[derive(Clone, Default)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes the bytes over. The vector must not have been grown since it held secrets, because a
    /// reallocation leaves a copy behind.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = encode_base64(&self.0);
        let outcome = serializer.serialize_str(&text);
        text.zeroize();
        outcome
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = SecretBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a base64 string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SecretBytes, E> {
                decode_base64(text).map(SecretBytes).map_err(E::custom)
            }

            fn visit_string<E: serde::de::Error>(self, mut text: String) -> Result<SecretBytes, E> {
                let outcome = self.visit_str(&text);
                text.zeroize();
                outcome
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl utoipa::PartialSchema for SecretBytes {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::Byte,
            )))
            .into()
    }
}

impl utoipa::ToSchema for SecretBytes {}

/// A secret text, such as an API key: erased when dropped, shown as `[secret]`, a plain string on
/// the wire.
#[derive(Clone, Default)]
pub struct SecretText(String);

impl SecretText {
    /// Takes the text over.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl utoipa::PartialSchema for SecretText {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .into()
    }
}

impl utoipa::ToSchema for SecretText {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_one_spelling_per_alphabet() {
        for good in ["", "AA==", "AA", "+/8=", "-_8=", "-_8", "aGVsbG8="] {
            assert!(decode_base64(good).is_ok(), "{good:?}");
        }
        for bad in ["A", "AB==", "AA=", "A===", "+_8=", "AA==\n", " AA==", "AA==AA==", "a?=="] {
            assert!(decode_base64(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn debug_and_json_errors_never_show_the_bytes() {
        let secret = SecretBytes::new(b"canary-secret".to_vec());
        assert_eq!(format!("{secret:?}"), "[secret]");
        let error = serde_json::from_str::<SecretBytes>("\"canary!secret\"").unwrap_err();
        assert!(!error.to_string().contains("canary"));
    }
}
