//! Plans: what the hub does with a root key, as data.
//!
//! ```
//! use cipher_hub_plugin::plan::{Hash, plan};
//!
//! let plan = plan(|p, root| {
//!     let prk = p.extract(Hash::Sha256, b"salt", root);
//!     Ok(p.expand(Hash::Sha256, prk, b"orders", 32))
//! })?;
//! assert_eq!(plan.steps.len(), 2);
//! # Ok::<_, cipher_hub_plugin::Error>(())
//! ```
//!
//! Slots are values of the closure they were made in: one of another plan, a number, or one from
//! after a step does not compile.
//!
//! ```compile_fail
//! use cipher_hub_plugin::plan::{Hash, plan};
//!
//! plan(|p, root| {
//!     plan(|q, _| Ok(q.extract(Hash::Sha256, b"", root)))?; // a slot of another plan
//!     Ok(p.extract(Hash::Sha256, b"", root))
//! });
//! ```
//!
//! Joined or cut outputs are [`Part`]s. They key no further step unless one says so: to extract from
//! them is the usual way.
//!
//! ```compile_fail
//! use cipher_hub_plugin::plan::{Hash, plan};
//!
//! plan(|p, root| {
//!     let half = p.truncate(root, 16);
//!     Ok(p.expand(Hash::Sha256, half, b"", 32))
//! });
//! ```

use std::marker::PhantomData;

use crate::{Error, Result};

/// The most steps of a plan.
pub const MAX_STEPS: usize = 32;

/// The most bytes of an output.
pub const MAX_LENGTH: u32 = 1024;

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Bytes of a digest.
    #[must_use]
    pub const fn length(self) -> u32 {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// A checked plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In order. The output of the last is the derived key.
    pub steps: Vec<Step>,
}

/// A step of a plan. Slot 0 is the root key, slot n the output of the n-th step, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "members are those of wit/kdf-profile.wit")]
pub enum Step {
    /// HKDF-Extract (RFC 5869 §2.2).
    Extract { hash: Hash, salt: Vec<u8>, ikm: u32 },
    /// HKDF-Expand (RFC 5869 §2.3).
    Expand { hash: Hash, prk: u32, info: Vec<u8>, length: u32 },
    /// HMAC (RFC 2104).
    Hmac { hash: Hash, key: u32, message: Vec<u8> },
    /// HMAC of an earlier output and these bytes after it.
    HmacSlot { hash: Hash, key: u32, message: u32, suffix: Vec<u8> },
    /// PBKDF2-HMAC (RFC 8018 §5.2).
    Pbkdf2 { hash: Hash, password: u32, salt: Vec<u8>, iterations: u32, length: u32 },
    /// Outputs joined in order.
    Concat { parts: Vec<u32> },
    /// The first bytes.
    Truncate { input: u32, length: u32 },
}

/// Kind of slot: the root key, or the output of a step that makes keys.
#[derive(Clone, Copy, Debug)]
pub enum Key {}

/// Kind of slot: outputs joined or cut.
#[derive(Clone, Copy, Debug)]
pub enum Part {}

/// Invariant in 'p, so that no slot fits another plan.
type Brand<'p> = fn(&'p ()) -> &'p ();

/// The output of a step of the plan `'p`, or its root key.
#[derive(Debug)]
pub struct Slot<'p, K> {
    index: u32,
    plan: PhantomData<Brand<'p>>,
    kind: PhantomData<K>,
}

impl<K> Clone for Slot<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Slot<'_, K> {}

impl<'p> From<Slot<'p, Key>> for Slot<'p, Part> {
    fn from(slot: Slot<'p, Key>) -> Self {
        Slot { index: slot.index, plan: PhantomData, kind: PhantomData }
    }
}

/// Collects the steps of a plan. The first thing that the hub would refuse is reported by [`plan`].
#[derive(Debug)]
pub struct Builder<'p> {
    steps: Vec<Step>,
    /// Bytes in each slot; none for the root key, whose length the hub knows.
    lengths: Vec<Option<u32>>,
    error: Option<Error>,
    plan: PhantomData<Brand<'p>>,
}

/// Makes a plan. The slot that the closure gives is the derived key.
///
/// # Errors
/// The closure's, or what the hub would refuse: no step, too many, lengths out of bounds.
pub fn plan<K, F>(build: F) -> Result<Plan>
where
    F: for<'p> FnOnce(&mut Builder<'p>, Slot<'p, Key>) -> Result<Slot<'p, K>>,
{
    let mut builder =
        Builder { steps: Vec::new(), lengths: vec![None], error: None, plan: PhantomData };
    let slot = build(&mut builder, Slot { index: 0, plan: PhantomData, kind: PhantomData })?.index;
    if let Some(error) = builder.error.take() {
        return Err(error);
    }
    let last = builder.steps.len();
    if slot == 0 {
        return Err(Error::internal("the derived key would be the root key"));
    }
    // The hub takes the last output: steps after it are of no use.
    builder.steps.truncate(usize::try_from(slot).unwrap_or(last));
    if builder.steps.len() > MAX_STEPS {
        return Err(Error::unsupported(format!("more than {MAX_STEPS} steps")));
    }
    Ok(Plan { steps: builder.steps })
}

impl<'p> Builder<'p> {
    /// HKDF-Extract (RFC 5869 §2.2): as many bytes as the hash gives.
    pub fn extract(
        &mut self,
        hash: Hash,
        salt: &[u8],
        ikm: impl Into<Slot<'p, Part>>,
    ) -> Slot<'p, Key> {
        let ikm = ikm.into().index;
        self.push(Step::Extract { hash, salt: salt.to_vec(), ikm }, hash.length())
    }

    /// HKDF-Expand (RFC 5869 §2.3).
    pub fn expand(
        &mut self,
        hash: Hash,
        prk: Slot<'p, Key>,
        info: &[u8],
        length: u32,
    ) -> Slot<'p, Key> {
        self.push(Step::Expand { hash, prk: prk.index, info: info.to_vec(), length }, length)
    }

    /// HMAC (RFC 2104): as many bytes as the hash gives.
    pub fn hmac(&mut self, hash: Hash, key: Slot<'p, Key>, message: &[u8]) -> Slot<'p, Key> {
        self.push(Step::Hmac { hash, key: key.index, message: message.to_vec() }, hash.length())
    }

    /// HMAC of an earlier output and these bytes after it: what feedback modes need.
    pub fn hmac_slot(
        &mut self,
        hash: Hash,
        key: Slot<'p, Key>,
        message: impl Into<Slot<'p, Part>>,
        suffix: &[u8],
    ) -> Slot<'p, Key> {
        let message = message.into().index;
        let suffix = suffix.to_vec();
        self.push(Step::HmacSlot { hash, key: key.index, message, suffix }, hash.length())
    }

    /// PBKDF2-HMAC (RFC 8018 §5.2).
    pub fn pbkdf2(
        &mut self,
        hash: Hash,
        password: impl Into<Slot<'p, Part>>,
        salt: &[u8],
        iterations: u32,
        length: u32,
    ) -> Slot<'p, Key> {
        let password = password.into().index;
        let salt = salt.to_vec();
        if iterations == 0 {
            self.fail(Error::internal("PBKDF2 without iterations"));
        }
        self.push(Step::Pbkdf2 { hash, password, salt, iterations, length }, length)
    }

    /// Outputs joined in order.
    pub fn concat<K>(&mut self, parts: &[Slot<'p, K>]) -> Slot<'p, Part> {
        let length =
            parts.iter().try_fold(0_u32, |sum, part| sum.checked_add(self.length(part.index)?));
        if parts.is_empty() {
            self.fail(Error::internal("nothing is joined"));
        }
        let parts = parts.iter().map(|part| part.index).collect();
        self.push_of(Step::Concat { parts }, length)
    }

    /// The first `length` bytes.
    pub fn truncate(&mut self, input: impl Into<Slot<'p, Part>>, length: u32) -> Slot<'p, Part> {
        let input = input.into().index;
        if self.length(input).is_some_and(|there| there < length) {
            self.fail(Error::internal(format!("slot {input} has less than {length} bytes")));
        }
        self.push_of(Step::Truncate { input, length }, Some(length))
    }

    /// Takes joined or cut outputs as the key of a further step, as they are. To extract from them
    /// is the usual way.
    #[must_use]
    pub fn as_key(&self, part: Slot<'p, Part>) -> Slot<'p, Key> {
        Slot { index: part.index, plan: PhantomData, kind: PhantomData }
    }

    fn length(&self, slot: u32) -> Option<u32> {
        self.lengths.get(usize::try_from(slot).ok()?).copied().flatten()
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    fn push(&mut self, step: Step, length: u32) -> Slot<'p, Key> {
        if let Step::Expand { hash, .. } = &step
            && length > 255 * hash.length()
        {
            self.fail(Error::unsupported("HKDF-Expand gives 255 digests at most"));
        }
        let slot = self.push_of(step, Some(length));
        Slot { index: slot.index, plan: PhantomData, kind: PhantomData }
    }

    fn push_of(&mut self, step: Step, length: Option<u32>) -> Slot<'p, Part> {
        if length.is_some_and(|l| l == 0 || l > MAX_LENGTH) {
            self.fail(Error::unsupported(format!("an output has 1 to {MAX_LENGTH} bytes")));
        }
        self.steps.push(step);
        self.lengths.push(length);
        Slot {
            index: u32::try_from(self.steps.len()).unwrap_or(u32::MAX),
            plan: PhantomData,
            kind: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_slots_from_the_root() {
        let made = plan(|p, root| {
            let a = p.hmac(Hash::Sha256, root, b"a");
            let b = p.hmac_slot(Hash::Sha256, root, a, b"b");
            let both = p.concat(&[a, b]);
            let key = p.truncate(both, 40);
            p.hmac(Hash::Sha256, root, b"of no use");
            Ok(key)
        });
        assert_eq!(
            made.unwrap().steps,
            [
                Step::Hmac { hash: Hash::Sha256, key: 0, message: b"a".to_vec() },
                Step::HmacSlot { hash: Hash::Sha256, key: 0, message: 1, suffix: b"b".to_vec() },
                Step::Concat { parts: vec![1, 2] },
                Step::Truncate { input: 3, length: 40 },
            ]
        );
    }

    /// The examples that must not compile, but for what is wrong with them.
    #[test]
    fn examples_compile_when_they_are_right() {
        let hash = Hash::Sha256;
        let inner = plan(|p, root| {
            plan(|q, own| Ok(q.extract(hash, b"", own)))?;
            Ok(p.extract(hash, b"", root))
        });
        assert!(inner.is_ok());
        let said = plan(|p, root| {
            let half = p.truncate(root, 16);
            let key = p.as_key(half);
            Ok(p.expand(hash, key, b"", 32))
        });
        assert_eq!(said.map(|plan| plan.steps.len()), Ok(2));
    }

    #[test]
    fn refuses_what_the_hub_would() {
        let hash = Hash::Sha256;
        assert!(plan(|_, root| Ok(root)).is_err());
        assert!(plan(|p, root| Ok(p.expand(hash, root, b"", 1025))).is_err());
        assert!(plan(|p, root| Ok(p.expand(hash, root, b"", 0))).is_err());
        assert!(plan(|p, root| Ok(p.pbkdf2(hash, root, b"", 0, 32))).is_err());
        let long = plan(|p, root| {
            let key = p.hmac(hash, root, b"");
            Ok(p.truncate(key, 33))
        });
        assert!(long.is_err());
        let none = plan(|p, _| Ok(p.concat::<Key>(&[])));
        assert!(none.is_err());
        let steps = |n: usize| {
            plan(
                |p, root| Ok((1..n).fold(p.hmac(hash, root, b""), |key, _| p.hmac(hash, key, b""))),
            )
        };
        assert!(steps(MAX_STEPS).is_ok());
        assert!(steps(MAX_STEPS + 1).is_err());
        let own = plan::<Key, _>(|_, _| Err(Error::unsupported("x")));
        assert_eq!(own, Err(Error::unsupported("x")));
    }
}
