//! Bodies of the questions who may do what.

use serde::{Deserialize, Serialize};

use super::participant::MemberView;
use crate::{KeyId, Name};

/// How sure it is that a request would be permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum AccessDecision {
    /// Whatever the request.
    Always,
    /// It depends on the request: its time, address, method, encryption context or size.
    Conditional,
    /// In no case.
    Never,
}

impl AccessDecision {
    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Conditional => "conditional",
            Self::Never => "never",
        }
    }
}

/// What a decision would be, and which policies make it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prospect {
    /// How sure it is.
    pub decision: AccessDecision,
    /// Policies and grants that apply whatever the request: permits, or the forbids of `never`.
    pub policies: Vec<String>,
    /// Where it is `conditional`: policies and grants that apply to some requests only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
    /// Where it is `conditional`: whether a request like this one would be permitted, from the
    /// asker's address, by the asker's method, now, with an empty encryption context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_here: Option<bool>,
    /// Where a policy cannot be evaluated, which denies: why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// What one participant may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoCanItem {
    /// Who.
    pub participant: MemberView,
    /// Whether it is suspended, which forbids everything.
    pub suspended: bool,
    /// What the decision would be.
    #[serde(flatten)]
    pub prospect: Prospect,
}

/// Who may do an action with a key: participants of its registration, and those of `hub` who may,
/// or hold a role or a grant here.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoCan {
    /// The key.
    pub key: KeyId,
    /// The action.
    pub action: String,
    /// The participants, page by page. A page may hold fewer than were asked for, and still not be
    /// the last.
    pub items: Vec<WhoCanItem>,
    /// Give this as `pageToken` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// What participants of other registrations may, who hold no role and are not named by any
    /// policy; absent where they may nothing, as under the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Prospect>,
    /// Permits that name participants or roles of other registrations, who are not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<String>,
    /// The policy revision that was asked.
    pub policy_revision: String,
}

/// One action that somebody may do, always or under conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionAccess {
    /// The action.
    pub action: String,
    /// What the decision would be: never `never`.
    #[serde(flatten)]
    pub prospect: Prospect,
}

/// What somebody may do with one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyAccess {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: Name,
    /// The actions that are not out of the question.
    pub actions: Vec<ActionAccess>,
}

/// What a participant may do in a registration.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantAccess {
    /// Who.
    pub participant: MemberView,
    /// Whether it is suspended, which forbids everything.
    pub suspended: bool,
    /// Actions on the registration itself; on the first page only.
    pub registration: Vec<ActionAccess>,
    /// The keys, page by page.
    pub items: Vec<KeyAccess>,
    /// Give this as `pageToken` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// The policy revision that was asked.
    pub policy_revision: String,
}
