//! What can go wrong with envelopes, told apart by what the caller can do about it.

use std::sync::Arc;

use crate::Error;

/// An envelope that was not made or not opened. Messages hold nothing secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnvelopeError {
    /// The hub gave no branch key: it is away, or refuses. What is remembered goes on until its
    /// bounds, so this comes when they are reached.
    #[error("the hub gives no branch key: {0}")]
    Hub(#[source] Arc<Error>),
    /// The hub gave something that is no branch key.
    #[error("not a branch key: {0}")]
    BranchKey(&'static str),
    /// Bytes that are no message of this format.
    #[error("not an envelope: {0}")]
    NotAMessage(&'static str),
    /// A message that does not open: another key, branch or context, or changed.
    #[error("the envelope does not open with this key, branch and context")]
    Open,
    /// More than one message may carry.
    #[error("the plaintext has {0} bytes, at most {max} are allowed", max = super::message::MAX_PLAINTEXT)]
    TooLong(usize),
    /// Too many pairs for a branch, or the one that the client adds itself.
    #[error("the context of a branch has 31 pairs at most, and none named `cipher-hub/envelope`")]
    Context,
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Random,
}

impl EnvelopeError {
    /// What the call of the hub failed with, if that was it.
    #[must_use]
    pub fn hub(&self) -> Option<&Error> {
        match self {
            Self::Hub(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.hub().is_some_and(Error::is_retryable)
    }
}
