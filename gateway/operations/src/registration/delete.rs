//! `registrations.delete`: erases a frozen registration. The first transaction removes the
//! registration and its KEK, after which nothing in it can be read again; what it held is swept
//! afterwards, across restarts.

use hub_auth::Credential;
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_model::{Action, CredentialId, Key, Participant, RegistrationId};
use hub_policy::Permit;
use hub_store::{Changes, Path, Revision, Versioned, View, layout};
use serde::{Deserialize, Serialize};

use crate::hub::{Hub, is_hub};
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::perform::event;
use crate::plan::Plan;
use crate::{Error, Ref};

/// Records removed in one transaction of the sweep.
const CHUNK: usize = 64;
/// How often a record that somebody else changes meanwhile is read again.
const ATTEMPTS: usize = 8;

/// Deletes a registration.
#[derive(Debug)]
pub struct DeleteRegistration {
    /// Which.
    pub registration: Ref<RegistrationId>,
}

/// Nothing to show.
#[derive(Debug, Serialize, Deserialize)]
pub struct Deleted {}

impl Operation for DeleteRegistration {
    const ACTION: Action = Action::RegistrationsDelete;
    type Place = AtRegistration;
    type Reply = Deleted;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<Deleted>, Error> {
        let registration = &scene.place.0.registration;
        if is_hub(registration) {
            return Err(Error::HubRegistration("it cannot be deleted"));
        }
        scene.meta.matches(registration.generation)?;
        if !registration.frozen {
            return Err(Error::RegistrationNotFrozen);
        }
        let path = layout::registration(registration.id);
        let privacy = scene.hub.system_keys().privacy();
        let mut changes = Changes::new();
        changes
            .check_revision(&path, Revision(scene.place.0.revision))
            .delete(&path)
            .delete(&layout::registration_name(privacy, registration.name.as_str()))
            .delete(&layout::kek(registration.id, 1))
            .put(&layout::erasure(registration.id), &registration.id)?;
        Ok(Plan::new(permit, Deleted {}).changing(changes))
    }
}

impl Hub {
    /// Removes what deleted registrations have left behind, from memory and the engine's files too.
    /// Safe to stop and start again anywhere: what is being erased is noted until all of it is gone.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn sweep_erased(&self) -> Result<usize, Error> {
        let mut swept = 0;
        let mut erased = Vec::new();
        let mut after = None;
        loop {
            let erasures =
                self.store().scan::<RegistrationId>(layout::ERASURES, after.as_ref(), 100).await?;
            for (path, found) in &erasures.records {
                swept += self.sweep_one(found.value).await?;
                erased.push((found.value, path.clone()));
            }
            match erasures.records.last() {
                Some((last, _)) if erasures.more => after = Some(last.clone()),
                _ => break,
            }
        }
        if erased.is_empty() {
            return Ok(swept);
        }
        self.forget_stale();
        self.purge().await?;
        for (id, erasure) in erased {
            let mut changes = Changes::new();
            changes.delete(&erasure);
            self.sweep_commit(id, changes).await?;
        }
        Ok(swept)
    }

    async fn sweep_one(&self, id: RegistrationId) -> Result<usize, Error> {
        let mut paths = Vec::new();
        self.paths_under::<Key>(&layout::keys(id), &mut paths, |key| {
            let mut prefixes =
                vec![layout::versions(key.id), layout::usages(key.id), layout::data_keys(key.id)];
            // A whole path begins with itself.
            let agenda = key.agenda.map(|at| layout::agenda(at, key.registration, key.id));
            prefixes.extend(agenda.map(|path| path.as_str().to_owned()));
            let pins = key.profile_pins.iter().map(|pin| layout::plugin_pin(pin.digest, key.id));
            prefixes.extend(pins.map(|path| path.as_str().to_owned()));
            prefixes
        })
        .await?;
        self.paths_under::<Participant>(&layout::participants(id), &mut paths, |participant| {
            vec![layout::credentials_of(participant.id)]
        })
        .await?;
        // Each note that a participant has a credential leads to the credential itself.
        let credentials: Vec<CredentialId> = paths
            .iter()
            .filter(|path| path.as_str().starts_with("o/"))
            .filter_map(|path| path.last_segment().parse().ok())
            .collect();
        // First what the credentials hold of names that others may want: after a crash nothing
        // else would lead there.
        for credential in &credentials {
            self.release_identity(id, *credential).await?;
        }
        let of_each = |id: &CredentialId| [layout::credential(*id), layout::last_use(*id)];
        paths.splice(0..0, credentials.iter().flat_map(of_each));
        // What a key has beside its record.
        let notes: Vec<Path> = paths
            .iter()
            .filter(|path| path.as_str().starts_with("k/"))
            .filter_map(|path| path.last_segment().parse().ok())
            .map(layout::shredding)
            .collect();
        paths.extend(notes);
        self.bare_paths(&format!("n/k/{id}/"), &mut paths).await?;
        self.bare_paths(&format!("n/p/{id}/"), &mut paths).await?;
        self.bare_paths(&layout::import_jobs(id), &mut paths).await?;
        self.bare_paths(&layout::operations(id), &mut paths).await?;
        let count = paths.len() + self.forget_members(id).await?;
        for chunk in paths.chunks(CHUNK) {
            let mut changes = Changes::new();
            for path in chunk {
                changes.delete(path);
            }
            self.sweep_commit(id, changes).await?;
        }
        Ok(count)
    }

    /// Takes the roles and grants that participants of `hub` held here out of their records.
    async fn forget_members(&self, id: RegistrationId) -> Result<usize, Error> {
        let prefix = layout::participants(self.registration());
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.store().scan::<Participant>(&prefix, after.as_ref(), 500).await?;
            for (path, found) in &page.records {
                count += usize::from(self.forget_member(id, path, found.clone()).await?);
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(count),
            }
        }
    }

    async fn forget_member(
        &self,
        id: RegistrationId,
        path: &Path,
        mut found: Versioned<Participant>,
    ) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS {
            let mut participant = found.value;
            let roles = participant.roles.len();
            participant.roles.retain(|role| role.registration != id);
            let noted = participant.grants_in.remove(&id).is_some();
            if participant.roles.len() == roles && !noted {
                return Ok(false);
            }
            participant.updated = self.clock().now();
            participant.generation += 1;
            let mut changes = Changes::new();
            changes.check_revision(path, found.revision).put(path, &participant)?;
            match self.sweep_commit(id, changes).await {
                Ok(()) => return Ok(true),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
            match self.store().read::<Participant>(path).await? {
                Some(now) => found = now,
                None => return Ok(false),
            }
        }
        // The erasure is still noted, and tried again.
        Err(Error::Conflict)
    }

    /// Lets others bind the identity of a credential that goes with its registration.
    async fn release_identity(
        &self,
        registration: RegistrationId,
        id: CredentialId,
    ) -> Result<(), Error> {
        let found = self.store().read::<Credential>(&layout::credential(id)).await?;
        let Some(identity) = found.and_then(|found| found.value.identity) else { return Ok(()) };
        let binding = layout::identity(self.system_keys().privacy(), identity.as_str());
        loop {
            // Another may have bound it when this one had ended.
            let holder = self.store().read::<CredentialId>(&binding).await?;
            let Some(holder) = holder.filter(|holder| holder.value == id) else { return Ok(()) };
            let mut changes = Changes::new();
            changes.check_revision(&binding, holder.revision).delete(&binding);
            match self.sweep_commit(registration, changes).await {
                // Somebody has bound it meanwhile.
                Err(Error::Conflict) => {}
                outcome => return outcome,
            }
        }
    }

    async fn sweep_commit(&self, id: RegistrationId, changes: Changes) -> Result<(), Error> {
        let mut entry = event(
            self.clock().now(),
            "system.eraseRegistration",
            PeerAddress::Unix,
            None,
            Outcome::OK,
            1,
        );
        entry.subject.registration = Some(id);
        let _receipt = self.log().appender().append(&entry, changes).await?;
        Ok(())
    }

    /// Paths of typed records and, before each, of the records that belong to it.
    async fn paths_under<T: serde::de::DeserializeOwned>(
        &self,
        prefix: &str,
        paths: &mut Vec<Path>,
        below: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.store().scan::<T>(prefix, after.as_ref(), 500).await?;
            for (path, record) in &page.records {
                for prefix in below(&record.value) {
                    self.bare_paths(&prefix, paths).await?;
                }
                paths.push(path.clone());
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    async fn bare_paths(&self, prefix: &str, paths: &mut Vec<Path>) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.store().scan_bytes(prefix, after.as_ref(), 500, View::Now).await?;
            paths.extend(page.records.iter().map(|(path, _)| path.clone()));
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Removes import jobs that have ended, with their private keys.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn sweep_import_jobs(&self) -> Result<usize, Error> {
        let now = self.clock().now();
        let mut ended = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .store()
                .scan::<crate::key::ImportJob>(layout::IMPORT_JOBS, after.as_ref(), 500)
                .await?;
            let jobs = page.records.iter().filter(|(_, job)| job.value.expires <= now);
            ended.extend(jobs.map(|(path, job)| (path.clone(), job.revision)));
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => break,
            }
        }
        for chunk in ended.chunks(40) {
            let mut changes = Changes::new();
            for (path, revision) in chunk {
                changes.check_revision(path, *revision).delete(path);
            }
            let entry =
                event(now, "system.sweepImportJobs", PeerAddress::Unix, None, Outcome::OK, 1);
            match self.log().appender().append(&entry, changes).await {
                Ok(_receipt) => {}
                // Swept by the erasure of its registration meanwhile.
                Err(hub_audit::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ended.len())
    }

    /// Removes answers whose idempotency keys have ended, and credentials that ended long ago are
    /// left alone: they are facts of the past.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn sweep_answers(&self) -> Result<usize, Error> {
        let now = self.clock().now();
        let mut expired = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .store()
                .scan::<crate::idempotency::Record>(layout::IDEMPOTENCY, after.as_ref(), 500)
                .await?;
            for (path, record) in &page.records {
                if record.value.expires <= now {
                    expired.push((path.clone(), record.revision));
                }
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => break,
            }
        }
        for chunk in expired.chunks(40) {
            let mut changes = Changes::new();
            for (path, revision) in chunk {
                changes.check_revision(path, *revision).delete(path);
            }
            let entry = event(now, "system.sweepAnswers", PeerAddress::Unix, None, Outcome::OK, 1);
            match self.log().appender().append(&entry, changes).await {
                Ok(_receipt) => {}
                // Used again meanwhile: left for the next sweep.
                Err(hub_audit::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(expired.len())
    }
}
