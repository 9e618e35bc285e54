//! The plugins of `plugins/`, built from source, in the host: each is let in, likes its settings and
//! gives an answer. Their cases are run by `tests/e2e/test_plugin_rust.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hub_model::extend::{KdfProfiles as _, Parameters};
use hub_plugins::{
    Delivery, Engine, EngineConfig, KdfContext, Limits, Loaded, Outbound, OutboundRequest,
    OutboundResponse, Package, RotationRequest, Sending, Settings, SinkBatch, SizeLimits, World,
};
use serde_json::json;

/// How many there are.
const ALL: usize = 8;

#[derive(Debug)]
struct Stored;

impl Outbound for Stored {
    fn send<'a>(&'a self, _: &'a str, _: OutboundRequest, _: Duration) -> Sending<'a> {
        Box::pin(async {
            Ok(OutboundResponse { status: 200, headers: Vec::new(), body: b"{}".to_vec() })
        })
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

/// What was built. Nothing where nobody has built them, except in CI, which does.
#[expect(clippy::disallowed_methods, reason = "a test asks where it runs")]
fn built() -> Vec<(String, Package)> {
    let Ok(files) = std::fs::read_dir(folder().join("out")) else {
        assert!(std::env::var_os("CI").is_none(), "plugins/build has not been run");
        eprintln!("skipped: plugins/build makes what is tested here");
        return Vec::new();
    };
    let mut all: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "wasm"))
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let package = Package::parse(bytes, &SizeLimits::default());
            (name.clone(), package.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn parameters(values: &[(&str, &str)]) -> Parameters {
    values.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// As slow as a machine that builds beside the tests may be.
fn ceilings() -> Limits {
    Limits { time: Duration::from_secs(5), ..Limits::default() }
}

fn load(name: &str, package: &Package) -> (Arc<Loaded>, Settings) {
    let engine = Engine::new(EngineConfig { ceilings: ceilings(), ..EngineConfig::default() });
    let loaded = engine.unwrap().load(package);
    let loaded = loaded.unwrap_or_else(|error| panic!("{name}: {error}"));
    let given = match name {
        "sink-webhook-hmac" => {
            parameters(&[("secret", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")])
        }
        _ => Parameters::new(),
    };
    let mut settings = Settings::of(package.manifest(), &given, &ceilings()).unwrap();
    settings.limits.time = ceilings().time;
    (loaded, settings)
}

#[test]
fn manifests_are_those_in_the_folders() {
    let all = built();
    assert!(all.is_empty() || all.len() == ALL, "{} of {ALL} are built", all.len());
    for (name, package) in all {
        let manifest = package.manifest();
        assert_eq!(manifest.name.as_str(), name);
        let text = std::fs::read_to_string(folder().join(&name).join("plugin.toml")).unwrap();
        assert_eq!(**manifest, hub_plugins::Manifest::parse(&text).unwrap(), "{name}");
        let bytes = package.component_bytes();
        assert!(bytes.len() < 128 * 1024, "{name} has {} bytes", bytes.len());
        assert!(!bytes.windows(5).any(|w| w == b"wasi:"), "{name} imports WASI");
    }
}

#[tokio::test]
async fn each_gives_an_answer() {
    for (name, package) in built() {
        let (loaded, settings) = load(&name, &package);
        match package.manifest().world {
            World::RotationSchedule => schedule(&name, &loaded, settings).await,
            World::KdfProfile => profiles(&name, &loaded, settings).await,
            World::AuditSink => sink(&loaded, settings).await,
        }
    }
}

async fn schedule(name: &str, loaded: &Arc<Loaded>, settings: Settings) {
    let plugin = loaded.rotation(settings);
    plugin.check_settings().await.unwrap();
    let request: RotationRequest = serde_json::from_value(json!({
        "key": {
            "id": "key_01jd8r0000000000000000000a", "name": "orders",
            "registration": "reg_01jd8r0000000000000000000a",
            "algorithm": "AES_256_GCM", "purpose": "encrypt", "primary": 1,
            "versions": [{
                "number": 1, "state": "active",
                "createdAt": "2026-01-05T10:00:00Z", "primarySince": "2026-01-05T10:00:00Z",
                "protectOperations": 1, "protectBytes": 1, "processOperations": 1,
            }],
        },
        "policy": { "minInterval": 86_400_000, "maxInterval": 31_536_000_000_u64, "parameters": {} },
        "lastRotation": "2026-01-05T10:00:00Z",
        "now": "2026-01-06T10:00:00Z",
    }))
    .unwrap();
    let called = plugin.decide_traced(&request).await;
    called.value.unwrap_or_else(|failure| panic!("{name}: {failure}"));
}

async fn profiles(name: &str, loaded: &Arc<Loaded>, settings: Settings) {
    let plugin = loaded.kdf(settings).await.unwrap();
    assert!(!plugin.profiles().is_empty());
    let given = if name == "kdf-tenant-tree" { ("path", "a/b") } else { ("label", "l") };
    for profile in plugin.profiles().iter() {
        let context = KdfContext {
            registration: "reg_01jd8r0000000000000000000a".to_owned(),
            key: "key_01jd8r0000000000000000000a".to_owned(),
            version: 1,
            algorithm: None,
            name: None,
            salt: Vec::new(),
            info: b"info".to_vec(),
            encryption_context: BTreeMap::new(),
            length: profile.max_length,
            parameters: parameters(&[given]),
        };
        let called = plugin.plan_traced(profile.id.as_str(), &context).await;
        let plan = called.value.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert!((1..=32).contains(&plan.steps.len()), "{name}");
    }
}

async fn sink(loaded: &Arc<Loaded>, settings: Settings) {
    let plugin = loaded.sink(settings, Arc::new(Stored));
    plugin.check_settings().await.unwrap();
    plugin.probe().await.unwrap();
    let entry = |n: u64| {
        json!({
            "sequence": n, "at": "2026-11-26T09:00:00Z", "action": "keys.encrypt",
            "outcome": "success", "json": "{}", "leafHash": vec![0; 32],
        })
    };
    let entries: Vec<_> = (1..=100).map(entry).collect();
    let batch = json!({ "cursor": 1, "next": 101, "entries": entries });
    let batch: SinkBatch = serde_json::from_value(batch).unwrap();
    assert_eq!(plugin.deliver(batch).await.unwrap(), Delivery::Acknowledged(101));
}
