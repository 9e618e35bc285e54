//! The one place of unsafe code: taking machine code that was compiled earlier.
//!
//! What makes it sound is said in `docs/adr/0030-plugin-host.md`: wasmtime trusts such bytes as much
//! as the program itself, so that they must be ones that wasmtime made. [`Sealed`] stands for that,
//! and only `cache.rs` makes it: from bytes that carry this process's or an earlier one's MAC over
//! plugin, engine and content, checked on the very bytes that are handed over, not on a file that
//! could change afterwards.

use wasmtime::component::Component;
use wasmtime::{Engine, Result};

/// Bytes that [`Component::serialize`] made under an engine of the same version and settings.
#[derive(Debug)]
pub(super) struct Sealed<'a>(&'a [u8]);

impl<'a> Sealed<'a> {
    /// INVARIANT: the caller has checked a MAC over `bytes` whose key only this hub has.
    pub(super) const fn after_mac_check(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The component. Fails where the engine is another one than that which compiled.
    pub(super) fn component(&self, engine: &Engine) -> Result<Component> {
        // SAFETY: the bytes were made by `Component::serialize` (the MAC was checked on this very
        // slice, see above) and are copied before anything of them runs.
        #[allow(unsafe_code, reason = "taking compiled code; sound by the MAC, see above")]
        unsafe {
            Component::deserialize(engine, self.0)
        }
    }
}
