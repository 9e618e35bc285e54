//! Bodies of quotas and blocks.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::quota::{KeptQuota, QuotaRule, RegistrationQuotas};

/// Quotas as a whole: those that are not named are gone afterwards.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetQuotas {
    /// At most 16, each with a name of its own.
    pub rules: Vec<QuotaRule>,
}

/// The quotas of a registration. Every rule of both lists that matches a request must have room
/// for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotasView {
    /// Set by administrators of the hub.
    pub bounds: Vec<QuotaRule>,
    /// Set by owners of the registration.
    pub rules: Vec<QuotaRule>,
}

impl From<&RegistrationQuotas> for QuotasView {
    fn from(quotas: &RegistrationQuotas) -> Self {
        let rules = |kept: &[KeptQuota]| kept.iter().map(|kept| kept.rule.clone()).collect();
        Self { bounds: rules(&quotas.bounds), rules: rules(&quotas.rules) }
    }
}

/// Somebody who is refused for a while, after unusual behaviour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockView {
    /// Names the block, to lift it.
    pub block: String,
    /// The source: an IPv4 address, an IPv6 /64, or `unix`.
    pub source: String,
    /// Who is refused from there: `everybody`, `credential` for one credential id, or the uid of a
    /// participant.
    pub who: String,
    /// What for: `guessing`, `authFailures`, `refusals` or `contexts`.
    pub reason: String,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// Lifts blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unblock {
    /// Which, as the status names it; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
}

/// What was lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unblocked {
    /// How many blocks.
    pub lifted: u64,
}
