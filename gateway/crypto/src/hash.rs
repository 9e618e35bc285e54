//! SHA-256, and its longer siblings for callers (FIPS 180-4).

use hub_model::algorithm::Hash;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// The digest of the bytes by this function.
#[must_use]
pub fn digest(hash: Hash, bytes: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => Sha256::digest(bytes).to_vec(),
        Hash::Sha384 => Sha384::digest(bytes).to_vec(),
        Hash::Sha512 => Sha512::digest(bytes).to_vec(),
    }
}

/// SHA-256 of the bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of the parts one after the other. The caller sees to it that they cannot be cut
/// differently.
#[must_use]
pub fn sha256_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Sha256::new();
    for part in parts {
        state.update(part);
    }
    state.finalize().into()
}

/// SHA-256 of bytes that come piece by piece.
#[derive(Clone, Debug, Default)]
pub struct RunningSha256(Sha256);

impl RunningSha256 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fips_180_4_example_and_parts() {
        let digest = sha256(b"abc");
        assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(sha256_parts(&[b"a", b"", b"bc"]), digest);
        let mut running = RunningSha256::default();
        running.update(b"ab");
        running.update(b"c");
        assert_eq!(running.finish(), digest);
        assert_eq!(super::digest(Hash::Sha256, b"abc"), digest);
        assert_eq!(super::digest(Hash::Sha384, b"abc")[..4], [0xcb, 0x00, 0x75, 0x3f]);
        assert_eq!(super::digest(Hash::Sha512, b"abc")[..4], [0xdd, 0xaf, 0x35, 0xa1]);
    }
}
