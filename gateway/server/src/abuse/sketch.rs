//! How many distinct things there were, in 256 bytes whatever their number: HyperLogLog with 256
//! registers (Flajolet et al., 2007), whose standard error is 6.5 %.

const REGISTERS: usize = 256;

/// Counts distinct values by their hashes.
#[derive(Clone, Debug)]
pub(super) struct Sketch([u8; REGISTERS]);

impl Sketch {
    pub(super) const fn new() -> Self {
        Self([0; REGISTERS])
    }

    /// Adds a value by its hash; whether that may have changed the estimate.
    pub(super) fn add(&mut self, hash: u64) -> bool {
        let [register, ..] = hash.to_be_bytes();
        // The other 56 bits: how many zeros they begin with.
        let zeros = u8::try_from((hash << 8 | 0xff).leading_zeros()).unwrap_or(56);
        match self.0.get_mut(usize::from(register)) {
            Some(most) if *most < zeros + 1 => {
                *most = zeros + 1;
                true
            }
            _ => false,
        }
    }

    /// About how many distinct values were added.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate: positive, and far below 2^52"
    )]
    pub(super) fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let sum: f64 = self.0.iter().map(|most| (-f64::from(*most)).exp2()).sum();
        let estimate = 0.7183 * registers * registers / sum;
        let empty = self.0.iter().filter(|most| **most == 0).count();
        if estimate <= 2.5 * registers && empty > 0 {
            // Few values: counting empty registers is closer.
            return (registers * (registers / empty as f64).ln()).round() as u64;
        }
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn estimates_are_near() {
        for count in [1_u64, 10, 100, 1_000, 10_000, 100_000] {
            let (mut sketch, hasher) = (Sketch::new(), RandomState::new());
            for value in 0..count {
                sketch.add(hasher.hash_one(value));
                // Again: not another value.
                assert!(!sketch.add(hasher.hash_one(value)));
            }
            let (low, high) = (count * 7 / 10, count * 13 / 10 + 1);
            let estimate = sketch.estimate();
            assert!((low..=high).contains(&estimate), "{estimate} of {count}");
        }
    }
}
