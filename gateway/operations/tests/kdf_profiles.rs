//! Derivation by profiles of plugins: the same request gives the same bytes for as long as the code
//! it was answered by is there, and is refused when it is not; nothing a plugin says gives the
//! bytes of one use to another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{World, meta, named};
use hub_crypto::Secret;
use hub_crypto::kdf::plan::CheckedPlan;
use hub_model::algorithm::Hash;
use hub_model::api::key::{CreateKey as KeyBody, KeyView};
use hub_model::api::profile::ChosenProfile;
use hub_model::api::uses::{Derive, DeriveKey, Derived, Mac};
use hub_model::extend::{
    Asked, FailureKind, KdfInService, KdfPlan, KdfProfile, KdfProfiles, KdfQuestion, KdfStep,
    KdfVersion, NoPlugins, PluginDigest, PluginFailure, Plugins, RotationSchedule,
};
use hub_model::secret::SecretText;
use hub_model::{
    Algorithm, EncryptionContext, Name, RegistrationId, Role, SecretBytes, Thumbprint,
};
use hub_operations::{Error, Failure, Meta, key};

type Asking = dyn Fn(&KdfQuestion<'_>) -> Result<Vec<KdfStep>, PluginFailure> + Send + Sync;

/// A plugin of one profile, `plain`, whose plan comes from a closure.
struct Fake {
    digest: PluginDigest,
    settings: Option<Thumbprint>,
    asked: AtomicUsize,
    plan: Box<Asking>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl KdfProfiles for Fake {
    fn digest(&self) -> PluginDigest {
        self.digest
    }

    fn settings(&self) -> Option<Thumbprint> {
        self.settings
    }

    fn profiles(&self) -> Arc<[KdfProfile]> {
        let (id, description) = ("plain".parse().unwrap(), "for tests".into());
        Arc::new([KdfProfile { id, description, max_length: 512 }])
    }

    fn plan<'a>(&'a self, question: &'a KdfQuestion<'a>) -> Asked<'a, Arc<KdfPlan>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let steps = (self.plan)(question);
        Box::pin(async move { Ok(Arc::new(KdfPlan { steps: steps? })) })
    }
}

/// The versions installed, the last of which is in service; and which was asked for last.
#[derive(Debug, Default)]
struct Installed(Mutex<Vec<Arc<Fake>>>, Mutex<Option<KdfVersion>>);

impl Plugins for Installed {
    fn rotation(
        &self,
        registration: RegistrationId,
        plugin: &Name,
    ) -> Result<Arc<dyn RotationSchedule>, PluginFailure> {
        NoPlugins.rotation(registration, plugin)
    }

    fn kdf(
        &self,
        registration: RegistrationId,
        plugin: &Name,
        version: KdfVersion,
    ) -> Result<KdfInService, PluginFailure> {
        *self.1.lock().unwrap() = Some(version);
        let (installed, digest) = (self.0.lock().unwrap(), version.digest());
        let found = installed.iter().rfind(|fake| digest.is_none_or(|d| d == fake.digest));
        match found.filter(|_| plugin.as_str() == "tree") {
            Some(fake) => Ok(KdfInService { profiles: Arc::clone(fake) as _, revision: None }),
            None => NoPlugins.kdf(registration, plugin, version),
        }
    }
}

const ONE: PluginDigest = Thumbprint([1; 32]);
const TWO: PluginDigest = Thumbprint([2; 32]);

fn fake(
    digest: PluginDigest,
    plan: impl Fn(&KdfQuestion<'_>) -> Result<Vec<KdfStep>, PluginFailure> + Send + Sync + 'static,
) -> Arc<Fake> {
    Arc::new(Fake { digest, settings: None, asked: AtomicUsize::new(0), plan: Box::new(plan) })
}

/// HKDF-Expand of slot 0 with the caller's `info`.
fn expanding(digest: PluginDigest) -> Arc<Fake> {
    fake(digest, |question| {
        let (hash, prk, length) = (Hash::Sha256, 0, question.length);
        Ok(vec![KdfStep::Expand { hash, prk, info: question.info.to_vec(), length }])
    })
}

struct Scene {
    world: World,
    installed: Arc<Installed>,
    app: SecretText,
}

impl Scene {
    /// A registration `shop` whose key `root` has these bytes.
    async fn new(fakes: &[Arc<Fake>]) -> Self {
        let world = World::new().await;
        world.registration("shop").await;
        let app = world.participant("shop", "app", &[Role::Apps, Role::Owners]).await;
        let algorithm = Some(Algorithm::HkdfSha256);
        let body = KeyBody { algorithm, ..KeyBody::new("root".parse().unwrap()) };
        world.ok(&world.admin, &key::CreateKey { registration: named("shop"), body }).await;
        let installed = Arc::new(Installed(Mutex::new(fakes.to_vec()), Mutex::default()));
        world.hub.set_plugins(Arc::clone(&installed) as _);
        Self { world, installed, app }
    }

    /// Which version was asked for last.
    fn version(&self) -> Option<KdfVersion> {
        *self.installed.1.lock().unwrap()
    }

    fn install(&self, fakes: &[Arc<Fake>]) {
        *self.installed.0.lock().unwrap() = fakes.to_vec();
    }

    async fn try_derive(&self, body: Derive, meta: &Meta) -> Result<Derived, Failure> {
        let derive = key::Derive { registration: named("shop"), key: named("root"), body };
        self.world.attempt(&self.app, &derive, meta).await.map(|done| done.reply.unwrap())
    }

    async fn derive(&self, body: Derive) -> Vec<u8> {
        self.try_derive(body, &meta()).await.unwrap().derived.expose_secret().to_vec()
    }

    async fn refused(&self, body: Derive) -> Error {
        self.try_derive(body, &meta()).await.unwrap_err().error
    }

    async fn derive_key(&self, body: DeriveKey) -> Result<KeyView, Failure> {
        let derive = key::DeriveKey { registration: named("shop"), key: named("root"), body };
        let done = self.world.attempt(&self.app, &derive, &meta()).await;
        done.map(|done| done.reply.unwrap())
    }

    async fn root(&self) -> KeyView {
        let get = key::GetKey { registration: named("shop"), key: named("root") };
        self.world.ok(&self.app, &get).await
    }
}

fn chosen(digest: Option<PluginDigest>) -> ChosenProfile {
    let (plugin, profile) = ("tree".parse().unwrap(), "plain".parse().unwrap());
    ChosenProfile { plugin, profile, parameters: BTreeMap::new(), digest }
}

fn derive(digest: Option<PluginDigest>) -> Derive {
    Derive { profile: Some(Box::new(chosen(digest))), ..Derive::default() }
}

fn with_info(info: &str) -> Derive {
    Derive { info: Some(SecretBytes::new(info.as_bytes().to_vec())), ..derive(None) }
}

#[tokio::test]
async fn equal_requests_give_equal_bytes_and_every_input_counts() {
    let scene = Scene::new(&[expanding(ONE)]).await;
    let first = scene.derive(with_info("a")).await;
    assert_eq!((first.len(), &first), (32, &scene.derive(with_info("a")).await));
    let context: EncryptionContext = serde_json::from_str(r#"{"tenant":"eu"}"#).unwrap();
    let mut others = vec![
        scene.derive(with_info("b")).await,
        // The plugin looks at neither: the hub binds the context all the same.
        scene.derive(Derive { context: context.clone(), ..with_info("a") }).await,
        scene.derive(Derive { bytes: Some(33), ..with_info("c") }).await,
        scene.derive(Derive { profile: None, ..with_info("a") }).await,
        scene.derive(Derive { profile: None, ..Derive::default() }).await,
    ];
    others.push(first);
    for (at, one) in others.iter().enumerate() {
        assert!(others.iter().skip(at + 1).all(|other| other != one), "{at}");
    }
}

/// Slot 0 and what comes of it, from key bytes known: never to change.
#[test]
fn what_is_derived_is_frozen() {
    use hub_crypto::Material;
    use hub_crypto::kdf::{self, Derivation};

    let secret = Secret::copy_from(&[7; 32]).unwrap();
    let material = Material::from_secret(Algorithm::HkdfSha256, secret).unwrap();
    let info = b"cipher-hub/v1/kdf-plugin\0\x04tree\0\x05plain\0\0\0";
    let from = Derivation::Hkdf { salt: b"", info };
    let root = kdf::derive(&material, &from, 32).unwrap();
    let steps =
        vec![KdfStep::Expand { hash: Hash::Sha256, prk: 0, info: b"a".to_vec(), length: 32 }];
    let checked = CheckedPlan::check(Arc::new(KdfPlan { steps }), 32, 32).unwrap();
    let out = checked.run(&root).unwrap();
    let hex: String = out.expose_secret().iter().map(|byte| format!("{byte:02x}")).collect();
    // tests/interop/kdf_plan.py computes the same from docs/formats/derivation.md.
    assert_eq!(hex, FROZEN);
}

const FROZEN: &str = "7c8f83ff76456d42179e2930586c762e7db7176f2217d4926d46c53d5c111210";

#[tokio::test]
async fn a_key_stays_with_the_code_it_first_derived_by() {
    let (one, two) = (expanding(ONE), expanding(TWO));
    let scene = Scene::new(&[Arc::clone(&one)]).await;
    assert!(scene.root().await.profile_pins.is_empty());
    let first = scene.try_derive(derive(None), &meta()).await.unwrap();
    assert_eq!(scene.version(), Some(KdfVersion::Active));
    assert_eq!(first.profile.as_ref().map(|used| used.digest), Some(ONE));
    assert_eq!(scene.root().await.profile_pins.iter().map(|p| p.digest).collect::<Vec<_>>(), [ONE]);
    let pinned = scene.world.hub.pinned_to(ONE, 10).await.unwrap();
    assert_eq!(pinned.iter().map(|note| note.key).collect::<Vec<_>>(), [scene.root().await.uid]);

    // An upgrade changes nothing for it, while the older version is installed.
    scene.install(&[Arc::clone(&one), Arc::clone(&two)]);
    let again = scene.try_derive(derive(None), &meta()).await.unwrap();
    assert_eq!((again.derived, again.profile.unwrap().digest), (first.derived.clone(), ONE));
    assert_eq!(two.asked.load(Ordering::SeqCst), 0);
    // Who wants the newer one says so, and the key keeps both; the first stays what is meant.
    assert_eq!(scene.version(), Some(KdfVersion::Pinned(ONE)));
    let newer = scene.try_derive(derive(Some(TWO)), &meta()).await.unwrap();
    // Named by a caller, and not yet what the key depends on: others may be served than those.
    assert_eq!(scene.version(), Some(KdfVersion::Named(TWO)));
    assert_eq!(newer.profile.unwrap().digest, TWO);
    let pins = scene.root().await.profile_pins;
    assert_eq!(pins.iter().map(|pin| pin.digest).collect::<Vec<_>>(), [ONE, TWO]);
    let again = scene.try_derive(derive(None), &meta()).await.unwrap();
    assert_eq!(again.profile.unwrap().digest, ONE);
    scene.derive(derive(Some(TWO))).await;
    assert_eq!(scene.version(), Some(KdfVersion::Pinned(TWO)));
    let generation = |view: KeyView| (view.update_time, view.profile_pins.len());
    let before = generation(scene.root().await);
    scene.derive(derive(None)).await;
    assert_eq!(generation(scene.root().await), before, "a pin is written once");

    // Gone, disabled, or not what it says it is: refused, and it is said what is missing.
    scene.install(&[Arc::clone(&two)]);
    let refused = scene.refused(derive(None)).await;
    assert_eq!(refused.code(), "profile_pinned");
    assert!(refused.to_string().contains(&ONE.to_string()), "{refused}");
    assert!(refused.to_string().contains("there is no plugin `tree`"), "{refused}");
    assert_eq!(scene.refused(derive(Some(ONE))).await.code(), "profile_changed");
    scene.derive(derive(Some(TWO))).await;
    scene.world.hub.set_plugins(Arc::new(Liar(expanding(Thumbprint([3; 32])))));
    let refused = scene.refused(derive(None)).await;
    assert_eq!(refused.code(), "profile_pinned");
    assert!(refused.to_string().contains(&"03".repeat(32)), "{refused}");
    // Back again, everything is as it was.
    scene.world.hub.set_plugins(Arc::clone(&scene.installed) as _);
    scene.install(&[one]);
    let back = scene.try_derive(derive(None), &meta()).await.unwrap();
    assert_eq!(back.derived, first.derived);
}

/// Answers whatever digest was asked for with another one.
#[derive(Debug)]
struct Liar(Arc<Fake>);

impl Plugins for Liar {
    fn rotation(
        &self,
        registration: RegistrationId,
        plugin: &Name,
    ) -> Result<Arc<dyn RotationSchedule>, PluginFailure> {
        NoPlugins.rotation(registration, plugin)
    }

    fn kdf(
        &self,
        _: RegistrationId,
        _: &Name,
        _: KdfVersion,
    ) -> Result<KdfInService, PluginFailure> {
        Ok(KdfInService { profiles: Arc::clone(&self.0) as _, revision: None })
    }
}

#[tokio::test]
async fn bytes_that_may_be_seen_are_never_those_of_a_stored_key() {
    // A plugin that gives the same plan whatever it is asked.
    let scene = Scene::new(&[fake(ONE, |_| {
        let (hash, key) = (Hash::Sha256, 0);
        Ok(vec![KdfStep::Hmac { hash, key, message: b"always".to_vec() }])
    })])
    .await;
    let stored = |name: &str| DeriveKey {
        profile: Some(Box::new(chosen(None))),
        ..DeriveKey::new(name.parse().unwrap(), Algorithm::HmacSha256)
    };
    let view = scene.derive_key(stored("one")).await.unwrap();
    assert_eq!(
        view.derived_by.as_ref().map(|used| (used.digest, used.plan.is_none())),
        Some((ONE, true))
    );
    scene.derive_key(stored("two")).await.unwrap();
    let seen = scene.derive(derive(None)).await;
    let (world, app) = (&scene.world, &scene.app);
    let mac = |name: &'static str| {
        let body = Mac { message: SecretBytes::new(b"m".to_vec()) };
        let mac = key::Mac { registration: named("shop"), key: named(name), body };
        async move { world.ok(app, &mac).await.mac }
    };
    let (one, two) = (mac("one").await, mac("two").await);
    assert_ne!(one, two, "the name is bound");
    let by_seen = scene_mac(&seen);
    assert!(one.expose_secret() != by_seen && two.expose_secret() != by_seen);
    // The pin is the root key's, and the stored key says what it came from.
    assert_eq!(scene.root().await.profile_pins.len(), 1);
    let get = key::GetKey { registration: named("shop"), key: named("one") };
    let view = scene.world.ok(&scene.app, &get).await;
    assert_eq!(view.derived_by.unwrap().digest, ONE);
    assert!(view.profile_pins.is_empty());
    // The name is taken: nothing else is done.
    let refused = scene.derive_key(stored("one")).await.unwrap_err().error;
    assert_eq!(refused.code(), "already_exists");
}

fn scene_mac(key: &[u8]) -> Vec<u8> {
    use hub_crypto::Material;
    let material = Material::from_secret(Algorithm::HmacSha256, Secret::copy_from(key).unwrap());
    hub_crypto::mac::compute(&material.unwrap(), b"m").unwrap()
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_leaves_no_pin() {
    let scene = Scene::new(&[expanding(ONE)]).await;
    let dry = Meta { dry_run: true, ..meta() };
    let shown = scene.try_derive(with_info("a"), &dry).await.unwrap();
    assert!(shown.derived.is_empty());
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json.get("derived"), None);
    let step = serde_json::json!({"hash": "sha256", "prk": 0, "info": "YQ==", "length": 32});
    assert_eq!(json["profile"]["plan"], serde_json::json!([{ "hkdfExpand": step }]));
    assert!(scene.root().await.profile_pins.is_empty());
    let body = DeriveKey {
        profile: Some(Box::new(chosen(None))),
        ..DeriveKey::new("new".parse().unwrap(), Algorithm::HkdfSha512)
    };
    let derive = key::DeriveKey { registration: named("shop"), key: named("root"), body };
    let shown = scene.world.attempt(&scene.app, &derive, &dry).await.unwrap().reply.unwrap();
    assert!(shown.derived_by.unwrap().plan.is_some());
    let get = key::GetKey { registration: named("shop"), key: named("new") };
    let missing = scene.world.attempt(&scene.app, &get, &meta()).await.unwrap_err();
    assert_eq!(missing.error.code(), "not_found");
    // Without a profile a dry run says what it said before: nothing.
    let body = Derive::default();
    let derive = key::Derive { registration: named("shop"), key: named("root"), body };
    let done = scene.world.attempt(&scene.app, &derive, &dry).await.unwrap();
    assert!(done.reply.is_none());
}

#[tokio::test]
async fn what_is_wrong_is_said_once_and_clearly() {
    let scene = Scene::new(&[expanding(ONE)]).await;
    let at = |error: Error| match error {
        Error::Invalid { pointer, detail } => (pointer, detail),
        other => panic!("{other:?}"),
    };
    let with = |change: &dyn Fn(&mut ChosenProfile)| {
        let mut chosen = chosen(None);
        change(&mut chosen);
        Derive { profile: Some(Box::new(chosen)), ..Derive::default() }
    };
    let unknown = with(&|chosen| chosen.plugin = "tulip".parse().unwrap());
    let (pointer, detail) = at(scene.refused(unknown).await);
    assert_eq!((pointer, &*detail), ("/profile/plugin", "there is no plugin `tulip`"));
    let unknown = with(&|chosen| chosen.profile = "fancy".parse().unwrap());
    let (pointer, detail) = at(scene.refused(unknown).await);
    assert_eq!((pointer, detail.contains("it has `plain`")), ("/profile/profile", true));
    let (pointer, _) = at(scene.refused(Derive { bytes: Some(513), ..derive(None) }).await);
    assert_eq!(pointer, "/bytes");
    let refused = scene.refused(Derive { iterations: Some(1), ..derive(None) }).await;
    assert_eq!(at(refused).0, "/iterations");
    let refused = scene.refused(derive(Some(TWO))).await;
    assert_eq!(refused.code(), "profile_changed");
    assert!(scene.root().await.profile_pins.is_empty(), "nothing was derived yet");

    // Plans the hub does not carry out, and plugins that give none.
    type Says = (fn() -> Result<Vec<KdfStep>, PluginFailure>, &'static str, &'static str);
    let says: [Says; 5] = [
        (|| Ok(vec![]), "plugin_failed", "the plan has no steps"),
        (|| Ok(vec![KdfStep::Truncate { input: 0, length: 32 }]), "plugin_failed", "as they are"),
        (|| Err(PluginFailure::new(FailureKind::Trap, "hidden")), "plugin_failed", "trap"),
        (|| Err(PluginFailure::new(FailureKind::Busy, "hidden")), "plugin_unavailable", "busy"),
        (
            || Err(PluginFailure::new(FailureKind::Refused, "no such zone")),
            "invalid_argument",
            "no such zone",
        ),
    ];
    for (says, code, part) in says {
        scene.install(&[fake(ONE, move |_| says())]);
        let failure = scene.try_derive(derive(None), &meta()).await.unwrap_err();
        let said = failure.error.to_string();
        assert_eq!(failure.error.code(), code);
        assert!(said.contains(part) && !said.contains("hidden"), "{said}");
        let entry = scene.world.entry(failure.seq.unwrap()).await;
        assert_eq!((&entry["action"], &entry["outcome"]), (&"keys.derive".into(), &code.into()));
    }
    assert!(scene.root().await.profile_pins.is_empty());
    // A key of another kind has no use for profiles.
    let body =
        KeyBody { algorithm: Some(Algorithm::Argon2id), ..KeyBody::new("pepper".parse().unwrap()) };
    let create = key::CreateKey { registration: named("shop"), body };
    scene.world.ok(&scene.world.admin, &create).await;
    let derive =
        key::Derive { registration: named("shop"), key: named("pepper"), body: derive(None) };
    let refused = scene.world.attempt(&scene.app, &derive, &meta()).await.unwrap_err();
    assert_eq!(at(refused.error).0, "/profile");
}

#[tokio::test]
async fn the_entry_names_the_code_and_the_question_is_complete() {
    let question = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&question);
    let scene = Scene::new(&[fake(ONE, move |asked| {
        *seen.lock().unwrap() = format!(
            "{} {} {} {:?} {:?} {:?} {:?} {} {:?}",
            asked.profile,
            asked.key.name,
            asked.version,
            asked.into.map(|(algorithm, name)| (algorithm, name.as_str())),
            asked.salt,
            asked.info,
            asked.context.value("tenant"),
            asked.length,
            asked.parameters
        );
        let (hash, prk, length) = (Hash::Sha256, 0, asked.length);
        Ok(vec![KdfStep::Expand { hash, prk, info: vec![], length }])
    })])
    .await;
    let mut chosen = chosen(None);
    chosen.parameters = BTreeMap::from([("label".into(), "x".into())]);
    let body = Derive {
        bytes: Some(48),
        salt: Some(SecretBytes::new(b"s".to_vec())),
        context: serde_json::from_str(r#"{"tenant":"eu"}"#).unwrap(),
        profile: Some(Box::new(chosen)),
        ..with_info("i")
    };
    let derive = key::Derive { registration: named("shop"), key: named("root"), body };
    let done = scene.world.attempt(&scene.app, &derive, &meta()).await.unwrap();
    assert_eq!(
        *question.lock().unwrap(),
        r#"plain root 1 None [115] [105] Some("eu") 48 {"label": "x"}"#
    );
    let entry = scene.world.entry(done.receipt().seq()).await;
    assert_eq!(entry["detail"], format!("by tree/plain {}", "01".repeat(8)));
    assert_eq!(entry["context"]["tenant"], "eu");
}

#[tokio::test]
async fn other_settings_are_another_plugin() {
    let with = |settings| {
        let mut made = expanding(ONE);
        Arc::get_mut(&mut made).unwrap().settings = settings;
        made
    };
    let (one, two) = (Some(Thumbprint([8; 32])), Some(Thumbprint([9; 32])));
    let scene = Scene::new(&[with(one)]).await;
    let first = scene.derive(derive(None)).await;
    assert_eq!(scene.root().await.profile_pins[0].settings, one);
    for other in [two, None] {
        scene.install(&[with(other)]);
        for digest in [None, Some(ONE)] {
            let refused = scene.refused(derive(digest)).await;
            assert_eq!(refused.code(), "profile_changed");
            assert!(refused.to_string().contains("other settings"), "{refused}");
        }
    }
    scene.install(&[with(one)]);
    assert_eq!(scene.derive(derive(None)).await, first);
}

#[tokio::test]
async fn first_uses_at_the_same_time_leave_one_pin() {
    let scene = Scene::new(&[expanding(ONE)]).await;
    let all = futures_util::future::join_all((0..3).map(|_| scene.derive(derive(None)))).await;
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(scene.root().await.profile_pins.len(), 1);
}
