//! Operations on registrations.

mod change;
mod create;
mod delete;
mod quotas;
mod read;
mod tools;

pub use change::{Freeze, UpdateRegistration};
pub use create::CreateRegistration;
pub(crate) use create::add_role;
pub use delete::{DeleteRegistration, Deleted};
pub use quotas::{ClearQuotas, GetQuotas, PutQuotas};
pub use read::{GetRegistration, ListRegistrations};
pub use tools::{Hash, Random};
