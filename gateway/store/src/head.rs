//! The head of a writer: one small record, written in every transaction, that says where its audit
//! chain and the state stand. Layout: `docs/formats/store.md`.

use crate::digest::StateDigest;
use crate::{Error, Path};

const FORMAT: u8 = 1;
const FIXED: usize = 1 + 8 + 32 + 8 + 32 + 1;

/// The most subtree roots a log of 2^64 entries can have.
const MAX_FRONTIER: usize = 64;

/// The most bytes an encoded head has.
pub(crate) const MAX_HEAD: usize = FIXED + MAX_FRONTIER * 32;

/// Where a writer's audit log stands after a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditHead {
    /// How many entries the writer has appended.
    pub size: u64,
    /// The hash chained over all of them.
    pub chain: [u8; 32],
    /// The roots of the full subtrees of the Merkle tree, largest first.
    pub frontier: Vec<[u8; 32]>,
}

/// Where a writer stands after a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// How many transactions the writer has committed.
    pub commits: u64,
    /// The state digest; see [`StateDigest`].
    pub digest: [u8; 32],
    /// Its audit log.
    pub audit: AuditHead,
}

impl Head {
    /// Where the head of this writer lies: `w/<writer>/head`.
    ///
    /// # Errors
    /// [`Error::Path`] when the writer's name cannot be a segment of a path.
    pub fn path(writer: &str) -> Result<Path, Error> {
        crate::path!("w", writer, "head")
    }

    /// Writes the head.
    ///
    /// # Errors
    /// [`Error::Encode`] when the frontier is longer than a log can have.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let roots = u8::try_from(self.audit.frontier.len())
            .ok()
            .filter(|roots| usize::from(*roots) <= MAX_FRONTIER)
            .ok_or_else(|| Error::Encode("the audit frontier is too long".to_owned()))?;
        let mut bytes = Vec::with_capacity(MAX_HEAD);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.commits.to_be_bytes());
        bytes.extend_from_slice(&self.digest);
        bytes.extend_from_slice(&self.audit.size.to_be_bytes());
        bytes.extend_from_slice(&self.audit.chain);
        bytes.push(roots);
        for root in &self.audit.frontier {
            bytes.extend_from_slice(root);
        }
        Ok(bytes)
    }

    /// Reads a head; `path` is for the message only.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let malformed =
            |reason: &str| Error::Malformed { path: path.clone(), reason: reason.to_owned() };
        let Some((format, mut rest)) = bytes.split_first() else {
            return Err(malformed("it is empty"));
        };
        if *format != FORMAT {
            return Err(malformed(&format!("unknown format {format}")));
        }
        let mut take = || -> Option<Self> {
            let commits = u64::from_be_bytes(chunk(&mut rest)?);
            let digest = chunk(&mut rest)?;
            let size = u64::from_be_bytes(chunk(&mut rest)?);
            let chain = chunk(&mut rest)?;
            let [roots] = chunk(&mut rest)?;
            let (frontier, tail) = rest.as_chunks::<32>();
            let whole = tail.is_empty()
                && frontier.len() == usize::from(roots)
                && frontier.len() <= MAX_FRONTIER;
            let audit = AuditHead { size, chain, frontier: frontier.to_vec() };
            whole.then_some(Self { commits, digest, audit })
        };
        take().ok_or_else(|| malformed("it has the wrong length"))
    }

    /// The digest as a sum.
    #[must_use]
    pub fn state(&self) -> StateDigest {
        StateDigest::from_bytes(self.digest)
    }
}

fn chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*chunk)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path() -> Path {
        Head::path("node").unwrap()
    }

    #[test]
    fn layout_is_frozen() {
        let head = Head {
            commits: 0x0102_0304_0506_0708,
            digest: [0xaa; 32],
            audit: AuditHead { size: 3, chain: [0xbb; 32], frontier: vec![[1; 32], [2; 32]] },
        };
        let bytes = head.encode().unwrap();
        assert_eq!(bytes.len(), FIXED + 64);
        assert_eq!(bytes[..9], [1, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[9..41], [0xaa; 32]);
        assert_eq!(bytes[41..49], [0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(bytes[49..81], [0xbb; 32]);
        assert_eq!(bytes[81], 2);
        assert_eq!(Head::decode(&path(), &bytes).unwrap(), head);
    }

    #[test]
    fn a_frontier_has_its_limit() {
        let audit = AuditHead { frontier: vec![[0; 32]; 65], ..AuditHead::default() };
        assert!(Head { audit, ..Head::default() }.encode().is_err());
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() { *first = 1; }
            if let Ok(head) = Head::decode(&path(), &bytes) {
                prop_assert_eq!(head.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn round_trip(commits: u64, size: u64, chain: [u8; 32], roots in 0usize..=64) {
            let audit = AuditHead { size, chain, frontier: vec![[7; 32]; roots] };
            let head = Head { commits, digest: chain, audit };
            prop_assert_eq!(Head::decode(&path(), &head.encode().unwrap()).unwrap(), head);
        }
    }
}
