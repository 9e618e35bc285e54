//! The layout of an archive file: head, sealed batches, leaf hashes, index, signed summary
//! (`docs/formats/audit-archive.md`). The note is a C2SP signed note (signed-note, Ed25519).

use std::fmt::Write as _;

use hub_crypto::hash::sha256_parts;
use hub_crypto::sign::{SigningKey, VerifyingKey};
use hub_model::secret::{decode_base64, encode_base64};
use hub_model::{HubId, Timestamp};

use crate::encode::{hex, parse_hex32};
use crate::merkle::Hash;

pub(super) const MAGIC: &[u8; 8] = b"CHUBARCH";
pub(super) const END: &[u8; 8] = b"CHUBAEND";
pub(super) const VERSION: u8 = 1;
/// Length of the note, and [`END`].
pub(super) const TRAILER: usize = 4 + 8;
/// Last sequence, offset, length, SHA-256.
pub(super) const ROW: usize = 8 + 8 + 4 + 32;
/// The most bytes a note may have.
pub(super) const MAX_NOTE: u64 = 8 * 1024;
/// The most bytes a head may have.
pub(super) const MAX_HEAD: u64 = 8 * 1024;
/// The most bytes a sealed batch may have.
pub(super) const MAX_SEALED: u32 = 1024 * 1024;
/// Ed25519 in signed notes (C2SP signed-note).
const SIGNATURE_TYPE: u8 = 0x01;
/// What the parts of a file are called, in their order.
const SECTIONS: [&str; 4] = ["head", "batches", "leaves", "index"];

/// The first line of the summaries of a hub's archives, which is the name of their key.
#[must_use]
pub(super) fn origin(hub: HubId) -> String {
    format!("{hub}.audit-archive")
}

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Section {
    /// Where it ends.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// What the signed note of an archive says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whose: `<hub id>.audit-archive`.
    pub origin: String,
    /// Of which writer.
    pub writer: String,
    /// The first sequence.
    pub first: u64,
    /// How many entries.
    pub entries: u64,
    /// How many batches.
    pub batches: u64,
    /// The Merkle root of the log behind the last entry.
    pub root: Hash,
    /// The leaf hash of the entry before the first; zeros when there is none.
    pub before: Hash,
    /// The leaf hash of the last entry.
    pub after: Hash,
    /// The time of the oldest entry.
    pub from: Timestamp,
    /// The time of the newest entry.
    pub until: Timestamp,
    /// Head, batches, leaves and index, one behind the other from the beginning of the file.
    pub sections: [Section; 4],
}

impl Summary {
    /// The sequence behind the last entry.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first.saturating_add(self.entries)
    }

    fn body(&self) -> String {
        let mut text = format!(
            "{}\n{} {} {}\n{}\nwriter {}\nbefore {}\nafter {}\nfrom {} until {}\n",
            self.origin,
            self.first,
            self.entries,
            self.batches,
            encode_base64(&self.root),
            self.writer,
            hex(&self.before),
            hex(&self.after),
            self.from,
            self.until,
        );
        for (name, part) in SECTIONS.iter().zip(&self.sections) {
            let (offset, length) = (part.offset, part.length);
            let _ = writeln!(text, "{name} {offset} {length} {}", hex(&part.sha256));
        }
        text
    }

    /// The signed note.
    #[must_use]
    pub(super) fn sign(&self, key: &SigningKey) -> String {
        let body = self.body();
        let mut blob = key_id(&self.origin, &key.public()).to_vec();
        blob.extend_from_slice(&key.sign(body.as_bytes()));
        format!("{body}\n\u{2014} {} {}\n", self.origin, encode_base64(&blob))
    }

    /// Reads a note. Only the one spelling that [`Summary::sign`] writes is taken, so that no byte
    /// of it is free; its signature is looked at by [`signed_by`].
    pub(super) fn parse(note: &str) -> Option<Self> {
        let (body, signature) = note.split_once("\n\n")?;
        let mut lines = body.lines();
        let origin = lines.next()?.to_owned();
        let [first, entries, batches] = numbers(lines.next()?)?;
        let root = decode_base64(lines.next()?).ok()?.try_into().ok()?;
        let writer = lines.next()?.strip_prefix("writer ")?.to_owned();
        let before = parse_hex32(lines.next()?.strip_prefix("before ")?)?;
        let after = parse_hex32(lines.next()?.strip_prefix("after ")?)?;
        let (from, until) = lines.next()?.strip_prefix("from ")?.split_once(" until ")?;
        let mut section = |name: &str| {
            let rest = lines.next()?.strip_prefix(name)?.strip_prefix(' ')?;
            let (place, sha256) = rest.rsplit_once(' ')?;
            let [offset, length] = numbers(place)?;
            Some(Section { offset, length, sha256: parse_hex32(sha256)? })
        };
        let [head, batches_at, leaves, index] = SECTIONS;
        let sections = [section(head)?, section(batches_at)?, section(leaves)?, section(index)?];
        let (from, until) = (from.parse().ok()?, until.parse().ok()?);
        let found = Self {
            origin,
            writer,
            first,
            entries,
            batches,
            root,
            before,
            after,
            from,
            until,
            sections,
        };
        let line = signature.strip_prefix("\u{2014} ")?.strip_suffix('\n')?;
        let (signer, blob) = line.split_once(' ')?;
        let alone = signer == found.origin && decode_base64(blob).is_ok_and(|b| b.len() == 68);
        (alone && format!("{body}\n") == found.body() && !found.writer.is_empty()).then_some(found)
    }
}

/// Whether the note carries the signature of this key under the name in its first line.
pub(super) fn signed_by(note: &str, origin: &str, key: &VerifyingKey) -> bool {
    let Some((body, line)) = note.split_once("\n\n") else { return false };
    let blob = line
        .strip_prefix("\u{2014} ")
        .and_then(|rest| rest.strip_prefix(origin))
        .and_then(|rest| rest.strip_prefix(' '))
        .and_then(|rest| rest.strip_suffix('\n'))
        .and_then(|blob| decode_base64(blob).ok());
    let Some(blob) = blob else { return false };
    blob.split_first_chunk::<4>().is_some_and(|(id, signature)| {
        *id == key_id(origin, key) && key.verify(format!("{body}\n").as_bytes(), signature).is_ok()
    })
}

/// The key id of C2SP signed-note.
fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let hash = sha256_parts(&[name.as_bytes(), b"\n", &[SIGNATURE_TYPE], &key.to_bytes()]);
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let found: Option<Vec<u64>> = text.split(' ').map(|word| word.parse().ok()).collect();
    found?.try_into().ok()
}

/// What stands before the batches: all that is known before the first of them is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) hub: HubId,
    pub(super) first: u64,
    pub(super) before: Hash,
    pub(super) frontier: Vec<Hash>,
    pub(super) writer: String,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(self.hub.as_bytes());
        bytes.extend_from_slice(&self.first.to_be_bytes());
        bytes.extend_from_slice(&self.before);
        bytes.push(u8::try_from(self.frontier.len()).unwrap_or(u8::MAX));
        self.frontier.iter().for_each(|root| bytes.extend_from_slice(root));
        bytes.push(u8::try_from(self.writer.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(self.writer.as_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let [VERSION] = chunk(&mut rest)? else { return None };
        let hub = HubId::from_bytes(chunk(&mut rest)?);
        let first = u64::from_be_bytes(chunk(&mut rest)?);
        let before = chunk(&mut rest)?;
        let [roots] = chunk(&mut rest)?;
        // One root for each one-bit of the size (RFC 6962 §2.1).
        if u32::from(roots) != first.count_ones() {
            return None;
        }
        let frontier = (0..roots).map(|_| chunk(&mut rest)).collect::<Option<Vec<Hash>>>()?;
        let [length] = chunk(&mut rest)?;
        let writer = std::str::from_utf8(rest).ok()?.to_owned();
        (writer.len() == usize::from(length)).then_some(Self {
            hub,
            first,
            before,
            frontier,
            writer,
        })
    }
}

/// A line of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) last: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) sha256: [u8; 32],
}

impl Row {
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.last.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.sha256);
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let row = Self {
            last: u64::from_be_bytes(chunk(&mut bytes)?),
            offset: u64::from_be_bytes(chunk(&mut bytes)?),
            length: u32::from_be_bytes(chunk(&mut bytes)?),
            sha256: chunk(&mut bytes)?,
        };
        bytes.is_empty().then_some(row)
    }
}

fn chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let at = |offset, length| Section { offset, length, sha256: [5; 32] };
        Summary {
            origin: origin(HubId::from_bytes([7; 16])),
            writer: "main".into(),
            first: 64,
            entries: 3,
            batches: 2,
            root: [1; 32],
            before: [2; 32],
            after: [3; 32],
            from: Timestamp::from_micros(1_795_000_000_000_000),
            until: Timestamp::from_micros(1_795_000_000_000_009),
            sections: [at(0, 10), at(10, 20), at(30, 96), at(126, 104)],
        }
    }

    #[test]
    fn a_note_has_no_free_byte() {
        let key = SigningKey::generate().unwrap();
        let note = summary().sign(&key);
        let good =
            |note: &str| Summary::parse(note).filter(|s| signed_by(note, &s.origin, &key.public()));
        assert_eq!(good(&note), Some(summary()));
        let other = SigningKey::generate().unwrap();
        assert!(!signed_by(&note, &summary().origin, &other.public()));
        for index in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[index] ^= 1 << bit;
                if let Ok(changed) = String::from_utf8(bytes) {
                    assert_eq!(good(&changed), None, "byte {index}, bit {bit}");
                }
            }
        }
        assert_eq!(good(&format!("{note}\u{2014} a b\n")), None);
    }

    #[test]
    fn heads_and_rows_round_trip_and_are_strict() {
        let head = Head {
            hub: HubId::from_bytes([7; 16]),
            first: 5,
            before: [2; 32],
            frontier: vec![[8; 32], [9; 32]],
            writer: "main".into(),
        };
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes), Some(head));
        for cut in 0..bytes.len() {
            assert_eq!(Head::decode(&bytes[..cut]), None);
        }
        assert_eq!(Head::decode(&[&bytes[..], b"x"].concat()), None);
        let row = Row { last: 7, offset: 9, length: 3, sha256: [4; 32] };
        let mut bytes = Vec::new();
        row.append_to(&mut bytes);
        assert_eq!(bytes.len(), ROW);
        assert_eq!(Row::decode(&bytes), Some(row));
    }
}
