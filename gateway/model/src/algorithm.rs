//! The table of algorithms: one row says an algorithm's name on the wire, what it is for, how long
//! its keys are and which suite number ciphertexts carry.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Purpose};

/// An algorithm a key can be created with. Chosen at creation, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// AES-256-GCM (NIST SP 800-38D) under a per-message key with commitment: suite 1.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439) under a per-message key with commitment: suite 2.
    ChaCha20Poly1305,
}

/// What is fixed about an algorithm.
#[derive(Clone, Copy, Debug)]
pub struct AlgorithmRow {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Its name on the wire and in policies.
    pub name: &'static str,
    /// The one purpose keys of it have.
    pub purpose: Purpose,
    /// Length of its secret, in bytes.
    pub secret_len: usize,
    /// Suite number in the ciphertext header (`docs/formats/ciphertext.md`).
    pub suite: u8,
    /// One line for people.
    pub summary: &'static str,
}

/// Every algorithm, in the order shown to people.
pub const ALGORITHMS: &[AlgorithmRow] = &[AES_256_GCM, CHACHA20_POLY1305];

const AES_256_GCM: AlgorithmRow = AlgorithmRow {
    algorithm: Algorithm::Aes256Gcm,
    name: "AES_256_GCM",
    purpose: Purpose::Encrypt,
    secret_len: 32,
    suite: 1,
    summary: "AES-256-GCM, per-message key, committing (default)",
};

const CHACHA20_POLY1305: AlgorithmRow = AlgorithmRow {
    algorithm: Algorithm::ChaCha20Poly1305,
    name: "CHACHA20_POLY1305",
    purpose: Purpose::Encrypt,
    secret_len: 32,
    suite: 2,
    summary: "ChaCha20-Poly1305, per-message key, committing (CPUs without AES)",
};

impl Algorithm {
    /// The algorithm's row of the table.
    #[must_use]
    pub fn row(self) -> &'static AlgorithmRow {
        match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The algorithm whose ciphertexts carry this suite number.
    #[must_use]
    pub fn from_suite(suite: u8) -> Option<Self> {
        ALGORITHMS.iter().find(|row| row.suite == suite).map(|row| row.algorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        ALGORITHMS.iter().find(|row| row.name == text).map(|row| row.algorithm).ok_or_else(|| {
            let known: Vec<_> = ALGORITHMS.iter().map(|row| row.name).collect();
            Error::Word {
                kind: "algorithm",
                text: text.chars().take(64).collect(),
                known: known.join(", "),
            }
        })
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Algorithm {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(ALGORITHMS.iter().map(|row| row.name)))
            .into()
    }
}

impl utoipa::ToSchema for Algorithm {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_algorithm_name_and_suite() {
        for row in ALGORITHMS {
            assert_eq!(row.algorithm.row().name, row.name);
            assert_eq!(row.name.parse::<Algorithm>().unwrap(), row.algorithm);
            assert_eq!(Algorithm::from_suite(row.suite), Some(row.algorithm));
        }
    }
}
