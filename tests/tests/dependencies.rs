//! What the lock file promises: the floors point downwards, every cipher erases its keys, and no
//! second generation of cryptography comes into the program.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The floors of the house, lowest first; neighbours do not know each other.
const FLOORS: &[&[&str]] = &[
    &["hub-model", "hub-arena"],
    &["hub-crypto", "hub-plugins", "hub-report"],
    &["hub-store"],
    &["hub-auth", "hub-audit"],
    &["hub-policy"],
    &["hub-operations", "hub-cli"],
    &["hub-server"],
    &["hub-bench"],
    &["cipher-hub"],
];

/// What authors of plugins link: it is copied into their projects, and knows nothing of the house.
const KIT: &str = "cipher-hub-plugin";

/// The one crate beside the floors: what applications link, which may know the model alone.
const CLIENT: &str = "cipher-hub-client";

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// The direct dependencies of every member, those for tests left out.
fn members(metadata: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let ids: BTreeSet<_> = list(&metadata["workspace_members"]).iter().map(text).collect();
    list(&metadata["packages"])
        .iter()
        .filter(|package| ids.contains(text(&package["id"])))
        .map(|package| {
            let uses = list(&package["dependencies"])
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(&dependency["name"]));
            (text(&package["name"]), uses.collect())
        })
        .collect()
}

#[test]
fn crates_use_lower_floors_only() {
    let metadata = metadata();
    let members = members(&metadata);
    let floor = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    for (name, uses) in &members {
        let known: Vec<_> = uses.iter().filter(|used| members.contains_key(*used)).collect();
        match floor(name) {
            Some(own) => {
                for used in known {
                    let below = floor(used).is_some_and(|other| other < own);
                    assert!(below || *used == CLIENT, "`{name}` uses `{used}`");
                    assert!(*used != CLIENT || *name == "hub-cli", "`{name}` uses `{used}`");
                }
            }
            None if *name == CLIENT => assert_eq!(known, [&"hub-model"]),
            None if *name == KIT => assert!(known.is_empty(), "`{name}` uses {known:?}"),
            None => assert_eq!(*name, "cipher-hub-tests", "`{name}` stands on no floor"),
        }
    }
    for name in FLOORS.iter().copied().flatten() {
        assert!(members.contains_key(name), "`{name}` is no member");
    }
}

#[test]
fn http_and_the_engine_stay_on_their_floors() {
    let metadata = metadata();
    for (name, uses) in members(&metadata) {
        let alone = |library: &str, owners: &[&str]| {
            assert!(!uses.contains(library) || owners.contains(&name), "`{name}` uses `{library}`");
        };
        alone("hyper", &["hub-server", "hub-bench", CLIENT]);
        alone("rustls", &["hub-server", CLIENT]);
        alone("fjall", &["hub-store"]);
        alone("cedar-policy", &["hub-policy"]);
        alone("cedar-policy-core", &["hub-policy"]);
        // Applications encrypt for themselves under keys of the hub.
        for primitive in ["aes-gcm", "hkdf"] {
            alone(primitive, &["hub-crypto", CLIENT]);
        }
        // Signatures of plugins are checked where no key of the hub is.
        alone("ed25519-dalek", &["hub-crypto", "hub-plugins"]);
        for cipher in [
            "aes-gcm-siv",
            "aes-kw",
            "aes-siv",
            "argon2",
            "aws-lc-rs",
            "chacha20poly1305",
            "k256",
            "ml-dsa",
            "ml-kem",
            "p256",
            "p384",
            "p521",
            "pbkdf2",
            "rand",
            "rsa",
            "x25519-dalek",
        ] {
            alone(cipher, &["hub-crypto"]);
        }
    }
}

/// What comes into the program and can erase what it held, with the features it comes with.
fn erasing(metadata: &Value) -> BTreeMap<String, bool> {
    let features: BTreeMap<_, _> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| (text(&node["id"]), list(&node["features"])))
        .collect();
    list(&metadata["packages"])
        .iter()
        .filter(|package| package["features"].get("zeroize").is_some())
        .filter_map(|package| {
            let on = features.get(text(&package["id"]))?.iter().any(|feature| feature == "zeroize");
            let (name, version) = (text(&package["name"]), text(&package["version"]));
            Some((format!("{name} {version}"), on))
        })
        .collect()
}

/// They come with build tools and hold no key of ours, or are never built: `serdect` stands in the
/// lock file for a feature of crypto-bigint and primeorder that nobody switches on.
const HOLD_NO_KEYS: &[&str] = &["generic-array", "rcgen", "serdect", "sha3 0.10"];

#[test]
fn everything_that_can_erase_its_keys_does() {
    let found = erasing(&metadata());
    for needed in [
        "aes ",
        "aes-gcm ",
        "aes-gcm-siv ",
        "aes-kw ",
        "aes-siv ",
        "argon2 ",
        "chacha20 ",
        "cmac ",
        "ed25519-dalek ",
        "ghash ",
        "hmac ",
        "ml-dsa ",
        "ml-kem ",
        "poly1305 ",
        "x25519-dalek ",
    ] {
        assert!(found.keys().any(|name| name.starts_with(needed)), "{needed}is not here any more");
    }
    let forgetful: Vec<_> = found
        .iter()
        .filter(|(name, on)| !**on && !HOLD_NO_KEYS.iter().any(|known| name.starts_with(known)))
        .map(|(name, _)| name)
        .collect();
    assert!(forgetful.is_empty(), "without their feature `zeroize`: {forgetful:?}");
}

#[test]
fn there_is_one_generation_of_cryptography() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        versions.entry(text(&package["name"])).or_default().insert(text(&package["version"]));
    }
    let families = [
        "aes",
        "aes-gcm",
        "chacha20",
        "chacha20poly1305",
        "cipher",
        "ghash",
        "hkdf",
        "hmac",
        "poly1305",
        "polyval",
        "sha2",
        "curve25519-dalek",
        "ecdsa",
        "ed25519-dalek",
        "elliptic-curve",
        "rustls",
        "zeroize",
    ];
    for name in families {
        // Cranelift names compiled code by an older SHA-2; no key comes near it.
        let of_ours = |version: &&&str| name != "sha2" || !version.starts_with("0.10.");
        let found: BTreeSet<_> = versions[name].iter().filter(of_ours).collect();
        assert_eq!(found.len(), 1, "`{name}` is here as {found:?}");
    }
    for name in ["openssl-sys", "rustls-pemfile", "sharks", "backoff", "bincode", "serde_yml"] {
        assert!(
            !versions.contains_key(name),
            "`{name}` has come in; deny.toml says why it must not"
        );
    }
    // From 0.10 on `rsa` blinds private operations whether asked or not; 0.9 leaked through timing
    // (RUSTSEC-2023-0071).
    let rsa = &versions["rsa"];
    assert!(rsa.iter().all(|found| !found.starts_with("0.9.")) && rsa.len() == 1, "{rsa:?}");
}

#[test]
fn everything_comes_from_the_one_registry() {
    for package in list(&metadata()["packages"]) {
        let source = package["source"].as_str();
        let known = source
            .is_none_or(|source| source == "registry+https://github.com/rust-lang/crates.io-index");
        assert!(known, "{} comes from {source:?}", package["name"]);
    }
}
