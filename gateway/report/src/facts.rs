//! What is read over the API for a report, and what could not be read.

use hub_model::Timestamp;
use hub_model::api::access::{ActionAccess, KeyAccess, Prospect};
use hub_model::api::grant::GrantView;
use hub_model::api::key::{KeyView, VersionView};
use hub_model::api::participant::{CredentialView, MemberView};
use hub_model::api::registration::RegistrationView;
use serde::{Deserialize, Serialize};

/// Everything read, at `generated`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Whose log and keys: the hub's id, where it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The program that asked.
    pub program: String,
    /// Who asked, as the hub knows them.
    pub by: String,
    /// When.
    pub generated: Timestamp,
    /// The active policy revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_revision: Option<String>,
    /// Whether these are all registrations there are.
    pub whole_hub: bool,
    /// The registrations.
    pub registrations: Vec<RegistrationFacts>,
    /// What could not be read.
    pub missing: Vec<Missing>,
}

/// Something that is missing, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// One registration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationFacts {
    /// Its uid; the name where only that is known.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<RegistrationView>,
    /// Its keys.
    pub keys: Vec<KeyFacts>,
    /// Its participants, and those of `hub` who hold a role or a grant here.
    pub people: Vec<PersonFacts>,
}

/// One key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyFacts {
    /// Its facts.
    pub view: KeyView,
    /// Its versions.
    pub versions: Vec<VersionView>,
    /// The grants on it.
    pub grants: Vec<GrantView>,
    /// What participants of every other registration may, by policies that name nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Prospect>,
    /// Policies that name participants or roles of other registrations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<String>,
}

/// One participant, seen from one registration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonFacts {
    /// Who.
    pub member: MemberView,
    /// Whether suspended.
    pub suspended: bool,
    /// Roles here.
    pub roles: Vec<String>,
    /// Credentials, where they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<CredentialView>>,
    /// What it may do in the registration, where that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<Vec<ActionAccess>>,
    /// What it may do with keys, where that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<KeyAccess>>,
}
