//! Write plugins for Cipher Hub in Rust: when keys are rotated, how keys are derived, where the
//! audit log goes.
//!
//! A plugin is a type that implements one of three traits, over plain Rust types, and one macro that
//! makes it a component:
//!
//! | world | trait | macro |
//! | --- | --- | --- |
//! | `rotation-schedule` | [`rotation::RotationSchedule`] | [`rotation::export!`] |
//! | `kdf-profile` | [`kdf::KdfProfiles`] | [`kdf::export!`] |
//! | `audit-sink` | [`sink::AuditSink`] | [`sink::export!`] |
//!
//! ```
//! use cipher_hub_plugin::rotation::{Decision, Request, RotationSchedule};
//! use cipher_hub_plugin::{Config, Result};
//!
//! struct Yearly;
//!
//! impl RotationSchedule for Yearly {
//!     fn new(_: &Config) -> Result<Self> {
//!         Ok(Self)
//!     }
//!
//!     fn decide(&self, request: &Request) -> Result<Decision> {
//!         let year = std::time::Duration::from_secs(365 * 86_400);
//!         Ok(Decision::RotateAt(request.last_rotation + year))
//!     }
//! }
//!
//! cipher_hub_plugin::rotation::export!(Yearly);
//! # fn main() {}
//! ```
//!
//! Built natively, the macros do nothing and the type is an ordinary one: tests call it with requests
//! of [`testing`]. Built for `wasm32-unknown-unknown`, the result is a component that imports what
//! `wit/` of Cipher Hub says and nothing else.
//!
//! There is no clock, no randomness and no file: everything a plugin may know is in its arguments. A
//! panic is logged and ends the call.
#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]

mod error;
mod fields;
pub mod http;
pub mod json;
pub mod kdf;
pub mod log;
pub mod plan;
pub mod rotation;
pub mod sink;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod time;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]
pub mod bindings {
    pub mod kdf;
    pub mod rotation;
    pub mod sink;
}
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;

pub use error::{Error, Result};
pub use fields::{Config, Fields, Parameters, duration};
