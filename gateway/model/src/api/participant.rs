//! Bodies of participants, credentials and role membership.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::secret::SecretText;
use crate::{
    AuthMethod, CredentialId, Identity, Name, ParticipantId, ParticipantKind, Period,
    RegistrationId, Role, SourceRange, Tags, Thumbprint, Timestamp,
};

/// Creates a participant.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateParticipant {
    /// Its name, unique in the registration.
    pub name: Name,
    /// What kind.
    pub kind: ParticipantKind,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Roles of this registration it starts with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
}

/// Changes a participant (RFC 7396 merge patch).
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchParticipant {
    /// Tags to set, or to remove with null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
}

/// A participant as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantView {
    /// Its immutable id.
    pub uid: ParticipantId,
    /// The registration it belongs to.
    pub registration: Name,
    /// Its name.
    pub name: Name,
    /// What kind.
    pub kind: ParticipantKind,
    /// Whether it may do nothing for now.
    pub suspended: bool,
    /// Labels.
    pub tags: Tags,
    /// Its roles in the registration asked about.
    pub roles: Vec<Role>,
    /// When it was created.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// Issues an API key, or binds an identity from outside.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssueCredential {
    /// What it is for, for people (at most 256 bytes).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// When it ends: at most 3,650 days ahead; when absent, 90 days for an API key and 3,650 for
    /// an identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Timestamp>,
    /// Whom others know the participant as; then no API key is made. The configuration of the hub
    /// says which identities this registration may bind (`auth.bind`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// From where alone it is good, at most 32 networks, or `unix`; from anywhere when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceRange>,
    /// The only client certificate it is good with (RFC 8705 §3): an API key that was stolen
    /// without the certificate's key is worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Thumbprint>,
}

/// Gives an API key a new secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotateCredential {
    /// How long the old secret stays good: at most 30 days; 24 hours when absent, and `PT0S` ends
    /// it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Period>,
    /// When the credential ends; when absent, as long after now as it was issued for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Timestamp>,
}

/// A credential as shown. The secret is not among its facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialView {
    /// Its immutable id.
    pub uid: CredentialId,
    /// Whose it is.
    pub participant: ParticipantId,
    /// Its kind.
    pub method: AuthMethod,
    /// What it is for.
    pub label: String,
    /// When it was issued, or its secret last replaced.
    pub create_time: Timestamp,
    /// When it ends.
    pub expire_time: Timestamp,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_time: Option<Timestamp>,
    /// When it was last used, to the hour after a restart of the hub; absent when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_use_time: Option<Timestamp>,
    /// Until when the secret before the last rotation is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_expire_time: Option<Timestamp>,
    /// Whom others know the participant as; absent for API keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// From where alone it is good; from anywhere when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceRange>,
    /// The only client certificate it is good with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Thumbprint>,
}

/// A fresh API key: the only time its secret is shown. Or a fresh binding, which has none.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedCredential {
    /// Its facts.
    pub credential: CredentialView,
    /// The key itself: `Authorization: Bearer <apiKey>`. Keep it; it cannot be shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretText>,
}

/// One member of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// The participant.
    pub uid: ParticipantId,
    /// Its name.
    pub name: Name,
    /// The registration it belongs to: this one, or `hub`.
    pub registration: Name,
    /// What kind.
    pub kind: ParticipantKind,
}

/// A role of one registration, as held by a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleView {
    /// The registration.
    pub registration: RegistrationId,
    /// The role.
    pub role: Role,
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Whoami {
    /// The principal's name, method first.
    pub principal: String,
    /// The participant.
    pub participant: ParticipantView,
    /// Every role held, in every registration.
    pub roles: Vec<RoleView>,
    /// How the caller authenticated.
    pub method: AuthMethod,
    /// Which credential was used; absent when the configuration maps the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// The identity from outside that was proven; absent for API keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// When what was shown ends, where that has an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Timestamp>,
    /// The active policy revision.
    pub policy_revision: String,
}
