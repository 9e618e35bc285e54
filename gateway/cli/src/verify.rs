//! Verifies an audit log that a hub shows, entry by entry.

use hub_audit::verify::{Keyring, Verifier};
use hub_model::api::audit::AuditRecord;

use super::{Hooks, LogClaim, LogVerifier, Verified};

/// The hooks of the real program.
#[derive(Debug)]
pub(crate) struct Verifying;

impl Hooks for Verifying {
    fn verifier(&self, claim: LogClaim) -> Box<dyn LogVerifier> {
        Box::new(LogCheck::new(claim))
    }
}

struct LogCheck {
    verifier: Verifier,
    claim: LogClaim,
    covered: Option<u64>,
    wrong: Option<String>,
}

impl LogCheck {
    fn new(claim: LogClaim) -> Self {
        let mut verifier = Verifier::new();
        let (mut covered, mut wrong) = (None, None);
        if let Some(note) = &claim.checkpoint {
            let keys = match &claim.trusted {
                Some(keys) => Ok(keys.clone()),
                None => Keyring::parse(&claim.verifier_key),
            };
            let opened =
                keys.and_then(|keys| keys.checkpoint(note)).map_err(|error| error.to_string());
            let expected = opened.and_then(|checkpoint| {
                covered = Some(checkpoint.size);
                verifier.expect(checkpoint).map_err(|finding| finding.to_string())
            });
            wrong = expected.err();
        }
        for kept in &claim.kept {
            if let Err(finding) = verifier.expect(kept.checkpoint.clone()) {
                wrong.get_or_insert(format!("{}: {finding}", kept.file));
            }
        }
        Self { verifier, claim, covered, wrong }
    }
}

impl LogVerifier for LogCheck {
    fn push(&mut self, record: &AuditRecord) -> Result<(), String> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        self.verifier.push(record.bytes.as_bytes()).map_err(|finding| finding.to_string())
    }

    fn finish(self: Box<Self>) -> Result<Verified, String> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let proven = self.verifier.finish().map_err(|finding| finding.to_string())?;
        if proven.entries != self.claim.size || proven.chain != self.claim.head {
            return Err("the chain head is not the one the hub claims".to_owned());
        }
        // A chain alone can be made by whoever answers: what a trusted key says is the proof.
        if self.claim.trusted.is_some() && proven.entries > 0 && self.covered.unwrap_or(0) == 0 {
            let what = "the hub shows no checkpoint over it: no trusted key has signed any of it";
            return Err(what.to_owned());
        }
        Ok(Verified { entries: proven.entries, checkpointed: self.covered, root: proven.root })
    }
}

#[cfg(test)]
mod tests {
    use hub_audit::checkpoint::{self, Checkpoint};
    use hub_audit::merkle;
    use hub_crypto::SigningKey;
    use hub_model::Timestamp;

    use super::*;

    const ENTRY: &str = "{\"action\":\"x\",\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"seq\":0,\"v\":1,\"writer\":\"main\"}";

    fn outcome(key: &SigningKey, trusts: bool, covers: Option<u64>) -> Result<Verified, String> {
        let origin = "hub_x.audit";
        let leaf = merkle::leaf_hash(ENTRY.as_bytes());
        let note = |size| {
            let (root, chain) = if size == 0 {
                (merkle::root(&[]), [0; 32])
            } else {
                (merkle::root(&[leaf]), leaf)
            };
            let time = Timestamp::from_micros(0);
            let origin = origin.to_owned();
            let digest = [3; 32];
            Checkpoint { origin, size, root, chain, commits: 1, digest, time }.sign(key)
        };
        let vkey = checkpoint::verifier_key(origin, &key.public());
        let mut check = Box::new(LogCheck::new(LogClaim {
            size: 1,
            head: hub_audit::encode::hex(&leaf),
            checkpoint: covers.map(note),
            trusted: trusts.then(|| Keyring::parse(&vkey).unwrap()),
            verifier_key: vkey,
            kept: Vec::new(),
        }));
        check.push(&AuditRecord { seq: 0, hash: String::new(), bytes: ENTRY.to_owned() })?;
        check.finish()
    }

    #[test]
    fn a_hub_that_shows_no_checkpoint_proves_nothing_to_a_trusted_key() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(outcome(&key, true, Some(1)).unwrap().checkpointed, Some(1));
        for covers in [None, Some(0)] {
            let wrong = outcome(&key, true, covers).unwrap_err();
            assert!(wrong.contains("no checkpoint"), "{wrong}");
            // By the hub's own word it is consistent, and more is not claimed.
            outcome(&key, false, covers).unwrap();
        }
    }
}
