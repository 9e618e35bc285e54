//! What can go wrong with keys and sealed bytes. No variant carries a secret, a plaintext or a
//! context; paths and version numbers are all there is.

use std::io;
use std::path::PathBuf;

/// A cryptographic operation that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes cannot be a ciphertext of ours. To a caller from outside this is the same failure
    /// as [`Error::Open`].
    #[error("malformed ciphertext: {0}")]
    Malformed(&'static str),
    /// Sealed bytes that do not open: wrong key, place, context or version, or damaged.
    #[error("cannot be opened")]
    Open,
    /// More plaintext than one message may carry.
    #[error("the plaintext has {0} bytes, at most {max} are allowed", max = crate::MAX_PLAINTEXT)]
    PlaintextTooLong(usize),
    /// A secret of the wrong length.
    #[error("{what} has {found} bytes, {expected} are needed")]
    SecretLength {
        /// What the secret is for.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
    },
    /// The keyring has no material for its primary version.
    #[error("version {0} is not in the keyring")]
    NoVersion(u32),
    /// Bytes that are not a public key of the algorithm.
    #[error("not a public key of this algorithm")]
    PublicKey,
    /// Bytes that are not a private key of the algorithm. Says nothing of them.
    #[error("not a private key of this algorithm")]
    PrivateKey,
    /// The algorithm of the key does not do this.
    #[error("keys of this algorithm cannot be used so")]
    WrongUse,
    /// A digest of the wrong length, or where the algorithm signs messages only.
    #[error("not a digest that this algorithm signs")]
    Digest,
    /// More than the algorithm takes at once.
    #[error("at most {0} bytes can be processed at once by this algorithm")]
    TooLongFor(usize),
    /// Parameters out of their bounds.
    #[error("{0}")]
    Parameter(&'static str),
    /// A signature that does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The system's source of randomness failed.
    #[error("the system gave no randomness")]
    Random,
    /// No locked memory for a secret.
    #[error(transparent)]
    Arena(#[from] hub_arena::Error),
    /// A file of the seal could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was attempted, such as `create`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the seal that may not be used as it is.
    #[error("`{}` {problem}", path.display())]
    Unfit {
        /// Where.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: &'static str,
    },
    /// The seal is in order but belongs to another slot: the wrong key file, say.
    #[error("the {kind} is not the one this slot was sealed with")]
    WrongSeal {
        /// The kind of seal.
        kind: &'static str,
    },
}
