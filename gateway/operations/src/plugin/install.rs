//! `plugins.install`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use hub_model::api::plugin::PluginView;
use hub_model::extend::PluginDigest;
use hub_model::{Action, ParticipantId, Timestamp};
use hub_policy::Permit;
use hub_store::{Changes, View, layout};
use tokio::sync::OnceCell;

use super::{
    AtPlugin, Catalogue, Examined, Installed, MAX_PLUGINS, MAX_VERSIONS, PluginRecord, Refused,
};
use crate::Error;
use crate::hub::Hub;
use crate::operation::{Lost, Operation, Scene};
use crate::plan::{Held, Plan};

/// A file on its way in: read when the caller was found to be permitted, and not before.
pub trait Upload: Send + Sync {
    /// Reads it, this many bytes at most.
    fn read(&self, most: u64) -> BoxFuture<'_, Result<Arc<[u8]>, Refused>>;
}

/// Installs a version of a plugin.
pub struct InstallPlugin {
    upload: Box<dyn Upload>,
    activate: bool,
    examined: OnceCell<Examined>,
    /// Nothing is installed that was not: its file may have been damaged, and is whole now.
    again: AtomicBool,
}

impl InstallPlugin {
    /// Installs this file, and puts it into service if `activate`.
    #[must_use]
    pub fn new(upload: Box<dyn Upload>, activate: bool) -> Self {
        Self { upload, activate, examined: OnceCell::new(), again: AtomicBool::new(false) }
    }

    async fn examined(
        &self,
        hub: &Hub,
        catalogue: &dyn Catalogue,
        now: Timestamp,
    ) -> Result<&Examined, Error> {
        self.examined
            .get_or_try_init(|| async {
                // INVARIANT: never closed.
                let _place = hub.catalogue.uploads.acquire().await.ok();
                let file = self.upload.read(catalogue.max_size()).await?;
                let _turn = hub.catalogue.turn.lock().await;
                Ok(catalogue.examine(file, now).await?)
            })
            .await
    }
}

impl fmt::Debug for InstallPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstallPlugin").field("activate", &self.activate).finish_non_exhaustive()
    }
}

impl Operation for InstallPlugin {
    const ACTION: Action = Action::PluginsInstall;
    const TELLS_WHEN_DRY: bool = true;
    type Place = AtPlugin;
    type Reply = PluginView;

    async fn find(&self, _hub: &Hub) -> Result<AtPlugin, Lost> {
        Ok(AtPlugin::default())
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtPlugin>,
    ) -> Result<Plan<PluginView>, Error> {
        let Scene { hub, caller, place, meta, now, .. } = scene;
        let catalogue = hub.plugin_catalogue()?;
        let examined = match self.examined(hub, &**catalogue, now).await {
            Ok(examined) => examined,
            Err(error) => {
                if let Error::Plugin(refused) = &error
                    && let Some(about) = &refused.about
                {
                    place.say(about.clone());
                }
                return Err(error);
            }
        };
        place.say(examined.said());
        let by = Some(caller.participant().id);
        let planned = hub.plan_install(&**catalogue, examined, self.activate, (by, now)).await?;
        if !meta.dry_run {
            catalogue.keep(examined).await?;
            self.again.store(planned.changes.is_empty(), Ordering::Relaxed);
        }
        let plan = Plan::new(permit, catalogue.show(&planned.record));
        let plan = plan.generation(planned.record.generation).changing(planned.changes);
        Ok(plan.detail(planned.detail).holding(planned.held))
    }

    async fn settle(&self, hub: &Hub) {
        if self.again.load(Ordering::Relaxed) {
            hub.follow_plugins_again().await;
        } else {
            hub.follow_plugins().await;
        }
    }
}

/// What an installation changes.
pub(super) struct Planned {
    pub(super) record: PluginRecord,
    pub(super) changes: Changes,
    pub(super) detail: String,
    /// Until the changes are committed.
    pub(super) held: Option<Held>,
}

impl Hub {
    /// Plans to keep a version, and to make it the active one if `activate`: checked first.
    pub(super) async fn plan_install(
        &self,
        catalogue: &dyn Catalogue,
        examined: &Examined,
        activate: bool,
        (by, now): (Option<ParticipantId>, Timestamp),
    ) -> Result<Planned, Error> {
        let path = layout::plugin(&examined.name);
        let mut changes = Changes::new();
        let mut record = match self.plugin_record(&examined.name).await? {
            Some(found) => {
                changes.check_revision(&path, found.revision);
                found.value
            }
            None => {
                let all =
                    self.store().scan_bytes(layout::PLUGINS, None, MAX_PLUGINS, View::Now).await?;
                if all.records.len() >= MAX_PLUGINS {
                    return Err(Error::TooMany("256 plugins are installed; remove some"));
                }
                changes.check_absent(&path);
                PluginRecord::new(examined.name.clone(), examined.world)
            }
        };
        if *record.world != *examined.world {
            let detail = format!(
                "`{}` is of the world `{}`, and a plugin never changes that; this file is of the \
                 world `{}`",
                examined.name, record.world, examined.world
            );
            return Err(Refused::new("invalid_plugin", detail).into());
        }
        let before = record.clone();
        match record.versions.iter_mut().find(|version| version.digest == examined.digest) {
            // Signed by somebody else since, or within another period: what is kept must be taken
            // at the next start, too, which holds signatures against this moment.
            Some(kept) if kept.signer != examined.signer || !examined.taken_at(kept.installed) => {
                (kept.signer, kept.installed, kept.by) = (examined.signer.clone(), now, by);
            }
            Some(_) => {}
            None => record.versions.push(Installed {
                digest: examined.digest,
                version: examined.version.clone(),
                signer: examined.signer.clone(),
                bytes: u64::try_from(examined.file.len()).unwrap_or(u64::MAX),
                installed: now,
                by,
                activated: false,
            }),
        }
        if activate {
            let _turn = self.catalogue.turn.lock().await;
            catalogue.check(&record, examined.digest).await?;
        }
        let held = Some(self.plugins_may_change().await);
        if let Some(gone) = self.make_room(&mut record).await? {
            self.note_removed(&mut changes, &[gone]).await?;
        }
        if activate {
            record.activate(examined.digest);
        }
        let word = if activate { "active" } else { "installed" };
        let detail = format!("{} {word}", examined.said());
        if record == before {
            return Ok(Planned { record, changes: Changes::new(), detail, held: None });
        }
        record.generation += 1;
        changes.put(&path, &record)?;
        Ok(Planned { record, changes, detail, held })
    }

    /// Lets go of the oldest version that nothing needs, where there is one too many; the last is
    /// the one that comes in.
    async fn make_room(&self, record: &mut PluginRecord) -> Result<Option<PluginDigest>, Error> {
        if record.versions.len() <= MAX_VERSIONS {
            return Ok(None);
        }
        let older = record.versions.len().saturating_sub(1);
        for (place, version) in record.versions.iter().take(older).enumerate() {
            let digest = version.digest;
            if ![record.active, record.previous].contains(&Some(digest))
                && !self.plugin_is_pinned(digest).await?
            {
                record.versions.remove(place);
                return Ok(Some(digest));
            }
        }
        Err(Error::TooMany(
            "16 versions of this plugin are kept, and keys derive by all that are neither active \
             nor the one before: destroy such keys, or install it under another name",
        ))
    }
}
