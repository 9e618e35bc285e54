//! [`crate::random`] in the shape that the RustCrypto crates want a generator to have.

use std::convert::Infallible;

use rand::rand_core::{TryCryptoRng, TryRng};

use crate::{Error, Result, random};

/// For salts, seeds of paddings, blinding and what is mixed into nonces.
pub(super) struct Salts;

impl TryRng for Salts {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        random::fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        random::fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        random::fill(buffer);
        Ok(())
    }
}

impl TryCryptoRng for Salts {}

/// For keys: every draw comes from the system.
pub(super) struct Keys;

impl TryRng for Keys {
    type Error = Error;

    fn try_next_u32(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<()> {
        buffer.copy_from_slice(random::secret(buffer.len())?.expose_secret());
        Ok(())
    }
}

impl TryCryptoRng for Keys {}
