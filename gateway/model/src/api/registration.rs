//! Bodies of registrations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::present;
use crate::{
    Environment, Name, ParticipantId, Registration, RegistrationId, RotationPolicy, Tags, Timestamp,
};

/// Creates a registration.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateRegistration {
    /// Its name, unique in the hub.
    pub name: Name,
    /// What it is, for people (at most 1,024 bytes).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How far from production; `dev` when absent.
    #[serde(default)]
    pub environment: Environment,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Participants of `hub` who become owners; the caller when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<ParticipantId>,
    /// The rotation policy of keys that have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationPolicy>,
}

/// Changes a registration (RFC 7396 merge patch).
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchRegistration {
    /// A new description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A new environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Tags to set, or to remove with null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
    /// A new rotation policy for keys that have none of their own, as a whole; null for none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RotationPolicy>)]
    pub rotation: Option<Option<RotationPolicy>>,
}

/// A registration as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationView {
    /// Its immutable id.
    pub uid: RegistrationId,
    /// Its name.
    pub name: Name,
    /// What it is.
    pub description: String,
    /// How far from production.
    pub environment: Environment,
    /// Whether it is read-only.
    pub frozen: bool,
    /// Whether an administrator of the hub has frozen it, so that only one can unfreeze it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen_by_hub: bool,
    /// Labels.
    pub tags: Tags,
    /// When it was created.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
    /// The rotation policy of keys that have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationPolicy>,
}

impl From<&Registration> for RegistrationView {
    fn from(r: &Registration) -> Self {
        Self {
            uid: r.id,
            name: r.name.clone(),
            description: r.description.clone(),
            environment: r.environment,
            frozen: r.frozen,
            frozen_by_hub: r.frozen_by_hub,
            tags: r.tags.clone(),
            create_time: r.created,
            update_time: r.updated,
            rotation: r.rotation.clone(),
        }
    }
}
