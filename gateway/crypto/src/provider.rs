//! Which implementation of a primitive the process uses, where there are two.
//!
//! What must stay true: providers differ in speed only. Every primitive has one meaning and one
//! output format, both providers pass the same vectors, and what one made the other opens.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where implementations come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// The RustCrypto crates, except where an operation takes them more than twice the time of
    /// OpenSSL 3.0, and except for streams: there aws-lc-rs (`docs/adr/0013-providers.md`).
    #[default]
    Auto,
    /// The RustCrypto crates wherever they have the primitive.
    RustCrypto,
    /// aws-lc-rs wherever it has the primitive.
    AwsLc,
}

impl Provider {
    /// The word in the configuration and in the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::RustCrypto => "rustcrypto",
            Self::AwsLc => "aws-lc",
        }
    }
}

static CURRENT: AtomicU8 = AtomicU8::new(Provider::Auto as u8);

/// Chooses the provider of the whole process: once, at start. Keys that are already loaded may
/// keep the one they were loaded with.
pub fn set(provider: Provider) {
    CURRENT.store(provider as u8, Ordering::Relaxed);
}

/// The provider in force.
#[must_use]
pub fn current() -> Provider {
    match CURRENT.load(Ordering::Relaxed) {
        1 => Provider::RustCrypto,
        2 => Provider::AwsLc,
        _ => Provider::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_current() {
        // Other tests of the process may run meanwhile: harmless, since providers agree.
        for provider in [Provider::RustCrypto, Provider::AwsLc, Provider::Auto] {
            set(provider);
            assert_eq!(current(), provider);
        }
    }
}
