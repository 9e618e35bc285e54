//! Checkpoints of a log that grows, under keys that change, and proofs for witnesses over it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hub_audit::checkpoint::{Checkpoint, parse_verifier_key};
use hub_audit::checkpoint_history::History;
use hub_audit::cosignature::cosign;
use hub_audit::log::OnRollback;
use hub_audit::note::{Kind, Note, VerifierKey};
use hub_audit::witness_proof::{Folded, is_consistent};
use hub_audit::{Error, Log};
use hub_crypto::{SigningKey, SystemKeys};
use hub_model::{HubId, Timestamp};
use hub_store::{MemoryBackend, Store, Writer};

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_000 + second * 1_000_000)
}

#[tokio::test]
async fn proofs_from_what_a_witness_has_seen() {
    let log = common::log().await;
    let mut seen = Folded::default();
    let mut before = (0, hub_audit::merkle::empty_root());
    for more in [1, 1, 2, 3, 9, 40, 1] {
        common::append(&log, more).await;
        let size = log.appender().position().audit.size;
        let proof = seen.prove_to(&log, size).await.unwrap();
        let root = hub_audit::merkle::root(&log.appender().position().audit.frontier);
        assert_eq!((seen.size, seen.root()), (size, root));
        assert!(is_consistent((before.0, &before.1), (size, &root), &proof), "to {size}");
        before = (size, root);
        // From anywhere before, also without having followed along.
        for old in 1..size {
            let mut again = Folded::default();
            again.fold_to(&log, old).await.unwrap();
            let begin = again.root();
            let proof = again.prove_to(&log, size).await.unwrap();
            assert!(is_consistent((old, &begin), (size, &root), &proof), "{old} to {size}");
        }
    }
    assert!(seen.prove_to(&log, before.0 + 1).await.is_err());
}

#[tokio::test]
async fn a_note_over_a_rotation_carries_both_signatures() {
    let (log, keys) = common::log_with_keys().await;
    common::append(&log, 2).await;
    log.checkpoint(at(0)).unwrap();
    let (name, old) = parse_verifier_key(&log.verifier_key()).unwrap();
    let rotated = keys.checkpoint_keys().rotated(at(0), Duration::from_secs(9)).unwrap();
    let over = rotated.with_previous(None);
    keys.follow_checkpoint_keys(std::sync::Arc::new(rotated));
    let (_, new) = parse_verifier_key(&log.verifier_key()).unwrap();
    assert_ne!(old.to_bytes(), new.to_bytes());
    let opens = |key| {
        let note = &log.latest().unwrap().note;
        Checkpoint::open(note, &name, key).is_ok()
    };
    assert_eq!((opens(&old), opens(&new)), (true, false));
    common::append(&log, 1).await;
    log.checkpoint(at(1)).unwrap();
    assert_eq!((opens(&old), opens(&new)), (true, true));
    keys.follow_checkpoint_keys(std::sync::Arc::new(over));
    common::append(&log, 1).await;
    log.checkpoint(at(2)).unwrap();
    assert_eq!((opens(&old), opens(&new)), (false, true));
}

/// A witness answers for a checkpoint of before the rotation, when one by both keys is kept already.
#[tokio::test]
async fn a_late_cosignature_is_shown_and_the_last_by_a_key_stays() {
    let (log, keys) = common::log_with_keys().await;
    common::append(&log, 3).await;
    log.checkpoint(at(0)).unwrap();
    let (text, before) = {
        let signed = log.latest().unwrap();
        let text = Note::parse(&signed.note).unwrap().text.to_owned();
        (text, signed.note.clone())
    };
    let rotated = keys.checkpoint_keys().rotated(at(0), Duration::from_secs(9)).unwrap();
    keys.follow_checkpoint_keys(std::sync::Arc::new(rotated));
    log.checkpoint(at(1)).unwrap();
    let by_both = log.latest().unwrap();
    assert_eq!(by_both.checkpoint.size, 3);
    assert_eq!(log.history().note(3).unwrap().unwrap(), by_both.note);
    let key = SigningKey::generate().unwrap();
    let late = format!("{before}{}", cosign(&text, "w.example", &key, 7));
    log.keep_cosigned(&late).unwrap();
    assert_eq!(log.cosigned().unwrap().note, late);
    assert_eq!(log.history().note(3).unwrap().unwrap(), by_both.note);
}

#[tokio::test]
async fn cosigned_notes_are_kept_and_others_are_not() {
    let log = common::log().await;
    common::append(&log, 3).await;
    log.checkpoint(at(0)).unwrap();
    assert!(log.cosigned().is_none());
    let signed = log.latest().unwrap();
    let key = SigningKey::generate().unwrap();
    let text = Note::parse(&signed.note).unwrap().text;
    let note = format!("{}{}", signed.note, cosign(text, "w.example", &key, 7));
    log.keep_cosigned(&note).unwrap();
    let kept = log.cosigned().unwrap();
    assert_eq!((kept.checkpoint.size, &kept.note), (3, &note));
    assert_eq!(log.history().note(3).unwrap().unwrap(), note);
    let verifier =
        VerifierKey { name: "w.example".to_owned(), kind: Kind::Cosignature, key: key.public() };
    assert!(verifier.find(&Note::parse(&kept.note).unwrap()).unwrap().is_some());
    // Of another log, or by nobody.
    let other = common::log().await;
    other.checkpoint(at(0)).unwrap();
    assert!(log.keep_cosigned(&other.latest().unwrap().note).is_err());
    assert!(log.keep_cosigned("nothing").is_err());
    // An older one does not become the newest again.
    common::append(&log, 1).await;
    log.checkpoint(at(1)).unwrap();
    log.keep_cosigned(&log.latest().unwrap().note.clone()).unwrap();
    log.keep_cosigned(&note).unwrap();
    assert_eq!(log.cosigned().unwrap().checkpoint.size, 4);
}

/// With a checkpoint file and a history in this folder.
async fn in_folder(
    (store, keys): &(Store, Arc<SystemKeys>),
    dir: &Path,
    on_rollback: OnRollback,
) -> Result<Log, Error> {
    let writer = Writer::open(store.clone(), "main").await.unwrap();
    let (hub, keys) = (HubId::from_bytes([7; 16]), Arc::clone(keys));
    let file = Some(dir.join("checkpoint"));
    let log = Log::open(store.clone(), writer, "main", keys, hub, file, on_rollback).await?;
    let history = dir.join("history");
    std::fs::create_dir_all(&history).unwrap();
    Ok(log.with_history(History::open(&history).unwrap()))
}

fn by_witness(note: &str, name: &str) -> String {
    let text = Note::parse(note).unwrap().text;
    format!("{note}{}", cosign(text, name, &SigningKey::generate().unwrap(), 7))
}

#[tokio::test]
async fn a_later_cosignature_erases_none() {
    let dir = tempfile::tempdir().unwrap();
    let log = in_folder(&common::parts(), dir.path(), OnRollback::Refuse).await.unwrap();
    common::append(&log, 3).await;
    log.checkpoint(at(0)).unwrap();
    let plain = log.latest().unwrap().note.clone();
    log.keep_cosigned(&by_witness(&plain, "w1.example")).unwrap();
    log.keep_cosigned(&by_witness(&plain, "w2.example")).unwrap();
    log.keep_cosigned(&plain).unwrap();
    let file = std::fs::read_to_string(dir.path().join("checkpoint.cosigned")).unwrap();
    let kept = log.history().note(3).unwrap().unwrap();
    for note in [&log.cosigned().unwrap().note, &file, &kept] {
        let mut signers: Vec<_> = Note::parse(note).unwrap().signers().skip(1).collect();
        signers.sort_unstable();
        assert_eq!(signers, ["w1.example", "w2.example"]);
    }
}

#[tokio::test]
async fn what_was_cosigned_tells_of_a_store_that_was_put_back() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let keys = common::parts().1;
    let parts = || (Store::new(Arc::new(MemoryBackend::new()), Arc::clone(&keys)), keys.clone());
    // One log goes on; of the other no more than two entries are left, and their checkpoint.
    let log = in_folder(&parts(), dirs[0].path(), OnRollback::Refuse).await.unwrap();
    common::append(&log, 5).await;
    log.checkpoint(at(0)).unwrap();
    log.keep_cosigned(&by_witness(&log.latest().unwrap().note, "w.example")).unwrap();
    let back = parts();
    let log = in_folder(&back, dirs[1].path(), OnRollback::Refuse).await.unwrap();
    common::append(&log, 2).await;
    log.checkpoint(at(0)).unwrap();
    drop(log);
    let beside = dirs[1].path().join("checkpoint.cosigned");
    std::fs::copy(dirs[0].path().join("checkpoint.cosigned"), &beside).unwrap();
    for file in std::fs::read_dir(dirs[0].path().join("history")).unwrap() {
        let file = file.unwrap();
        let to = dirs[1].path().join("history").join(file.file_name());
        std::fs::copy(file.path(), to).unwrap();
    }
    let refused = in_folder(&back, dirs[1].path(), OnRollback::Refuse).await.unwrap_err();
    assert!(
        matches!(refused, Error::StoreBehindCheckpoint { checkpoint: 5, store: 2 }),
        "{refused}"
    );
    // Accepted: it is evidence, and none of this log's.
    let log = in_folder(&back, dirs[1].path(), OnRollback::Accept).await.unwrap();
    assert!(log.accepted().is_some() && log.cosigned().is_none());
    assert_eq!(log.history().sizes(Some(2), 9), [5]);
    log.set_aside_above(2).unwrap();
    assert_eq!(log.history().sizes(Some(2), 9), [] as [u64; 0]);
    assert!(!beside.exists() && dirs[1].path().join("checkpoint.cosigned.aside").exists());
    drop(log);
    in_folder(&back, dirs[1].path(), OnRollback::Refuse).await.unwrap();
}

#[tokio::test]
async fn a_history_that_cannot_be_written_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let log = in_folder(&common::parts(), dir.path(), OnRollback::Refuse).await.unwrap();
    common::append(&log, 1).await;
    std::fs::remove_dir_all(dir.path().join("history")).unwrap();
    log.checkpoint(at(0)).unwrap();
    assert_eq!(log.latest().unwrap().checkpoint.size, 1);
    assert_eq!(log.history().newest(), None);
}

#[tokio::test]
async fn kept_checkpoints_are_found_by_their_size() {
    let log = common::log().await;
    common::append(&log, 2).await;
    log.checkpoint(at(0)).unwrap();
    let two = log.latest().unwrap().note.clone();
    common::append(&log, 1).await;
    log.checkpoint(at(7200)).unwrap();
    common::append(&log, 1).await;
    log.checkpoint(at(7201)).unwrap();
    assert_eq!(log.checkpoint_at(2).await.unwrap().unwrap().note, two);
    assert_eq!(log.checkpoint_at(4).await.unwrap().unwrap().checkpoint.size, 4);
    assert!(log.checkpoint_at(1).await.unwrap().is_none());
    assert!(log.checkpoint_at(99).await.unwrap().is_none());
    // One of another log is none of this one's, wherever it came from.
    let other = common::log().await;
    common::append(&other, 3).await;
    let root = Note::parse(&two).unwrap().text.lines().nth(2).unwrap();
    let spoiled = two.replace(root, &hub_model::secret::encode_base64(&[9; 32]));
    log.history().keep(2, at(7300), 0, &spoiled).unwrap();
    assert!(log.checkpoint_at(2).await.unwrap().is_none());
}

#[tokio::test]
async fn a_new_key_signs_at_once_and_none_is_given_up_before() {
    let (log, keys) = common::log_with_keys().await;
    assert!(!log.is_signed_by_all());
    common::append(&log, 2).await;
    log.checkpoint(at(0)).unwrap();
    assert!(log.is_signed_by_all());
    let rotated = keys.checkpoint_keys().rotated(at(0), Duration::from_secs(9)).unwrap();
    keys.follow_checkpoint_keys(Arc::new(rotated));
    assert!(!log.is_signed_by_all());
    // Nothing was appended since: signed again all the same.
    log.checkpoint(at(1)).unwrap();
    assert!(log.is_signed_by_all());
    let note = log.latest().unwrap();
    log.checkpoint(at(2)).unwrap();
    assert!(Arc::ptr_eq(&note, &log.latest().unwrap()));
}
