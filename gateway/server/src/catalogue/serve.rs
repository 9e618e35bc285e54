//! What is in service: follows the records, swapped as a whole, and answers those who ask.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use hub_model::extend::{
    KdfInService, KdfProfiles, KdfVersion, PluginDigest, PluginFailure, Plugins, RotationSchedule,
};
use hub_model::{Name, RegistrationId};
use hub_operations::plugin::{PluginRecord, Refused};
use hub_plugins::{KdfPlugin, Loaded};
use hub_store::{Revision, Versioned};

use super::load::Running;
use super::{Catalogue, unavailable};

/// A plugin as it is in service.
#[derive(Debug)]
pub(super) struct Shelved {
    /// The record that was followed. Not known by its generation: a plugin that is removed and
    /// installed begins with 1 again.
    pub(super) record: Versioned<PluginRecord>,
    /// None: it serves all.
    registrations: Option<BTreeSet<RegistrationId>>,
    /// Why what the record says is not in service.
    pub(super) problem: Option<String>,
    /// Why an older version that keys may be pinned to is not at hand, or not as the record says.
    missing: Option<String>,
    /// What answers: what the record says, or the last that was good.
    pub(super) active: Option<Active>,
    /// Kept to be shown where no version is active: compiled, and never run.
    shown: Option<Arc<Loaded>>,
    /// Versions of KDF profiles that keys may be pinned to.
    versions: HashMap<PluginDigest, Older>,
}

/// A version that keys may be pinned to, as of a revision of the record.
#[derive(Clone, Debug)]
struct Older(Arc<KdfPlugin>, Revision);

impl Shelved {
    /// What is to be mended: of the active version, or of another one.
    pub(super) fn wrong(&self) -> Option<String> {
        self.problem.clone().or_else(|| self.missing.clone())
    }
}

/// What answers.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub(super) loaded: Arc<Loaded>,
    pub(super) running: Running,
    /// The revision of the record whose settings it has.
    revision: Revision,
}

impl Catalogue {
    /// Whether something could not be put into service.
    pub(super) fn troubled(&self) -> bool {
        self.service.load().values().any(|shelved| shelved.wrong().is_some())
    }

    /// Puts into service what the records say.
    pub(super) async fn follow_all(
        self: &Arc<Self>,
        records: &[Versioned<PluginRecord>],
        named: &[(Name, RegistrationId)],
        pinned: &[PluginDigest],
    ) {
        let before = self.service.load_full();
        let mut service = HashMap::with_capacity(records.len());
        for record in records {
            let (name, old) = (&record.value.name, before.get(&record.value.name));
            let shelved = self.shelve(record, named, pinned, old.map(|old| &**old)).await;
            if let Some(error) = &shelved.problem
                && old.is_none_or(|old| old.problem.as_ref() != Some(error))
            {
                let plugin = name;
                tracing::error!(%plugin, %error, "a plugin cannot be put into service");
            }
            if let Some(error) = &shelved.missing
                && old.is_none_or(|old| old.missing.as_ref() != Some(error))
            {
                tracing::error!(plugin = %name, %error, "an older version does not load");
            }
            let digest = |shelved: &Shelved| shelved.active.as_ref().map(|a| a.loaded.digest());
            if let Some(now) = digest(&shelved)
                && old.and_then(|old| digest(old)) != Some(now)
            {
                tracing::info!(plugin = %name, digest = %now, "a plugin is in service");
            }
            service.insert(name.clone(), Arc::new(shelved));
        }
        self.service.store(Arc::new(service));
        self.changed.send_modify(|count| *count += 1);
        let versions = records.iter().flat_map(|record| &record.value.versions);
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
        found: &Versioned<PluginRecord>,
        named: &[(Name, RegistrationId)],
        pinned: &[PluginDigest],
        old: Option<&Shelved>,
    ) -> Shelved {
        let record = &found.value;
        let registrations = self.assigned(record, named);
        if let Some(old) = old
            && old.record.revision == found.revision
            && old.wrong().is_none()
        {
            // As it was, with what it remembers.
            return Shelved {
                record: old.record.clone(),
                registrations,
                problem: None,
                missing: None,
                active: old.active.clone(),
                shown: old.shown.clone(),
                versions: old.versions.clone(),
            };
        }
        let mut problem = None;
        let mut active = None;
        if let Some(digest) = record.active {
            match self.activate(found, digest).await {
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
        let (versions, missing) = match &*record.world {
            "kdf-profile" => self.older(found, pinned, active.as_ref(), old).await,
            _ => (HashMap::new(), None),
        };
        let record = found.clone();
        Shelved { record, registrations, problem, missing, active, shown, versions }
    }

    /// The versions that keys are or may be pinned to, and what is missing of them. What was only
    /// installed is not run.
    async fn older(
        self: &Arc<Self>,
        found: &Versioned<PluginRecord>,
        pinned: &[PluginDigest],
        active: Option<&Active>,
        old: Option<&Shelved>,
    ) -> (HashMap<PluginDigest, Older>, Option<String>) {
        let record = &found.value;
        let (mut versions, mut missing) = (HashMap::new(), None);
        for version in &record.versions {
            let digest = version.digest;
            if !record.was_active(digest) && !pinned.contains(&digest) {
                continue;
            }
            let made = match active.filter(|active| active.loaded.digest() == digest) {
                Some(active) => Ok(active.clone()),
                None => self.activate(found, digest).await,
            };
            match made {
                Ok(Active { running: Running::Kdf(plugin), revision, .. }) => {
                    versions.insert(digest, Older(plugin, revision));
                }
                Ok(_) => {}
                Err(refused) => {
                    let why = format!("version {} ({digest}): {}", version.version, refused.detail);
                    missing.get_or_insert(why);
                    if let Some(kept) = old.and_then(|old| old.versions.get(&digest)) {
                        versions.insert(digest, kept.clone());
                    }
                }
            }
        }
        (versions, missing)
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
        found: &Versioned<PluginRecord>,
        digest: PluginDigest,
    ) -> Result<Active, Refused> {
        let loaded = self.load(&found.value, digest).await?;
        let running = self.try_out(&found.value, &loaded, false).await?;
        Ok(Active { loaded, running, revision: found.revision })
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
        if !found.record.value.enabled {
            return Err(unavailable(&format!("the plugin `{plugin}` is disabled")));
        }
        match &found.active {
            Some(Active { loaded, running: Running::Sink, .. }) => Ok(Arc::clone(loaded)),
            _ => Err(none()),
        }
    }

    fn answering<'a>(shelved: &'a Shelved, plugin: &Name) -> Result<&'a Active, PluginFailure> {
        if !shelved.record.value.enabled {
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
        version: KdfVersion,
    ) -> Result<KdfInService, PluginFailure> {
        let shelved = self.serving(registration, plugin)?;
        let record = &shelved.record.value;
        if !record.enabled {
            return Err(unavailable(&format!("the plugin `{plugin}` is disabled")));
        }
        let (found, revision) = match version {
            KdfVersion::Active => match Self::answering(&shelved, plugin)? {
                Active { running: Running::Kdf(found), revision, .. } => (found, revision),
                _ => {
                    return Err(unavailable(&format!("the plugin `{plugin}` has no KDF profiles")));
                }
            },
            KdfVersion::Named(digest) if !record.was_active(digest) => {
                let text = format!("`{plugin}` has had no version {digest} in service");
                return Err(unavailable(&text));
            }
            KdfVersion::Pinned(digest) | KdfVersion::Named(digest) => {
                let none = || unavailable(&format!("`{plugin}` has no version {digest} installed"));
                let Older(found, revision) = shelved.versions.get(&digest).ok_or_else(none)?;
                (found, revision)
            }
        };
        let profiles: Arc<dyn KdfProfiles> = Arc::<KdfPlugin>::clone(found);
        Ok(KdfInService { profiles, revision: Some(revision.0) })
    }
}
