//! `crypto`.

use serde::{Deserialize, Serialize};

use super::units;

/// `crypto`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CryptoConfig {
    /// What computes, where there are two.
    pub provider: CryptoProvider,
    /// Which algorithms new keys may have.
    pub profile: CryptoProfile,
}

/// What computes primitives that there are two implementations of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub enum CryptoProvider {
    /// RustCrypto, and aws-lc where that is too slow.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// RustCrypto wherever it has the primitive.
    #[serde(rename = "rustcrypto")]
    RustCrypto,
    /// aws-lc wherever it has the primitive.
    #[serde(rename = "aws-lc")]
    AwsLc,
}

units::words! { CryptoProvider:
    Auto = "auto",
    RustCrypto = "rustcrypto",
    AwsLc = "aws-lc",
}

impl From<CryptoProvider> for hub_crypto::provider::Provider {
    fn from(provider: CryptoProvider) -> Self {
        match provider {
            CryptoProvider::Auto => Self::Auto,
            CryptoProvider::RustCrypto => Self::RustCrypto,
            CryptoProvider::AwsLc => Self::AwsLc,
        }
    }
}

/// Which algorithms new keys may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum CryptoProfile {
    /// Every one.
    #[default]
    Any,
    /// Those that FIPS and NIST recommendations approve. Selects algorithms; is no validated module.
    FipsAlgorithms,
}

units::words! { CryptoProfile:
    Any = "any",
    FipsAlgorithms = "fips-algorithms",
}

impl From<CryptoProfile> for hub_model::algorithm::Profile {
    fn from(profile: CryptoProfile) -> Self {
        match profile {
            CryptoProfile::Any => Self::Any,
            CryptoProfile::FipsAlgorithms => Self::FipsAlgorithms,
        }
    }
}
