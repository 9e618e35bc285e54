//! Postings of one bucket: for each term the offsets of its entries within the block.
//!
//! Layout, terms ascending: `u32` low bits of the term, varint count, then the first offset and the
//! gaps to the next ones, less one, as varints; or count 0 and a bitmap of 2,048 bytes, where that is
//! shorter (`docs/formats/audit-index.md`).

/// Entries of one block.
pub(crate) const BLOCK: u64 = 16_384;
/// Bits of an offset.
pub(crate) const OFFSET_BITS: u32 = 14;
const WORDS: usize = 256;
const BITMAP: usize = WORDS * 8;

/// Bytes that are not postings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A set of offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offsets(Box<[u64; WORDS]>);

impl Offsets {
    pub(crate) fn none() -> Self {
        Self(Box::new([0; WORDS]))
    }

    pub(crate) fn all() -> Self {
        Self(Box::new([u64::MAX; WORDS]))
    }

    /// Adds an offset; those beyond the block are not.
    pub(crate) fn add(&mut self, offset: u64) {
        let word = usize::try_from(offset / 64).ok().and_then(|word| self.0.get_mut(word));
        if let Some(word) = word {
            *word |= 1 << (offset % 64);
        }
    }

    /// Keeps what is in `other`, too.
    pub(crate) fn keep(&mut self, other: &Self) {
        for (word, with) in self.0.iter_mut().zip(other.0.iter()) {
            *word &= with;
        }
    }

    /// The offsets, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        (0u64..).zip(self.0.iter()).flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 64).then(|| at * 64 + u64::from(bit))
            })
        })
    }
}

/// Writes the postings of one bucket: `pairs` are `term << 14 | offset`, ascending, each once.
pub(crate) fn encode(pairs: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pairs.len() * 4);
    for group in pairs.chunk_by(|a, b| a >> OFFSET_BITS == b >> OFFSET_BITS) {
        let Some(first) = group.first() else { continue };
        out.extend((first >> OFFSET_BITS).to_be_bytes().iter().skip(4));
        let start = out.len();
        put_varint(&mut out, group.len() as u64);
        let mut next = 0;
        for pair in group {
            let offset = pair % BLOCK;
            put_varint(&mut out, offset - next);
            next = offset + 1;
        }
        if out.len() - start > BITMAP {
            out.truncate(start);
            out.push(0);
            let mut offsets = Offsets::none();
            group.iter().for_each(|pair| offsets.add(pair % BLOCK));
            offsets.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
    }
    out
}

/// Adds the offsets of the term with these low bits to `found`.
pub(crate) fn find(section: &[u8], low: u32, found: &mut Offsets) -> Result<(), Malformed> {
    let mut rest = section;
    let mut last = None;
    while !rest.is_empty() {
        let head = take(&mut rest, 4)?.try_into().map_err(|_| Malformed)?;
        let here = u32::from_be_bytes(head);
        if last.is_some_and(|last| here <= last) {
            return Err(Malformed);
        }
        last = Some(here);
        if here > low {
            return Ok(());
        }
        let count = varint(&mut rest)?;
        if count == 0 {
            let bitmap = take(&mut rest, BITMAP)?;
            if here == low {
                for (word, bytes) in found.0.iter_mut().zip(bitmap.chunks_exact(8)) {
                    *word |= u64::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?);
                }
            }
        } else {
            let mut next = 0u64;
            for _ in 0..count {
                let offset = next.checked_add(varint(&mut rest)?).ok_or(Malformed)?;
                if offset >= BLOCK {
                    return Err(Malformed);
                }
                if here == low {
                    found.add(offset);
                }
                next = offset + 1;
            }
        }
        if here == low {
            return Ok(());
        }
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (head, tail) = rest.split_at_checked(count).ok_or(Malformed)?;
    *rest = tail;
    Ok(head)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes().first().copied().unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes().first().copied().unwrap_or(0));
}

/// At most three bytes: counts and gaps of a block.
fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in [0, 7, 14] {
        let (byte, tail) = rest.split_first().ok_or(Malformed)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// A generator of no quality, with a seed.
    pub(super) struct Dice(u64);

    impl Dice {
        fn roll(&mut self, below: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % below
        }
    }

    fn pairs(of: &BTreeMap<u32, BTreeSet<u64>>) -> Vec<u64> {
        let pair = |term: u32, offset: &u64| u64::from(term) << OFFSET_BITS | offset;
        of.iter().flat_map(|(term, set)| set.iter().map(move |o| pair(*term, o))).collect()
    }

    fn random(dice: &mut Dice) -> BTreeMap<u32, BTreeSet<u64>> {
        let mut terms = BTreeMap::new();
        for _ in 0..dice.roll(12) {
            let term = u32::try_from(dice.roll(1 << 32)).unwrap();
            let below = [1, 3, 200, 4000, BLOCK][usize::try_from(dice.roll(5)).unwrap()];
            let count = 1 + dice.roll(below);
            let within = 1 + dice.roll(BLOCK);
            let set: BTreeSet<u64> = (0..count).map(|_| dice.roll(within)).collect();
            terms.insert(term, set);
        }
        terms
    }

    #[test]
    fn what_was_put_in_comes_out_and_nothing_else() {
        let mut dice = Dice(0x5eed);
        let mut bitmaps = 0;
        for _ in 0..200 {
            let terms = random(&mut dice);
            let section = encode(&pairs(&terms));
            for (term, set) in &terms {
                let mut found = Offsets::none();
                find(&section, *term, &mut found).unwrap();
                assert!(found.iter().eq(set.iter().copied()), "{term:x}");
                bitmaps += usize::from(set.len() > BITMAP);
                let mut near = Offsets::none();
                let other = term.wrapping_add(1);
                find(&section, other, &mut near).unwrap();
                assert_eq!(near.iter().next().is_some(), terms.contains_key(&other));
            }
        }
        assert!(bitmaps > 10, "the dense form was tried");
    }

    #[test]
    fn the_frozen_sample_is_what_we_write() {
        let sample = include_str!("../../../../tests/formats/audit-index.json");
        let sample: serde_json::Value = serde_json::from_str(sample).unwrap();
        let sections = sample["sections"].as_array().unwrap();
        let terms = |section: &serde_json::Value| -> Vec<u64> {
            let mut of = BTreeMap::new();
            for posting in section["postings"].as_array().unwrap() {
                let term = u32::from_str_radix(posting["term"].as_str().unwrap(), 16).unwrap();
                let offsets: BTreeSet<u64> = match posting["every"].as_u64() {
                    Some(step) => (0..BLOCK).filter(|offset| offset % step == 0).collect(),
                    None => {
                        let all = posting["offsets"].as_array().unwrap();
                        all.iter().map(|offset| offset.as_u64().unwrap()).collect()
                    }
                };
                of.insert(term, offsets);
            }
            pairs(&of)
        };
        let small = encode(&terms(&sections[0]));
        assert_eq!(crate::encode::hex(&small), sections[0]["hex"].as_str().unwrap());
        let dense = encode(&terms(&sections[1]));
        assert_eq!(dense.len() as u64, sections[1]["length"].as_u64().unwrap());
        let hash = crate::encode::hex(&hub_crypto::hash::sha256(&dense));
        assert_eq!(hash, sections[1]["sha256"].as_str().unwrap());
    }

    #[test]
    fn every_offset_and_a_full_block() {
        let full: BTreeMap<u32, BTreeSet<u64>> = [(7, (0..BLOCK).collect())].into();
        let section = encode(&pairs(&full));
        assert_eq!(section.len(), 4 + 1 + BITMAP);
        let mut found = Offsets::none();
        find(&section, 7, &mut found).unwrap();
        assert_eq!(found, Offsets::all());
        for offset in [0, 1, 63, 64, BLOCK - 1] {
            let one = encode(&[9 << OFFSET_BITS | offset]);
            assert!(one.len() <= 8);
            let mut found = Offsets::none();
            find(&one, 9, &mut found).unwrap();
            assert_eq!(found.iter().collect::<Vec<_>>(), [offset]);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_never_a_panic() {
        let mut dice = Dice(0xfa11);
        for _ in 0..300 {
            let section = encode(&pairs(&random(&mut dice)));
            for _ in 0..20 {
                let mut bytes = section.clone();
                for _ in 0..=dice.roll(3) {
                    let at = usize::try_from(dice.roll(bytes.len() as u64 + 1)).unwrap();
                    match dice.roll(3) {
                        0 => bytes.truncate(at),
                        1 => bytes.insert(at, dice.roll(256).to_le_bytes()[0]),
                        _ if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
                        _ => {}
                    }
                }
                let low = u32::try_from(dice.roll(1 << 32)).unwrap();
                let _ = find(&bytes, low, &mut Offsets::none());
                let _ = find(&bytes, u32::MAX, &mut Offsets::none());
            }
        }
        assert_eq!(find(&[0, 0, 0, 1, 0x80], 1, &mut Offsets::none()), Err(Malformed));
        // An offset beyond the block.
        assert_eq!(find(&[0, 0, 0, 1, 1, 0xff, 0xff, 3], 1, &mut Offsets::none()), Err(Malformed));
        // Terms that do not ascend.
        let twice = [0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0];
        assert_eq!(find(&twice, 2, &mut Offsets::none()), Err(Malformed));
    }
}
