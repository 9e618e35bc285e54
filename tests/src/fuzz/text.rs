//! Texts: credentials, JSON bodies, words, policies of rotation, checkpoints.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use hub_audit::checkpoint::{self, Checkpoint};
use hub_audit::note::{Kind, Note, VerifierKey};
use hub_audit::witness::{Submission, decide};
use hub_auth::api_key::ApiKey;
use hub_auth::jwt::{self, KeySet};
use hub_crypto::SigningKey;
use hub_model::rotation::{RotationFacts, next_rotation};
use hub_model::secret::encode_base64;
use hub_model::{
    Action, Algorithm, CredentialId, EncryptionContext, HubId, KeyId, Name, ParticipantId, Period,
    RegistrationId, Role, RotationPolicy, Tags, Timestamp, api,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::choose;

pub(super) fn api_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(key) = ApiKey::parse(text) else { return };
    // The secret in the middle is nowhere in what is printed.
    let secret = text.get(27..70).unwrap_or_default();
    assert!(!format!("{key:?}").contains(secret), "a secret was printed");
}

/// Takes a token apart. What is taken has three parts in the one spelling of base64url.
pub(super) fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if !jwt::is_well_formed(text) {
        return;
    }
    assert_eq!(text.split('.').count(), 3, "parts");
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    assert!(text.len() <= jwt::MAX_TOKEN && text.bytes().all(plain), "letters");
}

/// Reads a key set of an issuer.
pub(super) fn jwks(data: &[u8]) {
    let Ok(set) = KeySet::read(data) else { return };
    assert!(set.len() <= 200, "keys");
}

/// Reads a body; what was read and written is read as the same.
fn body<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_vec(&read).expect("a body");
    let again: T = serde_json::from_slice(&written).expect("our own");
    assert_eq!(serde_json::to_vec(&again).expect("a body"), written);
}

/// Every body of a request.
const BODIES: &[fn(&[u8])] = &[
    body::<api::crypto::Encrypt>,
    body::<api::crypto::Decrypt>,
    body::<api::crypto::Rewrap>,
    body::<api::crypto::RewrapLine>,
    body::<api::crypto::Batch>,
    body::<api::key::CreateKey>,
    body::<api::key::PatchKey>,
    body::<api::key::ScheduleDestroy>,
    body::<api::key::MarkCompromised>,
    body::<api::participant::CreateParticipant>,
    body::<api::participant::PatchParticipant>,
    body::<api::participant::IssueCredential>,
    body::<api::registration::CreateRegistration>,
    body::<api::registration::PatchRegistration>,
    body::<api::transfer::CreateImportJob>,
    body::<api::transfer::ImportKey>,
    body::<api::transfer::ImportVersion>,
    body::<api::transfer::ExportKey>,
    body::<api::uses::Sign>,
    body::<api::uses::Verify>,
    body::<api::uses::Mac>,
    body::<api::uses::VerifyMac>,
    body::<api::uses::GenerateDataKey>,
    body::<api::uses::Wrap>,
    body::<api::uses::Unwrap>,
    body::<api::uses::Derive>,
    body::<api::uses::DeriveKey>,
    body::<api::uses::Agree>,
    body::<api::uses::Encapsulate>,
    body::<api::uses::Decapsulate>,
    body::<api::uses::Random>,
    body::<api::uses::Hash>,
    body::<api::audit::Explain>,
    body::<api::job::PutDataKey>,
    body::<api::token::RevokeTokens>,
];

/// The first byte is the body.
pub(super) fn bodies(data: &[u8]) {
    if let Some((read, data)) = choose(data, BODIES) {
        read(data);
    }
}

/// Reads a word; what was read is written in one way.
fn word<T: FromStr + Display>(text: &str) {
    let Ok(read) = text.parse::<T>() else { return };
    let written = read.to_string();
    let again = written.parse::<T>().map(|again| again.to_string());
    assert_eq!(again.ok().as_deref(), Some(&*written), "{text:?}");
}

/// Reads pairs; their canonical bytes follow from what is written.
fn context(data: &[u8]) {
    let Ok(read) = serde_json::from_slice::<EncryptionContext>(data) else { return };
    let written = serde_json::to_vec(&read).expect("pairs");
    let again: EncryptionContext = serde_json::from_slice(&written).expect("our own");
    assert_eq!(again.canonical(), read.canonical());
}

pub(super) fn words(data: &[u8]) {
    context(data);
    body::<Tags>(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    word::<Name>(text);
    word::<RegistrationId>(text);
    word::<ParticipantId>(text);
    word::<KeyId>(text);
    word::<CredentialId>(text);
    word::<HubId>(text);
    word::<Timestamp>(text);
    word::<Period>(text);
    word::<Algorithm>(text);
    word::<Action>(text);
    word::<Role>(text);
}

/// 25 November 2026.
const NOW: Timestamp = Timestamp::from_micros(1_795_564_800_000_000);

pub(super) fn rotation(data: &[u8]) {
    let Ok(policy) = serde_json::from_slice::<RotationPolicy>(data) else { return };
    body::<RotationPolicy>(data);
    let valid = policy.validate(NOW).is_ok();
    let mut last = NOW;
    for seed in 0..4 {
        let facts = RotationFacts { version_created: last, last_rotation: last, seed, plan: None };
        let Some(due) = next_rotation(&policy, &facts, last) else { break };
        assert!(!valid || due.at > last, "a policy that was taken rotates without end");
        last = due.at.max(last.plus(Duration::from_secs(1)));
    }
}

static SIGNER: LazyLock<(String, SigningKey)> = LazyLock::new(|| {
    let key = SigningKey::generate().expect("room in the arena");
    (checkpoint::origin(HubId::from_bytes([3; 16])), key)
});

/// The text with a right signature below, so that its lines are looked at.
fn signed(text: &str, name: &str, key: &SigningKey) -> String {
    let verifier = checkpoint::verifier_key(name, &key.public());
    let id = verifier.split('+').nth(1).unwrap_or_default();
    let mut blob = u32::from_str_radix(id, 16).expect("four bytes in hex").to_be_bytes().to_vec();
    blob.extend_from_slice(&key.sign(text.as_bytes()));
    format!("{text}\n\u{2014} {name} {}\n", encode_base64(&blob))
}

/// What an auditor's verifier reads: it takes no entry that reads otherwise to somebody else.
pub(super) fn audit_export(data: &[u8]) {
    use hub_audit::export::{Manifest, Unpacker, manifest_name};
    use hub_audit::verify::scan::scan;
    if let Ok(links) = scan(data) {
        let value: serde_json::Value = serde_json::from_slice(data).expect("an entry is JSON");
        assert_eq!(serde_json::to_vec(&value).expect("plain JSON"), data, "not canonical");
        assert_eq!(value.get("seq").and_then(serde_json::Value::as_u64), Some(links.seq));
    }
    let mut unpacked = Vec::new();
    let _ = Unpacker::default().push::<&'static str>(data, |piece| {
        unpacked.extend_from_slice(piece.bytes);
        Ok(())
    });
    assert!(unpacked.len() <= data.len());
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (name, key) = &*SIGNER;
    let keys = [(name.clone(), key.public())];
    assert!(Manifest::open(text, &keys).is_err(), "a forged manifest");
    let named = format!("{}\n{text}", manifest_name(name));
    let note = signed(&named, &manifest_name(name), key);
    if let Ok(manifest) = Manifest::open(&note, &keys) {
        assert_eq!(manifest.sign(key), note, "a manifest has one spelling");
    }
}

pub(super) fn checkpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (name, key) = &*SIGNER;
    // The signer's key was drawn just now: nobody has signed with it.
    assert!(Checkpoint::open(text, name, &key.public()).is_err(), "a forged checkpoint");
    // A hub signs under a name without white space, as signed notes demand.
    if let Ok(read) = Checkpoint::open(&signed(text, name, key), name, &key.public())
        && !read.origin.is_empty()
        && !read.origin.contains(char::is_whitespace)
    {
        let again = Checkpoint::open(&read.sign(key), &read.origin, &key.public());
        assert_eq!(again.expect("our own").sign(key), read.sign(key));
    }
    if let Ok((name, key)) = checkpoint::parse_verifier_key(text) {
        let written = checkpoint::verifier_key(&name, &key);
        assert!(checkpoint::parse_verifier_key(&written).is_ok());
        drop(Checkpoint::open(text, &name, &key));
    }
    witness(text);
}

/// What a witness is sent, and what it answers.
fn witness(text: &str) {
    if let Some(submission) = Submission::parse(text) {
        let again = Submission::parse(&submission.encode());
        assert_eq!(again.as_ref(), Some(&submission), "a submission is read as written");
        let (name, key) = &*SIGNER;
        let known = VerifierKey { name: name.clone(), kind: Kind::Ed25519, key: key.public() };
        // Nobody has signed with that key.
        let decided = decide(text, |_| Some(vec![known]), |_| None, (name, key), 1);
        assert!(decided.is_err(), "a forged submission");
    }
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(VerifierKey::parse(&key.to_string()).ok(), Some(key));
    }
    if let Ok(note) = Note::parse(text) {
        assert!(text.starts_with(note.text) && note.signers().count() > 0);
    }
}
