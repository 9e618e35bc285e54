//! The run itself: what is measured, in which order.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::children::{Bare, Folder, Gateway, Home, Vitals};
use super::load::{End, Load, Turn, quantile, turn};
use super::report::{Comparison, Report, Served, Side, median};
use super::setup::{self, Callers};
use super::{Plan, decisions, failed, keys, overload, plugins, primitives, stream, trail};
use hub_cli::{BenchPart, Failure};

const SIZES: [usize; 3] = [32, 1024, 64 * 1024];
/// Bytes of one item of a batch.
const BATCH_ITEM: usize = 1024;
/// Keys that are made at a time.
const PORTION: u32 = 20_000;

/// Measures everything, on an empty store first and on a fuller one later.
pub(super) async fn everything(plan: &Plan) -> Result<Report, Failure> {
    let primitives = match plan.wants(&BenchPart::Primitives) {
        true => Some(primitives::measure(plan).await?),
        false => None,
    };
    let decisions = match plan.wants(&BenchPart::Decisions) {
        true => Some(decisions::measure(plan).await?),
        false => None,
    };
    let served = match plan.only {
        Some(BenchPart::Primitives | BenchPart::Decisions) => None,
        _ => {
            let folder = Folder::make(&plan.dir)?;
            let home = Home::new(&folder);
            let measured = measure(plan, &folder, &home).await;
            Some(measured.map_err(|failure| home.explain(failure))?)
        }
    };
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        primitives,
        decisions,
        served,
    })
}

async fn measure(plan: &Plan, folder: &Folder, home: &Home) -> Result<Served, Failure> {
    let fsync = fsync_latency(folder.path())?;
    plan.say("first start, registration, application");
    let gateway = home.start().await?;
    let callers = setup::furnish(gateway.address, home.admin_key()?).await?;
    gateway.stop().await?;

    plan.say("cold starts");
    let (gateway, cold_start) = starts(plan, home).await?;
    tokio::time::sleep(plan.turn.min(Duration::from_secs(2))).await;
    let resident_idle = gateway.vitals().resident();

    plan.say(&format!("{} keys", plan.keys));
    let creations = create(plan, &gateway, &callers).await?;
    let resident_with_keys = gateway.vitals().resident();
    gateway.stop().await?;
    let (gateway, cold_start_with_keys) = starts(plan, home).await?;
    let keys = match plan.wants(&BenchPart::Keys) {
        true => Some(keys::measure(plan, &gateway, &callers).await?),
        false => None,
    };

    let bare = Bare::start()?;
    let comparisons = comparisons(plan, &bare, &gateway, &callers).await?;
    let stream = match plan.wants(&BenchPart::Stream) {
        true => Some(stream::measure(plan, &bare, &gateway, &callers).await?),
        false => None,
    };
    let batch_items_per_second = match plan.only {
        None | Some(BenchPart::Comparison(..)) => Some(batches(plan, &gateway, &callers).await?),
        Some(_) => None,
    };
    gateway.stop().await?;
    let overload = match plan.wants(&BenchPart::Overload) {
        true => Some(overload::measure(plan, home, &callers).await?),
        false => None,
    };
    let trail = match plan.wants(&BenchPart::Audit) {
        true => Some(trail::measure(plan, home, &callers).await?),
        false => None,
    };
    let plugins = match plan.wants(&BenchPart::Plugins) {
        true => Some(plugins::measure(plan, folder, home, &callers).await?),
        false => None,
    };
    Ok(Served {
        connections: plan.connections,
        rounds: plan.rounds,
        seconds: plan.turn.as_secs_f64(),
        comparisons,
        stream,
        store: keys,
        overload,
        trail,
        plugins,
        batch_items: plan.batch_items,
        batch_item_bytes: BATCH_ITEM,
        batch_items_per_second,
        keys: plan.keys,
        key_creations_per_second: creations.per_second(),
        key_creation_p50_us: micros(quantile(&creations.latencies, 0.5)),
        key_creation_p99_us: micros(quantile(&creations.latencies, 0.99)),
        cold_start_ms: cold_start,
        cold_start_with_keys_ms: cold_start_with_keys,
        resident_idle_bytes: resident_idle,
        resident_with_keys_bytes: resident_with_keys,
        fsync_p50_us: micros(quantile(&fsync, 0.5)),
        fsync_p99_us: micros(quantile(&fsync, 0.99)),
    })
}

async fn comparisons(
    plan: &Plan,
    bare: &Bare,
    gateway: &Gateway,
    callers: &Callers,
) -> Result<Vec<Comparison>, Failure> {
    let mut comparisons = Vec::new();
    let (sizes, only) = match &plan.only {
        None => (SIZES.to_vec(), None),
        Some(BenchPart::Comparison(name, size)) => (vec![*size], Some(name.as_str())),
        Some(_) => return Ok(comparisons),
    };
    let wanted = |name| only.is_none_or(|only| only == name);
    for size in sizes {
        if wanted("encrypt") {
            let encrypt = setup::encrypt(&callers.app, size)?;
            comparisons.push(compare(plan, "encrypt", size, encrypt, bare, gateway).await?);
        }
        if wanted("decrypt") {
            let decrypt = setup::decrypt(gateway.address, &callers.app, size).await?;
            comparisons.push(compare(plan, "decrypt", size, decrypt, bare, gateway).await?);
        }
    }
    Ok(comparisons)
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// How long small appends take to become durable, as the store makes them durable; sorted.
fn fsync_latency(folder: &Path) -> Result<Vec<u32>, Failure> {
    let path = folder.join("fsync");
    let measured = || -> std::io::Result<Vec<u32>> {
        let mut file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        let mut latencies = Vec::new();
        for _ in 0..100 {
            file.write_all(&[0; 4096])?;
            let started = Instant::now();
            file.sync_data()?;
            latencies.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
        latencies.sort_unstable();
        Ok(latencies)
    };
    measured().map_err(|error| Failure::file(&path, &error))
}

/// Starts the gateway several times on the store it has; gives the last one and the median time
/// to ready in milliseconds.
async fn starts(plan: &Plan, home: &Home) -> Result<(Gateway, f64), Failure> {
    let mut times = Vec::new();
    let mut gateway = home.start().await?;
    times.push(gateway.ready_after.as_secs_f64() * 1e3);
    for _ in 1..plan.starts {
        gateway.stop().await?;
        gateway = home.start().await?;
        times.push(gateway.ready_after.as_secs_f64() * 1e3);
    }
    Ok((gateway, median(times)))
}

/// Makes the keys, durably, and uses each once, so that the cache holds them.
async fn create(plan: &Plan, gateway: &Gateway, callers: &Callers) -> Result<Turn, Failure> {
    let address = gateway.address;
    let load = |requests: Vec<Vec<u8>>| Load { address, requests: requests.into() };
    let mut created = Turn::default();
    // By portions: the requests for a million keys would take much memory here.
    let mut from = 0;
    while from < plan.keys {
        let to = from.saturating_add(PORTION).min(plan.keys);
        let requests = setup::create_keys(&callers.admin, from..to)?;
        let mut done = turn(&load(requests), plan.connections, End::Once).await?;
        created.latencies.append(&mut done.latencies);
        created.elapsed += done.elapsed;
        let requests = setup::use_keys(&callers.app, from..to)?;
        turn(&load(requests), 1, End::Once).await?;
        from = to;
    }
    created.latencies.sort_unstable();
    Ok(created)
}

async fn batches(plan: &Plan, gateway: &Gateway, callers: &Callers) -> Result<f64, Failure> {
    let names: Vec<_> = (0..plan.batch_items).map(|_| "hot".to_owned()).collect();
    let requests = Arc::from([setup::batch(&callers.app, &names, BATCH_ITEM)?]);
    let load = Load { address: gateway.address, requests };
    let connections = (plan.connections / 8).max(1);
    turn(&load, connections, End::After(plan.warm_up)).await?;
    let done = turn(&load, connections, End::After(plan.turn)).await?;
    Ok(done.per_second() * f64::from(plan.batch_items))
}

/// The same request to both, in turns.
async fn compare(
    plan: &Plan,
    operation: &'static str,
    bytes: usize,
    request: Vec<u8>,
    bare: &Bare,
    gateway: &Gateway,
) -> Result<Comparison, Failure> {
    let requests: Arc<[Vec<u8>]> = Arc::from([request]);
    let load = |address| Load { address, requests: Arc::clone(&requests) };
    let mut sides = [
        Measured::new(load(bare.address), bare.vitals()),
        Measured::new(load(gateway.address), gateway.vitals()),
    ];
    for side in &mut sides {
        turn(&side.load, plan.connections, End::After(plan.warm_up)).await?;
    }
    for round in 0..plan.rounds {
        // Who goes first changes, so that a machine that slows down is unfair to nobody.
        let [bare, gateway] = &mut sides;
        let order = if round % 2 == 0 { [bare, gateway] } else { [gateway, bare] };
        for side in order {
            side.take_turn(plan).await?;
        }
    }
    let [bare, gateway] = sides;
    let pairs = gateway.rates.iter().zip(&bare.rates);
    let ratio = median(pairs.map(|(gateway, bare)| gateway / bare).collect());
    let comparison =
        Comparison { operation, bytes, ratio, bare: bare.side()?, gateway: gateway.side()? };
    plan.say(&comparison.line());
    Ok(comparison)
}

/// One of two, and its turns.
struct Measured {
    load: Load,
    vitals: Vitals,
    rates: Vec<f64>,
    latencies: Vec<u32>,
    processor: Duration,
    generator: Duration,
}

impl Measured {
    fn new(load: Load, vitals: Vitals) -> Self {
        let (processor, generator) = (Duration::ZERO, Duration::ZERO);
        Self { load, vitals, rates: Vec::new(), latencies: Vec::new(), processor, generator }
    }

    async fn take_turn(&mut self, plan: &Plan) -> Result<(), Failure> {
        let own = Vitals::own();
        let before = (self.vitals.processor_time(), own.processor_time());
        let mut done = turn(&self.load, plan.connections, End::After(plan.turn)).await?;
        let after = (self.vitals.processor_time(), own.processor_time());
        self.processor += after.0.saturating_sub(before.0);
        self.generator += after.1.saturating_sub(before.1);
        self.rates.push(done.per_second());
        self.latencies.append(&mut done.latencies);
        Ok(())
    }

    fn side(mut self) -> Result<Side, Failure> {
        self.latencies.sort_unstable();
        let count = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Err(failed("not one request was answered in time; give it more --seconds"));
        }
        Ok(Side {
            requests_per_second: median(self.rates),
            p50_us: micros(quantile(&self.latencies, 0.5)),
            p99_us: micros(quantile(&self.latencies, 0.99)),
            processor_us_per_request: micros(self.processor) / f64::from(count),
            generator_us_per_request: micros(self.generator) / f64::from(count),
            requests: count,
        })
    }
}
