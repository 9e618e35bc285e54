//! Checkpoints of a log that grows, under keys that change, and proofs for witnesses over it.

mod common;

use std::time::Duration;

use hub_audit::checkpoint::{Checkpoint, parse_verifier_key};
use hub_audit::cosignature::cosign;
use hub_audit::note::{Kind, Note, VerifierKey};
use hub_audit::witness_proof::{Folded, is_consistent};
use hub_crypto::SigningKey;
use hub_model::Timestamp;

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
