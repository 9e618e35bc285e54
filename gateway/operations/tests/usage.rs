//! Counts of use: before a use is answered, exact while the hub runs, obeyed by limits and by
//! rotation.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

mod common;

use common::{World, meta, named};
use hub_model::api::crypto::{Decrypt, Encrypt, Rewrap};
use hub_model::api::key::{CreateKey, VersionView};
use hub_model::api::uses::{Sign, Verify};
use hub_model::secret::SecretText;
use hub_model::usage::Tally;
use hub_model::{
    Algorithm, EncryptionContext, KeyId, Role, RotationPolicy, SecretBytes, UsageCounters,
};
use hub_operations::{Error, Operation, PageRequest, key};
use hub_store::{Changes, Versioned, layout};

struct Shop {
    world: World,
    app: SecretText,
}

impl Shop {
    async fn new() -> Self {
        let world = World::new().await;
        world.registration("shop").await;
        let app = world.participant("shop", "checkout", &[Role::Apps]).await;
        Self { world, app }
    }

    async fn key(&self, algorithm: Algorithm, rotation: Option<&str>) -> KeyId {
        let mut body = CreateKey::new("orders".parse().unwrap());
        body.algorithm = Some(algorithm);
        body.rotation = rotation.map(|text| serde_json::from_str::<RotationPolicy>(text).unwrap());
        let create = key::CreateKey { registration: named("shop"), body };
        self.world.ok(&self.world.admin, &create).await.uid
    }

    async fn app<O: Operation>(&self, operation: &O) -> Result<O::Reply, Error> {
        match self.world.attempt(&self.app, operation, &meta()).await {
            Ok(done) => Ok(done.reply.unwrap()),
            Err(failure) => Err(failure.error),
        }
    }

    async fn encrypt(&self, bytes: usize) -> Result<String, Error> {
        let plaintext = SecretBytes::new(vec![7; bytes]);
        let body = Encrypt { plaintext, context: EncryptionContext::default() };
        let encrypt = key::Encrypt { registration: named("shop"), key: named("orders"), body };
        Ok(self.app(&encrypt).await?.ciphertext)
    }

    async fn decrypt(&self, ciphertext: String) -> Result<(), Error> {
        let body = Decrypt { ciphertext, context: EncryptionContext::default() };
        self.app(&key::Decrypt::new(named("shop"), named("orders"), body)).await.map(drop)
    }

    async fn version(&self, version: u32) -> VersionView {
        let (registration, key) = (named("shop"), named("orders"));
        self.world.ok(&self.world.admin, &key::GetVersion { registration, key, version }).await
    }

    async fn used(&self, version: u32) -> UsageCounters {
        self.version(version).await.usage.unwrap()
    }

    async fn record(&self, key: KeyId) -> Option<Versioned<UsageCounters>> {
        self.world.hub.store().read(&layout::usage(key, 1)).await.unwrap()
    }

    /// Makes the record of the first version say this much, as long use would.
    async fn wear(&self, key: KeyId, operations: u64) {
        let tally = Tally { operations, bytes: 0 };
        let worn = UsageCounters { protect: tally, ..UsageCounters::default() };
        let mut changes = Changes::new();
        changes.put(&layout::usage(key, 1), &worn).unwrap();
        let entry = hub_operations::bootstrap::first_entry(self.world.clock_now());
        let _receipt = self.world.hub.log().appender().append(&entry, changes).await.unwrap();
    }
}

#[tokio::test]
async fn uses_are_counted_by_side_and_the_record_is_ahead_of_them() {
    let shop = Shop::new().await;
    let key = shop.key(Algorithm::Aes256Gcm, None).await;
    assert_eq!(shop.used(1).await, UsageCounters::default());
    assert!(shop.record(key).await.is_none());
    let ciphertext = shop.encrypt(100).await.unwrap();
    for _ in 0..99 {
        shop.encrypt(10).await.unwrap();
        let (used, record) = (shop.used(1).await, shop.record(key).await.unwrap().value);
        assert!(record.protect.operations >= used.protect.operations);
        assert!(record.protect.bytes >= used.protect.bytes);
    }
    shop.decrypt(ciphertext.clone()).await.unwrap();
    // What does not open is no use.
    shop.decrypt(ciphertext.replace("ch1:1:AQ", "ch1:1:AB")).await.unwrap_err();
    let used = shop.used(1).await;
    assert_eq!(used.protect, Tally { operations: 100, bytes: 100 + 99 * 10 });
    assert_eq!(used.process, Tally { operations: 1, bytes: 100 });
    assert_eq!(used.last_process, Some(shop.world.clock_now()));
    // Settled at the end, the record is exact.
    shop.world.hub.settle_usage(true).await.unwrap();
    assert_eq!(shop.record(key).await.unwrap().value, used);
}

#[tokio::test]
async fn a_block_is_reserved_by_the_entry_of_the_use_that_needs_it() {
    let shop = Shop::new().await;
    let key = shop.key(Algorithm::Aes256Gcm, None).await;
    let size = || shop.world.hub.log().appender().position().audit.size;
    let before = size();
    let first = shop.encrypt(100).await.unwrap();
    assert_eq!(size(), before + 1, "one entry, and no commit beside it");
    let record = shop.record(key).await.unwrap();
    assert!(record.value.protect.operations >= 1);
    // A rewrap counts for two versions, both of which may need a block.
    shop.world
        .ok(
            &shop.world.admin,
            &key::RotateKey { registration: named("shop"), key: named("orders") },
        )
        .await;
    let body =
        Rewrap { ciphertext: first, context: EncryptionContext::default(), new_context: None };
    shop.app(&key::Rewrap::new(named("shop"), named("orders"), body)).await.unwrap();
    assert_eq!(shop.used(1).await.process, Tally { operations: 1, bytes: 100 });
    assert_eq!(shop.used(2).await.protect, Tally { operations: 1, bytes: 100 });
    // Within one version too, where both sides have one meter.
    let second = shop.encrypt(50).await.unwrap();
    shop.world.hub.forget();
    let body =
        Rewrap { ciphertext: second, context: EncryptionContext::default(), new_context: None };
    shop.app(&key::Rewrap::new(named("shop"), named("orders"), body)).await.unwrap();
    assert_eq!(shop.used(2).await.process, Tally { operations: 1, bytes: 50 });
    assert_eq!(shop.used(2).await.protect, Tally { operations: 3, bytes: 200 });
}

#[tokio::test]
async fn a_block_that_another_has_reserved_meanwhile_is_asked_for_again() {
    let shop = Shop::new().await;
    let key = shop.key(Algorithm::Aes256Gcm, None).await;
    shop.encrypt(1).await.unwrap();
    // Somebody else writes the record under a meter that believes in what it read.
    shop.wear(key, 5_000).await;
    let ciphertext = shop.encrypt(1).await.unwrap();
    for _ in 0..2_000 {
        shop.encrypt(1).await.unwrap();
    }
    shop.decrypt(ciphertext).await.unwrap();
    let (used, record) = (shop.used(1).await, shop.record(key).await.unwrap().value);
    assert!(used.protect.operations >= 5_000, "{used:?}");
    assert!(record.protect.operations >= used.protect.operations);
}

#[tokio::test]
async fn a_key_that_left_the_cache_loses_nothing() {
    let shop = Shop::new().await;
    let key = shop.key(Algorithm::Aes256Gcm, None).await;
    shop.encrypt(5).await.unwrap();
    shop.world.hub.forget();
    shop.encrypt(5).await.unwrap();
    assert_eq!(shop.used(1).await.protect.operations, 2, "the meter outlives the cached key");
    shop.world.hub.forget();
    shop.world.hub.settle_usage(false).await.unwrap();
    let record = shop.record(key).await.unwrap().value;
    assert_eq!(record.protect, Tally { operations: 2, bytes: 10 });
    shop.encrypt(5).await.unwrap();
    assert_eq!(shop.used(1).await.protect.operations, 3);
}

#[tokio::test]
async fn two_who_count_never_lose_one() {
    let shop = Shop::new().await;
    let key = shop.key(Algorithm::Aes256Gcm, None).await;
    shop.encrypt(1).await.unwrap();
    // Somebody else writes the record: what is counted here starts anew from theirs.
    shop.wear(key, 1_000).await;
    for _ in 0..70 {
        shop.encrypt(1).await.unwrap();
    }
    let operations = shop.used(1).await.protect.operations;
    assert!((1_007..1_100).contains(&operations), "{operations}");
}

#[tokio::test]
async fn signatures_and_codes_count_and_wrong_ones_do_not() {
    let shop = Shop::new().await;
    shop.key(Algorithm::Ed25519, None).await;
    let message = Some(SecretBytes::new(b"hello".to_vec()));
    let body = Sign { message: message.clone(), digest: None, format: None };
    let (registration, key) = (named("shop"), named("orders"));
    let signed = shop.app(&key::Sign { registration, key, body }).await.unwrap();
    for (signature, valid) in [(signed.signature.clone(), true), ("AAAA".to_owned(), false)] {
        let signature = serde_json::from_value(serde_json::Value::String(signature)).unwrap();
        let body = Verify {
            message: message.clone(),
            digest: None,
            signature,
            format: None,
            version: None,
        };
        let (registration, key) = (named("shop"), named("orders"));
        let verified = shop.app(&key::Verify { registration, key, body }).await.unwrap();
        assert_eq!(verified.valid, valid);
    }
    let used = shop.used(1).await;
    assert_eq!((used.protect, used.process), (Tally::one(5), Tally::one(5)));
}

#[tokio::test]
async fn a_key_rotates_when_it_was_used_enough() {
    let shop = Shop::new().await;
    shop.key(Algorithm::Aes256Gcm, Some(r#"{"maxOperations":3}"#)).await;
    shop.encrypt(1).await.unwrap();
    shop.encrypt(1).await.unwrap();
    assert_eq!(shop.world.hub.sweep_keys().await.unwrap().changes, 0);
    shop.encrypt(1).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(5), shop.world.hub.usage_due())
        .await
        .expect("the sweep is asked for");
    assert_eq!(shop.world.hub.sweep_keys().await.unwrap().changes, 1);
    assert!(shop.encrypt(1).await.unwrap().starts_with("ch1:2:"));
    assert_eq!(shop.world.hub.sweep_keys().await.unwrap().changes, 0, "never twice");
    let (first, second) = (shop.version(1).await, shop.version(2).await);
    assert_eq!((first.needs_rewrap, second.needs_rewrap), (Some(true), Some(false)));
    assert_eq!(second.usage.unwrap().protect.operations, 1);
    let (registration, key) = (named("shop"), named("orders"));
    let page = PageRequest::default();
    let list = key::ListVersions { registration, key, page };
    let listed = shop.world.ok(&shop.world.admin, &list).await.items;
    assert_eq!(listed, [first, second]);
}

#[tokio::test]
async fn a_key_rotates_when_enough_bytes_were_encrypted() {
    let shop = Shop::new().await;
    shop.key(Algorithm::ChaCha20Poly1305, Some(r#"{"maxBytes":1000}"#)).await;
    shop.encrypt(999).await.unwrap();
    assert_eq!(shop.world.hub.sweep_keys().await.unwrap().changes, 0);
    shop.encrypt(1).await.unwrap();
    assert_eq!(shop.world.hub.sweep_keys().await.unwrap().changes, 1);
}

#[tokio::test]
async fn algorithms_with_a_limit_of_messages_rotate_before_it_and_stop_at_it() {
    for algorithm in [Algorithm::Aes256GcmSiv, Algorithm::Aes256GcmRaw] {
        let shop = Shop::new().await;
        let key = shop.key(algorithm, None).await;
        let limit = algorithm.message_limit().unwrap();
        shop.wear(key, limit.rotate_at - 1).await;
        let old = shop.encrypt(1).await.unwrap();
        assert_eq!(shop.world.hub.sweep_keys().await.unwrap().changes, 1, "{algorithm}");
        assert!(shop.encrypt(1).await.unwrap().starts_with("ch1:2:"));
        shop.decrypt(old).await.unwrap();

        let shop = Shop::new().await;
        let key = shop.key(algorithm, None).await;
        shop.wear(key, limit.refuse_at - 1).await;
        let last = shop.encrypt(1).await.unwrap();
        let error = shop.encrypt(1).await.unwrap_err();
        assert_eq!(error.code(), "key_state", "{error}");
        shop.decrypt(last).await.unwrap();
    }
}
