//! What can go wrong around the log.

/// Failures of appending, reading and checkpointing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be written: nothing was done.
    #[error("the audit log cannot be written: {0}")]
    Unavailable(String),
    /// A check of the change did not hold: somebody else changed the record first.
    #[error("the record was changed by somebody else")]
    Conflict,
    /// An entry above the limit of 16 KiB.
    #[error("an audit entry of {0} bytes is larger than the limit")]
    EntryTooLarge(usize),
    /// The change does not fit one transaction.
    #[error("the change is too large for one transaction")]
    ChangeTooLarge,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] hub_store::Error),
    /// A batch record that is not one.
    #[error("an audit batch at `{0}` is malformed")]
    Batch(String),
    /// An entry that should be durable is not there.
    #[error("entry {0} is missing from the store")]
    Missing(u64),
    /// An archive that cannot be read.
    #[error(
        "entries {first} to {last} are in the archive `{file}`, which cannot be read: {reason}"
    )]
    Archive {
        /// The name of the file.
        file: String,
        /// Its first entry.
        first: u64,
        /// Its last entry.
        last: u64,
        /// What is wrong.
        reason: String,
    },
    /// An archive was not made: nothing has changed.
    #[error("no archive was made: {0}")]
    NotArchived(String),
    /// The file of an archive cannot be written.
    #[error("cannot {action} `{path}`: {source}")]
    ArchiveFile {
        /// What was attempted.
        action: &'static str,
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint that is malformed or carries no valid signature.
    #[error("the checkpoint is not valid: {0}")]
    Checkpoint(&'static str),
    /// The key that an export began under signs no more.
    #[error(
        "the signing key was changed while the export was made, and the one before signs no more: \
         export again"
    )]
    SigningKeyGone,
    /// The checkpoint file cannot be read or written.
    #[error("the checkpoint file `{path}`: {source}")]
    CheckpointFile {
        /// Where it lies.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The store holds less than the checkpoint has seen.
    #[error(
        "store_behind_checkpoint: the checkpoint has seen {checkpoint} audit entries, the store \
         holds {store}; an older store was put back, or its files are damaged"
    )]
    StoreBehindCheckpoint {
        /// Entries the checkpoint covers.
        checkpoint: u64,
        /// Entries the store holds.
        store: u64,
    },
    /// The store holds another history than the checkpoint has seen.
    #[error(
        "store_forked: the store's audit chain at entry {0} is not the one the checkpoint has seen"
    )]
    StoreForked(u64),
    /// The store has a history, but its checkpoint file is gone.
    #[error(
        "checkpoint_missing: the store holds {0} audit entries, but there is no checkpoint file"
    )]
    CheckpointMissing(u64),
    /// An entry or a size that the log has not reached.
    #[error("there is no {asked} in a log of {size} entries")]
    Beyond {
        /// What was asked for.
        asked: u64,
        /// Entries there are.
        size: u64,
    },
    /// Hashes of older entries are still being computed.
    #[error("the audit log's tree is still being computed")]
    TreeBehind,
    /// A proof did not lead to the signed root.
    #[error("a proof did not verify; the audit log's tree is computed again")]
    TreeSpoiled,
    /// A proof that is malformed or proves nothing.
    #[error("the proof is not valid: {0}")]
    Proof(&'static str),
    /// The store holds less than a witness has seen.
    #[error(
        "store_behind_checkpoint: the witness `{witness}` has seen {seen} audit entries, the store \
         holds {store}; an older store was put back, or its files are damaged"
    )]
    StoreBehindWitness {
        /// Whose word it is.
        witness: String,
        /// Entries the witness has seen.
        seen: u64,
        /// Entries the store holds.
        store: u64,
    },
    /// The store holds another history than a witness has seen.
    #[error(
        "store_forked: the witness `{witness}` has seen another history in the first {seen} audit \
         entries than the store holds"
    )]
    StoreForkedFromWitness {
        /// Whose word it is.
        witness: String,
        /// Entries the witness has seen.
        seen: u64,
    },
    /// A witness that must be asked before the start could not be.
    #[error(
        "witness_unavailable: the witness `{witness}` is required (`audit.witnesses`) and could \
         not be asked: {reason}"
    )]
    WitnessUnavailable {
        /// Which.
        witness: String,
        /// Why.
        reason: String,
    },
    /// The random source failed.
    #[error(transparent)]
    Crypto(#[from] hub_crypto::Error),
}
