//! One method for every route of the API.

mod access;
mod archives;
mod audit;
mod checkpoints;
mod crypto;
mod hub;
mod jobs;
mod keys;
mod lifecycle;
mod participants;
mod plugins;
mod policies;
mod quotas;
mod receipts;
mod registrations;
mod tokens;
mod transfer;
mod uses;

use crate::call::Path;

pub use audit::AuditQuery;
pub use hub::AuditExport;
pub use lifecycle::KeyStep;

/// Which page of a list. The default is the first, of the hub's usual size.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// Most items wanted, up to 1,000.
    pub size: Option<u32>,
    /// The `next_page_token` of the page before.
    pub token: Option<String>,
}

impl PageRequest {
    fn on(&self, mut path: Path) -> Path {
        if let Some(size) = self.size {
            path = path.query("pageSize", &size.to_string());
        }
        if let Some(token) = &self.token {
            path = path.query("pageToken", token);
        }
        path
    }
}
