//! What a caller learns of registrations it does not belong to: nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

mod common;

use common::{World, meta, named, once};
use hub_model::api::audit::Explain as ExplainBody;
use hub_model::api::crypto::Decrypt as DecryptBody;
use hub_model::api::key::CreateKey as KeyBody;
use hub_model::{Action, EncryptionContext, KeyId, RegistrationId, Role, Tags};
use hub_operations::{Operation, Ref, key, participant, registration, system};

fn create_key(registration: &str, name: &str) -> key::CreateKey {
    let body = KeyBody::new(name.parse().unwrap());
    key::CreateKey { registration: named(registration), body }
}

#[tokio::test]
async fn a_hidden_registration_answers_as_one_that_is_not_there() {
    let world = World::new().await;
    world.registration("theirs").await;
    world.registration("mine").await;
    let theirs = world
        .ok(&world.admin, &registration::GetRegistration { registration: named("theirs") })
        .await
        .uid;
    let orders = world.ok(&world.admin, &create_key("theirs", "orders")).await.uid;
    let stranger = world.participant("mine", "stranger", &[Role::Owners, Role::Apps]).await;

    let mut answers = Vec::new();
    let missing = RegistrationId::generate();
    for registration in
        [named("theirs"), Ref::Id(theirs), named::<RegistrationId>("nothing"), Ref::Id(missing)]
    {
        let get = registration::GetRegistration { registration: registration.clone() };
        answers.push(answer(&world, &stranger, &get).await);
        for key in [named("orders"), Ref::Id(orders), named::<KeyId>("nothing")] {
            let get = key::GetKey { registration: registration.clone(), key };
            answers.push(answer(&world, &stranger, &get).await);
        }
        let body =
            DecryptBody { ciphertext: "x".to_owned(), context: EncryptionContext::default() };
        let decrypt = key::DecryptAny::new(registration, body);
        answers.push(answer(&world, &stranger, &decrypt).await);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

async fn answer<O: Operation>(
    world: &World,
    key: &hub_model::secret::SecretText,
    operation: &O,
) -> (&'static str, String, Option<String>) {
    let failure = match world.attempt(key, operation, &meta()).await {
        Ok(_) => panic!("a stranger was let in"),
        Err(failure) => failure,
    };
    assert!(failure.seq.is_some());
    (failure.error.code(), failure.error.to_string(), failure.decision_id)
}

#[tokio::test]
async fn explaining_is_no_way_around_the_right_to_read_the_trail() {
    let world = World::new().await;
    world.registration("shop").await;
    let done = world.attempt(&world.admin, &create_key("shop", "orders"), &meta()).await.unwrap();
    let permitted = world.hub.decision_id(done.receipt().seq());
    let admin = world.participant("hub", "second", &[Role::Admins]).await;
    let app = world.participant("shop", "app", &[Role::Apps]).await;
    let denied = world.attempt(&app, &create_key("shop", "other"), &meta()).await.unwrap_err();
    let denied = denied.decision_id.unwrap();

    let explain = |id: &str| system::Explain {
        body: ExplainBody { decision_id: Some(id.to_owned()), ..ExplainBody::default() },
    };
    let explanation = world.ok(&admin, &explain(&denied)).await;
    assert_eq!(explanation.decision, "deny");
    // An administrator who is no auditor does not read what was permitted to others.
    let refused = world.attempt(&admin, &explain(&permitted), &meta()).await.unwrap_err();
    assert_eq!(refused.error.code(), "not_found");
    // The first administrator is both.
    assert_eq!(world.ok(&world.admin, &explain(&permitted)).await.decision, "allow");
}

#[tokio::test]
async fn a_decision_has_one_spelling_and_its_explanation_an_entry() {
    let world = World::new().await;
    world.registration("shop").await;
    let app = world.participant("shop", "app", &[Role::Apps]).await;
    let denied = world.attempt(&app, &create_key("shop", "other"), &meta()).await.unwrap_err();
    let id = denied.decision_id.unwrap();
    let padded = id.replace('-', &format!("-{}", "0".repeat(20_000)));
    let explain = system::Explain {
        body: ExplainBody { decision_id: Some(padded), ..ExplainBody::default() },
    };
    let refused = world.attempt(&world.admin, &explain, &meta()).await.unwrap_err();
    assert_eq!(refused.error.code(), "not_found");
    assert!(refused.seq.is_some());
}

#[tokio::test]
async fn a_kept_answer_is_not_given_for_another_registration_of_the_same_name() {
    let world = World::new().await;
    world.registration("shop").await;
    let create = create_key("shop", "orders");
    let first = world.attempt(&world.admin, &create, &once("k")).await.unwrap();
    let again = world.attempt(&world.admin, &create, &once("k")).await.unwrap();
    assert!(!first.replayed && again.replayed);
    let first = first.reply.unwrap().uid;

    let freeze = registration::Freeze::<true> { registration: named("shop") };
    world.ok(&world.admin, &freeze).await;
    let delete = registration::DeleteRegistration { registration: named("shop") };
    let seen = hub_operations::Meta { if_match: Some(2), ..meta() };
    world.attempt(&world.admin, &delete, &seen).await.unwrap();
    world.registration("shop").await;
    let fresh = world.attempt(&world.admin, &create, &once("k")).await.unwrap();
    assert!(!fresh.replayed);
    assert_ne!(fresh.reply.unwrap().uid, first);
    let list = key::ListKeys {
        registration: named("shop"),
        page: Default::default(),
        needs_rewrap: false,
    };
    assert_eq!(world.ok(&world.admin, &list).await.items.len(), 1);
}

#[tokio::test]
async fn a_change_too_large_for_a_transaction_has_its_entry() {
    let world = World::new().await;
    let text = "x".repeat(256);
    let pairs = (0..32).map(|n| (format!("t{n:0>60}"), text.clone())).collect();
    let tags = Tags::new(pairs).unwrap();
    let mut owners = Vec::new();
    for n in 0..32 {
        let body = hub_model::api::participant::CreateParticipant {
            name: format!("owner-{n}").parse().unwrap(),
            kind: hub_model::ParticipantKind::User,
            tags: tags.clone(),
            roles: Vec::new(),
        };
        let create = participant::CreateParticipant { registration: named("hub"), body };
        owners.push(world.ok(&world.admin, &create).await.uid);
    }
    for n in 0..300 {
        let body = hub_model::api::registration::CreateRegistration {
            name: format!("shop-{n}").parse().unwrap(),
            description: String::new(),
            environment: hub_model::Environment::Dev,
            tags: Tags::default(),
            owners: owners.clone(),
            rotation: None,
        };
        let create = registration::CreateRegistration { body };
        if let Err(failure) = world.attempt(&world.admin, &create, &meta()).await {
            assert_eq!(failure.error.code(), "too_many");
            let entry = world.entry(failure.seq.expect("refused without an entry")).await;
            assert_eq!(
                (&entry["action"], &entry["outcome"]),
                (&"registrations.create".into(), &"too_many".into())
            );
            return;
        }
    }
    panic!("every change fitted");
}

#[tokio::test]
async fn roles_at_creation_are_granted_only_by_those_who_may_grant() {
    let folder = tempfile::tempdir().unwrap();
    let forbid = r#"@id("local.no-grants")
        forbid (principal, action == CipherHub::Action::"roles.grant", resource);"#;
    std::fs::write(folder.path().join("10-local.cedar"), forbid).unwrap();
    let bundle = hub_policy::Bundle::read(folder.path()).unwrap();
    let world = World::over(std::sync::Arc::new(hub_store::MemoryBackend::new()), bundle).await;
    world.registration("shop").await;
    let create = |name: &str, roles| {
        let body = hub_model::api::participant::CreateParticipant {
            name: name.parse().unwrap(),
            kind: hub_model::ParticipantKind::User,
            tags: Tags::default(),
            roles,
        };
        participant::CreateParticipant { registration: named("shop"), body }
    };
    world.ok(&world.admin, &create("nobody", vec![])).await;
    let made = world.attempt(&world.admin, &create("owner", vec![Role::Owners]), &meta()).await;
    let refused = made.unwrap_err();
    assert_eq!(refused.error.code(), "denied");
    let entry = world.entry(refused.seq.unwrap()).await;
    assert_eq!(entry["decision"], "deny");
    assert_eq!(entry["policies"][0], "local.no-grants");
    assert_eq!(entry["detail"], "roles.grant");
}

/// A rotator may rewrap in every context. With a right to use keys in one of them, that must not
/// become a right to read them all.
#[tokio::test]
async fn data_is_not_carried_out_of_a_context_by_rebinding() {
    let folder = tempfile::tempdir().unwrap();
    let permit = r#"@id("local.tenant-a")
        permit (principal, action in CipherHub::Action::"UseKey", resource is CipherHub::Key)
        when {
            context.encryptionContext.hasTag("tenant") &&
            context.encryptionContext.getTag("tenant") == "a"
        };"#;
    std::fs::write(folder.path().join("10-local.cedar"), permit).unwrap();
    let bundle = hub_policy::Bundle::read(folder.path()).unwrap();
    let world = World::over(std::sync::Arc::new(hub_store::MemoryBackend::new()), bundle).await;
    world.registration("shop").await;
    let body = hub_model::api::key::CreateKey::new("orders".parse().unwrap());
    world.ok(&world.admin, &key::CreateKey { registration: named("shop"), body }).await;
    let app = world.participant("shop", "app", &[Role::Apps]).await;
    let rotator = world.participant("shop", "turner", &[Role::Rotators]).await;
    let context = |tenant: &str| {
        let pairs = [("tenant".to_owned(), tenant.to_owned())];
        hub_model::EncryptionContext::new(pairs.into()).unwrap()
    };
    let plaintext = hub_model::SecretBytes::new(b"of b".to_vec());
    let body = hub_model::api::crypto::Encrypt { plaintext, context: context("b") };
    let (registration, orders) = (named("shop"), named("orders"));
    let ciphertext =
        world.ok(&app, &key::Encrypt { registration, key: orders, body }).await.ciphertext;
    let rewrap = |new: Option<&str>| {
        let body = hub_model::api::crypto::Rewrap {
            ciphertext: ciphertext.clone(),
            context: context("b"),
            new_context: new.map(context),
        };
        key::Rewrap::new(named("shop"), named("orders"), body)
    };
    world.ok(&rotator, &rewrap(None)).await;
    let refused = world.attempt(&rotator, &rewrap(Some("a")), &meta()).await.unwrap_err();
    assert_eq!(refused.error.code(), "denied");
    world.ok(&app, &rewrap(Some("a"))).await;
}

#[tokio::test]
async fn grants_elsewhere_show_a_registration_and_leave_the_generation_of_a_participant() {
    let world = World::new().await;
    world.registration("shop").await;
    world.ok(&world.admin, &create_key("shop", "orders")).await;
    let partner = world.participant("hub", "partner", &[]).await;
    let get =
        participant::GetParticipant { registration: named("hub"), participant: named("partner") };
    let before = world.attempt(&world.admin, &get, &meta()).await.unwrap();
    let see = key::GetKey { registration: named("shop"), key: named("orders") };
    let hidden = answer(&world, &partner, &see).await;

    let body = hub_model::api::grant::CreateGrant {
        participant: before.reply.as_ref().unwrap().uid.to_string(),
        actions: vec![Action::KeysGet],
        expire_time: None,
        context: EncryptionContext::default(),
        note: String::new(),
    };
    let (registration, key) = (named("shop"), named("orders"));
    let create = key::CreateGrant { registration, key, body };
    let grant = world.ok(&world.admin, &create).await.uid;
    world.ok(&partner, &see).await;
    let after = world.attempt(&world.admin, &get, &meta()).await.unwrap();
    assert_eq!(after.generation, before.generation);

    let (registration, key) = (named("shop"), named("orders"));
    world.ok(&world.admin, &key::DeleteGrant { registration, key, grant }).await;
    assert_eq!(answer(&world, &partner, &see).await, hidden, "hidden again at once");
    let after = world.attempt(&world.admin, &get, &meta()).await.unwrap();
    assert_eq!(after.generation, before.generation);
}
