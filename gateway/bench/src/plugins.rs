//! What an endless loop in a plugin costs everybody else: the same load with and without one beside
//! it, in turns, and how long after its deadline each call of the loop is answered.
//!
//! What calls of honest plugins cost is the business of `cipher-hub plugin bench`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hub_plugins::Package;
use serde::Serialize;
use serde_json::{Value, json};

use super::children::{Folder, Home};
use super::load::{End, Load, Wire, quantile, turn};
use super::measure::micros;
use super::report::median;
use super::setup::{self, Callers};
use super::{Plan, failed};
use hub_cli::Failure;

/// Made by `cargo run -p hub-plugins --example looping`.
const LOOP: &str = include_str!("loop.wasm.b64");
const MANIFEST: &str = r#"name = "loop"
version = "1.0.0"
world = "kdf-profile"
contract = "0.1"
description = "Never ends."
[limits]
time = "50ms"
"#;
/// The deadline in the manifest.
const DEADLINE: Duration = Duration::from_millis(50);
/// To come into service.
const PATIENCE: Duration = Duration::from_secs(10);
const BYTES: usize = 1024;

/// An endless loop beside honest work.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PluginFigures {
    pub(super) connections: usize,
    /// Of encrypting, without and with the loop: 99th percentile.
    pub(super) p99_us: [f64; 2],
    /// With ÷ without, the median of neighbouring turns: 1.2 at most is wanted.
    pub(super) p99_ratio: f64,
    pub(super) per_second: [f64; 2],
    /// Calls of the loop beside that.
    pub(super) loops: usize,
    /// The most time after its deadline at which one was stopped, as the gateway has counted it: 20 ms
    /// at most are wanted.
    pub(super) stopped_most_us: f64,
    /// When its caller had the answer, with its durable entry and behind everybody else's: median and
    /// most.
    pub(super) late_p50_us: f64,
    pub(super) late_most_us: f64,
    /// The most where the gateway has nothing else to do.
    pub(super) late_most_alone_us: f64,
}

/// Measures on the store of `home`, which is furnished.
pub(super) async fn measure(
    plan: &Plan,
    folder: &Folder,
    home: &Home,
    callers: &Callers,
) -> Result<PluginFigures, Failure> {
    plan.say("an endless loop in a plugin");
    let plugins = folder.path().join("plugins");
    install(&plugins)?;
    let plugins = plugins.display().to_string();
    let gateway = home
        .start_as(&[
            ("CIPHER_HUB_PLUGINS__FOLDER", plugins.as_str()),
            ("CIPHER_HUB_PLUGINS__ALLOW_UNSIGNED", "true"),
        ])
        .await?;
    let mut wire = Wire::connect(gateway.address).await?;
    let root = json!({ "name": "root", "algorithm": "HKDF_SHA256" });
    wire.ask(&setup::post(setup::KEYS, &callers.admin, &root)?).await?;
    let path = format!("{}/root:derive", setup::KEYS);
    let body = json!({ "bytes": 32, "profile": { "plugin": "loop", "profile": "hkdf" } });
    let derive = setup::post(&path, &callers.app, &body)?;
    let encrypt = setup::encrypt(&callers.app, BYTES)?;
    let load = Load { address: gateway.address, requests: Arc::from([encrypt]) };
    turn(&load, plan.connections, End::After(plan.warm_up)).await?;
    in_service(&mut wire, &derive).await?;
    let mut alone = loops(&mut wire, &derive, || false, 10).await?;
    alone.sort_unstable();
    let (mut p99, mut rates, mut late) =
        ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()], Vec::new());
    for round in 0..plan.rounds {
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let over = AtomicBool::new(false);
            let honest = async {
                let done = turn(&load, plan.connections, End::After(plan.turn)).await;
                over.store(true, Ordering::Relaxed);
                done
            };
            let looping = async {
                if at == 0 {
                    return Ok(Vec::new());
                }
                loops(&mut wire, &derive, || over.load(Ordering::Relaxed), usize::MAX).await
            };
            let (done, mut more) = futures_util::future::try_join(honest, looping).await?;
            late.append(&mut more);
            let rate = done.per_second();
            let mut latencies = done.latencies;
            latencies.sort_unstable();
            if let (Some(p99), Some(rates)) = (p99.get_mut(at), rates.get_mut(at)) {
                p99.push(micros(quantile(&latencies, 0.99)));
                rates.push(rate);
            }
        }
    }
    let stopped_most_us = overrun(&mut wire, &callers.admin).await?;
    gateway.stop().await?;
    late.sort_unstable();
    let p99_ratio = {
        let [without, with] = &p99;
        median(with.iter().zip(without).map(|(with, without)| with / without).collect())
    };
    Ok(PluginFigures {
        connections: plan.connections,
        p99_us: p99.map(median),
        p99_ratio,
        per_second: rates.map(median),
        loops: late.len(),
        stopped_most_us,
        late_p50_us: micros(quantile(&late, 0.5)),
        late_most_us: micros(quantile(&late, 1.0)),
        late_most_alone_us: micros(quantile(&alone, 1.0)),
    })
}

/// A folder with the plugin.
fn install(folder: &std::path::Path) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| failed(&format!("the looping plugin: {error}"));
    let text: Vec<u8> = LOOP.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let component = base64_simd::STANDARD.decode_to_vec(text).map_err(|error| wrong(&error))?;
    let file = Package::seal(&component, MANIFEST).map_err(|error| wrong(&error))?;
    std::fs::create_dir(folder).map_err(|error| Failure::file(folder, &error))?;
    let path = folder.join("loop.wasm");
    std::fs::write(&path, file).map_err(|error| Failure::file(&path, &error))
}

/// Waits until the gateway has taken the plugin from its folder, which it does beside its start.
async fn in_service(wire: &mut Wire, request: &[u8]) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let begun = Instant::now();
        if wire.status(request).await? == 503 && begun.elapsed() >= DEADLINE {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(failed("the looping plugin does not come into service"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// By how much at most a call of the plugin outlived its limit, in microseconds.
async fn overrun(wire: &mut Wire, admin: &str) -> Result<f64, Failure> {
    let request = format!(
        "GET /v1/plugins/loop HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {admin}\r\n\r\n"
    );
    let plugin: Value = setup::decode(wire.ask(request.as_bytes()).await?)?;
    let micros = plugin.pointer("/stats/overrunMicros").and_then(Value::as_f64);
    micros.ok_or_else(|| failed("the gateway does not say when it stopped the looping plugin"))
}

/// Asks for the loop one after the other; gives how long after its deadline each was answered, in
/// nanoseconds.
async fn loops(
    wire: &mut Wire,
    request: &[u8],
    over: impl Fn() -> bool,
    most: usize,
) -> Result<Vec<u32>, Failure> {
    let mut late = Vec::new();
    while late.len() < most && (late.is_empty() || !over()) {
        let begun = Instant::now();
        let status = wire.status(request).await?;
        let took = begun.elapsed();
        if status != 503 || took < DEADLINE {
            return Err(failed(&format!("the loop was answered {status} after {took:?}")));
        }
        let nanos = took.saturating_sub(DEADLINE).as_nanos();
        late.push(u32::try_from(nanos).unwrap_or(u32::MAX));
    }
    Ok(late)
}

impl PluginFigures {
    pub(super) fn facts(&self) -> Vec<(String, String)> {
        let [without, with] = self.p99_us.map(|micros| micros / 1e3);
        let [rate_without, rate_with] = self.per_second;
        vec![
            (
                format!("p99 over {} connections beside a looping plugin", self.connections),
                format!(
                    "{with:.2} ms, without it {without:.2} ms (×{:.2}); {rate_with:.0}/s, without \
                     it {rate_without:.0}/s",
                    self.p99_ratio
                ),
            ),
            (
                "a loop is stopped after its deadline; answered".to_owned(),
                format!(
                    "at most {:.2} ms; p50 {:.2} ms, at most {:.2} ms ({} calls), alone at most \
                     {:.2} ms",
                    self.stopped_most_us / 1e3,
                    self.late_p50_us / 1e3,
                    self.late_most_us / 1e3,
                    self.loops,
                    self.late_most_alone_us / 1e3
                ),
            ),
        ]
    }
}
