//! Asking a plugin what a case asks, in the real host.

use std::sync::Arc;
use std::time::Duration;

use hub_crypto::kdf::plan::CheckedPlan;
use hub_model::extend::{FailureKind, KdfPlan, KdfProfiles as _, PluginFailure};
use hub_plugins::{
    Called, Delivery, Engine, EngineConfig, KdfPlugin, Limits, Loaded, LogLevel, Package,
    PolicyFacts, RotationPlugin, RotationRequest, Settings, SinkBatch, SinkPlugin, World,
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
    fn of<T>(called: Called<T>, answer: impl FnOnce(T) -> Result<Answer, PluginFailure>) -> Self {
        Self {
            outcome: called.value.and_then(answer),
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
        Self::untold(Err(failure))
    }

    /// A call whose cost nobody says.
    fn untold(outcome: Result<(), PluginFailure>) -> Self {
        Self {
            outcome: outcome.map(|()| Answer::Fine),
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
    /// What a call gets in place of what the manifest says.
    time: Option<Duration>,
}

impl Host {
    /// Loads a plugin.
    pub(super) fn load(package: &Package) -> Result<Self, Failure> {
        Self::load_into(&engine()?, package)
    }

    /// Loads a plugin whose calls get this much time, whatever its manifest says.
    pub(super) fn load_with_time(
        package: &Package,
        time: Option<Duration>,
    ) -> Result<Self, Failure> {
        let Some(most) = time else { return Self::load(package) };
        let ceilings = Limits { time: most, ..Limits::default() };
        let config = EngineConfig { concurrency: 4, ceilings, ..EngineConfig::default() };
        Ok(Self { time, ..Self::load_into(&engine_of(config)?, package)? })
    }

    /// Loads a plugin into this engine.
    pub(super) fn load_into(engine: &Arc<Engine>, package: &Package) -> Result<Self, Failure> {
        let loaded = engine.load(package).map_err(|error| {
            let hint = "`cipher-hub plugin check` says what would mend it";
            Failure::new(Code::InvalidConfig, error.to_string(), hint)
        })?;
        Ok(Self { loaded, time: None })
    }

    /// Asks what the case asks, in a fresh instance. The message says what is wrong with the case.
    pub(super) async fn ask(&self, case: &Case) -> Result<Asked, String> {
        match self.prepare(case, false).await? {
            Ok(prepared) => Ok(prepared.ask().await),
            Err(failure) => Ok(Asked::failed(failure)),
        }
    }

    /// A case made ready to be asked any number of times. The outer error says what is wrong with
    /// the case, the inner one is a plugin that cannot be asked.
    pub(super) async fn prepare(
        &self,
        case: &Case,
        repeat: bool,
    ) -> Result<Result<Prepared, PluginFailure>, String> {
        let settings = self.settings(case)?;
        let call = case.call();
        Ok(Ok(match self.loaded.manifest().world {
            World::RotationSchedule => {
                let plugin = self.loaded.rotation(settings);
                match call {
                    Call::Decide => {
                        Prepared::Decide(plugin, Box::new(question::rotation(&case.request)?))
                    }
                    Call::CheckPolicy => {
                        Prepared::CheckPolicy(plugin, question::policy(&case.request)?)
                    }
                    _ => Prepared::CheckRotation(plugin),
                }
            }
            World::KdfProfile => {
                let asked = match call {
                    Call::Plan => Some(question::kdf(&case.request)?),
                    _ => None,
                };
                let plugin = match self.loaded.kdf(settings).await {
                    Ok(plugin) => plugin,
                    Err(failure) => return Ok(Err(failure)),
                };
                match asked {
                    Some(asked) => {
                        let root = case.root.as_ref().map(|root| root.0.clone());
                        Prepared::Plan(plugin, Box::new(asked), root)
                    }
                    None if call == Call::Profiles => Prepared::Profiles(plugin),
                    None => Prepared::CheckKdf(plugin),
                }
            }
            World::AuditSink => {
                let script = Arc::new(Script::read(&case.responses, repeat)?);
                let plugin = self.loaded.sink(settings, script.clone());
                match call {
                    Call::Deliver => Prepared::Deliver(plugin, sink::batch(&case.request)?, script),
                    Call::Probe => Prepared::Probe(plugin, script),
                    _ => Prepared::CheckSink(plugin, script),
                }
            }
        }))
    }

    /// The settings of a case, within the limits it says.
    fn settings(&self, case: &Case) -> Result<Settings, String> {
        let given = case.settings()?;
        let mut settings = Settings::of(self.loaded.manifest(), &given, &Limits::default())
            .map_err(|message| format!("`config`: {message}"))?;
        settings.limits.time = self.time.unwrap_or(settings.limits.time);
        let limits = case.limits.within(&settings.limits)?;
        Ok(Settings { limits, ..settings })
    }
}

/// A question that can be asked any number of times.
#[derive(Debug)]
pub(super) enum Prepared {
    Decide(Arc<RotationPlugin>, Box<RotationRequest>),
    CheckPolicy(Arc<RotationPlugin>, PolicyFacts),
    CheckRotation(Arc<RotationPlugin>),
    Plan(Arc<KdfPlugin>, Box<question::Kdf>, Option<Vec<u8>>),
    Profiles(Arc<KdfPlugin>),
    CheckKdf(Arc<KdfPlugin>),
    Deliver(Arc<SinkPlugin>, SinkBatch, Arc<Script>),
    Probe(Arc<SinkPlugin>, Arc<Script>),
    CheckSink(Arc<SinkPlugin>, Arc<Script>),
}

impl Prepared {
    /// Asks, in a fresh instance.
    pub(super) async fn ask(&self) -> Asked {
        match self {
            Self::Decide(plugin, request) => {
                Asked::of(plugin.decide_traced(request).await, |answer| {
                    Ok(Answer::Rotation(answer))
                })
            }
            Self::CheckPolicy(plugin, policy) => {
                Asked::of(plugin.check_policy_traced(policy).await, |()| Ok(Answer::Fine))
            }
            Self::CheckRotation(plugin) => Asked::untold(plugin.check_settings().await),
            Self::Plan(plugin, asked, root) => {
                let (profile, context) = (asked.profile.as_str(), &asked.context);
                let called = plugin.plan_traced(profile, context).await;
                Asked::of(called, |plan| {
                    let output = derive(&plan, root.as_deref(), context.length)?;
                    Ok(Answer::Plan(plan, output))
                })
            }
            Self::Profiles(plugin) => Asked {
                outcome: Ok(Answer::Profiles(plugin.profiles().to_vec())),
                ..Asked::untold(Ok(()))
            },
            Self::CheckKdf(plugin) => Asked::untold(plugin.check_settings().await),
            Self::Deliver(plugin, batch, script) => {
                let called = plugin.deliver_traced(batch.clone()).await;
                let asked = Asked::of(called, |delivery| {
                    Ok(match delivery {
                        Delivery::Acknowledged(cursor) => Answer::Acknowledged(cursor),
                        Delivery::RetryAfter(after) => Answer::RetryAfter(after),
                        Delivery::Rejected(why) => Answer::Rejected(why.into()),
                    })
                });
                Asked { sent: script.sent(), ..asked }
            }
            Self::Probe(plugin, script) => {
                let asked = Asked::of(plugin.probe_traced().await, |()| Ok(Answer::Fine));
                Asked { sent: script.sent(), ..asked }
            }
            Self::CheckSink(plugin, script) => {
                Asked { sent: script.sent(), ..Asked::untold(plugin.check_settings().await) }
            }
        }
    }
}

/// What the plan makes of a root key, where a case gives one. A plan that a hub would not carry out
/// is none.
fn derive(
    plan: &KdfPlan,
    root: Option<&[u8]>,
    length: u32,
) -> Result<Option<Vec<u8>>, PluginFailure> {
    let refused = |text: String| PluginFailure::new(FailureKind::Nonsense, &text);
    let Some(root) = root else {
        return check_plan(plan, length).map_err(refused).map(|()| None);
    };
    let secret = hub_crypto::Secret::copy_from(root)
        .map_err(|error| refused(format!("the root key of the case: {error}")))?;
    let checked = checked(plan, root.len(), length).map_err(refused)?;
    let output = checked.run(&secret).map_err(|error| refused(error.to_string()))?;
    Ok(Some(output.expose_secret().to_vec()))
}

/// Whether a hub carries out a plan. The message names the step at fault.
pub(super) fn check_plan(plan: &KdfPlan, length: u32) -> Result<(), String> {
    checked(plan, ROOT, length).map(|_| ())
}

/// Bytes of a root key where none is said.
const ROOT: usize = 32;

fn checked(plan: &KdfPlan, root: usize, length: u32) -> Result<CheckedPlan, String> {
    let wanted = usize::try_from(length).unwrap_or(usize::MAX);
    CheckedPlan::check(Arc::new(plan.clone()), root, wanted)
        .map_err(|error| format!("no hub carries out this plan: {error}"))
}
