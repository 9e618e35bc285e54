//! States of keys and versions after NIST SP 800-57 part 1 rev. 5 §7, and what each allows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a key over all its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Created, not yet usable.
    Pending,
    /// Protects and processes.
    Active,
    /// Neither protects nor processes, until resumed.
    Suspended,
    /// Processes what it protected before; protects nothing new.
    Deactivated,
    /// Known to others: processes nothing without an explicit policy.
    Compromised,
    /// Its material is gone.
    Destroyed,
}

impl KeyState {
    /// The word on the wire and in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether new data may be protected (encrypt, sign, wrap).
    #[must_use]
    pub const fn protects(self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether data protected earlier may be processed (decrypt, verify, unwrap).
    #[must_use]
    pub const fn processes(self) -> bool {
        matches!(self, Self::Active | Self::Deactivated)
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of one version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VersionState {
    /// Usable; the primary protects, the others process.
    Active,
    /// Its material is gone.
    Destroyed,
}
