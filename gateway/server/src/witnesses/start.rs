//! Before anything is answered: the store must hold what each witness has seen, and give the same
//! root there. This finds what no file beside the store can: store and checkpoint both put back.

use futures_util::future::join_all;
use http::{Method, StatusCode};
use hub_audit::encode::hex;
use hub_audit::note::Note;
use hub_audit::witness::TreeHead;
use hub_audit::witness_proof::Folded;
use hub_audit::{Error, Log};
use hub_crypto::hash::sha256_parts;

use super::{Failure, Witness, Witnesses};

impl Witnesses {
    /// Holds the store against every witness, all at once, each within its own time. What could
    /// not be asked comes back as a notice; at a first start no witness needs to know the log.
    ///
    /// # Errors
    /// [`Error::StoreBehindWitness`], [`Error::StoreForkedFromWitness`], and
    /// [`Error::WitnessUnavailable`] of one that is required.
    pub(crate) async fn hold_against(&self, log: &Log, first: bool) -> Result<Vec<String>, Error> {
        let asked = join_all(self.all.iter().map(|witness| witness.compare(log, first))).await;
        let mut notices = Vec::new();
        for (witness, outcome) in self.all.iter().zip(asked) {
            let name = witness.name.clone();
            let store = log.appender().position().audit.size;
            match outcome {
                Ok(()) => {}
                Err(Failure::Ahead(seen)) => {
                    return Err(Error::StoreBehindWitness { witness: name, seen, store });
                }
                Err(Failure::Forked(seen)) => {
                    return Err(Error::StoreForkedFromWitness { witness: name, seen });
                }
                Err(failure)
                    if witness.required && !(first && matches!(failure, Failure::Unknown(_))) =>
                {
                    let reason = failure.to_string();
                    return Err(Error::WitnessUnavailable { witness: name, reason });
                }
                Err(failure) => notices.push(format!(
                    "the store was not held against the witness `{name}`: {failure}"
                )),
            }
        }
        Ok(notices)
    }

    /// After an accepted rollback: what was kept of witnesses that have seen more is put aside. What
    /// they say themselves goes on counting.
    ///
    /// # Errors
    /// [`Error::CheckpointFile`].
    pub(crate) fn set_aside_above(&self, size: u64) -> Result<(), Error> {
        for witness in &self.all {
            if witness.with(|standing| standing.seen.size) <= size {
                continue;
            }
            if let Some(file) = &witness.file {
                hub_audit::checkpoint::put_aside(file)?;
            }
            witness.with(|standing| {
                standing.seen = Folded::default();
                standing.cosigned = None;
            });
        }
        Ok(())
    }
}

impl Witness {
    /// By the checkpoint that the witness serves; where it serves none, by submitting ours.
    async fn compare(&self, log: &Log, first: bool) -> Result<(), Failure> {
        // What was kept of it tells without it, too: it may be what keeps it from answering.
        let seen = self.with(|standing| standing.seen.size);
        if seen > log.appender().position().audit.size {
            return Err(Failure::Ahead(seen));
        }
        let path = format!("/{}/checkpoint", hex(&sha256_parts(&[log.origin().as_bytes()])));
        let answer = self.ask(&self.monitoring, Method::GET, &path, String::new()).await?;
        if answer.status == StatusCode::OK {
            let lying = |error: Error| Failure::Lying(error.to_string());
            let note = Note::parse(&answer.text).map_err(lying)?;
            let signed = self.key.find(&note).map_err(lying)?;
            let head = TreeHead::parse(note.text).map_err(lying)?;
            if signed.is_none() || head.origin != log.origin() {
                return Err(Failure::Lying("its checkpoint is not signed by its key".to_owned()));
            }
            return self.reproduce(log, &head).await;
        }
        if first {
            return Err(match answer.status {
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => {
                    Failure::Unknown(answer.status.as_u16())
                }
                status => Failure::Unreachable(format!("it answers {status}")),
            });
        }
        let Some(signed) = log.latest() else { return Ok(()) };
        self.submit(log, &signed.note, signed.checkpoint.size).await.map(drop)
    }

    /// Folds the store's entries: at the size that was seen there must be the root that was seen,
    /// and from there the root that the store claims.
    async fn reproduce(&self, log: &Log, head: &TreeHead) -> Result<(), Failure> {
        let failed = |error: Error| Failure::Log(error.to_string());
        let position = log.appender().position();
        if head.size > position.audit.size {
            return Err(Failure::Ahead(head.size));
        }
        // Entries that are not there are a fork too: the head claims them.
        let folded = self.folded(log, head.size).await;
        let mut folded = match folded {
            Err(Error::Missing(_)) => return Err(Failure::Forked(head.size)),
            folded => folded.map_err(failed)?,
        };
        if folded.root() != head.root {
            return Err(Failure::Forked(head.size));
        }
        self.with(|standing| standing.seen = folded.clone());
        folded.fold_to(log, position.audit.size).await.map_err(failed)?;
        if folded.frontier != position.audit.frontier {
            return Err(Failure::Forked(position.audit.size));
        }
        Ok(())
    }
}
