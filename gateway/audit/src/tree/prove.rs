//! Proofs from the log itself: kept hashes where they are known, entries where not. Nothing leaves
//! before it was verified against the newest signed checkpoint, or against the head of the log.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::merkle::{self, Hash};
use crate::proof::{self, Node};
use crate::tree::{LEVEL, WIDTH};
use crate::{Error, Log};

/// The most runs of 256 entries that are read for one proof. Who needs more waits for the
/// background task.
const MAX_PAGES: usize = 64;

/// That the log of one size goes on from what it was at another.
#[derive(Debug)]
pub struct Grown {
    /// The root at the smaller size.
    pub old: Hash,
    /// The root at the larger size.
    pub new: Hash,
    /// The consistency proof between them.
    pub hashes: Vec<Hash>,
}

impl Log {
    /// The inclusion proof of an entry in the tree of `size` entries (RFC 6962 §2.1.1), verified.
    ///
    /// # Errors
    /// [`Error::Beyond`] when there is no such entry or size yet, [`Error::TreeBehind`] when too
    /// many entries would have to be read, [`Error::TreeSpoiled`] when the proof does not verify.
    pub async fn inclusion_proof(&self, seq: u64, size: u64) -> Result<Vec<Hash>, Error> {
        if seq >= size {
            return Err(Error::Beyond { asked: seq, size });
        }
        let root = self.root_at(size).await?;
        let stretches = proof::inclusion_stretches(seq, size).unwrap_or_default();
        let leaf = Node { level: 0, index: seq };
        let mut wanted: Vec<Node> = stretches.iter().cloned().flat_map(proof::subtrees).collect();
        wanted.push(leaf);
        let found = self.nodes(&wanted).await?;
        let get = |node| found.get(&node).copied().ok_or(Error::TreeSpoiled);
        let hashes = proof::fold(stretches, get)?;
        let sound = proof::verify_inclusion(&get(leaf)?, seq, size, &hashes, &root).is_ok();
        self.answer(sound, hashes)
    }

    /// The consistency proof between two sizes (RFC 6962 §2.1.2), verified. Empty between equal
    /// sizes and from 0.
    ///
    /// # Errors
    /// As [`Log::inclusion_proof`].
    pub async fn consistency_proof(&self, from: u64, to: u64) -> Result<Vec<Hash>, Error> {
        Ok(self.consistency(from, to).await?.hashes)
    }

    /// The consistency proof between two sizes with both roots, each reckoned once, verified.
    ///
    /// # Errors
    /// As [`Log::inclusion_proof`].
    pub async fn consistency(&self, from: u64, to: u64) -> Result<Grown, Error> {
        if from > to {
            return Err(Error::Beyond { asked: from, size: to });
        }
        let new = self.root_at(to).await?;
        let old = merkle::root(&self.frontier_unchecked(from).await?);
        let hashes = self.consistency_unchecked(from, to).await?;
        let sound = proof::verify_consistency(from, &old, to, &new, &hashes).is_ok();
        // An empty tree is proven by nothing; its root is known.
        self.answer(sound, Grown { old, new, hashes })
    }

    /// The frontier of the tree of `size` entries, verified: [`merkle::push`] goes on from it, and
    /// [`merkle::root`] gives the root.
    ///
    /// # Errors
    /// As [`Log::inclusion_proof`].
    pub async fn frontier_at(&self, size: u64) -> Result<Vec<Hash>, Error> {
        let (anchor, root) = self.anchor(size)?;
        let frontier = self.frontier_unchecked(size).await?;
        let found = merkle::root(&frontier);
        let hashes = self.consistency_unchecked(size, anchor).await?;
        let sound = proof::verify_consistency(size, &found, anchor, &root, &hashes).is_ok();
        self.answer(sound, frontier)
    }

    /// The root of the tree of `size` entries, verified.
    ///
    /// # Errors
    /// As [`Log::inclusion_proof`].
    pub async fn root_at(&self, size: u64) -> Result<Hash, Error> {
        let (anchor, root) = self.anchor(size)?;
        if anchor == size {
            return Ok(root);
        }
        Ok(merkle::root(&self.frontier_at(size).await?))
    }

    /// Size and root of what everything is held against: the newest signed checkpoint where it
    /// reaches, else the head of the log.
    fn anchor(&self, size: u64) -> Result<(u64, Hash), Error> {
        if let Some(signed) = self.latest().filter(|signed| size <= signed.checkpoint.size) {
            return Ok((signed.checkpoint.size, signed.checkpoint.root));
        }
        let position = self.appender().position();
        let head = &position.audit;
        if size > head.size {
            return Err(Error::Beyond { asked: size, size: head.size });
        }
        Ok((head.size, merkle::root(&head.frontier)))
    }

    pub(crate) fn answer<T>(&self, sound: bool, what: T) -> Result<T, Error> {
        if sound {
            return Ok(what);
        }
        tracing::error!("a proof over the audit log did not verify; its tree is made again");
        self.tree().spoiled.notify_one();
        Err(Error::TreeSpoiled)
    }

    async fn frontier_unchecked(&self, size: u64) -> Result<Vec<Hash>, Error> {
        let wanted = proof::subtrees(0..size);
        let found = self.nodes(&wanted).await?;
        proof::frontier(size, |node| found.get(&node).copied().ok_or(Error::TreeSpoiled))
    }

    pub(crate) async fn consistency_unchecked(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Vec<Hash>, Error> {
        let stretches = proof::consistency_stretches(from, to).unwrap_or_default();
        let wanted: Vec<Node> = stretches.iter().cloned().flat_map(proof::subtrees).collect();
        let found = self.nodes(&wanted).await?;
        proof::fold(stretches, |node| found.get(&node).copied().ok_or(Error::TreeSpoiled))
    }

    /// The hashes of these subtrees, not verified.
    pub(crate) async fn nodes(&self, wanted: &[Node]) -> Result<HashMap<Node, Hash>, Error> {
        let mut found = HashMap::with_capacity(wanted.len());
        let mut missing = Vec::new();
        for node in wanted {
            match self.tree().get(*node) {
                Some(hash) => drop(found.insert(*node, hash)),
                None => missing.push(*node),
            }
        }
        // Which entries have to be read, by the run of 256 they belong to.
        let mut pages: BTreeMap<u64, Range<u64>> = BTreeMap::new();
        for node in &missing {
            let Range { start, end } = node.entries();
            for page in start >> LEVEL..=(end - 1) >> LEVEL {
                let inside = start.max(page << LEVEL)..end.min((page + 1) << LEVEL);
                let known = pages.entry(page).or_insert_with(|| inside.clone());
                *known = known.start.min(inside.start)..known.end.max(inside.end);
                if pages.len() > MAX_PAGES {
                    return Err(Error::TreeBehind);
                }
            }
        }
        let mut leaves = BTreeMap::new();
        for entries in pages.into_values() {
            for (seq, hash) in entries.clone().zip(self.leaf_hashes(entries).await?) {
                leaves.insert(seq, hash);
            }
        }
        for node in missing {
            let mut frontier = Vec::new();
            for (at, (_, leaf)) in (0..).zip(leaves.range(node.entries())) {
                merkle::push(&mut frontier, at, *leaf);
            }
            found.insert(node, merkle::root(&frontier));
        }
        Ok(found)
    }

    /// The leaf hashes of consecutive entries, read from the store.
    pub(crate) async fn leaf_hashes(&self, entries: Range<u64>) -> Result<Vec<Hash>, Error> {
        let stored = self.stored(entries).await?;
        Ok(stored.iter().map(|entry| merkle::leaf_hash(entry)).collect())
    }

    /// Consecutive entries, all of them. For stretches that fit memory: at most [`WIDTH`].
    ///
    /// # Errors
    /// [`Error::Missing`] when one is not there, else as [`Log::page`].
    pub async fn stored(&self, entries: Range<u64>) -> Result<Vec<Vec<u8>>, Error> {
        let mut found = Vec::new();
        let mut next = entries.start;
        while next < entries.end {
            let left = usize::try_from((entries.end - next).min(WIDTH)).unwrap_or(usize::MAX);
            let page = self.page(next, left).await?;
            if page.is_empty() {
                return Err(Error::Missing(next));
            }
            for (seq, bytes) in page {
                if seq != next {
                    return Err(Error::Missing(next));
                }
                found.push(bytes);
                next += 1;
            }
        }
        Ok(found)
    }
}
