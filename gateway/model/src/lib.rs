//! The words of the domain and of the wire. No I/O, no cryptography, no key bytes beyond
//! [`secret::SecretBytes`] in transit.
//!
//! Everything here is plain data with validated constructors: a value of a type in this crate is
//! well formed, whoever made it.

pub mod action;
pub mod algorithm;
pub mod api;
pub mod clock;
pub mod context;
pub mod entry;
pub mod error;
pub mod extend;
pub mod grant;
pub mod id;
pub mod identity;
pub mod key;
pub mod lifecycle;
pub mod name;
pub mod pin;
pub mod principal;
pub mod quota;
pub mod registration;
pub mod rotation;
pub mod secret;
mod source_range;
mod thumbprint;
pub mod usage;

pub use action::Action;
pub use algorithm::Algorithm;
pub use clock::{Clock, Timestamp};
pub use context::EncryptionContext;
pub use error::Error;
pub use grant::Grant;
pub use id::{
    CredentialId, GrantId, HubId, ImportJobId, KeyId, OperationId, ParticipantId, RegistrationId,
    RequestId, TokenRevocationId,
};
pub use identity::Identity;
pub use key::{Key, KeyVersion, Origin, Purpose};
pub use lifecycle::{KeyState, Step, VersionState};
pub use name::{Name, Tags};
pub use pin::ProfilePin;
pub use principal::{AuthMethod, Principal};
pub use registration::{Environment, Participant, ParticipantKind, Registration, Role, RoleGrant};
pub use rotation::{Period, RotationPolicy};
pub use secret::SecretBytes;
pub use source_range::SourceRange;
pub use thumbprint::Thumbprint;
pub use usage::UsageCounters;
