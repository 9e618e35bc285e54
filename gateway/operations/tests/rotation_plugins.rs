//! Rotation by plugins: what the hub makes of their answers, failures and silence, and that no key
//! is rotated twice or beyond the bounds of its policy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking, their helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{World, meta, named};
use hub_model::api::crypto::Encrypt as EncryptBody;
use hub_model::api::key::{CreateKey as KeyBody, KeyView, PatchKey, VersionView};
use hub_model::api::next_rotation::RotationSource;
use hub_model::api::participant::IssueCredential;
use hub_model::api::registration::{CreateRegistration as RegistrationBody, PatchRegistration};
use hub_model::extend::{
    Asked, FailureKind, FailurePolicy, KdfInService, KdfVersion, PluginDigest, PluginFailure,
    Plugins, RotationAnswer, RotationBounds, RotationQuestion, RotationSchedule,
};
use hub_model::secret::SecretText;
use hub_model::{
    EncryptionContext, Environment, Name, RegistrationId, Role, RotationPolicy, SecretBytes, Tags,
    Timestamp,
};
use hub_operations::key::{self as keys, Plans};
use hub_operations::{Error, Meta, PageRequest, participant, registration};
use hub_policy::Bundle;
use hub_store::{Backend, FjallBackend, MemoryBackend};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

// ---- plugins of the tests -------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Says {
    /// So long after now.
    In(Duration),
    At(Timestamp),
    Now(&'static str),
    /// To be asked again so long after now.
    Again(Duration),
    Fail(FailureKind),
    Nothing,
}

#[derive(Debug)]
struct Fake {
    code: Mutex<u8>,
    says: Mutex<Says>,
    settings: Mutex<u64>,
    on_failure: Mutex<FailurePolicy>,
    refuses: Mutex<Option<&'static str>>,
    asked: AtomicUsize,
    /// Those who are asked say so here, and wait for the other before they answer.
    gate: Option<(tokio::sync::Notify, tokio::sync::Notify)>,
}

impl Fake {
    fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl RotationSchedule for Fake {
    fn digest(&self) -> PluginDigest {
        hub_model::Thumbprint([*self.code.lock().unwrap(); 32])
    }

    fn settings(&self) -> u64 {
        *self.settings.lock().unwrap()
    }

    fn on_failure(&self) -> FailurePolicy {
        *self.on_failure.lock().unwrap()
    }

    fn decide<'a>(&'a self, question: &'a RotationQuestion<'a>) -> Asked<'a, RotationAnswer> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert!(question.policy.min_interval <= question.policy.max_interval);
        assert_eq!(question.key.rotation_facts().unwrap().last_rotation, question.last_rotation);
        Box::pin(async move {
            if let Some((reached, go)) = &self.gate {
                reached.notify_one();
                go.notified().await;
            }
            let says = self.says.lock().unwrap().clone();
            match says {
                Says::In(time) => Ok(RotationAnswer::At(question.now.plus(time))),
                Says::At(date) => Ok(RotationAnswer::At(date)),
                Says::Now(why) => Ok(RotationAnswer::Now(why.into())),
                Says::Again(time) => Ok(RotationAnswer::AskAgain(question.now.plus(time))),
                Says::Fail(kind) => Err(PluginFailure::new(kind, "as the test wants")),
                Says::Nothing => std::future::pending().await,
            }
        })
    }

    fn check<'a>(&'a self, _: RegistrationId, _: &'a RotationBounds) -> Asked<'a, ()> {
        let refuses = *self.refuses.lock().unwrap();
        Box::pin(async move {
            match refuses {
                Some(why) => Err(PluginFailure::new(FailureKind::Refused, why)),
                None => Ok(()),
            }
        })
    }
}

#[derive(Debug, Default)]
struct Catalogue {
    plugins: Mutex<BTreeMap<Name, Arc<Fake>>>,
    /// Where they may be used; everywhere when absent.
    only: Mutex<Option<RegistrationId>>,
}

impl Catalogue {
    fn add(&self, name: &str, says: Says) -> Arc<Fake> {
        self.put(name, says, false)
    }

    fn put(&self, name: &str, says: Says, gated: bool) -> Arc<Fake> {
        let fake = Arc::new(Fake {
            code: Mutex::new(7),
            says: Mutex::new(says),
            settings: Mutex::default(),
            on_failure: Mutex::default(),
            refuses: Mutex::default(),
            asked: AtomicUsize::new(0),
            gate: gated.then(Default::default),
        });
        self.plugins.lock().unwrap().insert(name.parse().unwrap(), Arc::clone(&fake));
        fake
    }

    fn remove(&self, name: &str) {
        self.plugins.lock().unwrap().remove(name).unwrap();
    }
}

impl Plugins for Catalogue {
    fn rotation(
        &self,
        registration: RegistrationId,
        plugin: &Name,
    ) -> Result<Arc<dyn RotationSchedule>, PluginFailure> {
        let none = |text: String| PluginFailure::new(FailureKind::Unavailable, &text);
        if self.only.lock().unwrap().is_some_and(|only| only != registration) {
            return Err(none(format!("the plugin `{plugin}` is not for this registration")));
        }
        match self.plugins.lock().unwrap().get(plugin) {
            Some(fake) => Ok(Arc::clone(fake) as _),
            None => Err(none(format!("there is no plugin `{plugin}`"))),
        }
    }

    fn kdf(
        &self,
        _: RegistrationId,
        plugin: &Name,
        _: KdfVersion,
    ) -> Result<KdfInService, PluginFailure> {
        Err(PluginFailure::new(FailureKind::Unavailable, plugin.as_str()))
    }
}

// ---- a hub with plugins -----------------------------------------------------------------------

struct Shop {
    world: World,
    boss: SecretText,
    catalogue: Arc<Catalogue>,
}

fn policy(plugin: &str, min: &str, max: &str) -> RotationPolicy {
    let json = format!(
        r#"{{"schedule":{{"plugin":"{plugin}","minInterval":"{min}","maxInterval":"{max}"}}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

fn calendar() -> RotationPolicy {
    policy("calendar", "P7D", "P90D")
}

impl Shop {
    async fn new() -> Self {
        Self::over(Arc::new(MemoryBackend::new())).await
    }

    async fn over(backend: Arc<dyn Backend>) -> Self {
        let world = World::over(backend, Bundle::baseline().unwrap()).await;
        let catalogue = Arc::new(Catalogue::default());
        world.hub.set_plugins(Arc::clone(&catalogue) as _);
        world.registration("shop").await;
        world.participant("shop", "boss", &[Role::Owners, Role::Apps]).await;
        // For the years that tests let pass.
        let body = IssueCredential {
            expire_time: Some(world.clock_now().plus(3650 * DAY)),
            ..IssueCredential::default()
        };
        let issue = participant::IssueCredential {
            registration: named("shop"),
            participant: named("boss"),
            body,
        };
        let boss = world.ok(&world.admin, &issue).await.api_key.unwrap();
        Self { world, boss, catalogue }
    }

    async fn again(self, backend: Arc<dyn Backend>) -> Self {
        let Self { world, boss, catalogue } = self;
        let world = world.again(backend).await;
        world.hub.set_plugins(Arc::clone(&catalogue) as _);
        world.hub.enter_agenda().await.unwrap();
        Self { world, boss, catalogue }
    }

    async fn create(&self, name: &str, policy: RotationPolicy) -> Result<KeyView, Error> {
        let body = KeyBody { rotation: Some(policy), ..KeyBody::new(name.parse().unwrap()) };
        let create = keys::CreateKey { registration: named("shop"), body };
        let done = self.world.attempt(&self.boss, &create, &meta()).await;
        done.map(|done| done.reply.unwrap()).map_err(|failure| failure.error)
    }

    async fn get(&self, name: &str) -> KeyView {
        let get = keys::GetKey { registration: named("shop"), key: named(name) };
        self.world.ok(&self.boss, &get).await
    }

    async fn patch(&self, name: &str, policy: RotationPolicy) -> Result<KeyView, Error> {
        let get = keys::GetKey { registration: named("shop"), key: named(name) };
        let seen = self.world.attempt(&self.boss, &get, &meta()).await.unwrap().generation;
        let body = PatchKey { rotation: Some(Some(policy)), ..PatchKey::default() };
        let (registration, key) = (named("shop"), named(name));
        let change = keys::UpdateKey { registration, key, body };
        let seen = Meta { if_match: seen, ..meta() };
        let done = self.world.attempt(&self.boss, &change, &seen).await;
        done.map(|done| done.reply.unwrap()).map_err(|failure| failure.error)
    }

    async fn rotate(&self, name: &str) {
        let rotate = keys::RotateKey { registration: named("shop"), key: named(name) };
        self.world.ok(&self.boss, &rotate).await;
    }

    async fn versions(&self, name: &str) -> Vec<VersionView> {
        let page = PageRequest { size: None, token: None };
        let list = keys::ListVersions { registration: named("shop"), key: named(name), page };
        self.world.ok(&self.boss, &list).await.items
    }

    async fn sweep(&self) -> keys::Swept {
        let swept = self.world.hub.sweep_keys().await.unwrap();
        assert_eq!(swept.failed, 0);
        swept
    }

    /// As the tasks of the program do: the sweep, what it found to ask, what is due then.
    async fn tend(&self) -> Plans {
        self.sweep().await;
        let plans = self.world.hub.plan_rotations().await;
        assert_eq!(plans.errors, 0);
        self.sweep().await;
        plans
    }

    fn pass(&self, time: Duration) {
        self.world.clock.advance(time);
    }

    /// The entries of an action, oldest first.
    async fn entries(&self, action: &str) -> Vec<serde_json::Value> {
        let size = self.world.hub.log().appender().position().audit.size;
        let mut found = Vec::new();
        for seq in 0..size {
            let entry = self.world.entry(seq).await;
            if entry["action"] == action {
                found.push(entry);
            }
        }
        found
    }
}

fn next(view: &KeyView) -> (Timestamp, RotationSource) {
    let next = view.next_rotation.as_ref().unwrap();
    assert_eq!(view.next_rotation_time, Some(next.time));
    (next.time, next.source)
}

// ---- what is promised -------------------------------------------------------------------------

#[tokio::test]
async fn a_plugin_says_when_and_the_hub_rotates_once() {
    let shop = Shop::new().await;
    let fake = shop.catalogue.add("calendar", Says::In(30 * DAY));
    let begun = shop.world.clock_now();
    let made = shop.create("orders", calendar()).await.unwrap();
    assert_eq!(next(&made), (begun.plus(90 * DAY), RotationSource::Undecided));
    assert_eq!(shop.tend().await, Plans { answered: 1, ..Plans::default() });
    let view = shop.get("orders").await;
    let date = begun.plus(30 * DAY);
    assert_eq!(next(&view), (date, RotationSource::Plugin));
    let plan = view.next_rotation.unwrap().plan.unwrap();
    assert_eq!((plan.plugin.as_str(), plan.digest.unwrap().0), ("calendar", [7; 32]));
    assert_eq!((plan.ask_time, plan.ask_again_time, plan.failures), (begun, None, 0));
    assert_eq!(made.update_time, view.update_time, "a plan is no change of the key");

    // Until the date nothing is asked and nothing happens.
    shop.pass(30 * DAY - Duration::from_micros(1));
    assert_eq!(shop.sweep().await.next, Some(date));
    assert_eq!((shop.tend().await, shop.get("orders").await.versions), (Plans::default(), 1));
    shop.pass(Duration::from_micros(1));
    shop.sweep().await;
    assert_eq!(shop.get("orders").await.versions, 2);
    for _ in 0..3 {
        shop.tend().await;
    }
    let view = shop.get("orders").await;
    assert_eq!((view.versions, fake.asked()), (2, 2), "asked once about each version");
    assert_eq!(next(&view), (date.plus(30 * DAY), RotationSource::Plugin));

    let planned = shop.entries("keys.planRotation").await;
    assert_eq!(planned.len(), 2);
    assert_eq!(planned[0]["outcome"], "ok");
    let detail = planned[0]["detail"].as_str().unwrap();
    assert_eq!(detail, format!("plugin calendar 070707070707: rotate at {date}"));
    let rotated = shop.entries("keys.rotate").await;
    assert_eq!(rotated.len(), 1);
    assert_eq!(rotated[0]["detail"], "plugin calendar 070707070707");
    assert_eq!(shop.world.hub.rotation_answers("rotate-at"), 2);

    // By hand: what was planned for the version before counts no more.
    shop.rotate("orders").await;
    assert_eq!(next(&shop.get("orders").await).1, RotationSource::Undecided);
    shop.tend().await;
    assert_eq!((shop.get("orders").await.versions, fake.asked()), (3, 3));
}

#[tokio::test]
async fn dates_beyond_the_bounds_are_moved_into_them() {
    let shop = Shop::new().await;
    let fake = shop.catalogue.add("calendar", Says::At(Timestamp::MAX));
    let begun = shop.world.clock_now();
    shop.create("late", calendar()).await.unwrap();
    shop.tend().await;
    assert_eq!(next(&shop.get("late").await), (begun.plus(90 * DAY), RotationSource::Plugin));
    fake.says(Says::At(Timestamp::from_micros(i64::MIN)));
    shop.create("early", calendar()).await.unwrap();
    shop.tend().await;
    assert_eq!(next(&shop.get("early").await), (begun.plus(7 * DAY), RotationSource::Plugin));
    fake.says(Says::Now("a\nreason"));
    shop.create("now", calendar()).await.unwrap();
    shop.pass(10 * DAY);
    shop.tend().await;
    let view = shop.get("now").await;
    assert_eq!(view.versions, 2, "its least interval was over");
    let rotated = shop.entries("keys.rotate").await;
    let details: Vec<_> = rotated.iter().map(|e| e["detail"].as_str().unwrap()).collect();
    assert!(details.contains(&"plugin calendar 070707070707: a reason"), "{details:?}");
    let planned = shop.entries("keys.planRotation").await;
    assert!(planned[0]["detail"].as_str().unwrap().contains("moved into the bounds"));
}

#[tokio::test]
async fn without_an_answer_the_failure_policy_decides() {
    let shop = Shop::new().await;
    let closed = shop.catalogue.add("closed", Says::Fail(FailureKind::Trap));
    let open = shop.catalogue.add("open", Says::Fail(FailureKind::Nonsense));
    *open.on_failure.lock().unwrap() = FailurePolicy::FallBack;
    let begun = shop.world.clock_now();
    shop.create("closed", policy("closed", "P7D", "P90D")).await.unwrap();
    shop.create("open", policy("open", "P7D", "P90D")).await.unwrap();
    assert_eq!(shop.tend().await, Plans { failed: 2, ..Plans::default() });
    let bound = begun.plus(90 * DAY);
    assert_eq!(next(&shop.get("closed").await), (bound, RotationSource::Undecided));
    assert_eq!(next(&shop.get("open").await), (bound, RotationSource::MaxInterval));
    let entry = &shop.entries("keys.planRotation").await[0];
    assert_eq!(entry["outcome"], "plugin_failed");
    let detail = entry["detail"].as_str().unwrap();
    assert!(detail.contains("1 in a row, f"), "{detail}");
    assert!(!detail.contains("as the test wants"), "the plugin's words are for the log");

    // Asked again after a minute, then two, then four.
    for (minutes, asked) in [(0, 1), (1, 2), (1, 2), (1, 3), (3, 3), (1, 4)] {
        shop.pass(Duration::from_secs(60 * minutes));
        shop.tend().await;
        assert_eq!(closed.asked(), asked);
    }
    let hub = &shop.world.hub;
    assert_eq!((hub.rotation_failures(FailureKind::Trap), hub.rotations_waiting()), (4, 0));

    // At the bound: rotated where the hub falls back, overdue where it does not.
    shop.pass(100 * DAY);
    shop.tend().await;
    assert_eq!(shop.get("open").await.versions, 2);
    let view = shop.get("closed").await;
    assert_eq!((view.versions, next(&view)), (1, (bound, RotationSource::Undecided)));
    assert_eq!(shop.entries("keys.rotate").await[0]["detail"], "maxInterval");

    // It answers again: a date that has passed rotates at once.
    closed.says(Says::At(begun.plus(20 * DAY)));
    shop.pass(HOUR);
    shop.tend().await;
    assert_eq!(shop.get("closed").await.versions, 2);
}

#[tokio::test]
async fn silence_delays_nobody_else() {
    let shop = Shop::new().await;
    let silent = shop.catalogue.add("silent", Says::Nothing);
    let calendar_plugin = shop.catalogue.add("calendar", Says::In(30 * DAY));
    for n in 0..3 {
        shop.create(&format!("silent-{n}"), policy("silent", "P7D", "P90D")).await.unwrap();
    }
    let period: RotationPolicy = serde_json::from_str(r#"{"schedule":{"period":"P1D"}}"#).unwrap();
    shop.create("daily", period).await.unwrap();
    shop.create("orders", calendar()).await.unwrap();
    shop.pass(DAY);
    // The sweep asks nobody.
    shop.sweep().await;
    assert_eq!(shop.get("daily").await.versions, 2);
    assert_eq!((silent.asked(), calendar_plugin.asked()), (0, 0));
    assert_eq!(shop.world.hub.rotations_waiting(), 4);
    // Those who are silent are waited for together, and no longer than the patience of the hub.
    let begun = std::time::Instant::now();
    let plans = shop.world.hub.plan_rotations().await;
    assert_eq!((plans.answered, plans.failed, plans.left), (1, 3, 0));
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(next(&shop.get("orders").await).1, RotationSource::Plugin);
    assert_eq!(shop.world.hub.rotation_failures(FailureKind::Deadline), 3);
    // A key that waits for its plugin still does what else is due.
    shop.pass(DAY);
    let verb = keys::StepKey::<keys::ScheduleDestroy>::new(
        named("shop"),
        named("silent-0"),
        hub_model::api::key::ScheduleDestroy { after: Some("P7D".parse().unwrap()) },
    );
    shop.world.ok(&shop.boss, &verb).await;
    shop.pass(7 * DAY);
    shop.sweep().await;
    assert_eq!(shop.get("silent-0").await.state, hub_model::KeyState::Destroyed);
}

#[tokio::test]
async fn a_policy_is_stored_only_if_its_plugin_takes_it() {
    let shop = Shop::new().await;
    let at = |error: Error| match error {
        Error::InvalidMember { pointer, detail } => (pointer.to_string(), detail),
        other => panic!("{other:?}"),
    };
    let plugin = "/rotation/schedule/plugin".to_owned();
    let refused = at(shop.create("orders", calendar()).await.unwrap_err());
    assert_eq!(refused, (plugin.clone(), "there is no plugin `calendar`".to_owned()));
    let fake = shop.catalogue.add("calendar", Says::In(30 * DAY));
    *fake.refuses.lock().unwrap() = Some("`zone`: no such zone");
    let refused = at(shop.create("orders", calendar()).await.unwrap_err());
    assert_eq!(refused.0, "/rotation/schedule/parameters/zone");
    assert!(refused.1.contains("no such zone"), "{}", refused.1);

    // The same for a change of the key, and for the default of a registration.
    let period: RotationPolicy = serde_json::from_str(r#"{"schedule":{"period":"P1D"}}"#).unwrap();
    shop.create("orders", period.clone()).await.unwrap();
    assert_eq!(at(shop.patch("orders", calendar()).await.unwrap_err()).0, refused.0);
    assert_eq!(shop.get("orders").await.rotation, Some(period));
    let body = RegistrationBody {
        name: "other".parse().unwrap(),
        description: String::new(),
        environment: Environment::Dev,
        tags: Tags::default(),
        owners: Vec::new(),
        rotation: Some(calendar()),
    };
    let create = registration::CreateRegistration { body };
    let failure = shop.world.attempt(&shop.world.admin, &create, &meta()).await.unwrap_err();
    assert_eq!(at(failure.error).0, refused.0);
    *fake.refuses.lock().unwrap() = None;
    *shop.catalogue.only.lock().unwrap() = Some(RegistrationId::generate());
    assert_eq!(at(shop.patch("orders", calendar()).await.unwrap_err()).0, plugin);
    *shop.catalogue.only.lock().unwrap() = None;
    shop.patch("orders", calendar()).await.unwrap();
    assert_eq!(fake.asked(), 0, "checked, not asked");
}

#[tokio::test]
async fn the_default_of_a_registration_reaches_its_keys() {
    let shop = Shop::new().await;
    let fake = shop.catalogue.add("calendar", Says::In(30 * DAY));
    for n in 0..45 {
        let create = keys::CreateKey {
            registration: named("shop"),
            body: KeyBody::new(format!("key-{n}").parse().unwrap()),
        };
        shop.world.ok(&shop.boss, &create).await;
    }
    let patch =
        |policy| PatchRegistration { rotation: Some(policy), ..PatchRegistration::default() };
    for (round, (policy, asked)) in
        [(Some(calendar()), 45), (Some(policy("calendar", "P8D", "P90D")), 90), (None, 90)]
            .into_iter()
            .enumerate()
    {
        let get = registration::GetRegistration { registration: named("shop") };
        let seen = shop.world.attempt(&shop.boss, &get, &meta()).await.unwrap().generation;
        let change =
            registration::UpdateRegistration { registration: named("shop"), body: patch(policy) };
        let seen = Meta { if_match: seen, ..meta() };
        shop.world.attempt(&shop.boss, &change, &seen).await.unwrap();
        // The first sweep enters the keys in the agenda, the second finds them there.
        shop.sweep().await;
        shop.tend().await;
        assert_eq!(fake.asked(), asked, "round {round}");
        assert_eq!(shop.get("key-7").await.next_rotation.is_some(), round < 2);
    }
}

#[tokio::test]
async fn a_plugin_that_changed_is_asked_anew_and_one_that_is_gone_fails() {
    let shop = Shop::new().await;
    let fake = shop.catalogue.add("calendar", Says::In(30 * DAY));
    *fake.on_failure.lock().unwrap() = FailurePolicy::FallBack;
    let begun = shop.world.clock_now();
    shop.create("orders", calendar()).await.unwrap();
    shop.create("invoices", policy("calendar", "P7D", "P60D")).await.unwrap();
    shop.tend().await;
    let calendar = "calendar".parse().unwrap();
    assert_eq!(shop.world.hub.ask_rotations_anew(&"other".parse().unwrap()).await.unwrap(), 0);
    *fake.code.lock().unwrap() = 8;
    fake.says(Says::In(40 * DAY));
    shop.tend().await;
    assert_eq!(fake.asked(), 2);
    assert_eq!(shop.world.hub.ask_rotations_anew(&calendar).await.unwrap(), 2);
    // Until it has answered, what it said stands.
    assert_eq!(next(&shop.get("orders").await).0, begun.plus(30 * DAY));
    shop.tend().await;
    let view = shop.get("orders").await;
    assert_eq!(next(&view).0, begun.plus(40 * DAY));
    assert_eq!(view.next_rotation.unwrap().plan.unwrap().digest.unwrap().0, [8; 32]);

    // Gone: dates stand; without one, what it wanted done when it fails.
    shop.catalogue.remove("calendar");
    shop.world.hub.plugin_changed(&calendar);
    assert_eq!(shop.tend().await, Plans::default());
    assert_eq!(shop.tend().await.failed, 2);
    let view = shop.get("orders").await;
    assert_eq!(next(&view), (begun.plus(40 * DAY), RotationSource::Plugin));
    let plan = view.next_rotation.unwrap().plan.unwrap();
    assert_eq!((plan.failure.as_deref(), plan.digest), (Some("unavailable"), None));
    assert_eq!(plan.failure_policy, FailurePolicy::FallBack);
    shop.pass(40 * DAY);
    shop.tend().await;
    let view = shop.get("orders").await;
    // Nobody can be asked about the new version; what is done then was said of the one before.
    assert_eq!((view.versions, next(&view).1), (2, RotationSource::MaxInterval));
    for versions in 3..5 {
        shop.pass(90 * DAY);
        shop.tend().await;
        assert_eq!(shop.get("orders").await.versions, versions, "at every maxInterval");
    }
    // Under other bounds it is another schedule, about which nothing was said.
    let plan = shop.get("orders").await.next_rotation.unwrap().plan.unwrap();
    assert_eq!(plan.failure_policy, FailurePolicy::FallBack);
}

#[tokio::test]
async fn what_changed_while_the_hub_did_not_run_is_asked_anew() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut shop = Shop::over(Arc::clone(&backend)).await;
    let fake = shop.catalogue.add("calendar", Says::In(30 * DAY));
    shop.create("orders", calendar()).await.unwrap();
    shop.tend().await;
    shop = shop.again(Arc::clone(&backend)).await;
    assert_eq!((shop.tend().await, fake.asked()), (Plans::default(), 1), "nothing has changed");
    *fake.settings.lock().unwrap() = 4;
    shop = shop.again(Arc::clone(&backend)).await;
    shop.tend().await;
    *fake.code.lock().unwrap() = 8;
    shop = shop.again(Arc::clone(&backend)).await;
    shop.tend().await;
    assert_eq!(fake.asked(), 3);
    shop = shop.again(backend).await;
    assert_eq!((shop.tend().await, fake.asked()), (Plans::default(), 3));
}

#[tokio::test]
async fn use_has_an_undecided_plugin_asked_again() {
    let shop = Shop::new().await;
    let fake = shop.catalogue.add("calendar", Says::Again(50 * DAY));
    shop.create("orders", calendar()).await.unwrap();
    shop.tend().await;
    assert_eq!(next(&shop.get("orders").await).1, RotationSource::MaxInterval);
    let encrypt = |bytes: usize| {
        let plaintext = SecretBytes::new(vec![7; bytes]);
        let body = EncryptBody { plaintext, context: EncryptionContext::default() };
        keys::Encrypt { registration: named("shop"), key: named("orders"), body }
    };
    for _ in 0..20 {
        shop.world.ok(&shop.boss, &encrypt(60_000)).await;
    }
    shop.tend().await;
    assert_eq!(fake.asked(), 1, "a moment ago it did not want to say");
    shop.pass(Duration::from_secs(300));
    shop.tend().await;
    assert_eq!(fake.asked(), 1, "nobody uses it now");
    fake.says(Says::Now("worn"));
    shop.pass(10 * DAY);
    shop.world.ok(&shop.boss, &encrypt(10)).await;
    tokio::time::timeout(Duration::from_secs(5), shop.world.hub.usage_due()).await.unwrap();
    shop.tend().await;
    assert_eq!((fake.asked(), shop.get("orders").await.versions), (2, 2));
}

#[tokio::test]
async fn what_changes_while_a_plugin_thinks_is_not_overwritten() {
    let shop = Shop::new().await;
    let fake = shop.catalogue.put("calendar", Says::In(30 * DAY), true);
    let begun = shop.world.clock_now();
    shop.create("orders", calendar()).await.unwrap();
    shop.sweep().await;
    let (reached, go) = fake.gate.as_ref().unwrap();
    let meanwhile = async {
        reached.notified().await;
        // While it thinks, the key is rotated by hand and found by a sweep again.
        shop.pass(DAY);
        shop.rotate("orders").await;
        shop.sweep().await;
        go.notify_one();
        // Asked about the new version, at once.
        reached.notified().await;
        go.notify_one();
    };
    let (plans, ()) = tokio::join!(shop.world.hub.plan_rotations(), meanwhile);
    assert_eq!(plans, Plans { answered: 1, ..Plans::default() });
    assert_eq!(next(&shop.get("orders").await).0, begun.plus(31 * DAY));
    assert_eq!(shop.entries("keys.planRotation").await.len(), 1);
    assert_eq!(shop.world.hub.rotations_waiting(), 0);
}

#[tokio::test]
async fn a_frozen_registration_waits() {
    let shop = Shop::new().await;
    let fake = shop.catalogue.add("calendar", Says::In(30 * DAY));
    shop.create("orders", calendar()).await.unwrap();
    let freeze = registration::Freeze::<true> { registration: named("shop") };
    shop.world.ok(&shop.world.admin, &freeze).await;
    assert_eq!((shop.tend().await, fake.asked()), (Plans::default(), 0));
    let thaw = registration::Freeze::<false> { registration: named("shop") };
    shop.world.ok(&shop.world.admin, &thaw).await;
    assert_eq!(shop.tend().await.answered, 1);
    // Nor does another version of the plugin change what is frozen.
    shop.world.ok(&shop.world.admin, &freeze).await;
    let calendar = "calendar".parse().unwrap();
    assert_eq!(shop.world.hub.ask_rotations_anew(&calendar).await.unwrap(), 0);
    shop.world.ok(&shop.world.admin, &thaw).await;
    assert_eq!(shop.world.hub.ask_rotations_anew(&calendar).await.unwrap(), 1);
}

// ---- random lives -----------------------------------------------------------------------------

/// The files as they are, as after a stop without warning.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A life on files: what the plugin says, what the clock shows, stops without warning, rotations by
/// hand, in any order. After each step: no rotation by the hub came before the least interval was
/// over, or after the most without being late by the clock alone; none came twice.
async fn live(seed: u64) {
    let mut state = seed;
    let mut roll = |sides: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let folder = tempfile::tempdir().unwrap();
    let mut place = folder.path().join("0");
    let open = |place: &std::path::Path| Arc::new(FjallBackend::open_or_create(place).unwrap());
    let mut shop = Shop::over(open(&place)).await;
    let fake = shop.catalogue.add("calendar", Says::In(30 * DAY));
    shop.create("orders", calendar()).await.unwrap();
    let (mut rotations, mut by_hub) = (vec![shop.world.clock_now()], 0);
    for step in 0..60 {
        match roll(8) {
            0 => fake.says(Says::In(DAY * roll(200) as u32)),
            1 => fake.says(match roll(5) {
                0 => Says::Now("because"),
                1 => Says::At(Timestamp::from_micros(i64::MIN)),
                2 => Says::At(Timestamp::MAX),
                3 => Says::Fail(FailureKind::Trap),
                _ => Says::Again(DAY * roll(60) as u32),
            }),
            2 => {
                let all =
                    [FailurePolicy::FailClosed, FailurePolicy::FallBack, FailurePolicy::Retry];
                *fake.on_failure.lock().unwrap() = all[roll(3) as usize];
            }
            3 => {
                // Stopped anywhere: before or after the sweep, before or after the answer.
                if roll(2) == 0 {
                    shop.sweep().await;
                }
                if roll(2) == 0 {
                    shop.world.hub.plan_rotations().await;
                }
                let next = folder.path().join(format!("{}", step + 1));
                copy(&place, &next);
                place = next;
                shop = shop.again(open(&place)).await;
            }
            4 => {
                let jump = i64::try_from(roll(400)).unwrap() - 150;
                shop.world.clock.jump(jump * 86_400_000_000);
            }
            5 if roll(3) == 0 => {
                shop.rotate("orders").await;
                rotations.push(shop.world.clock_now());
            }
            _ => shop.pass(HOUR * roll(1000) as u32),
        }
        for _ in 0..2 {
            let now = shop.world.clock_now();
            shop.tend().await;
            let versions = shop.versions("orders").await;
            assert!(versions.len() <= rotations.len() + 1, "seed {seed}, step {step}: twice");
            if versions.len() > rotations.len() {
                let last = rotations[rotations.len() - 1].max(rotations[0]);
                assert!(now >= last.plus(7 * DAY), "seed {seed}, step {step}: too early");
                rotations.push(now);
                by_hub += 1;
            }
            let view = shop.get("orders").await;
            let (date, _) = next(&view);
            let last = rotations[rotations.len() - 1].max(rotations[0]);
            assert!(last.plus(7 * DAY) <= date && date <= last.plus(90 * DAY));
            // What can be due is done.
            let waits = view.next_rotation.unwrap().source == RotationSource::Undecided;
            assert!(date > now || waits, "seed {seed}, step {step}: late");
        }
    }
    let entries = shop.entries("keys.rotate").await;
    let own = entries.iter().filter(|entry| entry["caller"].is_null());
    assert_eq!(own.count(), by_hub, "seed {seed}: an entry for each");
}

#[tokio::test]
async fn random_lives_rotate_once_and_within_the_bounds() {
    for seed in 1..=3 {
        live(seed).await;
    }
}
