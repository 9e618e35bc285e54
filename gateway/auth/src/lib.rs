//! Who is calling: credentials, the authenticator, and the [`Caller`] it gives.

pub mod api_key;
pub mod authenticator;
pub mod caller;
pub mod credential;
mod error;

pub use authenticator::{Authenticator, Presented};
pub use caller::{Caller, Channel};
pub use credential::Credential;
pub use error::{Error, Refusal};
