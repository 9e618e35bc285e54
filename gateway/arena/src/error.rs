//! Why the arena could not take a secret.

/// A secret the arena could not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than a slot can be.
    #[error("a secret of {len} bytes is longer than the {max} the arena takes")]
    TooLong {
        /// The length asked for.
        len: usize,
        /// The longest one possible.
        max: usize,
    },
    /// The system gave no memory at all.
    #[error("no memory for secrets: {0}")]
    NoMemory(String),
}
