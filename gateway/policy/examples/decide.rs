//! What a decision costs: `cargo run --release -p hub-policy --example decide -- [CALLS [ROW]]`.
//!
//! The median of 21 batches of so many calls (2,000), as `cipher-hub bench --only decisions` does;
//! all rows, or those that begin so. Few calls of one row are for counting instructions:
//! `valgrind --tool=callgrind`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not the gateway")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use hub_auth::Caller;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, Algorithm, AuthMethod, EncryptionContext, Environment, Grant, HubId, Key, KeyId,
    Participant, ParticipantId, ParticipantKind, Registration, RegistrationId, Role, RoleGrant,
    Tags, Timestamp,
};
use hub_policy::{Bundle, Policies, RegistrationFacts, RequestFacts, Target};

const TIME: Timestamp = Timestamp::from_micros(1_767_571_200_000_000);
const BATCHES: u64 = 21;

/// The median over the batches, in microseconds per call.
fn median(calls: u32, mut call: impl FnMut(u64)) -> f64 {
    let mut revision = 0;
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                revision += 1;
                call(revision);
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches.get(batches.len() / 2).copied().unwrap_or_default()
}

/// Grants of single keys to single participants and forbids on single keys; the first names the
/// caller and the key of the measurement.
fn extra(count: usize, caller: ParticipantId, key: KeyId) -> String {
    (0..count)
        .map(|n| {
            let (who, what) =
                if n == 0 { (caller, key) } else { (ParticipantId::generate(), KeyId::generate()) };
            if n % 2 == 0 {
                format!(
                    "@id(\"single.{n}\") permit(principal == CipherHub::Service::\"{who}\", \
                     action in CipherHub::Action::\"UseKey\", \
                     resource == CipherHub::Key::\"{what}\");\n"
                )
            } else {
                format!(
                    "@id(\"stop.{n}\") forbid(principal, action in CipherHub::Action::\"UseKey\", \
                     resource == CipherHub::Key::\"{what}\") \
                     when {{ principal.hasTag(\"stop\") }};\n"
                )
            }
        })
        .collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let calls: u32 = arguments.next().map_or(2_000, |text| text.parse().unwrap());
    let wanted = arguments.next().unwrap_or_default();
    let own = RegistrationId::generate();
    let id = RegistrationId::generate();
    let registration = Registration {
        id,
        name: "acme".parse().unwrap(),
        description: String::new(),
        environment: Environment::Production,
        frozen: false,
        tags: Tags::default(),
        frozen_by_hub: false,
        created: TIME,
        updated: TIME,
        generation: 1,
        rotation: None,
        quotas: None,
    };
    let facts = RegistrationFacts { registration: Arc::new(registration), revision: 7 };
    let name = "orders".parse().unwrap();
    let key = Key::new(id, KeyId::generate(), name, Algorithm::Aes256Gcm, None, TIME);
    let app = Participant {
        id: ParticipantId::generate(),
        registration: id,
        name: "checkout".parse().unwrap(),
        kind: ParticipantKind::Service,
        suspended: false,
        tags: Tags::default(),
        roles: vec![RoleGrant { registration: id, role: Role::Apps }],
        grants_in: Default::default(),
        created: TIME,
        updated: TIME,
        generation: 1,
    };
    let address = PeerAddress::Ip([10, 1, 2, 3].into());
    let caller = Caller::for_tests(app.clone(), 3, AuthMethod::ApiKey, address, TIME, false);
    let context = EncryptionContext::new([("tenant".into(), "eu".into())].into()).unwrap();
    let request = RequestFacts { encryption_context: Some(&context), payload_bytes: 1024 };

    let hours = "@id(\"local.day\") forbid(principal, action in CipherHub::Action::\"UseKey\", \
                 resource) when { context.caller.now < datetime(\"2020-01-01\") };";
    for (name, count, reads) in [
        ("baseline", 0, false),
        ("baseline + 500", 500, false),
        ("baseline + 2000", 2000, false),
        ("baseline, reads context", 0, true),
        ("baseline + 2000, reads context", 2000, true),
    ] {
        if !name.starts_with(&wanted) {
            continue;
        }
        let mut text = extra(count, app.id, key.id);
        if reads {
            text.push_str(hours);
        }
        let start = Instant::now();
        let bundle = Bundle::parse([("local.cedar", text)]).unwrap();
        let loaded = start.elapsed();
        let policies = Policies::new(bundle, HubId::generate(), own).unwrap();
        let ask = |revision: u64| {
            let target = Target::Key { key: &key, revision, registration: &facts };
            let permit = policies.authorize(&caller, Action::KeysEncrypt, &target, &request);
            assert!(black_box(permit).is_ok());
        };
        // A new key revision each time is never in the memo.
        let fresh = median(calls, ask);
        let again = median(calls, |_| ask(u64::MAX));
        let loaded = loaded.as_secs_f64() * 1e3;
        println!(
            "{name:32} evaluated {fresh:7.2} us   again {again:7.3} us   load {loaded:7.0} ms"
        );
    }

    // The same decision on a key with grants: a link and an evaluation more for each that is for
    // the caller and the action, and no memory of the decision where one has an end.
    let grant = |who: &Participant, end: Option<Timestamp>| {
        let (actions, none) = (vec![Action::KeysEncrypt], EncryptionContext::default());
        Grant::new(who, actions, end, none, String::new(), TIME).unwrap()
    };
    let end = Some(Timestamp::from_micros(TIME.as_micros() * 2));
    let others =
        (0..99).map(|_| grant(&Participant { id: ParticipantId::generate(), ..app.clone() }, end));
    let others: Vec<Grant> = others.collect();
    for (name, grants) in [
        ("a grant", vec![grant(&app, None)]),
        ("a grant with an end", vec![grant(&app, end)]),
        ("99 grants of others", others),
    ] {
        if !name.starts_with(&wanted) {
            continue;
        }
        let key = Key { grants, ..key.clone() };
        let policies = Policies::new(Bundle::baseline().unwrap(), HubId::generate(), own).unwrap();
        let ask = |revision: u64| {
            let target = Target::Key { key: &key, revision, registration: &facts };
            let permit = policies.authorize(&caller, Action::KeysEncrypt, &target, &request);
            assert!(black_box(permit).is_ok());
        };
        let fresh = median(calls, ask);
        let again = median(calls, |_| ask(u64::MAX));
        println!("{name:32} evaluated {fresh:7.2} us   again {again:7.3} us");
    }
}
