//! The catalogue's records: what keys derive by goes on whatever is changed beside it, and what two
//! people do at once is one thing after the other. The process's part is made up here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use common::{World, meta, named};
use futures_util::future::BoxFuture;
use hub_model::algorithm::Hash;
use hub_model::api::key::CreateKey as KeyBody;
use hub_model::api::plugin::{PatchPlugin, PluginLimits, PluginView};
use hub_model::api::profile::ChosenProfile;
use hub_model::api::uses::Derive;
use hub_model::extend::{
    Asked, FailureKind, FailurePolicy, KdfInService, KdfPlan, KdfProfile, KdfProfiles, KdfQuestion,
    KdfStep, KdfVersion, NoPlugins, PluginDigest, PluginFailure, Plugins, RotationSchedule,
};
use hub_model::secret::SecretText;
use hub_model::{Algorithm, Name, RegistrationId, Role, Thumbprint, Timestamp};
use hub_operations::plugin::{
    Catalogue, DeletePlugin, EnablePlugin, Examined, InstallPlugin, PluginRecord, Refused,
    RollbackPlugin, Taken, UpdatePlugin, Upload,
};
use hub_operations::{Error, Meta, key};
use hub_store::{Versioned, layout};

/// What a process would load, keep and run. A file is `name version signer`, its digest made of
/// the version alone.
#[derive(Debug, Default)]
struct Shelf {
    followed: Mutex<Vec<Versioned<PluginRecord>>>,
    /// It does not follow the records now.
    stuck: AtomicBool,
    /// What the configuration adds to the settings.
    said: AtomicU8,
    /// From when on the signers' periods run.
    from: Mutex<Option<Timestamp>>,
}

impl Shelf {
    fn settings(&self, record: &PluginRecord) -> Option<Thumbprint> {
        let mut all = [0; 32];
        all[31] = self.said.load(Ordering::SeqCst);
        let texts = record.config.iter().flat_map(|(name, value)| [name, value]);
        for (at, byte) in texts.flat_map(|text| text.bytes()).enumerate() {
            all[at] = byte;
        }
        (all != [0; 32]).then_some(Thumbprint(all))
    }
}

fn digest(version: u8) -> PluginDigest {
    Thumbprint([version; 32])
}

impl Catalogue for Shelf {
    fn max_size(&self) -> u64 {
        1000
    }

    fn registrations(&self) -> Vec<Name> {
        Vec::new()
    }

    fn examine(&self, file: Arc<[u8]>, _: Timestamp) -> BoxFuture<'_, Result<Examined, Refused>> {
        Box::pin(async move {
            let text = String::from_utf8(file.to_vec()).unwrap();
            let parts: Vec<&str> = text.split(' ').collect();
            let &[name, version, signer] = &*parts else {
                return Err(Refused::new("untrusted_plugin", "by nobody").about("tree 9 0909"));
            };
            Ok(Examined {
                name: name.parse().unwrap(),
                version: version.into(),
                world: "kdf-profile",
                digest: digest(version.parse().unwrap()),
                signer: Some(signer.parse().unwrap()),
                periods: vec![(*self.from.lock().unwrap(), None)],
                file,
                loaded: Arc::new(()),
            })
        })
    }

    fn check<'a>(
        &'a self,
        record: &'a PluginRecord,
        digest: PluginDigest,
    ) -> BoxFuture<'a, Result<Option<Thumbprint>, Refused>> {
        Box::pin(async move {
            // The first version is slow.
            let time = record.limits.and_then(|limits| limits.time_micros);
            if digest.0[0] == 1 && time.is_some_and(|time| time < 10) {
                return Err(Refused::new("plugin_check_failed", "it is slow"));
            }
            Ok(self.settings(record))
        })
    }

    fn keep<'a>(&'a self, _: &'a Examined) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async { Ok(()) })
    }

    fn follow<'a>(
        &'a self,
        records: &'a [Versioned<PluginRecord>],
        _: &'a [(Name, RegistrationId)],
        _: &'a [PluginDigest],
    ) -> BoxFuture<'a, ()> {
        if !self.stuck.load(Ordering::SeqCst) {
            *self.followed.lock().unwrap() = records.to_vec();
        }
        Box::pin(async {})
    }

    fn show(&self, record: &PluginRecord) -> PluginView {
        serde_json::from_value(serde_json::json!({
            "name": record.name, "world": record.world, "state": "installed",
            "enabled": record.enabled, "active": record.active, "previous": record.previous,
            "description": "", "capabilities": [], "config": {}, "configSchema": {},
            "parametersSchema": {}, "failure": "fail-closed", "limits": {},
            "versions": record.versions.iter().map(hub_operations::plugin::Installed::view)
                .collect::<Vec<_>>(),
            "stats": {"calls": 0, "failures": {}, "fuel": 0, "timeMicros": 0,
                      "memoryPeakBytes": 0, "overrunMicros": 0, "logLinesDropped": 0},
        }))
        .unwrap()
    }
}

impl Plugins for Shelf {
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
        let followed = self.followed.lock().unwrap();
        let found = followed.iter().find(|found| found.value.name == *plugin);
        let Some(found) = found else { return NoPlugins.kdf(registration, plugin, version) };
        let digest = match version {
            KdfVersion::Active => found.value.active,
            KdfVersion::Pinned(digest) => Some(digest),
            KdfVersion::Named(digest) => Some(digest).filter(|d| found.value.was_active(*d)),
        };
        let none = || PluginFailure::new(FailureKind::Unavailable, "not that one");
        let digest = digest.filter(|_| found.value.enabled).ok_or_else(none)?;
        let profiles = Arc::new(Profiles { digest, settings: self.settings(&found.value) });
        Ok(KdfInService { profiles, revision: Some(found.revision.0) })
    }
}

#[derive(Debug)]
struct Profiles {
    digest: PluginDigest,
    settings: Option<Thumbprint>,
}

impl KdfProfiles for Profiles {
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
        let (hash, prk, length) = (Hash::Sha256, 0, question.length);
        let step = KdfStep::Expand { hash, prk, info: self.digest.0.to_vec(), length };
        Box::pin(async move { Ok(Arc::new(KdfPlan { steps: vec![step] })) })
    }
}

struct File(String);

impl Upload for File {
    fn read(&self, _: u64) -> BoxFuture<'_, Result<Arc<[u8]>, Refused>> {
        Box::pin(async { Ok(self.0.clone().into_bytes().into()) })
    }
}

fn tree() -> Name {
    "tree".parse().unwrap()
}

struct Scene {
    world: World,
    shelf: Arc<Shelf>,
    app: SecretText,
}

impl Scene {
    /// A registration `shop` whose key `root` derives, and a hub that takes plugins.
    async fn new() -> Self {
        let world = World::new().await;
        world.registration("shop").await;
        let app = world.participant("shop", "app", &[Role::Apps, Role::Owners]).await;
        let shelf = Arc::new(Shelf::default());
        assert!(world.hub.take_plugins_with(Arc::clone(&shelf) as _));
        world.hub.set_plugins(Arc::clone(&shelf) as _);
        let scene = Self { world, shelf, app };
        scene.key("root").await;
        scene
    }

    async fn key(&self, name: &str) {
        let algorithm = Some(Algorithm::HkdfSha256);
        let body = KeyBody { algorithm, ..KeyBody::new(name.parse().unwrap()) };
        let create = key::CreateKey { registration: named("shop"), body };
        self.world.ok(&self.world.admin, &create).await;
    }

    async fn install(&self, file: &str, activate: bool) -> PluginView {
        let install = InstallPlugin::new(Box::new(File(file.to_owned())), activate);
        self.world.ok(&self.world.admin, &install).await
    }

    async fn record(&self) -> Versioned<PluginRecord> {
        let store = self.world.hub.store();
        store.read::<PluginRecord>(&layout::plugin(&tree())).await.unwrap().unwrap()
    }

    async fn with_etag(&self) -> Meta {
        Meta { if_match: Some(self.record().await.value.generation), ..meta() }
    }

    async fn patch(&self, body: PatchPlugin) -> Result<(), Error> {
        let update = UpdatePlugin { plugin: tree(), body };
        let done = self.world.attempt(&self.world.admin, &update, &self.with_etag().await).await;
        done.map(drop).map_err(|failure| failure.error)
    }

    async fn set(&self, value: &str) -> Result<(), Error> {
        let config = [("a".to_owned(), Some(value.to_owned()))].into_iter().collect();
        self.patch(PatchPlugin { config: Some(config), ..PatchPlugin::default() }).await
    }

    async fn delete(&self) -> Result<(), Error> {
        let delete = DeletePlugin { plugin: tree() };
        let done = self.world.attempt(&self.world.admin, &delete, &self.with_etag().await).await;
        done.map(drop).map_err(|failure| failure.error)
    }

    async fn derive(&self, key: &str, digest: Option<PluginDigest>) -> Result<Vec<u8>, Error> {
        let (plugin, profile) = (tree(), "plain".parse().unwrap());
        let chosen = ChosenProfile { plugin, profile, parameters: BTreeMap::new(), digest };
        let body = Derive { profile: Some(Box::new(chosen)), ..Derive::default() };
        let derive = key::Derive { registration: named("shop"), key: named(key), body };
        let done = self.world.attempt(&self.app, &derive, &meta()).await;
        let bytes = done.map(|done| done.reply.unwrap().derived.expose_secret().to_vec());
        bytes.map_err(|failure| failure.error)
    }
}

fn code<T>(answer: Result<T, Error>) -> &'static str {
    answer.err().expect("it is refused").code()
}

#[tokio::test]
async fn only_what_an_operator_has_put_into_service_runs_for_who_names_it() {
    let scene = Scene::new().await;
    scene.install("tree 1 us", true).await;
    scene.install("tree 2 us", false).await;
    assert_eq!(code(scene.derive("root", Some(digest(2))).await), "profile_changed");
    assert!(scene.world.hub.pinned_to(digest(2), 1).await.unwrap().is_empty());
    // Once active is enough, also two versions later.
    scene.install("tree 2 us", true).await;
    scene.install("tree 3 us", true).await;
    assert!(scene.record().await.value.previous == Some(digest(2)));
    scene.derive("root", Some(digest(1))).await.unwrap();
    // Disabled is disabled, for keys that are pinned too; the same bytes come back with it.
    let before = scene.derive("root", None).await.unwrap();
    let disable = EnablePlugin::<false> { plugin: tree() };
    scene.world.ok(&scene.world.admin, &disable).await;
    scene.key("other").await;
    assert_eq!(code(scene.derive("root", None).await), "profile_pinned");
    assert_eq!(code(scene.derive("other", Some(digest(3))).await), "profile_changed");
    scene.world.ok(&scene.world.admin, &EnablePlugin::<true> { plugin: tree() }).await;
    assert_eq!(scene.derive("root", None).await.unwrap(), before);
}

#[tokio::test]
async fn a_first_pin_is_to_what_the_record_says() {
    let scene = Scene::new().await;
    scene.install("tree 1 us", true).await;
    scene.set("before").await.unwrap();
    // Settings are changed, and what is in service has not followed yet.
    scene.shelf.stuck.store(true, Ordering::SeqCst);
    scene.set("after").await.unwrap();
    assert_eq!(code(scene.derive("root", None).await), "plugin_unavailable");
    assert!(scene.world.hub.pinned_to(digest(1), 1).await.unwrap().is_empty());
    scene.shelf.stuck.store(false, Ordering::SeqCst);
    assert!(scene.world.hub.follow_plugins_again().await);
    scene.derive("root", None).await.unwrap();
    assert_eq!(code(scene.set("before").await), "plugin_in_use");
    scene.set("after").await.unwrap();
}

#[tokio::test]
async fn settings_that_nobody_derives_by_may_be_changed_back() {
    let scene = Scene::new().await;
    scene.install("tree 1 us", true).await;
    scene.set("x").await.unwrap();
    let bytes = scene.derive("root", None).await.unwrap();
    // The configuration's file says otherwise since the last start.
    scene.shelf.said.store(7, Ordering::SeqCst);
    assert_eq!(code(scene.derive("root", None).await), "profile_changed");
    // No key derives by what holds now, so nothing is taken away.
    scene.set("y").await.unwrap();
    scene.set("x").await.unwrap();
    scene.shelf.said.store(0, Ordering::SeqCst);
    assert_eq!(scene.derive("root", None).await.unwrap(), bytes);
    assert_eq!(code(scene.set("y").await), "plugin_in_use");
}

#[tokio::test]
async fn what_older_versions_cannot_live_with_is_refused_while_keys_derive_by_them() {
    let scene = Scene::new().await;
    scene.install("tree 1 us", true).await;
    scene.derive("root", None).await.unwrap();
    scene.install("tree 2 us", true).await;
    let limits = |time| PatchPlugin {
        limits: Some(Some(PluginLimits { time_micros: Some(time), ..PluginLimits::default() })),
        ..PatchPlugin::default()
    };
    let refused = scene.patch(limits(5)).await.unwrap_err();
    assert_eq!(refused.code(), "plugin_check_failed");
    assert!(refused.to_string().contains(&digest(1).to_string()), "{refused}");
    scene.patch(limits(50)).await.unwrap();
    let failure = Some(Some(FailurePolicy::FallBack));
    let refused = scene.patch(PatchPlugin { failure, ..PatchPlugin::default() }).await;
    assert_eq!(code(refused), "invalid_argument");
}

#[tokio::test]
async fn a_rollback_is_from_the_version_that_was_seen() {
    let scene = Scene::new().await;
    scene.install("tree 1 us", true).await;
    scene.install("tree 2 us", true).await;
    // It is planned, and somebody else's comes between.
    let one = RollbackPlugin::new(tree());
    let dry = Meta { dry_run: true, ..meta() };
    scene.world.attempt(&scene.world.admin, &one, &dry).await.unwrap();
    scene.world.ok(&scene.world.admin, &RollbackPlugin::new(tree())).await;
    let second = scene.world.attempt(&scene.world.admin, &one, &meta()).await;
    assert_eq!(second.unwrap_err().error.code(), "no_previous_plugin");
    assert_eq!(scene.record().await.value.active, Some(digest(1)));
}

#[tokio::test]
async fn what_is_signed_by_a_successor_is_held_against_that_moment() {
    let scene = Scene::new().await;
    scene.install("tree 1 us", true).await;
    let signer = |view: &PluginView| view.versions[0].signer.clone().unwrap().to_string();
    let first = scene.install("tree 1 us", true).await;
    assert_eq!(signer(&first), "us");
    let before = first.versions[0].install_time;
    scene.world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(scene.install("tree 1 us", true).await.versions[0].install_time, before);
    let second = scene.install("tree 1 heirs", true).await;
    assert_eq!(signer(&second), "heirs");
    assert!(second.versions[0].install_time > before);
    // The same name with a key whose period began later.
    scene.world.clock.advance(std::time::Duration::from_secs(60));
    *scene.shelf.from.lock().unwrap() = Some(scene.world.clock_now());
    let third = scene.install("tree 1 heirs", true).await;
    assert!(third.versions[0].install_time > second.versions[0].install_time);
}

#[tokio::test]
async fn the_folder_does_not_bring_back_what_was_removed() {
    let scene = Scene::new().await;
    let hub = &scene.world.hub;
    let file = |text: &str| -> Arc<[u8]> { text.as_bytes().into() };
    let start = async |text: &str| hub.take_plugin_file(file(text), false).await.unwrap();
    assert_eq!(start("tree 1 us").await, Taken::Active(digest(1)));
    assert_eq!(start("tree 1 us").await, Taken::Known(digest(1)));
    scene.delete().await.unwrap();
    assert_eq!(start("tree 1 us").await, Taken::Removed(digest(1)));
    // One that fell out of sixteen neither, over what was installed since.
    for version in 2..=18 {
        scene.install(&format!("tree {version} us"), true).await;
    }
    assert_eq!(scene.record().await.value.versions.len(), 16);
    assert_eq!(start("tree 2 us").await, Taken::Removed(digest(2)));
    assert_eq!(scene.record().await.value.active, Some(digest(18)));
    // Put there while the hub runs, it is meant.
    let taken = hub.take_plugin_file(file("tree 2 us"), true).await.unwrap();
    assert_eq!(taken, Taken::Active(digest(2)));
}

#[tokio::test]
async fn entries_of_refused_installations_say_which_file_it_was() {
    let scene = Scene::new().await;
    let said = async |file: &str| {
        let install = InstallPlugin::new(Box::new(File(file.to_owned())), true);
        let failure = scene.world.attempt(&scene.world.admin, &install, &meta()).await.unwrap_err();
        scene.world.entry(failure.seq.unwrap()).await.to_string()
    };
    assert!(said("who knows").await.contains("tree 9 0909"));
    scene.install("tree 1 us", true).await;
    let limits = Some(PluginLimits { time_micros: Some(5), ..PluginLimits::default() });
    let body = PatchPlugin { limits: Some(limits), ..PatchPlugin::default() };
    scene.install("tree 2 us", true).await;
    scene.patch(body).await.unwrap();
    assert!(said("tree 1 us").await.contains(&format!("tree 1 {}", digest(1))));
}

/// Keys are pinned for the first time while somebody removes the plugin: either it is removed, and
/// no key is pinned to it, or it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "the test is what supervises these tasks")]
async fn first_pins_and_removals_exclude_each_other() {
    for _ in 0..10 {
        let scene = Arc::new(Scene::new().await);
        scene.install("tree 1 us", true).await;
        let keys: Vec<String> = (0..4).map(|n| format!("key-{n}")).collect();
        for name in &keys {
            scene.key(name).await;
        }
        let deriving = keys.into_iter().map(|name| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move { scene.derive(&name, None).await.is_ok() })
        });
        let deriving: Vec<_> = deriving.collect();
        let deleted = scene.delete().await.is_ok();
        let mut derived = 0;
        for task in deriving {
            derived += usize::from(task.await.unwrap());
        }
        assert!(!deleted || derived == 0, "{derived} keys derive by what is gone");
        let pinned = scene.world.hub.pinned_to(digest(1), 10).await.unwrap();
        assert_eq!(pinned.len(), derived);
    }
}
