//! Questions to the audit trail, of the hub and of one registration.

use hub_model::Timestamp;
use hub_model::api::audit::AuditPage;

use super::PageRequest;
use crate::call::{Call, Path};
use crate::{Client, Error};

/// Which audit entries are asked for: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Before this.
    pub to: Option<Timestamp>,
    /// Participant that called or was acted on: its uid, or `registration/name`.
    pub participant: Option<String>,
    /// Participant that called, likewise.
    pub caller: Option<String>,
    /// The key acted on: its uid, or `registration/name`.
    pub key: Option<String>,
    /// The registration acted on, by name or uid. For the trail of the hub alone.
    pub registration: Option<String>,
    /// The registration the caller belongs to.
    pub caller_registration: Option<String>,
    /// An action such as `keys.decrypt`, or a group such as `keys.*`.
    pub action: Option<String>,
    /// `ok`, or the code of a problem.
    pub outcome: Option<String>,
    /// `allow`, `deny` or `none`.
    pub decision: Option<String>,
    /// A request id.
    pub request: Option<String>,
    /// A W3C trace id.
    pub trace: Option<String>,
    /// A long operation or job.
    pub operation: Option<String>,
    /// The credential used.
    pub credential: Option<String>,
    /// Nothing before this number.
    pub after: Option<u64>,
    /// Oldest first, instead of newest first.
    pub oldest_first: bool,
}

impl AuditQuery {
    fn on(&self, mut path: Path) -> Path {
        let time = |time: &Option<Timestamp>| time.map(|time| time.to_string());
        let (from, to, after) =
            (time(&self.from), time(&self.to), self.after.map(|n| n.to_string()));
        let values = [
            ("from", &from),
            ("to", &to),
            ("after", &after),
            ("participant", &self.participant),
            ("caller", &self.caller),
            ("key", &self.key),
            ("registration", &self.registration),
            ("callerRegistration", &self.caller_registration),
            ("action", &self.action),
            ("outcome", &self.outcome),
            ("decision", &self.decision),
            ("request", &self.request),
            ("trace", &self.trace),
            ("operation", &self.operation),
            ("credential", &self.credential),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                path = path.query(name, value);
            }
        }
        // Always said: without a question the hub gives the log as it is.
        path.query("order", if self.oldest_first { "asc" } else { "desc" })
    }
}

/// Questions to the audit trail.
impl Client {
    /// Asks for entries of the whole hub. A page may be empty and have a token all the same: there
    /// is more to look at.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn query_audit(
        &self,
        query: &AuditQuery,
        page: &PageRequest,
    ) -> Result<AuditPage, Error> {
        self.fetch(Call::read(page.on(query.on(Path::new("/v1/audit/events"))))).await
    }

    /// Asks for entries of one registration, as [`Client::query_audit`] does for those of all.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn query_registration_audit(
        &self,
        registration: &str,
        query: &AuditQuery,
        page: &PageRequest,
    ) -> Result<AuditPage, Error> {
        let path = Path::registration(registration)?.then("audit").then("events");
        self.fetch(Call::read(page.on(query.on(path)))).await
    }
}
