//! Plans of KDF profiles: from the contract's words to the hub's, held against every bound that can
//! be seen without the key. `hub-crypto` checks them again before it carries one out.

use hub_model::algorithm::Hash;
use hub_model::extend::{KdfPlan, KdfProfile, KdfStep, PluginFailure};

use super::super::bindings::kdf::exports::cipher_hub::plugin::kdf as wire;
use super::super::errors::nonsense;
use super::super::lines::clean;

/// Profiles of a plugin.
const MAX_PROFILES: usize = 32;
/// Steps of a plan.
const MAX_STEPS: usize = 32;
/// Bytes of one output.
const MAX_OUTPUT: u32 = 1_024;
/// Bytes of all outputs together.
const MAX_OUTPUTS: u32 = 16 * 1_024;
/// Salts, infos, messages and suffixes together.
const MAX_INPUTS: usize = 64 * 1_024;
/// Iterations of PBKDF2, over all steps.
const MAX_ITERATIONS: u32 = 1_000_000;
/// Characters of a description.
const MAX_DESCRIPTION: usize = 256;

/// The profiles on offer, ascending by name.
pub(super) fn profiles(offered: Vec<wire::Profile>) -> Result<Vec<KdfProfile>, PluginFailure> {
    if offered.is_empty() || offered.len() > MAX_PROFILES {
        return Err(nonsense(format!("it offers {} profiles; 1 to 32 are taken", offered.len())));
    }
    let mut profiles = Vec::with_capacity(offered.len());
    for profile in offered {
        let id = profile.id.parse().map_err(|_| {
            nonsense(format!("`{}` is no name of a profile", clean(&profile.id, 80)))
        })?;
        if profile.max_length == 0 {
            return Err(nonsense(format!("profile `{id}` gives no bytes")));
        }
        profiles.push(KdfProfile {
            id,
            description: clean(&profile.description, MAX_DESCRIPTION).into(),
            max_length: profile.max_length.min(MAX_OUTPUT),
        });
    }
    profiles.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    if let Some([twice, _]) = profiles.array_windows::<2>().find(|[a, b]| a.id == b.id) {
        return Err(nonsense(format!("it offers `{}` twice", twice.id)));
    }
    Ok(profiles)
}

/// The plan, if it gives `wanted` bytes and keeps within the bounds.
pub(super) fn plan(steps: Vec<wire::Step>, wanted: u32) -> Result<KdfPlan, PluginFailure> {
    if steps.is_empty() || steps.len() > MAX_STEPS {
        return Err(nonsense(format!("a plan of {} steps; 1 to 32 are taken", steps.len())));
    }
    let mut bounds = Bounds { outputs: Vec::with_capacity(steps.len()), inputs: 0, iterations: 0 };
    let mut plan = Vec::with_capacity(steps.len());
    for step in steps {
        plan.push(bounds.step(step)?);
    }
    let last = bounds.outputs.last().copied().unwrap_or(0);
    if last != wanted {
        return Err(nonsense(format!("its plan gives {last} bytes; {wanted} are wanted")));
    }
    Ok(KdfPlan { steps: plan })
}

/// Bytes that a plan holds in memory, about.
pub(super) fn weight(plan: &KdfPlan) -> usize {
    let inputs = plan.steps.iter().map(|step| match step {
        KdfStep::Extract { salt: bytes, .. }
        | KdfStep::Expand { info: bytes, .. }
        | KdfStep::Hmac { message: bytes, .. }
        | KdfStep::HmacSlot { suffix: bytes, .. }
        | KdfStep::Pbkdf2 { salt: bytes, .. } => bytes.len(),
        KdfStep::Concat { parts } => 4 * parts.len(),
        KdfStep::Truncate { .. } => 0,
    });
    plan.steps.len() * size_of::<KdfStep>() + inputs.sum::<usize>()
}

struct Bounds {
    outputs: Vec<u32>,
    inputs: usize,
    iterations: u32,
}

impl Bounds {
    fn step(&mut self, step: wire::Step) -> Result<KdfStep, PluginFailure> {
        let (step, output) = match step {
            wire::Step::HkdfExtract(step) => {
                self.slot(step.ikm)?;
                self.input(&step.salt)?;
                let hash = hash(step.hash);
                (KdfStep::Extract { hash, salt: step.salt, ikm: step.ikm }, width(hash))
            }
            wire::Step::HkdfExpand(step) => {
                self.slot(step.prk)?;
                self.input(&step.info)?;
                let (hash, length) = (hash(step.hash), step.length);
                if length > 255 * width(hash) {
                    return Err(nonsense("HKDF-Expand gives at most 255 digests"));
                }
                (KdfStep::Expand { hash, prk: step.prk, info: step.info, length }, length)
            }
            wire::Step::Hmac(step) => {
                self.slot(step.key)?;
                self.input(&step.message)?;
                let hash = hash(step.hash);
                (KdfStep::Hmac { hash, key: step.key, message: step.message }, width(hash))
            }
            wire::Step::HmacSlot(step) => {
                self.slot(step.key)?;
                self.slot(step.message)?;
                self.input(&step.suffix)?;
                let (hash, key, message) = (hash(step.hash), step.key, step.message);
                (KdfStep::HmacSlot { hash, key, message, suffix: step.suffix }, width(hash))
            }
            wire::Step::Pbkdf2(step) => {
                self.slot(step.password)?;
                self.input(&step.salt)?;
                self.iterations = self.iterations.saturating_add(step.iterations);
                if step.iterations == 0 || self.iterations > MAX_ITERATIONS {
                    return Err(nonsense("PBKDF2 with 1 to 1,000,000 iterations in all"));
                }
                let (hash, length, iterations) = (hash(step.hash), step.length, step.iterations);
                let (password, salt) = (step.password, step.salt);
                (KdfStep::Pbkdf2 { hash, password, salt, iterations, length }, length)
            }
            wire::Step::Concat(parts) => {
                if parts.is_empty() || parts.len() > MAX_STEPS {
                    return Err(nonsense("1 to 32 outputs are joined"));
                }
                let mut length = 0_u32;
                for part in &parts {
                    length = length.saturating_add(self.slot(*part)?.unwrap_or(MAX_OUTPUT));
                }
                (KdfStep::Concat { parts }, length)
            }
            wire::Step::Truncate(step) => {
                let has = self.slot(step.input)?;
                if has.is_some_and(|has| step.length > has) {
                    return Err(nonsense("an output is cut to more bytes than it has"));
                }
                let (input, length) = (step.input, step.length);
                (KdfStep::Truncate { input, length }, length)
            }
        };
        self.output(output)?;
        Ok(step)
    }

    /// The length of an earlier slot; none for the root key, whose length is not known here.
    fn slot(&self, slot: u32) -> Result<Option<u32>, PluginFailure> {
        let Some(index) = slot.checked_sub(1) else { return Ok(None) };
        let known = usize::try_from(index).ok().and_then(|index| self.outputs.get(index));
        let later = || nonsense(format!("slot {slot} is not that of an earlier step"));
        known.map(|length| Some(*length)).ok_or_else(later)
    }

    fn input(&mut self, bytes: &[u8]) -> Result<(), PluginFailure> {
        self.inputs = self.inputs.saturating_add(bytes.len());
        if self.inputs > MAX_INPUTS {
            return Err(nonsense("salts, infos and messages have more than 64 KiB"));
        }
        Ok(())
    }

    fn output(&mut self, length: u32) -> Result<(), PluginFailure> {
        if length == 0 || length > MAX_OUTPUT {
            return Err(nonsense(format!("a step gives {length} bytes; 1 to 1024 are taken")));
        }
        self.outputs.push(length);
        if self.outputs.iter().sum::<u32>() > MAX_OUTPUTS {
            return Err(nonsense("its steps give more than 16 KiB together"));
        }
        Ok(())
    }
}

const fn hash(hash: wire::Hash) -> Hash {
    match hash {
        wire::Hash::Sha256 => Hash::Sha256,
        wire::Hash::Sha384 => Hash::Sha384,
        wire::Hash::Sha512 => Hash::Sha512,
    }
}

fn width(hash: Hash) -> u32 {
    u32::try_from(hash.len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub_model::extend::FailureKind;

    fn expand(prk: u32, length: u32) -> wire::Step {
        let (hash, info) = (wire::Hash::Sha256, vec![1, 2, 3]);
        wire::Step::HkdfExpand(wire::ExpandStep { hash, prk, info, length })
    }

    fn refused(steps: Vec<wire::Step>, wanted: u32) -> String {
        let failure = plan(steps, wanted).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Nonsense);
        failure.text.into()
    }

    #[test]
    fn good_plans_pass() {
        let concat = wire::Step::Concat(vec![1, 2]);
        let cut = wire::Step::Truncate(wire::TruncateStep { input: 3, length: 40 });
        let made = plan(vec![expand(0, 32), expand(1, 32), concat, cut], 40).unwrap();
        assert_eq!(made.steps.len(), 4);
        assert!(weight(&made) >= 6);
    }

    #[test]
    fn every_bound_is_held() {
        assert!(refused(vec![], 32).contains("0 steps"));
        assert!(refused((0..33).map(|_| expand(0, 32)).collect(), 32).contains("33 steps"));
        assert!(refused(vec![expand(0, 32)], 31).contains("gives 32 bytes; 31"));
        assert!(refused(vec![expand(1, 32)], 32).contains("slot 1"));
        assert!(refused(vec![expand(u32::MAX, 32)], 32).contains("earlier"));
        assert!(refused(vec![expand(0, 0)], 0).contains("0 bytes"));
        assert!(refused(vec![expand(0, 1025)], 1025).contains("1025 bytes"));
        let long = (0..17).map(|_| expand(0, 1024)).collect();
        assert!(refused(long, 1024).contains("16 KiB"));
        let cut = wire::Step::Truncate(wire::TruncateStep { input: 1, length: 33 });
        assert!(refused(vec![expand(0, 32), cut], 33).contains("more bytes than it has"));
        assert!(refused(vec![wire::Step::Concat(vec![])], 1).contains("joined"));
        let (hash, salt) = (wire::Hash::Sha512, vec![]);
        let slow = |iterations| {
            let salt = salt.clone();
            wire::Step::Pbkdf2(wire::Pbkdf2Step { hash, password: 0, salt, iterations, length: 32 })
        };
        assert!(refused(vec![slow(0)], 32).contains("iterations"));
        assert!(refused(vec![slow(600_000), slow(600_000)], 32).contains("iterations"));
        let message = vec![0; 65_537];
        let large = wire::Step::Hmac(wire::HmacStep { hash, key: 0, message });
        assert!(refused(vec![large], 64).contains("64 KiB"));
    }

    #[test]
    fn profiles_are_named_once_and_well() {
        let profile = |id: &str, max_length| wire::Profile {
            id: id.to_owned(),
            description: "a\nb".to_owned(),
            max_length,
        };
        let good = profiles(vec![profile("z-one", 9), profile("a-one", 4096)]).unwrap();
        assert_eq!(good[0].id.as_str(), "a-one");
        assert_eq!(good[0].max_length, 1024);
        assert!(!good[0].description.contains('\n'));
        for bad in [
            vec![],
            vec![profile("a-one", 1), profile("a-one", 2)],
            vec![profile("../x", 1)],
            vec![profile("a-one", 0)],
            (0..33).map(|n| profile(&format!("p{n}"), 1)).collect(),
        ] {
            assert_eq!(profiles(bad).unwrap_err().kind, FailureKind::Nonsense);
        }
    }
}
