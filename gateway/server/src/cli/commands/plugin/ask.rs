//! Asking a plugin what a case asks, in the real host.

use std::sync::Arc;
use std::time::Duration;

use hub_crypto::kdf::plan::CheckedPlan;
use hub_model::extend::{KdfPlan, PluginFailure};
use hub_plugins::{
    Called, Engine, EngineConfig, Limits, Loaded, LogLevel, Package, Settings, World,
};
use serde_json::Value;

use super::super::super::failure::{Code, Failure};
use super::answer::Answer;
use super::case::{Call, Case};
use super::script::Script;
use super::{question, sink};

/// What a call was answered, and what it cost.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) outcome: Result<Answer, PluginFailure>,
    pub(super) fuel: u64,
    pub(super) memory: u64,
    pub(super) elapsed: Duration,
    pub(super) host_calls: u32,
    pub(super) log: Vec<(LogLevel, String)>,
    /// Requests that a sink sent.
    pub(super) sent: Vec<Value>,
}

impl Asked {
    fn of<T>(called: Called<T>, answer: impl FnOnce(T) -> Answer) -> Self {
        Self {
            outcome: called.value.map(answer),
            fuel: called.fuel,
            memory: called.memory,
            elapsed: called.elapsed,
            host_calls: called.host_calls,
            log: called.log,
            sent: Vec::new(),
        }
    }

    /// A plugin that fails before it can be asked.
    fn failed(failure: PluginFailure) -> Self {
        Self {
            outcome: Err(failure),
            fuel: 0,
            memory: 0,
            elapsed: Duration::ZERO,
            host_calls: 0,
            log: Vec::new(),
            sent: Vec::new(),
        }
    }
}

/// An engine as a hub with the usual settings has it.
pub(super) fn engine() -> Result<Arc<Engine>, Failure> {
    engine_of(EngineConfig { concurrency: 4, ..EngineConfig::default() })
}

/// An engine.
pub(super) fn engine_of(config: EngineConfig) -> Result<Arc<Engine>, Failure> {
    Engine::new(config).map_err(|error| {
        let hint = "plugins need some gibibytes of address space: see `ulimit -v`";
        Failure::new(Code::Failed, error.to_string(), hint)
    })
}

/// A plugin in the host.
#[derive(Debug)]
pub(super) struct Host {
    loaded: Arc<Loaded>,
}

impl Host {
    /// Loads a plugin.
    pub(super) fn load(package: &Package) -> Result<Self, Failure> {
        Self::load_into(&engine()?, package)
    }

    /// Loads a plugin into this engine.
    pub(super) fn load_into(engine: &Arc<Engine>, package: &Package) -> Result<Self, Failure> {
        let loaded = engine.load(package).map_err(|error| {
            let hint = "`cipher-hub plugin check` says what would mend it";
            Failure::new(Code::InvalidConfig, error.to_string(), hint)
        })?;
        Ok(Self { loaded })
    }

    /// Asks what the case asks, in a fresh instance. The message says what is wrong with the case.
    pub(super) async fn ask(&self, case: &Case) -> Result<Asked, String> {
        let settings = self.settings(case)?;
        match self.loaded.manifest().world {
            World::RotationSchedule => self.ask_rotation(case, settings).await,
            World::KdfProfile => self.ask_kdf(case, settings).await,
            World::AuditSink => self.ask_sink(case, settings).await,
        }
    }

    /// The settings of a case, within the limits it says.
    fn settings(&self, case: &Case) -> Result<Settings, String> {
        let given = case.settings()?;
        let settings = Settings::of(self.loaded.manifest(), &given, &Limits::default())
            .map_err(|message| format!("`config`: {message}"))?;
        let limits = case.limits.within(&settings.limits)?;
        Ok(Settings { limits, ..settings })
    }
}
