//! Carries plans out, so that an author can compare them with known answers.

use crate::plan::{Hash, Plan, Step};

/// Carries out a plan on a root key, as the hub does, but for the label that the hub adds. `hmac`
/// computes HMAC of a hash, a key and a message: this crate has none.
///
/// # Panics
/// The plan refers to a slot that is not there, which none of [`plan`](crate::plan::plan) does.
#[must_use]
pub fn execute(plan: &Plan, root: &[u8], hmac: impl Fn(Hash, &[u8], &[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut slots = vec![root.to_vec()];
    for step in &plan.steps {
        let slot = |n: u32| {
            let found = usize::try_from(n).ok().and_then(|n| slots.get(n));
            found.unwrap_or_else(|| panic!("there is no slot {n} yet"))
        };
        let output = match step {
            Step::Extract { hash, salt, ikm } => hmac(*hash, salt, slot(*ikm)),
            Step::Expand { hash, prk, info, length } => {
                let (mut out, mut block) = (Vec::new(), Vec::new());
                for n in 1..=u8::MAX {
                    let message = [block.as_slice(), info, &[n]].concat();
                    block = hmac(*hash, slot(*prk), &message);
                    out.extend(&block);
                }
                cut(out, *length)
            }
            Step::Hmac { hash, key, message } => hmac(*hash, slot(*key), message),
            Step::HmacSlot { hash, key, message, suffix } => {
                hmac(*hash, slot(*key), &[slot(*message), suffix.as_slice()].concat())
            }
            Step::Pbkdf2 { hash, password, salt, iterations, length } => {
                let mut out = Vec::new();
                for n in 1..=length.div_ceil(hash.length()) {
                    let first = [salt.as_slice(), &n.to_be_bytes()].concat();
                    let mut block = hmac(*hash, slot(*password), &first);
                    let mut sum = block.clone();
                    for _ in 1..*iterations {
                        block = hmac(*hash, slot(*password), &block);
                        sum.iter_mut().zip(&block).for_each(|(s, b)| *s ^= b);
                    }
                    out.extend(sum);
                }
                cut(out, *length)
            }
            Step::Concat { parts } => parts.iter().flat_map(|n| slot(*n)).copied().collect(),
            Step::Truncate { input, length } => cut(slot(*input).clone(), *length),
        };
        slots.push(output);
    }
    slots.pop().unwrap_or_default()
}

fn cut(mut bytes: Vec<u8>, length: u32) -> Vec<u8> {
    bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    bytes
}
