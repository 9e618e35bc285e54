//! Queries answer as a look at every entry does, whatever state the index is in.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hub_audit::index::{Filter, Found, Index, Order, Query};
use hub_audit::log::OnRollback;
use hub_audit::{Log, index};
use hub_crypto::SystemKeys;
use hub_model::entry::{AuditEntry, Decision, Outcome, Subject};
use hub_model::{
    AuthMethod, CredentialId, HubId, KeyId, ParticipantId, Principal, RegistrationId, Timestamp,
};
use hub_store::{Changes, MemoryBackend, Store, Writer};
use serde_json::Value;
use tokio::sync::oneshot;

const BLOCK: u64 = 16_384;
const START: i64 = 1_795_000_000_000_000;

async fn log_with(keys: Arc<SystemKeys>) -> Log {
    let store = Store::new(Arc::new(MemoryBackend::new()), Arc::clone(&keys));
    let writer = Writer::open(store.clone(), "main").await.unwrap();
    let hub = HubId::from_bytes([7; 16]);
    Log::open(store, writer, "main", keys, hub, None, OnRollback::Refuse).await.unwrap()
}

fn id(n: u64) -> [u8; 16] {
    let mut id = [3; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    id
}

/// Numbers that look random and are the same each time.
fn mix(n: u64, salt: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd134_2543_de82_ef95);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 32)
}

fn entry(n: u64, salt: u64) -> AuditEntry {
    let r = |k: u64| mix(n * 16 + k, salt);
    let registration = RegistrationId::from_bytes(id(r(0) % 4));
    let actions =
        ["keys.encrypt", "keys.decrypt", "keys.rotate", "participants.get", "authenticate"];
    let outcomes = ["ok", "ok", "ok", "denied", "not_found"];
    let mut entry = common::entry("");
    entry.time = Timestamp::from_micros(START + i64::try_from(n * 1_000 + r(1) % 50_000).unwrap());
    entry.action = actions[usize::try_from(r(2) % 5).unwrap()];
    entry.outcome = Outcome(outcomes[usize::try_from(r(3) % 5).unwrap()]);
    entry.decision =
        [Decision::Allow, Decision::Deny, Decision::None][usize::try_from(r(4) % 3).unwrap()];
    entry.principal = (r(5) % 8 > 0).then(|| Principal {
        registration,
        participant: ParticipantId::from_bytes(id(r(6) % 20)),
        method: AuthMethod::ApiKey,
        identity: None,
        credential: Some(CredentialId::from_bytes(id(r(6) % 20))),
    });
    entry.subject = Subject {
        registration: Some(registration),
        key: (r(7) % 3 > 0).then(|| KeyId::from_bytes(id(r(8) % 5_000))),
        participant: (r(9) % 10 == 0).then(|| ParticipantId::from_bytes(id(r(10) % 20))),
        ..Subject::default()
    };
    entry.request = format!("r-{}", n / 3).into();
    entry.operation = (r(12) % 6 == 0).then(|| format!("op_{}", r(13) % 30).into());
    entry.trace = Some([u8::try_from(r(11) % 250).unwrap(); 16]);
    entry
}

async fn fill(log: &Log, from: u64, to: u64, salt: u64) {
    let mut next = from;
    while next < to {
        let mut tasks = tokio::task::JoinSet::new();
        for n in next..(next + 500).min(to) {
            let log = log.clone();
            tasks.spawn(async move {
                let _receipt =
                    log.appender().append(&entry(n, salt), Changes::new()).await.unwrap();
            });
        }
        tasks.join_all().await;
        next += 500;
    }
}

async fn every(log: &Log) -> Vec<Value> {
    let mut all = Vec::new();
    while (all.len() as u64) < log.appender().position().audit.size {
        for (_, bytes) in log.page(all.len() as u64, 5000).await.unwrap() {
            all.push(serde_json::from_slice(&bytes).unwrap());
        }
    }
    all
}

fn fits(filter: &Filter, entry: &Value) -> bool {
    let word = |name: &str| entry[name].as_str().unwrap_or("");
    let is = |wanted: &Option<Box<str>>, has: &str| wanted.as_deref().is_none_or(|w| w == has);
    let caller = word("caller").rsplit(':').next().unwrap();
    let action = match filter.action.as_deref() {
        Some(group) if group.ends_with(".*") => {
            word("action").starts_with(group.trim_end_matches('*'))
        }
        _ => is(&filter.action, word("action")),
    };
    let time: Timestamp = word("time").parse().unwrap();
    action
        && filter.from.is_none_or(|from| time >= from)
        && filter.to.is_none_or(|to| time < to)
        && (is(&filter.participant, caller) || is(&filter.participant, word("participant")))
        && is(&filter.caller, caller)
        && is(&filter.key, word("key"))
        && is(&filter.registration, word("registration"))
        && is(&filter.caller_registration, word("callerRegistration"))
        && is(&filter.outcome, word("outcome"))
        && is(&filter.decision, word("decision"))
        && is(&filter.request, word("request"))
        && is(&filter.trace, word("trace"))
        && is(&filter.operation, word("operation"))
        && is(&filter.credential, word("credential"))
}

fn filter(n: u64, like: &Value, size: u64) -> Filter {
    let r = |k: u64| mix(n * 32 + k, 99);
    let take = |k: u64, name: &str, of: u64| -> Option<Box<str>> {
        (r(k) % of == 0).then(|| like[name].as_str().map(Into::into)).flatten()
    };
    let caller = like["caller"].as_str().map(|text| text.rsplit(':').next().unwrap());
    let time = |k: u64| {
        let at = START + i64::try_from(r(k) % (size * 1_000)).unwrap();
        (r(k + 1) % 3 == 0).then_some(Timestamp::from_micros(at))
    };
    Filter {
        from: time(1),
        to: time(3),
        participant: caller.filter(|_| r(5) % 6 == 0).map(Into::into),
        caller: caller.filter(|_| r(6) % 8 == 0).map(Into::into),
        key: take(7, "key", 3),
        registration: take(8, "registration", 5),
        caller_registration: take(9, "callerRegistration", 9),
        action: match r(10) % 6 {
            0 => like["action"].as_str().map(Into::into),
            1 => Some("keys.*".into()),
            _ => None,
        },
        outcome: take(11, "outcome", 6),
        decision: take(12, "decision", 6),
        request: take(13, "request", 9),
        trace: take(14, "trace", 9),
        operation: take(15, "operation", 4),
        credential: take(16, "credential", 9),
    }
}

/// Every page of a query.
async fn pages(index: &Index, query: Query, budget: u64) -> (Vec<u64>, usize) {
    let (mut found, mut count, mut query) = (Vec::new(), 0, query);
    loop {
        let Found { items, rest } = index.query_within(query.clone(), budget).await.unwrap();
        assert!(items.len() <= query.limit);
        found.extend(items.iter().map(|(seq, _)| *seq));
        count += 1;
        match rest {
            None => return (found, count),
            Some((first, end)) => {
                assert!((first, end) != (query.first, query.end), "no progress");
                (query.first, query.end) = (first, end);
            }
        }
    }
}

/// Compares many queries with a look at every entry.
async fn compare(index: &Index, all: &[Value], queries: u64, budget: u64) {
    let size = all.len() as u64;
    let mut nonempty = 0;
    for n in 0..queries {
        let filter = filter(n, &all[usize::try_from(mix(n, 5) % size).unwrap()], size);
        let seqs = (0..).zip(all).filter(|(_, entry)| fits(&filter, entry)).map(|(seq, _)| seq);
        let mut expected: Vec<u64> = seqs.collect();
        nonempty += u64::from(!expected.is_empty());
        let order = if n % 2 == 0 { Order::Ascending } else { Order::Descending };
        let first = if n % 5 == 0 { mix(n, 8) % size } else { 0 };
        expected.retain(|seq| *seq >= first);
        if order == Order::Descending {
            expected.reverse();
        }
        // Few pages for what fits often.
        let limit = usize::try_from(1 + mix(n, 7) % 40).unwrap() + expected.len() / 10;
        let query = Query { filter, order, first, end: size, limit };
        let (found, _) = pages(index, query.clone(), budget).await;
        assert!(found == expected, "{query:?}: {} for {}", found.len(), expected.len());
    }
    assert!(queries < 10 || nonempty * 3 > queries, "the queries find something");
}

/// Runs the index until it has seen everything.
#[expect(clippy::disallowed_methods, reason = "a test may start tasks")]
async fn caught_up(index: &Index) {
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn({
        let index = index.clone();
        async move { index.run(async { drop(stopped.await) }).await }
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let status = index.status();
        if status.lag == 0 && status.pending == 0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stop);
    running.await.unwrap();
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_agree_with_a_look_at_every_entry() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Arc::new(SystemKeys::generate().unwrap());
    let log = log_with(Arc::clone(&keys)).await;
    let size = 2 * BLOCK + 3_000;
    fill(&log, 0, size, 1).await;
    let all = every(&log).await;

    // Before it has seen anything: everything is looked at, with small pages too.
    let unborn = Index::new(log.clone(), Some(dir.path().to_owned()));
    assert_eq!((unborn.status().pending, unborn.status().lag), (2, 3_000));
    compare(&unborn, &all, 2, u64::MAX).await;
    compare(&unborn, &all, 1, 30_000).await;

    // With files, and after a restart with the files of before.
    let index = Index::new(log.clone(), Some(dir.path().to_owned()));
    caught_up(&index).await;
    assert_eq!(index.status().built, 2);
    assert_eq!(files(dir.path()).len(), 2);
    compare(&index, &all, 60, index_budget()).await;
    let again = Index::new(log.clone(), Some(dir.path().to_owned()));
    compare(&again, &all, 15, 2_000).await;
    assert_eq!((again.status().built, again.status().damaged), (0, 0));
    caught_up(&again).await;
    assert_eq!(again.status().built, 0, "the files are used, not made again");

    // In memory alone.
    let memory = Index::new(log.clone(), None);
    caught_up(&memory).await;
    compare(&memory, &all, 15, index_budget()).await;

    // Files that are gone, damaged, of another block, and cut: looked at, then made again.
    let paths = files(dir.path());
    let [first, second] = &paths[..] else { panic!("{paths:?}") };
    let bytes = std::fs::read(first).unwrap();
    for (round, harm) in [0, 1, 2, 3].into_iter().enumerate() {
        match harm {
            0 => std::fs::remove_file(first).unwrap(),
            1 => {
                let mut flipped = bytes.clone();
                flipped.iter_mut().skip(3_000).step_by(97).for_each(|byte| *byte ^= 1);
                std::fs::write(first, flipped).unwrap();
            }
            2 => drop(std::fs::copy(second, first).unwrap()),
            _ => std::fs::write(first, &bytes[..bytes.len() / 3]).unwrap(),
        }
        compare(&again, &all, 4, u64::MAX).await;
        assert_eq!(again.status().damaged, round as u64 + 1, "harm {harm} was noticed");
        caught_up(&again).await;
        assert_eq!(std::fs::read(first).unwrap().len(), bytes.len());
        compare(&again, &all, 4, index_budget()).await;
    }

    // Another history under the same keys, in the same folder.
    let other = log_with(keys).await;
    fill(&other, 0, 2 * BLOCK + 5, 2).await;
    let all = every(&other).await;
    let foreign = Index::new(other.clone(), Some(dir.path().to_owned()));
    compare(&foreign, &all, 1, u64::MAX).await;
    caught_up(&foreign).await;
    assert_eq!((foreign.status().damaged, foreign.status().built), (2, 2));
    compare(&foreign, &all, 10, index_budget()).await;
}

fn index_budget() -> u64 {
    250_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a test may start tasks")]
async fn what_was_just_appended_is_found_at_once() {
    let log = log_with(Arc::new(SystemKeys::generate().unwrap())).await;
    let index = Index::new(log.clone(), None);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn({
        let index = index.clone();
        async move { index.run(async { drop(stopped.await) }).await }
    });
    for n in 0..300 {
        fill(&log, n, n + 1, 3).await;
        let filter = Filter { request: Some(format!("r-{}", n / 3).into()), ..Filter::default() };
        let query = Query { filter, order: Order::Descending, first: 0, end: u64::MAX, limit: 10 };
        let found = index.query(query).await.unwrap();
        let seqs: Vec<u64> = found.items.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(seqs, (n / 3 * 3..=n).rev().collect::<Vec<_>>());
        assert_eq!(found.rest, None);
    }
    drop(stop);
    running.await.unwrap();
}

#[tokio::test]
async fn one_answer_is_bounded_and_says_where_to_go_on() {
    let log = log_with(Arc::new(SystemKeys::generate().unwrap())).await;
    fill(&log, 0, 2_000, 4).await;
    let index = Index::new(log.clone(), None);
    let filter = Filter { key: Some("key_none".into()), ..Filter::default() };
    let query = Query { filter, order: Order::Descending, first: 0, end: u64::MAX, limit: 10 };
    let first = index.query_within(query.clone(), 100).await.unwrap();
    assert!(first.items.is_empty() && first.rest.is_some(), "{first:?}");
    let (found, count) = pages(&index, query, 100).await;
    assert!(found.is_empty() && count > 10, "{count}");
    // Entries that are appended later are not looked at: what was asked for had an end.
    let query = Query {
        filter: Filter::default(),
        order: Order::Ascending,
        first: 1_990,
        end: u64::MAX,
        limit: 4,
    };
    let one = index.query(query.clone()).await.unwrap();
    assert_eq!(one.rest, Some((1_994, 2_000)));
    assert_eq!(index::Filter::default().canonical(), "");
}
