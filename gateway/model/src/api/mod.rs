//! Request and response bodies, shared by server, client and tests. camelCase; unknown fields are
//! refused in requests and ignored by clients in responses.

pub mod access;
pub mod archive;
pub mod audit;
pub mod checkpoint;
pub mod crypto;
pub mod grant;
pub mod job;
pub mod key;
pub mod page;
pub mod participant;
pub mod plugin;
pub mod policy;
pub mod problem;
pub mod profile;
pub mod quota;
pub mod receipt;
pub mod registration;
pub mod system;
pub mod token;
pub mod transfer;
pub mod uses;

use serde::{Deserialize, Deserializer};

/// Tells an absent member from a null one in a merge patch (RFC 7396): `None` is absent,
/// `Some(None)` is null.
///
/// # Errors
/// Those of the inner value.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
