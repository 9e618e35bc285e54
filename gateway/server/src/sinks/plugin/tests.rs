//! Components in text form that behave badly, each through the real relay and the real host.

#![expect(clippy::disallowed_methods, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use hub_audit::Log;
use hub_audit::log::OnRollback;
use hub_audit::relay::{Progress, Relay, Start, Wanted};
use hub_crypto::SystemKeys;
use hub_model::HubId;
use hub_model::entry::{AuditEntry, Decision, Outcome, Subject};
use hub_model::principal::PeerAddress;
use hub_plugins::{Engine, EngineConfig, Package, SizeLimits};
use hub_store::{Changes, MemoryBackend, Store, Writer};
use tokio::sync::Notify;

use super::super::receiver::Receiver;
use super::*;
use crate::config::HttpTarget;

const TEXT: &str = include_str!("../../../../../tests/plugins/sink.wat");
const USUAL: &str = "(call $usual (local.get $cursor) (local.get $next) (local.get $attempt) \
                     (local.get $at) (local.get $count))";
const WELL: &str = "(call $well)";
const MANIFEST: &str = "name = \"plug\"\nversion = \"1.0.0\"\nworld = \"audit-sink\"\n\
                        contract = \"0.1\"\ndescription = \"A test.\"\n\
                        capabilities = [\"outbound\"]\nfailure = \"retry\"\n\
                        [limits]\nmemory = \"4MiB\"\ntime = \"50ms\"\nhost_calls = 20\n";

/// The plugins of a test.
#[derive(Debug)]
struct Shelf {
    engine: Arc<Engine>,
    there: Mutex<HashMap<Name, Arc<Loaded>>>,
    changed: watch::Sender<u64>,
}

impl Shelf {
    fn new() -> Arc<Self> {
        let engine = Engine::new(EngineConfig { concurrency: 2, ..EngineConfig::default() });
        let (engine, there) = (engine.unwrap(), Mutex::default());
        Arc::new(Self { engine, there, changed: watch::Sender::new(0) })
    }

    /// Puts a component of these functions into service.
    fn put(&self, check: &str, deliver: &str) -> PluginDigest {
        let text = TEXT.replace("CHECK)", &format!("{check})"));
        let text =
            text.replace("PROBE)", "(call $well))").replace("DELIVER)", &format!("{deliver})"));
        let bytes = Package::seal(&wat::parse_str(text).unwrap(), MANIFEST).unwrap();
        let package = Package::parse(bytes, &SizeLimits::default()).unwrap();
        let loaded = self.engine.load(&package).unwrap();
        self.there.lock().unwrap().insert("plug".parse().unwrap(), loaded);
        self.changed.send_modify(|count| *count += 1);
        package.digest()
    }

    fn remove(&self) {
        self.there.lock().unwrap().clear();
        self.changed.send_modify(|count| *count += 1);
    }
}

impl SinkPlugins for Shelf {
    fn sink(&self, plugin: &Name) -> Result<InService, PluginFailure> {
        let loaded = self.there.lock().unwrap().get(plugin).cloned();
        let loaded =
            loaded.ok_or_else(|| PluginFailure::new(FailureKind::Unavailable, "there is none"))?;
        Ok(InService { loaded, ceilings: Limits::default() })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

async fn log() -> Log {
    let keys = Arc::new(SystemKeys::generate().unwrap());
    let store = Store::new(Arc::new(MemoryBackend::new()), Arc::clone(&keys));
    let writer = Writer::open(store.clone(), "main").await.unwrap();
    let hub = HubId::from_bytes([7; 16]);
    Log::open(store, writer, "main", keys, hub, None, OnRollback::Refuse).await.unwrap()
}

async fn append(log: &Log, count: u64) {
    for _ in 0..count {
        let entry = AuditEntry {
            time: Timestamp::from_micros(1_795_000_000_000_000),
            principal: None,
            address: PeerAddress::Unix,
            action: "system.start",
            subject: Subject::default(),
            decision: Decision::None,
            decided: None,
            policies: Arc::default(),
            revision: "".into(),
            outcome: Outcome::OK,
            latency: None,
            operation: None,
            context: None,
            request: "-".into(),
            trace: None,
            dry_run: false,
            count: 1,
        };
        let _receipt = log.appender().append(&entry, Changes::new()).await.unwrap();
    }
}

struct Running {
    progress: Arc<Progress>,
    served: Arc<Served>,
    stop: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Waits for something to be so.
    async fn until(&self, what: &str, so: impl Fn(&Progress) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while !so(&self.progress) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", self.progress);
    }

    async fn stop(self) {
        self.stop.notify_one();
        self.task.await.unwrap();
    }
}

async fn run(log: &Log, shelf: &Arc<Shelf>, receiver: &Receiver, backlog: Option<u64>) -> Running {
    let target = HttpTarget { url: receiver.url("/base"), headers_file: None, ca_file: None };
    let target = PluginTarget {
        plugin: "plug".parse().unwrap(),
        settings: BTreeMap::new(),
        endpoints: BTreeMap::from([("collector".parse().unwrap(), target)]),
        limits: SinkLimits::default(),
    };
    let timeout = Duration::from_secs(5);
    let plugins: Arc<dyn SinkPlugins> = Arc::<Shelf>::clone(shelf);
    let sink = PluginSink::new("siem".parse().unwrap(), target, timeout, plugins);
    let served = sink.served();
    let settings = hub_audit::relay::Settings {
        name: "siem".into(),
        start: Start::Beginning,
        wanted: Wanted::default(),
        batch: 16,
        timeout,
        backlog,
        cursor: None,
    };
    let relay = Relay::new(log.clone(), Box::new(sink), settings).await.unwrap();
    let (progress, stop) = (relay.progress(), Arc::new(Notify::new()));
    let asked = Arc::clone(&stop);
    let stopped = async move { asked.notified().await };
    let task = tokio::spawn(relay.run(stopped, Duration::from_secs(1)));
    Running { progress, served, stop, task }
}

/// The sequences that a receiver got, in the order of arrival.
fn seqs(receiver: &Receiver) -> Vec<u64> {
    let mut found = Vec::new();
    for request in receiver.requests() {
        for line in request.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let entry: serde_json::Value = serde_json::from_slice(line).unwrap();
            found.push(entry["seq"].as_u64().unwrap());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_does_wrong_costs_its_sink_alone_and_ends_with_another() {
    let (log, shelf) = (log().await, Shelf::new());
    append(&log, 40).await;
    let size = log.appender().position().audit.size;
    let after = "(local.set $status (call $post (i32.const 310) (i32.const 9) (i32.const 0) \
                 (i32.const 0))) (if (result i32) (local.get $status) \
                 (then (call $acknowledge (local.get $next))) \
                 (else (call $retry (i64.const -1))))";
    let flood = "(loop $more (drop (call $post (i32.const 256) (i32.const 9) (i32.const 0) \
                 (i32.const 10))) (br $more)) (unreachable)";
    let bomb = "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 8))))) \
                (unreachable)";
    for (name, deliver, word) in [
        ("trap", "(unreachable)", "trap"),
        ("loop", "(loop $more (br $more)) (unreachable)", "deadline"),
        ("the future", "(call $acknowledge (i64.add (local.get $next) (i64.const 1)))", "nonsense"),
        (
            "backwards",
            "(call $acknowledge (i64.sub (local.get $cursor) (i64.const 1)))",
            "nonsense",
        ),
        ("nothing", "(call $acknowledge (local.get $cursor))", "taken none"),
        ("another try", "(call $retry (i64.const 10))", "another try"),
        ("an error", "(call $fail (i32.const 2))", "internal: no"),
        ("settings", "(call $fail (i32.const 0))", "refused: no"),
        ("outside", "(i32.const -1)", "nonsense"),
        ("elsewhere", after, "another try"),
        ("flood", flood, "host-calls"),
        ("bomb", bomb, "memory"),
    ] {
        let receiver = Receiver::start().await;
        shelf.put(WELL, deliver);
        let running = run(&log, &shelf, &receiver, None).await;
        running.until(name, |progress| progress.failures() >= 2).await;
        let problem = running.progress.failing().unwrap();
        assert!(problem.contains(word), "{name}: {problem}");
        assert_eq!(running.progress.reached(), 0, "{name}");
        assert!(name == "flood" || seqs(&receiver).is_empty(), "{name}");
        let before = receiver.requests().len();
        shelf.put(WELL, USUAL);
        running.until(name, |progress| progress.reached() == size).await;
        let got: Vec<u64> = seqs_after(&receiver, before);
        assert_eq!(got, (0..size).collect::<Vec<_>>(), "{name}: all, once, in order");
        running.stop().await;
    }
}

fn seqs_after(receiver: &Receiver, before: usize) -> Vec<u64> {
    let mut found = Vec::new();
    for request in receiver.requests().into_iter().skip(before) {
        for line in request.body.split(|byte| *byte == b'\n').filter(|line| line.len() > 20) {
            let entry: serde_json::Value = serde_json::from_slice(line).unwrap();
            found.push(entry["seq"].as_u64().unwrap());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rejected_is_passed_over_or_stops_a_required_sink() {
    let (log, shelf) = (log().await, Shelf::new());
    append(&log, 20).await;
    let size = log.appender().position().audit.size;
    shelf.put(WELL, "(call $reject)");
    let receiver = Receiver::start().await;
    let running = run(&log, &shelf, &receiver, Some(1000)).await;
    running.until("passed over", |progress| progress.reached() == size).await;
    assert_eq!((running.progress.dropped(), running.progress.untold()), (size, size));
    running.stop().await;
    let running = run(&log, &shelf, &receiver, None).await;
    running.until("refused", |progress| progress.failures() >= 3).await;
    assert_eq!((running.progress.reached(), running.progress.dropped()), (0, 0));
    assert!(running.progress.failing().unwrap().contains("rejected: no"));
    running.stop().await;
    assert!(receiver.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_serves_once_it_is_well_and_a_sink_keeps_what_it_has() {
    let (log, shelf) = (log().await, Shelf::new());
    let receiver = Receiver::start().await;
    append(&log, 3).await;
    let running = run(&log, &shelf, &receiver, None).await;
    running.until("nothing there", |progress| progress.failures() >= 1).await;
    let problem = running.progress.failing().unwrap();
    assert_eq!(problem.as_str(), "plugin `plug`: unavailable: there is none");
    let first = shelf.put(WELL, USUAL);
    let arrived = |count: u64| move |progress: &Progress| progress.reached() == count;
    running.until("the first", arrived(log.appender().position().audit.size)).await;
    let serves = |digest: PluginDigest| format!("siem plug {digest}");
    let untold = running.served.untold().unwrap();
    assert_eq!(*untold, serves(first));
    running.served.told(&untold);
    assert_eq!(running.served.untold(), None);
    // Unwell: its check fails, traps, or never ends.
    for check in ["(call $unwell)", "(unreachable)", "(loop $more (br $more)) (unreachable)"] {
        shelf.put(check, "(unreachable)");
        append(&log, 2).await;
        running.until(check, arrived(log.appender().position().audit.size)).await;
        assert_eq!(running.served.untold(), None, "{check}");
    }
    shelf.remove();
    append(&log, 2).await;
    running.until("removed", arrived(log.appender().position().audit.size)).await;
    let second = shelf.put(WELL, &format!("(drop (i32.const 2)) {USUAL}"));
    append(&log, 2).await;
    running.until("the second", arrived(log.appender().position().audit.size)).await;
    assert_ne!(first, second);
    assert_eq!(*running.served.untold().unwrap(), serves(second));
    assert_eq!(running.progress.dropped(), 0);
    running.stop().await;
    let got = seqs(&receiver);
    assert_eq!(got, (0..log.appender().position().audit.size).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_gets_everything_later_and_the_operator_knows_why() {
    let (log, shelf) = (log().await, Shelf::new());
    append(&log, 30).await;
    let size = log.appender().position().audit.size;
    shelf.put(WELL, USUAL);
    let receiver = Receiver::start().await;
    for (answer, word) in [
        ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "endpoint `collector`: status 503"),
        (
            "HTTP/1.1 307 Go\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
            "status 307; redirects are not followed",
        ),
        ("", "endpoint `collector`: no answer"),
        ("nonsense\r\n\r\n", "endpoint `collector`: no answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "the answer broke off"),
    ] {
        receiver.answer(answer);
        let running = run(&log, &shelf, &receiver, None).await;
        running.until(word, |progress| progress.failures() >= 1).await;
        let problem = running.progress.failing().unwrap();
        assert!(problem.contains(word), "{word}: {problem}");
        assert_eq!(running.progress.reached(), 0);
        receiver.answer(Receiver::OK);
        running.until(word, |progress| progress.reached() == size).await;
        running.stop().await;
        assert!(receiver.requests().iter().all(|request| request.line.contains("/base/batch")));
    }
}
