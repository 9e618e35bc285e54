//! Archives of the audit log.

use hub_model::Timestamp;
use hub_model::api::archive::{ArchiveAudit, ArchiveList, ArchivePlan};

use crate::call::{Call, Path};
use crate::{Client, Error};

/// Archives of the audit log.
impl Client {
    /// Has entries from before this moment archived, in the background. A dry run says how many
    /// there are.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn archive_audit(&self, before: Timestamp) -> Result<ArchivePlan, Error> {
        let call = Call::act(Path::new("/v1/audit:archive")).json(&ArchiveAudit { before })?;
        self.fetch(call).await
    }

    /// Lists the archives, and how archiving stands.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn audit_archives(&self) -> Result<ArchiveList, Error> {
        self.fetch(Call::read(Path::new("/v1/audit/archives"))).await
    }
}
