//! What works on long operations, by itself: chunk by chunk, one operation of each registration in
//! turn.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hub_model::api::job::{KeptDataKey, OperationState};
use hub_model::entry::Outcome;
use hub_model::usage::{Side, Tally};
use hub_model::{Action, KeyId, RegistrationId, Timestamp};
use hub_store::{Changes, Path, Revision, Versioned, View, layout};
use tokio::sync::watch;

use super::Job;
use crate::hub::{HotKey, Hub};
use crate::key::{by_hub, rewrap_data_key};
use crate::{Error, Ref};

/// Items in one transaction.
const CHUNK: usize = 32;
/// Ciphertext read for one transaction, about.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long the operations that have turns stay the same.
const LISTED: Duration = Duration::from_secs(1);
/// How often an operation that meets errors is tried before it fails.
const TRIES: u8 = 3;
/// How long an operation that is over can be read.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

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
        let (mut waiting, mut listed) = (self.running_jobs().await?, self.clock().steady());
        while !waiting.is_empty() {
            // Those begun meanwhile have their turn too, however long the others last.
            if self.clock().steady().saturating_sub(listed) >= LISTED {
                (waiting, listed) = (self.running_jobs().await?, self.clock().steady());
            }
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
        entry.operation = Some(job.id.to_string().into());
        entry.subject.detail.clone_from(&entry.operation);
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
        entry.operation = Some(job.id.to_string().into());
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

    pub(super) async fn count_data_keys(&self, key: KeyId) -> Result<u64, Error> {
        let (prefix, mut count) = (layout::data_keys(key), 0_u64);
        let mut after: Option<Path> = None;
        loop {
            let page = self.store().scan_bytes(&prefix, after.as_ref(), 100, View::Now).await?;
            count += u64::try_from(page.records.len()).unwrap_or(0);
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(count),
            }
            tokio::task::yield_now().await;
        }
    }
}
