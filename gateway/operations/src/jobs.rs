//! Long operations: `keys.migrate` begins one, the hub works on it by itself, chunk by chunk. Each
//! chunk is one transaction with the operation's own record, checked against what was read. So a
//! stop or a crash anywhere loses nothing and does nothing twice, and two who work on one
//! operation do not get in each other's way.

use hub_model::api::job::{ItemFailure, KeptDataKey, OperationState, OperationView, Progress};
use hub_model::api::page::Page;
use hub_model::{Action, KeyId, OperationId, RegistrationId, Timestamp};
use hub_policy::{Permit, RequestFacts};
use hub_store::{Changes, Path, Revision, Versioned, layout};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::hub::Hub;
use crate::operation::{AtKey, AtRegistration, Keeps, Lost, Operation, Place as _, Scene};
use crate::page::{self, PageRequest};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Failures that are remembered by name.
const FAILURES: usize = 100;
/// Operations of one registration that are not over.
const MAX_RUNNING: usize = 100;
/// Operations of one registration in all: beyond, the oldest that are over go.
const MAX_KEPT: usize = 500;

mod run;

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
        let id = job.id;
        Ok(Plan::new(permit, job.view()).changing(changes).version(target).step_of(id))
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
    let (mut running, mut over) = (0, Vec::new());
    let mut after: Option<Path> = None;
    loop {
        let page = hub.store().scan::<Job>(&all, after.as_ref(), 500).await?;
        for (path, job) in &page.records {
            if job.value.state.is_final() {
                over.push((path.clone(), job.revision));
            } else if job.value.key == key {
                let id = job.value.id;
                return Err(Error::State(format!("{id} is migrating this key already")));
            } else {
                running += 1;
            }
        }
        match page.records.last() {
            Some((last, _)) if page.more => after = Some(last.clone()),
            _ => break,
        }
    }
    if running >= MAX_RUNNING {
        return Err(Error::TooMany("there are 100 operations that are not over"));
    }
    if running + over.len() >= MAX_KEPT {
        // By id, which is by age.
        for (path, revision) in over.iter().take(2) {
            changes.check_revision(path, *revision).delete(path);
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
                let plan = self.plan_for(permit, &scene, &path, found).await?;
                Ok(plan.step_of(self.operation))
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
