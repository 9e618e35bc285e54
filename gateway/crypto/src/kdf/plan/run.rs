//! Carrying out a plan. Every slot is a secret of the arena, erased when the plan has ended, well or
//! not.

use hub_arena::Secret;
use hub_model::extend::KdfStep;

use super::CheckedPlan;
use crate::kdf::{fill, hkdf, pbkdf2};
use crate::mac::message::hmac;
use crate::{Error, Result};

impl CheckedPlan {
    /// Derives from a root key of the length the plan was checked for.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a root key of another length; [`Error::Arena`].
    pub fn run(&self, root: &Secret) -> Result<Secret> {
        if root.len() != self.root {
            return Err(Error::Parameter("the plan was checked for a root key of another length"));
        }
        let mut slots = Vec::with_capacity(self.plan.steps.len());
        for step in &self.plan.steps {
            let made = compute(step, &Slots { root, made: &slots })?;
            slots.push(made);
        }
        slots.pop().ok_or(UNCHECKED)
    }
}

/// What the check has ruled out.
const UNCHECKED: Error = Error::Parameter("the plan is not a checked one");

struct Slots<'a> {
    root: &'a Secret,
    made: &'a [Secret],
}

impl Slots<'_> {
    fn get(&self, number: u32) -> Result<&[u8]> {
        let slot = match number.checked_sub(1) {
            None => Some(self.root),
            Some(index) => usize::try_from(index).ok().and_then(|index| self.made.get(index)),
        };
        slot.map(Secret::expose_secret).ok_or(UNCHECKED)
    }
}

fn compute(step: &KdfStep, slots: &Slots<'_>) -> Result<Secret> {
    let len = |length: u32| usize::try_from(length).map_err(|_| UNCHECKED);
    match step {
        KdfStep::Extract { hash, salt, ikm } => {
            let prk = hmac(*hash, salt, &[slots.get(*ikm)?])?;
            Ok(Secret::copy_from(prk.bytes())?)
        }
        KdfStep::Expand { hash, prk, info, length } => {
            let prk = slots.get(*prk)?;
            fill(len(*length)?, |out| hkdf::expand_to(*hash, prk, info, out))
        }
        KdfStep::Hmac { hash, key, message } => {
            let tag = hmac(*hash, slots.get(*key)?, &[message])?;
            Ok(Secret::copy_from(tag.bytes())?)
        }
        KdfStep::HmacSlot { hash, key, message, suffix } => {
            let tag = hmac(*hash, slots.get(*key)?, &[slots.get(*message)?, suffix])?;
            Ok(Secret::copy_from(tag.bytes())?)
        }
        KdfStep::Pbkdf2 { hash, password, salt, iterations, length } => {
            let password = slots.get(*password)?;
            fill(len(*length)?, |out| pbkdf2::stretch(*hash, password, salt, *iterations, out))
        }
        KdfStep::Concat { parts } => {
            let parts: Vec<_> = parts.iter().map(|part| slots.get(*part)).collect::<Result<_>>()?;
            fill(parts.iter().map(|part| part.len()).sum(), |mut out| {
                for part in parts {
                    let (here, rest) = out.split_at_mut_checked(part.len()).ok_or(UNCHECKED)?;
                    here.copy_from_slice(part);
                    out = rest;
                }
                Ok(())
            })
        }
        KdfStep::Truncate { input, length } => {
            let first = slots.get(*input)?.get(..len(*length)?).ok_or(UNCHECKED)?;
            Ok(Secret::copy_from(first)?)
        }
    }
}
