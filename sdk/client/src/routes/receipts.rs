//! Proofs over the audit log.

use std::time::Duration;

use hub_model::api::receipt::{AuditConsistency, AuditReceipt};

use crate::call::{Call, Path};
use crate::{Client, Error};

impl Client {
    /// Fetches the proof that an entry is in the audit log: one of your own operations
    /// (`Cipher-Hub-Audit-Seq` of its answer), or of a registration you own or audit. Under the
    /// checkpoint of this size, else the newest; waits up to `wait`, 10 seconds at most, until a
    /// checkpoint covers the entry.
    ///
    /// The answer proves nothing before it was verified (RFC 9162 §2.1.3.2), with a verifier key
    /// from a place you trust: `cipher-hub audit prove --check` does so from a file.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]. 503 `proof_pending` when no checkpoint covers it yet.
    pub async fn audit_receipt(
        &self,
        seq: u64,
        size: Option<u64>,
        wait: Duration,
    ) -> Result<AuditReceipt, Error> {
        let mut path = Path::new("/v1/audit/receipts").item(&seq.to_string())?;
        if let Some(size) = size {
            path = path.query("size", &size.to_string());
        } else if !wait.is_zero() {
            path = path.query("wait", &format!("{}ms", wait.as_millis()));
        }
        self.fetch(Call::read(path)).await
    }

    /// Fetches the proof that the audit log at size `to` (that of the newest checkpoint when absent)
    /// goes on from what it was at size `from`. Verify it against roots you trust (RFC 9162
    /// §2.1.4.2).
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn audit_consistency(
        &self,
        from: u64,
        to: Option<u64>,
    ) -> Result<AuditConsistency, Error> {
        let mut path = Path::new("/v1/audit/consistency").query("from", &from.to_string());
        if let Some(to) = to {
            path = path.query("to", &to.to_string());
        }
        self.fetch(Call::read(path)).await
    }
}
