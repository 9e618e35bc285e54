//! Operations on keys.

mod agenda;
mod batch;
mod change;
mod create;
mod crypto;
mod export;
mod import;
mod profile;
mod read;
mod rotate;
mod rsa;
mod state;
mod steps;
mod stream;
mod sweep;
mod uses;

pub use batch::{BatchKey, Item};
pub use change::UpdateKey;
pub use create::CreateKey;
pub use crypto::{Decrypt, DecryptAny, Encrypt, Rewrap, RewrapAny};
pub use export::ExportKey;
pub(crate) use import::ImportJob;
pub use import::{CreateImportJob, ImportKey, ImportVersion};
pub use read::{GetKey, GetVersion, ListKeys, ListVersions};
pub use rotate::RotateKey;
pub use steps::{
    Activate, CancelDestroy, Deactivate, MarkCompromised, Resume, ScheduleDestroy, SetPrimary,
    StepKey, StepVersion, Suspend, Verb,
};
pub use stream::{DecryptStream, EncryptStream, StreamBegun, StreamTotals, UseStream};
pub use sweep::Swept;
pub use uses::{
    Agree, Decapsulate, Derive, DeriveKey, Encapsulate, GenerateDataKey, GetPublicKey, Jwks, Mac,
    Sign, Unwrap, Verify, VerifyMac, Wrap,
};

pub(crate) use agenda::put_replan;

/// Refuses algorithms that must stop after a number of messages somebody may reach: nothing counts
/// messages yet, and a limit that is not kept is none.
pub(crate) fn check_served(algorithm: hub_model::Algorithm) -> Result<(), crate::Error> {
    /// A million messages a second for more than a hundred years.
    const REACHABLE: u64 = 1 << 52;
    match algorithm.message_limit() {
        Some(limit) if limit.refuse_at < REACHABLE => Err(crate::Error::Invalid {
            pointer: "/algorithm",
            detail: format!(
                "{algorithm} is not served yet: it is safe for {} messages a version only, and \
                 uses are not counted",
                limit.refuse_at
            ),
        }),
        _ => Ok(()),
    }
}

/// A rotation policy that a caller wants stored.
pub(crate) fn check_rotation(
    policy: &hub_model::RotationPolicy,
    now: hub_model::Timestamp,
) -> Result<(), crate::Error> {
    let invalid = |pointer, detail: String| Err(crate::Error::Invalid { pointer, detail });
    // Counters of use do not exist yet: a limit that nobody watches is not taken.
    if policy.max_operations.is_some() || policy.max_bytes.is_some() {
        let detail = "rotation by `maxOperations` and `maxBytes` is not served yet";
        return invalid("/rotation", detail.to_owned());
    }
    match policy.validate(now) {
        Ok(()) => Ok(()),
        Err(error) => invalid("/rotation", error.to_string()),
    }
}
