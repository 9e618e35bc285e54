//! Uses of keys that the lifecycle keeps a version from, and what the trail says of verdicts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

mod common;

use common::{World, meta, named};
use hub_model::api::key::CreateKey as KeyBody;
use hub_model::api::uses::{Mac as MacBody, Sign as SignBody, Verify as VerifyBody};
use hub_model::{Algorithm, Key, KeyId, Purpose, RegistrationId, Role, SecretBytes, VersionState};
use hub_operations::{Error, bootstrap, key};
use hub_store::{Changes, layout};

fn message() -> Option<SecretBytes> {
    Some(SecretBytes::new(b"message".to_vec()))
}

fn sign(name: &str) -> key::Sign {
    let body = SignBody { message: message(), ..SignBody::default() };
    key::Sign { registration: named("shop"), key: named(name), body }
}

fn verify(name: &str, signature: Vec<u8>) -> key::Verify {
    let signature = SecretBytes::new(signature);
    let body = VerifyBody { message: message(), signature, ..VerifyBody::default() };
    key::Verify { registration: named("shop"), key: named(name), body }
}

/// Changes the stored record of a key, as the operations of its lifecycle do.
async fn change(world: &World, registration: RegistrationId, id: KeyId, by: impl Fn(&mut Key)) {
    let path = layout::key(registration, id);
    let found = world.hub.store().read::<Key>(&path).await.unwrap().unwrap();
    let mut key = found.value;
    by(&mut key);
    let mut changes = Changes::new();
    changes.check_revision(&path, found.revision).put(&path, &key).unwrap();
    let entry = bootstrap::first_entry(key.updated);
    let _receipt = world.hub.log().appender().append(&entry, changes).await.unwrap();
}

#[tokio::test]
async fn versions_serve_as_the_lifecycle_allows() {
    let world = World::new().await;
    world.registration("shop").await;
    let app = world.participant("shop", "app", &[Role::Apps]).await;
    let name = "signing".parse().unwrap();
    let body = KeyBody { algorithm: Some(Algorithm::Ed25519), ..KeyBody::new(name) };
    let create = key::CreateKey { registration: named("shop"), body };
    let made = world.ok(&world.admin, &create).await;
    let signed = world.ok(&app, &sign("signing")).await;
    let signature = hub_model::secret::decode_base64(&signed.signature).unwrap();
    assert!(world.ok(&app, &verify("signing", signature.clone())).await.valid);

    let get = hub_operations::registration::GetRegistration { registration: named("shop") };
    let registration = world.ok(&world.admin, &get).await.uid;
    // The key stays active, so that policy has nothing against it.
    let state = |state| move |key: &mut Key| key.versions[0].state = state;
    change(&world, registration, made.uid, state(VersionState::Deactivated)).await;
    let refused = world.attempt(&app, &sign("signing"), &meta()).await.unwrap_err().error;
    assert!(matches!(refused, Error::VersionUnusable { version: 1, .. }), "{refused}");
    assert!(world.ok(&app, &verify("signing", signature.clone())).await.valid);

    change(&world, registration, made.uid, state(VersionState::Suspended)).await;
    let verify_it = verify("signing", signature.clone());
    let refused = world.attempt(&app, &verify_it, &meta()).await.unwrap_err().error;
    assert_eq!(refused.code(), "version_unusable");

    change(&world, registration, made.uid, state(VersionState::Active)).await;
    assert!(world.ok(&app, &verify_it).await.valid);
    change(&world, registration, made.uid, |key| key.min_decrypt_version = 2).await;
    let refused = world.attempt(&app, &verify_it, &meta()).await.unwrap_err().error;
    assert_eq!(refused.code(), "version_unusable");
}

#[tokio::test]
async fn another_use_is_refused_with_an_entry_and_a_wrong_signature_has_one_too() {
    let world = World::new().await;
    world.registration("shop").await;
    let app = world.participant("shop", "app", &[Role::Apps]).await;
    let body = KeyBody {
        algorithm: Some(Algorithm::EcdsaP256),
        ..KeyBody::new("signing".parse().unwrap())
    };
    let create = key::CreateKey { registration: named("shop"), body };
    world.ok(&world.admin, &create).await;
    let body = MacBody { message: message().unwrap() };
    let mac = key::Mac { registration: named("shop"), key: named("signing"), body };
    let failure = world.attempt(&app, &mac, &meta()).await.unwrap_err();
    assert!(matches!(
        failure.error,
        Error::WrongPurpose { purpose: Purpose::Sign, wanted: Purpose::Mac }
    ));
    let entry = world.entry(failure.seq.unwrap()).await;
    assert_eq!(
        (&entry["action"], &entry["outcome"]),
        (&"keys.mac".into(), &"wrong_purpose".into())
    );

    let wrong = verify("signing", b"no signature".to_vec());
    let done = world.attempt(&app, &wrong, &meta()).await.unwrap();
    assert!(!done.reply.as_ref().unwrap().valid);
    let entry = world.entry(done.receipt().seq()).await;
    assert_eq!((&entry["detail"], &entry["version"]), (&"invalid".into(), &1.into()));
}
