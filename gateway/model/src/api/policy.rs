//! Bodies of policy revisions: propose, check, activate, shadow, replay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ParticipantId, Timestamp};

/// Most files of one revision.
pub const MAX_FILES: usize = 256;
/// Most bytes of names and texts of one revision.
pub const MAX_BYTES: usize = 384 * 1024;
/// Most revisions kept; old ones that are not in use can be deleted.
pub const MAX_REVISIONS: usize = 100;
/// Most characters of a note.
pub const MAX_NOTE: usize = 500;
/// The shortest beginning of a digest that may stand for it.
pub const MIN_PREFIX: usize = 8;

/// How callers name a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevisionRef {
    /// The one that decides now.
    Active,
    /// The baseline alone, without any policy of one's own.
    Baseline,
    /// By its digest or the beginning of it: 8 to 64 hex digits.
    Digest(Box<str>),
}

impl FromStr for RevisionRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text {
            "active" => Ok(Self::Active),
            "baseline" => Ok(Self::Baseline),
            _ if (MIN_PREFIX..=64).contains(&text.len()) && text.bytes().all(hex) => {
                Ok(Self::Digest(text.into()))
            }
            _ => Err(Error::Word {
                kind: "policy revision",
                text: text.chars().take(64).collect(),
                known: "`active`, `baseline`, or 8 to 64 hex digits of a digest".to_owned(),
            }),
        }
    }
}

impl fmt::Display for RevisionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Baseline => "baseline",
            Self::Digest(digest) => digest,
        })
    }
}

/// One policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFile {
    /// Its path in the folder, such as `payments/office-hours.cedar`.
    pub name: String,
    /// Its text, in Cedar.
    pub text: String,
}

/// Keeps a policy set as a revision.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProposeRevision {
    /// The files beside the baseline, up to 256 with 384 KiB in all.
    pub files: Vec<PolicyFile>,
    /// What it is for, up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Checks a policy set and keeps nothing.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValidatePolicies {
    /// The files beside the baseline.
    pub files: Vec<PolicyFile>,
}

/// One diagnostic of a policy set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyProblem {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong, in Cedar's words.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The same with the lines of the source, for people.
    pub rendered: String,
}

/// What checks of a policy set found.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyCheck {
    /// Whether it could become active.
    pub valid: bool,
    /// Its digest, when it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How many policies it has, the baseline included.
    pub policies: u64,
    /// What has to be mended.
    pub problems: Vec<PolicyProblem>,
    /// What is odd but not wrong.
    pub warnings: Vec<PolicyProblem>,
    /// Why no administrator could run the hub under it, if that is what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_out: Option<String>,
}

/// A revision of the policies.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionView {
    /// SHA-256 over schema, baseline and files, in hex: its name.
    pub revision: String,
    /// Whether it decides now.
    pub active: bool,
    /// Whether it is evaluated in the shadow of the active one.
    pub shadow: bool,
    /// Where it comes from: `api`, `files` or `baseline`.
    pub source: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who proposed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposer: Option<ParticipantId>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<Timestamp>,
    /// How many policies it has, the baseline included.
    pub policies: u64,
    /// How many bytes its files have.
    pub bytes: u64,
    /// The files; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<PolicyFile>>,
    /// What its evaluation in the shadow has found, while it is there; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadowed: Option<ShadowReport>,
}

/// What became active.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activated {
    /// The revision that decides from now on.
    pub revision: String,
    /// The one that decided before.
    pub previous: String,
}

/// Which revision is evaluated in the shadow.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shadowed {
    /// The revision evaluated beside the active one from now on; none when that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// What the evaluation of a revision in the shadow has found since it began in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShadowReport {
    /// Since when.
    pub since: Timestamp,
    /// Decisions compared.
    pub decisions: u64,
    /// Permitted by the active revision, refused by this one.
    pub allow_to_deny: u64,
    /// Refused by the active revision, permitted by this one.
    pub deny_to_allow: u64,
    /// Decisions left out because there were too many at once.
    pub dropped: u64,
    /// Differences by caller, action and resource, allow to deny first, up to 100.
    pub examples: Vec<ShadowDifference>,
}

/// Decisions that fall otherwise under a revision in the shadow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShadowDifference {
    /// How the active revision decided: `allow` or `deny`.
    pub active: String,
    /// How this one does.
    pub shadow: String,
    /// Who asked.
    pub participant: ParticipantId,
    /// For what.
    pub action: String,
    /// The key, the registration or `hub`.
    pub resource: String,
    /// How often.
    pub count: u64,
    /// The last time.
    pub time: Timestamp,
    /// The policies of this revision that decided the last time.
    pub policies: Vec<String>,
}

/// Re-decides recorded requests under a candidate.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayPolicies {
    /// A kept revision: its digest or the beginning of it, `active` or `baseline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Or files that are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<PolicyFile>>,
    /// Only requests from this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only requests before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Only the last so many entries of the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Where a replay that was cut off goes on: `next` of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// What a replay found. One answer covers as much of the log as fits in the time of one request.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// The candidate.
    pub revision: String,
    /// Audit entries read.
    pub entries: u64,
    /// Decisions made again.
    pub decided: u64,
    /// Those that fall as they did.
    pub same: u64,
    /// Those that fall otherwise, by caller, action and resource: allow to deny first, then the
    /// most frequent.
    pub flips: Vec<Flip>,
    /// Decisions that fall otherwise beyond the groups listed.
    pub more_flips: u64,
    /// Decisions that could not be made again, by reason.
    pub undecidable: Vec<Undecidable>,
    /// Where to go on, when the range was not read to its end: give it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Recorded decisions of one kind that fall otherwise under a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flip {
    /// How it was decided: `allow` or `deny`.
    pub from: String,
    /// How the candidate decides.
    pub to: String,
    /// `recorded`: participant, key and registration are as they were. `present`: one of them has
    /// changed since, so both decisions are those of today, by the active revision and by the
    /// candidate.
    pub facts: String,
    /// The caller, as `apikey:ptc_…`.
    pub caller: String,
    /// Its name, as `registration/name`.
    pub caller_name: String,
    /// What was asked.
    pub action: String,
    /// The key, the registration or `hub`.
    pub resource: String,
    /// Its name, as `registration/name`.
    pub resource_name: String,
    /// How many decisions.
    pub count: u64,
    /// The policies of the candidate that decide, for the first of them.
    pub policies: Vec<String>,
    /// The first decisions of this kind, up to 3: for `policies:explain`.
    pub decision_ids: Vec<String>,
}

/// Recorded decisions that could not be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undecidable {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub decision_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_named_by_word_or_digest() {
        let parse = |text: &str| text.parse::<RevisionRef>();
        assert_eq!(parse("active").unwrap(), RevisionRef::Active);
        assert_eq!(parse("baseline").unwrap(), RevisionRef::Baseline);
        for good in ["0123abcd", &"f".repeat(64)] {
            assert_eq!(parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "0123abc", "0123ABCD", "latest", &"f".repeat(65), "0123abcg"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
