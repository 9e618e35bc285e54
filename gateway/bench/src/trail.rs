//! What durable audit costs: the gateway beside one whose store, the log included, lies in memory
//! (`/dev/shm`, where syncing costs nothing), in turns.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::Plan;
use super::children::{Folder, Gateway, Home};
use super::load::{End, Load, quantile, turn};
use super::measure::micros;
use super::report::median;
use super::setup::{self, Callers};
use hub_cli::Failure;

const BYTES: usize = 1024;
/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// The cost of a durable log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TrailFigures {
    pub(super) connections: usize,
    pub(super) durable_per_second: f64,
    pub(super) memory_per_second: f64,
    /// Durable ÷ in memory, the median of neighbouring turns: 0.85 at least is wanted.
    pub(super) ratio: f64,
    /// Of one connection: durable, and in memory. Their difference should be one fsync.
    pub(super) alone_p50_us: [f64; 2],
}

/// Measures the gateway of `home`, which is furnished, beside one in memory.
pub(super) async fn measure(
    plan: &Plan,
    home: &Home,
    callers: &Callers,
) -> Result<TrailFigures, Failure> {
    plan.say("durable audit beside audit in memory");
    let durable = home.start().await?;
    let folder = Folder::make(Path::new(MEMORY))?;
    let aside = Home::new(&folder);
    let memory = aside.start().await.map_err(|failure| aside.explain(failure))?;
    let other = setup::furnish(memory.address, aside.admin_key()?).await?;
    let load = |gateway: &Gateway, caller: &str| {
        let request = setup::encrypt(caller, BYTES)?;
        Ok::<_, Failure>(Load { address: gateway.address, requests: Arc::from([request]) })
    };
    let sides = [load(&durable, &callers.app)?, load(&memory, &other.app)?];
    for side in &sides {
        turn(side, plan.connections, End::After(plan.warm_up)).await?;
    }
    let mut rates = [Vec::new(), Vec::new()];
    let mut alone = [Vec::new(), Vec::new()];
    for round in 0..plan.rounds {
        // Who goes first changes.
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let (Some(side), Some(rates), Some(alone)) =
                (sides.get(at), rates.get_mut(at), alone.get_mut(at))
            else {
                continue;
            };
            rates.push(turn(side, plan.connections, End::After(plan.turn)).await?.per_second());
            alone.append(&mut turn(side, 1, End::After(plan.turn)).await?.latencies);
        }
    }
    let ratio = {
        let [durable, memory] = &rates;
        median(durable.iter().zip(memory).map(|(durable, memory)| durable / memory).collect())
    };
    let [durable_rates, memory_rates] = rates;
    let alone_p50_us = alone.map(|mut latencies| {
        latencies.sort_unstable();
        micros(quantile(&latencies, 0.5))
    });
    memory.stop().await?;
    durable.stop().await?;
    Ok(TrailFigures {
        connections: plan.connections,
        durable_per_second: median(durable_rates),
        memory_per_second: median(memory_rates),
        ratio,
        alone_p50_us,
    })
}
