//! Loading: compiles a package's component, or takes it compiled from the cache, and checks that it
//! is of the world its manifest names and imports nothing that is not granted.

use std::fmt;
use std::sync::Arc;

use hub_model::Name;
use hub_model::extend::{FailurePolicy, Parameters, PluginDigest, PluginFailure};
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::aside::Paces;
use super::bindings::{config, kdf, log, outbound, rotation, sink, types};
use super::call::Caller;
use super::checks::{
    LoadError, check_exports, check_imports, check_needs, check_types, short, unfit, wrong_types,
};
use super::engine::Engine;
use super::errors::Stop;
use super::guest::Guest;
use super::inspect::Inspected;
use super::limits::Limits;
use super::outbound::{Nowhere, Outbound};
use super::places::OfPlugin;
use super::scan::scan;
use super::stats::{Counters, Stats};
use super::worlds::{KdfPlugin, RotationPlugin, SinkPlugin};
use crate::{Capability, Manifest, Package, World};

/// How a plugin is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name it goes by in the log.
    pub name: Name,
    /// The operator's settings, checked against the manifest, with defaults filled in.
    pub config: Parameters,
    /// What a call may use; never more than the engine's ceilings.
    pub limits: Limits,
    /// What is done when it gives no answer.
    pub failure: FailurePolicy,
}

impl Settings {
    /// Settings as the manifest has them: these values, its limits within the ceilings, its word on
    /// failures.
    ///
    /// # Errors
    /// A sentence that names the setting which the manifest's schema does not allow.
    pub fn of(manifest: &Manifest, given: &Parameters, ceilings: &Limits) -> Result<Self, String> {
        Ok(Self {
            name: manifest.name.clone(),
            config: manifest.config.check(given)?,
            limits: ceilings.for_wanted(&manifest.limits),
            failure: manifest.failure,
        })
    }
}

pub(super) enum Code {
    Rotation(rotation::RotationSchedulePre<Guest>),
    Kdf(kdf::KdfProfilePre<Guest>),
    Sink(sink::AuditSinkPre<Guest>),
}

impl Code {
    pub(super) fn rotation(&self) -> Result<&rotation::RotationSchedulePre<Guest>, Stop> {
        if let Self::Rotation(code) = self { Ok(code) } else { Err(Stop::WrongWorld) }
    }

    pub(super) fn kdf(&self) -> Result<&kdf::KdfProfilePre<Guest>, Stop> {
        if let Self::Kdf(code) = self { Ok(code) } else { Err(Stop::WrongWorld) }
    }

    pub(super) fn sink(&self) -> Result<&sink::AuditSinkPre<Guest>, Stop> {
        if let Self::Sink(code) = self { Ok(code) } else { Err(Stop::WrongWorld) }
    }
}

/// A plugin that is compiled and checked, ready for any number of calls.
pub struct Loaded {
    pub(super) engine: Arc<Engine>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) code: Code,
    pub(super) counters: Counters,
    pub(super) paces: Paces,
    /// Shared with its other versions.
    pub(super) plugin: Arc<OfPlugin>,
    digest: PluginDigest,
    inspected: Inspected,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("name", &self.manifest.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads a plugin: compiles it, or takes what was compiled before. Nothing of it runs. Compiling
    /// takes its time, some milliseconds up to seconds for megabytes: call it where blocking is
    /// allowed. Whether the package is trusted is the caller's question, to be asked before.
    ///
    /// # Errors
    /// What is wrong with it, in words for its author.
    pub fn load(self: &Arc<Self>, package: &Package) -> Result<Arc<Loaded>, LoadError> {
        let manifest = Arc::clone(package.manifest());
        let component = self.component(package)?;
        let size = package.component_bytes().len();
        let inspected = Inspected::of(&self.wasm, &component, size);
        check_imports(&inspected, &manifest)?;
        check_exports(&inspected, manifest.world)?;
        check_needs(&inspected, &self.ceilings)?;
        let pre = self.link(&component, &manifest)?;
        check_types(&pre, manifest.world)?;
        let code = code(pre, manifest.world).map_err(wrong_types)?;
        let plugin = self.places.of_plugin(&manifest.name);
        Ok(Arc::new(Loaded {
            engine: Arc::clone(self),
            manifest,
            code,
            counters: Counters::default(),
            paces: Paces::default(),
            plugin,
            digest: package.digest(),
            inspected,
        }))
    }

    /// What a component is, whatever world it is of. Compiles it; nothing of it runs.
    ///
    /// # Errors
    /// [`LoadError::TooLarge`] and [`LoadError::Invalid`].
    pub fn inspect(&self, package: &Package) -> Result<Inspected, LoadError> {
        let component = self.component(package)?;
        Ok(Inspected::of(&self.wasm, &component, package.component_bytes().len()))
    }

    fn component(&self, package: &Package) -> Result<Component, LoadError> {
        let (bytes, digest) = (package.component_bytes(), package.digest());
        if bytes.len() > self.max_component {
            return Err(LoadError::TooLarge { size: bytes.len(), most: self.max_component });
        }
        if let Some(component) = self.cache.as_ref().and_then(|c| c.load(&digest, &self.wasm)) {
            return Ok(component);
        }
        scan(bytes)?;
        let component =
            Component::from_binary(&self.wasm, bytes).map_err(|error| unfit(short(&error)))?;
        if let Some(cache) = &self.cache {
            cache.keep(&digest, &component);
        }
        Ok(component)
    }

    /// Links what is granted, and nothing else.
    fn link(
        &self,
        component: &Component,
        manifest: &Manifest,
    ) -> Result<InstancePre<Guest>, LoadError> {
        let mut linker: Linker<Guest> = Linker::new(&self.wasm);
        let link = |linker: &mut Linker<Guest>| -> wasmtime::Result<()> {
            types::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
            for capability in &manifest.capabilities {
                match capability {
                    Capability::Log => {
                        log::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
                    }
                    Capability::Config => {
                        config::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
                    }
                    Capability::Outbound if manifest.world == World::AuditSink => {
                        outbound::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
                    }
                    Capability::Outbound => {}
                }
            }
            Ok(())
        };
        link(&mut linker).map_err(wrong_types)?;
        linker.instantiate_pre(component).map_err(wrong_types)
    }
}

fn code(pre: InstancePre<Guest>, world: World) -> wasmtime::Result<Code> {
    Ok(match world {
        World::RotationSchedule => Code::Rotation(rotation::RotationSchedulePre::new(pre)?),
        World::KdfProfile => Code::Kdf(kdf::KdfProfilePre::new(pre)?),
        World::AuditSink => Code::Sink(sink::AuditSinkPre::new(pre)?),
    })
}

impl Loaded {
    /// Which code this is.
    #[must_use]
    pub const fn digest(&self) -> PluginDigest {
        self.digest
    }

    /// What its manifest says.
    #[must_use]
    pub const fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// What it is, without running it.
    #[must_use]
    pub const fn inspected(&self) -> &Inspected {
        &self.inspected
    }

    /// What it has cost since it was loaded, under all settings.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// As a rotation schedule under these settings. Every call of a plugin of another world fails.
    #[must_use]
    pub fn rotation(self: &Arc<Self>, settings: Settings) -> Arc<RotationPlugin> {
        let caller = Caller::new(Arc::clone(self), settings, Arc::new(Nowhere));
        Arc::new(RotationPlugin::new(caller))
    }

    /// As KDF profiles under these settings: asks it, twice, which it offers.
    ///
    /// # Errors
    /// Where it gives no answer, or two, or one that makes no sense.
    pub async fn kdf(
        self: &Arc<Self>,
        settings: Settings,
    ) -> Result<Arc<KdfPlugin>, PluginFailure> {
        let caller = Caller::new(Arc::clone(self), settings, Arc::new(Nowhere));
        KdfPlugin::new(caller).await.map(Arc::new)
    }

    /// As an audit sink under these settings, with these endpoints.
    #[must_use]
    pub fn sink(
        self: &Arc<Self>,
        settings: Settings,
        outbound: Arc<dyn Outbound>,
    ) -> Arc<SinkPlugin> {
        Arc::new(SinkPlugin::new(Caller::new(Arc::clone(self), settings, outbound)))
    }
}
