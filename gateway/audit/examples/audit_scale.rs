//! Fills a store with made-up entries and measures the index over it:
//!
//! ```sh
//! cargo run --release -p hub-audit --example audit_scale -- 10000000 /tmp/scale
//! ```
//!
//! Prints lines `name value unit`. Entries go through the appender, many at once; their times are
//! spread over 30 days. The folder must not exist; it is left behind.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement, run by hand")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::time::{Duration, Instant};

use hub_audit::Log;
use hub_audit::index::{Filter, Index, Order, Query};
use hub_audit::log::OnRollback;
use hub_crypto::SystemKeys;
use hub_model::entry::{AuditEntry, Decided, Decision, LatencyClass, Outcome, Subject};
use hub_model::principal::PeerAddress;
use hub_model::{
    AuthMethod, CredentialId, EncryptionContext, HubId, KeyId, ParticipantId, Principal,
    RegistrationId, Timestamp,
};
use hub_store::{Changes, FjallBackend, Store, Writer};

/// Appends under way at once: enough for groups of the largest size.
const AT_ONCE: u64 = 2_048;
const DAY: i64 = 86_400_000_000;
const DAYS: i64 = 30;
const START: i64 = 1_795_000_000_000_000;
/// Keys used; the first one gets an entry in ten thousand.
const KEYS: u64 = 20_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn id(n: u64) -> [u8; 16] {
    let mut id = [0x5a; 16];
    for (slot, byte) in id.iter_mut().skip(8).zip(n.to_be_bytes()) {
        *slot = byte;
    }
    id
}

/// Numbers that look random and are the same each time.
const fn mix(n: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 32)
}

fn key(n: u64) -> KeyId {
    KeyId::from_bytes(id(n))
}

fn entry(n: u64, count: u64) -> Result<AuditEntry, Failure> {
    let r = |k: u64| mix(n * 8 + k);
    let chosen = if r(0) % 10_000 == 0 { 0 } else { 1 + r(1) % (KEYS - 1) };
    let registration = RegistrationId::from_bytes(id(chosen % 100));
    let participant = id(1_000 + chosen % 100 * 50 + r(2) % 50);
    let passed = i128::from(DAYS * DAY) * i128::from(n) / i128::from(count);
    let context = [("order".to_owned(), format!("{}", r(3) % 1_000_000))].into();
    let denied = r(4) % 50 == 0;
    let mut trace = id(n);
    trace[0] = 1;
    Ok(AuditEntry {
        time: Timestamp::from_micros(START + i64::try_from(passed)?),
        principal: Some(Principal {
            registration,
            participant: ParticipantId::from_bytes(participant),
            method: AuthMethod::ApiKey,
            identity: None,
            credential: Some(CredentialId::from_bytes(participant)),
        }),
        address: PeerAddress::Ip([10, 0, 0, 1].into()),
        action: if r(5) % 2 == 0 { "keys.encrypt" } else { "keys.decrypt" },
        subject: Subject {
            registration: Some(registration),
            key: Some(key(chosen)),
            version: Some(1),
            ..Subject::default()
        },
        decision: if denied { Decision::Deny } else { Decision::Allow },
        decided: Some(Decided {
            revisions: [7, 8, 9],
            tls: true,
            mutual_tls: false,
            payload_bytes: 1_024,
            beside: None,
        }),
        policies: ["role.app".into()].into(),
        revision: "0011aabbccdd".into(),
        outcome: if denied { Outcome("denied") } else { Outcome::OK },
        context: Some(EncryptionContext::new(context)?),
        request: format!("req_{:026x}", r(6)).into(),
        trace: Some(trace),
        dry_run: false,
        latency: Some(LatencyClass::of(Duration::from_millis(1))),
        operation: None,
        count: 1,
    })
}

async fn fill(log: &Log, count: u64) -> Result<(), Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (log, next) = (log.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Memory::Relaxed);
                if n >= count {
                    return Ok::<_, Failure>(());
                }
                let _receipt = log.appender().append(&entry(n, count)?, Changes::new()).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Runs the index until it has seen everything.
async fn catch_up(index: &Index) -> Duration {
    let begun = Instant::now();
    let done = async {
        loop {
            let status = index.status();
            if status.lag == 0 && status.pending == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    index.run(done).await;
    begun.elapsed()
}

fn bytes_of(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder)? {
        let facts = file?.metadata()?;
        bytes += if facts.is_dir() { 0 } else { facts.len() };
    }
    Ok(bytes)
}

/// Asks ten times, for another day each time, and prints the slowest and the median.
async fn ask(index: &Index, name: &str, ask: impl Fn(i64) -> Query) -> Result<(), Failure> {
    let mut times = Vec::new();
    let mut entries = 0;
    for round in 0..10 {
        let begun = Instant::now();
        let found = index.query(ask(round * 3 % DAYS)).await?;
        times.push(begun.elapsed());
        entries += found.items.len();
    }
    times.sort_unstable();
    let millis = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    println!("{name}_median {:.2} ms", millis(times.len() / 2));
    println!("{name}_max {:.2} ms", millis(times.len() - 1));
    println!("{name}_entries {entries} entries");
    Ok(())
}

fn day(number: i64, filter: Filter, limit: usize) -> Query {
    let from = START + number * DAY;
    Query {
        filter: Filter {
            from: Some(Timestamp::from_micros(from)),
            to: Some(Timestamp::from_micros(from + DAY)),
            ..filter
        },
        order: Order::Descending,
        first: 0,
        end: u64::MAX,
        limit,
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(count), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: audit_scale ENTRIES FOLDER".into());
    };
    let (count, folder): (u64, PathBuf) = (count.parse()?, folder.into());
    std::fs::create_dir(&folder)?;
    let indexed = folder.join("index");
    std::fs::create_dir(&indexed)?;

    let keys = Arc::new(SystemKeys::generate()?);
    let backend = Arc::new(FjallBackend::open_or_create(&folder.join("store"))?);
    let store = Store::new(backend, Arc::clone(&keys));
    let writer = Writer::open(store.clone(), "main").await?;
    let hub = HubId::from_bytes([7; 16]);
    let log = Log::open(store.clone(), writer, "main", keys, hub, None, OnRollback::Refuse).await?;

    let begun = Instant::now();
    fill(&log, count).await?;
    println!("append_rate {:.0} entries/s", rate(count, begun.elapsed()));
    let stored = store.backend().size_on_disk()?;
    println!("store_bytes_per_entry {:.1} bytes", rate(stored, Duration::from_secs(count)));

    let index = Index::new(log.clone(), Some(indexed.clone()));
    let time = catch_up(&index).await;
    println!("index_build_rate {:.0} entries/s", rate(count, time));
    let bytes = bytes_of(&indexed)?;
    println!("index_bytes_per_entry {:.2} bytes", rate(bytes, Duration::from_secs(count)));

    // As after a start: no file was looked at yet.
    let cold = Index::new(log.clone(), Some(indexed.clone()));
    let rare = || Filter { key: Some(key(0).to_string().into()), ..Filter::default() };
    let common = || Filter { key: Some(key(7).to_string().into()), ..Filter::default() };
    ask(&cold, "key_and_day_after_start", |n| day(n, rare(), 100)).await?;
    let time = catch_up(&cold).await;
    println!("index_open {:.0} ms", time.as_secs_f64() * 1000.0);
    ask(&index, "key_and_day", |n| day(n, rare(), 100)).await?;
    ask(&index, "ordinary_key_and_day", |n| day(n, common(), 100)).await?;
    ask(&index, "key_action_decision_and_day", |n| {
        let filter =
            Filter { action: Some("keys.*".into()), decision: Some("deny".into()), ..rare() };
        day(n, filter, 100)
    })
    .await?;
    ask(&index, "day_of_everything", |n| day(n, Filter::default(), 100)).await?;
    ask(&index, "key_never_used", |_| Query {
        filter: Filter { key: Some("key_none".into()), ..Filter::default() },
        order: Order::Descending,
        first: 0,
        end: u64::MAX,
        limit: 100,
    })
    .await?;
    ask(&index, "request", |n| {
        let seq = u64::try_from(n).unwrap_or(0) * 31;
        let request = format!("req_{:026x}", mix(seq * 8 + 6));
        Query {
            filter: Filter { request: Some(request.into()), ..Filter::default() },
            order: Order::Descending,
            first: 0,
            end: u64::MAX,
            limit: 100,
        }
    })
    .await?;
    log.appender().close().await;
    Ok(())
}
