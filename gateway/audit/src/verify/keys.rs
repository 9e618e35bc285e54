//! The public keys a verification trusts.

use hub_crypto::sign::VerifyingKey;

use crate::Error;
use crate::checkpoint::{Checkpoint, parse_verifier_key, verifier_key};

/// Public keys from places the verifier trusts. A hub has had several of them when it changed its
/// signing key; each verifies whatever it has signed.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<(String, VerifyingKey)>);

impl Keyring {
    /// Reads verifier keys (C2SP vkey), one a line or word. Those of manifests are passed over:
    /// they are the same keys under another name.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when one is malformed or of another type, or there is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for vkey in text.split_ascii_whitespace() {
            let (name, key) = parse_verifier_key(vkey)?;
            if !name.ends_with(".audit-export") {
                keys.push((name, key));
            }
        }
        if keys.is_empty() {
            return Err(Error::Checkpoint("there is no verifier key"));
        }
        Ok(Self(keys))
    }

    /// Trusts these keys too.
    pub fn extend(&mut self, other: Self) {
        for key in other.0 {
            if !self.0.contains(&key) {
                self.0.push(key);
            }
        }
    }

    /// Names and keys.
    #[must_use]
    pub fn keys(&self) -> &[(String, VerifyingKey)] {
        &self.0
    }

    /// All of them as [`Keyring::parse`] reads them, one a line.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().map(|(name, key)| verifier_key(name, key) + "\n").collect()
    }

    /// Reads a checkpoint that one of the keys has signed.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn checkpoint(&self, note: &str) -> Result<Checkpoint, Error> {
        let mut last = Error::Checkpoint("no valid signature of a key given");
        for (name, key) in &self.0 {
            match Checkpoint::open(note, name, key) {
                // The key's name is the log's: a key of one log says nothing about another.
                Ok(checkpoint) if checkpoint.origin == *name => return Ok(checkpoint),
                Ok(_) => last = Error::Checkpoint("it is of another log than the key"),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
