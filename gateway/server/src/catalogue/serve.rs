//! What is in service: follows the records, swapped as a whole, and answers those who ask.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use hub_model::extend::{KdfProfiles, PluginDigest, PluginFailure, Plugins, RotationSchedule};
use hub_model::{Name, RegistrationId};
use hub_operations::plugin::{PluginRecord, Refused};
use hub_plugins::{KdfPlugin, Loaded};

use super::load::Running;
use super::{Catalogue, unavailable};

/// A plugin as it is in service.
#[derive(Debug)]
pub(super) struct Shelved {
    /// That of the record that was followed.
    pub(super) generation: u64,
    pub(super) enabled: bool,
    /// None: it serves all.
    registrations: Option<BTreeSet<RegistrationId>>,
    /// Why what the record says is not in service.
    pub(super) problem: Option<String>,
    /// What answers: what the record says, or the last that was good.
    pub(super) active: Option<Active>,
    /// Kept to be shown where no version is active: compiled, and never run.
    shown: Option<Arc<Loaded>>,
    /// Versions of KDF profiles that keys may be pinned to.
    versions: HashMap<PluginDigest, Arc<KdfPlugin>>,
}

/// What answers.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub(super) loaded: Arc<Loaded>,
    pub(super) running: Running,
}

impl Catalogue {
    /// Whether something could not be put into service.
    pub(super) fn troubled(&self) -> bool {
        self.service.load().values().any(|shelved| shelved.problem.is_some())
    }

    /// Puts into service what the records say.
    pub(super) async fn follow_all(
        self: &Arc<Self>,
        records: &[PluginRecord],
        named: &[(Name, RegistrationId)],
        pinned: &[PluginDigest],
    ) {
        let before = self.service.load_full();
        let mut service = HashMap::with_capacity(records.len());
        for record in records {
            let old = before.get(&record.name);
            let shelved = self.shelve(record, named, old.map(|old| &**old)).await;
            if let Some(why) = &shelved.problem
                && old.is_none_or(|old| old.problem.as_ref() != Some(why))
            {
                tracing::error!(
                    plugin = %record.name,
                    error = %why,
                    "a plugin is not put into service; what was there stays"
                );
            }
            let digest = |shelved: &Shelved| shelved.active.as_ref().map(|a| a.loaded.digest());
            if let Some(now) = digest(&shelved)
                && old.and_then(|old| digest(old)) != Some(now)
            {
                tracing::info!(plugin = %record.name, digest = %now, "a plugin is in service");
            }
            service.insert(record.name.clone(), Arc::new(shelved));
        }
        self.service.store(Arc::new(service));
        self.changed.send_modify(|count| *count += 1);
        let versions = records.iter().flat_map(|record| &record.versions);
        let needed: HashSet<_> =
            versions.map(|version| version.digest).chain(pinned.iter().copied()).collect();
        for digest in &needed {
            self.files.settled(digest);
        }
        let own = Arc::clone(self);
        let cleaned = tokio::task::spawn_blocking(move || own.clean(&needed)).await;
        if let Err(error) = cleaned {
            tracing::error!(%error, "files of plugins could not be cleaned up");
        }
    }

    fn clean(&self, needed: &HashSet<PluginDigest>) {
        let removed = self.files.retain(needed);
        let engine = super::lock(&self.engine).clone();
        for digest in removed {
            tracing::info!(%digest, "removed the file of a plugin");
            if let Some(engine) = &engine {
                engine.forget(&digest);
            }
        }
        // Compiled for a try, or for a check that failed.
        if let Some(engine) = engine {
            engine.retain(|digest| needed.contains(digest) || self.known(digest).is_some());
        }
    }

    async fn shelve(
        self: &Arc<Self>,
        record: &PluginRecord,
        named: &[(Name, RegistrationId)],
        old: Option<&Shelved>,
    ) -> Shelved {
        let registrations = self.assigned(record, named);
        if let Some(old) = old
            && old.generation == record.generation
            && old.problem.is_none()
        {
            // As it was, with what it remembers.
            return Shelved {
                generation: old.generation,
                enabled: old.enabled,
                registrations,
                problem: None,
                active: old.active.clone(),
                shown: old.shown.clone(),
                versions: old.versions.clone(),
            };
        }
        let mut problem = None;
        let mut active = None;
        if let Some(digest) = record.active {
            match self.activate(record, digest).await {
                Ok(made) => active = Some(made),
                Err(refused) => {
                    problem = Some(refused.detail);
                    active = old.and_then(|old| old.active.clone());
                }
            }
        }
        let mut shown = None;
        if record.active.is_none()
            && let Some(newest) = record.subject()
        {
            shown = self.load(record, newest.digest).await.ok();
        }
        let mut versions = HashMap::new();
        if &*record.world == "kdf-profile" {
            for version in &record.versions {
                let made = match &active {
                    Some(active) if active.loaded.digest() == version.digest => Ok(active.clone()),
                    _ => self.activate(record, version.digest).await,
                };
                match made {
                    Ok(Active { running: Running::Kdf(plugin), .. }) => {
                        versions.insert(version.digest, plugin);
                    }
                    Ok(_) => {}
                    Err(refused) => {
                        let (plugin, digest) = (&record.name, version.digest);
                        let why = refused.detail;
                        tracing::warn!(%plugin, %digest, %why, "an older version does not load");
                        if let Some(kept) = old.and_then(|old| old.versions.get(&digest)) {
                            versions.insert(digest, Arc::clone(kept));
                        }
                    }
                }
            }
        }
        Shelved {
            generation: record.generation,
            enabled: record.enabled,
            registrations,
            problem,
            active,
            shown,
            versions,
        }
    }

    /// Whom a plugin serves; none where it is all.
    fn assigned(
        &self,
        record: &PluginRecord,
        named: &[(Name, RegistrationId)],
    ) -> Option<BTreeSet<RegistrationId>> {
        let said = self.config.of(&record.name).and_then(|said| said.registrations.as_ref());
        match said {
            Some(names) => Some(
                named.iter().filter(|(name, _)| names.contains(name)).map(|(_, id)| *id).collect(),
            ),
            None => record.registrations.as_ref().map(|ids| ids.iter().copied().collect()),
        }
    }

    async fn activate(
        self: &Arc<Self>,
        record: &PluginRecord,
        digest: PluginDigest,
    ) -> Result<Active, Refused> {
        let loaded = self.load(record, digest).await?;
        let running = self.try_out(record, &loaded, false).await?;
        Ok(Active { loaded, running })
    }

    /// A plugin that serves this registration.
    fn serving(
        &self,
        registration: RegistrationId,
        plugin: &Name,
    ) -> Result<Arc<Shelved>, PluginFailure> {
        let found = self.service.load().get(plugin).cloned();
        let found = found.ok_or_else(|| unavailable(&format!("there is no plugin `{plugin}`")))?;
        if found.registrations.as_ref().is_some_and(|served| !served.contains(&registration)) {
            // Whom else it serves is nobody's business here.
            return Err(unavailable(&format!("there is no plugin `{plugin}`")));
        }
        Ok(found)
    }

    pub(super) fn sink_in_service(&self, plugin: &Name) -> Result<Arc<Loaded>, PluginFailure> {
        let none = || unavailable(&format!("there is no audit sink `{plugin}` in service"));
        let found = self.service.load().get(plugin).cloned().ok_or_else(none)?;
        if !found.enabled {
            return Err(unavailable(&format!("the plugin `{plugin}` is disabled")));
        }
        match &found.active {
            Some(Active { loaded, running: Running::Sink }) => Ok(Arc::clone(loaded)),
            _ => Err(none()),
        }
    }

    fn answering<'a>(shelved: &'a Shelved, plugin: &Name) -> Result<&'a Active, PluginFailure> {
        if !shelved.enabled {
            return Err(unavailable(&format!("the plugin `{plugin}` is disabled")));
        }
        let none = || unavailable(&format!("no version of the plugin `{plugin}` is in service"));
        shelved.active.as_ref().ok_or_else(none)
    }
}

impl Plugins for Catalogue {
    fn rotation(
        &self,
        registration: RegistrationId,
        plugin: &Name,
    ) -> Result<Arc<dyn RotationSchedule>, PluginFailure> {
        let shelved = self.serving(registration, plugin)?;
        match &Self::answering(&shelved, plugin)?.running {
            Running::Rotation(plugin) => Ok(Arc::<hub_plugins::RotationPlugin>::clone(plugin)),
            _ => Err(unavailable(&format!("the plugin `{plugin}` is no rotation schedule"))),
        }
    }

    fn kdf(
        &self,
        registration: RegistrationId,
        plugin: &Name,
        digest: Option<PluginDigest>,
    ) -> Result<Arc<dyn KdfProfiles>, PluginFailure> {
        let shelved = self.serving(registration, plugin)?;
        if let Some(digest) = digest {
            // Also where it is disabled: what was derived is derived again.
            let none = || unavailable(&format!("`{plugin}` has no version {digest} installed"));
            let found = shelved.versions.get(&digest).ok_or_else(none)?;
            return Ok(Arc::<KdfPlugin>::clone(found));
        }
        match &Self::answering(&shelved, plugin)?.running {
            Running::Kdf(plugin) => Ok(Arc::<KdfPlugin>::clone(plugin)),
            _ => Err(unavailable(&format!("the plugin `{plugin}` has no KDF profiles"))),
        }
    }
}
