//! Which certificate: its SHA-256, as `openssl x509 -fingerprint -sha256` shows it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// SHA-256 of a certificate in DER (`x5t#S256` of RFC 8705 §3.1, in hexadecimal digits). Read with
/// or without colons in either case; written without, in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thumbprint(pub [u8; 32]);

impl FromStr for Thumbprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::Thumbprint(text.chars().take(100).collect());
        let digits: Vec<u8> = match text.len() {
            64 => text.bytes().collect(),
            95 if text.split(':').all(|pair| pair.len() == 2) => {
                text.bytes().filter(|byte| *byte != b':').collect()
            }
            _ => return Err(refuse()),
        };
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
        let mut bytes = [0_u8; 32];
        let (pairs, _) = digits.as_chunks::<2>();
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (high, low) = value(*high).zip(value(*low)).ok_or_else(refuse)?;
            *byte = high << 4 | low;
        }
        if digits.len() == 64 { Ok(Self(bytes)) } else { Err(refuse()) }
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Thumbprint {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("SHA-256 of a certificate in DER: 64 hexadecimal digits"))
            .into()
    }
}

impl utoipa::ToSchema for Thumbprint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_one_is_written() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        let parsed: Thumbprint = colons.parse().unwrap();
        assert_eq!((parsed, parsed.to_string()), (Thumbprint([0x0f; 32]), plain.clone()));
        assert_eq!(plain.parse::<Thumbprint>().unwrap(), parsed);
        for text in ["", "0f", &plain[1..], &plain.replace('f', "g"), &colons.replace("0F:", "0F-")]
        {
            assert!(text.parse::<Thumbprint>().is_err(), "{text}");
        }
    }
}
