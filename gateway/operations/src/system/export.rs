//! `audit.read` as an export: authorized and with a durable entry before anything is read, asked
//! for again while it lasts, and ended by an entry that names what was signed.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hub_audit::export::{Exporter, Format, Spec};
use hub_audit::verify::scan::scan;
use hub_audit::{Log, encode::hex};
use hub_auth::Caller;
use hub_model::entry::{Outcome, Subject};
use hub_model::{Action, RegistrationId, Timestamp};
use hub_policy::{DecisionTrace, Permit, RequestFacts};
use serde::{Deserialize, Serialize};

use crate::hub::Hub;
use crate::operation::{AtHub, AtRegistration, Lost, Meta, Operation, Place as _, Scene};
use crate::perform::Done;
use crate::plan::Plan;
use crate::{Error, Ref};

/// Entries carry the time their request was authenticated at, and stand in the order in which they
/// became durable: no further apart than this.
const SKEW: Duration = Duration::from_secs(60);
/// How long a new export waits for a checkpoint over what is durable when it begins.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks for it.
const PAUSE: Duration = Duration::from_millis(50);
/// Entries read at once while looking for a time.
const PAGE: usize = 1000;

/// What of the log is wanted.
#[derive(Clone, Debug)]
pub struct Selection {
    /// In which form.
    pub format: Format,
    /// From this position on.
    pub after: u64,
    /// Up to before this position.
    pub before: Option<u64>,
    /// From the first entry of this time or later on.
    pub from: Option<Timestamp>,
    /// Up to the last entry before this time.
    pub to: Option<Timestamp>,
}

/// What exports have in common, whoever may ask for them.
#[derive(Debug)]
pub struct Export {
    selection: Selection,
    begun: Mutex<Option<Begun>>,
}

/// An export that was permitted.
#[derive(Clone, Debug)]
struct Begun {
    trace: Arc<DecisionTrace>,
    registration: Option<RegistrationId>,
    /// How many entries were durable: what the checkpoint waited for covers.
    durable: u64,
}

/// An export has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportBegun {}

/// An operation that is an export.
pub trait Exports: Operation<Reply = ExportBegun> {
    /// What it exports.
    fn export(&self) -> &Export;

    /// Whether what was permitted at the beginning still is.
    ///
    /// # Errors
    /// [`Error::Denied`] when not; what finding its place fails with.
    fn still_permitted(
        &self,
        hub: &Hub,
        caller: &Caller,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            let place = self.find(hub).await.map_err(|lost| lost.error)?;
            let facts = RequestFacts::default();
            let permit = hub.policies().authorize(caller, Self::ACTION, &place.target(), &facts);
            permit.map(drop).map_err(|_| Error::Denied { action: Self::ACTION.name() })
        }
    }

    /// Writes the entry of the end: how many entries went out, under which manifest.
    ///
    /// # Errors
    /// When the log cannot be written.
    fn end(
        &self,
        hub: &Hub,
        caller: &Caller,
        meta: &Meta,
        (entries, manifest): (u64, Option<[u8; 32]>),
        outcome: Outcome,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            let begun = self.export().begun()?;
            let detail = match manifest {
                Some(digest) => {
                    format!("export ended: {entries} entries, manifest {}", hex(&digest))
                }
                None => format!("export ended: {entries} entries, nothing signed"),
            };
            let subject = Subject {
                registration: begun.registration,
                detail: Some(detail.into()),
                ..Subject::default()
            };
            hub.record_end(caller, meta, Self::ACTION, subject, &begun.trace, outcome).await
        }
    }
}

impl Export {
    const fn new(selection: Selection) -> Self {
        Self { selection, begun: Mutex::new(None) }
    }

    fn begun(&self) -> Result<Begun, Error> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        // INVARIANT: whoever holds the receipt of the beginning has planned.
        begun.clone().ok_or_else(|| Error::Integrity("an export was not begun".into()))
    }

    fn begin(
        &self,
        permit: Permit,
        hub: &Hub,
        registration: Option<RegistrationId>,
    ) -> Plan<ExportBegun> {
        let durable = hub.log().appender().position().audit.size;
        let trace = Arc::clone(permit.trace());
        let begun = Begun { trace, registration, durable };
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        let detail = format!("export begun: {}", self.selection.format.name());
        let plan = Plan::new(permit, ExportBegun {}).detail(detail);
        match registration {
            Some(registration) => plan.registration(registration),
            None => plan,
        }
    }

    /// What makes the export. `_done` proves that the entry is durable.
    ///
    /// # Errors
    /// [`Error::AuditUnavailable`] when the log cannot be read or there is no checkpoint.
    pub async fn exporter(&self, hub: &Hub, _done: &Done<ExportBegun>) -> Result<Exporter, Error> {
        let begun = self.begun()?;
        let log = hub.log();
        let size = covered(log, begun.durable).await;
        let Selection { format, after, before, from, to } = self.selection.clone();
        let mut range = after..before.unwrap_or(size).min(size);
        if let Some(from) = from {
            range.start = range.start.max(first_from(log, 0..size, from).await?);
        }
        if let Some(to) = to {
            range.end = range.end.min(end_before(log, 0..size, to).await?);
        }
        let spec = Spec {
            format,
            range: (range.start, range.end),
            registration: begun.registration,
            times: (from, to),
        };
        log.export(spec).ok_or_else(|| {
            Error::AuditUnavailable(hub_audit::Error::Checkpoint("there is none yet"))
        })
    }
}

/// Exports entries of the hub's log, of one registration alone where one is named.
#[derive(Debug)]
pub struct ExportAudit {
    export: Export,
    registration: Option<Ref<RegistrationId>>,
}

impl ExportAudit {
    /// The export of this selection.
    #[must_use]
    pub const fn new(selection: Selection, registration: Option<Ref<RegistrationId>>) -> Self {
        Self { export: Export::new(selection), registration }
    }
}

impl Exports for ExportAudit {
    fn export(&self) -> &Export {
        &self.export
    }
}

impl Operation for ExportAudit {
    const ACTION: Action = Action::AuditRead;
    type Place = AtHub;
    type Reply = ExportBegun;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<ExportBegun>, Error> {
        let registration = match &self.registration {
            None => None,
            // What was deleted is named by its id.
            Some(Ref::Id(id)) => Some(*id),
            Some(name) => Some(scene.hub.find_registration(name).await?.registration.id),
        };
        Ok(self.export.begin(permit, scene.hub, registration))
    }
}

/// Exports the entries of one registration: those that name it as what was acted on.
#[derive(Debug)]
pub struct ExportRegistrationAudit {
    export: Export,
    registration: Ref<RegistrationId>,
}

impl ExportRegistrationAudit {
    /// The export of this selection.
    #[must_use]
    pub const fn new(selection: Selection, registration: Ref<RegistrationId>) -> Self {
        Self { export: Export::new(selection), registration }
    }
}

impl Exports for ExportRegistrationAudit {
    fn export(&self) -> &Export {
        &self.export
    }
}

impl Operation for ExportRegistrationAudit {
    const ACTION: Action = Action::AuditReadRegistration;
    type Place = AtRegistration;
    type Reply = ExportBegun;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    /// INVARIANT: only entries of the registration that was permitted are exported.
    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<ExportBegun>, Error> {
        Ok(self.export.begin(permit, scene.hub, Some(scene.place.0.registration.id)))
    }
}

/// Waits for a checkpoint over so many entries, but not for ever: how many the newest one covers.
async fn covered(log: &Log, durable: u64) -> u64 {
    let size = || log.latest().map_or(0, |signed| signed.checkpoint.size);
    let looks = PATIENCE.as_millis() / PAUSE.as_millis();
    for _ in 0..looks {
        if size() >= durable {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    size()
}

/// The first entry of this time or later.
async fn first_from(log: &Log, range: Range<u64>, time: Timestamp) -> Result<u64, Error> {
    let end = range.end;
    let mut next = near(log, range, minus(time)).await?;
    while next < end {
        let page = log.page(next, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        let found = page.iter().find(|(_, entry)| time_of(entry).is_some_and(|at| at >= time));
        match found {
            Some((seq, _)) => return Ok(*seq),
            None => next = last + 1,
        }
    }
    Ok(end)
}

/// Behind the last entry before this time.
async fn end_before(log: &Log, range: Range<u64>, time: Timestamp) -> Result<u64, Error> {
    let mut found = near(log, range.clone(), minus(time)).await?;
    let mut next = found;
    let late = time.plus(SKEW);
    while next < range.end {
        let page = log.page(next, PAGE).await?;
        let Some((last, newest)) = page.last() else { break };
        let before = |(_, entry): &&(u64, Vec<u8>)| time_of(entry).is_some_and(|at| at < time);
        if let Some((seq, _)) = page.iter().rev().find(before) {
            found = seq + 1;
        }
        if time_of(newest).is_some_and(|at| at >= late) {
            break;
        }
        next = last + 1;
    }
    Ok(found.min(range.end))
}

/// A position before which all entries are older than this.
async fn near(log: &Log, mut range: Range<u64>, time: Timestamp) -> Result<u64, Error> {
    while range.start < range.end {
        let middle = range.start.midpoint(range.end);
        let entry = log.entry(middle).await?.ok_or(hub_audit::Error::Missing(middle))?;
        if time_of(&entry).is_some_and(|at| at < time) {
            range.start = middle + 1;
        } else {
            range.end = middle;
        }
    }
    Ok(range.start)
}

fn minus(time: Timestamp) -> Timestamp {
    let skew = i64::try_from(SKEW.as_micros()).unwrap_or(0);
    Timestamp::from_micros(time.as_micros().saturating_sub(skew))
}

fn time_of(entry: &[u8]) -> Option<Timestamp> {
    scan(entry).ok()?.time?.parse().ok()
}
