//! Exports of every form verify, and say what is wrong wherever a byte of them is changed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{append, entry, log, log_with_keys};
use hub_audit::Log;
use hub_audit::export::{Format, Spec, Unpacker};
use hub_audit::verify::offline::{self, Proven};
use hub_audit::verify::{Failed, Kept, Keyring, What};
use hub_model::entry::Subject;
use hub_model::{RegistrationId, Timestamp};
use hub_store::Changes;

type Files = BTreeMap<String, Vec<u8>>;

fn now() -> Timestamp {
    Timestamp::from_micros(1_795_000_100_000_000)
}

fn all(format: Format) -> Spec {
    Spec { format, range: (0, u64::MAX), registration: None, times: (None, None) }
}

async fn export(log: &Log, spec: Spec) -> Files {
    log.checkpoint(now()).unwrap();
    let mut exporter = log.export(spec).unwrap();
    let mut stream = exporter.sign_of_life();
    while let Some(next) = exporter.next() {
        for (seq, bytes) in log.page(next, 100).await.unwrap() {
            if exporter.next() == Some(seq) {
                exporter.push(seq, &bytes).unwrap();
                stream.extend(exporter.take().unwrap_or_default());
            }
        }
    }
    let (rest, _) = log.finish_export(exporter, now()).unwrap();
    stream.extend(rest);
    let (mut unpacker, mut files) = (Unpacker::default(), Files::new());
    unpacker
        .push::<&'static str>(&stream, |piece| {
            files.entry(piece.file.to_owned()).or_default().extend_from_slice(piece.bytes);
            Ok(())
        })
        .unwrap();
    assert!(unpacker.ended());
    assert!(files.remove("end").is_some());
    files
}

fn write(folder: &Path, files: &Files) {
    for name in std::fs::read_dir(folder).unwrap() {
        std::fs::remove_file(name.unwrap().path()).unwrap();
    }
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

fn verify(folder: &Path, keys: &Keyring, kept: Vec<Kept>) -> Result<Proven, (String, What)> {
    offline::folder(folder, keys, kept, &mut |_| {}).map_err(|failed| match failed {
        Failed::Wrong { place, what } => (format!("{place}"), what),
        Failed::Unreadable { .. } => panic!("{failed}"),
    })
}

fn keys(log: &Log) -> Keyring {
    Keyring::parse(&log.verifier_key()).unwrap()
}

fn registration(n: u8) -> RegistrationId {
    RegistrationId::from_bytes([n; 16])
}

/// Entries of three registrations, and of none.
async fn mixed(count: u64) -> Log {
    let log = log().await;
    for n in 0..count {
        let mut entry = entry(&format!("entry {n} ;=1+1|\n\u{202e}"));
        if !n.is_multiple_of(4) {
            let id = registration(u8::try_from(n % 4).unwrap());
            entry.subject = Subject { registration: Some(id), ..entry.subject };
        }
        let _receipt = log.appender().append(&entry, Changes::new()).await.unwrap();
    }
    log
}

#[tokio::test]
async fn every_range_and_filter_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    for size in [0u64, 1, 2, 7, 13] {
        let log = mixed(size).await;
        for from in 0..=size {
            for to in from..=size + 1 {
                for wanted in [None, Some(registration(1)), Some(registration(9))] {
                    let spec =
                        Spec { range: (from, to), registration: wanted, ..all(Format::Jsonl) };
                    let files = export(&log, spec).await;
                    write(folder.path(), &files);
                    let proven = verify(folder.path(), &keys(&log), Vec::new()).unwrap();
                    let shown = (from..to.min(size)).filter(|n| match wanted {
                        None => true,
                        Some(id) => id == registration(1) && n % 4 == 1,
                    });
                    assert_eq!(proven.entries, shown.count() as u64, "{size} {from} {to}");
                    assert_eq!(proven.size, size);
                }
            }
        }
    }
}

#[tokio::test]
async fn forms_for_peoples_tools_verify_too() {
    let log = mixed(9).await;
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Csv, Format::Cef, Format::Ocsf] {
        let files = export(&log, Spec { range: (2, 8), ..all(format) }).await;
        write(folder.path(), &files);
        let proven = verify(folder.path(), &keys(&log), Vec::new()).unwrap();
        assert_eq!((proven.entries, proven.root), (6, None));
        let body = std::str::from_utf8(&files[format.file()]).unwrap();
        let lines = 6 + usize::from(format == Format::Csv);
        assert_eq!(body.split_terminator('\n').count(), lines, "{body}");
        assert!(!body.contains('\u{202e}'));
        assert!(format != Format::Csv || !body.contains(';'), "a cell of its own in some locales");
    }
}

#[tokio::test]
async fn kept_checkpoints_tell_a_rewritten_and_a_cut_log() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("kept");
    let inner = folder.path().join("export");
    std::fs::create_dir(&inner).unwrap();
    let log = mixed(5).await;
    log.checkpoint(now()).unwrap();
    std::fs::write(&note, &log.latest().unwrap().note).unwrap();
    append(&log, 6).await;
    let trusted = keys(&log);
    let kept = || vec![offline::keep(&note, &trusted).unwrap()];
    write(&inner, &export(&log, all(Format::Jsonl)).await);
    assert_eq!(verify(&inner, &trusted, kept()).unwrap().kept, 1);
    // A part that does not show the entries there cannot be held against it.
    write(&inner, &export(&log, Spec { range: (9, 11), ..all(Format::Jsonl) }).await);
    assert_eq!(verify(&inner, &trusted, kept()).unwrap_err().1, What::KeptInGap(5));
    // Bare entries need nothing but the checkpoint.
    let files = export(&log, all(Format::Jsonl)).await;
    let bare = folder.path().join("bare.jsonl");
    std::fs::write(&bare, &files["entries.jsonl"]).unwrap();
    let proven = offline::bare(&bare, kept(), true, &mut |_| {}).unwrap();
    assert_eq!((proven.kept, proven.covered, proven.entries), (1, 5, 11));
    // What is behind the checkpoint is proven by nothing, nor is anything by one of size 0.
    let uncovered = |kept| match offline::bare(&bare, kept, false, &mut |_| {}) {
        Err(Failed::Wrong { what: What::Uncovered { covered, last }, .. }) => (covered, last),
        other => panic!("{other:?}"),
    };
    assert_eq!(uncovered(kept()), (5, 10));
    let mut empty = kept();
    empty[0].checkpoint.size = 0;
    empty[0].checkpoint.root = hub_audit::merkle::root(&[]);
    empty[0].checkpoint.chain = [0; 32];
    assert_eq!(uncovered(empty), (0, 10));
    assert_eq!(uncovered(Vec::new()), (0, 10));
    let three: Vec<u8> = files["entries.jsonl"]
        .split_inclusive(|byte| *byte == b'\n')
        .take(3)
        .flatten()
        .copied()
        .collect();
    std::fs::write(&bare, three).unwrap();
    let Err(Failed::Wrong { what, .. }) = offline::bare(&bare, kept(), false, &mut |_| {}) else {
        panic!()
    };
    assert_eq!(what, What::KeptBeyond { expected: 5, found: 3 });
}

#[tokio::test]
async fn an_export_is_not_signed_over_other_entries_than_those_of_the_checkpoint() {
    let log = mixed(4).await;
    log.checkpoint(now()).unwrap();
    let mut exporter = log.export(all(Format::Jsonl)).unwrap();
    let page = log.page(0, 10).await.unwrap();
    exporter.push(0, &page[0].1).unwrap();
    assert!(exporter.push(1, &page[2].1).is_err());
    let changed = String::from_utf8(page[1].1.clone()).unwrap().replace("entry 1", "entry 7");
    exporter.push(1, changed.as_bytes()).unwrap();
    exporter.push(2, &page[2].1).unwrap();
    exporter.push(3, &page[3].1).unwrap();
    assert!(log.finish_export(exporter, now()).is_err());
    let exporter = log.export(all(Format::Jsonl)).unwrap();
    assert!(log.finish_export(exporter, now()).is_err(), "signed without its entries");
}

#[tokio::test]
async fn an_export_across_a_rotation_verifies_under_the_key_of_its_checkpoint() {
    use std::time::Duration;
    let (log, system) = log_with_keys().await;
    append(&log, 5).await;
    log.checkpoint(now()).unwrap();
    let old = keys(&log);
    let rotate = || {
        let rotated = system.checkpoint_keys().rotated(now(), Duration::from_secs(9)).unwrap();
        system.follow_checkpoint_keys(Arc::new(rotated));
    };
    let page = log.page(0, 10).await.unwrap();
    let begin = || {
        let mut exporter = log.export(all(Format::Csv)).unwrap();
        for (seq, bytes) in &page {
            exporter.push(*seq, bytes).unwrap();
        }
        exporter
    };
    let folder = tempfile::tempdir().unwrap();
    let write_out = |stream: Vec<u8>| {
        let (mut unpacker, mut files) = (Unpacker::default(), Files::new());
        let unpacked = unpacker.push::<&'static str>(&stream, |piece| {
            files.entry(piece.file.to_owned()).or_default().extend_from_slice(piece.bytes);
            Ok(())
        });
        unpacked.unwrap();
        files.remove("end");
        write(folder.path(), &files);
        files
    };
    let exporter = begin();
    rotate();
    write_out(log.finish_export(exporter, now()).unwrap().0);
    verify(folder.path(), &old, Vec::new()).unwrap();
    // Begun after it, under the checkpoint that only the key before has signed.
    let files = write_out(log.finish_export(begin(), now()).unwrap().0);
    verify(folder.path(), &old, Vec::new()).unwrap();
    let listed = std::str::from_utf8(&files["verifier-keys"]).unwrap();
    assert!(listed.contains(&log.verifier_key()), "{listed}");
    assert_eq!(listed.lines().count(), 4);
    let exporter = begin();
    rotate();
    let gone = log.finish_export(exporter, now());
    assert!(matches!(gone, Err(hub_audit::Error::SigningKeyGone)), "{gone:?}");
}

#[tokio::test]
async fn files_that_the_manifest_does_not_name_are_refused() {
    let log = mixed(5).await;
    let folder = tempfile::tempdir().unwrap();
    let files = export(&log, all(Format::Csv)).await;
    for name in ["entries.jsonl", "proof.jsonl", "entries.cef", "entries.ocsf.jsonl"] {
        write(folder.path(), &files);
        verify(folder.path(), &keys(&log), Vec::new()).unwrap();
        std::fs::write(folder.path().join(name), b"").unwrap();
        let found = verify(folder.path(), &keys(&log), Vec::new()).unwrap_err();
        assert_eq!(found, (name.to_owned(), What::Unlisted));
    }
}

/// Small, fast, and the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }
}

/// Damages one file.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() {
        bytes.push(u8::try_from(dice.below(256)).unwrap());
        return;
    }
    let at = dice.below(bytes.len());
    let lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, two) = (dice.below(lines.len()), dice.below(lines.len()));
    let mut lines = lines;
    match dice.below(9) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => drop(bytes.remove(at)),
        2 => bytes.insert(at, u8::try_from(dice.below(256)).unwrap()),
        3 => bytes.truncate(at),
        4 => {
            let end = (at + 1 + dice.below(40)).min(bytes.len());
            drop(bytes.drain(at..end));
        }
        5 => {
            lines.swap(one, two);
            *bytes = lines.concat();
        }
        6 => {
            let line = lines[one].clone();
            lines.insert(two, line);
            *bytes = lines.concat();
        }
        7 => {
            lines.remove(one);
            *bytes = lines.concat();
        }
        _ => bytes.push(b'\n'),
    }
}

#[tokio::test]
async fn every_damage_of_every_file_is_found_and_placed() {
    let log = mixed(40).await;
    let folder = tempfile::tempdir().unwrap();
    let trusted = keys(&log);
    let mut dice = Dice(4);
    let specs = [
        all(Format::Jsonl),
        Spec { range: (7, 29), ..all(Format::Jsonl) },
        Spec { registration: Some(registration(2)), ..all(Format::Jsonl) },
        all(Format::Csv),
    ];
    for spec in specs {
        let files = export(&log, spec.clone()).await;
        write(folder.path(), &files);
        verify(folder.path(), &trusted, Vec::new()).unwrap();
        for (name, whole) in &files {
            let mut tried = 0;
            while tried < 400 {
                let mut bytes = whole.clone();
                damage(&mut bytes, &mut dice);
                if bytes == *whole {
                    continue;
                }
                tried += 1;
                std::fs::write(folder.path().join(name), &bytes).unwrap();
                let Err((place, what)) = verify(folder.path(), &trusted, Vec::new()) else {
                    panic!("unnoticed in {name}: {}", String::from_utf8_lossy(&bytes));
                };
                assert!(place.starts_with(name.as_str()), "{name}: {place}: {what}");
                if name == "entries.jsonl" {
                    check_place(&place, &what, whole, &bytes);
                }
            }
            std::fs::remove_file(folder.path().join(name)).unwrap();
            let (place, what) = verify(folder.path(), &trusted, Vec::new()).unwrap_err();
            assert_eq!((place.as_str(), what), (name.as_str(), What::Missing));
            std::fs::write(folder.path().join(name), whole).unwrap();
        }
        verify(folder.path(), &trusted, Vec::new()).unwrap();
    }
}

/// The line named is the first that differs, or the one behind it, which does not follow any more.
fn check_place(place: &str, what: &What, whole: &[u8], bytes: &[u8]) {
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    };
    let (whole, bytes) = (lines(whole), lines(bytes));
    let same = whole.iter().zip(&bytes).take_while(|(a, b)| a == b).count() as u64;
    let line = place.split("line ").nth(1).and_then(|rest| rest.split(',').next());
    let line: u64 = line.unwrap_or_else(|| panic!("{place}: {what}")).parse().unwrap();
    assert!(
        (same + 1..=same + 2).contains(&line),
        "{place}: {what}: {same} lines are as they were"
    );
    assert!(place.contains("entry "), "{place}");
}

#[tokio::test]
async fn files_of_other_exports_and_other_keys_are_told() {
    let (log, other) = (mixed(12).await, mixed(12).await);
    let folder = tempfile::tempdir().unwrap();
    let trusted = keys(&log);
    let mine = export(&log, all(Format::Jsonl)).await;
    append(&log, 1).await;
    let later = export(&log, all(Format::Jsonl)).await;
    let part = export(&log, Spec { range: (1, 13), ..all(Format::Jsonl) }).await;
    let theirs = export(&other, all(Format::Jsonl)).await;
    write(folder.path(), &theirs);
    assert!(matches!(
        verify(folder.path(), &trusted, Vec::new()).unwrap_err().1,
        What::Manifest(_)
    ));
    for (name, bytes) in &mine {
        for source in [&later, &part, &theirs] {
            if source[name] == *bytes {
                continue;
            }
            write(folder.path(), &mine);
            std::fs::write(folder.path().join(name), &source[name]).unwrap();
            let (place, what) = verify(folder.path(), &trusted, Vec::new()).unwrap_err();
            if name != "manifest" {
                assert!(place.starts_with(name.as_str()), "{name}: {place}: {what}");
            }
        }
    }
}

#[tokio::test]
async fn entries_of_other_versions_are_refused_although_their_hashes_hold() {
    // The whole log is made anew around an entry that claims another version: only the claim tells.
    use hub_audit::encode::hex;
    use hub_audit::merkle::leaf_hash;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare");
    for (version, expected) in [("0", What::Version(0)), ("2", What::Version(2))] {
        let mut prev = [0; 32];
        let mut bytes = Vec::new();
        for seq in 0..4 {
            let v = if seq == 2 { version } else { "1" };
            let (prev_hex, start) = (hex(&prev), bytes.len());
            let text = format!(
                "{{\"action\":\"x\",\"prev\":\"{prev_hex}\",\"seq\":{seq},\"v\":{v},\"writer\":\"main\"}}"
            );
            bytes.extend_from_slice(text.as_bytes());
            prev = leaf_hash(&bytes[start..]);
            bytes.push(b'\n');
        }
        std::fs::write(&path, &bytes).unwrap();
        let Err(Failed::Wrong { place, what }) =
            offline::bare(&path, Vec::new(), false, &mut |_| {})
        else {
            panic!()
        };
        assert_eq!((what, place.line, place.entry), (expected, Some(3), Some(2)));
    }
}
