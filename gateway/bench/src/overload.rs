//! Beyond capacity: what is still done when much more is asked than may be in work, and how long
//! one tenant waits while another asks for all it can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::children::{Gateway, Home};
use super::load::{End, Load, Wire, quantile, turn};
use super::measure::micros;
use super::report::median;
use super::setup::{self, Callers};
use super::{Plan, failed};
use hub_cli::Failure;

/// Places of the gateway that is overloaded.
const PLACES: usize = 64;
/// Requests that may wait for one of them, where that is few.
const SHORT: usize = 256;
/// How many times as many connections as places.
const BEYOND: usize = 16;
/// Connections of the noisy tenant.
const NOISE: usize = 128;
/// A caller that was refused comes back after this: sooner than it was asked to.
const AGAIN: Duration = Duration::from_millis(200);

/// What overload came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OverloadFigures {
    pub(super) places: usize,
    /// The best of several loads that fit, the median of its turns.
    pub(super) peak_per_second: f64,
    pub(super) connections: usize,
    /// Requests that were done, each second, with far more connections than places; the median.
    pub(super) done_per_second: f64,
    /// Those refused meanwhile.
    pub(super) shed_per_second: f64,
    /// Done beyond capacity ÷ peak: 0.8 at least is wanted.
    pub(super) of_peak: f64,
    /// The same three where only so many may wait.
    pub(super) short_line: usize,
    pub(super) short_done_per_second: f64,
    pub(super) short_shed_per_second: f64,
    pub(super) short_of_peak: f64,
    /// A calm tenant alone, beside one that encrypts all it can, beside one that signs with RSA.
    pub(super) calm_p99_us: [f64; 3],
    /// Encrypts of the calm tenant beside noise ÷ alone, at the 99th percentile: 2 is wanted.
    pub(super) calm_ratio: [f64; 2],
}

/// Measures on the store of `home`, whose registration is furnished already.
pub(super) async fn measure(
    plan: &Plan,
    home: &Home,
    callers: &Callers,
) -> Result<OverloadFigures, Failure> {
    plan.say("overload");
    let places = PLACES.to_string();
    let short = SHORT.to_string();
    let limits = [
        ("REQUESTS_WAITING", short.as_str()),
        ("REQUESTS_IN_WORK", places.as_str()),
        ("REGISTRATION_IN_WORK", places.as_str()),
    ];
    let request = setup::encrypt(&callers.app, 1024)?;
    let gateway = home.start_with(&limits).await?;
    let (short_peak, short_done, short_shed) = beyond(plan, gateway.address, &request).await?;
    gateway.stop().await?;
    let limits = limits.get(1..).unwrap_or_default();
    let gateway = home.start_with(limits).await?;
    let (peak, done, shed) = beyond(plan, gateway.address, &request).await?;
    gateway.stop().await?;
    let (calm_p99_us, calm_ratio) = neighbours(plan, home, callers).await?;
    Ok(OverloadFigures {
        places: PLACES,
        peak_per_second: peak,
        connections: PLACES * BEYOND,
        done_per_second: done,
        shed_per_second: shed,
        of_peak: done / peak.max(f64::EPSILON),
        short_line: SHORT,
        short_done_per_second: short_done,
        short_shed_per_second: short_shed,
        short_of_peak: short_done / short_peak.max(f64::EPSILON),
        calm_p99_us,
        calm_ratio,
    })
}

/// The peak of loads that fit, and what is done and what refused with far more connections than places,
/// each second.
async fn beyond(
    plan: &Plan,
    address: SocketAddr,
    request: &[u8],
) -> Result<(f64, f64, f64), Failure> {
    let load = Load { address, requests: Arc::from([request.to_vec()]) };
    turn(&load, PLACES / 2, End::After(plan.warm_up)).await?;
    // By rounds of each, and by their medians: a machine that slows down is unfair to nobody, and the
    // best of several turns would be no measure for one.
    let fitting = [PLACES / 4, PLACES / 2, PLACES];
    let mut rates = fitting.map(|_| Vec::new());
    let (mut done, mut shed) = (Vec::new(), Vec::new());
    let connections = PLACES * BEYOND;
    for _ in 0..plan.rounds {
        for (connections, rates) in fitting.into_iter().zip(&mut rates) {
            rates.push(turn(&load, connections, End::After(plan.turn)).await?.per_second());
        }
        let beyond = press(address, request, connections, plan.turn).await?;
        done.push(beyond.done);
        shed.push(beyond.shed);
    }
    let peak = rates.map(median).into_iter().fold(0.0, f64::max);
    Ok((peak, median(done), median(shed)))
}

struct Pressed {
    done: f64,
    shed: f64,
}

/// Asks over many connections and counts what is done and what refused.
async fn press(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    lasts: Duration,
) -> Result<Pressed, Failure> {
    let mut wires = Vec::with_capacity(connections);
    for _ in 0..connections {
        wires.push(Wire::connect(address).await?);
    }
    let request: Arc<[u8]> = Arc::from(request);
    let mut workers = JoinSet::new();
    let started = Instant::now();
    for mut wire in wires {
        let request = Arc::clone(&request);
        workers.spawn(async move {
            let (mut done, mut shed, mut took) = (0_u32, 0_u32, Duration::ZERO);
            while started.elapsed() < lasts {
                let status = wire.status(&request).await?;
                took = started.elapsed();
                match status {
                    200 => done += 1,
                    503 => {
                        shed += 1;
                        tokio::time::sleep(AGAIN).await;
                    }
                    other => return Err(failed(&format!("answered {other}"))),
                }
            }
            Ok::<_, Failure>((done, shed, took))
        });
    }
    let (mut done, mut shed, mut took) = (0_u32, 0_u32, Duration::ZERO);
    while let Some(ended) = workers.join_next().await {
        let counts = ended.map_err(|error| failed(&format!("the load generator: {error}")))??;
        done = done.saturating_add(counts.0);
        shed = shed.saturating_add(counts.1);
        // Until the last answer: callers who stay away when the turn is over are none of it.
        took = took.max(counts.2);
    }
    let seconds = took.as_secs_f64().max(f64::EPSILON);
    Ok(Pressed { done: f64::from(done) / seconds, shed: f64::from(shed) / seconds })
}

/// How long a calm tenant waits: alone, and beside each kind of noise. With the bounds as they are
/// by default.
async fn neighbours(
    plan: &Plan,
    home: &Home,
    callers: &Callers,
) -> Result<([f64; 3], [f64; 2]), Failure> {
    let gateway = home.start_with(&[]).await?;
    let calm = furnish(&gateway, &callers.admin).await?;
    let mut wire = Wire::connect(gateway.address).await?;
    let key = json!({ "name": "signer", "algorithm": "RSA_PSS_3072_SHA256" });
    wire.ask(&setup::post(setup::KEYS, &callers.admin, &key)?).await?;
    let path = format!("{}/signer:sign", setup::KEYS);
    let sign = setup::post(&path, &callers.app, &json!({ "message": "eA==" }))?;
    let encrypt = setup::encrypt(&callers.app, 1024)?;
    let load = Load { address: gateway.address, requests: Arc::from([calm]) };
    let alone = p99(plan, &load).await?;
    let mut beside = [0.0; 2];
    for (slot, noise) in beside.iter_mut().zip([encrypt, sign]) {
        let stop = Arc::new(AtomicBool::new(false));
        let mut noisy = JoinSet::new();
        for _ in 0..NOISE {
            let mut wire = Wire::connect(gateway.address).await?;
            let (noise, stop) = (noise.clone(), Arc::clone(&stop));
            noisy.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if wire.status(&noise).await.is_err() {
                        return;
                    }
                }
            });
        }
        *slot = p99(plan, &load).await?;
        stop.store(true, Ordering::Relaxed);
        while noisy.join_next().await.is_some() {}
    }
    gateway.stop().await?;
    let [ordinary, heavy] = beside;
    let ratio = |beside: f64| beside / alone.max(f64::EPSILON);
    Ok(([alone, ordinary, heavy], [ratio(ordinary), ratio(heavy)]))
}

/// A tenant of its own with one request it makes.
async fn furnish(gateway: &Gateway, admin: &str) -> Result<Vec<u8>, Failure> {
    let mut wire = Wire::connect(gateway.address).await?;
    let app = json!({ "name": "app", "kind": "service", "roles": ["apps"] });
    let of = "/v1/registrations/calm";
    for (path, body) in [
        ("/v1/registrations".to_owned(), json!({ "name": "calm" })),
        (format!("{of}/participants"), app),
        (format!("{of}/keys"), json!({ "name": "hot" })),
    ] {
        wire.ask(&setup::post(&path, admin, &body)?).await?;
    }
    let path = format!("{of}/participants/app/credentials");
    let issued = wire.ask(&setup::post(&path, admin, &json!({}))?).await?;
    let issued: Value =
        serde_json::from_slice(issued).map_err(|error| failed(&error.to_string()))?;
    let key = issued.get("apiKey").and_then(Value::as_str).unwrap_or_default();
    let body = json!({ "plaintext": "eHh4eHh4eHh4eHh4eHh4eA==" });
    setup::post(&format!("{of}/keys/hot:encrypt"), key, &body)
}

/// The 99th percentile of four connections, in microseconds.
async fn p99(plan: &Plan, load: &Load) -> Result<f64, Failure> {
    turn(load, 4, End::After(plan.warm_up)).await?;
    let mut latencies = turn(load, 4, End::After(plan.turn)).await?.latencies;
    latencies.sort_unstable();
    Ok(micros(quantile(&latencies, 0.99)))
}

impl OverloadFigures {
    pub(super) fn facts(&self) -> Vec<(String, String)> {
        let [alone, ordinary, heavy] = self.calm_p99_us.map(|micros| micros / 1e3);
        let [by_ordinary, by_heavy] = self.calm_ratio;
        vec![
            (
                format!("done with {} connections for {} places", self.connections, self.places),
                format!(
                    "{:.0}/s, {:.0} % of the peak of {:.0}/s; {:.0}/s refused",
                    self.done_per_second,
                    self.of_peak * 100.0,
                    self.peak_per_second,
                    self.shed_per_second
                ),
            ),
            (
                format!("the same with a line of {}", self.short_line),
                format!(
                    "{:.0}/s, {:.0} % of the peak; {:.0}/s refused",
                    self.short_done_per_second,
                    self.short_of_peak * 100.0,
                    self.short_shed_per_second
                ),
            ),
            (
                format!(
                    "a calm tenant's p99 alone, beside {NOISE} connections encrypting, signing"
                ),
                format!(
                    "{alone:.2} ms, {ordinary:.2} ms (×{by_ordinary:.1}), {heavy:.2} ms \
                     (×{by_heavy:.1})"
                ),
            ),
        ]
    }
}
