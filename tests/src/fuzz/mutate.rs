//! A seeded mutator of bytes, for machines without libFuzzer. Equal seeds give equal inputs.

/// Where mutated inputs come from.
#[derive(Clone, Debug)]
pub struct Mutator(u64);

/// What often matters in formats and in JSON.
const TOKENS: &[&[u8]] = &[
    b"\0",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x80",
    b"\x30\x82",
    b"\x02\x01",
    b"\x03\x81",
    b"\"",
    b"\\u0000",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e400",
    b"18446744073709551616",
    b":",
    b",",
    b"=",
    b"ch1:",
    b"\n",
    b"\n\n",
    b"P1Y",
    b"PT0S",
    b"*",
    b"2026-02-30T24:00:00Z",
    b"\xf0\x9f\x94\x91",
    b"A",
];
/// Longer inputs try nothing that shorter ones do not.
const MAX_LEN: usize = 16 * 1024;

impl Mutator {
    /// A mutator that begins at this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number below `limit`, or 0.
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*: Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0).checked_rem(limit).unwrap_or(0)
    }

    /// One of the seeds, changed in one to eight places.
    #[must_use]
    pub fn next(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut data = self.one_of(seeds);
        for _ in 0..=self.below(8) {
            self.change(&mut data, seeds);
        }
        data.truncate(MAX_LEN);
        data
    }

    fn one_of(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let at = self.below(seeds.len());
        seeds.get(at).cloned().unwrap_or_default()
    }

    fn change(&mut self, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(data.len());
        let end = (at + 1 + self.below(32)).min(data.len());
        match self.below(9) {
            0 | 1 => {
                let bit = 1 << self.below(8);
                data.get_mut(at..).and_then(<[u8]>::first_mut).into_iter().for_each(|b| *b ^= bit);
            }
            2 => {
                let value = u8::try_from(self.below(256)).unwrap_or(0);
                data.get_mut(at..).and_then(<[u8]>::first_mut).into_iter().for_each(|b| *b = value);
            }
            3 => drop(data.drain(at..end)),
            4 => {
                let piece = data.get(at..end).unwrap_or_default().to_vec();
                let to = self.below(data.len() + 1);
                data.splice(to..to, piece);
            }
            5 => {
                let token = TOKENS.get(self.below(TOKENS.len())).copied().unwrap_or_default();
                data.splice(at..at, token.iter().copied());
            }
            6 => {
                let token = TOKENS.get(self.below(TOKENS.len())).copied().unwrap_or_default();
                let end = (at + token.len()).min(data.len());
                data.splice(at..end, token.iter().copied());
            }
            7 => {
                let other = self.one_of(seeds);
                let from = self.below(other.len());
                data.truncate(at);
                data.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            _ => data.truncate(at),
        }
    }
}
