//! What can be wrong with a policy set.

use std::path::PathBuf;

use crate::Problem;

/// Why a policy set was not taken. Decisions have no errors: what cannot be decided is denied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The schema inside this crate does not load; a build that passed its tests cannot say this.
    #[error("the policy schema does not load: {0}")]
    Schema(String),
    /// The set does not parse or validate; every problem is listed.
    #[error("the policy set has {} problem(s)\n{}", .0.len(), crate::problem::list(.0))]
    Refused(Vec<Problem>),
    /// Nobody could run the hub under this set.
    #[error("no administrator could run `{action}` under this set{}", crate::lockout::blame(.by))]
    LockOut {
        /// What every administrator would be denied.
        action: &'static str,
        /// The policies that would deny it.
        by: Vec<String>,
    },
    /// A policy file cannot be read.
    #[error("cannot read policies from `{}`", path.display())]
    Folder {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
