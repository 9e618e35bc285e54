//! Registrations (security boundaries), their participants and roles.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::quota::RegistrationQuotas;
use crate::{Error, Name, ParticipantId, RegistrationId, RotationPolicy, Tags, Timestamp};

/// The name of the registration that stands for the hub itself: its participants run the hub, and
/// it holds no keys.
pub const HUB_REGISTRATION: &str = "hub";

/// How far from production a registration is; readable in policies.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// For trying things.
    #[default]
    Dev,
    /// As production, without its data.
    Staging,
    /// The real thing.
    Production,
}

impl Environment {
    /// The word on the wire and in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// A service registration: a security boundary that holds participants and keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Its immutable id.
    pub id: RegistrationId,
    /// Its name, unique in the hub.
    pub name: Name,
    /// What it is, for people.
    pub description: String,
    /// How far from production.
    pub environment: Environment,
    /// A frozen registration is read-only: no cryptography, no changes.
    pub frozen: bool,
    /// Labels.
    pub tags: Tags,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Counts changes; the ETag.
    pub generation: u64,
    /// The rotation policy of keys that have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationPolicy>,
    /// Whether it was frozen by an administrator of the hub, who alone ends that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen_by_hub: bool,
    /// How much may be done in it; without any, as much as the hub's own limits allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Box<RegistrationQuotas>>,
}

/// What kind of participant.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ParticipantKind {
    /// A person.
    User,
    /// A program.
    Service,
    /// A machine or appliance.
    Device,
}

impl ParticipantKind {
    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Device => "device",
        }
    }
}

/// A role: a named group of participants in one registration (`hub` included).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Manages keys and members; uses no key.
    Owners,
    /// Suspends, resumes, schedules destruction.
    Operators,
    /// Rotates and re-wraps; sees no plaintext.
    Rotators,
    /// Reads and verifies the audit trail.
    Auditors,
    /// Uses keys.
    Apps,
    /// Runs the hub; only in the registration `hub`.
    Admins,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Owners, Self::Operators, Self::Rotators, Self::Auditors, Self::Apps, Self::Admins];

    /// The word on the wire and in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owners => "owners",
            Self::Operators => "operators",
            Self::Rotators => "rotators",
            Self::Auditors => "auditors",
            Self::Apps => "apps",
            Self::Admins => "admins",
        }
    }

    /// Whether the role exists in the registration `hub` (`true`) or in ordinary ones (`false`).
    #[must_use]
    pub const fn exists_in(self, hub: bool) -> bool {
        match self {
            Self::Admins => hub,
            Self::Auditors => true,
            Self::Owners | Self::Operators | Self::Rotators | Self::Apps => !hub,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| Error::Word {
            kind: "role",
            text: text.chars().take(64).collect(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// Membership of a participant in one role of one registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleGrant {
    /// Where.
    pub registration: RegistrationId,
    /// Which role.
    pub role: Role,
}

/// A participant: a user, service or device inside one registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// Its immutable id.
    pub id: ParticipantId,
    /// The registration it belongs to.
    pub registration: RegistrationId,
    /// Its name within the registration.
    pub name: Name,
    /// What kind.
    pub kind: ParticipantKind,
    /// A suspended participant can do nothing.
    pub suspended: bool,
    /// Labels.
    pub tags: Tags,
    /// The roles it is a member of, in its own registration and, for participants of `hub`, in others.
    pub roles: Vec<RoleGrant>,
    /// In which registrations other than its own there are grants for it, and how many: who may use
    /// a key somewhere knows that the registration is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grants_in: BTreeMap<RegistrationId, u32>,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Counts changes; the ETag.
    pub generation: u64,
}
