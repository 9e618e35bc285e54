//! The hub itself: audit trail, policies, status.

use hub_model::Timestamp;
use hub_model::api::audit::{AuditPage, Explain, Explanation};
use hub_model::api::participant::Whoami;
use hub_model::api::system::Status;

use crate::call::{Call, Path};
use crate::{ByteStream, Client, Error};

/// The media type of exports.
const EXPORT: &str = "application/vnd.cipher-hub.audit-export";

/// What of the audit log to export: all of it as JSON Lines when nothing is said.
#[derive(Debug, Clone, Default)]
pub struct AuditExport {
    /// `jsonl`, `csv`, `cef` or `ocsf`.
    pub format: Option<String>,
    /// From this entry on.
    pub after: Option<u64>,
    /// Up to before this entry.
    pub before: Option<u64>,
    /// From the first entry of this time or later on.
    pub from: Option<Timestamp>,
    /// Up to the last entry before this time.
    pub to: Option<Timestamp>,
    /// Only what concerns this registration.
    pub registration: Option<String>,
}

/// The hub itself.
impl Client {
    /// Reads audit entries from number `after` on (0 is the first), consecutively.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn audit_events(&self, after: u64, size: Option<u32>) -> Result<AuditPage, Error> {
        let mut path = Path::new("/v1/audit/events").query("after", &after.to_string());
        if let Some(size) = size {
            path = path.query("pageSize", &size.to_string());
        }
        self.fetch(Call::read(path)).await
    }

    /// Exports entries of the audit log as files in blocks (`docs/formats/audit-export.md`).
    ///
    /// # Errors
    /// Those of any call: see [`Error`]. A failure later on is one of reading the [`ByteStream`].
    pub async fn audit_export(&self, export: &AuditExport) -> Result<ByteStream, Error> {
        let path = Path::new("/v1/audit/export");
        self.export_at(path, export, export.registration.clone()).await
    }

    /// As [`Client::audit_export`], of the `registration` alone, for those who may read its trail
    /// only.
    ///
    /// # Errors
    /// As [`Client::audit_export`], and of a registration that cannot be part of a path.
    pub async fn registration_audit_export(
        &self,
        registration: &str,
        export: &AuditExport,
    ) -> Result<ByteStream, Error> {
        let path = Path::registration(registration)?.then("audit").then("export");
        self.export_at(path, export, None).await
    }

    async fn export_at(
        &self,
        mut path: Path,
        export: &AuditExport,
        registration: Option<String>,
    ) -> Result<ByteStream, Error> {
        for (name, value) in [
            ("format", export.format.clone()),
            ("after", export.after.map(|number| number.to_string())),
            ("before", export.before.map(|number| number.to_string())),
            ("from", export.from.map(|time| time.to_string())),
            ("to", export.to.map(|time| time.to_string())),
            ("registration", registration),
        ] {
            if let Some(value) = value {
                path = path.query(name, &value);
            }
        }
        self.download(Call::read(path), EXPORT).await
    }

    /// Asks why a past decision fell as it did.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn explain_decision(&self, decision_id: &str) -> Result<Explanation, Error> {
        let body = Explain { decision_id: Some(decision_id.to_owned()), ..Explain::default() };
        let call = Call::compute(Path::new("/v1/policies:explain"), false);
        self.fetch(call.json(&body)?).await
    }

    /// Reads the hub's status.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn status(&self) -> Result<Status, Error> {
        self.fetch(Call::read(Path::new("/v1/system/status"))).await
    }

    /// Asks who the caller is.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn whoami(&self) -> Result<Whoami, Error> {
        self.fetch(Call::read(Path::new("/v1/whoami"))).await
    }

    /// Asks a management listener (not the API's) whether the hub is ready for work.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; [`Error::Answer`] with status 503 when it is not ready.
    pub async fn ready(&self) -> Result<(), Error> {
        self.fetch_nothing(Call::read(Path::new("/readyz"))).await
    }
}
