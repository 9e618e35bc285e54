//! Where the bytes of each slot come from, without computing one of them. Steps that give the same
//! bytes have one origin, however they are written, so that bytes are counted once.

use std::collections::HashMap;

use hub_model::algorithm::Hash;

use crate::hash::digest;

/// Bytes `start..start + len` of what an origin gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    origin: usize,
    start: usize,
    len: usize,
}

/// Whose bytes a slot holds, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Slot(Vec<Piece>);

/// What gives bytes: the root key, or one application of a one-way function. HKDF-Expand is written
/// as the codes it is made of (RFC 5869 §2.3), so that it does not pass for another one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    Root,
    Mac { hash: Hash, key: Slot, message: Slot, suffix: Vec<u8> },
    Extract { hash: Hash, salt: Vec<u8>, ikm: Slot },
    Stretch { hash: Hash, password: Slot, salt: Vec<u8>, iterations: u32 },
}

impl Origin {
    /// HMAC pads its key with zeros and hashes longer ones (RFC 2104 §2): salts that come to the
    /// same key are one.
    pub(super) fn extract(hash: Hash, salt: &[u8], ikm: Slot) -> Self {
        let block = if hash == Hash::Sha256 { 64 } else { 128 };
        let mut salt = if salt.len() > block { digest(hash, salt) } else { salt.to_vec() };
        let end = salt.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        salt.truncate(end);
        Self::Extract { hash, salt, ikm }
    }
}

/// The origins of a plan.
#[derive(Debug)]
pub(super) struct Origins(HashMap<Origin, usize>);

impl Origins {
    /// Only the root key.
    pub(super) fn new() -> Self {
        Self(HashMap::from([(Origin::Root, 0)]))
    }

    /// The first `len` bytes that an origin gives.
    pub(super) fn bytes(&mut self, origin: Origin, len: usize) -> Slot {
        let next = self.0.len();
        let origin = *self.0.entry(origin).or_insert(next);
        Slot(vec![Piece { origin, start: 0, len }])
    }
}

impl Slot {
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.len).sum()
    }

    /// Of how many stretches of origins it is made.
    pub(super) const fn pieces(&self) -> usize {
        self.0.len()
    }

    /// The first bytes.
    pub(super) fn truncated(&self, len: usize) -> Self {
        let (mut left, mut kept) = (len, Vec::new());
        for piece in &self.0 {
            let len = piece.len.min(left);
            if len > 0 {
                kept.push(Piece { len, ..*piece });
            }
            left -= len;
        }
        Self(kept)
    }

    /// Puts the bytes of another slot after these.
    pub(super) fn append(&mut self, other: &Self) {
        for piece in &other.0 {
            match self.0.last_mut() {
                Some(last)
                    if last.origin == piece.origin && last.start + last.len == piece.start =>
                {
                    last.len += piece.len;
                }
                _ => self.0.push(*piece),
            }
        }
    }

    /// How many bytes it holds, each of an origin counted once.
    pub(super) fn distinct(&self) -> usize {
        let mut pieces = self.0.clone();
        pieces.sort_unstable_by_key(|piece| (piece.origin, piece.start));
        let (mut count, mut seen) = (0, (0, 0));
        for piece in pieces {
            let end = piece.start + piece.len;
            let from = if seen.0 == piece.origin { piece.start.max(seen.1) } else { piece.start };
            count += end.saturating_sub(from);
            seen = (piece.origin, if seen.0 == piece.origin { end.max(seen.1) } else { end });
        }
        count
    }

    /// Whether it holds bytes of the root key as they are.
    pub(super) fn is_bare(&self) -> bool {
        self.0.iter().any(|piece| piece.origin == 0)
    }
}
