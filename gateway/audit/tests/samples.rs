//! Frozen exports: what was written once is written so for ever, byte for byte, and verifies.
//! `tests/e2e/test_audit_export.py` holds the second implementation against the same files.
//! `cargo test -p hub-audit --test samples -- --ignored write` writes them anew.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hub_audit::checkpoint::{Checkpoint, verifier_key};
use hub_audit::encode::hex;
use hub_audit::export::{Exporter, Format, Spec, Unpacker, sparse::Tree};
use hub_audit::log::Signed;
use hub_audit::merkle::leaf_hash;
use hub_audit::verify::{Keyring, offline};
use hub_crypto::Secret;
use hub_crypto::sign::SigningKey;
use hub_model::{HubId, RegistrationId, Timestamp};
use serde_json::json;

type Files = BTreeMap<&'static str, Vec<u8>>;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/formats/audit-export")
}

fn key() -> SigningKey {
    SigningKey::from_secret(Secret::copy_from(&[7; 32]).unwrap()).unwrap()
}

fn registration(n: u8) -> RegistrationId {
    RegistrationId::from_bytes([n; 16])
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_000 + second * 1_000_000)
}

/// Eleven entries with everything that renderers must make inert.
fn entries() -> Vec<Vec<u8>> {
    let mut prev = [0; 32];
    let mut all = Vec::new();
    for seq in 0..11u8 {
        let actions =
            ["system.start", "keys.encrypt", "keys.create", "authenticate", "roles.grant"];
        let addresses = ["unix", "192.0.2.7", "2001:db8::1"];
        let mut entry = json!({
            "action": actions[usize::from(seq % 5)],
            "address": addresses[usize::from(seq % 3)],
            "decision": if seq % 4 == 3 { "deny" } else { "allow" },
            "outcome": if seq % 4 == 3 { "denied" } else { "ok" },
            "prev": hex(&prev),
            "request": format!("r-{seq}"),
            "seq": seq,
            "time": time(i64::from(seq)).to_string(),
            "v": 1,
            "writer": "main",
        });
        let object = entry.as_object_mut().unwrap();
        if seq % 3 == 1 {
            let id = registration(1 + seq % 2).to_string();
            object.insert("registration".to_owned(), id.into());
            object.insert("policies".to_owned(), json!(["role.app", "-1+1"]));
            object.insert("context".to_owned(), json!({ "=a|b": "é\u{202e}\u{9b}\u{7f}\n\\=" }));
        }
        if seq % 5 == 2 {
            object.insert("detail".to_owned(), "@SUM(1,2)\t\"x\"".into());
        }
        // In the order of entries, whatever order `serde_json` keeps in this build.
        let sorted: BTreeMap<_, _> = entry.as_object().unwrap().iter().collect();
        let bytes = serde_json::to_vec(&sorted).unwrap();
        prev = leaf_hash(&bytes);
        all.push(bytes);
    }
    all
}

fn specs() -> [(&'static str, Spec); 6] {
    let all = |format| Spec { format, range: (0, 11), registration: None, times: (None, None) };
    [
        ("whole", all(Format::Jsonl)),
        (
            "range",
            Spec { range: (3, 8), times: (Some(time(3)), Some(time(8))), ..all(Format::Jsonl) },
        ),
        ("registration", Spec { registration: Some(registration(2)), ..all(Format::Jsonl) }),
        ("csv", all(Format::Csv)),
        ("cef", all(Format::Cef)),
        ("ocsf", all(Format::Ocsf)),
    ]
}

fn export(spec: Spec) -> Files {
    let (key, entries) = (key(), entries());
    let mut tree = Tree::default();
    entries.iter().for_each(|entry| tree.push(leaf_hash(entry)));
    let origin = hub_audit::checkpoint::origin(HubId::from_bytes([3; 16]));
    let checkpoint = Checkpoint {
        origin: origin.clone(),
        size: 11,
        root: tree.root(),
        chain: leaf_hash(&entries[10]),
        commits: 9,
        digest: [5; 32],
        time: time(20),
    };
    let note = checkpoint.sign(&key);
    let keys = vec![verifier_key(&origin, &key.public())];
    let signed = Arc::new(Signed { checkpoint, note });
    let mut exporter = Exporter::new(spec, signed, keys, "main");
    while let Some(next) = exporter.next() {
        exporter.push(next, &entries[usize::try_from(next).unwrap()]).unwrap();
    }
    let (stream, _) = exporter.finish(&key, time(30)).unwrap();
    let mut files = Files::new();
    let take = |piece: hub_audit::export::Unpacked<'_>| {
        files.entry(piece.file).or_default().extend_from_slice(piece.bytes);
        Ok::<(), &'static str>(())
    };
    Unpacker::default().push(&stream, take).unwrap();
    files.remove("end");
    files
}

#[test]
fn what_was_written_once_verifies_and_is_written_so_again() {
    let vkey = std::fs::read_to_string(folder().join("vkey")).unwrap();
    let keys = Keyring::parse(&vkey).unwrap();
    let mut compared = 0;
    for (name, spec) in specs() {
        let proven = offline::folder(&folder().join(name), &keys, Vec::new(), &mut |_| {}).unwrap();
        assert!(proven.entries > 0, "{name}");
        let versioned = matches!(spec.format, Format::Cef | Format::Ocsf);
        if versioned && env!("CARGO_PKG_VERSION") != "0.1.0" {
            // These name the version that made them.
            continue;
        }
        for (file, bytes) in export(spec) {
            let frozen = std::fs::read(folder().join(name).join(file)).unwrap();
            assert_eq!(
                String::from_utf8(bytes).unwrap(),
                String::from_utf8(frozen).unwrap(),
                "{name}/{file}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 22, "{compared}");
}

#[test]
#[ignore = "writes the samples"]
fn write() {
    for (name, spec) in specs() {
        let folder = folder().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (file, bytes) in export(spec) {
            std::fs::write(folder.join(file), bytes).unwrap();
        }
    }
    let origin = hub_audit::checkpoint::origin(HubId::from_bytes([3; 16]));
    let vkey = verifier_key(&origin, &key().public());
    std::fs::write(folder().join("vkey"), format!("{vkey}\n")).unwrap();
}
