//! The policies of a hub that starts.

use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_policy::Bundle;
use hub_store::{Changes, Store, layout};

use super::{InUse, PolicySource, Record, files_of, refused};
use crate::Error;
use crate::hub::Hub;
use crate::perform::event;

/// The set that was activated last, or the baseline.
///
/// # Errors
/// When it cannot be read, or does not check under this program's schema and baseline.
pub async fn stored_bundle(store: &Store) -> Result<Bundle, Error> {
    let active = InUse::read(store).await?.and_then(|found| found.value.active);
    let Some(id) = active else { return Bundle::baseline().map_err(|e| refused(e, &[])) };
    let files = files_of(store, &id).await?;
    let named = files.iter().map(|file| (file.name.clone(), file.text.clone()));
    Bundle::parse(named).map_err(|error| refused(error, &files))
}

impl Hub {
    /// Puts the record in step with this program, which may have another schema or baseline than
    /// the one that wrote it and then calls the same files otherwise, and puts in the shadow what
    /// was there. To be called once, before requests.
    ///
    /// # Errors
    /// When the record cannot be read or written.
    pub async fn resume_policies(&self) -> Result<(), Error> {
        if self.revisions().source == PolicySource::Api {
            self.rename_active().await?;
            // What decides was made from this very record: it need not be made a second time.
            let running = self.policies().active_bundle();
            match self.in_use().await?.active {
                None => self.revisions().seed_baseline(running),
                Some(id) => self.revisions().remember(&id, &running),
            }
        }
        self.follow_policies().await;
        Ok(())
    }

    async fn rename_active(&self) -> Result<(), Error> {
        let (mut in_use, mut changes) = InUse::to_change(self.store()).await?;
        let (Some(old), new) = (in_use.active.clone(), self.policies().revision()) else {
            return Ok(());
        };
        if *old == *new {
            return Ok(());
        }
        let missing = || Error::Integrity("the active policy revision is missing".into());
        let path = layout::policy_revision(&old);
        let record = self.store().read::<Record>(&path).await?.ok_or_else(missing)?.value;
        let path = layout::policy_revision(&new);
        if self.store().read::<Record>(&path).await?.is_none() {
            let files = files_of(self.store(), &old).await?;
            changes
                .check_absent(&path)
                .put(&path, &record)?
                .put(&layout::policy_files(&new), &files)?;
        }
        in_use.active = Some((&*new).into());
        in_use.put(&mut changes)?;
        self.record_change("policies.rename", &format!("{old} -> {new}"), changes).await
    }

    /// Appends an entry of the hub's own doing with the change it describes.
    pub(super) async fn record_change(
        &self,
        action: &'static str,
        detail: &str,
        changes: Changes,
    ) -> Result<(), Error> {
        let (now, outcome) = (self.clock().now(), Outcome::OK);
        let entry = event(now, action, PeerAddress::Unix, Some(detail.into()), outcome, 1);
        let _receipt = self.log().appender().append(&entry, changes).await?;
        Ok(())
    }
}
