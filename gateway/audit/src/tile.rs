//! C2SP tlog-tiles: the tree and the entries as tiles of 256, for other people's clients.
//! <https://c2sp.org/tlog-tiles>

use crate::merkle::{self, Hash};
use crate::proof::{self, Node};
use crate::{Error, Log};

/// Hashes of a whole tile, and entries of a whole bundle.
pub const WIDTH: u64 = 256;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Hashes of subtrees of `256^level` entries.
    Hashes(u8),
    /// Entries, each with its length in two bytes before it.
    Entries,
}

/// The name of a tile: what follows `tile/` in its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// What it holds.
    pub kind: Kind,
    /// Which of its level, from the left.
    pub index: u64,
    /// How many hashes or entries: 256, or fewer of a partial tile.
    pub width: u64,
}

impl Tile {
    /// Reads `<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`; `None` for whatever is spelt otherwise.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.split_once('/')?;
        let (name, width) = match rest.split_once(".p/") {
            Some((name, width)) => (name, decimal(width).filter(|w| (1..WIDTH).contains(w))?),
            None => (rest, WIDTH),
        };
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes(decimal(level).and_then(|n| u8::try_from(n).ok())?),
        };
        let mut index: u64 = 0;
        for element in name.split('/') {
            let digits = element.strip_prefix('x').unwrap_or(element);
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        // One spelling only: no `x000` in front, an `x` on all elements but the last.
        let known = matches!(kind, Kind::Entries | Kind::Hashes(0..64));
        (known && encode_index(index) == name).then_some(Self { kind, index, width })
    }
}

/// A decimal number without leading zeros or a sign.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// `x001/x234/067` for 1234067.
fn encode_index(index: u64) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    text
}

impl Log {
    /// The bytes of a tile, verified against the newest checkpoint; `None` when that checkpoint's
    /// tree has no such tile, or not as many hashes in it.
    ///
    /// # Errors
    /// As [`Log::inclusion_proof`].
    pub async fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, Error> {
        let Some(signed) = self.latest() else { return Ok(None) };
        let size = signed.checkpoint.size;
        let level = match tile.kind {
            Kind::Entries => 0,
            Kind::Hashes(level) => u32::from(level) * 8,
        };
        let units = size.checked_shr(level).unwrap_or(0);
        let first = tile.index.checked_mul(WIDTH);
        let range = first.and_then(|first| Some(first..first.checked_add(tile.width)?));
        let Some(range) = range.filter(|range| range.end <= units) else { return Ok(None) };
        let mut bytes = Vec::new();
        let hashes: Vec<Hash> = if tile.kind == Kind::Entries {
            let entries = self.stored(range.clone()).await?;
            for entry in &entries {
                // Entries have at most 16 KiB.
                let length = u16::try_from(entry.len()).map_err(|_| Error::TreeSpoiled)?;
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(entry);
            }
            entries.iter().map(|entry| merkle::leaf_hash(entry)).collect()
        } else {
            let level = u8::try_from(level).map_err(|_| Error::TreeSpoiled)?;
            let nodes: Vec<Node> = range.clone().map(|index| Node { level, index }).collect();
            let found = self.nodes(&nodes).await?;
            let hashes: Option<Vec<Hash>> =
                nodes.iter().map(|node| found.get(node).copied()).collect();
            hashes.ok_or(Error::TreeSpoiled)?
        };
        if tile.kind != Kind::Entries {
            bytes.extend_from_slice(hashes.as_flattened());
        }
        // What is left of the tile and the tile itself make a tree that the checkpoint goes on from.
        let mut frontier = self.frontier_at(range.start << level).await?;
        for (at, hash) in range.clone().zip(&hashes) {
            merkle::push(&mut frontier, at, *hash);
        }
        let (end, root) = (range.end << level, merkle::root(&frontier));
        let (new, proof) = (signed.checkpoint.root, self.consistency_unchecked(end, size).await?);
        let sound = proof::verify_consistency(end, &root, size, &new, &proof).is_ok();
        self.answer(sound, Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification_and_nothing_else() {
        let hashes = |level, index, width| Some(Tile { kind: Kind::Hashes(level), index, width });
        assert_eq!(Tile::parse("0/x001/x234/067"), hashes(0, 1_234_067, 256));
        assert_eq!(Tile::parse("1/000.p/17"), hashes(1, 0, 17));
        assert_eq!(Tile::parse("63/999.p/255"), hashes(63, 999, 255));
        let entries = Tile { kind: Kind::Entries, index: 273, width: 112 };
        assert_eq!(Tile::parse("entries/273.p/112"), Some(entries));
        assert_eq!(encode_index(u64::MAX), "x018/x446/x744/x073/x709/x551/615");
        for bad in [
            "",
            "0",
            "0/",
            "0/0",
            "0/00",
            "0/0000",
            "0/x001",
            "0/001/002",
            "0/x000/001",
            "00/000",
            "64/000",
            "-1/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000.p",
            "0/000.p/1/2",
            "0/+00",
            "entries",
            "entries/",
            "entry/000",
            "0/x001/x067",
            "0/X001/067",
            "0/x018/x446/x744/x073/x709/x551/616",
            "0/000/",
            "/000",
            "0/ 00",
            "256/000",
        ] {
            assert_eq!(Tile::parse(bad), None, "{bad}");
        }
        for index in [0, 7, 999, 1000, 123_456_789, u64::MAX] {
            let name = format!("2/{}", encode_index(index));
            assert_eq!(Tile::parse(&name), hashes(2, index, 256));
        }
    }
}
