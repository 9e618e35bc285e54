//! Revisions of the policies: kept by their digest, activated, rolled back, put in the shadow,
//! replayed over what was decided before.
//!
//! A revision never changes; the record `m/policies` says which one is active, and every change of
//! it is committed with its audit entry. What decides in memory follows that record
//! ([`Hub::follow_policies`]), at once and by a chore: a crash in between is mended by the next
//! start, and a request that nobody waits for any more by the chore.

mod activate;
mod delete;
mod propose;
mod read;
mod reload;
mod replay;
mod start;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hub_model::api::policy::{PolicyFile, PolicyProblem, RevisionRef};
use hub_model::{ParticipantId, Timestamp};
use hub_policy::Bundle;
use hub_store::{Store, Versioned, layout};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub use activate::{Activate, EndShadow, Rollback, Shadow};
pub use delete::DeleteRevision;
pub use propose::{ProposeRevision, ValidatePolicies};
pub use read::{GetRevision, ListRevisions};
pub use replay::ReplayPolicies;
pub use start::stored_bundle;

use crate::Error;
use crate::hub::Hub;

/// Compiled sets kept at hand: what was just checked is activated soon.
const COMPILED: usize = 3;
/// Replays at once.
const REPLAYS: usize = 2;
/// How far back `:rollback` can go.
const HISTORY: usize = 16;

/// Where the active policies of a hub come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicySource {
    /// From the revision activated over the API; before the first, the baseline.
    #[default]
    Api,
    /// From the files of `policies.dir`.
    Files,
    /// The baseline alone, whatever else there is.
    Baseline,
}

impl PolicySource {
    /// The word in views.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Files => "files",
            Self::Baseline => "baseline",
        }
    }

    /// Refuses to activate where the API does not decide what is active.
    const fn check(self) -> Result<(), Error> {
        match self {
            Self::Api => Ok(()),
            Self::Files => Err(Error::PolicySource(
                "the policies of this hub come from the files of `policies.dir`: change those, or \
                 set `policies.source = \"api\"`",
            )),
            Self::Baseline => Err(Error::PolicySource(
                "this hub was started with `policies.source = \"baseline\"`: unset that first",
            )),
        }
    }
}

/// What the hub remembers of revisions.
#[derive(Debug)]
pub(crate) struct Revisions {
    pub(crate) source: PolicySource,
    /// Held while memory follows the record, so that no older state overtakes a newer one; the
    /// generation of the record that memory is in step with.
    following: tokio::sync::Mutex<Option<u64>>,
    compiled: Mutex<VecDeque<(Box<str>, Arc<Bundle>)>>,
    baseline: OnceLock<Arc<Bundle>>,
    replays: Semaphore,
}

impl Default for Revisions {
    fn default() -> Self {
        Self {
            source: PolicySource::default(),
            following: tokio::sync::Mutex::default(),
            compiled: Mutex::default(),
            baseline: OnceLock::new(),
            replays: Semaphore::new(REPLAYS),
        }
    }
}

impl Revisions {
    /// The baseline alone.
    fn baseline(&self) -> Result<Arc<Bundle>, Error> {
        if let Some(bundle) = self.baseline.get() {
            return Ok(Arc::clone(bundle));
        }
        let bundle = Arc::new(Bundle::baseline().map_err(|error| refused(error, &[]))?);
        Ok(Arc::clone(self.baseline.get_or_init(|| bundle)))
    }

    /// The baseline alone, as it was made already.
    fn seed_baseline(&self, bundle: Arc<Bundle>) {
        let _first_counts = self.baseline.set(bundle);
    }

    fn recall(&self, id: &str) -> Option<Arc<Bundle>> {
        let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.iter().find(|(known, _)| &**known == id).map(|(_, bundle)| Arc::clone(bundle))
    }

    fn remember(&self, id: &str, bundle: &Arc<Bundle>) {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.retain(|(known, _)| &**known != id);
        compiled.push_front((id.into(), Arc::clone(bundle)));
        compiled.truncate(COMPILED);
    }
}

/// What is kept about a revision beside its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(default)]
    note: Option<String>,
    proposer: ParticipantId,
    created: Timestamp,
    policies: u64,
    bytes: u64,
}

/// Which revisions are in use. `None` stands for the baseline alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InUse {
    /// Changes with every change of this record: the ETag of revisions.
    generation: u64,
    active: Option<Box<str>>,
    /// What was active before, the newest last.
    before: Vec<Option<Box<str>>>,
    shadow: Option<Box<str>>,
}

impl InUse {
    async fn read(store: &Store) -> Result<Option<Versioned<Self>>, Error> {
        Ok(store.read(&layout::active_policies()).await?)
    }

    /// As read, or as it is before the first activation; with the check for a change of it.
    async fn to_change(store: &Store) -> Result<(Self, hub_store::Changes), Error> {
        let path = layout::active_policies();
        let mut changes = hub_store::Changes::new();
        let in_use = match Self::read(store).await? {
            Some(found) => {
                changes.check_revision(&path, found.revision);
                found.value
            }
            None => {
                changes.check_absent(&path);
                Self::default()
            }
        };
        Ok((in_use, changes))
    }

    fn put(&mut self, changes: &mut hub_store::Changes) -> Result<(), Error> {
        self.generation += 1;
        changes.put(&layout::active_policies(), self)?;
        Ok(())
    }
}

/// A revision that was found.
#[derive(Clone, Debug)]
enum Which {
    /// The baseline alone.
    Baseline,
    /// One that is kept.
    Kept(Box<str>, Box<Versioned<Record>>),
    /// What decides now, from files.
    Running(Arc<Bundle>),
}

impl Hub {
    /// Finds a revision.
    async fn find_revision(&self, reference: &RevisionRef) -> Result<Which, Error> {
        let running = self.policies().active_bundle();
        let baseline = self.revisions().baseline()?;
        let missing = || Error::not_found("policy revision", reference);
        match reference {
            RevisionRef::Baseline => Ok(Which::Baseline),
            RevisionRef::Active => {
                if self.revisions().source == PolicySource::Api
                    && let Some(id) = self.in_use().await?.active
                {
                    return self.kept(&id).await?.ok_or_else(missing);
                }
                if running.files().is_empty() {
                    return Ok(Which::Baseline);
                }
                Ok(Which::Running(running))
            }
            RevisionRef::Digest(start) => {
                let prefix = format!("{}{start}", layout::POLICY_REVISIONS);
                let page = self.store().scan::<Record>(&prefix, None, 2).await?;
                let mut found = page.records.into_iter();
                match (found.next(), found.next()) {
                    (Some(_), Some(_)) => Err(Error::Invalid {
                        pointer: "revision",
                        detail: "more than one revision begins so; give more digits".to_owned(),
                    }),
                    (Some((path, record)), None) => {
                        let id = path.as_str().strip_prefix(layout::POLICY_REVISIONS);
                        Ok(Which::Kept(id.unwrap_or_default().into(), Box::new(record)))
                    }
                    _ if baseline.revision().starts_with(&**start) => Ok(Which::Baseline),
                    _ if running.revision().starts_with(&**start) => Ok(Which::Running(running)),
                    _ => Err(missing()),
                }
            }
        }
    }

    /// A revision, compiled.
    pub(crate) async fn revision_bundle(
        &self,
        reference: &RevisionRef,
    ) -> Result<Arc<Bundle>, Error> {
        if *reference == RevisionRef::Active {
            return Ok(self.policies().active_bundle());
        }
        let which = self.find_revision(reference).await?;
        self.compiled(&which).await
    }

    async fn kept(&self, id: &str) -> Result<Option<Which>, Error> {
        let found = self.store().read::<Record>(&layout::policy_revision(id)).await?;
        Ok(found.map(|record| Which::Kept(id.into(), Box::new(record))))
    }

    async fn in_use(&self) -> Result<InUse, Error> {
        Ok(InUse::read(self.store()).await?.map(|found| found.value).unwrap_or_default())
    }

    /// A revision, compiled. What this program makes of kept files can have another digest than
    /// they were kept under: schema and baseline are part of it, and another release has others.
    async fn compiled(&self, which: &Which) -> Result<Arc<Bundle>, Error> {
        match which {
            Which::Baseline => self.revisions().baseline(),
            Which::Running(bundle) => Ok(Arc::clone(bundle)),
            Which::Kept(id, _) => self.compiled_id(id).await,
        }
    }

    async fn compiled_id(&self, id: &str) -> Result<Arc<Bundle>, Error> {
        if let Some(bundle) = self.revisions().recall(id) {
            return Ok(bundle);
        }
        let files = files_of(self.store(), id).await?;
        let bundle = self.compile(files).await?;
        self.revisions().remember(id, &bundle);
        Ok(bundle)
    }

    /// Compiles and checks files, where that holds nobody up.
    async fn compile(&self, files: Vec<PolicyFile>) -> Result<Arc<Bundle>, Error> {
        let policies = self.shared_policies();
        let work = move || {
            let named = files.iter().map(|file| (file.name.clone(), file.text.clone()));
            let bundle = Bundle::parse(named).and_then(|bundle| {
                policies.check(&bundle)?;
                Ok(bundle)
            });
            bundle.map_err(|error| refused(error, &files))
        };
        Ok(Arc::new(self.heavy().run(self.registration(), work).await??))
    }
}

async fn files_of(store: &Store, id: &str) -> Result<Vec<PolicyFile>, Error> {
    let found = store.read::<Vec<PolicyFile>>(&layout::policy_files(id)).await?;
    let missing = || Error::Integrity("the files of a policy revision are missing".into());
    Ok(found.ok_or_else(missing)?.value)
}

/// What checking a set says, as an error of an operation.
fn refused(error: hub_policy::Error, files: &[PolicyFile]) -> Error {
    match error {
        hub_policy::Error::Refused(problems) => Error::Policies(
            problems
                .iter()
                .map(|problem| {
                    let at = files.iter().position(|file| *file.name == *problem.file);
                    let pointer = at.map_or("/files".to_owned(), |at| format!("/files/{at}"));
                    (pointer, problem.to_string())
                })
                .collect(),
        ),
        error @ hub_policy::Error::LockOut { .. } => Error::LockOut(error.to_string()),
        error => Error::Integrity(Box::new(error)),
    }
}

fn shown(problem: &hub_policy::Problem) -> PolicyProblem {
    PolicyProblem {
        file: problem.file.to_string(),
        line: problem.line,
        column: problem.column,
        message: problem.message.clone(),
        help: problem.help.clone(),
        rendered: problem.rendered.clone(),
    }
}
