//! What a plugin costs: `cargo run --release -p hub-plugins --example bench [-- plugins/out/*.wasm]`.
//! Without files: plugins of a few instructions, so that what is shown is the host's own cost.
//! Instances included: every call has one of its own.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "an example")]
#![allow(clippy::indexing_slicing, clippy::disallowed_methods, reason = "an example")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an example")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Guest, kdf_context, manifest, rotation_request};
use hub_model::extend::Parameters;
use hub_plugins::{
    CacheConfig, Engine, EngineConfig, KdfContext, Limits, Loaded, Outbound, OutboundRequest,
    OutboundResponse, Package, Schema, Sending, SettingKind, Settings, SinkBatch, SizeLimits,
    World,
};

#[derive(Debug)]
struct Accepting;

impl Outbound for Accepting {
    fn send<'a>(&'a self, _: &'a str, _: OutboundRequest, _: Duration) -> Sending<'a> {
        Box::pin(async {
            Ok(OutboundResponse { status: 200, headers: Vec::new(), body: Vec::new() })
        })
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // On a worker, as in the hub: its tasks are polled where they are.
    runtime.block_on(async { tokio::spawn(run()).await.unwrap() });
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let config = || EngineConfig {
        cache: Some(CacheConfig { folder: folder.path().to_owned(), key: [1; 32].into() }),
        ceilings: Limits { time: Duration::from_secs(5), ..Limits::default() },
        ..EngineConfig::default()
    };
    let engine = Engine::new(config()).unwrap();
    let packages = packages();
    for package in &packages {
        let begun = Instant::now();
        engine.load(package).unwrap();
        let compiled = begun.elapsed();
        let mut loads: Vec<Duration> = (0..20)
            .map(|_| {
                let begun = Instant::now();
                engine.load(package).unwrap();
                begun.elapsed()
            })
            .collect();
        loads.sort();
        let name = package.manifest().name.as_str();
        println!("{name}: compile {compiled:?}, load precompiled {:?} (median of 20)", loads[10]);
    }
    for package in &packages {
        measure(&engine.load(package).unwrap()).await;
    }
    stop_time(&engine).await;
    drop(engine);
    resident(&packages, config());
}

fn packages() -> Vec<Package> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        return [World::RotationSchedule, World::KdfProfile, World::AuditSink]
            .map(|world| {
                let guest =
                    if world == World::KdfProfile { three_steps() } else { Guest::of(world) };
                guest.package(world)
            })
            .into();
    }
    let read = |file: &String| {
        Package::parse(std::fs::read(file).unwrap(), &SizeLimits::default()).unwrap()
    };
    files.iter().map(read).collect()
}

/// HKDF-Extract, HKDF-Expand, and its first 32 bytes.
fn three_steps() -> Guest {
    Guest::of(World::KdfProfile).field(
        r#"(data (i32.const 708) "\03\00\00\00")
           (data (i32.const 712) "\00\00\00\00\00\00\00\00\80\02\00\00\04\00\00\00\00\00\00\00")
           (data (i32.const 740) "\01\00\00\00\00\00\00\00\01\00\00\00\80\02\00\00\04\00\00\00\40\00\00\00")
           (data (i32.const 768) "\06\00\00\00\02\00\00\00\20\00\00\00")"#,
    )
}

/// Some value for everything that is required.
fn filled(schema: &Schema) -> Parameters {
    let required = schema.iter().filter(|(_, setting)| setting.required);
    let value = |kind: &SettingKind| match kind {
        SettingKind::Text { .. } => "bench".to_owned(),
        SettingKind::Integer { min, .. } => min.to_string(),
        SettingKind::Boolean => "true".to_owned(),
        SettingKind::Duration => "1d".to_owned(),
        SettingKind::Choice(choices) => choices[0].to_string(),
    };
    required.map(|(name, setting)| (name.into(), value(&setting.kind).into())).collect()
}

fn settings(loaded: &Loaded, ceilings: &Limits) -> Option<Settings> {
    Settings::of(loaded.manifest(), &filled(&loaded.manifest().config), ceilings)
        .map_err(|text| println!("{}: not measured: {text}", loaded.manifest().name))
        .ok()
}

async fn measure(loaded: &Arc<Loaded>) {
    let ceilings = Limits { time: Duration::from_secs(5), ..Limits::default() };
    let Some(settings) = settings(loaded, &ceilings) else { return };
    let name = loaded.manifest().name.clone();
    let mut times = Vec::new();
    match loaded.manifest().world {
        World::RotationSchedule => {
            let plugin = loaded.rotation(settings);
            let mut request = rotation_request();
            request.policy.parameters = filled(&loaded.manifest().parameters);
            if let Err(failure) = plugin.decide_twice(&request).await {
                return println!("{name}: not measured: {failure}");
            }
            for _ in 0..5_000 {
                let begun = Instant::now();
                plugin.decide_twice(&request).await.unwrap();
                times.push(begun.elapsed() / 2);
            }
        }
        World::KdfProfile => {
            let plugin = match loaded.kdf(settings).await {
                Ok(plugin) => plugin,
                Err(failure) => return println!("{name}: not measured: {failure}"),
            };
            let profiles = hub_model::extend::KdfProfiles::profiles(&*plugin);
            let profile = profiles[0].id.as_str();
            let parameters = filled(&loaded.manifest().parameters);
            for n in 0..5_000_u32 {
                let (info, parameters) = (n.to_be_bytes().to_vec(), parameters.clone());
                let context = KdfContext { info, parameters, ..kdf_context() };
                let begun = Instant::now();
                // A new question: asked twice.
                if let Err(failure) = plugin.plan_for(profile, &context).await {
                    return println!("{name}: not measured: {failure}");
                }
                times.push(begun.elapsed() / 2);
            }
        }
        World::AuditSink => {
            let plugin = loaded.sink(settings, Arc::new(Accepting));
            let batch = batch_of_100();
            if let Err(failure) = plugin.deliver(batch.clone()).await {
                return println!("{name}: not measured: {failure}");
            }
            for _ in 0..2_000 {
                let batch = batch.clone();
                let begun = Instant::now();
                plugin.deliver(batch).await.unwrap();
                times.push(begun.elapsed());
            }
        }
    }
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let (world, stats) = (loaded.manifest().world, loaded.stats());
    println!(
        "{name} ({world}): p50 {:?}, p99 {:?} with its instance; fuel {}, memory {} KiB",
        at(0.5),
        at(0.99),
        stats.fuel / stats.calls.max(1),
        stats.memory_peak / 1024
    );
}

fn batch_of_100() -> SinkBatch {
    let mut batch = common::batch();
    let mut entry = batch.entries[0].clone();
    entry.json = format!("{{\"action\":\"keys.encrypt\",\"pad\":\"{}\"}}", "x".repeat(700));
    entry.leaf_hash = vec![7; 32];
    batch.entries = (0..100)
        .map(|n| {
            let mut entry = entry.clone();
            entry.sequence = 10 + n;
            entry
        })
        .collect();
    batch.next = 110;
    batch
}

/// How long after its deadline an endless loop is stopped, alone and one of four. Four wait for each
/// other where there are fewer lanes, and that is not their time: up to three times the limit.
async fn stop_time(engine: &Arc<Engine>) {
    let world = World::RotationSchedule;
    let text = "(param i32) (result i32) (loop $l (br $l)) unreachable";
    let loaded =
        engine.load(&Guest::of(world).with("rotation#decide", text).package(world)).unwrap();
    let limits = Limits { time: Duration::from_millis(50), ..Limits::default() };
    let plugin = loaded.rotation(settings(&loaded, &limits).unwrap());
    let request = rotation_request();
    let late = async || {
        let called = plugin.decide_traced(&request).await;
        assert!(called.value.is_err());
        called.elapsed.saturating_sub(limits.time)
    };
    let mut alone = Duration::ZERO;
    for _ in 0..20 {
        alone = alone.max(late().await);
    }
    let mut together = Duration::ZERO;
    for _ in 0..10 {
        let (a, b, c, d) = tokio::join!(late(), late(), late(), late());
        together = together.max(a).max(b).max(c).max(d);
    }
    println!("endless loop: stopped at most {alone:?} late alone, {together:?} as one of four");
}

/// A hundred plugins, each with a manifest of its own and so compiled and kept by itself.
fn resident(packages: &[Package], config: EngineConfig) {
    let engine = Engine::new(config).unwrap();
    let packages: Vec<Package> = (0..100)
        .map(|n| {
            let like = &packages[n % packages.len()];
            let text = like.manifest_text().replacen(
                "description = \"",
                &format!("description = \"{n} "),
                1,
            );
            let text =
                if text == like.manifest_text() { manifest(like.manifest().world) } else { text };
            Package::parse(
                Package::seal(like.component_bytes(), &text).unwrap(),
                &SizeLimits::default(),
            )
            .unwrap()
        })
        .collect();
    // Compiled beforehand, as at any start but the first.
    for package in &packages {
        drop(engine.load(package).unwrap());
    }
    let before = rss();
    let begun = Instant::now();
    let loaded: Vec<Arc<Loaded>> =
        packages.iter().map(|package| engine.load(package).unwrap()).collect();
    let took = begun.elapsed();
    let after = rss();
    println!("{} plugins: {} KiB more resident, loaded in {took:?}", loaded.len(), after - before);
}

fn rss() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
