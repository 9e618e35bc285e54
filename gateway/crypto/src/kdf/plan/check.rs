//! The check of a plan, step by step.

use std::borrow::Cow;

use hub_model::algorithm::Hash;
use hub_model::extend::{KdfPlan, KdfStep};

use super::flow::{Origin, Origins, Slot};
use super::{
    MAX_ITERATIONS, MAX_PIECES, MAX_SLOT, MAX_SLOTS, MAX_STEPS, MAX_TEXT, MIN_ITERATIONS, MIN_ROOT,
    PlanError,
};

type Checked<T> = Result<T, Cow<'static, str>>;

/// Bytes that a hash function takes in at a time, roughly: for what a plan costs.
const BLOCK: usize = 64;

struct Check {
    need: usize,
    origins: Origins,
    /// Slot 0 and those of the steps before.
    slots: Vec<Slot>,
    text: usize,
    iterations: u64,
    work: u64,
}

/// Checks everything, and says what it costs in applications of HMAC.
pub(super) fn check(
    plan: &KdfPlan,
    root: usize,
    wanted: usize,
    need: usize,
) -> Result<u64, PlanError> {
    let whole = |reason: Cow<'static, str>| PlanError { step: None, reason };
    let refuse = |reason: &'static str| Err(whole(reason.into()));
    if root < MIN_ROOT {
        return refuse("the root key has fewer than 16 bytes");
    }
    if !(1..=MAX_SLOT).contains(&wanted) {
        return refuse("the output may have 1 to 1024 bytes");
    }
    if plan.steps.is_empty() {
        return refuse("the plan has no steps");
    }
    if plan.steps.len() > MAX_STEPS {
        return refuse("the plan has more than 32 steps");
    }
    let mut origins = Origins::new();
    let slots = vec![origins.bytes(Origin::Root, root)];
    let mut check = Check { need, origins, slots, text: 0, iterations: 0, work: 0 };
    let mut total = 0;
    for (step, number) in plan.steps.iter().zip(1..) {
        let at = |reason| PlanError { step: Some(number), reason };
        let slot = check.step(step).map_err(at)?;
        total += slot.len();
        if total > MAX_SLOTS {
            return Err(at("all steps together give more than 16 KiB".into()));
        }
        check.slots.push(slot);
    }
    let output = check.slots.last().map(Slot::len).unwrap_or_default();
    if output != wanted {
        let reason = format!("the last step gives {output} bytes, and {wanted} are wanted");
        return Err(whole(reason.into()));
    }
    let Some(output) = check.slots.last() else { return refuse("the plan has no steps") };
    if output.is_bare() {
        return refuse("the output holds bytes of the root key as they are: derive them");
    }
    if output.distinct() != wanted {
        return refuse("the output holds the same derived bytes twice");
    }
    Ok(check.work)
}

impl Check {
    fn step(&mut self, step: &KdfStep) -> Checked<Slot> {
        match step {
            KdfStep::Extract { hash, salt, ikm } => {
                self.text(salt)?;
                let ikm = self.slot(*ikm)?.clone();
                self.takes_in(*hash, &[&ikm])?;
                self.costs(1, salt.len() + ikm.len());
                Ok(self.origins.bytes(Origin::extract(*hash, salt, ikm), hash.len()))
            }
            KdfStep::Expand { hash, prk, info, length } => {
                self.text(info)?;
                let (prk, len) = (self.slot(*prk)?.clone(), length_of(*length)?);
                if prk.len() < hash.len() {
                    let reason = format!(
                        "HKDF-Expand with {} takes a key of {} bytes or more (RFC 5869 §2.3), and \
                         this slot has {}: extract first",
                        name(*hash),
                        hash.len(),
                        prk.len()
                    );
                    return Err(reason.into());
                }
                self.takes_in(*hash, &[&prk])?;
                self.costs(len.div_ceil(hash.len()), info.len() + hash.len());
                Ok(self.expand(*hash, &prk, info, len))
            }
            KdfStep::Hmac { hash, key, message } => {
                self.text(message)?;
                let key = self.slot(*key)?.clone();
                self.takes_in(*hash, &[&key])?;
                self.costs(1, message.len());
                Ok(self.mac(*hash, &key, Slot::default(), message.clone()))
            }
            KdfStep::HmacSlot { hash, key, message, suffix } => {
                self.text(suffix)?;
                let (key, message) = (self.slot(*key)?.clone(), self.slot(*message)?.clone());
                self.takes_in(*hash, &[&key, &message])?;
                self.costs(1, message.len() + suffix.len());
                Ok(self.mac(*hash, &key, message, suffix.clone()))
            }
            KdfStep::Pbkdf2 { hash, password, salt, iterations, length } => {
                self.text(salt)?;
                let (password, len) = (self.slot(*password)?.clone(), length_of(*length)?);
                if *iterations < MIN_ITERATIONS {
                    return Err("PBKDF2 takes 1000 iterations or more".into());
                }
                let blocks = len.div_ceil(hash.len());
                let rounds = u64::from(*iterations).saturating_mul(count(blocks));
                self.iterations = self.iterations.saturating_add(rounds);
                if self.iterations > MAX_ITERATIONS {
                    return Err(Cow::from(
                        "PBKDF2 takes 1000000 iterations at most in a plan, counted for each block",
                    ));
                }
                self.takes_in(*hash, &[&password])?;
                self.work = self.work.saturating_add(rounds);
                self.costs(blocks, salt.len());
                let (hash, salt, iterations) = (*hash, salt.clone(), *iterations);
                let origin = Origin::Stretch { hash, password, salt, iterations };
                Ok(self.origins.bytes(origin, len))
            }
            KdfStep::Concat { parts } => {
                let (mut joined, mut len) = (Slot::default(), 0);
                for part in parts {
                    let part = self.slot(*part)?;
                    len += part.len();
                    if len > MAX_SLOT {
                        return Err("the parts have more than 1024 bytes together".into());
                    }
                    joined.append(part);
                    if joined.pieces() > MAX_PIECES {
                        return Err("the parts come from more than 64 pieces of outputs".into());
                    }
                }
                if len == 0 {
                    return Err("there is nothing to join".into());
                }
                Ok(joined)
            }
            KdfStep::Truncate { input, length } => {
                let (input, len) = (self.slot(*input)?, length_of(*length)?);
                if len > input.len() {
                    let reason = format!("the slot has {} bytes and not {len}", input.len());
                    return Err(reason.into());
                }
                Ok(input.truncated(len))
            }
        }
    }

    /// An earlier slot.
    fn slot(&self, number: u32) -> Checked<&Slot> {
        usize::try_from(number).ok().and_then(|number| self.slots.get(number)).ok_or_else(|| {
            format!(
                "there is no slot {number} yet: the last one before is {}",
                self.slots.len() - 1
            )
            .into()
        })
    }

    fn text(&mut self, bytes: &[u8]) -> Checked<()> {
        self.text = self.text.saturating_add(bytes.len());
        if self.text > MAX_TEXT {
            return Err("salts, infos and messages have more than 64 KiB together".into());
        }
        Ok(())
    }

    /// A one-way step passes on what its widest input holds, and no more than its hash is wide.
    fn takes_in(&self, hash: Hash, inputs: &[&Slot]) -> Checked<()> {
        let need = self.need;
        if hash.len() < need {
            let reason = format!(
                "{} passes on {} bytes, and this root key and output need {need}",
                name(hash),
                hash.len()
            );
            return Err(reason.into());
        }
        let widest = inputs.iter().map(|slot| slot.distinct()).max().unwrap_or_default();
        if widest < need {
            let reason =
                format!("it takes in {widest} bytes of secret, and {need} are needed: too narrow");
            return Err(reason.into());
        }
        Ok(())
    }

    fn costs(&mut self, times: usize, bytes: usize) {
        let each = count(bytes / BLOCK) + 1;
        self.work = self.work.saturating_add(count(times).saturating_mul(each));
    }

    fn mac(&mut self, hash: Hash, key: &Slot, message: Slot, suffix: Vec<u8>) -> Slot {
        let origin = Origin::Mac { hash, key: key.clone(), message, suffix };
        self.origins.bytes(origin, hash.len())
    }

    /// T(1) = HMAC(prk, info ‖ 1), T(i) = HMAC(prk, T(i-1) ‖ info ‖ i).
    fn expand(&mut self, hash: Hash, prk: &Slot, info: &[u8], len: usize) -> Slot {
        let (mut all, mut block) = (Slot::default(), Slot::default());
        // INVARIANT: 1024 bytes are 32 blocks at most.
        for number in (1..=u8::MAX).take(len.div_ceil(hash.len())) {
            let suffix = [info, &[number]].concat();
            block = self.mac(hash, prk, block, suffix);
            all.append(&block);
        }
        all.truncated(len)
    }
}

fn length_of(length: u32) -> Checked<usize> {
    usize::try_from(length)
        .ok()
        .filter(|length| (1..=MAX_SLOT).contains(length))
        .ok_or_else(|| "a step gives 1 to 1024 bytes".into())
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

const fn name(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha256 => "SHA-256",
        Hash::Sha384 => "SHA-384",
        Hash::Sha512 => "SHA-512",
    }
}
