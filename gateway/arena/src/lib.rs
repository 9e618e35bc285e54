//! Locked, undumpable, erased pages for long-lived secrets.
//!
//! One arena per process. Pages come from `memfd_secret(2)` where the kernel offers it (not even
//! root reads those through `/proc/pid/mem`), else from an anonymous mapping under `mlock(2)` and
//! `MADV_DONTDUMP`, else from plain memory with the reason kept for [`status`]. What must stay
//! true: a slot belongs to one [`Secret`] at a time, it is all zeros whenever it belongs to none,
//! and no page is ever given back while the process lives.
//!
//! `unsafe` is in `pages.rs`, and in `code.rs`, which gives pages of the program's file back; the one other place of the workspace is in `hub-plugins`, which
//! hands compiled code to wasmtime.

mod code;
mod error;
mod pages;
mod slots;

use std::fmt;

use zeroize::Zeroize;

pub use crate::code::let_go_of_code;
pub use crate::error::Error;
pub use crate::pages::Kind;

/// The longest secret the arena takes, in bytes.
pub const MAX_LEN: usize = slots::PAGE;

/// How the process keeps its secrets, for `cipher-hub status` and the log at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The weakest kind of page in use (the kind the next page will have, when there is none yet).
    pub kind: Kind,
    /// Why the kind is not [`Kind::MemfdSecret`].
    pub reason: Option<String>,
    /// Bytes of all living secrets, without the slack of their slots.
    pub bytes_in_use: usize,
    /// Bytes of all pages mapped so far.
    pub bytes_mapped: usize,
    /// How many secrets are alive.
    pub secrets: usize,
}

/// What the arena looks like now. Maps the first pages if nobody has yet.
#[must_use]
pub fn status() -> Status {
    slots::status()
}

/// Bytes that live in the arena: locked, left out of core files and of forked children, erased on
/// drop. Not `Clone`; printed as `[secret]`.
pub struct Secret {
    /// INVARIANT: exactly as long as the slot's class, all zeros past `len`.
    slot: &'static mut [u8],
    len: usize,
}

impl Secret {
    /// Takes a slot for `len` bytes, all zeros, and lets `write` fill it in place, so that the
    /// secret never exists elsewhere. If `write` panics, the slot is erased and given back.
    ///
    /// # Errors
    /// [`Error::TooLong`] above [`MAX_LEN`]; [`Error::NoMemory`] when no page can be mapped.
    pub fn fill(len: usize, write: impl FnOnce(&mut [u8])) -> Result<Self, Error> {
        let secret = Self { slot: slots::take(len)?, len };
        write(secret.slot.get_mut(..len).unwrap_or_default());
        Ok(secret)
    }

    /// Copies the bytes in. The caller erases its own copy.
    ///
    /// # Errors
    /// As [`Secret::fill`].
    pub fn copy_from(bytes: &[u8]) -> Result<Self, Error> {
        Self::fill(bytes.len(), |slot| slot.copy_from_slice(bytes))
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        self.slot.get(..self.len).unwrap_or_default()
    }

    /// How many bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing inside.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // INVARIANT: erased before the slot becomes anybody else's.
        self.slot.zeroize();
        slots::give_back(std::mem::take(&mut self.slot), self.len);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::copy_from(b"canary-secret").unwrap();
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[secret] Some([secret])");
    }

    #[test]
    fn a_secret_can_cross_threads() {
        fn check<T: Send + Sync>() {}
        check::<Secret>();
    }

    #[test]
    fn lengths_at_the_edges() {
        for len in [0, 1, 31, 32, 33, 64, 4095, MAX_LEN] {
            let secret = Secret::fill(len, |slot| slot.fill(0xa5)).unwrap();
            assert_eq!(secret.len(), len);
            assert_eq!(secret.is_empty(), len == 0);
            assert!(secret.expose_secret().iter().all(|b| *b == 0xa5));
        }
        assert!(matches!(Secret::fill(MAX_LEN + 1, |_| ()), Err(Error::TooLong { .. })));
    }
}
