//! Lends the command line the verifier of the audit log.

use hub_audit::verify::{Keyring, Verifier};
use hub_model::api::audit::AuditRecord;

use crate::cli::{Hooks, LogClaim, LogVerifier, Verified};

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
        Ok(Verified { entries: proven.entries, checkpointed: self.covered, root: proven.root })
    }
}
