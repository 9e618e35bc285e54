//! Plugins for tests: core modules in text, written by hand to the canonical ABI, so that they can
//! do what no compiler lets a program do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hub_model::Timestamp;
use hub_plugins::{
    Engine, EngineConfig, KdfContext, Limits, LoadError, Loaded, Package, RotationRequest,
    Settings, SinkBatch, SizeLimits, World,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A function of the module: what it exports, and its text after the name.
pub(crate) type Export<'a> = (&'a str, &'a str);

/// What a module is made of.
#[derive(Clone, Default)]
pub(crate) struct Guest {
    pub(crate) imports: String,
    pub(crate) fields: String,
    pub(crate) exports: BTreeMap<String, String>,
}

impl Guest {
    /// A plugin of this world that answers everything, and at once.
    pub(crate) fn of(world: World) -> Self {
        let defaults: &[Export<'_>] = match world {
            World::RotationSchedule => &[
                ("rotation#decide", "(param i32) (result i32) (i32.const 512)"),
                ("rotation#check-policy", "(param i64 i64 i32 i32) (result i32) (i32.const 512)"),
            ],
            World::KdfProfile => &[
                ("kdf#profiles", "(result i32) (i32.const 600)"),
                ("kdf#plan", "(param i32) (result i32) (i32.const 700)"),
            ],
            World::AuditSink => &[
                (
                    "sink#deliver",
                    "(param i64 i64 i32 i32 i32) (result i32)
                     (i64.store (i32.const 528) (local.get 1)) (i32.const 512)",
                ),
                ("sink#probe", "(result i32) (i32.const 512)"),
            ],
        };
        let all = defaults.iter().chain(&[("lifecycle#check", "(result i32) (i32.const 512)")]);
        let exports = all.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        // At 600: one profile, `hkdf`, of at most 1024 bytes. At 700: a plan of one step,
        // HKDF-Expand with SHA-256 of the root key to 32 bytes.
        let fields = match world {
            World::KdfProfile => {
                r#"(data (i32.const 600) "\60\02\00\00\01\00\00\00")
                   (data (i32.const 608) "\80\02\00\00\04\00\00\00\80\02\00\00\04\00\00\00\00\04\00\00")
                   (data (i32.const 640) "hkdf")
                   (data (i32.const 700) "\00\00\00\00\c8\02\00\00\01\00\00\00")
                   (data (i32.const 712) "\01\00\00\00\00\00\00\00\00\00\00\00\80\02\00\00\04\00\00\00\20\00\00\00")"#
            }
            _ => "",
        };
        Self { imports: String::new(), fields: fields.to_owned(), exports }
    }

    /// With other text for a function, or with another one.
    pub(crate) fn with(mut self, name: &str, text: &str) -> Self {
        self.exports.insert(name.to_owned(), text.to_owned());
        self
    }

    /// With more fields of the module.
    pub(crate) fn field(mut self, text: &str) -> Self {
        self.fields.push_str(text);
        self
    }

    /// With another import.
    pub(crate) fn import(mut self, text: &str) -> Self {
        self.imports.push_str(text);
        self
    }

    /// With an import of `log`.
    pub(crate) fn logs(self) -> Self {
        self.import(
            r#"(import "cipher-hub:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#,
        )
    }

    /// With an import of `config`.
    pub(crate) fn configured(self) -> Self {
        self.import(
            r#"(import "cipher-hub:plugin/config@0.1.0" "get" (func $get (param i32 i32 i32)))
               (import "cipher-hub:plugin/config@0.1.0" "all" (func $all (param i32)))"#,
        )
    }

    /// With an import of `outbound`.
    pub(crate) fn sends(self) -> Self {
        self.import(
            r#"(import "cipher-hub:plugin/outbound@0.1.0" "send" (func $send
                 (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))"#,
        )
    }

    pub(crate) fn module(&self) -> String {
        let functions = self.exports.iter().map(|(name, text)| {
            let (interface, function) = name.split_once('#').unwrap_or(("", name));
            format!("(func (export \"cipher-hub:plugin/{interface}@0.1.0#{function}\") {text})\n")
        });
        let realloc = if self.fields.contains("cabi_realloc") {
            ""
        } else {
            // Hands out memory upwards, and never takes any back.
            r#"(global $next (mut i32) (i32.const 8192))
               (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                 (global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                 (local.set $at (global.get $next))
                 (global.set $next (i32.add (global.get $next) (local.get 3)))
                 (block $enough (loop $grow
                   (br_if $enough (i32.le_u (global.get $next)
                     (i32.mul (memory.size) (i32.const 65536))))
                   (br_if $enough (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
                   (br $grow)))
                 (local.get $at))"#
        };
        let memory = if self.fields.contains("(export \"memory\")") {
            ""
        } else {
            "(memory (export \"memory\") 1)"
        };
        let (imports, fields) = (&self.imports, &self.fields);
        format!("(module {imports} {memory} {realloc} {fields} {})", functions.collect::<String>())
    }

    /// As a component.
    pub(crate) fn component(&self, world: World) -> Vec<u8> {
        self.component_of(world.name(), "package test:none;")
    }

    /// As a component of a world that these lines of WIT may have made.
    pub(crate) fn component_of(&self, world: &str, more: &str) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).expect("the text is a module");
        let mut wit = Resolve::default();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
        let (package, _) = wit.push_dir(folder).unwrap();
        let own = wit.push_str("more.wit", more).unwrap();
        let chosen = wit.select_world(&[package], Some(world));
        let chosen = chosen.or_else(|_| wit.select_world(&[own], Some(world))).unwrap();
        embed_component_metadata(&mut module, &wit, chosen, StringEncoding::UTF8).unwrap();
        let encoder = ComponentEncoder::default().validate(true).module(&module);
        encoder.unwrap().encode().expect("the module fits the world")
    }

    pub(crate) fn package(&self, world: World) -> Package {
        package(&self.component(world), &manifest(world))
    }
}

pub(crate) fn manifest(world: World) -> String {
    let parameters = "[parameters.zone]\ntype = \"string\"\ndefault = \"UTC\"\n";
    let parameters = if world == World::AuditSink { "" } else { parameters };
    let outbound = if world == World::AuditSink { ", \"outbound\"" } else { "" };
    format!(
        r#"name = "under-test"
version = "1.0.0"
world = "{world}"
contract = "0.1"
description = "Does what tests ask of it."
capabilities = ["log", "config"{outbound}]
{parameters}"#
    )
}

pub(crate) fn package(component: &[u8], manifest: &str) -> Package {
    let bytes = Package::seal(component, manifest).unwrap();
    Package::parse(bytes, &SizeLimits::default()).unwrap()
}

/// Short deadlines, little memory: what hostile plugins run into soon.
pub(crate) fn limits() -> Limits {
    Limits {
        memory: 2 << 20,
        time: Duration::from_millis(200),
        host_calls: 100,
        host_bytes: 4 << 20,
        transfer: 256 << 10,
        table_elements: 1_000,
        log_lines: 10,
        ..Limits::default()
    }
}

pub(crate) fn engine() -> Arc<Engine> {
    Engine::new(EngineConfig { concurrency: 4, ceilings: limits(), ..EngineConfig::default() })
        .unwrap()
}

pub(crate) fn load(engine: &Arc<Engine>, guest: &Guest, world: World) -> Arc<Loaded> {
    engine.load(&guest.package(world)).unwrap()
}

/// Loads a plugin of another name.
pub(crate) fn load_as(
    name: &str,
    engine: &Arc<Engine>,
    guest: &Guest,
    world: World,
) -> Arc<Loaded> {
    let text = manifest(world).replace("\"under-test\"", &format!("\"{name}\""));
    engine.load(&package(&guest.component(world), &text)).unwrap()
}

pub(crate) fn refused(engine: &Arc<Engine>, component: &[u8], manifest: &str) -> LoadError {
    engine.load(&package(component, manifest)).unwrap_err()
}

pub(crate) fn settings(loaded: &Loaded, limits: &Limits) -> Settings {
    Settings::of(loaded.manifest(), &BTreeMap::new(), limits).unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn rotation_request() -> RotationRequest {
    let request = r#"{
        "key": {"id": "key_1", "name": "orders", "registration": "reg_1",
                "algorithm": "AES_256_GCM", "purpose": "encrypt", "primary": 1,
                "versions": [{"number": 1, "state": "active", "createdAt": "2026-01-01T00:00:00Z"}]},
        "policy": {"minInterval": "P7D", "maxInterval": "P365D"},
        "lastRotation": "2026-01-01T00:00:00Z", "now": "2026-06-01T00:00:00Z"}"#;
    serde_json::from_str(request).unwrap()
}

/// The request of a key in another registration.
pub(crate) fn rotation_request_in(registration: &str) -> RotationRequest {
    let mut request = rotation_request();
    registration.clone_into(&mut request.key.registration);
    request
}

pub(crate) fn kdf_context() -> KdfContext {
    serde_json::from_str(
        r#"{"registration": "reg_1", "key": "key_1", "version": 1, "length": 32,
            "info": [1, 2, 3], "encryptionContext": {"a": "b"}}"#,
    )
    .unwrap()
}

pub(crate) fn batch() -> SinkBatch {
    serde_json::from_str(
        r#"{"cursor": 10, "next": 12, "entries": [
            {"sequence": 10, "at": "2026-06-01T00:00:00Z", "action": "keys.encrypt",
             "outcome": "success", "json": "{}"},
            {"sequence": 11, "at": "2026-06-01T00:00:01Z", "action": "keys.get",
             "actor": "alice", "outcome": "denied", "json": "{}"}]}"#,
    )
    .unwrap()
}
