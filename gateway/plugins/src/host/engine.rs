//! The engine: one for the process, with the memory that all plugins share out.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hub_model::extend::PluginDigest;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
};
use zeroize::Zeroizing;

use super::aside::Aside;
use super::cache::Cache;
use super::lane::Lanes;
use super::limits::{Limits, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use super::places::Places;
use super::ticker::Ticker;

/// Where compiled plugins are kept.
#[derive(Clone)]
pub struct CacheConfig {
    /// A folder of its own; made where it is missing.
    pub folder: PathBuf,
    /// Seals the files: only a hub that has it can write one that is used. Kept by the hub as its
    /// other secrets are.
    pub key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheConfig").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where compiled plugins are kept. None: every load compiles.
    pub cache: Option<CacheConfig>,
    /// Questions of registrations at once, over all plugins. A single plugin gets at most three
    /// quarters of them, a registration a quarter and one. Audit sinks have as many places of their
    /// own, and what operators have checked has two.
    pub concurrency: usize,
    /// No plugin gets more.
    pub ceilings: Limits,
    /// Bytes of a component.
    pub max_component: usize,
    /// How often the clock of the guests ticks.
    pub tick: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cache: None,
            concurrency: 16,
            ceilings: Limits::default(),
            max_component: 64 << 20,
            tick: Duration::from_millis(1),
        }
    }
}

/// The host cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Wasmtime refuses: mostly for want of address space.
    #[error(
        "the host of plugins cannot be set up: {0} (is address space limited, by RLIMIT_AS or \
         vm.overcommit_memory=2? Each call at once reserves gibibytes: lower `plugins.concurrency`)"
    )]
    Engine(String),
    /// The thread that counts time.
    #[error("the clock of plugins cannot be started: {0}")]
    Clock(std::io::Error),
    /// The folder of compiled plugins.
    #[error("`{folder}` cannot hold compiled plugins: {error}")]
    Cache {
        /// Which.
        folder: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Compiles, keeps and runs plugins.
pub struct Engine {
    pub(super) wasm: wasmtime::Engine,
    pub(super) ticker: Ticker,
    pub(super) aside: Aside,
    pub(super) lanes: Lanes,
    pub(super) places: Places,
    pub(super) cache: Option<Cache>,
    pub(super) ceilings: Limits,
    pub(super) max_component: usize,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("free", &self.places.free())
            .field("ceilings", &self.ceilings)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine. Reserves address space, not memory: some gibibytes for each call at once.
    ///
    /// # Errors
    /// Where the machine does not allow it.
    pub fn new(config: EngineConfig) -> Result<Arc<Self>, HostError> {
        let concurrency = config.concurrency.clamp(1, 256);
        // Kernels before 6.7 cannot say which pages a guest wrote, and are asked nothing then.
        let at_once = Places::total(concurrency);
        let engine = |wiped| wasmtime::Engine::new(&wasm_config(at_once, &config.ceilings, wiped));
        let wasm = engine(Wiped::Written)
            .or_else(|_| engine(Wiped::FirstPages))
            .map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(wasm.clone(), config.tick).map_err(HostError::Clock)?;
        let cache = match config.cache {
            Some(CacheConfig { folder, key }) => Some(
                Cache::open(folder.clone(), &key, &wasm)
                    .map_err(|error| HostError::Cache { folder, error })?,
            ),
            None => None,
        };
        let aside = Aside::new();
        Ok(Arc::new(Self {
            wasm,
            ticker,
            lanes: Lanes::new(aside.size()),
            aside,
            places: Places::new(concurrency),
            cache,
            ceilings: config.ceilings,
            max_component: config.max_component,
        }))
    }

    /// No plugin gets more than these.
    #[must_use]
    pub const fn ceilings(&self) -> &Limits {
        &self.ceilings
    }

    /// Removes what is kept compiled of plugins that nothing needs: those of tries, and of checks
    /// that failed.
    pub fn retain(&self, needed: impl Fn(&PluginDigest) -> bool) {
        if let Some(cache) = &self.cache {
            cache.retain(needed);
        }
    }

    /// Removes what is kept compiled of a plugin: after it was uninstalled.
    pub fn forget(&self, digest: &PluginDigest) {
        if let Some(cache) = &self.cache {
            cache.forget(digest);
        }
    }
}

/// Which pages of a memory are wiped between two calls, rather than given back to the system and
/// fetched again at a fault each: that is what makes an instance cheap.
#[derive(Clone, Copy)]
enum Wiped {
    /// Those that were written to.
    Written,
    /// The first ones, written to or not.
    FirstPages,
}

/// Cranelift, and of WebAssembly what the tools of all languages make: nothing that shares memory
/// between threads, nothing whose outcome depends on the processor.
fn wasm_config(at_once: usize, ceilings: &Limits, wiped: Wiped) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .wasm_component_model(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        // Tells an error in the guest from one in its answer, and names the function.
        .wasm_backtrace_max_frames(std::num::NonZero::new(16))
        .consume_fuel(true)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(at_once, ceilings, wiped)));
    config
}

fn pool(at_once: usize, ceilings: &Limits, wiped: Wiped) -> PoolingAllocationConfig {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let elements = usize::try_from(ceilings.table_elements).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    // For every call at once as much as a component may have: no plugin can take another's.
    pool.total_component_instances(count(at_once * MAX_INSTANCES))
        .total_core_instances(count(at_once * MAX_INSTANCES))
        .total_memories(count(at_once * MAX_MEMORIES))
        .total_tables(count(at_once * MAX_TABLES))
        .total_stacks(count(at_once))
        .max_core_instances_per_component(count(MAX_INSTANCES))
        .max_memories_per_component(count(MAX_MEMORIES))
        .max_tables_per_component(count(MAX_TABLES))
        .max_memories_per_module(count(MAX_MEMORIES))
        .max_tables_per_module(count(MAX_TABLES))
        .max_memory_size(ceilings.memory_slot())
        .table_elements(elements.clamp(1, 1 << 20))
        .max_unused_warm_slots(count(at_once))
        .table_keep_resident(16 * 1024);
    match wiped {
        Wiped::Written => pool.linear_memory_keep_resident(512 * 1024).pagemap_scan(Enabled::Yes),
        Wiped::FirstPages => pool.linear_memory_keep_resident(128 * 1024).pagemap_scan(Enabled::No),
    };
    pool
}
