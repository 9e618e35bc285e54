//! Who is calling: credentials, the authenticator, and the [`Caller`] it gives.

pub mod caller;

pub use caller::{Caller, Channel};
