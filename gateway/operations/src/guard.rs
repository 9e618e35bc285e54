//! What the process may put before every operation: quotas before work is done, and a look at how
//! operations end. Without one, nothing is asked and nothing is counted.

use std::sync::Arc;

use hub_auth::Caller;
use hub_model::{Action, EncryptionContext, KeyId, Registration};

use crate::Error;
use crate::operation::Place;

/// Asked about every operation of every caller: items of batches and lines of streams too.
///
/// Nothing of it may wait: it is asked in the path of every request.
pub trait Guard: std::fmt::Debug + Send + Sync {
    /// Before anything is looked for: who asks, from where.
    ///
    /// # Errors
    /// [`Error::OverQuota`].
    fn admit(&self, caller: &Caller, action: Action) -> Result<Option<Left>, Error>;

    /// When policy has permitted it, and before anything is done: in which registration, to which
    /// key. Both have been found, whichever way the request named them.
    ///
    /// # Errors
    /// [`Error::OverQuota`].
    fn admit_at(
        &self,
        caller: &Caller,
        action: Action,
        registration: &Registration,
        key: Option<KeyId>,
    ) -> Result<Option<Left>, Error>;

    /// When it has ended; not for what this guard has refused.
    fn ended(
        &self,
        caller: &Caller,
        action: Action,
        context: Option<&EncryptionContext>,
        error: Option<&Error>,
    );
}

/// What is left of the quota that has least left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The rule.
    pub policy: Arc<str>,
    /// Which of its windows, in seconds, when it has several.
    pub window: Option<u32>,
    /// Requests at once.
    pub burst: u32,
    /// Seconds in which an empty bucket becomes full.
    pub fill_seconds: u64,
    /// Requests that may still be made at once.
    pub remaining: u32,
    /// Seconds until the bucket is full again.
    pub reset: u64,
}

impl Left {
    /// The tighter of two: the one with the smaller part of its burst left.
    #[must_use]
    pub fn tighter(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => {
                let part = |left: &Self, of: &Self| u64::from(left.remaining) * u64::from(of.burst);
                Some(if part(&other, &one) < part(&one, &other) { other } else { one })
            }
            (one, other) => one.or(other),
        }
    }
}

/// The account of one operation with the guard: charged once, however often it is attempted.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    pub(crate) done: bool,
    pub(crate) left: Option<Left>,
}

impl Charge {
    pub(crate) fn at(
        &mut self,
        guard: Option<&dyn Guard>,
        caller: &Caller,
        action: Action,
        place: &impl Place,
    ) -> Result<(), Error> {
        let (Some(guard), Some(facts), false) = (guard, place.registration(), self.done) else {
            return Ok(());
        };
        self.done = true;
        let left = guard.admit_at(caller, action, &facts.registration, place.subject().key)?;
        self.left = Left::tighter(self.left.take(), left);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_one_has_the_smaller_part_left() {
        let left = |policy: &str, burst, remaining| Left {
            policy: policy.into(),
            window: None,
            burst,
            fill_seconds: 1,
            remaining,
            reset: 1,
        };
        let (day, second) = (left("day", 50_000, 100), left("second", 1000, 500));
        let pick = |a: &Left, b: &Left| Left::tighter(Some(a.clone()), Some(b.clone())).unwrap();
        assert_eq!(pick(&day, &second).policy, day.policy);
        assert_eq!(pick(&second, &day).policy, day.policy);
        assert_eq!(Left::tighter(None, Some(day.clone())), Some(day));
    }
}
