//! `policies`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::units;

/// `policies`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoliciesConfig {
    /// Directory of extra local policies.
    #[serde(deserialize_with = "units::maybe_path")]
    pub dir: Option<PathBuf>,
    /// What decides which policies are active.
    pub source: PoliciesSource,
}

/// What decides which policies are active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum PoliciesSource {
    /// The files of `dir` where it is set, else the API.
    #[default]
    Auto,
    /// The revision activated over the API; before the first, the baseline.
    Api,
    /// The files of `dir`.
    Files,
    /// The baseline alone, whatever else there is: the way back from policies that lock out.
    Baseline,
}

units::words! { PoliciesSource:
    Auto = "auto",
    Api = "api",
    Files = "files",
    Baseline = "baseline",
}
