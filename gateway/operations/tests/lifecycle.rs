//! The life of keys: random lives beside a simple reference, what the sweep does and when, and what
//! is left of a destroyed key.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking, their helpers too"
)]

mod common;

use std::time::Duration;

use common::{World, meta, named};
use hub_model::api::crypto::{Decrypt as DecryptBody, Encrypt as EncryptBody};
use hub_model::api::key::{CreateKey as KeyBody, KeyView, PatchKey, ScheduleDestroy, VersionView};
use hub_model::api::registration::PatchRegistration;
use hub_model::secret::SecretText;
use hub_model::{Clock as _, EncryptionContext, KeyState, Role, RotationPolicy, SecretBytes};
use hub_operations::key::{self as keys, Verb};
use hub_operations::{Meta, Operation, PageRequest, registration};
use hub_store::layout;

const DAY: Duration = Duration::from_secs(86_400);

struct Shop {
    world: World,
    boss: SecretText,
}

type Answer<T> = Result<T, &'static str>;

impl Shop {
    async fn new() -> Self {
        let world = World::new().await;
        world.registration("shop").await;
        let boss = world.participant("shop", "boss", &[Role::Owners, Role::Apps]).await;
        Self { world, boss }
    }

    async fn with(body: KeyBody) -> Self {
        let shop = Self::new().await;
        let create = keys::CreateKey { registration: named("shop"), body };
        shop.world.ok(&shop.boss, &create).await;
        shop
    }

    async fn orders() -> Self {
        Self::with(KeyBody::new("orders".parse().unwrap())).await
    }

    async fn call<O: Operation>(&self, operation: &O, meta: &Meta) -> Answer<O::Reply> {
        match self.world.attempt(&self.boss, operation, meta).await {
            Ok(done) => Ok(done.reply.unwrap()),
            Err(failure) => Err(failure.error.code()),
        }
    }

    async fn step<V: Verb>(&self) -> Answer<KeyView> {
        let body = ScheduleDestroy { after: Some("P7D".parse().unwrap()) };
        let step = keys::StepKey::<V>::new(named("shop"), named("orders"), body);
        self.call(&step, &meta()).await
    }

    async fn step_version<V: Verb>(&self, number: u32) -> Answer<VersionView> {
        let body = ScheduleDestroy { after: Some("P7D".parse().unwrap()) };
        let step = keys::StepVersion::<V>::new(named("shop"), named("orders"), number, body);
        self.call(&step, &meta()).await
    }

    async fn rotate(&self) -> Answer<KeyView> {
        let rotate = keys::RotateKey { registration: named("shop"), key: named("orders") };
        self.call(&rotate, &meta()).await
    }

    async fn set_primary(&self, version: u32) -> Answer<KeyView> {
        let (registration, key) = (named("shop"), named("orders"));
        self.call(&keys::SetPrimary { registration, key, version }, &meta()).await
    }

    async fn get(&self) -> (KeyView, u64) {
        let get = keys::GetKey { registration: named("shop"), key: named("orders") };
        let done = self.world.attempt(&self.boss, &get, &meta()).await.unwrap();
        (done.reply.unwrap(), done.generation.unwrap())
    }

    async fn versions(&self) -> Vec<VersionView> {
        let page = PageRequest { size: None, token: None };
        let (registration, key) = (named("shop"), named("orders"));
        self.call(&keys::ListVersions { registration, key, page }, &meta()).await.unwrap().items
    }

    async fn patch(&self, body: PatchKey) -> Answer<KeyView> {
        let seen = Meta { if_match: Some(self.get().await.1), ..meta() };
        let (registration, key) = (named("shop"), named("orders"));
        self.call(&keys::UpdateKey { registration, key, body }, &seen).await
    }

    async fn encrypt(&self) -> Answer<(u32, String)> {
        let plaintext = SecretBytes::new(b"hello".to_vec());
        let body = EncryptBody { plaintext, context: EncryptionContext::default() };
        let (registration, key) = (named("shop"), named("orders"));
        let made = self.call(&keys::Encrypt { registration, key, body }, &meta()).await?;
        Ok((made.version, made.ciphertext))
    }

    async fn decrypt(&self, ciphertext: &str) -> Answer<()> {
        let context = EncryptionContext::default();
        let body = DecryptBody { ciphertext: ciphertext.to_owned(), context };
        let open = keys::DecryptAny::new(named("shop"), body);
        let opened = self.call(&open, &meta()).await?;
        assert_eq!(opened.plaintext.expose_secret(), b"hello");
        Ok(())
    }

    async fn sweep(&self) -> keys::Swept {
        self.world.hub.sweep_keys().await.unwrap()
    }

    fn pass(&self, days: u32) {
        self.world.clock.advance(DAY * days);
    }

    /// How many records lie under a prefix.
    async fn count(&self, prefix: &str) -> usize {
        self.world
            .hub
            .store()
            .scan_bytes(prefix, None, 1000, hub_store::View::Now)
            .await
            .unwrap()
            .records
            .len()
    }
}

// ---- random lives ---------------------------------------------------------------------------

/// What a key or a version is, told by a table of words of its own.
#[derive(Clone, Debug)]
struct Life {
    state: &'static str,
    ever: Vec<&'static str>,
    ends: Option<u32>,
}

impl Life {
    fn new() -> Self {
        Self { state: "active", ever: Vec::new(), ends: None }
    }

    fn take(&mut self, step: &'static str, today: u32) -> bool {
        let next = match (step, self.state) {
            ("suspend", "active") => "suspended",
            ("resume", "suspended") => "active",
            ("deactivate", "active" | "suspended") => "deactivated",
            ("compromise", "destroyed" | "compromised") => return false,
            ("compromise", "destroyScheduled") => "destroyScheduled",
            ("compromise", _) => "compromised",
            ("schedule", "destroyed" | "destroyScheduled") => return false,
            ("schedule", _) => "destroyScheduled",
            ("cancel", "destroyScheduled") => "suspended",
            _ => return false,
        };
        match step {
            "schedule" => self.ends = Some(today + 7),
            "cancel" => self.ends = None,
            _ => {}
        }
        self.ever.push(step);
        self.state = match next {
            // What was once known to others or has ended never comes back.
            "active" if self.ever.contains(&"compromise") => "compromised",
            "deactivated" if self.ever.contains(&"compromise") => "compromised",
            "active" if self.ever.contains(&"deactivate") => "deactivated",
            other => other,
        };
        true
    }
}

struct Reference {
    key: Life,
    versions: Vec<Life>,
    primary: u32,
    least: u32,
    today: u32,
}

impl Reference {
    fn version(&mut self, number: u32) -> &mut Life {
        &mut self.versions[number as usize - 1]
    }

    fn passes(&mut self, days: u32) {
        self.today += days;
        let today = self.today;
        let due = |life: &Life| life.state == "destroyScheduled" && life.ends <= Some(today);
        let all = due(&self.key);
        if all {
            self.key.state = "destroyed";
        }
        for version in &mut self.versions {
            if all || (self.key.state != "destroyed" && due(version)) {
                version.state = "destroyed";
            }
        }
    }

    fn encrypts(&mut self) -> Answer<u32> {
        let primary = self.primary;
        match (self.key.state, self.version(primary).state) {
            ("active", "active") => Ok(primary),
            ("active", _) => Err("key_state"),
            _ => Err("denied"),
        }
    }

    fn decrypts(&mut self, number: u32) -> Answer<()> {
        let low = number < self.least;
        match (self.key.state, self.version(number).state) {
            ("active" | "deactivated", "active" | "deactivated") if !low => Ok(()),
            ("active" | "deactivated" | "compromised", _) => Err("key_state"),
            _ => Err("denied"),
        }
    }
}

/// SplitMix64: a life is found again by its number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

async fn step_key(shop: &Shop, step: &str) -> bool {
    match step {
        "suspend" => shop.step::<keys::Suspend>().await,
        "resume" => shop.step::<keys::Resume>().await,
        "deactivate" => shop.step::<keys::Deactivate>().await,
        "compromise" => shop.step::<keys::MarkCompromised>().await,
        "schedule" => shop.step::<keys::ScheduleDestroy>().await,
        _ => shop.step::<keys::CancelDestroy>().await,
    }
    .is_ok()
}

async fn step_version(shop: &Shop, step: &str, number: u32) -> bool {
    match step {
        "suspend" => shop.step_version::<keys::Suspend>(number).await,
        "resume" => shop.step_version::<keys::Resume>(number).await,
        "deactivate" => shop.step_version::<keys::Deactivate>(number).await,
        "compromise" => shop.step_version::<keys::MarkCompromised>(number).await,
        "schedule" => shop.step_version::<keys::ScheduleDestroy>(number).await,
        _ => shop.step_version::<keys::CancelDestroy>(number).await,
    }
    .is_ok()
}

async fn live(seed: u64) {
    const STEPS: [&str; 6] =
        ["suspend", "resume", "deactivate", "compromise", "schedule", "cancel"];
    let mut dice = Dice(seed);
    let shop = Shop::orders().await;
    let mut reference =
        Reference { key: Life::new(), versions: vec![Life::new()], primary: 1, least: 1, today: 0 };
    let mut sealed = vec![shop.encrypt().await.unwrap()];
    for turn in 0..60 {
        let what = format!("life {seed}, turn {turn}");
        let number = 1 + dice.below(reference.versions.len() as u64) as u32;
        let step = STEPS[dice.below(6) as usize];
        match dice.below(12) {
            0..=2 => {
                let may = reference.key.state == "active";
                assert_eq!(shop.rotate().await.is_ok(), may, "{what}: rotate");
                if may {
                    reference.versions.push(Life::new());
                    reference.primary = reference.versions.len() as u32;
                    sealed.push(shop.encrypt().await.unwrap());
                }
            }
            // Steps of the whole key are rare, for they end most lives.
            3 => {
                let today = reference.today;
                let milder = if dice.below(3) > 0 { "suspend" } else { step };
                let may = reference.key.take(milder, today);
                assert_eq!(step_key(&shop, milder).await, may, "{what}: {milder} the key");
            }
            4 => {
                let today = reference.today;
                let back = if reference.key.state == "suspended" { "resume" } else { "cancel" };
                let may = reference.key.take(back, today);
                assert_eq!(step_key(&shop, back).await, may, "{what}: {back} the key");
            }
            5..=7 => {
                let ends = matches!(step, "suspend" | "deactivate" | "schedule");
                let may =
                    reference.key.state != "destroyed" && !(ends && number == reference.primary);
                let today = reference.today;
                let may = may && reference.version(number).take(step, today);
                let did = step_version(&shop, step, number).await;
                assert_eq!(did, may, "{what}: {step} version {number}");
            }
            8 => {
                let may = reference.key.state != "destroyed"
                    && number >= reference.least
                    && reference.version(number).state == "active";
                let did = shop.set_primary(number).await.is_ok();
                assert_eq!(did, may, "{what}: version {number} primary");
                if may {
                    reference.primary = number;
                }
            }
            9 => {
                let may = reference.key.state != "destroyed" && number <= reference.primary;
                let body = PatchKey { min_decrypt_version: Some(number), ..PatchKey::default() };
                assert_eq!(shop.patch(body).await.is_ok(), may, "{what}: least {number}");
                if may {
                    reference.least = number;
                }
            }
            _ => {
                let days = dice.below(3) as u32;
                shop.pass(days);
                shop.sweep().await;
                reference.passes(days);
            }
        }
        let (view, _) = shop.get().await;
        let versions = shop.versions().await;
        assert_eq!(view.state.name(), reference.key.state, "{what}");
        assert_eq!(view.primary_version, reference.primary, "{what}");
        assert_eq!(view.min_decrypt_version, reference.least, "{what}");
        let shown: Vec<_> = versions.iter().map(|version| version.state.name()).collect();
        let expected: Vec<_> = reference.versions.iter().map(|life| life.state).collect();
        assert_eq!(shown, expected, "{what}");
        let made = shop.encrypt().await.map(|(version, _)| version);
        assert_eq!(made, reference.encrypts(), "{what}: encrypt");
        for (version, ciphertext) in &sealed {
            let expected = reference.decrypts(*version);
            assert_eq!(shop.decrypt(ciphertext).await, expected, "{what}: version {version}");
        }
        let left = reference.versions.iter().filter(|life| life.state != "destroyed").count();
        assert_eq!(shop.count(&layout::versions(view.uid)).await, left, "{what}: material");
        assert_eq!(shop.count(layout::SHREDDINGS).await, 0, "{what}");
    }
}

#[tokio::test]
async fn random_lives_are_those_of_the_reference() {
    for seed in 0..12 {
        live(seed).await;
    }
}

// ---- single cases ---------------------------------------------------------------------------

#[tokio::test]
async fn a_key_waits_for_its_date() {
    let mut body = KeyBody::new("orders".parse().unwrap());
    let world = World::new().await;
    body.activation_time = Some(world.clock.now().plus(DAY * 2));
    let shop = Shop::with(body).await;
    assert_eq!(shop.encrypt().await, Err("denied"));
    assert_eq!(shop.sweep().await.changes, 0);
    shop.pass(2);
    assert_eq!(shop.sweep().await.changes, 1);
    assert!(shop.encrypt().await.is_ok());
    assert_eq!(shop.sweep().await, keys::Swept::default());
}

#[tokio::test]
async fn a_clock_set_forward_destroys_nothing() {
    let shop = Shop::orders().await;
    let made = shop.encrypt().await.unwrap().1;
    shop.step::<keys::ScheduleDestroy>().await.unwrap();
    shop.pass(1);
    shop.world.clock.jump(30 * 86_400_000_000);
    let swept = shop.sweep().await;
    assert_eq!((swept.changes, swept.held), (0, 1));
    shop.step::<keys::CancelDestroy>().await.unwrap();
    shop.step::<keys::Resume>().await.unwrap();
    shop.decrypt(&made).await.unwrap();
    shop.step::<keys::ScheduleDestroy>().await.unwrap();
    // As much time has passed as was wanted, counted from the date that was set.
    shop.pass(7);
    assert_eq!(shop.sweep().await.held, 1, "and the jump is still not believed");
    shop.world.clock.jump(-30 * 86_400_000_000);
    shop.pass(30);
    assert_eq!(shop.sweep().await.changes, 1);
    assert_eq!(shop.get().await.0.state, KeyState::Destroyed);
}

#[tokio::test]
async fn of_a_destroyed_key_a_tombstone_is_left() {
    let shop = Shop::orders().await;
    for _ in 0..45 {
        shop.rotate().await.unwrap();
    }
    let made = shop.encrypt().await.unwrap().1;
    let uid = shop.get().await.0.uid;
    shop.step::<keys::ScheduleDestroy>().await.unwrap();
    assert_eq!(shop.count(layout::AGENDA).await, 1);
    shop.pass(7);
    let swept = shop.sweep().await;
    assert_eq!((swept.changes, swept.erased), (1, 46));
    assert_eq!(shop.count(&layout::versions(uid)).await, 0);
    assert_eq!(shop.count(layout::AGENDA).await, 0);
    assert_eq!(shop.get().await.0.state, KeyState::Destroyed);
    assert_eq!(shop.decrypt(&made).await, Err("denied"));
    assert_eq!(shop.rotate().await.err(), Some("key_state"));
    assert_eq!(shop.patch(PatchKey::default()).await.err(), Some("key_state"));
    assert_eq!(shop.step::<keys::CancelDestroy>().await.err(), Some("key_state"));
    assert!(shop.versions().await.iter().all(|version| version.state == KeyState::Destroyed));
}

#[tokio::test]
async fn who_may_not_read_versions_learns_nothing_of_their_state() {
    let shop = Shop::orders().await;
    let made = shop.encrypt().await.unwrap().1;
    shop.rotate().await.unwrap();
    shop.step_version::<keys::Suspend>(1).await.unwrap();
    assert_eq!(shop.decrypt(&made).await, Err("key_state"));
    let local = "@id(\"blind\") forbid(principal, action in CipherHub::Action::\"ReadKey\", \
                 resource is CipherHub::Key);";
    let bundle = hub_policy::Bundle::parse([("local.cedar", local)]).unwrap();
    shop.world.hub.policies().activate(bundle).unwrap();
    assert_eq!(shop.decrypt(&made).await, Err("decryption_failed"));
}

#[tokio::test]
async fn a_compromised_version_is_read_by_permission_only() {
    let shop = Shop::orders().await;
    let made = shop.encrypt().await.unwrap().1;
    shop.step_version::<keys::MarkCompromised>(1).await.unwrap();
    assert_eq!(shop.encrypt().await, Err("key_state"), "at once, though primary");
    shop.rotate().await.unwrap();
    assert!(shop.encrypt().await.is_ok());
    assert_eq!(shop.decrypt(&made).await, Err("key_state"));
    let local = "@id(\"rescue\") permit(principal, action == \
                 CipherHub::Action::\"keys.useCompromised\", resource);";
    let bundle = hub_policy::Bundle::parse([("local.cedar", local)]).unwrap();
    shop.world.hub.policies().activate(bundle).unwrap();
    shop.decrypt(&made).await.unwrap();
    shop.step_version::<keys::ScheduleDestroy>(1).await.unwrap();
    assert_eq!(shop.decrypt(&made).await, Err("key_state"));
}

#[tokio::test]
async fn rotation_is_by_policy_once_and_grace_ends() {
    let shop = Shop::orders().await;
    let policy: RotationPolicy =
        serde_json::from_str(r#"{"schedule":{"period":"P10D"},"gracePeriod":"P15D"}"#).unwrap();
    let rotation = Some(Some(policy.clone()));
    let view = shop.patch(PatchKey { rotation, ..PatchKey::default() }).await.unwrap();
    let date = view.next_rotation_time.unwrap();
    assert_eq!(date.since(view.create_time), DAY * 10);
    shop.pass(9);
    let swept = shop.sweep().await;
    assert_eq!((swept.changes, swept.next), (0, Some(date)));
    // A missed run, and a clock set forward: one rotation each.
    shop.pass(3);
    assert_eq!(shop.sweep().await.changes, 1);
    assert_eq!(shop.sweep().await.changes, 0);
    let view = shop.get().await.0;
    assert_eq!((view.primary_version, view.versions), (2, 2));
    shop.world.clock.jump(40 * 86_400_000_000);
    assert_eq!(shop.sweep().await.changes, 2, "a rotation, and the grace of version 1 is over");
    assert_eq!(shop.sweep().await.changes, 0);
    let states: Vec<_> = shop.versions().await.iter().map(|v| v.state).collect();
    assert_eq!(states, [KeyState::Deactivated, KeyState::Active, KeyState::Active]);
    // Set back: nothing until the clock has come there again.
    shop.world.clock.jump(-40 * 86_400_000_000);
    assert_eq!(shop.sweep().await.changes, 0);
    let entries = shop.world.hub.log().appender().position().audit.size;
    let mut rotations = Vec::new();
    for seq in 0..entries {
        let entry = shop.world.entry(seq).await;
        if entry["action"] == "keys.rotate" {
            rotations.push(entry);
        }
    }
    assert_eq!(rotations.len(), 2);
    assert!(rotations.iter().all(|entry| entry["caller"].is_null()), "{rotations:?}");
    // Set primary again counts as a rotation.
    shop.world.clock.jump(40 * 86_400_000_000);
    shop.pass(5);
    shop.set_primary(2).await.unwrap();
    assert_eq!(shop.sweep().await.changes, 0);
}

#[tokio::test]
async fn the_default_of_the_registration_reaches_its_keys() {
    let shop = Shop::orders().await;
    let policy: RotationPolicy = serde_json::from_str(r#"{"schedule":{"period":"P10D"}}"#).unwrap();
    let body = PatchRegistration { rotation: Some(Some(policy)), ..PatchRegistration::default() };
    let seen = Meta { if_match: Some(1), ..meta() };
    let update = registration::UpdateRegistration { registration: named("shop"), body };
    let view = shop.call(&update, &seen).await.unwrap();
    assert!(view.rotation.is_some());
    assert!(shop.get().await.0.next_rotation_time.is_some());
    shop.sweep().await;
    shop.pass(10);
    assert_eq!(shop.sweep().await.changes, 1);
    // A key of its own opinion.
    let rotation = Some(Some(RotationPolicy::default()));
    shop.patch(PatchKey { rotation, ..PatchKey::default() }).await.unwrap();
    assert_eq!(shop.get().await.0.next_rotation_time, None);
    shop.pass(10);
    assert_eq!(shop.sweep().await.changes, 0);
    let policy: RotationPolicy = serde_json::from_str(r#"{"maxOperations":0}"#).unwrap();
    let rotation = Some(Some(policy));
    let refused = shop.patch(PatchKey { rotation, ..PatchKey::default() }).await;
    assert_eq!(refused.err(), Some("invalid_argument"));
}

#[tokio::test]
async fn a_frozen_registration_waits() {
    let shop = Shop::orders().await;
    shop.step::<keys::ScheduleDestroy>().await.unwrap();
    let freeze = registration::Freeze::<true> { registration: named("shop") };
    shop.call(&freeze, &meta()).await.unwrap();
    shop.pass(8);
    assert_eq!(shop.sweep().await.changes, 0);
    let thaw = registration::Freeze::<false> { registration: named("shop") };
    shop.call(&thaw, &meta()).await.unwrap();
    assert_eq!(shop.sweep().await.changes, 1);
}
