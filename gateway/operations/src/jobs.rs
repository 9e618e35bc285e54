//! Long operations: `keys.migrate` begins one, the hub works on it by itself, chunk by chunk. Each
//! chunk is one transaction with the operation's own record, checked against what was read. So a
//! stop or a crash anywhere loses nothing and does nothing twice, and two who work on one
//! operation do not get in each other's way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hub_model::api::job::{ItemFailure, KeptDataKey, OperationState, OperationView, Progress};
use hub_model::api::page::Page;
use hub_model::entry::Outcome;
use hub_model::usage::{Side, Tally};
use hub_model::{Action, KeyId, OperationId, RegistrationId, Timestamp};
use hub_policy::{Permit, RequestFacts};
use hub_store::{Changes, Path, Revision, Versioned, layout};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::hub::{HotKey, Hub};
use crate::key::{by_hub, rewrap_data_key};
use crate::operation::{AtKey, AtRegistration, Keeps, Lost, Operation, Place as _, Scene};
use crate::page::{self, PageRequest};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Items in one transaction.
const CHUNK: usize = 32;
/// Ciphertext read for one transaction, about.
const CHUNK_BYTES: usize = 64 * 1024;
/// Failures that are remembered by name.
const FAILURES: usize = 100;
/// Operations of one registration that are not over.
const MAX_RUNNING: usize = 100;
/// Operations of one registration in all: beyond, the oldest that are over go.
const MAX_KEPT: usize = 500;
/// How often an operation that meets errors is tried before it fails.
const TRIES: u8 = 3;
/// How long an operation that is over can be read.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What wakes whoever works on operations, and whoever watches them.
#[derive(Debug)]
pub(crate) struct Jobs {
    wake: Notify,
    moved: watch::Sender<u64>,
    ending: std::sync::atomic::AtomicBool,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { wake: Notify::new(), moved: watch::Sender::new(0), ending: false.into() }
    }
}

/// An operation as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    id: OperationId,
    registration: RegistrationId,
    key: KeyId,
    state: OperationState,
    done: u64,
    total: u64,
    failed: u64,
    failures: Vec<ItemFailure>,
    problem: Option<String>,
    /// How often the present chunk met an error.
    #[serde(default)]
    tries: u8,
    /// The last record looked at.
    cursor: Option<String>,
    /// The version that was primary when the pass began.
    target: u32,
    created: Timestamp,
    /// When the present pass began.
    begun: Timestamp,
    updated: Timestamp,
    ended: Option<Timestamp>,
}

impl Job {
    fn view(&self) -> OperationView {
        let end = self.ended.unwrap_or(self.updated);
        let seconds = u64::try_from(end.since(self.begun).as_millis()).unwrap_or(0);
        let per_second =
            self.done.saturating_mul(1000).checked_div(seconds).filter(|speed| *speed > 0);
        let left = self.total.saturating_sub(self.done);
        let eta_seconds =
            per_second.filter(|_| !self.state.is_final()).and_then(|speed| left.checked_div(speed));
        OperationView {
            uid: self.id,
            kind: Action::KeysMigrate.name().to_owned(),
            key: self.key,
            state: self.state,
            progress: Progress {
                done: self.done,
                total: self.total,
                failed: self.failed,
                per_second,
                eta_seconds,
            },
            problem: self.problem.clone(),
            failures: self.failures.clone(),
            create_time: self.created,
            update_time: self.updated,
            end_time: self.ended,
        }
    }

    /// Begins a pass over all items.
    fn begin(&mut self, target: u32, now: Timestamp) {
        self.state = OperationState::Running;
        (self.done, self.failed, self.target) = (0, 0, target);
        self.failures.clear();
        (self.problem, self.cursor, self.ended, self.tries) = (None, None, None, 0);
        (self.begun, self.updated) = (now, now);
    }

    fn end(&mut self, state: OperationState, problem: Option<&str>, now: Timestamp) {
        self.state = state;
        self.problem = problem.map(str::to_owned);
        (self.updated, self.ended) = (now, Some(now));
    }

    fn fail(&mut self, item: &KeptDataKey, error: &Error) {
        self.failed += 1;
        if self.failures.len() < FAILURES {
            let (data_key, code) = (item.name.clone(), error.code().to_owned());
            self.failures.push(ItemFailure { data_key, code });
        }
    }
}

/// Wraps the data keys that the hub keeps under a key anew, under its primary version.
#[derive(Debug)]
pub struct Migrate {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which key.
    pub key: Ref<KeyId>,
}

impl Operation for Migrate {
    const ACTION: Action = Action::KeysMigrate;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtKey;
    type Reply = OperationView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    fn location(reply: &OperationView, registration: &str) -> Option<String> {
        Some(format!("/v1/registrations/{registration}/operations/{}", reply.uid))
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<OperationView>, Error> {
        let Scene { hub, place, now, .. } = scene;
        crate::key::check_keeps(&scene)?;
        let target = crate::key::protecting(&scene)?;
        let (registration, key) = (place.hot.registration(), place.hot.key.id);
        let mut changes = Changes::new();
        make_room(hub, registration, key, &mut changes).await?;
        let total = if scene.meta.dry_run { 0 } else { hub.count_data_keys(key).await? };
        let mut job = Job {
            id: OperationId::generate(),
            registration,
            key,
            state: OperationState::Running,
            done: 0,
            total,
            failed: 0,
            failures: Vec::new(),
            problem: None,
            tries: 0,
            cursor: None,
            target,
            created: now,
            begun: now,
            updated: now,
            ended: None,
        };
        job.begin(target, now);
        let path = layout::operation(registration, job.id);
        let facts = &place.registration;
        changes
            .check_absent(&path)
            .check_revision(&layout::registration(registration), Revision(facts.revision))
            .put(&path, &job)?;
        let detail = job.id.to_string();
        Ok(Plan::new(permit, job.view()).changing(changes).version(target).detail(detail))
    }
}

/// Refuses one operation too many, and takes the oldest that is over along when there are many.
async fn make_room(
    hub: &Hub,
    registration: RegistrationId,
    key: KeyId,
    changes: &mut Changes,
) -> Result<(), Error> {
    let all = layout::operations(registration);
    let page = hub.store().scan::<Job>(&all, None, 2 * MAX_KEPT).await?;
    let running = || page.records.iter().filter(|(_, job)| !job.value.state.is_final());
    if let Some((_, job)) = running().find(|(_, job)| job.value.key == key) {
        return Err(Error::State(format!("{} is migrating this key already", job.value.id)));
    }
    if running().count() >= MAX_RUNNING {
        return Err(Error::TooMany("there are 100 operations that are not over"));
    }
    if page.records.len() >= MAX_KEPT {
        // By id, which is by age.
        let over = page.records.iter().filter(|(_, job)| job.value.state.is_final());
        for (path, job) in over.take(2) {
            changes.check_revision(path, job.revision).delete(path);
        }
    }
    Ok(())
}

macro_rules! at_operation {
    ($(#[$doc:meta])* $name:ident, $action:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            /// Where.
            pub registration: Ref<RegistrationId>,
            /// Which operation.
            pub operation: OperationId,
        }

        impl Operation for $name {
            const ACTION: Action = Action::$action;
            type Place = AtRegistration;
            type Reply = OperationView;

            async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
                AtRegistration::find(hub, &self.registration).await
            }

            async fn plan(
                &self,
                permit: Permit,
                scene: Scene<'_, AtRegistration>,
            ) -> Result<Plan<OperationView>, Error> {
                let path = layout::operation(scene.place.id(), self.operation);
                let missing = || Error::not_found("operation", self.operation);
                let found = scene.hub.store().read::<Job>(&path).await?.ok_or_else(missing)?;
                let detail = self.operation.to_string();
                self.plan_for(permit, &scene, &path, found).await.map(|plan| plan.detail(detail))
            }
        }
    };
}

at_operation! {
    /// Reads an operation.
    GetOperation, OperationsGet
}

at_operation! {
    /// Cancels an operation. What it has done stays done.
    CancelOperation, OperationsCancel
}

at_operation! {
    /// Goes on with an operation that failed or was cancelled. What is done is found done.
    ResumeOperation, OperationsResume
}

impl GetOperation {
    async fn plan_for(
        &self,
        permit: Permit,
        _scene: &Scene<'_, AtRegistration>,
        _path: &Path,
        found: Versioned<Job>,
    ) -> Result<Plan<OperationView>, Error> {
        Ok(Plan::new(permit, found.value.view()).key(found.value.key))
    }

    /// How the operation stands, for whoever watches it and was permitted to: policy is asked, and
    /// nothing is recorded.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::NotFound`].
    pub async fn watch(
        &self,
        hub: &Hub,
        caller: &hub_auth::Caller,
    ) -> Result<OperationView, Error> {
        let place = self.find(hub).await.map_err(|lost| lost.error)?;
        let facts = RequestFacts::default();
        let denied = |_| Error::Denied { action: Self::ACTION.name() };
        let permit = hub.policies().authorize(caller, Self::ACTION, &place.target(), &facts);
        permit.map(drop).map_err(denied)?;
        let path = layout::operation(place.id(), self.operation);
        let missing = || Error::not_found("operation", self.operation);
        Ok(hub.store().read::<Job>(&path).await?.ok_or_else(missing)?.value.view())
    }
}

impl CancelOperation {
    async fn plan_for(
        &self,
        permit: Permit,
        scene: &Scene<'_, AtRegistration>,
        path: &Path,
        found: Versioned<Job>,
    ) -> Result<Plan<OperationView>, Error> {
        let Versioned { value: mut job, revision } = found;
        if job.state.is_final() {
            return Err(Error::State("the operation is over".to_owned()));
        }
        job.end(OperationState::Cancelled, None, scene.now);
        let mut changes = Changes::new();
        changes.check_revision(path, revision).put(path, &job)?;
        Ok(Plan::new(permit, job.view()).changing(changes).key(job.key))
    }
}

impl ResumeOperation {
    async fn plan_for(
        &self,
        permit: Permit,
        scene: &Scene<'_, AtRegistration>,
        path: &Path,
        found: Versioned<Job>,
    ) -> Result<Plan<OperationView>, Error> {
        let Versioned { value: mut job, revision } = found;
        if !matches!(job.state, OperationState::Failed | OperationState::Cancelled) {
            let state = if job.state.is_final() { "has succeeded" } else { "is running" };
            return Err(Error::State(format!("the operation {state}")));
        }
        let hot = scene.hub.find_key(job.registration, &Ref::Id(job.key)).await?;
        let mut changes = Changes::new();
        // Those that would go must not be this one.
        make_room(scene.hub, job.registration, job.key, &mut Changes::new()).await?;
        if !scene.meta.dry_run {
            job.total = scene.hub.count_data_keys(job.key).await?;
        }
        job.begin(hot.key.primary, scene.now);
        changes.check_revision(path, revision).put(path, &job)?;
        Ok(Plan::new(permit, job.view()).changing(changes).key(job.key))
    }
}

/// Lists the operations of a registration, oldest first.
#[derive(Debug)]
pub struct ListOperations {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ListOperations {
    const ACTION: Action = Action::OperationsList;
    type Place = AtRegistration;
    type Reply = Page<OperationView>;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Page<OperationView>>, Error> {
        let prefix = layout::operations(scene.place.id());
        let found = page::scan::<Job>(scene.hub, &prefix, &self.page).await?;
        let items = found.items.iter().map(|(_, job)| job.value.view()).collect();
        Ok(Plan::new(permit, Page { items, next_page_token: found.next_page_token }))
    }
}

impl Hub {
    /// Resolves when there may be operations to work on.
    pub async fn jobs_due(&self) {
        self.jobs().wake.notified().await;
    }

    /// Says that there may be operations to work on, and that one has moved.
    pub fn jobs_moved(&self) {
        self.jobs().moved.send_modify(|count| *count = count.wrapping_add(1));
        self.jobs().wake.notify_one();
    }

    /// Says that the process is ending, so that nobody waits for operations any longer.
    pub fn end_watches(&self) {
        self.jobs().ending.store(true, std::sync::atomic::Ordering::Relaxed);
        self.jobs_moved();
    }

    /// Whether the process is ending.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.jobs().ending.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Changes whenever an operation has moved.
    #[must_use]
    pub fn watch_jobs(&self) -> watch::Receiver<u64> {
        self.jobs().moved.subscribe()
    }

    /// Works on all operations that are not over, a chunk of each in turn, until none is left or
    /// `stop` says so. Removes those that have been over for long. Gives how many chunks were done.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn run_jobs(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<usize, Error> {
        let mut chunks = 0;
        // One a registration and turn, so that one with many does not slow the others.
        let mut waiting = self.running_jobs().await?;
        while !waiting.is_empty() {
            for jobs in waiting.values_mut() {
                if stop() {
                    return Ok(chunks);
                }
                let Some(path) = jobs.pop_front() else { continue };
                let Some(found) = self.store().read::<Job>(&path).await? else { continue };
                if found.value.state.is_final() {
                    continue;
                }
                match self.run_chunk(&path, &found).await {
                    Ok(()) => chunks += 1,
                    // What cannot be logged is not done; all else is this operation's own trouble.
                    Err(error @ Error::AuditUnavailable(_)) => return Err(error),
                    Err(error) => self.note_trouble(&path, &found, &error).await?,
                }
                jobs.push_back(path);
                tokio::task::yield_now().await;
            }
            waiting.retain(|_, jobs| !jobs.is_empty());
        }
        Ok(chunks)
    }

    /// The operations that are not over, by registration. Removes those over for long.
    async fn running_jobs(&self) -> Result<BTreeMap<RegistrationId, VecDeque<Path>>, Error> {
        let mut running: BTreeMap<RegistrationId, VecDeque<Path>> = BTreeMap::new();
        let mut after: Option<Path> = None;
        loop {
            let page = self.store().scan::<Job>(layout::OPERATIONS, after.as_ref(), 100).await?;
            for (path, found) in &page.records {
                if found.value.state.is_final() {
                    self.forget_job(path, found).await?;
                } else {
                    running.entry(found.value.registration).or_default().push_back(path.clone());
                }
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(running),
            }
        }
    }

    /// An error ends an operation after some tries, and no other.
    async fn note_trouble(
        &self,
        path: &Path,
        found: &Versioned<Job>,
        error: &Error,
    ) -> Result<(), Error> {
        let (now, mut job) = (self.clock().now(), found.value.clone());
        tracing::warn!(%error, operation = %job.id, "a chunk of a long operation failed");
        job.tries = job.tries.saturating_add(1);
        if job.tries >= TRIES {
            job.end(OperationState::Failed, Some(error.code()), now);
        }
        let mut changes = Changes::new();
        changes.check_revision(path, found.revision).put(path, &job)?;
        let mut entry = by_hub(Action::KeysMigrate.name(), now, job.registration, Some(job.key));
        entry.outcome = Outcome(error.code());
        entry.subject.detail = Some(job.id.to_string().into());
        match self.log().appender().append(&entry, changes).await {
            Ok(_) | Err(hub_audit::Error::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn forget_job(&self, path: &Path, found: &Versioned<Job>) -> Result<(), Error> {
        let now = self.clock().now();
        let ended = found.value.ended.unwrap_or(found.value.updated);
        if now.since(ended) < KEPT {
            return Ok(());
        }
        let mut changes = Changes::new();
        changes.check_revision(path, found.revision).delete(path);
        let entry = by_hub("system.forgetOperation", now, found.value.registration, None);
        match self.log().appender().append(&entry, changes).await {
            Ok(_) | Err(hub_audit::Error::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn run_chunk(&self, path: &Path, found: &Versioned<Job>) -> Result<(), Error> {
        let (now, mut job) = (self.clock().now(), found.value.clone());
        let mut changes = Changes::new();
        changes.check_revision(path, found.revision);
        let mut rewrapped = 0;
        match self.usable(&job).await {
            Ok((hot, registration)) => {
                // Neither frozen nor suspended in between.
                changes
                    .check_revision(&layout::registration(job.registration), registration)
                    .check_revision(
                        &layout::key(job.registration, job.key),
                        Revision(hot.revision),
                    );
                rewrapped = self.plan_chunk(&hot, &mut job, &mut changes, now).await?;
            }
            Err(error @ (Error::State(_) | Error::NotFound { .. })) => {
                job.end(OperationState::Failed, Some(error.code()), now);
            }
            Err(error) => return Err(error),
        }
        job.tries = 0;
        changes.put(path, &job)?;
        let mut entry = by_hub(Action::KeysMigrate.name(), now, job.registration, Some(job.key));
        entry.subject.detail = Some(format!("{} {rewrapped} rewrapped", job.id).into());
        entry.subject.version = Some(job.target);
        match self.log().appender().append(&entry, changes).await {
            // Somebody cancelled it, or deleted a data key: looked at again from what there is.
            Ok(_) | Err(hub_audit::Error::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        self.jobs().moved.send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    /// The key of an operation, if it can be worked on.
    async fn usable(&self, job: &Job) -> Result<(std::sync::Arc<HotKey>, Revision), Error> {
        let facts = self.find_registration(&Ref::Id(job.registration)).await?;
        if facts.registration.frozen {
            return Err(Error::State("the registration is frozen".to_owned()));
        }
        let hot = self.find_key(job.registration, &Ref::Id(job.key)).await?;
        if !hot.key.protects(hot.key.primary) {
            return Err(Error::State("the primary version protects nothing".to_owned()));
        }
        Ok((hot, Revision(facts.revision)))
    }

    /// Plans the next chunk; gives how many data keys it wraps anew.
    async fn plan_chunk(
        &self,
        hot: &HotKey,
        job: &mut Job,
        changes: &mut Changes,
        now: Timestamp,
    ) -> Result<usize, Error> {
        // Rotated meanwhile, the rest goes under the newer version; what is done is not done again,
        // or migration and rotation by use would chase each other.
        let primary = hot.key.primary;
        let prefix = layout::data_keys(job.key);
        let after = job.cursor.as_deref().map(Path::new).transpose()?;
        let page = self.store().scan::<KeptDataKey>(&prefix, after.as_ref(), CHUNK).await?;
        let (mut rewrapped, mut tally) = (0, Tally::default());
        let (mut bytes, mut more, mut cursor) = (0, page.more, None);
        for (path, item) in &page.records {
            if bytes > CHUNK_BYTES {
                more = true;
                break;
            }
            cursor = Some(path.as_str().to_owned());
            job.done += 1;
            if item.value.version >= job.target || item.value.version == primary {
                continue;
            }
            bytes += item.value.ciphertext.len();
            let KeptDataKey { ciphertext, context, .. } = &item.value;
            match rewrap_data_key(self, hot, ciphertext, context).await {
                Ok(ciphertext) => {
                    let kept = KeptDataKey {
                        ciphertext,
                        version: primary,
                        update_time: now,
                        ..item.value.clone()
                    };
                    changes.check_revision(path, item.revision).put(path, &kept)?;
                    let one = Tally::one(0);
                    self.count_use(hot, item.value.version, Side::Process, one, None).await?;
                    (rewrapped, tally) = (rewrapped + 1, tally.plus(one));
                }
                Err(error @ Error::DecryptionFailed) => job.fail(&item.value, &error),
                Err(error) => return Err(error),
            }
        }
        if rewrapped > 0 {
            self.count_use(hot, primary, Side::Protect, tally, None).await?;
        }
        job.updated = now;
        job.total = job.total.max(job.done);
        match cursor {
            Some(last) if more => job.cursor = Some(last),
            _ if job.failed > 0 => job.end(OperationState::Failed, Some("items_failed"), now),
            _ => {
                job.total = job.done;
                job.end(OperationState::Succeeded, None, now);
            }
        }
        Ok(rewrapped)
    }

    async fn count_data_keys(&self, key: KeyId) -> Result<u64, Error> {
        let (prefix, mut count) = (layout::data_keys(key), 0_u64);
        let mut after: Option<Path> = None;
        loop {
            let page = self.store().scan_bytes(&prefix, after.as_ref(), 100, None).await?;
            count += u64::try_from(page.records.len()).unwrap_or(0);
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(count),
            }
            tokio::task::yield_now().await;
        }
    }
}
