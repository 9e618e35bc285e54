//! Plans of plugins: checked whole before anything is computed, then carried out on a root key
//! that the plugin never saw. What is allowed, and why: `docs/adr/0032-*.md`; for authors of
//! plugins: `docs/plugins/kdf.md`.
//!
//! What must stay true, whatever a plan says: its output depends on the root key through a one-way
//! step; nothing from the root key to the output is narrower than [`CheckedPlan::need`]; no byte of
//! the output is there twice, and none is one of the root key; what it costs is bounded.

mod check;
mod flow;
mod run;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use hub_model::extend::KdfPlan;

/// The most steps of a plan.
pub const MAX_STEPS: usize = 32;
/// The most bytes of one slot.
pub const MAX_SLOT: usize = super::MAX_OUTPUT;
/// The most bytes of all slots together.
pub const MAX_SLOTS: usize = 16 * 1024;
/// The most bytes of salts, infos, messages and suffixes together.
pub const MAX_TEXT: usize = 64 * 1024;
/// The fewest iterations of a PBKDF2 step (RFC 8018 §4.2).
pub const MIN_ITERATIONS: u32 = 1_000;
/// The most pieces of earlier outputs that a slot is joined from, counted to the bottom: every step
/// that takes it in looks at each.
pub const MAX_PIECES: usize = 64;
/// The most iterations of all PBKDF2 steps together, each counted once for every block it gives.
pub const MAX_ITERATIONS: u64 = 1_000_000;
/// Bytes of secret that every one-way step takes in at least, where the root key has as many:
/// outputs of a few bytes must not make all others guessable.
pub const STRENGTH: usize = 32;
/// The fewest bytes of a root key. Keys of the hub have 32 or more.
pub const MIN_ROOT: usize = 16;

/// A plan that may be carried out, on a root key of the length it was checked for.
#[derive(Clone, Debug)]
pub struct CheckedPlan {
    plan: Arc<KdfPlan>,
    root: usize,
    need: usize,
    work: u64,
}

impl CheckedPlan {
    /// Checks a plan for a root key of `root` bytes that is to give `wanted` bytes.
    ///
    /// # Errors
    /// [`PlanError`], which names the step at fault and says nothing secret: there is nothing
    /// secret yet.
    pub fn check(plan: Arc<KdfPlan>, root: usize, wanted: usize) -> Result<Self, PlanError> {
        let need = root.min(wanted.max(STRENGTH));
        let work = check::check(&plan, root, wanted, need)?;
        Ok(Self { plan, root, need, work })
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Arc<KdfPlan> {
        &self.plan
    }

    /// Bytes of the root key's secret that every one-way step takes in, and passes on, at least.
    #[must_use]
    pub const fn need(&self) -> usize {
        self.need
    }

    /// Whether it takes a processor for a millisecond or more: to be run where slow work is done.
    #[must_use]
    pub const fn is_slow(&self) -> bool {
        self.work > 2_000
    }
}

/// Why a plan is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// The step at fault, from 1; none when it is the plan as a whole.
    pub step: Option<usize>,
    /// What is wrong.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = self.step {
            write!(f, "step {step}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for PlanError {}
