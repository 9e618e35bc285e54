//! Who is calling: credentials, the authenticator, and the [`Caller`] it gives.

pub mod api_key;
pub mod authenticator;
pub mod caller;
pub mod credential;
mod error;
mod last_use;
pub mod rules;

pub use authenticator::{Authenticator, Parts, Presented};
pub use caller::{Caller, Channel, ClientCertificate, Peer};
pub use credential::Credential;
pub use error::{Error, Refusal};
pub use last_use::{LastUses, Used};
pub use rules::Rules;
