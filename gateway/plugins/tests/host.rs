//! What the host does besides containing: who is let in, who waits, what is logged, sent and kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{
    Guest, at, batch, engine, kdf_context, limits, load, load_as, manifest, package, refused,
    rotation_request, rotation_request_in, settings,
};
use hub_model::extend::{FailureKind, FailurePolicy, RotationAnswer};
use hub_plugins::{
    CacheConfig, Delivery, Engine, EngineConfig, Limits, LoadError, LogLevel, Outbound,
    OutboundRequest, OutboundResponse, Sending, Settings, World,
};

const SCHEDULE: World = World::RotationSchedule;
const LOOP: &str = "(param i32) (result i32) (loop $l (br $l)) unreachable";

/// Answers with what it is set to, after a while.
#[derive(Debug, Default)]
struct Fake {
    delay: Duration,
    seen: Mutex<Vec<(String, OutboundRequest, Duration)>>,
}

impl Outbound for Fake {
    fn send<'a>(
        &'a self,
        endpoint: &'a str,
        request: OutboundRequest,
        timeout: Duration,
    ) -> Sending<'a> {
        self.seen.lock().unwrap().push((endpoint.to_owned(), request, timeout));
        Box::pin(async {
            tokio::time::sleep(self.delay).await;
            Ok(OutboundResponse { status: 204, headers: Vec::new(), body: vec![7; 100_000] })
        })
    }
}

/// Sends `POST /v1` with these milliseconds of patience, and retries later where that is no 204.
fn sender(patience: u32) -> Guest {
    Guest::of(World::AuditSink).sends().field(r#"(data (i32.const 40) "collectorPOST/v1")"#).with(
        "sink#deliver",
        &format!(
            "(param i64 i64 i32 i32 i32) (result i32)
                 (call $send (i32.const 40) (i32.const 9) (i32.const 49) (i32.const 4)
                   (i32.const 53) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)
                   (i32.const 4) (i64.const {patience}) (i32.const 900))
                 (i64.store (i32.const 528) (local.get 1))
                 (if (i32.load8_u (i32.const 900)) (then
                   (i32.store (i32.const 520) (i32.const 1))
                   (i64.store (i32.const 528) (i64.const 1))
                   (i64.store (i32.const 536) (i64.const 99999999999))))
                 (if (i32.and (i32.eqz (i32.load8_u (i32.const 900)))
                     (i32.ne (i32.load (i32.const 920)) (i32.const 65536))) (then unreachable))
                 (i32.const 512)"
        ),
    )
}

#[tokio::test]
async fn requests_go_out_by_name() {
    let engine = engine();
    let loaded = load(&engine, &sender(500), World::AuditSink);
    let fake = Arc::new(Fake::default());
    let plugin = loaded.sink(settings(&loaded, &limits()), Arc::clone(&fake) as Arc<dyn Outbound>);
    assert_eq!(plugin.deliver(batch()).await.unwrap(), Delivery::Acknowledged(12));
    let seen = fake.seen.lock().unwrap().clone();
    let (endpoint, request, patience) = &seen[0];
    assert_eq!((endpoint.as_str(), request.method.as_str()), ("collector", "POST"));
    assert_eq!((request.path.as_str(), request.body.len()), ("/v1", 4));
    assert_eq!(*patience, Duration::from_millis(500));
}

#[tokio::test]
async fn a_flood_of_requests_is_ended() {
    let engine = engine();
    let flood = Guest::of(World::AuditSink).sends().with(
        "sink#deliver",
        "(param i64 i64 i32 i32 i32) (result i32)
         (loop $l
           (call $send (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0)
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
             (i64.const 1000) (i32.const 900))
           (global.set $next (i32.const 8192))
           (br $l))
         unreachable",
    );
    let loaded = load(&engine, &flood, World::AuditSink);
    let fake = Arc::new(Fake::default());
    let plugin = loaded.sink(settings(&loaded, &limits()), Arc::clone(&fake) as Arc<dyn Outbound>);
    let called = plugin.deliver_traced(batch()).await;
    assert_eq!(called.value.unwrap_err().kind, FailureKind::HostCalls);
    assert!(fake.seen.lock().unwrap().len() <= 100, "no more than it may");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_others_is_not_the_plugins_time() {
    // No tick: the clock stands still only for what runs on this thread.
    let tick = Duration::from_secs(3_600);
    let engine = Engine::new(EngineConfig { tick, ..EngineConfig::default() }).unwrap();
    let slow = Arc::new(Fake { delay: Duration::from_secs(5), ..Fake::default() });
    let short = Limits { wait: Duration::from_secs(8), ..limits() };
    // Patient enough, and its own 200 ms are not used up by five seconds of waiting.
    let loaded = load(&engine, &sender(6_000), World::AuditSink);
    let plugin = loaded.sink(settings(&loaded, &short), Arc::clone(&slow) as Arc<dyn Outbound>);
    let called = plugin.deliver_traced(batch()).await;
    assert_eq!(called.value.unwrap(), Delivery::Acknowledged(12));
    assert_eq!(called.host_calls, 1);
    // Impatient: the plugin learns of the timeout and asks for an hour at most.
    let loaded = load(&engine, &sender(1_000), World::AuditSink);
    let plugin = loaded.sink(settings(&loaded, &limits()), slow);
    let hour = Some(Duration::from_secs(3_600));
    assert_eq!(plugin.deliver(batch()).await.unwrap(), Delivery::RetryAfter(hour));
}

#[tokio::test]
async fn a_loop_does_not_hold_the_thread_it_runs_on() {
    // One thread for everything: who does not give way stops the others for good.
    let engine = engine();
    let patient = Limits { time: Duration::from_secs(600), ..limits() };
    let engine_limits =
        EngineConfig { concurrency: 4, ceilings: patient.clone(), ..EngineConfig::default() };
    drop(engine);
    let engine = Engine::new(engine_limits).unwrap();
    let looping = load(&engine, &Guest::of(SCHEDULE).with("rotation#decide", LOOP), SCHEDULE);
    let good = load_as("good", &engine, &Guest::of(SCHEDULE), SCHEDULE);
    let (bad_plugin, plugin) =
        (looping.rotation(settings(&looping, &patient)), good.rotation(settings(&good, &patient)));
    let request = rotation_request();
    let others = async {
        for _ in 0..50 {
            plugin.decide_traced(&request).await.value.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (one, two) = (rotation_request_in("reg_2"), rotation_request_in("reg_3"));
    let three = async {
        tokio::join!(
            bad_plugin.decide_traced(&one),
            bad_plugin.decide_traced(&one),
            bad_plugin.decide_traced(&two)
        )
    };
    tokio::select! {
        _ = three => panic!("loops end at their deadline only, which is minutes away"),
        () = others => {}
    }
    // Who was let go of left nothing behind.
    plugin.decide_traced(&request).await.value.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_is_stopped_at_its_deadline() {
    let engine = engine();
    let short = Limits { time: Duration::from_millis(30), ..limits() };
    let loaded = load(&engine, &Guest::of(SCHEDULE).with("rotation#decide", LOOP), SCHEDULE);
    let plugin = loaded.rotation(settings(&loaded, &short));
    let called = plugin.decide_traced(&rotation_request()).await;
    assert_eq!(called.value.unwrap_err().kind, FailureKind::Deadline);
    assert!(called.elapsed >= short.time, "{:?}", called.elapsed);
    // Generous, for machines that do other things; the bench measures it.
    assert!(called.elapsed < Duration::from_secs(5), "{:?}", called.elapsed);
}

/// A guest that counts so far, and then answers.
fn counting(to: u64) -> Guest {
    Guest::of(SCHEDULE).with(
        "rotation#decide",
        &format!(
            "(param i32) (result i32) (local $n i64)
             (loop $l (local.set $n (i64.add (local.get $n) (i64.const 1)))
               (br_if $l (i64.lt_u (local.get $n) (i64.const {to}))))
             (i32.const 512)"
        ),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_lane_is_not_the_plugins_time() {
    honest_among_loops().await;
}

#[tokio::test]
async fn nor_is_it_where_one_thread_runs_all() {
    honest_among_loops().await;
}

async fn honest_among_loops() {
    let long = Limits { time: Duration::from_secs(600), ..limits() };
    let config =
        EngineConfig { concurrency: 16, ceilings: long.clone(), ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    let request = rotation_request();
    let took = async |to: u64| {
        let loaded = load(&engine, &counting(to), SCHEDULE);
        let called = loaded.rotation(settings(&loaded, &long)).decide_traced(&request).await;
        called.value.unwrap();
        called.elapsed
    };
    // Some 45 ms of its own, on this machine at this moment: it is there for longer than its limit.
    let for_20m = took(20_000_000).await.as_nanos().max(1);
    let to = u64::try_from(20_000_000 * Duration::from_millis(45).as_nanos() / for_20m).unwrap();
    let honest = load_as("honest", &engine, &counting(to), SCHEDULE);
    let limit = Limits { time: Duration::from_millis(500), ..limits() };
    let honest = honest.rotation(settings(&honest, &limit));
    // Twelve loops beside it: it has a lane a thirteenth of the time, where there is one lane.
    let mut loops = tokio::task::JoinSet::new();
    for n in 0..12 {
        let text = format!("{LOOP} (i32.const {n}) drop");
        let guest = Guest::of(SCHEDULE).with("rotation#decide", &text);
        let looping = load(&engine, &guest, SCHEDULE);
        let plugin = looping.rotation(settings(&looping, &long));
        let request = rotation_request_in(&format!("reg_loop_{}", n / 4));
        loops.spawn(async move { plugin.decide_traced(&request).await.value.map(drop) });
    }
    let called = honest.decide_traced(&request).await;
    loops.abort_all();
    called.value.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_that_wait_for_each_other_end_all_the_same() {
    let engine = engine();
    let short = Limits { time: Duration::from_millis(20), ..limits() };
    let looping = load(&engine, &Guest::of(SCHEDULE).with("rotation#decide", LOOP), SCHEDULE);
    let plugin = looping.rotation(settings(&looping, &short));
    let (one, two) = (rotation_request_in("reg_2"), rotation_request_in("reg_3"));
    let (a, b, c) = tokio::join!(
        plugin.decide_traced(&one),
        plugin.decide_traced(&one),
        plugin.decide_traced(&two)
    );
    for called in [a, b, c] {
        assert_eq!(called.value.unwrap_err().kind, FailureKind::Deadline);
        assert!(called.elapsed < Duration::from_secs(5), "{:?}", called.elapsed);
    }
}

#[tokio::test]
async fn who_finds_no_place_in_time_is_told_so() {
    let patient = Limits { time: Duration::from_secs(600), ..limits() };
    let config =
        EngineConfig { concurrency: 2, ceilings: patient.clone(), ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    let looping = load(&engine, &Guest::of(SCHEDULE).with("rotation#decide", LOOP), SCHEDULE);
    let (first, second) = (
        looping.rotation(settings(&looping, &patient)),
        looping.rotation(settings(&looping, &limits())),
    );
    let request = rotation_request();
    let neighbour = load_as("neighbour", &engine, &Guest::of(SCHEDULE), SCHEDULE);
    let neighbour = neighbour.rotation(settings(&neighbour, &limits()));
    tokio::select! {
        _ = first.decide_traced(&request) => panic!("it loops for minutes"),
        (busy, served) = async {
            tokio::task::yield_now().await;
            // Of two places a single plugin gets one: its second call waits in vain.
            let other = rotation_request_in("reg_2");
            let busy = second.decide_traced(&other).await.value.unwrap_err();
            (busy, neighbour.decide_traced(&other).await.value)
        } => {
            assert_eq!(busy.kind, FailureKind::Busy);
            served.unwrap();
        }
    }
    assert_eq!(looping.stats().failures, [("busy", 1)]);
}

#[tokio::test]
async fn lines_of_guests_are_cut_cleaned_and_counted() {
    let engine = engine();
    let guest = Guest::of(SCHEDULE)
        .logs()
        .field(r#"(data (i32.const 40) "one\0atwo\1b[2J") (global $n (mut i32) (i32.const 0))"#)
        .with(
            "rotation#decide",
            "(param i32) (result i32)
             (loop $l (call $log (i32.const 3) (i32.const 40) (i32.const 11))
               (global.set $n (i32.add (global.get $n) (i32.const 1)))
               (br_if $l (i32.lt_u (global.get $n) (i32.const 25))))
             (i32.const 512)",
        );
    let loaded = load(&engine, &guest, SCHEDULE);
    let plugin = loaded.rotation(settings(&loaded, &limits()));
    let called = plugin.decide_traced(&rotation_request()).await;
    called.value.unwrap();
    assert!((100..100_000).contains(&called.fuel), "{}", called.fuel);
    assert_eq!(called.memory, 65_536);
    assert_eq!((called.log.len(), called.log_dropped), (10, 15));
    assert_eq!(called.log[0], (LogLevel::Warn, "one\u{fffd}two\u{fffd}[2J".to_owned()));
    assert_eq!(loaded.stats().log_lines_dropped, 15);
}

#[tokio::test]
async fn the_operators_settings_reach_the_guest() {
    // Answers with a reason: the value of `a`.
    let guest = Guest::of(SCHEDULE).configured().field(r#"(data (i32.const 40) "a")"#).with(
        "rotation#decide",
        "(param i32) (result i32)
         (call $get (i32.const 40) (i32.const 1) (i32.const 900))
         (if (i32.eqz (i32.load8_u (i32.const 900))) (then unreachable))
         (i32.store (i32.const 520) (i32.const 1))
         (i32.store (i32.const 528) (i32.load (i32.const 904)))
         (i32.store (i32.const 532) (i32.load (i32.const 908)))
         (i32.const 512)",
    );
    let text =
        format!("{}[config.a]\ntype = \"string\"\ndefault = \"by default\"\n", manifest(SCHEDULE));
    let engine = engine();
    let loaded = engine.load(&package(&guest.component(SCHEDULE), &text)).unwrap();
    let given = BTreeMap::from([("a".into(), "as set".into())]);
    for (given, wanted) in [(given, "as set"), (BTreeMap::new(), "by default")] {
        let settings = Settings::of(loaded.manifest(), &given, &limits()).unwrap();
        let answer = loaded.rotation(settings).decide_traced(&rotation_request()).await.value;
        assert_eq!(answer.unwrap(), RotationAnswer::Now(wanted.into()));
    }
}

#[tokio::test]
async fn the_calendar_is_that_of_the_zone() {
    // Rotates at the calendar's first change: of the request, `calendar.transitions` is a pointer at
    // byte 100 of the record.
    let guest = Guest::of(SCHEDULE).with(
        "rotation#decide",
        "(param $r i32) (result i32) (local $t i32)
         (if (i32.eqz (i32.load (i32.add (local.get $r) (i32.const 104)))) (then unreachable))
         (local.set $t (i32.load (i32.add (local.get $r) (i32.const 100))))
         (i64.store (i32.const 528) (i64.load (local.get $t)))
         (i32.const 512)",
    );
    let engine = engine();
    let loaded = load(&engine, &guest, SCHEDULE);
    let plugin = loaded.rotation(settings(&loaded, &limits()));
    let mut request = rotation_request();
    request.policy.parameters = BTreeMap::from([("zone".into(), "Europe/Zurich".into())]);
    let answer = plugin.decide_twice(&request).await.unwrap();
    assert_eq!(answer, RotationAnswer::At(at("2026-03-29T01:00:00Z")));
    request.policy.parameters = BTreeMap::from([("zone".into(), "Nowhere".into())]);
    let failure = plugin.decide_traced(&request).await.value.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    let failure = plugin.check_policy_traced(&request.policy).await.value.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    request.policy.parameters = BTreeMap::from([("else".into(), "x".into())]);
    let failure = plugin.decide_traced(&request).await.value.unwrap_err();
    assert!(failure.kind == FailureKind::Refused && failure.text.contains("else"), "{failure}");
}

#[tokio::test]
async fn profiles_that_are_not_offered_are_refused() {
    let engine = engine();
    let loaded = load(&engine, &Guest::of(World::KdfProfile), World::KdfProfile);
    let plugin = loaded.kdf(settings(&loaded, &limits())).await.unwrap();
    plugin.check_settings().await.unwrap();
    let failure = plugin.plan_for("other", &kdf_context()).await.unwrap_err();
    assert!(failure.kind == FailureKind::Refused && failure.text.contains("hkdf"), "{failure}");
    let long = hub_plugins::KdfContext { length: 1_025, ..kdf_context() };
    let failure = plugin.plan_for("hkdf", &long).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
}

#[tokio::test]
async fn a_plan_does_not_depend_on_how_much_memory_there_is() {
    let engine = engine();
    let answers_anyway = |grows: &str| {
        let text = format!("(param i32) (result i32) {grows} (i32.const 700)");
        Guest::of(World::KdfProfile).field("(table $t 1 funcref)").with("kdf#plan", &text)
    };
    for (grows, kind) in [
        ("(drop (memory.grow (i32.const 1)))", None),
        ("(drop (memory.grow (i32.const 100)))", Some(FailureKind::Memory)),
        ("(drop (table.grow $t (ref.null func) (i32.const 5000)))", Some(FailureKind::Tables)),
    ] {
        let loaded = load(&engine, &answers_anyway(grows), World::KdfProfile);
        let plugin = loaded.kdf(settings(&loaded, &limits())).await.unwrap();
        let said = plugin.plan_for("hkdf", &kdf_context()).await;
        assert_eq!(said.map(drop).map_err(|failure| failure.kind).err(), kind, "{grows}");
    }
    // Where nothing is derived from the answer it stands.
    let text = "(param i32) (result i32) (drop (memory.grow (i32.const 100))) (i32.const 512)";
    let loaded = load(&engine, &Guest::of(SCHEDULE).with("rotation#decide", text), SCHEDULE);
    let plugin = loaded.rotation(settings(&loaded, &limits()));
    plugin.decide_traced(&rotation_request()).await.value.unwrap();
}

#[test]
fn what_is_dear_to_compile_is_refused_before() {
    let engine = engine();
    let module = |text: &str| {
        let text = format!("(component (core module {text}))");
        refused(&engine, &wat::parse_str(text).unwrap(), &manifest(SCHEDULE))
    };
    let dear = |error: LoadError, wanted: &str| {
        assert!(matches!(error, LoadError::Dear { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(wanted) && text.contains("at most"), "{text}");
    };
    let elements = "$f ".repeat(20_001);
    dear(
        module(&format!(
            "(import \"\" \"\" (table 200000 funcref)) (func $f) (elem (i32.const 0) func {elements})"
        )),
        "20001 elements of segments",
    );
    dear(module(&format!("(func {})", "nop ".repeat(800_000))), "bytes of one function");
    dear(module(&format!("(func (local {}))", "i32 ".repeat(10_001))), "10001 locals");
    dear(module(&format!("(type (func (param {})))", "i32 ".repeat(129))), "129 parameters");
    dear(
        module(&format!("(func {} {})", "block ".repeat(4_001), "end ".repeat(4_001))),
        "4001 blocks",
    );
    dear(module(&"(func)".repeat(100_001)), "100001 functions");
    let text = format!("(component {})", "(core module)".repeat(257));
    let error = refused(&engine, &wat::parse_str(text).unwrap(), &manifest(SCHEDULE));
    dear(error, "257 core modules");
    let text = format!("{}{}", "(component ".repeat(10), ")".repeat(10));
    let error = refused(&engine, &wat::parse_str(text).unwrap(), &manifest(SCHEDULE));
    dear(error, "components within each other");
    // Within a component within it, too.
    let inner = format!(
        "(component (component (core module (type (func (result {}))))))",
        "i32 ".repeat(17)
    );
    dear(refused(&engine, &wat::parse_str(inner).unwrap(), &manifest(SCHEDULE)), "17 results");
}

#[test]
fn what_is_not_granted_is_named_with_the_line_that_grants_it() {
    let engine = engine();
    let logging = Guest::of(SCHEDULE).logs().with(
        "rotation#decide",
        "(param i32) (result i32) (call $log (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 512)",
    );
    let text = manifest(SCHEDULE).replace("\"log\", ", "");
    let error = refused(&engine, &logging.component(SCHEDULE), &text);
    assert!(matches!(&error, LoadError::NotGranted { capability: "log", .. }), "{error}");
    assert!(error.to_string().contains("capabilities = [\"config\", \"log\"]"), "{error}");
    for (import, said) in [
        ("wasi:cli/environment@0.2.0", "no WASI"),
        ("acme:tools/disk", "cipher-hub:plugin"),
        ("cipher-hub:plugin/secrets@0.1.0", "no such interface"),
        ("cipher-hub:plugin/log@0.2.0", "0.1"),
        ("cipher-hub:plugin/outbound@0.1.0", "audit-sink"),
    ] {
        let text = format!("(component (import \"{import}\" (instance (export \"f\" (func)))))");
        let error = refused(&engine, &wat::parse_str(text).unwrap(), &manifest(SCHEDULE));
        assert!(matches!(error, LoadError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(import) && error.to_string().contains(said), "{error}");
    }
}

#[test]
fn components_of_other_worlds_and_types_are_refused() {
    let engine = engine();
    let sink = Guest::of(World::AuditSink).component(World::AuditSink);
    let error = refused(&engine, &sink, &manifest(SCHEDULE));
    assert!(
        matches!(&error, LoadError::WrongWorld { found: Some(World::AuditSink), .. }),
        "{error}"
    );
    let empty = wat::parse_str("(component)").unwrap();
    let error = refused(&engine, &empty, &manifest(SCHEDULE));
    assert!(matches!(&error, LoadError::WrongWorld { found: None, .. }), "{error}");
    let shape = |exports: &str| {
        wat::parse_str(format!(
            r#"(component
              (core module $m (func (export "f")))
              (core instance $i (instantiate $m))
              (func $f (canon lift (core func $i "f")))
              (instance $r {exports})
              (instance $l (export "check" (func $f)))
              (export "cipher-hub:plugin/rotation@0.1.0" (instance $r))
              (export "cipher-hub:plugin/lifecycle@0.1.0" (instance $l)))"#
        ))
        .unwrap()
    };
    let other = shape(r#"(export "decide" (func $f)) (export "check-policy" (func $f))"#);
    assert!(matches!(refused(&engine, &other, &manifest(SCHEDULE)), LoadError::Types(_)));
    let missing = shape(r#"(export "decide" (func $f))"#);
    assert!(matches!(refused(&engine, &missing, &manifest(SCHEDULE)), LoadError::Types(_)));
}

#[test]
fn what_needs_too_much_is_not_loaded() {
    let engine = engine();
    let memories: String = (0..4).map(|n| format!("(memory $m{n} 1)")).collect();
    let tables: String = (0..17).map(|n| format!("(table $t{n} 1 funcref)")).collect();
    let wide = "(table $t 2000 funcref)".to_owned();
    for fields in [memories, tables, wide] {
        let guest = Guest::of(SCHEDULE).field(&fields);
        let error = engine.load(&guest.package(SCHEDULE)).unwrap_err();
        assert!(matches!(error, LoadError::Limits(_) | LoadError::Invalid(_)), "{error}");
    }
    let instances = "(core instance (instantiate $m))".repeat(65);
    let text = format!("(component (core module $m) {instances})");
    let error = refused(&engine, &wat::parse_str(text).unwrap(), &manifest(SCHEDULE));
    assert!(matches!(error, LoadError::Limits(_) | LoadError::Invalid(_)), "{error}");
    let config = EngineConfig { max_component: 100, ..EngineConfig::default() };
    let small = Engine::new(config).unwrap();
    let error = small.load(&Guest::of(SCHEDULE).package(SCHEDULE)).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { most: 100, .. }), "{error}");
}

#[test]
fn what_a_component_is_can_be_seen_without_running_it() {
    let engine = engine();
    let guest = Guest::of(SCHEDULE).logs().field("(func $s unreachable) (start $s)").with(
        "rotation#decide",
        "(param i32) (result i32) (call $log (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 512)",
    );
    let inspected = engine.inspect(&guest.package(SCHEDULE)).unwrap();
    assert_eq!(inspected.world, Some(SCHEDULE));
    assert_eq!(inspected.imports, ["cipher-hub:plugin/log@0.1.0"]);
    assert!(inspected.exports.contains(&"cipher-hub:plugin/rotation@0.1.0".to_owned()));
    let memory = inspected.memory.unwrap();
    assert_eq!((memory.memories, memory.initial), (1, 65_536));
}

#[tokio::test]
async fn a_compiled_plugin_is_kept_and_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let engine = || {
        let cache = CacheConfig { folder: folder.path().join("cache"), key: [3; 32].into() };
        Engine::new(EngineConfig {
            cache: Some(cache),
            ceilings: limits(),
            ..EngineConfig::default()
        })
        .unwrap()
    };
    let files = || {
        let folder = std::fs::read_dir(folder.path().join("cache")).unwrap();
        folder.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let package = Guest::of(SCHEDULE).package(SCHEDULE);
    let answer = async |engine: &Arc<Engine>| {
        let loaded = engine.load(&package).unwrap();
        let plugin = loaded.rotation(settings(&loaded, &limits()));
        plugin.decide_traced(&rotation_request()).await.value.unwrap()
    };
    let first = answer(&engine()).await;
    assert_eq!(files().len(), 1);
    let written = std::fs::metadata(&files()[0]).unwrap().modified().unwrap();
    assert_eq!(answer(&engine()).await, first);
    assert_eq!(
        std::fs::metadata(&files()[0]).unwrap().modified().unwrap(),
        written,
        "taken as it is"
    );
    std::fs::write(&files()[0], b"something else").unwrap();
    let third = engine();
    assert_eq!(answer(&third).await, first);
    assert!(std::fs::metadata(&files()[0]).unwrap().len() > 1_000, "made again");
    third.forget(&package.digest());
    assert_eq!(files().len(), 0);
}

#[tokio::test]
async fn a_plugin_of_another_world_is_not_there() {
    let engine = engine();
    let loaded = load(&engine, &Guest::of(World::AuditSink), World::AuditSink);
    let plugin = loaded.rotation(settings(&loaded, &limits()));
    let failure = plugin.decide_traced(&rotation_request()).await.value.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(loaded.kdf(settings(&loaded, &limits())).await.is_err());
    assert_eq!(settings(&loaded, &limits()).failure, FailurePolicy::FailClosed);
}

#[test]
fn an_engine_is_made_and_let_go() {
    let begun = Instant::now();
    for _ in 0..3 {
        drop(engine());
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
}
