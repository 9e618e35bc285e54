//! From bytes to a plugin that can be asked: size, manifest, trust, code, settings.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hub_model::api::plugin::PluginLimits;
use hub_model::extend::{FailureKind, FailurePolicy, PluginDigest, PluginFailure};
use hub_model::{Name, Timestamp};
use hub_operations::plugin::{Examined, PluginRecord, Refused};
use hub_plugins::{
    Limits, LimitsWanted, LoadError, Loaded, Manifest, Package, PackageError, Settings, SizeLimits,
    Trust, World,
};

use super::{Catalogue, RECENT, lock};

/// In service or not, a plugin under settings.
#[derive(Clone, Debug)]
pub(super) enum Running {
    Rotation(Arc<hub_plugins::RotationPlugin>),
    Kdf(Arc<hub_plugins::KdfPlugin>),
    /// Sinks get their settings where they are configured.
    Sink,
}

impl Catalogue {
    fn package(&self, file: Arc<[u8]>) -> Result<Package, Refused> {
        let most = usize::try_from(self.config.max_size).unwrap_or(usize::MAX);
        let limits = SizeLimits { file: most, ..SizeLimits::default() };
        Package::parse(file, &limits).map_err(|error| not_taken(&error))
    }

    /// By whom the operator trusts it is signed; nobody where that is allowed.
    fn trusted(&self, package: &Package, now: Timestamp) -> Result<Option<Name>, Refused> {
        let name = &package.manifest().name;
        if let Some(pins) = self.config.of(name).and_then(|said| said.digests.as_ref())
            && !pins.contains(&package.digest())
        {
            let detail = format!(
                "the configuration pins `{name}` to other files (plugins.settings: digests); this \
                 one is {}",
                package.digest()
            );
            return Err(Refused::new("untrusted_plugin", detail));
        }
        match self.trust.verify(package, now) {
            Ok(signer) => Ok(Some(signer.name.clone())),
            Err(_) if self.config.allow_unsigned => Ok(None),
            Err(error) => Err(not_taken(&error)),
        }
    }

    /// Reads, checks and loads a file. Blocks.
    fn examine_now(&self, file: Arc<[u8]>, now: Timestamp) -> Result<Examined, Refused> {
        let package = self.package(Arc::clone(&file))?;
        let (manifest, digest) = (package.manifest(), package.digest());
        // Who is refused is to know which of their files it was.
        let about = |refused: Refused| {
            refused.about(format!("{} {} {digest}", manifest.name, manifest.version))
        };
        let signer = self.trusted(&package, now).map_err(about)?;
        let loaded = self.load_package(&package).map_err(about)?;
        Ok(Examined {
            name: manifest.name.clone(),
            version: manifest.version.to_string().into(),
            world: manifest.world.name(),
            digest,
            signer,
            periods: self.periods(&package, now),
            file,
            loaded,
        })
    }

    /// When this file would be taken with the signatures it has; always where none is needed.
    fn periods(
        &self,
        package: &Package,
        now: Timestamp,
    ) -> Vec<(Option<Timestamp>, Option<Timestamp>)> {
        if self.config.allow_unsigned {
            return vec![(None, None)];
        }
        let signed = |signer: &&hub_plugins::Signer| {
            let then = signer.not_before.or(signer.not_after).unwrap_or(now);
            let alone = Trust { signers: vec![(*signer).clone()] };
            alone.verify(package, then).is_ok()
        };
        let signers = self.trust.signers.iter().filter(signed);
        signers.map(|signer| (signer.not_before, signer.not_after)).collect()
    }

    /// A file with the signatures that it was kept with before, as far as there is room: those that
    /// its record was made by must go on counting, whatever comes in by whom. Blocks.
    pub(super) fn with_signatures(&self, digest: PluginDigest, file: Arc<[u8]>) -> Arc<[u8]> {
        let Ok(kept) = self.files.read(&digest, self.config.max_size) else { return file };
        if kept == file {
            return file;
        }
        let (Ok(kept), Ok(new)) = (self.package(kept), self.package(Arc::clone(&file))) else {
            return file;
        };
        if kept.digest() != digest || new.digest() != digest {
            return file;
        }
        let both: Arc<[u8]> = new.with_signatures_of(&kept).into();
        // Too large, or too many signatures: what came in is good by itself.
        if self.package(Arc::clone(&both)).is_ok() { both } else { file }
    }

    fn load_package(&self, package: &Package) -> Result<Arc<Loaded>, Refused> {
        if let Some(loaded) = self.known(&package.digest()) {
            return Ok(loaded);
        }
        let engine = self.engine().map_err(|why| Refused::new("unavailable", why))?;
        let loaded = engine.load(package).map_err(|error| match error {
            LoadError::TooLarge { .. } => Refused::new("body_too_large", error.to_string()),
            _ => Refused::new("invalid_plugin", error.to_string()),
        })?;
        let mut all = lock(&self.loaded);
        all.retain(|_, loaded| loaded.strong_count() > 0);
        all.insert(package.digest(), Arc::downgrade(&loaded));
        let mut recent = lock(&self.recent);
        recent.push_front(Arc::clone(&loaded));
        recent.truncate(RECENT);
        Ok(loaded)
    }

    /// What is loaded already.
    pub(super) fn known(&self, digest: &PluginDigest) -> Option<Arc<Loaded>> {
        lock(&self.loaded).get(digest).and_then(std::sync::Weak::upgrade)
    }

    /// An installed version: its file is hashed and its signer looked at again, each time it is
    /// loaded. Blocks.
    fn load_installed(
        &self,
        record: &PluginRecord,
        digest: PluginDigest,
    ) -> Result<Arc<Loaded>, Refused> {
        let missing = || Refused::new("invalid_plugin", "this version is not installed");
        let installed = record.installed(digest).ok_or_else(missing)?;
        if let Some(loaded) = self.known(&digest) {
            return Ok(loaded);
        }
        let file = self.files.read(&digest, self.config.max_size).map_err(|error| {
            tracing::error!(%digest, %error, "the file of a plugin cannot be read");
            Refused::new("invalid_plugin", format!("its file cannot be read: {}", error.kind()))
        })?;
        let package = self.package(file)?;
        if package.digest() != digest || package.manifest().name != record.name {
            let detail = "its file is not what was installed: install it again";
            return Err(Refused::new("invalid_plugin", detail));
        }
        self.trusted(&package, installed.installed)?;
        self.load_package(&package)
    }

    /// An installed version, loaded where blocking is allowed.
    pub(super) async fn load(
        self: &Arc<Self>,
        record: &PluginRecord,
        digest: PluginDigest,
    ) -> Result<Arc<Loaded>, Refused> {
        if let Some(loaded) = self.known(&digest) {
            return Ok(loaded);
        }
        let (own, record) = (Arc::clone(self), record.clone());
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let loading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            own.load_installed(&record, digest)
        });
        loading.await.map_err(|_| Refused::new("internal", "loading was broken off"))?
    }

    pub(super) fn examine_file(
        self: &Arc<Self>,
        file: Arc<[u8]>,
        now: Timestamp,
    ) -> BoxFuture<'static, Result<Examined, Refused>> {
        let own = Arc::clone(self);
        Box::pin(async move {
            let turn = Arc::clone(&own.turn).lock_owned().await;
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                own.examine_now(file, now)
            });
            work.await.map_err(|_| Refused::new("internal", "loading was broken off"))?
        })
    }

    /// What holds for a plugin: the configuration first, then what was set over the API, then its
    /// manifest; never more than the ceilings.
    pub(super) fn settings(
        &self,
        record: &PluginRecord,
        manifest: &Manifest,
    ) -> Result<Settings, Refused> {
        let said = self.config.of(&record.name);
        let mut config = record.config.clone();
        for (name, value) in said.iter().flat_map(|said| &said.config) {
            config.insert(name.clone(), value.clone());
        }
        let failure = self.on_failure(record, manifest);
        let wanted = said.and_then(|said| said.failure).or(record.failure);
        if wanted.is_some_and(|wanted| wanted != failure) {
            let plugin = &record.name;
            tracing::warn!(%plugin, "`fall-back` is not for KDF profiles, and is passed over");
        }
        if manifest.world == World::KdfProfile && failure == FailurePolicy::FallBack {
            let detail = "another key is no answer, so `fall-back` is not for KDF profiles";
            return Err(Refused::new("invalid_argument", detail).at("/failure"));
        }
        let config = if manifest.world == World::AuditSink {
            config
        } else {
            manifest.config.check_each(&config).map_err(|error| {
                let name = error.setting.replace('~', "~0").replace('/', "~1");
                let detail = error.to_string();
                Refused::new("invalid_argument", detail).at(format!("/config/{name}"))
            })?
        };
        let limits = self.limits(record, manifest);
        Ok(Settings { name: record.name.clone(), config, limits, failure })
    }

    /// The failure policy that holds for a plugin. One that its world has not is passed over: what
    /// derives keys must not stop for a word in the configuration that would mean nothing.
    pub(super) fn on_failure(&self, record: &PluginRecord, manifest: &Manifest) -> FailurePolicy {
        let kdf = manifest.world == World::KdfProfile;
        let fits = |policy: &FailurePolicy| !kdf || *policy != FailurePolicy::FallBack;
        let said = self.config.of(&record.name).and_then(|said| said.failure).filter(fits);
        said.or(record.failure.filter(fits)).unwrap_or(manifest.failure)
    }

    /// Limits that hold for a plugin.
    pub(super) fn limits(&self, record: &PluginRecord, manifest: &Manifest) -> Limits {
        let said = self.config.of(&record.name).map(|said| said.limits.wanted());
        let (said, set) = (said.unwrap_or_default(), wanted(record.limits.as_ref()));
        let own = manifest.limits;
        self.config.limits().for_wanted(&LimitsWanted {
            memory: said.memory.or(set.memory).or(own.memory),
            time: said.time.or(set.time).or(own.time),
            fuel: said.fuel.or(set.fuel).or(own.fuel),
            host_calls: said.host_calls.or(set.host_calls).or(own.host_calls),
        })
    }

    /// Runs a version under its settings: makes what can be asked, and asks whether it is well.
    pub(super) async fn try_out(
        &self,
        record: &PluginRecord,
        loaded: &Arc<Loaded>,
        check: bool,
    ) -> Result<Running, Refused> {
        let settings = self.settings(record, loaded.manifest())?;
        match loaded.manifest().world {
            World::RotationSchedule => {
                let plugin = loaded.rotation(settings);
                if check {
                    plugin.check_settings().await.map_err(|why| unwell(record, &why))?;
                }
                Ok(Running::Rotation(plugin))
            }
            World::KdfProfile => {
                let plugin = loaded.kdf(settings).await.map_err(|why| unwell(record, &why))?;
                if check {
                    plugin.check_settings().await.map_err(|why| unwell(record, &why))?;
                }
                Ok(Running::Kdf(plugin))
            }
            // Settings and endpoints are those of each sink, which checks before it takes it.
            World::AuditSink => Ok(Running::Sink),
        }
    }
}

fn wanted(limits: Option<&PluginLimits>) -> LimitsWanted {
    let limits = limits.copied().unwrap_or_default();
    LimitsWanted {
        memory: limits.memory_bytes,
        time: limits.time_micros.map(std::time::Duration::from_micros),
        fuel: limits.fuel,
        host_calls: limits.host_calls,
    }
}

fn not_taken(error: &PackageError) -> Refused {
    let code = match error {
        PackageError::TooLarge(_) => "body_too_large",
        PackageError::Unsigned
        | PackageError::Untrusted
        | PackageError::BadSignature(_)
        | PackageError::OutOfPeriod(_) => "untrusted_plugin",
        _ => "invalid_plugin",
    };
    let hint = match error {
        PackageError::Unsigned | PackageError::Untrusted => {
            "; sign it with `cipher-hub plugin sign`, and name the signer in `plugins.signers`"
        }
        _ => "",
    };
    Refused::new(code, format!("{error}{hint}"))
}

/// What a plugin says of its settings is for who gave them; everything else is for the log.
fn unwell(record: &PluginRecord, failure: &PluginFailure) -> Refused {
    if failure.kind == FailureKind::Refused {
        return Refused::new("invalid_argument", failure.text.to_string()).at("/config");
    }
    tracing::warn!(plugin = %record.name, %failure, "a plugin does not pass its check");
    let detail =
        format!("its check failed ({}); the log of the hub says more", failure.kind.name());
    Refused::new("plugin_check_failed", detail)
}
