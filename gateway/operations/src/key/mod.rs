//! Operations on keys.

mod agenda;
mod batch;
mod change;
mod check;
mod create;
mod crypto;
mod data_keys;
mod export;
mod grants;
mod import;
mod plan;
mod planning;
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
pub use data_keys::{DataKeyDeleted, DeleteDataKey, GetDataKey, ListDataKeys, PutDataKey};
pub use export::ExportKey;
pub use grants::{CreateGrant, DeleteGrant, GetGrant, GrantDeleted, ListGrants};
pub(crate) use import::ImportJob;
pub use import::{CreateImportJob, ImportKey, ImportVersion};
pub use plan::Plans;
pub use planning::{ANSWERS, FAILURES};
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
pub(crate) use check::{asks_plugin, check_rotation};
pub(crate) use data_keys::{check_kind as check_keeps, rewrap as rewrap_data_key};
pub(crate) use planning::Planning;
pub(crate) use rotate::WORN_VERSIONS;
pub(crate) use state::protecting;
pub(crate) use sweep::by_hub;
