//! The state digest: `D = Σ HMAC-SHA-256(K_digest, path ‖ 0x00 ‖ sealed record) mod 2^256` over all
//! records outside `w/`. A sum can be kept by subtracting the old term and adding the new, and the
//! order of records does not matter; without the key nobody finds records that sum up to it.

/// A sum of record terms: an integer modulo 2^256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateDigest {
    // Least significant limb first.
    limbs: [u64; 4],
}

impl StateDigest {
    /// The digest of a store without records.
    pub const EMPTY: Self = Self { limbs: [0; 4] };

    /// Reads 32 bytes, big endian.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut limbs = [0; 4];
        let (chunks, _) = bytes.as_chunks::<8>();
        for (limb, chunk) in limbs.iter_mut().zip(chunks.iter().rev()) {
            *limb = u64::from_be_bytes(*chunk);
        }
        Self { limbs }
    }

    /// Writes 32 bytes, big endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (chunks, _) = bytes.as_chunks_mut::<8>();
        for (chunk, limb) in chunks.iter_mut().rev().zip(self.limbs) {
            *chunk = limb.to_be_bytes();
        }
        bytes
    }

    /// Adds a term.
    #[must_use]
    pub fn plus(self, term: Self) -> Self {
        let mut carry = false;
        let mut limbs = self.limbs;
        for (limb, other) in limbs.iter_mut().zip(term.limbs) {
            let (sum, first) = limb.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first || second;
        }
        Self { limbs }
    }

    /// Takes a term away.
    #[must_use]
    pub fn minus(self, term: Self) -> Self {
        let mut borrow = false;
        let mut limbs = self.limbs;
        for (limb, other) in limbs.iter_mut().zip(term.limbs) {
            let (difference, first) = limb.overflowing_sub(other);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = first || second;
        }
        Self { limbs }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn carries_and_wraps() {
        let mut one = [0; 32];
        one[31] = 1;
        let one = StateDigest::from_bytes(one);
        let most = StateDigest::from_bytes([0xff; 32]);
        assert_eq!(most.plus(one), StateDigest::EMPTY);
        assert_eq!(StateDigest::EMPTY.minus(one), most);
        let mut low = [0; 32];
        low[24..].fill(0xff);
        let mut next = [0; 32];
        next[23] = 1;
        assert_eq!(StateDigest::from_bytes(low).plus(one).to_bytes(), next);
    }

    proptest! {
        #[test]
        fn is_a_commutative_group(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let [a, b, c] = [a, b, c].map(StateDigest::from_bytes);
            prop_assert_eq!(a.plus(b), b.plus(a));
            prop_assert_eq!(a.plus(b).plus(c), a.plus(b.plus(c)));
            prop_assert_eq!(a.plus(b).minus(b), a);
            prop_assert_eq!(StateDigest::from_bytes(a.to_bytes()), a);
        }
    }
}
