//! A store with many keys: how long keys that are not in the cache take, whether pages at the end
//! of a list take longer than at its beginning, and how much memory that takes.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Plan;
use super::children::Gateway;
use super::load::{End, Load, Wire, quantile, turn};
use super::measure::micros;
use super::setup::{self, Callers};
use hub_cli::Failure;

/// Keys used cold at most: more than the cache holds, so that it is full at the end.
const COLD: u32 = 20_000;
/// Keys of a page.
const PAGE: usize = 100;
/// Pages that make up the beginning, the middle or the end of the list.
const STRETCH: usize = 20;
/// Keys are used in steps of this many, round and round: a prime, so that each comes once.
const STRIDE: u64 = 7_919_993;

/// What came out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoreFigures {
    /// Keys that were used once each, one after the other, none of them in the cache.
    pub(super) cold_uses: usize,
    pub(super) cold_use_p50_us: f64,
    pub(super) cold_use_p99_us: f64,
    /// The last of them once more, now from the cache.
    pub(super) warm_use_p50_us: f64,
    pub(super) warm_use_p99_us: f64,
    pub(super) page_items: usize,
    pub(super) pages: usize,
    /// Medians of pages at the beginning, in the middle and at the end.
    pub(super) page_us: [f64; 3],
    pub(super) resident_started_bytes: Option<u64>,
    pub(super) resident_listed_bytes: Option<u64>,
    pub(super) resident_used_bytes: Option<u64>,
}

/// Measures a gateway that was started just now.
pub(super) async fn measure(
    plan: &Plan,
    gateway: &Gateway,
    callers: &Callers,
) -> Result<StoreFigures, Failure> {
    let resident_started_bytes = gateway.vitals().resident();
    plan.say("cold keys");
    let address = gateway.address;
    let numbers: Vec<u32> = scattered(plan.keys).collect();
    let requests = numbers.iter().map(|number| setup::encrypt_by(&callers.app, *number));
    let requests = requests.collect::<Result<Vec<_>, Failure>>()?;
    let last = requests.get(requests.len().saturating_sub(2000)..).unwrap_or_default().to_vec();
    let load = |requests: Vec<Vec<u8>>| Load { address, requests: requests.into() };
    let mut cold = turn(&load(requests), 1, End::Once).await?;
    let mut warm = turn(&load(last), 1, End::Once).await?;
    let resident_used_bytes = gateway.vitals().resident();
    plan.say("pages");
    let pages = list(gateway, callers).await?;
    cold.latencies.sort_unstable();
    warm.latencies.sort_unstable();
    Ok(StoreFigures {
        cold_uses: cold.latencies.len(),
        cold_use_p50_us: micros(quantile(&cold.latencies, 0.5)),
        cold_use_p99_us: micros(quantile(&cold.latencies, 0.99)),
        warm_use_p50_us: micros(quantile(&warm.latencies, 0.5)),
        warm_use_p99_us: micros(quantile(&warm.latencies, 0.99)),
        page_items: PAGE,
        pages: pages.len(),
        page_us: stretches(&pages),
        resident_started_bytes,
        resident_used_bytes,
        resident_listed_bytes: gateway.vitals().resident(),
    })
}

/// Numbers of keys, each once, without neighbours among neighbours.
fn scattered(keys: u32) -> impl Iterator<Item = u32> {
    let count = u64::from(keys).max(1);
    (0..u64::from(keys.min(COLD)))
        .filter_map(move |turn| u32::try_from((turn * STRIDE).checked_rem(count)?).ok())
}

/// Walks through the whole list; gives how long each page took, in nanoseconds.
async fn list(gateway: &Gateway, callers: &Callers) -> Result<Vec<u32>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        next_page_token: Option<String>,
    }
    let mut wire = Wire::connect(gateway.address).await?;
    let mut times = Vec::new();
    let mut token = None;
    loop {
        let request = setup::list(&callers.admin, PAGE, token.as_deref());
        let asked = Instant::now();
        let answer = wire.ask(&request).await?;
        times.push(u32::try_from(asked.elapsed().as_nanos()).unwrap_or(u32::MAX));
        token = setup::decode::<Page>(answer)?.next_page_token;
        if token.is_none() {
            return Ok(times);
        }
    }
}

/// Medians, in microseconds, of the first, the middle and the last pages.
fn stretches(pages: &[u32]) -> [f64; 3] {
    let count = pages.len().min(STRETCH);
    let most = pages.len() - count;
    [0, most / 2, most].map(|from| {
        let mut stretch = pages.get(from..from + count).unwrap_or_default().to_vec();
        stretch.sort_unstable();
        micros(quantile(&stretch, 0.5))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_comes_once() {
        for keys in [1, 100, 10_000, 1_000_000] {
            let numbers: Vec<u32> = scattered(keys).collect();
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), numbers.len());
            assert!(numbers.iter().all(|number| *number < keys));
        }
    }

    #[test]
    fn stretches_of_pages() {
        let pages: Vec<u32> = (1..=1000).map(|page| page * 1000).collect();
        assert_eq!(stretches(&pages).map(f64::round), [11.0, 501.0, 991.0]);
        assert_eq!(stretches(&[1000]).map(f64::round), [1.0, 1.0, 1.0]);
        assert_eq!(stretches(&[]).map(f64::round), [0.0, 0.0, 0.0]);
    }
}
