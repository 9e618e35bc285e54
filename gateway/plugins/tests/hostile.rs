//! Plugins that mean harm, in each world: every one is contained, each with the name of what it ran
//! into, and the engine goes on serving.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Guest, batch, engine, kdf_context, limits, load, rotation_request, settings};
use hub_model::extend::{FailureKind, PluginFailure};
use hub_plugins::{Engine, Limits, Loaded, Outbound, OutboundRequest, Sending, World};

#[derive(Debug)]
struct Silent;

impl Outbound for Silent {
    fn send<'a>(&'a self, _: &'a str, _: OutboundRequest, _: Duration) -> Sending<'a> {
        Box::pin(async { Err(hub_plugins::SendError::UnknownEndpoint) })
    }
}

const WORLDS: [World; 3] = [World::RotationSchedule, World::KdfProfile, World::AuditSink];

/// The export that is asked, and its signature.
fn main_export(world: World) -> (&'static str, &'static str) {
    match world {
        World::RotationSchedule => ("rotation#decide", "(param i32) (result i32)"),
        World::KdfProfile => ("kdf#plan", "(param i32) (result i32)"),
        World::AuditSink => ("sink#deliver", "(param i64 i64 i32 i32 i32) (result i32)"),
    }
}

/// Asks the question of the world.
async fn ask(loaded: &Arc<Loaded>, limits: &Limits) -> Result<(), PluginFailure> {
    let settings = settings(loaded, limits);
    match loaded.manifest().world {
        World::RotationSchedule => {
            let plugin = loaded.rotation(settings);
            plugin.decide_traced(&rotation_request()).await.value.map(drop)
        }
        World::KdfProfile => {
            let plugin = loaded.kdf(settings).await?;
            plugin.plan_traced("hkdf", &kdf_context()).await.value.map(drop)
        }
        World::AuditSink => {
            let plugin = loaded.sink(settings, Arc::new(Silent));
            plugin.deliver(batch()).await.map(drop)
        }
    }
}

/// A guest that does this where it is asked, and then answers well.
fn doing(world: World, fields: &str, body: &str) -> Guest {
    let (name, signature) = main_export(world);
    let answer = if world == World::KdfProfile { 700 } else { 512 };
    let before =
        if world == World::AuditSink { "(i64.store (i32.const 528) (local.get 1))" } else { "" };
    let text = format!("{signature} {before} {body} (i32.const {answer})");
    Guest::of(world).logs().configured().with(name, &text).field(fields)
}

async fn contained(engine: &Arc<Engine>, guest: &Guest, world: World, kind: FailureKind) {
    let loaded = load(engine, guest, world);
    let failure = ask(&loaded, &limits()).await.expect_err("it is hostile");
    assert_eq!(failure.kind, kind, "{world}: {failure}");
    assert!(!failure.text.chars().any(char::is_control));
    let stats = loaded.stats();
    assert_eq!(stats.failures, [(kind.name(), 1)], "{world}");
}

const ATTACKS: &[(&str, &str, FailureKind)] = &[
    ("", "(loop $l (br $l))", FailureKind::Deadline),
    ("(func $f (call $f) (call $f))", "(call $f)", FailureKind::Trap),
    ("", "unreachable", FailureKind::Trap),
    ("", "(drop (i32.div_u (i32.const 1) (i32.const 0)))", FailureKind::Trap),
    ("", "(drop (i32.load (i32.const -4)))", FailureKind::Trap),
    (
        "",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
        FailureKind::Memory,
    ),
    (
        "(memory $a 1) (memory $b 1) (memory $c 1)",
        "(loop $l (drop (memory.grow $a (i32.const 1))) (drop (memory.grow $b (i32.const 1)))
           (br_if $l (i32.ne (memory.grow $c (i32.const 1)) (i32.const -1)))) unreachable",
        FailureKind::Memory,
    ),
    (
        "(table $t 1 funcref)",
        "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 100))
           (i32.const -1)))) unreachable",
        FailureKind::Tables,
    ),
    (
        "",
        "(loop $l (call $get (i32.const 0) (i32.const 1) (i32.const 900)) (br $l))",
        FailureKind::HostCalls,
    ),
    ("", "(loop $l (call $all (i32.const 900)) (br $l))", FailureKind::HostCalls),
    (
        "",
        "(loop $l (call $log (i32.const 4) (i32.const 0) (i32.const 8)) (br $l))",
        FailureKind::HostCalls,
    ),
    // Text outside the memory, text that is no UTF-8, a level that there is not.
    ("", "(call $log (i32.const 4) (i32.const 0) (i32.const -1))", FailureKind::Trap),
    (
        "",
        "(i32.store (i32.const 0) (i32.const -1))
         (call $log (i32.const 4) (i32.const 0) (i32.const 4))",
        FailureKind::Trap,
    ),
    ("", "(call $log (i32.const 77) (i32.const 0) (i32.const 4))", FailureKind::Trap),
    // More text at once than may cross.
    (
        "",
        "(drop (memory.grow (i32.const 10)))
         (call $log (i32.const 4) (i32.const 0) (i32.const 300000))",
        FailureKind::HostCalls,
    ),
    // Before it is asked.
    ("(func $s (loop $l (br $l))) (start $s)", "", FailureKind::Deadline),
    ("(func $s unreachable) (start $s)", "", FailureKind::Trap),
    ("(data (i32.const 65530) \"0123456789\")", "", FailureKind::Trap),
    ("(memory $big 64)", "", FailureKind::Memory),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_are_contained_in_every_world() {
    let engine = engine();
    for world in WORLDS {
        for (fields, body, kind) in ATTACKS {
            let guest = doing(world, fields, body);
            if fields.contains("$big") {
                let error = engine.load(&guest.package(world)).unwrap_err();
                assert!(matches!(error, hub_plugins::LoadError::Limits(_)), "{error}");
                continue;
            }
            // Where the profiles are asked for first, they meet it.
            contained(&engine, &guest, world, *kind).await;
        }
    }
}

#[tokio::test]
async fn fuel_ends_a_call_where_there_is_a_limit() {
    let (engine, world) = (engine(), World::RotationSchedule);
    let loaded = load(&engine, &doing(world, "", "(loop $l (br $l))"), world);
    let little = Limits { fuel: Some(10_000), ..limits() };
    let failure = ask(&loaded, &little).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Fuel);
    assert!(loaded.stats().fuel <= 10_000);
    let quick = load(&engine, &Guest::of(world), world);
    ask(&quick, &little).await.unwrap();
    assert!((1..10_000).contains(&quick.stats().fuel), "{}", quick.stats().fuel);
}

#[tokio::test]
async fn every_export_may_trap() {
    let engine = engine();
    for world in WORLDS {
        let names: Vec<String> = Guest::of(world).exports.keys().cloned().collect();
        for name in names {
            let guest = Guest::of(world);
            let signature = guest.exports[&name].split("(i32.const").next().unwrap().to_owned();
            let signature = signature.split("(i64.store").next().unwrap().to_owned();
            let loaded =
                load(&engine, &guest.with(&name, &format!("{signature} unreachable")), world);
            let settings = settings(&loaded, &limits());
            let mut outcomes = Vec::new();
            match world {
                World::RotationSchedule => {
                    let plugin = loaded.rotation(settings);
                    let request = rotation_request();
                    outcomes.push(plugin.check_settings().await);
                    outcomes.push(plugin.decide_traced(&request).await.value.map(drop));
                    outcomes.push(plugin.check_policy_traced(&request.policy).await.value);
                }
                World::KdfProfile => match loaded.kdf(settings).await {
                    Ok(plugin) => {
                        outcomes.push(plugin.check_settings().await);
                        let plan = plugin.plan_for("hkdf", &kdf_context()).await;
                        outcomes.push(plan.map(drop));
                    }
                    Err(failure) => outcomes.push(Err(failure)),
                },
                World::AuditSink => {
                    let plugin = loaded.sink(settings, Arc::new(Silent));
                    outcomes.push(plugin.check_settings().await);
                    outcomes.push(plugin.deliver(batch()).await.map(drop));
                    outcomes.push(plugin.probe().await);
                }
            }
            let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
            assert_eq!(failed.len(), 1, "{name}: {failed:?}");
            assert_eq!(failed[0].kind, FailureKind::Trap, "{name}: {}", failed[0]);
            assert!(failed[0].text.contains("unreachable"), "{}", failed[0]);
        }
        // The allocator of the guest is its own code too.
        let realloc =
            r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#;
        let loaded = load(&engine, &Guest::of(world).field(realloc), world);
        assert_eq!(ask(&loaded, &limits()).await.unwrap_err().kind, FailureKind::Trap, "{world}");
        let outside = realloc.replace("unreachable", "(i32.const -16)");
        let loaded = load(&engine, &Guest::of(world).field(&outside), world);
        let failure = ask(&loaded, &limits()).await.unwrap_err();
        assert!(matches!(failure.kind, FailureKind::Trap | FailureKind::Nonsense), "{failure}");
    }
}

/// Stores a little-endian word.
fn word(at: u32, value: i64) -> String {
    format!("(i32.store (i32.const {at}) (i32.const {value}))")
}

#[tokio::test]
async fn answers_that_make_no_sense_are_told_apart() {
    let engine = engine();
    let long = |at: u32, value: u64| {
        format!(
            "(i64.store (i32.const {at}) (i64.const {}))",
            i64::from_ne_bytes(value.to_ne_bytes())
        )
    };
    let rotation = [
        "(return (i32.const -256))".to_owned(), // outside the memory
        "(return (i32.const 513))".to_owned(),  // not aligned
        word(512, 7),                           // no such result
        word(520, 9),                           // no such decision
        long(528, u64::MAX),                    // beyond the end of time
        word(520, 2),                           // ask again in 1970
        [word(520, 1), word(528, 0), word(532, 129)].concat(), // a reason of 129 characters
        [word(520, 1), word(528, 65_000), word(532, 2_000)].concat(), // outside
        [word(520, 1), word(528, 0), word(532, 4), word(0, -1)].concat(), // no UTF-8
        // A reason of megabytes.
        format!(
            "(drop (memory.grow (i32.const 20))) {}",
            [word(520, 1), word(528, 0), word(532, 1_000_000)].concat()
        ),
        [word(512, 1), word(520, 5)].concat(), // no such error
    ];
    let kdf = [
        "(return (i32.const -256))".to_owned(),
        word(708, 0),             // no steps
        word(708, 33),            // too many, and outside
        word(708, 1_000_000_000), // a list of gigabytes
        word(704, -8),            // elsewhere
        word(712, 9),             // no such step
        word(716, 9),             // no such hash
        word(720, 1),             // itself
        word(720, 99),            // a later slot
        word(732, 31),            // another length
        word(732, -1),            // all the bytes there are
        word(728, 65_000),        // an info outside
    ];
    let sink = [
        "(return (i32.const -256))".to_owned(),
        word(512, 3),
        word(520, 3),
        long(528, 9),  // stale: before the batch
        long(528, 13), // beyond the batch
        long(528, u64::MAX),
        [word(520, 1), word(528, 2)].concat(), // neither some nor none
    ];
    for (world, answers) in [
        (World::RotationSchedule, rotation.as_slice()),
        (World::KdfProfile, kdf.as_slice()),
        (World::AuditSink, sink.as_slice()),
    ] {
        ask(&load(&engine, &Guest::of(world), world), &limits()).await.unwrap();
        for answer in answers {
            let guest = doing(world, "", answer);
            let failure = ask(&load(&engine, &guest, world), &limits()).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Nonsense, "{world} {answer}: {failure}");
        }
    }
}

#[tokio::test]
async fn what_it_reports_itself_is_refused_or_internal() {
    let engine = engine();
    for world in WORLDS {
        let at = if world == World::KdfProfile { 704 } else { 520 };
        let first = if world == World::KdfProfile { 700 } else { 512 };
        let kinds = [FailureKind::Refused, FailureKind::Refused, FailureKind::Internal];
        for (case, kind) in kinds.into_iter().enumerate() {
            let case = i64::try_from(case).unwrap();
            let body = [word(first, 1), word(at, case), word(at + 4, 40), word(at + 8, 5)].concat();
            let guest = doing(world, r#"(data (i32.const 40) "so\nso")"#, &body);
            let failure = ask(&load(&engine, &guest, world), &limits()).await.unwrap_err();
            assert_eq!((failure.kind, &*failure.text), (kind, "so so"), "{world}");
        }
    }
}

#[tokio::test]
async fn questions_are_asked_twice_and_plans_remembered() {
    let engine = engine();
    let world = World::KdfProfile;
    let loaded = load(&engine, &Guest::of(world), world);
    let plugin = loaded.kdf(settings(&loaded, &limits())).await.unwrap();
    let calls = loaded.stats().calls;
    assert_eq!(calls, 2, "profiles are asked for twice");
    let context = kdf_context();
    let first = plugin.plan_for("hkdf", &context).await.unwrap();
    assert_eq!(loaded.stats().calls, calls + 2, "a new question is asked twice");
    let second = plugin.plan_for("hkdf", &context).await.unwrap();
    assert_eq!(loaded.stats().calls, calls + 2, "a known one is not asked again");
    assert!(Arc::ptr_eq(&first, &second));
    let other = hub_plugins::KdfContext { info: vec![1, 2], ..context };
    plugin.plan_for("hkdf", &other).await.unwrap();
    assert_eq!(loaded.stats().calls, calls + 4);
}

#[tokio::test]
async fn an_instance_sees_nothing_of_the_one_before() {
    // Counts its calls in memory, a global and a table, and traps at the second.
    let world = World::RotationSchedule;
    let fields = "(global $g (mut i32) (i32.const 0)) (table $t 1 funcref) (func $x)
                  (elem declare func $x)";
    let body = "(if (i32.load (i32.const 100)) (then unreachable))
                (if (global.get $g) (then unreachable))
                (if (i32.eqz (ref.is_null (table.get $t (i32.const 0)))) (then unreachable))
                (i32.store (i32.const 100) (i32.const 1))
                (global.set $g (i32.const 1))
                (table.set $t (i32.const 0) (ref.func $x))";
    let engine = engine();
    let loaded = load(&engine, &doing(world, fields, body), world);
    for _ in 0..50 {
        ask(&loaded, &limits()).await.unwrap();
    }
}

#[tokio::test]
async fn handles_are_limited() {
    // Resources of the guest's own live in tables of the host.
    let wit = "package test:mine; interface things { resource thing { constructor(); } }
               world with-things { include cipher-hub:plugin/rotation-schedule@0.1.0; export things; }";
    let world = World::RotationSchedule;
    let guest = doing(world, "", "(loop $l (drop (call $new (i32.const 1))) (br $l))")
        .import(r#"(import "[export]test:mine/things" "[resource-new]thing" (func $new (param i32) (result i32)))"#)
        .field(r#"(func (export "test:mine/things#[constructor]thing") (result i32) (i32.const 1))"#);
    let component = guest.component_of("with-things", wit);
    let engine = engine();
    let loaded = engine.load(&common::package(&component, &common::manifest(world))).unwrap();
    let failure = ask(&loaded, &limits()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Tables, "{failure}");
}
