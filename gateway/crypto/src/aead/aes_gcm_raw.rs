//! Suite 6: AES-256-GCM under the key itself with a random nonce of 96 bits, for facades that need
//! it. It does not commit to the key, and nonces may meet: hence the limit of messages a version
//! ([`hub_model::Algorithm::message_limit`]).

use super::{Aad, Direct, NONCE_LEN, TAG_LEN, aes_256_gcm};

/// AES-256-GCM under the key itself, by the provider in force.
#[derive(Clone, Copy, Debug)]
pub struct Aes256GcmRaw;

impl Direct for Aes256GcmRaw {
    fn nonce_len(&self) -> usize {
        NONCE_LEN
    }

    fn seal(
        &self,
        key: &[u8],
        nonce: &[u8],
        aad: Aad<'_>,
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        aes_256_gcm().seal(key.try_into().ok()?, nonce.try_into().ok()?, aad.whole, buffer)
    }

    fn open(
        &self,
        key: &[u8],
        nonce: &[u8],
        aad: Aad<'_>,
        input: &[u8],
        output: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()> {
        let (key, nonce) = (key.try_into().ok()?, nonce.try_into().ok()?);
        aes_256_gcm().open(key, nonce, aad.whole, input, output, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_promises() {
        super::super::tests::keeps_the_promises_of_direct(&Aes256GcmRaw, 32);
    }
}
