//! What every request pays before its operation: who is calling, and may they. In process, on one
//! thread, as the request path asks.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_auth::{Authenticator, Caller, Channel, Presented};
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, Algorithm, EncryptionContext, Environment, Key, KeyId, ParticipantId, Registration,
    RegistrationId, Role, Tags, Timestamp,
};
use hub_policy::{Bundle, Policies, RegistrationFacts, RequestFacts, Target};
use serde::Serialize;

use super::{Plan, failed};
use hub_cli::Failure;
use hub_server::app::{App, Mode};
use hub_server::config::{Config, Overrides};
use hub_server::dev;

/// Extra policies beside the baseline.
const EXTRA: [usize; 3] = [0, 500, 2000];
/// Calls of one batch, of which the median counts.
const CALLS: u32 = 2000;
const BATCHES: usize = 21;

/// What either costs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Decisions {
    pub(super) rows: Vec<Row>,
}

/// One way through.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) name: String,
    /// Microseconds a call.
    pub(super) us: f64,
}

/// Measures authentication by API key and decisions of `keys.encrypt`.
pub(super) async fn measure(plan: &Plan) -> Result<Decisions, Failure> {
    plan.say("authentication and decisions");
    let calls = if plan.turn < Duration::from_secs(1) { 20 } else { CALLS };
    let mut overrides = Overrides::new();
    // Nothing is written there by a store in memory.
    let folder = plan.dir.join("cipher-hub-bench-decisions").display().to_string();
    for (key, value) in [
        ("data_dir", folder.as_str()),
        ("store.engine", "memory"),
        ("server.listen", "127.0.0.1:0"),
        ("server.unix_socket", ""),
        ("server.management_listen", ""),
    ] {
        overrides.set(key, value);
    }
    let wrong = |error: &dyn std::fmt::Display| failed(&error.to_string());
    let config = Config::load(&[], [], &overrides).map_err(|error| wrong(&error))?;
    let mode = Mode { dev: true, ..Mode::default() };
    let app = App::build(config, mode).await.map_err(|error| wrong(&error))?;
    let demo = dev::demo(&app).await.map_err(|error| wrong(&error))?;
    let header = zeroize::Zeroizing::new(format!("Bearer {}", demo.admin.expose_secret()));
    let caller = authenticate(app.authenticator(), &header).await?;
    let mut rows = Vec::new();
    let mut batches = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..calls {
            black_box(authenticate(app.authenticator(), &header).await?);
        }
        batches.push(micros(start, calls));
    }
    rows.push(Row { name: "authentication by API key".to_owned(), us: median(batches) });
    let scene = Scene::new(&caller).ok_or_else(|| failed("the caller uses no keys"))?;
    for extra in EXTRA {
        let with = if extra == 0 { String::new() } else { format!(" and {extra} policies") };
        let text = scene.policies(extra);
        let bundle = Bundle::parse([("local.cedar", text)]).map_err(|error| wrong(&error))?;
        let policies = Policies::new(bundle, app.hub.id(), app.hub.registration())
            .map_err(|error| wrong(&error))?;
        // A revision that was never seen is in no memo.
        let mut revision = 0;
        let evaluated = scene.time(&policies, calls, || {
            revision += 1;
            revision
        })?;
        rows.push(Row { name: format!("decision, baseline{with}"), us: evaluated });
        let remembered = scene.time(&policies, calls, || 0)?;
        rows.push(Row { name: format!("the same again, baseline{with}"), us: remembered });
    }
    Ok(Decisions { rows })
}

async fn authenticate(by: &Authenticator, header: &str) -> Result<Caller, Failure> {
    let channel = Channel::anonymous(PeerAddress::Ip([127, 0, 0, 1].into()), false);
    let presented = Presented { authorization: &[header.as_bytes()], channel: &channel };
    by.authenticate(presented).await.map_err(|error| failed(&error.to_string()))
}

/// A key of the caller's registration, as policy sees it.
struct Scene<'a> {
    caller: &'a Caller,
    registration: RegistrationFacts,
    key: Key,
    context: EncryptionContext,
}

impl<'a> Scene<'a> {
    fn new(caller: &'a Caller) -> Option<Self> {
        let now = caller.now();
        let roles = &caller.participant().roles;
        let id = roles.iter().find(|grant| grant.role == Role::Apps)?.registration;
        let registration = registration(id, now)?;
        let name = "orders".parse().ok()?;
        let key = Key::new(id, KeyId::generate(), name, Algorithm::Aes256Gcm, None, now);
        let context = EncryptionContext::new([("tenant".into(), "eu".into())].into()).ok()?;
        let registration = RegistrationFacts { registration: Arc::new(registration), revision: 7 };
        Some(Self { caller, registration, key, context })
    }

    /// Grants of single keys to single participants and forbids on single keys, in turns; the first
    /// names the caller and the key of the measurement.
    fn policies(&self, count: usize) -> String {
        let mut text = String::new();
        for number in 0..count {
            let (who, what) = if number == 0 {
                (self.caller.participant().id, self.key.id)
            } else {
                (ParticipantId::generate(), KeyId::generate())
            };
            let kind = match self.caller.participant().kind {
                hub_model::ParticipantKind::User => "User",
                hub_model::ParticipantKind::Service => "Service",
                hub_model::ParticipantKind::Device => "Device",
            };
            text.push_str(&if number % 2 == 0 {
                format!(
                    "@id(\"one.{number}\") permit(principal == CipherHub::{kind}::\"{who}\", \
                     action in CipherHub::Action::\"UseKey\", \
                     resource == CipherHub::Key::\"{what}\");\n"
                )
            } else {
                format!(
                    "@id(\"stop.{number}\") forbid(principal, \
                     action in CipherHub::Action::\"UseKey\", \
                     resource == CipherHub::Key::\"{what}\") \
                     when {{ principal.hasTag(\"stop\") }};\n"
                )
            });
        }
        text
    }

    /// The median of batches, in microseconds a decision.
    fn time(
        &self,
        policies: &Policies,
        calls: u32,
        mut revision: impl FnMut() -> u64,
    ) -> Result<f64, Failure> {
        let facts = RequestFacts { encryption_context: Some(&self.context), payload_bytes: 1024 };
        let mut batches = Vec::with_capacity(BATCHES);
        for _ in 0..BATCHES {
            let start = Instant::now();
            for _ in 0..calls {
                let target = Target::Key {
                    key: &self.key,
                    revision: revision(),
                    registration: &self.registration,
                };
                let decided = policies.authorize(self.caller, Action::KeysEncrypt, &target, &facts);
                if black_box(decided).is_err() {
                    return Err(failed("the decision was a denial"));
                }
            }
            batches.push(micros(start, calls));
        }
        Ok(median(batches))
    }
}

fn registration(id: RegistrationId, now: Timestamp) -> Option<Registration> {
    Some(Registration {
        id,
        name: "acme".parse().ok()?,
        description: String::new(),
        environment: Environment::Production,
        frozen: false,
        frozen_by_hub: false,
        quotas: None,
        tags: Tags::default(),
        created: now,
        updated: now,
        generation: 1,
        rotation: None,
    })
}

fn micros(start: Instant, calls: u32) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

fn median(mut batches: Vec<f64>) -> f64 {
    batches.sort_by(f64::total_cmp);
    batches.get(batches.len() / 2).copied().unwrap_or_default()
}
