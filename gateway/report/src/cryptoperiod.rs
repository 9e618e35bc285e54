//! Cryptoperiods after NIST SP 800-57 part 1 revision 5, §5.3.6, table 1: how long a key may
//! protect (originator-usage period), and how long what it protected may be processed after that
//! (recipient-usage period). The table is a suggestion; an organisation may decide otherwise, which
//! `--cryptoperiod` and rotation policies of keys say.

use std::collections::BTreeMap;

use hub_model::algorithm::Kind as Family;
use hub_model::{Algorithm, Purpose};
use serde::{Deserialize, Serialize};

/// Where the table stands.
pub const SOURCE: &str = "NIST SP 800-57 part 1 rev. 5, §5.3.6, table 1";

/// Days of a year, as the table counts.
const YEAR: u32 = 365;

/// A key type of the table, as far as the hub has keys of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// Symmetric data-encryption key.
    Symmetric,
    /// Symmetric key-wrapping key.
    Wrapping,
    /// Symmetric authentication key.
    Mac,
    /// Symmetric master key, key-derivation key.
    Derivation,
    /// Private signature key.
    Signature,
    /// Private key-transport key; here also keys of RSA encryption and of KEMs, which the table
    /// does not know by name.
    Transport,
    /// Private static key-agreement key.
    Agreement,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The type.
    pub key_type: KeyType,
    /// Its name in the table.
    pub name: &'static str,
    /// What the table says.
    pub says: &'static str,
    /// Days it may protect; the upper end where the table names a range.
    pub originator_days: u32,
    /// Days after that in which what it protected may be processed, where the table says so.
    pub recipient_days: Option<u32>,
}

/// The table.
pub const TABLE: &[Row] = &[
    Row {
        key_type: KeyType::Symmetric,
        name: "symmetric data-encryption key",
        says: "at most 2 years, processing for at most 3 years more",
        originator_days: 2 * YEAR,
        recipient_days: Some(3 * YEAR),
    },
    Row {
        key_type: KeyType::Wrapping,
        name: "symmetric key-wrapping key",
        says: "at most 2 years, processing for at most 3 years more",
        originator_days: 2 * YEAR,
        recipient_days: Some(3 * YEAR),
    },
    Row {
        key_type: KeyType::Mac,
        name: "symmetric authentication key",
        says: "at most 2 years, processing for at most 3 years more",
        originator_days: 2 * YEAR,
        recipient_days: Some(3 * YEAR),
    },
    Row {
        key_type: KeyType::Derivation,
        name: "symmetric master key, key-derivation key",
        says: "about 1 year",
        originator_days: YEAR,
        recipient_days: None,
    },
    Row {
        key_type: KeyType::Signature,
        name: "private signature key",
        says: "1 to 3 years",
        originator_days: 3 * YEAR,
        recipient_days: None,
    },
    Row {
        key_type: KeyType::Transport,
        name: "private key-transport key",
        says: "at most 2 years",
        originator_days: 2 * YEAR,
        recipient_days: None,
    },
    Row {
        key_type: KeyType::Agreement,
        name: "private static key-agreement key",
        says: "1 to 2 years",
        originator_days: 2 * YEAR,
        recipient_days: None,
    },
];

impl KeyType {
    /// The type of keys of an algorithm.
    #[must_use]
    pub const fn of(algorithm: Algorithm) -> Self {
        let row = algorithm.row();
        match row.purpose {
            Purpose::Sign => Self::Signature,
            Purpose::Mac => Self::Mac,
            Purpose::Wrap => Self::Wrapping,
            Purpose::Derive => Self::Derivation,
            Purpose::Agree => Self::Agreement,
            Purpose::Encapsulate => Self::Transport,
            Purpose::Encrypt => match row.kind {
                Family::RsaOaep { .. } => Self::Transport,
                _ => Self::Symmetric,
            },
        }
    }

    /// Its row.
    #[must_use]
    pub fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.key_type == self)
    }

    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Symmetric => "symmetric",
            Self::Wrapping => "wrapping",
            Self::Mac => "mac",
            Self::Derivation => "derivation",
            Self::Signature => "signature",
            Self::Transport => "transport",
            Self::Agreement => "agreement",
        }
    }
}

/// Where the cryptoperiod of a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The rotation policy in force for the key: its period or greatest age.
    RotationPolicy,
    /// Whoever asked for the report.
    Asked,
    /// The table.
    Table,
}

/// The periods a report goes by: those asked for, else the table's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cryptoperiods(BTreeMap<KeyType, u32>);

impl Cryptoperiods {
    /// Takes `TYPE=DAYS`, such as `symmetric=365d`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, text: &str) -> Result<(), String> {
        let bad = || {
            let known: Vec<_> = TABLE.iter().map(|row| row.key_type.name()).collect();
            format!(
                "`{text}`: expected TYPE=DAYS such as `symmetric=365d`, TYPE one of {}",
                known.join(", ")
            )
        };
        let (word, days) = text.split_once('=').ok_or_else(bad)?;
        let row = TABLE.iter().find(|row| row.key_type.name() == word).ok_or_else(bad)?;
        let digits = days.strip_suffix('d').unwrap_or(days);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let days = digits.parse().ok().filter(|days| plain && (1..=36_500).contains(days));
        self.0.insert(row.key_type, days.ok_or_else(bad)?);
        Ok(())
    }

    /// Days a key of this type may protect, and who says so.
    #[must_use]
    pub fn of(&self, key_type: KeyType) -> (u32, Source) {
        match (self.0.get(&key_type), key_type.row()) {
            (Some(days), _) => (*days, Source::Asked),
            (None, Some(row)) => (row.originator_days, Source::Table),
            // INVARIANT: every type has a row; a test holds that.
            (None, None) => (YEAR, Source::Table),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub_model::algorithm::ALGORITHMS;

    #[test]
    fn every_algorithm_has_a_row() {
        for row in ALGORITHMS {
            assert!(KeyType::of(row.algorithm).row().is_some(), "{}", row.name);
        }
        assert_eq!(KeyType::of(Algorithm::RsaOaep3072Sha256), KeyType::Transport);
        assert_eq!(KeyType::of(Algorithm::Aes256Gcm), KeyType::Symmetric);
    }

    #[test]
    fn periods_asked_for_replace_those_of_the_table() {
        let mut periods = Cryptoperiods::default();
        assert_eq!(periods.of(KeyType::Symmetric), (730, Source::Table));
        periods.take("symmetric=365d").unwrap();
        periods.take("mac=90").unwrap();
        assert_eq!(periods.of(KeyType::Symmetric), (365, Source::Asked));
        assert_eq!(periods.of(KeyType::Mac), (90, Source::Asked));
        for bad in ["", "symmetric", "symmetric=", "aes=1d", "mac=0d", "mac=+1d", "mac=1y"] {
            assert!(periods.take(bad).is_err(), "{bad}");
        }
    }
}
