//! World `rotation-schedule`: when is a key rotated next?

use std::time::Duration;

use crate::time::{Calendar, Timestamp};
use crate::{Config, Fields, Parameters, Result};

/// Makes a type that implements [`RotationSchedule`] the plugin of this crate.
pub use crate::export_rotation as export;

/// Says when keys are rotated. The hub keeps the answer with the key, holds it against the bounds of
/// the policy, and rotates: a plugin only advises. Equal requests get equal answers.
pub trait RotationSchedule: Sized {
    /// Takes the operator's settings. Called before every call, in a fresh instance, and when the
    /// settings change: an error keeps what was in service before.
    ///
    /// # Errors
    /// The settings are unusable.
    fn new(config: &Config) -> Result<Self>;

    /// When is the key rotated next?
    ///
    /// # Errors
    /// There is no answer: the operator's failure policy says what happens then.
    fn decide(&self, request: &Request) -> Result<Decision>;

    /// Do these parameters make sense? Called before a policy that names the plugin is stored.
    ///
    /// # Errors
    /// They do not; whoever gave them is told why.
    fn check_policy(&self, policy: &Policy) -> Result<()> {
        let _ = policy;
        Ok(())
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The key's facts. Nothing in them is secret.
    pub key: Key,
    /// Bounds and parameters.
    pub policy: Policy,
    /// The clock of the zone that the parameter `zone` names.
    pub calendar: Calendar,
    /// When the primary version became primary.
    pub last_rotation: Timestamp,
    /// The time of the hub.
    pub now: Timestamp,
}

impl Request {
    /// No rotation before this counts.
    #[must_use]
    pub fn earliest(&self) -> Timestamp {
        self.last_rotation + self.policy.min_interval
    }

    /// No rotation after this counts.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.last_rotation + self.policy.max_interval
    }
}

/// Bounds and parameters of a rotation policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The least time between two rotations.
    pub min_interval: Duration,
    /// The most time between two rotations.
    pub max_interval: Duration,
    /// What the policy says to this plugin.
    pub parameters: Parameters,
}

/// Facts of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// `key_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `reg_…`
    pub registration: String,
    /// As in the API: `AES_256_GCM`.
    pub algorithm: String,
    /// As in the API: `encrypt`.
    pub purpose: String,
    /// Its tags.
    pub tags: Fields,
    /// The primary version's number.
    pub primary: u32,
    /// Newest first; at most 16.
    pub versions: Vec<Version>,
}

impl Key {
    /// The version that protects data now.
    #[must_use]
    pub fn primary_version(&self) -> Option<&Version> {
        self.versions.iter().find(|v| v.number == self.primary)
    }
}

/// A version of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// Its state.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it became primary; none where it never was.
    pub primary_since: Option<Timestamp>,
    /// Operations that protected data under it (encrypt, sign, wrap).
    pub protect_operations: u64,
    /// Bytes protected under it.
    pub protect_bytes: u64,
    /// Operations that processed protected data (decrypt, verify, unwrap).
    pub process_operations: u64,
}

/// State of a version after NIST SP 800-57 part 1, §7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's names")]
pub enum State {
    PreActivation,
    Active,
    Suspended,
    Deactivated,
    Compromised,
    DestroyScheduled,
    Destroyed,
}

/// What a schedule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Rotate at this time; in the past or equal to `now`: immediately.
    RotateAt(Timestamp),
    /// Rotate now, and why: at most 128 characters, kept in the audit log.
    RotateNow(String),
    /// No decision yet: ask again at this time.
    AskAgain(Timestamp),
}

/// Makes a type the plugin of its crate: `rotation::export!(Type)`.
#[macro_export]
#[doc(hidden)]
macro_rules! export_rotation {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type CipherHubPlugin = $crate::guest::Rotation<$plugin>;
            $crate::bindings::rotation::export_rotation_bindings!(
                CipherHubPlugin with_types_in $crate::bindings::rotation
            );
        };
        // Natively it is checked all the same.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Config) -> $crate::Result<$plugin> =
            <$plugin as $crate::rotation::RotationSchedule>::new;
    };
}
