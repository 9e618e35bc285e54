//! What is wrong with an export, and where.

use std::fmt;
use std::path::PathBuf;

/// A place in an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: Option<u64>,
    /// Where that line begins, or the byte in it that is wrong.
    pub byte: Option<u64>,
    /// The position in the log that belongs there.
    pub entry: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for (word, number) in [("line", self.line), ("byte", self.byte), ("entry", self.entry)] {
            if let Some(number) = number {
                write!(f, ", {word} {number}")?;
            }
        }
        Ok(())
    }
}

/// What is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// A file of the manifest is not there.
    #[error("the file is missing")]
    Missing,
    /// A file of an export's name that the manifest does not name.
    #[error("the manifest does not name this file: it was added, and nothing proves it")]
    Unlisted,
    /// Entries that no checkpoint has seen.
    #[error(
        "entries {covered} to {last} are not proven: the checkpoints given cover the first \
         {covered}, and whoever holds the file could have written the rest"
    )]
    Uncovered {
        /// How many the checkpoints cover.
        covered: u64,
        /// The last entry there is.
        last: u64,
    },
    /// A file is shorter or longer than the manifest says.
    #[error("the file has {found} bytes, the manifest says {expected}")]
    Size {
        /// By the manifest.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// A file is another one than the manifest says.
    #[error("the file is not the one the manifest names: its SHA-256 is another")]
    Hash,
    /// The manifest.
    #[error("the manifest is not valid: {0}")]
    Manifest(&'static str),
    /// A checkpoint.
    #[error("the checkpoint is not valid: {0}")]
    Checkpoint(String),
    /// Bytes that are no canonical entry.
    #[error("not a canonical entry: {0}")]
    Form(&'static str),
    /// An entry of a version that is not known, or is none any more.
    #[error("the entry claims to be of version {0}, and only 1 is known")]
    Version(u64),
    /// Entries are missing, doubled, added or out of order.
    #[error(
        "entry {expected} should stand here, but it is {found}: \
             entries are missing, added or out of order"
    )]
    Sequence {
        /// What should come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// An entry does not follow the one before it.
    #[error("the entry does not follow the one before it: one of the two was altered")]
    Chain,
    /// An entry is not the one that the hub has hashed.
    #[error("the entry was altered: its hash is not the one in the proof")]
    Altered,
    /// An entry of another writer.
    #[error("the entry belongs to another writer")]
    Writer,
    /// An entry that the filter of the export would not show.
    #[error("the entry is not one of those the manifest says are here")]
    Filter,
    /// Entries end too early.
    #[error("the entries end before entry {expected}: the rest was cut off")]
    Ended {
        /// What should come.
        expected: u64,
    },
    /// There are more or fewer entries than the manifest says.
    #[error("there are {found} entries, the manifest says {expected}")]
    Count {
        /// By the manifest.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// A line of the proof.
    #[error("the proof is malformed: {0}")]
    Proof(&'static str),
    /// The root is not the signed one.
    #[error(
        "the Merkle root over {0} entries is not the signed one: an entry or the proof was altered"
    )]
    Root(u64),
    /// The log is not the one a kept checkpoint has seen.
    #[error(
        "the log was another one when this checkpoint was signed over its first {0} entries: \
         history was rewritten"
    )]
    Kept(u64),
    /// A kept checkpoint has seen more than there is.
    #[error(
        "this checkpoint has seen {expected} entries, but the log here has {found}: it was cut, \
             or is older than the checkpoint"
    )]
    KeptBeyond {
        /// What the checkpoint covers.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// A kept checkpoint cannot be held against what is shown.
    #[error(
        "this checkpoint over {0} entries cannot be held against the export, which does not \
             show the entries there: export the whole log, or from another place on"
    )]
    KeptInGap(u64),
}

/// Why a verification ended.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Something is not as it was signed.
    #[error("{place}: {what}")]
    Wrong {
        /// Where.
        place: Place,
        /// What.
        what: What,
    },
    /// A file could not be read.
    #[error("`{path}`: {source}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
