//! C2SP tlog-proof: an inclusion proof with its signed checkpoint as one text, which proves an
//! entry offline. <https://c2sp.org/tlog-proof>
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index <sequence>
//! <hash, base64>
//! …
//!
//! <signed checkpoint>
//! ```

use hub_crypto::sign::VerifyingKey;
use hub_model::secret::{decode_base64, encode_base64};

use super::{MAX_HASHES, verify_inclusion};
use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::merkle::Hash;
use crate::verify::Keyring;

const FIRST: &str = "c2sp.org/tlog-proof@v1";

/// An inclusion proof that stands by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// The entry's sequence.
    pub index: u64,
    /// The hashes of the inclusion proof, the sibling of the leaf first.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, as it was made.
    pub checkpoint: String,
}

impl TlogProof {
    /// The text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{FIRST}\nindex {}\n", self.index);
        for hash in &self.hashes {
            text.push_str(&encode_base64(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads the text. Extra data is not ours, and passed over: it is not authenticated.
    ///
    /// # Errors
    /// [`Error::Proof`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::Proof(why);
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(bad("there is no empty line before a checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST) {
            return Err(bad("it does not begin as a proof of the known version"));
        }
        if let Some(extra) = lines.next_if(|line| line.starts_with("extra ")) {
            let encoded = extra.split_once(' ').map(|(_, encoded)| encoded);
            if encoded.is_none_or(|encoded| decode_base64(encoded).is_err()) {
                return Err(bad("its extra data is not base64"));
            }
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index: u64 = index
            .and_then(|digits| digits.parse().ok().filter(|n: &u64| n.to_string() == digits))
            .ok_or(bad("its index is not a number"))?;
        let mut hashes = Vec::new();
        for line in lines {
            let hash = decode_base64(line).ok().and_then(|bytes| Hash::try_from(bytes).ok());
            // One spelling only, so that no bit of the text is free to change.
            let hash = hash.filter(|hash| encode_base64(hash) == line);
            hashes.push(hash.ok_or(bad("one of its hashes is not one"))?);
            if hashes.len() > MAX_HASHES {
                return Err(bad("it has more hashes than any proof needs"));
            }
        }
        Ok(Self { index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that the leaf is the entry at the index, under a checkpoint of this name and key.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not signed by that key, [`Error::Proof`] when the leaf is
    /// not there.
    pub fn verify(&self, leaf: &Hash, name: &str, key: &VerifyingKey) -> Result<Checkpoint, Error> {
        let checkpoint = Checkpoint::open(&self.checkpoint, name, key)?;
        if checkpoint.origin != name {
            return Err(Error::Checkpoint("it is of another log"));
        }
        self.leads_to(checkpoint, leaf)
    }

    /// As [`TlogProof::verify`], under a checkpoint that one of these keys has signed.
    ///
    /// # Errors
    /// As there.
    pub fn verify_by(&self, leaf: &Hash, keys: &Keyring) -> Result<Checkpoint, Error> {
        self.leads_to(keys.checkpoint(&self.checkpoint)?, leaf)
    }

    fn leads_to(&self, checkpoint: Checkpoint, leaf: &Hash) -> Result<Checkpoint, Error> {
        let (size, root) = (checkpoint.size, checkpoint.root);
        match verify_inclusion(leaf, self.index, size, &self.hashes, &root) {
            Ok(()) => Ok(checkpoint),
            Err(super::Refused::Bounds) => {
                Err(Error::Proof("its entry lies behind the end of the checkpoint"))
            }
            Err(super::Refused::Length) => {
                Err(Error::Proof("it has not the number of hashes that belong to it"))
            }
            Err(super::Refused::Root) => Err(Error::Proof(
                "the entry and the proof do not lead to the signed root: one of them was altered",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint, merkle};
    use hub_crypto::sign::SigningKey;
    use hub_model::{HubId, Timestamp};

    fn sample() -> (TlogProof, Hash, String, VerifyingKey) {
        let key = SigningKey::generate().unwrap();
        let leaves: Vec<Hash> = (0u8..6).map(|i| merkle::leaf_hash(&[i])).collect();
        let mut frontier = Vec::new();
        for (at, leaf) in (0..).zip(&leaves) {
            merkle::push(&mut frontier, at, *leaf);
        }
        let name = checkpoint::origin(HubId::from_bytes([7; 16]));
        let signed = Checkpoint {
            origin: name.clone(),
            size: 6,
            root: merkle::root(&frontier),
            chain: leaves[5],
            commits: 3,
            digest: [1; 32],
            time: Timestamp::from_micros(1_795_000_000_000_000),
        };
        let hashes = super::super::inclusion(4, 6, |node| {
            let mut frontier = Vec::new();
            for (at, entry) in (0..).zip(node.entries()) {
                merkle::push(&mut frontier, at, leaves[usize::try_from(entry).unwrap()]);
            }
            Ok::<_, super::super::Refused>(merkle::root(&frontier))
        });
        let checkpoint = signed.sign(&key);
        let proof = TlogProof { index: 4, hashes: hashes.unwrap(), checkpoint };
        (proof, leaves[4], name, key.public())
    }

    #[test]
    fn proofs_round_trip_and_every_changed_byte_is_refused() {
        let (proof, leaf, name, key) = sample();
        let text = proof.to_text();
        assert_eq!(TlogProof::parse(&text).unwrap(), proof);
        assert_eq!(proof.verify(&leaf, &name, &key).unwrap().size, 6);
        assert!(proof.verify(&merkle::leaf_hash(&[5]), &name, &key).is_err());
        assert!(proof.verify(&leaf, "another.audit", &key).is_err());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                let outcome =
                    TlogProof::parse(&changed).and_then(|it| it.verify(&leaf, &name, &key));
                assert!(outcome.is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn extra_data_is_passed_over_and_other_spellings_are_refused() {
        let text = sample().0.to_text();
        let with = |from: &str, to: &str| TlogProof::parse(&text.replacen(from, to, 1));
        assert_eq!(with("index", "extra AAEC\nindex").unwrap(), sample_like(&text));
        assert!(with("index", "extra ?\nindex").is_err());
        assert!(with("index 4", "index 04").is_err());
        assert!(with("index 4", "index +4").is_err());
        assert!(with("index 4", "index 4 ").is_err());
        assert!(with("@v1", "@v2").is_err());
        assert!(with("=\n", "\n").is_err());
        assert!(with("\n\n", "\n").is_err());
        assert!(TlogProof::parse("").is_err());
    }

    fn sample_like(text: &str) -> TlogProof {
        TlogProof::parse(text).unwrap()
    }
}
