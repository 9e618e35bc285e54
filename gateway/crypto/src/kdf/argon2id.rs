//! Argon2id, version 1.3 (RFC 9106), of a password with the key as its secret value.
//!
//! ```text
//! out = Argon2id(P = password, S = salt, K = key (32 bytes), X = no bytes,
//!                p = lanes, T = len, m = memory in KiB, t = passes, v = 0x13)                  §3.1
//! ```

use std::ops::RangeInclusive;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hub_arena::Secret;
use zeroize::Zeroizing;

use crate::{Error, Result};

/// Memory that is allowed, in KiB.
pub const MEMORY_KIB: RangeInclusive<u32> = 19 * 1024..=1024 * 1024;
/// Passes that are allowed.
pub const PASSES: RangeInclusive<u32> = 2..=10;
/// Lanes that are allowed.
pub const LANES: RangeInclusive<u32> = 1..=4;

/// What one derivation costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB, `m`, within [`MEMORY_KIB`].
    pub memory_kib: u32,
    /// Passes over it, `t`, within [`PASSES`].
    pub passes: u32,
    /// Lanes, `p`, within [`LANES`]. They are worked on one after the other.
    pub lanes: u32,
}

impl Default for Cost {
    /// 64 MiB, 3 passes, 1 lane.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

pub(crate) fn derive(
    key: &[u8],
    password: &[u8],
    salt: &[u8],
    cost: Cost,
    len: usize,
) -> Result<Secret> {
    if !MEMORY_KIB.contains(&cost.memory_kib) {
        return Err(Error::Parameter("Argon2id takes 19456 to 1048576 KiB of memory"));
    }
    if !PASSES.contains(&cost.passes) {
        return Err(Error::Parameter("Argon2id takes 2 to 10 passes"));
    }
    if !LANES.contains(&cost.lanes) {
        return Err(Error::Parameter("Argon2id takes 1 to 4 lanes"));
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(len))
        .map_err(|_| Error::Parameter("Argon2id gives 4 bytes or more"))?;
    let mut memory = Zeroizing::new(Vec::new());
    let blocks = params.block_count();
    memory.try_reserve_exact(blocks).map_err(|_| Error::Parameter("no memory for Argon2id"))?;
    memory.resize(blocks, Block::new());
    // INVARIANT: with every length in bounds nothing below can fail.
    let failed = |_| Error::Parameter("not parameters of Argon2id");
    let argon2 = Argon2::new_with_secret(key, Algorithm::Argon2id, Version::V0x13, params)
        .map_err(failed)?;
    super::fill(len, |out| {
        argon2
            .hash_password_into_with_memory(password, salt, out, memory.as_mut_slice())
            .map_err(failed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &[u8] = b"sixteen bytes it";

    #[test]
    fn key_and_cost_count() {
        let cost = Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
        let out = |key, cost| derive(key, b"password", SALT, cost, 32).unwrap();
        let first = out(&[1; 32], cost);
        assert_eq!(first.expose_secret(), out(&[1; 32], cost).expose_secret());
        assert_ne!(first.expose_secret(), out(&[2; 32], cost).expose_secret());
        let lanes = Cost { lanes: 2, ..cost };
        assert_ne!(first.expose_secret(), out(&[1; 32], lanes).expose_secret());
    }
}
